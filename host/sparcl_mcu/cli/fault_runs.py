"""What `sparcl results faults` does to the link and the store, and counts.

Every experiment here is the digits example, shortened, through the link to a real firmware with a store. What it must
end in is known from the simulated learner.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from .. import boards, experiment, network_file, prepare
from ..boards.process import ProcessStream
from ..boards.stream import BoardError, ByteStream
from ..design import mlp
from ..experiment import Begun, Outcome, Part, StageResult, Stream
from ..graph import Graph, size
from ..learners.base import LearnSettings, Room, TaskInfo
from ..learners.board import BoardLearner
from ..learners.simulated import SimulatedLearner
from ..link.client import Client
from ..link.faults import Faults, FaultyLine, SlowLine
from ..network import Network
from ..pretrain import FloatNetwork, FloatWeights
from ..quantize import InputScaling, to_integers
from ..sparsity import top_blocks
from .options import read

BAD_LINE = Faults(
    flipped=1e-3, mixed=1e-3, dropped=0.01, duplicated=0.01, echoed=0.01, swapped=0.01, stalled=0.002, unplugged=1e-4
)
RATES = ("flipped", "mixed", "dropped", "duplicated", "echoed", "swapped", "stalled", "unplugged")
SAMPLES, EXAM, EPOCHS = 60, 20, 2  # of a task: learnt, then asked for; times learnt
EVERY = 50  # samples between two commits
RUNS = {"native": 100, "qemu_m4": 10}
KILLS, SOAK = 50, 1_000_000
FUZZ = {"session": 8_000_000, "store": 2_000_000}  # inputs
CUT_TASKS, CUT_REPLAY = 3, 10  # of the run that is cut everywhere: a small state has fewer operations

Say = Callable[[str], None]


def quiet(done: int, total: int) -> None:
    """No progress."""


@dataclass
class Bench:
    """The example, and its firmware in `folder`."""

    folder: Path
    network: Network
    room: Room
    settings: LearnSettings
    stream: Stream

    @classmethod
    def prepared(cls, folder: Path, tasks: int = 5, replay: int | None = None) -> Bench:
        """replay: samples in the buffer, as in the example unless told otherwise."""
        from sparcl_tools.generate import generate
        from sparcl_tools.pio import ROOT

        config = read(ROOT / "examples" / "digits")
        config = replace(config, data=replace(config.data, samples_per_task=SAMPLES))
        network = network_file.load(ROOT / "examples" / "digits" / "network.sparcl")
        made = prepare.scenario(config, None)
        config = replace(config, learn=replace(config.learn, replay=replay or config.learn.replay))
        room, settings = prepare.room(config, network), prepare.learn_settings(config)
        whole = experiment.quantised(network, made.tasks[:tasks])
        exam = tuple(Part(part.x[:EXAM], part.y[:EXAM]) for part in whole.test)
        generate(network, folder / "model", room=room, settings=settings)
        return cls(folder, network, room, settings, replace(whole, val=exam, test=exam))

    def program(self, board: str) -> Path:
        """Built with a store."""
        from sparcl_tools.build import build

        return build(board, self.folder / "model", store=True)

    @cached_property
    def expected(self) -> list[int | None]:
        """State hashes after every task, by the simulated learner."""
        return hashes(self.run(SimulatedLearner(self.network, self.room)))

    def run(self, learner: Any, **how: Any) -> Outcome:
        return experiment.run(learner, self.stream, self.settings, epochs=EPOCHS, on_progress=quiet, **how)

    def learner(self, line: ByteStream, timeout: float) -> BoardLearner:
        return self.taught_through(Client(line, timeout=timeout))

    def taught_through(self, client: Client) -> BoardLearner:
        from sparcl_tools.generate import model_hash

        expected = model_hash(self.network, self.room)
        return BoardLearner(client, self.network, expected_model_hash=expected, commit_every=EVERY)

    def run_to_the_end(self, connected: Callable[[], AbstractContextManager[BoardLearner]]) -> Outcome:
        """A run that goes on, connected again, whenever board or line are lost."""
        stages: list[StageResult] = []
        begun = False

        def reset_done() -> None:
            nonlocal begun
            begun = True
            stages.clear()

        while True:
            with suppress(BoardError), connected() as learner:
                position = learner.position(self.settings) if begun else None
                where = Begun(position, tuple(stages)) if position else None
                return self.run(learner, on_stage=stages.append, on_reset=reset_done, begun=where)

    @property
    def flash(self) -> Path:
        return self.folder / "flash"


def hashes(outcome: Outcome) -> list[int | None]:
    return [stage.state_hash for stage in outcome.stages]


@contextmanager
def started(bench: Bench, board: str, program: Path) -> Iterator[ByteStream]:
    stream = boards.open_board(boards.catalogue.find(board), program, flash=bench.flash)
    try:
        yield stream
    finally:
        stream.close()


# ---- what is measured


def bad_line(folder: Path, say: Say) -> dict[str, Any]:
    """Whole experiments over BAD_LINE; where it is cut, another host goes on."""
    bench = Bench.prepared(folder)
    return {board: _bad_runs(bench, board, runs, say) for board, runs in RUNS.items()}


def _bad_runs(bench: Bench, board: str, runs: int, say: Say) -> dict[str, Any]:
    program, wrong, happened, retries, began = bench.program(board), 0, Counter[str](), 0, time.monotonic()
    seeds = count()

    @contextmanager
    def connected(stream: ByteStream) -> Iterator[BoardLearner]:
        nonlocal retries
        line = FaultyLine(stream, BAD_LINE, next(seeds))
        client = Client(line, timeout=4.0)
        try:
            yield bench.taught_through(client)
        finally:
            happened.update(line.happened)
            retries += client.counters.retries

    for run in range(1, runs + 1):
        bench.flash.unlink(missing_ok=True)
        with started(bench, board, program) as stream:
            wrong += hashes(bench.run_to_the_end(partial(connected, stream))) != bench.expected
        if run % 10 == 0:
            say(f"{board}: {run} of {runs} runs, {wrong} different")
    return {
        "runs": runs,
        "different": wrong,
        "rates": {name: rate for name in RATES if (rate := getattr(BAD_LINE, name))},
        "faults": dict(happened),
        "frames_sent_again": retries,
        "seconds": round(time.monotonic() - began, 1),
    }


class _Committing(SimulatedLearner):
    """Knows the state hash at each commit of a board that commits every EVERY samples."""

    def reset(self, settings: LearnSettings) -> None:
        super().reset(settings)
        self.since, self.kept = 0, [self.state_hash()]

    def observe(self, x: Any, y: Any, numbers: Any = None) -> None:
        for i in range(len(x)):
            super().observe(x[i : i + 1], y[i : i + 1], None if numbers is None else numbers[i : i + 1])
            self.since += 1
            if self.since == EVERY:
                self._commit()

    def end_task(self) -> None:
        super().end_task()
        self._commit()

    def _commit(self) -> None:
        self.since = 0
        self.kept.append(self.state_hash())


def power_cuts(folder: Path, say: Say) -> dict[str, Any]:
    """The native board's power cut in every operation of its flash; then it is switched on, and the run goes on."""
    bench = Bench.prepared(folder, CUT_TASKS, CUT_REPLAY)
    simulated = _Committing(bench.network, bench.room)
    bench.run(simulated)
    found: list[int] = []  # commits after each restart
    program, torn, different = bench.program("native"), 0, 0
    while True:
        bench.flash.write_bytes(bytes(64 << 10))
        stages: list[StageResult] = []
        with _environment("SPARCL_POWER_CUT", str(len(found) + 1)), started(bench, "native", program) as stream:
            try:
                bench.run(bench.learner(stream, 4.0), on_stage=stages.append)
                break  # every operation has been cut
            except BoardError:
                pass
        with started(bench, "native", program) as stream:
            learner = bench.learner(stream, 4.0)
            commits = learner.hello.commits
            torn += commits > 0 and learner.state_hash() != simulated.kept[commits - 1]
            position = learner.position(bench.settings) if commits else None
            begun = Begun(position, tuple(stages)) if position else None
            different += hashes(bench.run(learner, begun=begun))[-1] != simulated.kept[-1]
        found.append(commits)
        if len(found) % 100 == 0:
            say(f"power cut in {len(found)} operations: {torn} torn, {different} ended differently")
    each = len(found) // len(simulated.kept)
    lost = sum(commits < cut // each for cut, commits in enumerate(found))
    return {
        "operations": len(found),
        "commits": len(simulated.kept),
        "lost": lost,
        "torn": torn,
        "different": different,
    }


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def kills(folder: Path, say: Say) -> dict[str, Any]:
    """An emulated board killed at random moments, started again and gone on with."""
    bench, source = Bench.prepared(folder), random.Random(0)
    program, killed, runs, different = bench.program("qemu_m4"), 0, 0, 0

    @contextmanager
    def connected() -> Iterator[BoardLearner]:
        nonlocal killed
        with started(bench, "qemu_m4", program) as stream:
            assert isinstance(stream, ProcessStream)
            learner = bench.learner(stream, 10.0)
            timer = threading.Timer(source.uniform(0.2, 4.0), stream.kill)
            timer.start()
            try:
                yield learner
            except BoardError:
                killed += 1
                raise
            finally:
                timer.cancel()

    while killed < KILLS:
        bench.flash.unlink(missing_ok=True)
        different += hashes(bench.run_to_the_end(connected)) != bench.expected
        runs += 1
        say(f"{killed} kills in {runs} runs, {different} ended differently")
    return {"kills": killed, "runs": runs, "different": different}


def soak(folder: Path, say: Say) -> dict[str, Any]:
    """A million training samples through the link, one task of all classes.

    An empty task comes before it: replay starts with the second, and every sample is to be learnt with a replayed one.
    """
    bench = Bench.prepared(folder)
    x, y = (np.concatenate([getattr(part, name) for part in bench.stream.train]) for name in "xy")
    test_x, test_y = (np.concatenate([getattr(part, name) for part in bench.stream.test]) for name in "xy")
    accuracy, memory, source = [], [], np.random.default_rng(0)
    program = bench.program("native")
    with started(bench, "native", program) as stream:
        assert isinstance(stream, ProcessStream)
        client = Client(stream, timeout=10.0)
        client.reset(bench.settings)
        everything = TaskInfo(tuple(range(bench.network.classes)))
        client.begin_task(everything)
        client.end_task()
        client.begin_task(everything)
        began, done, next_look = time.monotonic(), 0, 0
        while done < SOAK:
            order = source.permutation(len(x))[: SOAK - done]
            client.observe(x[order], y[order], np.zeros(len(order), np.int64))
            done += len(order)
            if done >= next_look:
                accuracy.append(float((client.predict(test_x) == test_y).mean()))
                memory.append(_resident(stream.pid))
                next_look += SOAK // 10
                say(f"{done} samples, accuracy {accuracy[-1]:.2f}, {memory[-1]} KiB")
        seconds, stats, counters = time.monotonic() - began, client.stats(), client.counters
    return {
        "samples": stats.steps,
        "training_passes": stats.training_passes,
        "seconds": round(seconds, 1),
        "samples_per_second": round(stats.steps / seconds),
        "accuracy": accuracy,
        "resident_kib": memory,
        "damaged_or_repeated": stats.bad_crc + stats.repeated + stats.out_of_order + counters.retries,
        "counters_consistent": stats.frames_ok + 1 == counters.frames_sent
        and stats.steps == SOAK
        and stats.training_passes == 2 * SOAK - 1,  # the buffer is empty at the first
    }


def _resident(pid: int) -> int:
    """KiB of memory a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def efficiency(folder: Path, say: Say) -> dict[str, Any]:
    """784-byte samples: payload over wire; and what a window does about latency, on a line of 1 Mbit/s."""
    from sparcl_tools.build import build
    from sparcl_tools.generate import generate

    network, rate, latency = untrained(mlp((784,), 10, (16,), 0.25)), 100_000, 0.016
    generate(network, folder / "model", room=Room(replay=1), settings=LearnSettings())
    program = build("native", folder / "model")
    x = np.random.default_rng(0).integers(-127, 128, (256, 784)).astype(np.int8)
    found: dict[str, Any] = {"bytes_per_second": rate, "latency_seconds": latency}
    for window in (1, 2, 4, 8, 32):
        line = SlowLine(
            boards.open_board(boards.catalogue.find("native"), program), bytes_per_second=rate, latency=latency
        )
        client = Client(line, timeout=10.0, window=window)
        client.hello()
        before, began = (client.counters.payload_sent, client.counters.bytes_sent), time.monotonic()
        client.predict(x)
        seconds = time.monotonic() - began
        payload, wire = client.counters.payload_sent - before[0], client.counters.bytes_sent - before[1]
        client.close()
        found[f"window_{window}"] = {"samples_per_second": len(x) / seconds, "share_of_line": wire / rate / seconds}
        found["payload_over_wire"] = payload / wire
        say(f"window {window}: {len(x) / seconds:.0f} samples a second")
    return found


def untrained(graph: Graph) -> Network:
    """A network with random weights, for figures that do not depend on them."""
    rng = np.random.default_rng(0)
    weights = {}
    for node in (node for node in graph.nodes if node.weighted):
        shape = (graph.weight_rows(node), graph.fan_in(node))
        mask = top_blocks(rng.random(shape), node.density, node.block)
        weight = (rng.normal(0, (2 / shape[1]) ** 0.5, shape) * mask).astype(np.float32)
        weights[node.name] = FloatWeights(weight, np.zeros(shape[0], np.float32), mask)
    inputs = size(graph.input_shape)
    scaling = InputScaling(np.zeros(inputs, np.float32), np.ones(inputs, np.float32), -7)
    return to_integers(FloatNetwork(graph, weights), scaling, dict.fromkeys(graph.shapes, 4.0), "untrained")


def fuzz(folder: Path, say: Say) -> dict[str, Any]:
    """The C session and the store's flash under libFuzzer (tests/fuzz)."""
    from . import fuzzing

    found: dict[str, Any] = {"inputs": 0, "reports": 0}
    for target, inputs in FUZZ.items():
        done = fuzzing.run(fuzzing.build(target, folder), target, inputs)
        found["inputs"] += done.inputs
        found["reports"] += done.report != ""
        found |= done.counts
        say(f"{target}: {done.inputs:,} inputs, {done.counts} {done.report[-2000:]}")
    return found


def sizes(folder: Path, say: Say) -> dict[str, Any]:
    """Bytes of flash on qemu_m4, by object file; of RAM and of the lock, by what the whole firmware has more of."""
    from sparcl_tools import elf
    from sparcl_tools.build import build
    from sparcl_tools.sizes import by_object

    bench, board = Bench.prepared(folder), "qemu_m4"
    bare = elf.sizes(build(board, folder / "model"))
    stored = elf.sizes(bench.program(board))
    objects = by_object(bench.program(board))
    with _environment("SPARCL_KEY", "00" * 16):
        locked = elf.sizes(bench.program(board))
    names = ("session", "reply", "frame", "crc32", "admit", "store")
    code = {name: objects[name].code for name in (*(f"sparcl/{name}" for name in names), "flash_mps2")}
    return code | {
        "lock": locked.flash_bytes - stored.flash_bytes,
        "ram_link": sum(bare.ram[name] for name in ("session", "frame", "io")),
        "ram_store": stored.ram_bytes - bare.ram_bytes,
        "ram_lock": locked.ram_bytes - stored.ram_bytes,
    }


PARTS = {
    "line": bad_line,
    "cuts": power_cuts,
    "kills": kills,
    "soak": soak,
    "efficiency": efficiency,
    "fuzz": fuzz,
    "sizes": sizes,
}
