"""A run that was stopped, by the host's death or the board's, ends as if nothing had happened."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import SPARCL, SPARCL_ROOM, random_network, random_samples
from link_harness import Board, native_firmware
from sparcl_mcu import experiment
from sparcl_mcu.experiment import Begun, ExperimentError, Outcome, Part, StageResult, Stream
from sparcl_mcu.journal import Journal
from sparcl_mcu.learners.base import LearnSettings, Position
from sparcl_mcu.learners.board import BoardLearner
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.client import Client
from sparcl_mcu.record import RunFolder, UnusableError
from sparcl_tools.generate import model_hash

NETWORK, ROOM, EPOCHS = random_network(3), SPARCL_ROOM, 4
SETTINGS = replace(SPARCL, ddr_fraction=20000)


def parts(seed: int) -> tuple[Part, ...]:
    return tuple(Part(*random_samples(NETWORK, 60, seed + task)) for task in range(3))


# The first task is only remembered.
CLASSES = tuple(range(NETWORK.classes))
STREAM = Stream(parts(0), parts(10), parts(20), (CLASSES, CLASSES, CLASSES), shipped=1)
JOINT_ROOM = replace(ROOM, ddr=0)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native_firmware(NETWORK, tmp_path_factory.mktemp("resume"), ROOM, "-DSCL_WITH_STORE")


class StoppedError(Exception):
    pass


def stop_at(count: int) -> Callable[[int, int], None]:
    """Progress that stops the host after so many reports."""

    def report(done: int, total: int) -> None:
        nonlocal count
        assert done <= total
        count -= 1
        if count == 0:
            raise StoppedError

    return report


def connect(board: Board) -> BoardLearner:
    client = Client(board, timeout=20)
    return BoardLearner(client, NETWORK, expected_model_hash=model_hash(NETWORK, ROOM), commit_every=25)


def go(teach: Callable[..., Outcome], settings: LearnSettings, program: Path, folder: RunFolder, seed: int) -> Outcome:
    """Stop host, board or both again and again; each new host knows what the journal of the last one says."""
    source, flash = random.Random(seed), folder.path / "flash"
    board = Board(program=program, arguments=[flash])
    for attempt in range(100):
        journal, learner = Journal(folder), connect(board)
        position = learner.position(settings) if journal.has_begun("run") else None
        try:
            return teach(
                learner,
                STREAM,
                settings,
                epochs=EPOCHS,
                on_progress=stop_at(source.randrange(2, 12) if attempt < 25 else 0),
                on_stage=lambda result, journal=journal: journal.stage("run", result),
                on_reset=lambda journal=journal: journal.begin("run"),
                begun=Begun(position, journal.stages("run")) if position else None,
            )
        except StoppedError:
            if source.random() < 0.6:
                board.process.kill()
                board.process.communicate()
                board = Board(program=program, arguments=[flash])
    raise AssertionError("it never ended")


def summary(outcome: Outcome) -> list[tuple]:
    return [
        (r.stage, r.test_accuracy, r.val_accuracy, [p.tolist() for p in r.predictions], r.state_hash, r.task_il)
        for r in outcome.stages
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("teach", [experiment.run, experiment.run_joint])
def test_stopped_anywhere_a_run_ends_as_if_nothing_had_happened(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teach: Callable[..., Outcome], seed: int
):
    monkeypatch.setattr(experiment, "CHUNK", 16)  # more places to stop at
    joint = teach is experiment.run_joint
    settings = replace(SETTINGS, seed=seed, ddr_fraction=0) if joint else replace(SETTINGS, seed=seed)
    if joint:  # an empty first task has no schedule
        settings = LearnSettings(seed=seed, lr_exponent=-6)
    simulated = SimulatedLearner(NETWORK, ROOM)
    expected = teach(simulated, STREAM, settings, epochs=EPOCHS, on_progress=lambda done, total: None)
    outcome = go(teach, settings, program, RunFolder(tmp_path), seed)
    assert summary(outcome) == summary(expected)
    assert outcome.resumed
    assert not expected.resumed
    assert outcome.stats["steps"] == expected.stats["steps"], "counters come back with the state"
    assert outcome.stats["macs_forward"] == expected.stats["macs_forward"]


def test_a_board_that_learns_something_else_has_no_position(program: Path, tmp_path: Path):
    learner = connect(Board(program=program, arguments=[tmp_path / "flash"]))
    learner.reset(SETTINGS)
    assert learner.position(SETTINGS) == Position(0, 0, False, 0, 0)
    assert learner.position(replace(SETTINGS, seed=1)) is None


def test_a_board_that_is_too_far_is_not_gone_on_with():
    simulated = SimulatedLearner(NETWORK, ROOM)
    ahead = Begun(Position(60, 2, True, 0, 0))
    with pytest.raises(ExperimentError, match=r"past task 0, .*start the run again"):
        experiment.run(simulated, STREAM, SETTINGS, epochs=EPOCHS, on_progress=lambda done, total: None, begun=ahead)


def test_the_journal_forgets_what_was_reset(tmp_path: Path):
    folder = RunFolder(tmp_path)
    journal = Journal(folder)
    assert not journal.has_begun("run")
    journal.begin("run")
    result = StageResult(0, (0.5,), (0.25,), (np.array([1, 2], np.uint8),), 7, 1.5, (1.0,))
    journal.stage("run", result)
    assert Journal(folder).outcome("run") is None
    journal.end("run", Outcome((result,), {"steps": 3}, resumed=True))
    again = Journal(folder).outcome("run")
    assert summary(again) == summary(Outcome((result,), {}))
    assert again.stats == {"steps": 3}
    assert again.resumed
    journal.begin("run")
    assert Journal(folder).stages("run") == ()


STAGE = {"stage": 0, "test_accuracy": [1.0], "val_accuracy": [1.0], "predictions": [], "state_hash": 1, "seconds": 1.0}


@pytest.mark.parametrize(
    "content",
    ['{"run": {"sta', "[]", "null", '{"run": []}', json.dumps({"run": {"stages": [STAGE], "stats": None}})],
)
def test_a_damaged_journal_says_what_to_do(tmp_path: Path, content: str):
    """The last one lacks `task_il` of its stage."""
    (tmp_path / "progress.json").write_text(content)
    with pytest.raises(UnusableError, match=r"progress\.json cannot be read .*; delete it, and the run learns again"):
        Journal(RunFolder(tmp_path))


def test_results_from_before_that_cannot_be_reckoned_with_are_the_journals_fault(tmp_path: Path):
    journal = Journal(RunFolder(tmp_path))
    with pytest.raises(KeyError), journal.reckoning():
        raise KeyError("steps")
    journal.begin("run")
    again, said = Journal(RunFolder(tmp_path)), r"progress\.json cannot be read \(KeyError: 'steps'\)"
    with pytest.raises(UnusableError, match=said), again.reckoning():
        raise KeyError("steps")
