"""The two learners on the host, in a process of their own, while the board works.

The float twin says what rounding costs; the simulated learner says whether the board computed what it should.
"""

from __future__ import annotations

import multiprocessing
import signal
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import TracebackType

from . import experiment
from .errors import SparclError
from .experiment import Outcome, Progress, Stream
from .learners.base import Learner, LearnSettings, Room
from .network import Network


class ReferencesError(SparclError):
    """A reference learner could not be run, or disagrees with the board."""


@dataclass(frozen=True)
class Job:
    """One experiment for the reference learners."""

    network: Network
    stream: Stream
    settings: LearnSettings
    epochs: int
    room: Room


class References:
    """Both reference runs, started at once in the background. As a context manager it never outlives the block."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")  # fork and torch's threads do not mix
        self._receive, send = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(send, job), daemon=True)
        # The child inherits the blocked signal: Ctrl-C reaches the parent, which ends the child. The tracker, which
        # start() would otherwise start, unblocks it.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        send.close()

    def outcomes(self, on_progress: Progress) -> dict[str, Outcome]:
        """Wait for both: {"simulated": ..., "float": ...}. Raises ReferencesError when the process died.

        The simulated learner's stats also tell `masters_moved_ppm`: the share of stored weights that differ from the
        start, in parts a million.
        """
        found: dict[str, Outcome] = {}
        while len(found) < 2:
            try:
                message = self._receive.recv()
            except EOFError:
                self._process.join(5)
                raise ReferencesError(
                    f"the process of the reference learners ended early (exit code {self._process.exitcode}); "
                    "its message stands above; was it out of memory?"
                ) from None
            if isinstance(message[1], Outcome):
                found[message[0]] = message[1]
            else:
                on_progress(*message)
        return found

    def __enter__(self) -> References:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.kill()
        self._process.join(5)
        self._receive.close()


def _work(send: Connection, job: Job) -> None:
    from .learners.float_twin import FloatTwin
    from .learners.simulated import SimulatedLearner

    def outcome(learner: Learner, position: int) -> Outcome:
        def report(done: int, total: int) -> None:
            send.send((done + position * total, 2 * total))

        return experiment.run(learner, job.stream, job.settings, epochs=job.epochs, on_progress=report)

    simulated = SimulatedLearner(job.network, job.room)
    found = outcome(simulated, 0)
    moved = {"masters_moved_ppm": round(simulated.moved() * 1e6)}
    send.send(("simulated", replace(found, stats=found.stats | moved)))
    send.send(("float", outcome(FloatTwin(job.network, job.room), 1)))


def first_disagreement(board: Outcome, simulated: Outcome) -> int | None:
    """The first stage after which the two state hashes differ; None when all agree."""
    for ours, theirs in zip(board.stages, simulated.stages, strict=True):
        if ours.state_hash != theirs.state_hash:
            return ours.stage
    return None
