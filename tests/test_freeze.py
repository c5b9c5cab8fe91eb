"""`sparcl freeze`: which layers need not be trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sparcl_mcu import config, design, prepare
from sparcl_mcu.cli import freeze
from sparcl_mcu.cli.app import app
from sparcl_mcu.cli.runs import Run, measure
from sparcl_mcu.experiment import Part

REPO = Path(__file__).resolve().parents[1]
SHORT = """
name = "short"
[data]
source = "digits"
samples_per_task = 24
[network]
hidden = [16]
freeze_until = "fc2"
[pretrain]
epochs = 1
fine_tune_epochs = 1
[learn]
epochs = 1
[tdm]
importance = "magnitude"
[board]
name = "qemu_m4"
"""


def accuracies(**each: float) -> dict[str, list[dict[str, Any]]]:
    return {name: [{"acc": acc, "task_il": 0.9}] for name, acc in each.items()}


def test_the_last_layer_that_costs_little_enough_is_proposed() -> None:
    found = accuracies(conv1=0.70, conv2=0.71, conv3=0.702, head=0.5)
    assert 'freeze_until = "conv3", accuracy 70.2 % beside 71.0 at best' in freeze.proposal(found, "er", lose=1.0)
    assert 'freeze_until = "conv2"' in freeze.proposal(found, "er", lose=0.5)
    assert 'freeze_until = "head"' in freeze.proposal(found, "er", lose=30.0)


def test_methods_without_a_buffer_are_judged_by_task_il() -> None:
    found = accuracies(conv1=0.2, conv2=0.1)
    assert 'freeze_until = "conv2", task-il 90.0 %' in freeze.proposal(found, "lightcl", lose=1.0)
    within = {name: [{**run, "task_il": None} for run in runs] for name, runs in found.items()}
    assert 'freeze_until = "conv1", accuracy 20.0 %' in freeze.proposal(within, "ewc", lose=1.0)


def test_every_layer_with_weights_may_be_the_first_that_is_trained() -> None:
    assert freeze.candidates(design.cnn_s((28, 28), 10)) == ["conv1", "conv2", "conv3", "head"]


def test_layers_are_compared_and_those_that_settings_refuse_are_named(tmp_path: Path) -> None:
    (tmp_path / "experiment.toml").write_text(SHORT)
    done = CliRunner().invoke(app, ["freeze", str(tmp_path), "--seeds", "1", "--kept", str(tmp_path / "kept")])
    assert done.exit_code == 0, done.output
    assert "from fc2 on is not possible: [tdm] and [dgm] act on sparse layers" in done.output
    assert 'Proposed: [network] freeze_until = "fc1"' in done.output
    row = next(line for line in done.output.splitlines() if line.startswith("  fc1"))
    assert int(row.split()[-2].replace(",", "")) > 1000


def test_accuracies_are_those_of_validation_samples_or_none_are_asked(tmp_path: Path) -> None:
    short = freeze.on_native(config.load(REPO / "examples/digits/experiment.toml"))
    short = dataclasses.replace(
        short,
        data=dataclasses.replace(short.data, samples_per_task=24),
        learn=dataclasses.replace(short.learn, epochs=1),
        pretrain=dataclasses.replace(short.pretrain, epochs=1, fine_tune_epochs=1),
    )
    found = measure(Run(short, False, validation=True), None, tmp_path)
    tasks = prepare.scenario(short, None).tasks
    exam = sum(len(task.x_val) for task in tasks)
    assert found["stats"]["predictions"] == (len(tasks) + 1) * exam  # after every task, and among each one's classes
    assert exam != sum(len(task.x_test) for task in tasks)
    of_cost = Run(short, False, exam=0)
    costs = measure(of_cost, None, tmp_path)
    assert "acc" not in costs
    assert costs["stats"]["predictions"] == 0
    assert costs["state_hash"] == found["state_hash"]
    assert costs["stats"]["link_bytes"] < found["stats"]["link_bytes"]
    of_some = Run(short, False, exam=5)
    some = measure(of_some, None, tmp_path)
    assert some["stats"]["predictions"] == (len(tasks) + 1) * 5 * len(tasks)
    assert some["state_hash"] == found["state_hash"]
    files = {run.file(tmp_path) for run in (Run(short, False, validation=True), Run(short, False), of_cost, of_some)}
    assert len(files) == 4


def test_some_samples_are_the_same_ones_every_time_and_not_the_first() -> None:
    part = Part(np.arange(40, dtype=np.int8)[:, None], np.arange(40, dtype=np.uint8))
    some = part.some(7)
    assert np.array_equal(some.x[:, 0], some.y)
    assert np.array_equal(some.y, part.some(7).y)
    assert len(set(some.y.tolist())) == 7
    assert some.y.max() >= 7
    assert sorted(part.some(None).y.tolist()) == sorted(part.some(99).y.tolist()) == list(range(40))


def test_a_run_of_own_data_is_kept_by_what_is_in_them(tmp_path: Path) -> None:
    (tmp_path / "experiment.toml").write_text('name = "x"\n[data]\nsource = "my.npz"\n')
    run, kept = Run(config.load(tmp_path / "experiment.toml"), False), tmp_path / "kept"
    files = set()
    for content in (b"one", b"two"):
        (tmp_path / "my.npz").write_bytes(content)
        files.add(run.file(kept))
    assert len(files) == 2


def test_settings_that_fit_no_layer_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> list[dict[str, Any]]:
        raise config.ConfigError("[learn] needs more")

    monkeypatch.setattr(freeze, "run_all", refuse)
    (tmp_path / "experiment.toml").write_text(SHORT)
    done = CliRunner().invoke(app, ["freeze", str(tmp_path)])
    assert done.exit_code == 2
    assert "from fc1 on is not possible: [learn] needs more" in done.output
