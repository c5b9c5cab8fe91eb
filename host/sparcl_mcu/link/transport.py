"""Requests and replies over a line that may lose, damage and repeat: window, retry, time-out.

docs/protocol.md, "Window and retry", says why each rule is here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ..boards import boot_loader
from ..boards.stream import ByteStream
from .frames import Frame, Splitter, decode, encode
from .lock import Seal
from .log import LinkCounters, LinkLog
from .messages import REPLY, TOKEN, Kind, LinkError, Nak, SilentError

RESENDS_IN_SILENCE = 8  # of the oldest frame, before the board counts as gone
RESENDS_WITHOUT_PROGRESS = 100  # windows or frames sent again in vain, while the board does answer
# Before an answer to what was asked, while other frames come. The board may have samples of an earlier host to learn
# first; in silence between their replies, that is when the resends are used up, too.
TIMEOUTS_WITHOUT_PROGRESS = RESENDS_WITHOUT_PROGRESS / RESENDS_IN_SILENCE


@dataclass
class _Request:
    """A frame sent and not yet done with."""

    kind: int
    seq: int
    wire: bytes
    payload_bytes: int
    reply: bytes | None = None
    overtaken: bool = False  # a later frame's reply came first, and this frame was sent again for it


class Transport:
    """One conversation. `timeout` (seconds) is how long the board may be silent, not how long a request may take."""

    def __init__(self, stream: ByteStream, log: LinkLog | None, timeout: float) -> None:
        self._stream = stream
        self._log = log
        self._timeout = timeout
        self._splitter = Splitter()
        self._next_seq = 0
        self._number = 0  # of the next frame in this conversation
        self._seal: Seal | None = None
        self._waiting: deque[_Request] = deque()
        self._gone_back: int | None = None  # sequence number from which the window was sent again
        self._stale_naks = 0  # that frames sent before that will still bring
        self._resends = 0  # since the oldest frame was answered
        self._progress = 0.0  # when the last answer to what was asked came
        self._heard = 0.0  # when the last whole frame came
        self._probes = 0  # since then, in silence
        self._noise = b""  # what came last since then
        self.counters = LinkCounters()
        self.in_step = False  # false before start, and after a request that did not end well

    def hello(self, token: int) -> bytes:
        """Ask who is there; returns the reply's payload, for `start` to follow. Raises SilentError when nobody is,
        LinkError when frames come and none of them answers."""
        start = self._begin()
        # The zero ends whatever a host before this one left half sent.
        request = self._make(Kind.HELLO, 0, TOKEN.pack(token))
        self._send([request], lead=b"\0")
        while True:
            for frame in self._receive([request]):
                fresh = len(frame.payload) < 1 + TOKEN.size or TOKEN.unpack_from(frame.payload, 1) == (token,)
                if frame.kind == Kind.HELLO | REPLY and fresh:
                    self.counters.payload_received += len(frame.payload)
                    self.counters.seconds += time.monotonic() - start
                    return frame.payload

    def start(self, next_seq: int, seal: Seal | None = None) -> None:
        """Open the conversation with the sequence number that the board expects. seal: makes the codes of a locked
        board."""
        self._next_seq = next_seq
        self._number, self._seal = 1, seal  # HELLO was number 0
        self.in_step = True

    def exchange(self, kind: Kind, payloads: Sequence[bytes], window: int) -> list[bytes]:
        """Send a frame for each payload, at most `window` unanswered; returns the replies' payloads in order.

        After a reply with a status other than 0 no further frame is sent, so there may be fewer replies than
        payloads. Raises LinkError when the board is silent, answers something else, or the line is too bad.
        """
        start = self._begin()
        replies: list[bytes] = []
        sent, refused = 0, False
        while True:
            # Refilling only a half-empty window makes one write of many frames.
            if not refused and sent < len(payloads) and len(self._waiting) <= window // 2:
                room = window - len(self._waiting)
                fresh = [self._next(kind, payload) for payload in payloads[sent : sent + room]]
                sent += len(fresh)
                self._waiting.extend(fresh)
                self._send(fresh)
            if not self._waiting:
                break
            for frame in self._receive([self._waiting[0]]):
                if frame.kind == Kind.NAK:
                    self._take_nak(frame)
                else:
                    self._take_reply(frame)
                while self._waiting and self._waiting[0].reply is not None:
                    reply = self._waiting.popleft().reply or b""
                    refused = refused or reply[:1] != b"\0"
                    replies.append(reply)
                    self._resends = 0
        self.counters.seconds += time.monotonic() - start
        self.in_step = True
        return replies

    def _begin(self) -> float:
        self.in_step = False
        self._waiting.clear()
        self._gone_back = None
        self._resends = self._probes = 0
        self._heard = self._progress = time.monotonic()
        return self._heard

    def _take_reply(self, frame: Frame) -> None:
        index = self._index(frame.seq)
        request = self._waiting[index] if index is not None else None
        if index is None or request is None or request.reply is not None or frame.kind != request.kind | REPLY:
            return  # an answer to a repetition
        request.reply = frame.payload
        self._progress = time.monotonic()
        self.counters.payload_received += len(frame.payload)
        if frame.seq == self._gone_back:
            self._gone_back = None
        lost = [self._waiting[i] for i in range(index) if self._waiting[i].reply is None]
        lost = [earlier for earlier in lost if not earlier.overtaken]
        for earlier in lost:
            earlier.overtaken = True
        if lost:
            self._resend(lost, "its reply was lost")

    def _take_nak(self, frame: Frame) -> None:
        self.counters.naks += 1
        if len(frame.payload) != 2:
            return
        reason, expected = frame.payload
        if reason == Nak.CLOSED:
            raise LinkError(
                f"{self._stream.name} was reset while it worked; it has what it last committed, or nothing if its "
                "firmware keeps no store: go on with sparcl run --resume RUN, or start the run again"
            )
        index = self._index(expected)
        if index is None or self._waiting[index].reply is not None:
            return
        if expected == self._gone_back and self._stale_naks > 0:
            self._stale_naks -= 1
            return
        self._gone_back = expected
        self._stale_naks = len(self._waiting) - index - 1
        name = Nak(reason).name if reason in set(Nak) else str(reason)
        self._resend([self._waiting[i] for i in range(index, len(self._waiting))], f"NAK {name}")

    def _index(self, seq: int) -> int | None:
        """Where in the window a sequence number is, if it is."""
        if not self._waiting:
            return None
        index = (seq - self._waiting[0].seq) & 0xFF
        return index if index < len(self._waiting) else None

    def _next(self, kind: Kind, payload: bytes) -> _Request:
        code = self._seal(kind, self._number, payload) if self._seal else b""
        request = self._make(kind, self._next_seq, payload + code)
        self._number += 1
        self._next_seq = (self._next_seq + 1) & 0xFF
        return request

    def _make(self, kind: Kind, seq: int, payload: bytes) -> _Request:
        self.counters.payload_sent += len(payload)
        return _Request(kind, seq, encode(kind, seq, payload), len(payload))

    def _send(self, requests: Sequence[_Request], *, lead: bytes = b"", arrow: str = ">") -> None:
        data = lead + b"".join([request.wire for request in requests])
        self.counters.bytes_sent += len(data)
        self.counters.frames_sent += len(requests)
        if self._log:
            for request in requests:
                self._log.frame(arrow, request.kind, request.seq, request.payload_bytes)
        self._stream.write(data)

    def _resend(self, requests: Sequence[_Request], why: str) -> None:
        self._resends += 1
        if self._resends > RESENDS_WITHOUT_PROGRESS:
            raise LinkError(
                f"{self._stream.name} answers, but {Kind(requests[0].kind).name} did not get through in "
                f"{RESENDS_WITHOUT_PROGRESS} attempts: the line is too bad; check the cable, or lower the baud rate"
            )
        self.counters.retries += len(requests)
        if self._log:
            self._log.note(f"{why}: sending {len(requests)} again from {requests[0].seq}")
        self._send(requests, arrow=">>")

    def _receive(self, oldest: Sequence[_Request]) -> list[Frame]:
        """Whole frames that came; after some silence, sends `oldest` again. Raises SilentError at the time-out,
        LinkError when frames come for long and none of them answers."""
        limit = TIMEOUTS_WITHOUT_PROGRESS * self._timeout
        if time.monotonic() - self._progress > limit:
            raise LinkError(
                f"{self._stream.name} sends frames, but for {limit:g} s none has answered "
                f"{Kind(oldest[0].kind).name}: either another program talks to it at the same time, which is to be "
                "closed, or its firmware is stuck: switch the board off and on, and upload the firmware again if that "
                "does not help"
            )
        data = self._stream.read(self._timeout / RESENDS_IN_SILENCE)
        self.counters.bytes_received += len(data)
        frames = []
        for piece in self._splitter.feed(data):
            frame = decode(piece)
            if frame is None:
                self.counters.damaged += 1
                if self._log:
                    self._log.note(f"{len(piece)} bytes that are no frame")
                continue
            frames.append(frame)
            if self._log:
                self._log.frame("<", frame.kind, frame.seq, len(frame.payload))
        self.counters.frames_received += len(frames)
        now = time.monotonic()
        self._noise = b"" if frames else (self._noise + data)[-boot_loader.HEARD_BYTES :]
        if frames:
            self._heard = now
            self._probes = 0
        elif now - self._heard > self._timeout:
            raise SilentError(self._silence())
        elif now - self._heard > (self._probes + 1) * self._timeout / RESENDS_IN_SILENCE:
            self._probes += 1
            self._gone_back = None
            self._resend(oldest, "silence")
        return frames

    def _silence(self) -> str:
        message = f"{self._stream.name} did not answer within {self._timeout:g} s"
        if loader := boot_loader.heard(self._noise):
            return f"{message}: {loader}"
        if self.counters.frames_received:
            return (
                f"{message} (it did before): check cable and power; a board that learns slower needs a longer time-out"
            )
        if self.counters.bytes_received:
            return (
                f"{message}, though {self.counters.bytes_received} bytes came that are no frames: check the baud rate, "
                "and that the board runs this project's firmware"
            )
        return (
            f"{message}: check that the cable is plugged in and the board powered, that port and baud rate are right, "
            "and that the board runs this project's firmware"
        )
