"""What the C runtime refuses, and that a refused call or a restart changes nothing; with everything SparCL has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from helpers import random_network, random_samples
from native import Program
from sparcl_mcu.learners.base import Importance, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.link.messages import Status

CLASSES = 11  # two bytes of bits
NETWORK = random_network(2, sizes=(20, 16, CLASSES))
ROOM = Room(replay=8, logits=True, tdm=True, inter=6554, dgm=True, slice=48, ddr=50)
SPARCL = LearnSettings(
    seed=3,
    replay=Replay.DERPP,
    importance=Importance.PAPER,
    tdm_intra=6554,
    tdm_inter=6554,
    dgm_share=40000,
    ddr_fraction=30000,
)
WHOLE = TaskInfo(tuple(range(CLASSES)), 50, 3)
X, Y = random_samples(NETWORK, 50, seed=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calls")


@pytest.fixture(scope="module")
def roomy(folder: Path) -> Program:
    return Program(NETWORK, folder / "roomy", room=ROOM)


@pytest.fixture(scope="module")
def bare(folder: Path) -> Program:
    return Program(NETWORK, folder / "bare", room=Room(replay=8))


@pytest.mark.parametrize(
    "more",
    [
        {"replay": Replay.DER},
        {"importance": Importance.MAGNITUDE},
        {"tdm_inter": 1},
        {"dgm_share": 1},
        {"ddr_fraction": 1},
    ],
    ids=str,
)
def test_settings_without_room_are_refused(bare: Program, more: dict[str, int]) -> None:
    bare.reset(LearnSettings(seed=1))
    bare.hash()
    bare.refused(Status.ROOM)
    bare.reset(LearnSettings(**more))  # type: ignore[arg-type]
    bare.hash()
    first, second = bare.run()
    assert first == second


@pytest.mark.parametrize(("at", "value"), [(4, 2), (5, 1), (6, 6), (7, 16), (8, 8), (9, 2), (10, 4), (11, 2), (22, 9)])
def test_settings_out_of_range_are_refused(bare: Program, at: int, value: int) -> None:
    """at: byte of the settings as RESET and tests/c/drive.c have them."""
    bare.refused(Status.CONFIG)
    bare.reset(LearnSettings())
    bare.script[2 + 1 + at] = value
    bare.run()


def test_a_rate_that_falls_is_refused_with_ewc(bare: Program) -> None:
    bare.refused(Status.CONFIG)
    bare.reset(LearnSettings(anneal=1))
    bare.script[2 + 1 + 6] = Replay.EWC
    bare.run()


@pytest.mark.parametrize(
    ("task", "status"),
    [
        (TaskInfo(()), Status.LABEL),
        (dataclasses.replace(WHOLE, samples=0), Status.SCHEDULE),
        (dataclasses.replace(WHOLE, epochs=0), Status.SCHEDULE),
        (dataclasses.replace(WHOLE, epochs=2), Status.SCHEDULE),  # DDR
        (dataclasses.replace(WHOLE, samples=9), Status.SCHEDULE),  # shorter than the sweeps
        (dataclasses.replace(WHOLE, samples=51), Status.ROOM),
        (dataclasses.replace(WHOLE, samples=2**31, epochs=3), Status.ARG),
    ],
    ids=str,
)
def test_tasks_that_settings_cannot_follow_are_refused(roomy: Program, task: TaskInfo, status: Status) -> None:
    roomy.reset(SPARCL)
    roomy.hash()
    roomy.refused(status)
    roomy.begin_task(task)
    roomy.hash()
    roomy.begin_task(WHOLE)
    first, second = roomy.run()
    assert first == second


def test_a_class_the_network_lacks_is_refused(roomy: Program) -> None:
    alien = (2 ** (CLASSES + 1)).to_bytes(2, "little")
    roomy.refused(Status.LABEL)
    roomy.script += b"B" + bytes(6) + alien
    roomy.refused(Status.LABEL)
    roomy.script += b"A" + alien + X[0].tobytes()
    roomy.refused(Status.LABEL)
    roomy.script += b"A" + bytes(2) + X[0].tobytes()
    roomy.run()


def test_calls_at_the_wrong_time_are_refused(roomy: Program) -> None:
    roomy.reset(SPARCL)
    for call in (roomy.end_epoch, roomy.end_task, lambda: roomy.observe(X[:1], Y[:1])):
        roomy.refused(Status.TASK)
        call()
    roomy.begin_task(dataclasses.replace(WHOLE, classes=(1, 2)))
    for call in (lambda: roomy.begin_task(WHOLE), lambda: roomy.remember(X[:1], Y[:1])):
        roomy.refused(Status.TASK)
        call()
    roomy.refused(Status.LABEL)
    roomy.observe(X[:1], np.array([3], np.uint8))
    roomy.refused(Status.LABEL)
    roomy.observe(X[:1], np.array([CLASSES], np.uint8))
    roomy.refused(Status.SAMPLE)
    roomy.observe(X[:1], np.array([1], np.uint8), [50])
    roomy.counters()
    roomy.refused(Status.ARG)
    roomy.layer(2)
    (counters,) = roomy.run()
    assert counters.startswith("steps=0 ")


def test_removed_samples_are_not_wanted_and_refused(roomy: Program) -> None:
    roomy.reset(SPARCL)
    roomy.begin_task(WHOLE)
    roomy.observe(X, Y)
    roomy.end_epoch()
    roomy.wanted(range(52))
    roomy.counters()
    *wanted, counters = roomy.run()
    removed = [n for n in range(50) if wanted[n] == "0"]
    assert len(removed) == 50 * 30000 // 65536
    assert wanted[50:] == ["0", "0"], "the task has no such samples"
    assert f" removed={len(removed)} " in counters
    roomy.reset(SPARCL)
    roomy.begin_task(WHOLE)
    roomy.observe(X, Y)
    roomy.end_epoch()
    for number in removed:
        roomy.refused(Status.SAMPLE)
        roomy.observe(X[[number]], Y[[number]], [number])
    roomy.run()


def test_a_task_that_announces_nothing_learns_without_a_schedule(roomy: Program) -> None:
    """Settings without a schedule; every 100th call would have shown a stray event."""
    roomy.reset(LearnSettings(replay=Replay.DERPP, margin=10, single_head_loss=True))
    for _ in range(2):
        roomy.begin_task()
        roomy.observe(X, Y)
        roomy.end_epoch()
        roomy.end_task()
    roomy.counters()
    (counters,) = roomy.run()
    assert " events=0 " in counters
    assert " macs_importance=0 " in counters


@pytest.mark.parametrize("cut", [1, 7, 12, 29, 50, 61, 97])
def test_a_restart_anywhere_changes_nothing(roomy: Program, cut: int) -> None:
    """Also in the middle of an importance window: everything that decides what is learnt lies in the state block."""

    def observe(first: int, last: int) -> None:
        """Steps first .. last - 1 of three epochs whose ends are not told: nothing is removed."""
        for at in range(first, last):
            n = at % 50
            roomy.observe(X[[n]], Y[[n]], [n])

    def start() -> None:
        roomy.reset(SPARCL)
        roomy.remember(X[:10], Y[:10])
        roomy.begin_task(WHOLE)

    start()
    observe(0, 140)
    roomy.hash()
    (whole,) = roomy.run()
    start()
    observe(0, cut)
    roomy.save()
    (state,) = roomy.run()
    roomy.load(bytes.fromhex(state))
    observe(cut, 140)
    roomy.hash()
    assert roomy.run() == [whole]


def test_every_64th_step_says_what_became_of_its_updates(bare: Program) -> None:
    def watched(steps: int, exponent: int) -> list[int]:
        bare.reset(LearnSettings(lr_exponent=exponent))
        bare.begin_task()
        bare.observe(np.resize(X, (steps, X.shape[1])), np.resize(Y, steps))
        bare.counters()
        told = dict(pair.split("=") for pair in bare.run()[0].split())
        return [int(told[f"updates_{what}"]) for what in ("watched", "dead", "saturated")]

    once, still, twice = watched(1, -7), watched(64, -7), watched(65, -7)
    assert 0 < once[0] == still[0] < twice[0]
    slow, fast = watched(1, -15), watched(1, 0)
    assert slow[0] == fast[0] == once[0], "the first step sees the same gradients at every rate"
    assert slow[1] > once[1] > fast[1]
    assert slow[2] == 0
