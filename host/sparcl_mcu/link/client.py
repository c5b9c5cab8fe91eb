"""A board as a set of calls: what docs/protocol.md's messages mean to the host."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ..boards.stream import ByteStream
from ..learners.base import Inputs, Labels, LearnSettings, Numbers, TaskInfo
from .lock import seal
from .log import LinkCounters, LinkLog
from .messages import (
    BEGIN_TASK,
    BUFFER_CLASSES,
    COMMIT,
    OBSERVE,
    READ_STATE,
    RESET,
    RUNTIME_VERSION,
    SPEED,
    STATE_HASH,
    STATE_LIMIT,
    STATE_PIECE,
    WANTED,
    WANTED_SAMPLES,
    WRITE_STATE,
    Hello,
    Kind,
    LayerInfo,
    LinkError,
    RefusedError,
    Stats,
    Status,
    StoreInfo,
    status_text,
)
from .speed import LineSpeed
from .transport import Transport


class Client:
    """The host's end of the link to one board.

    `timeout` is in seconds of silence: how long the board may take for one sample, not for a whole call. `window`: at
    most so many frames are unanswered, however many the board can take. `key`: of a locked board. Every method raises
    LinkError when the board is silent, refuses (RefusedError), or speaks another version. After such an error, or an
    interruption, the next call opens the conversation again; hello().step tells how many samples the board has learnt
    since reset. After a silence or an interruption these are the first of those given. Behind one that the board
    refused, it has learnt those that were in the window already.
    """

    def __init__(
        self,
        stream: ByteStream,
        *,
        log: LinkLog | None = None,
        timeout: float = 2.0,
        window: int = 32,
        key: bytes | None = None,
    ) -> None:
        self._stream = stream
        self._transport = Transport(stream, log, timeout)
        self._speed = LineSpeed(stream, log)
        self._window = window
        self._key = key
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
        """Open (or reopen) the conversation, at the line's faster speed if it has one, and ask who is there; changes
        nothing on the board but that."""
        return self._speed.open(self._greet, lambda baud: self._exchange(Kind.SPEED, SPEED.pack(baud)))

    def _greet(self) -> Hello:
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
            if self._key and not hello.locked:
                raise LinkError(
                    "a key was given, but the board says that it is not locked: this is not the firmware that was "
                    "built with the key, or somebody sits in between; without SPARCL_KEY it can be talked to"
                )
        except LinkError as error:
            raise LinkError(f"{self.name}: {error}") from None
        sealed = seal(self._key, hello.boot, hello.conversation, hello.model_hash) if self._key else None
        self._transport.start(hello.next_seq, sealed)
        self._hello = hello
        return hello

    def reset(self, settings: LearnSettings) -> None:
        """Forget everything learnt, and learn as `settings` say from now on."""
        self._control(Kind.RESET, _packed(settings))

    @staticmethod
    def settings_crc(settings: LearnSettings) -> int:
        """What Hello.settings is on a board that learns as `settings` say."""
        return zlib.crc32(_packed(settings))

    def begin_task(self, task: TaskInfo) -> None:
        """Open the next task."""
        classes = _bits(task.classes, self._ready())
        self._control(Kind.BEGIN_TASK, BEGIN_TASK.pack(task.samples, task.epochs) + classes)

    def end_epoch(self) -> None:
        """The task's samples were all offered once more."""
        self._control(Kind.END_EPOCH)

    def wanted(self, samples: int) -> NDArray[np.bool_]:
        """(samples,) bool, of an open task that announced so many: which are still to be offered."""
        replies = [self._control(Kind.WANTED, WANTED.pack(first)) for first in range(0, samples, WANTED_SAMPLES)]
        bits = np.unpackbits(np.frombuffer(b"".join(replies), np.uint8), bitorder="little")
        if len(bits) != -(-samples // 8) * 8:
            self._malformed(Kind.WANTED, replies[-1])
        return bits[:samples].astype(np.bool_)

    def end_task(self) -> None:
        """Close the open task."""
        self._control(Kind.END_TASK)

    def observe(self, x: Inputs, y: Labels, numbers: Numbers) -> Labels:
        """Learn samples int8 (n, inputs) with labels uint8 (n,) in order; returns what each was taken for before.

        numbers (n,): which of the task's samples each one is. The wire has 16 bits for them: only DDR reads them, and
        it follows no task of more samples.
        """
        which = np.asarray(numbers)
        if which.shape != (len(x),):
            raise LinkError(f"{len(x)} samples came with numbers of shape {which.shape}; give one number a sample")
        rows = self._labelled(x, y, OBSERVE.size)
        rows[:, 1:3] = (which & 0xFFFF).astype("<u2").reshape(-1, 1).view(np.uint8)
        return self._classes(Kind.OBSERVE, _rows(rows))

    def remember(self, x: Inputs, y: Labels) -> None:
        """Offer samples int8 (n, inputs) with labels uint8 (n,) to the replay buffer, between tasks."""
        self._samples(Kind.REMEMBER, _rows(self._labelled(x, y, 1)))

    def predict(self, x: Inputs, among: tuple[int, ...] | None = None) -> Labels:
        """Class of each sample int8 (n, inputs), uint8 (n,), among all or some; changes nothing learnt."""
        hello = self._ready()
        self._check_samples(x, hello)
        rows = _rows(np.ascontiguousarray(x).view(np.uint8))
        if among is None:
            return self._classes(Kind.PREDICT, rows)
        classes = _bits(among, hello)
        return self._classes(Kind.PREDICT_AMONG, [classes + row for row in rows])

    def layer(self, index: int) -> LayerInfo:
        """How the weighted layer `index`, in the network's order, stands."""
        return LayerInfo.unpack(self._control(Kind.LAYER, bytes([index])))

    def buffer(self) -> NDArray[np.int64]:
        """(classes,) samples of each class that the replay buffer holds."""
        classes, counts = self._ready().classes, b""
        for first in range(0, classes, BUFFER_CLASSES):
            reply = self._control(Kind.BUFFER, bytes([first]))
            if len(reply) != 2 * min(BUFFER_CLASSES, classes - first):
                self._malformed(Kind.BUFFER, reply)
            counts += reply
        return np.frombuffer(counts, "<u2").astype(np.int64)

    def state_hash(self) -> int:
        """CRC-32 of the learnt state."""
        body = self._control(Kind.STATE_HASH)
        if len(body) != STATE_HASH.size:
            self._malformed(Kind.STATE_HASH, body)
        return int(STATE_HASH.unpack(body)[0])

    def stats(self) -> Stats:
        """The board's counters."""
        return Stats.unpack(self._control(Kind.STATS))

    def commit(self, every: int = 0) -> None:
        """Keep what is learnt in the board's flash, now and from now on after so many samples and at the end of each
        task; 0: not by itself. Raises LinkError when the board has no store."""
        self._control(Kind.COMMIT, COMMIT.pack(every))

    def store(self) -> StoreInfo:
        """How the board's store stands. Raises LinkError when it has none."""
        return StoreInfo.unpack(self._control(Kind.STORE))

    def read_state(self) -> bytes:
        """Everything the board has learnt: its whole state block. Raises LinkError when it goes on beyond what a slot
        of the board's store holds or, without a store, beyond what READ_STATE can name."""
        state, limit = b"", self._state_limit()
        while len(state) % STATE_PIECE == 0:
            piece = self._control(Kind.READ_STATE, READ_STATE.pack(len(state) // STATE_PIECE))
            if len(piece) > STATE_PIECE:
                self._malformed(Kind.READ_STATE, piece)
            if not piece:
                break
            state += piece
            if len(state) >= limit:
                raise LinkError(
                    f"{self.name} goes on sending its state behind {limit} bytes, more than its store or "
                    "READ_STATE has room for; build and upload the firmware again from this checkout"
                )
        return state

    def _state_limit(self) -> int:
        try:
            return min(self.store().slot_bytes, STATE_LIMIT)
        except RefusedError as error:
            if error.status != Status.STORE:
                raise
            return STATE_LIMIT

    def write_state(self, state: bytes) -> None:
        """Make the board go on from a state block of its network, with its work counters at 0. Raises LinkError when
        the block is another network's (the board then keeps what it has) or is no sound state (it forgets
        everything). Interrupted, the board takes nothing but another state or a reset."""
        for piece, at in enumerate(range(0, len(state), STATE_PIECE)):
            self._control(Kind.WRITE_STATE, WRITE_STATE.pack(piece, state[at : at + STATE_PIECE]))

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
        return self._exchange(kind, payload)

    def _exchange(self, kind: Kind, payload: bytes) -> bytes:
        (reply,) = self._transport.exchange(kind, [payload], 1)
        self._check(kind, reply)
        return reply[1:]

    def _samples(self, kind: Kind, payloads: Sequence[bytes]) -> list[bytes]:
        """Messages that may be on their way together; the replies without their status."""
        replies = self._transport.exchange(kind, payloads, min(self._ready().window, self._window))
        for index, reply in enumerate(replies):
            self._check(kind, reply, f" of sample {index}")
        return [reply[1:] for reply in replies]

    def _classes(self, kind: Kind, payloads: Sequence[bytes]) -> Labels:
        replies = self._samples(kind, payloads)
        for reply in replies:
            if len(reply) != 1:
                self._malformed(kind, reply)
        return np.frombuffer(b"".join(replies), dtype=np.uint8).copy()

    def _labelled(self, x: Inputs, y: Labels, head: int) -> NDArray[np.uint8]:
        """Payloads, a row each: label, the rest of the `head` bytes, sample."""
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
        rows = np.zeros((len(x), head + hello.inputs), dtype=np.uint8)
        rows[:, 0] = labels
        rows[:, head:] = x.view(np.uint8)
        return rows

    def _check(self, kind: Kind, reply: bytes, which: str = "") -> None:
        if not reply:
            self._malformed(kind, reply)
        status = int.from_bytes(reply[:1], "little", signed=True)
        if status:
            raise RefusedError(f"{self.name} refused {kind.name}{which}: {status_text(status)}", status)

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


def _packed(s: LearnSettings) -> bytes:
    """RESET's payload."""
    kinds = (s.replay, s.alpha_shift, s.beta_shift, s.single_head_loss, s.importance, s.ddr_within_task)
    shares = (s.margin, s.tdm_intra, s.tdm_inter, s.dgm_share, s.ddr_fraction)
    return RESET.pack(s.seed, s.lr_mantissa, s.lr_exponent, *kinds, *shares, s.anneal)


def _bits(classes: Sequence[int], hello: Hello) -> bytes:
    """A set of classes as the wire has it: a bit each, lowest first."""
    alien = [label for label in classes if not 0 <= label < hello.classes]
    if alien:
        raise LinkError(f"classes {alien} of a network of {hello.classes} classes (0 .. {hello.classes - 1})")
    bits = np.zeros(hello.classes, np.uint8)
    bits[list(classes)] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def _rows(values: NDArray[np.uint8]) -> list[bytes]:
    data, size = values.tobytes(), values.shape[1]
    return [data[at : at + size] for at in range(0, len(data), size)]
