"""Where the time of a sample goes when the native board learns: in the learner, on the link, in Python.

Processor time, which other programs change little. What the board spends is told apart by a second run that sends the
same samples to be remembered: those cross the link alike, and nothing is learnt from them.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparcl_mcu.boards import catalogue, open_board
from sparcl_mcu.learners.base import LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.board import BoardLearner
from sparcl_mcu.link.client import Client
from sparcl_mcu.network import Network

from .bench_steps import ROOM, SETTINGS, STEPS, live_network
from .build import build
from .generate import generate, model_hash

BOARD = "native"
SAMPLES = 3000
STEP = STEPS[0]  # its network is measured
BUFFER = 200  # samples, of DER++
CASES = ((1.0, Replay.ER), (0.1, Replay.ER), (0.1, Replay.DERPP))  # density, method; ER of a first task: no replay


@dataclass(frozen=True)
class Split:
    """Seconds of SAMPLES samples. wall: from the first to the last answer. learner, link: of the board's process;
    python: of this one."""

    density: float
    method: Replay
    wall: float
    learner: float
    link: float
    python: float


def measure(density: float, method: Replay, folder: Path) -> Split:
    """Build the native board and teach it; raises BuildError, LinkError."""
    network, x = live_network(STEP.build(density, STEP.block), 0)
    link, _, _ = _sent(network, x, folder / "link", ROOM, SETTINGS, learn=False)
    room, settings = ROOM, SETTINGS
    if method is not Replay.ER:
        room, settings = Room(replay=BUFFER, logits=True), replace(SETTINGS, replay=method)
    board, wall, python = _sent(network, x, folder / "learner", room, settings, learn=True)
    return Split(density, method, wall, board - link, link, python)


def _sent(
    network: Network, x: NDArray[np.int8], folder: Path, room: Room, settings: LearnSettings, *, learn: bool
) -> tuple[float, float, float]:
    """Seconds of processor time of the board, of the wall clock and of processor time of this program."""
    generate(network, folder, room=room, settings=settings)
    program = build(BOARD, folder, build_dir=folder.parent / "objects")
    samples, labels = np.repeat(x, SAMPLES, 0), np.arange(SAMPLES, dtype=np.uint8) % network.classes
    children = _seconds(resource.RUSAGE_CHILDREN)
    client = Client(open_board(catalogue.find(BOARD), program))
    try:
        learner = BoardLearner(client, network, expected_model_hash=model_hash(network, room))
        learner.reset(settings)
        if settings.replay is not Replay.ER:  # it replays from its second task on
            learner.remember(samples[:BUFFER], labels[:BUFFER])
            learner.begin_task(TaskInfo(tuple(range(network.classes))))
            learner.end_task()
        clock, own = time.perf_counter(), _seconds(resource.RUSAGE_SELF)
        if learn:
            learner.begin_task(TaskInfo(tuple(range(network.classes))))
            learner.observe(samples, labels)
        else:
            learner.remember(samples, labels)
        wall, python = time.perf_counter() - clock, _seconds(resource.RUSAGE_SELF) - own
    finally:
        client.close()
    return _seconds(resource.RUSAGE_CHILDREN) - children, wall, python


def _seconds(of: int) -> float:
    """Processor time of user and system."""
    usage = resource.getrusage(of)
    return usage.ru_utime + usage.ru_stime


def table(splits: list[Split]) -> str:
    """Lines for a person to read."""
    head = ("samples/s", "learner us", "link us", "Python us", "link and Python of the learner")
    lines = [f"{f'{STEP.name} on {BOARD}':<35}  {'  '.join(head)}"]
    for s in splits:
        each = [1e6 * seconds / SAMPLES for seconds in (s.learner, s.link, s.python)]
        what = f"density {s.density:g}, {'one pass' if s.method is Replay.ER else 'DER++, three passes'} a sample"
        share = (s.link + s.python) / s.learner
        lines.append(
            f"{what:<35}  {SAMPLES / s.wall:>9,.0f}  {each[0]:>10.1f}  {each[1]:>7.1f}  {each[2]:>9.1f}  {share:>8.0%}"
        )
    return "\n".join(lines) + "\n"
