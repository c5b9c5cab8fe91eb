"""A generated model and the runtime as one sanitized host program, driven without a link (tests/c/drive.c)."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from helpers import REPO, compile_c, random_samples, sanitized_runtime
from sparcl_mcu.learners.base import LearnSettings, Room, TaskInfo
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.messages import Status
from sparcl_mcu.network import Network
from sparcl_tools import state_block
from sparcl_tools.generate import generate


class Program:
    """Collects calls, then runs them in one go under AddressSanitizer and UBSan.

    The calls are those of a `Learner`; `hash`, `wanted`, `predict`, `counters`, `layer` and `held` ask for a line that
    `run` returns. After `refused(status)` the next call must be refused with that error.
    """

    def __init__(
        self, network: Network, folder: Path, *, replay: int = 0, batch: int = 1, room: Room | None = None
    ) -> None:
        """room: the memory; if not given, only a replay buffer and mini-batch sums."""
        self.network = network
        generate(network, folder, room=room or Room(replay=replay, batch=batch), settings=LearnSettings())
        sources = [str(REPO / "tests/c/drive.c"), str(folder / "model.c"), *sanitized_runtime()]
        self.path = compile_c(folder / "drive", sources, "-I", str(folder), "-fsanitize=address,undefined")
        self.script = bytearray()

    def refused(self, status: Status) -> None:
        self.script += struct.pack("<cb", b"!", status)

    def reset(self, s: LearnSettings) -> None:
        rate = struct.pack("<IBb", s.seed, s.lr_mantissa, s.lr_exponent)
        kinds = bytes((s.replay, s.alpha_shift, s.beta_shift, s.single_head_loss, s.importance, s.ddr_within_task))
        self.script += b"C" + rate + kinds
        self.script += struct.pack("<5HB", s.margin, s.tdm_intra, s.tdm_inter, s.dgm_share, s.ddr_fraction, s.anneal)

    def begin_task(self, task: TaskInfo | None = None) -> None:
        """Open a task; without `task`, one of all classes that says nothing else."""
        task = task or TaskInfo(tuple(range(self.network.classes)))
        self.script += b"B" + struct.pack("<IH", task.samples, task.epochs) + self._bitmap(task.classes)

    def observe(
        self, x: NDArray[np.int8], y: NDArray[np.uint8], numbers: Sequence[int] | None = None, *, tell: bool = False
    ) -> None:
        """Learn samples in order. tell: `run` returns the class each was taken for before."""
        which = range(len(x)) if numbers is None else numbers
        for sample, label, number in zip(x, y, which, strict=True):
            self.script += (b"O" if tell else b"S") + struct.pack("<BI", label, number) + sample.tobytes()

    def remember(self, x: NDArray[np.int8], y: NDArray[np.uint8]) -> None:
        for sample, label in zip(x, y, strict=True):
            self.script += b"M" + bytes([label]) + sample.tobytes()

    def end_epoch(self) -> None:
        self.script += b"N"

    def end_task(self) -> None:
        self.script += b"E"

    def predict(self, x: NDArray[np.int8], among: tuple[int, ...] | None = None) -> None:
        for sample in x:
            self.script += (b"P" if among is None else b"A" + self._bitmap(among)) + sample.tobytes()

    def wanted(self, numbers: Sequence[int]) -> None:
        """A line each: 1 or 0."""
        for number in numbers:
            self.script += b"V" + struct.pack("<I", number)

    def hash(self) -> None:
        """A line: the state hash, %08x."""
        self.script += b"H"

    def counters(self) -> None:
        """A line: name=value of every counter of scl_counters."""
        self.script += b"T"

    def layer(self, index: int) -> None:
        """A line: live, learning, blocks with a term, weights (scl_layer_info)."""
        self.script += b"L" + struct.pack("<H", index)

    def held(self, label: int) -> None:
        """A line: how many samples of a class the replay buffer holds."""
        self.script += b"U" + bytes([label])

    def save(self) -> None:
        """A line: the state block in hexadecimal."""
        self.script += b"W"

    def load(self, state: bytes) -> None:
        self.script += b"R" + state

    def admit(self) -> None:
        """Refused with Status.STATE unless the state may be learnt with (scl_admit)."""
        self.script += b"D"

    def run(self) -> list[str]:
        """Run what was collected; the lines printed. Fails on any sanitizer report or unexpected answer."""
        script, self.script = bytes(self.script), bytearray()
        done = subprocess.run([self.path], input=script, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return [line.strip() for line in done.stdout.decode().splitlines()]

    def _bitmap(self, classes: Sequence[int]) -> bytes:
        bits = np.zeros(-(-self.network.classes // 8) * 8, np.uint8)
        bits[list(classes)] = 1
        return np.packbits(bits, bitorder="little").tobytes()


def assert_learnt_the_same(
    lines: list[str], learner: SimulatedLearner, want: Sequence[int], network: Network, room: Room
) -> SimulatedLearner:
    """Lines of `run` (hashes, then counters, then the saved state) are what NumPy's learner came to, with hashes `want`
    on its way. Returns the saved state, loaded."""
    *hashes, counters, block = lines
    assert hashes == [f"{h:08x}" for h in want]
    told = dict(pair.split("=") for pair in counters.split())
    for counter, value in learner.stats().items():
        assert int(told[counter]) == value, counter
    loaded = state_block.load(network, room, bytes.fromhex(block))
    assert loaded.state_hash() == learner.state_hash()
    return loaded


def assert_equal_at_every_event(
    network: Network, folder: Path, settings: LearnSettings, room: Room, *, samples: int = 40, tasks: int = 2
) -> None:
    """C and NumPy learn tasks of three epochs and two classes; states are compared after every ten samples,
    finer than events, and after every epoch."""
    epochs = 3
    learner, program = SimulatedLearner(network, room), Program(network, folder, room=room)
    want: list[str] = []
    for device in (learner, program):
        device.reset(settings)
    x, y = random_samples(network, 12, seed=99)
    for device in (learner, program):
        device.remember(x, y)

    def compare() -> None:
        program.hash()
        want.append(f"{learner.state_hash():08x}")

    compare()
    for task in range(tasks):
        classes = (2 * task, 2 * task + 1)
        x, y = random_samples(network, samples, seed=task)
        y = np.array(classes, np.uint8)[y % 2]
        for device in (learner, program):
            device.begin_task(TaskInfo(classes, samples, epochs))
        compare()
        for _ in range(epochs):
            wanted = np.flatnonzero(learner.wanted())
            program.wanted(range(samples))
            want += [str(int(bit)) for bit in learner.wanted()]
            for part in range(0, len(wanted), 10):
                numbers = wanted[part : part + 10]
                for device in (learner, program):
                    device.observe(x[numbers], y[numbers], numbers)
                compare()
            for device in (learner, program):
                device.end_epoch()
            compare()
        for device in (learner, program):
            device.end_task()
            device.predict(x[:3], classes)
            device.predict(x[:3])
        want += [str(c) for c in (*learner.predict(x[:3], classes), *learner.predict(x[:3]))]
    for number, node in enumerate(network.weighted()):
        program.layer(number)
        sparse = learner.layers[node.name].sparse
        slots = network.weights[node.name].slots
        live = int(sparse.mask.sum()) if sparse else slots
        learns = 0 if node.frozen else int(sparse.learns.sum()) if sparse else slots
        terms = int(np.count_nonzero(sparse.terms[sparse.stored])) if sparse and room.slice else 0
        want.append(f"{live} {learns} {terms} {network.weights[node.name].mask.size}")
    for label in range(network.classes):
        program.held(label)
        want.append(str(int((learner.replay.y[: learner.replay.filled] == label).sum())))
    assert learner.work["events"] == (10 * tasks if settings.masks_learn else 0)
    program.counters()
    program.save()
    *got, counters, block = program.run()
    assert got == want
    told = dict(pair.split("=") for pair in counters.split())
    for name, value in learner.stats().items():
        assert int(told[name]) == value, name
    assert (int(told["updates_watched"]) > 0) == (not room.ewc), "what EWC does is not watched"
    assert state_block.load(network, room, bytes.fromhex(block)).state_hash() == learner.state_hash()
