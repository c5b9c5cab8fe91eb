"""A board as a set of calls: what docs/protocol.md's messages mean to the host."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from ..boards.stream import ByteStream
from ..learners.base import Inputs, Labels, LearnSettings
from .log import LinkCounters, LinkLog
from .messages import RESET, RUNTIME_VERSION, STATE_HASH, Hello, Kind, LinkError, Stats, status_text
from .transport import Transport


class Client:
    """The host's end of the link to one board.

    `timeout` is in seconds of silence: how long the board may take for one sample, not for a whole call. Every
    method raises LinkError when the board is silent, refuses, or speaks another version. After such an error, or an
    interruption, the next call opens the conversation again; the board has then learnt a prefix of the samples,
    and hello().step tells which.
    """

    def __init__(self, stream: ByteStream, *, log: LinkLog | None = None, timeout: float = 2.0) -> None:
        self._stream = stream
        self._transport = Transport(stream, log, timeout)
        self._hello: Hello | None = None

    @property
    def name(self) -> str:
        """What the user calls the board: port, URL, program."""
        return self._stream.name

    @property
    def counters(self) -> LinkCounters:
        """The host's link counters."""
        return self._transport.counters

    def hello(self) -> Hello:
        """Open (or reopen) the conversation and ask who is there; changes nothing on the board but that."""
        payload = self._transport.hello(secrets.randbits(32))
        self._check(Kind.HELLO, payload)
        try:
            hello = Hello.unpack(payload[1:])
            if hello.runtime_version != RUNTIME_VERSION:
                raise LinkError(
                    f"the board runs version {hello.runtime_version} of the C runtime, this host knows "
                    f"{RUNTIME_VERSION}; build and upload the firmware again from this checkout"
                )
            if not 1 <= hello.window <= 32 or hello.max_payload <= hello.inputs:
                raise LinkError(
                    f"the board offers a window of {hello.window} and payloads of {hello.max_payload} bytes for "
                    f"samples of {hello.inputs}; this firmware cannot be served, see docs/protocol.md"
                )
        except LinkError as error:
            raise LinkError(f"{self.name}: {error}") from None
        self._transport.start(hello.next_seq)
        self._hello = hello
        return hello

    def reset(self, settings: LearnSettings) -> None:
        """Forget everything learnt, and learn as `settings` say from now on."""
        second_pass = int(settings.second_pass)
        self._control(Kind.RESET, RESET.pack(settings.seed, settings.lr_mantissa, settings.lr_exponent, second_pass))

    def begin_task(self) -> None:
        """Open the next task."""
        self._control(Kind.BEGIN_TASK)

    def end_task(self) -> None:
        """Close the open task."""
        self._control(Kind.END_TASK)

    def observe(self, x: Inputs, y: Labels) -> Labels:
        """Learn samples int8 (n, inputs) with labels uint8 (n,) in order; returns what each was taken for before."""
        hello = self._ready()
        self._check_samples(x, hello)
        labels = np.asarray(y)
        if labels.shape != (len(x),):
            raise LinkError(f"{len(x)} samples came with labels of shape {labels.shape}; give one label a sample")
        if len(labels) and (labels.min() < 0 or labels.max() >= hello.classes):
            raise LinkError(
                f"labels lie in {labels.min()} .. {labels.max()}, but the network on {self.name} has "
                f"{hello.classes} classes (0 .. {hello.classes - 1})"
            )
        rows = np.empty((len(x), 1 + hello.inputs), dtype=np.uint8)
        rows[:, 0] = labels
        rows[:, 1:] = x.view(np.uint8)
        return self._classes(Kind.OBSERVE, _rows(rows), hello.window)

    def predict(self, x: Inputs) -> Labels:
        """Class of each sample int8 (n, inputs), uint8 (n,); changes nothing learnt."""
        hello = self._ready()
        self._check_samples(x, hello)
        return self._classes(Kind.PREDICT, _rows(np.ascontiguousarray(x).view(np.uint8)), hello.window)

    def state_hash(self) -> int:
        """CRC-32 of the learnt state."""
        body = self._control(Kind.STATE_HASH)
        if len(body) != STATE_HASH.size:
            self._malformed(Kind.STATE_HASH, body)
        return int(STATE_HASH.unpack(body)[0])

    def stats(self) -> Stats:
        """The board's counters."""
        return Stats.unpack(self._control(Kind.STATS))

    def close(self) -> None:
        """Let go of the board."""
        self._stream.close()

    def _ready(self) -> Hello:
        if self._hello is None or not self._transport.in_step:
            return self.hello()
        return self._hello

    def _control(self, kind: Kind, payload: bytes = b"") -> bytes:
        """A message that is sent alone; returns the reply without its status."""
        self._ready()
        (reply,) = self._transport.exchange(kind, [payload], 1)
        self._check(kind, reply)
        return reply[1:]

    def _classes(self, kind: Kind, payloads: Sequence[bytes], window: int) -> Labels:
        replies = self._transport.exchange(kind, payloads, window)
        for index, reply in enumerate(replies):
            self._check(kind, reply, f" of sample {index}")
            if len(reply) != 2:
                self._malformed(kind, reply)
        return np.frombuffer(b"".join(replies), dtype=np.uint8)[1::2].copy()

    def _check(self, kind: Kind, reply: bytes, which: str = "") -> None:
        if not reply:
            self._malformed(kind, reply)
        status = int.from_bytes(reply[:1], "little", signed=True)
        if status:
            raise LinkError(f"{self.name} refused {kind.name}{which}: {status_text(status)}")

    def _check_samples(self, x: Inputs, hello: Hello) -> None:
        if x.ndim != 2 or x.dtype != np.int8 or x.shape[1] != hello.inputs:
            raise LinkError(
                f"samples are {x.dtype} {x.shape}, but {self.name} takes int8 (n, {hello.inputs}); "
                "quantise them with the network the board was built for"
            )

    def _malformed(self, kind: Kind, reply: bytes) -> NoReturn:
        raise LinkError(
            f"{self.name} answered {kind.name} with {len(reply)} bytes, which docs/protocol.md does not know; "
            "build and upload the firmware again from this checkout"
        )


def _rows(values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[bytes]:
    data, size = values.tobytes(), values.shape[1]
    return [data[at : at + size] for at in range(0, len(data), size)]
