"""`sparcl reference`: what it writes, that it goes on where it stopped, what it refuses, and the paper's example."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from helpers import REPO
from sparcl_mcu import config, record
from sparcl_mcu.cli import reference
from sparcl_mcu.cli.app import app
from sparcl_mcu.reference import trainer

PAPER = REPO / "examples" / "paper_split_cifar10.toml"
SMALL = """
name = "small"
[data]
source = "digits"
[network]
hidden = [16]
[learn]
replay = 50
[reference]
epochs = 3
batch = 16
learning_rate = 0.1
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "experiment.toml"
    file.write_text(SMALL)
    return file


def sparcl(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["reference", str(file), "--out", str(file.parent / "runs"), *arguments])


def results(file: Path) -> dict[str, Any]:
    """Every JSON file the command left, by folder's method and name; not when it ended."""
    found = sorted((file.parent / "runs" / "reference").glob("*/*.json"))
    read = {f"{path.parent.name.split('_')[1]} {path.stem}": json.loads(path.read_text()) for path in found}
    for content in read.values():
        content.pop("time", None)
    return read


def test_two_methods_and_two_seeds_give_files_a_table_and_the_same_again(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--method", "er", "--method", "sparcl-der++", "--seeds", "2", "--device", "cpu", "--tasks", "3")
    first = sparcl(small, *options)
    assert first.exit_code == 0, first.output
    found = results(small)
    summary = found["sparcl-der++ summary"]
    assert [seed["seed"] for seed in summary["seeds"]] == [0, 1]
    one = found["sparcl-der++ seed_0"]
    assert one["data_used"] == pytest.approx(0.8, abs=0.01)  # 30 % removed for the last two of three epochs
    assert len(one["accuracy_class_il"]) == len(one["accuracy_task_il"][0]) == 3
    assert one["acc"] > 0.4
    assert one["acc_task_il"] > one["acc"]
    assert one["data_sha256"] == found["er seed_1"]["data_sha256"]
    assert record.status(next((small.parent / "runs/reference").glob("*er_*"))) == "done"
    row = next(line for line in first.stdout.splitlines() if line.startswith("sparcl-der++"))
    mean = summary["mean"]
    assert re.search(rf"{100 * mean['acc']['mean']:.1f} ± ", row)
    for value in (f"{100 * mean['acc_task_il']['mean']:.1f}", f"{mean['flops_counted']['mean']:.3g}"):
        assert value in row

    monkeypatch.setattr(trainer, "run", None)  # nothing is trained again
    again = sparcl(small, *options)
    assert again.exit_code == 0, again.output
    assert again.stdout.splitlines()[-4:] == first.stdout.splitlines()[-4:]
    assert results(small) == found


def test_an_interrupted_command_keeps_finished_seeds_and_goes_on(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, started = trainer.run, []

    def run(job: trainer.Job, *arguments: Any) -> trainer.Outcome:
        started.append(job.seed)
        if len(started) == 2:
            raise KeyboardInterrupt
        return original(job, *arguments)

    monkeypatch.setattr(trainer, "run", run)
    stopped = sparcl(small, "--method", "er", "--seeds", "3")
    assert stopped.exit_code == 130
    assert "keeps the finished seeds" in stopped.output
    assert set(results(small)) == {"er seed_0", "er status"}
    assert results(small)["er status"]["status"] == "interrupted"
    assert sparcl(small, "--method", "er", "--seeds", "3").exit_code == 0
    assert started == [0, 1, 1, 2]
    assert {"er seed_0", "er seed_1", "er seed_2", "er summary"} <= set(results(small))


def test_other_settings_go_to_another_folder(small: Path) -> None:
    for text in (SMALL, SMALL.replace("epochs = 3", "epochs = 4"), SMALL.replace("replay = 50", "replay = 60")):
        small.write_text(text)
        assert sparcl(small, "--method", "naive", "--steps", "1", "--tasks", "2").exit_code == 0
    small.write_text(SMALL + '[board]\nname = "qemu_m4"\n')  # where the board is does not matter here
    assert sparcl(small, "--method", "naive", "--steps", "1", "--tasks", "2").exit_code == 0
    assert len(list((small.parent / "runs" / "reference").iterdir())) == 3
    for limits in (("--steps", "2", "--tasks", "2"), ("--steps", "1", "--tasks", "3")):
        assert sparcl(small, "--method", "naive", *limits).exit_code == 0
    assert len(list((small.parent / "runs" / "reference").iterdir())) == 5


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("q = 0.7\n", (), r"[reference] q is 0.7, but [network] density 0.25 leaves a weight sparsity of 0.75"),
        ("", ("--method", "sgd"), "no method 'sgd'"),
        ("", ("--tasks", "9"), "--tasks is 9, but digits makes 5 tasks"),
        ("", ("--device", "tpu"), "no device 'tpu'"),
        ('scenario = "domain-il"\n', (), "digits has no arrays domain_train"),
        ("crop_flip = true\n", ("--device", "cpu"), None),
        ('method = "er+"\n', (), "'method' in [reference] is 'er+'"),
        ("importanc = 1\n", (), "did you mean 'importance'?"),
        ('learning_rates = [["er", 0.1], ["sgd", 0.1]]\n', (), "[reference] learning_rates has ['sgd', 0.1]"),
        ('learning_rates = [["er", 11]]\n', (), "[reference] learning_rates has ['er', 11.0]"),
        ("learning_rates = [[0.1]]\n", (), "[reference] learning_rates has [0.1]"),
    ],
)
def test_bad_input_is_refused_by_name(small: Path, text: str, arguments: tuple[str, ...], words: str | None) -> None:
    small.write_text(SMALL + text)
    result = sparcl(small, *arguments, *(() if words else ("--steps", "1")))
    assert result.exit_code == (2 if words else 0), result.output
    assert (words or "") in result.stderr
    assert "Traceback" not in result.stderr


def test_a_table_of_defaults_does_not_count_in_the_hash_and_any_other_does() -> None:
    plain, table = (config.parse(text, Path("a.toml")) for text in (SMALL.split("[reference]")[0], SMALL))
    assert "reference" in plain.to_dict()
    changed = config.parse(SMALL.replace("epochs = 3", "epochs = 4"), Path("a.toml"))
    assert len({plain.hash, table.hash, changed.hash}) == 3
    defaults = config.parse(SMALL.split("[reference]")[0] + "[reference]\nbatch = 32\n", Path("a.toml"))
    assert defaults.hash == plain.hash


def test_per_method_learning_rates_read_back(tmp_path: Path) -> None:
    first = config.parse(SMALL + 'learning_rates = [["er", 0.5], ["der++", 1]]\n', tmp_path / "a.toml")
    assert config.parse(first.to_toml(), tmp_path / "a.toml") == first
    assert first.reference.rate("der++") == 1.0


def test_the_papers_example_names_every_key_and_is_no_boards() -> None:
    loaded, text = config.load(PAPER), PAPER.read_text()
    assert loaded.name == PAPER.stem
    assert loaded.reference == config.ReferenceConfig(crop_flip=True)
    for field in fields(config.ReferenceConfig):
        assert re.search(rf"^(# )?{field.name} = ", text, re.M), field.name
    assert (loaded.learn.replay, loaded.network.density, loaded.data.classes_per_task) == (500, 0.25, 2)


def test_a_board_refuses_the_papers_network(tmp_path: Path) -> None:
    file = tmp_path / "experiment.toml"
    file.write_text(SMALL.replace("hidden = [16]", 'kind = "resnet18"'))
    result = CliRunner().invoke(app, ["pretrain", str(file)])
    assert result.exit_code == 2
    assert "[network] kind 'resnet18' is for `sparcl reference`" in result.stderr


@pytest.mark.slow
def test_the_papers_path_runs_on_the_cpu(tmp_path: Path) -> None:
    """2 tasks of 50 mini-batches with the full configuration: about 5 minutes."""
    folder = os.environ.get("SPARCL_DATA_DIR")
    if not (folder and Path(folder, "cifar10_jpeg.npz").is_file()):
        pytest.skip("cifar10_jpeg.npz is not in SPARCL_DATA_DIR")
    command = [sys.executable, "-c", "from sparcl_mcu.cli.main import main; main()", "reference", str(PAPER)]
    limits = ["--tasks", "2", "--steps", "50", "--device", "cpu", "--out", str(tmp_path)]
    done = subprocess.run([*command, *limits], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "reference").glob("*/seed_0.json")
    found = json.loads(file.read_text())
    assert found["acc"] > 0.25  # of ten classes
    assert found["acc_task_il"] > 0.6
    assert found["data_used"] == 2 * 50 * 32 / (50 * 18_000)
    assert len(found["density"]) == 16
    assert all(abs(share - 0.26) < 0.001 for share in found["density"].values())  # a task's first epochs: d + p_inter
    assert reference.COLUMNS["acc"][0] in found


def test_domains_are_tasks_where_the_file_says_so(small: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 60)
    x = rng.normal(0, 0.3, (120, 6)) + np.where(y[:, None] == 1, 1.0, -1.0)
    domain = np.repeat([0, 1, 2], 40)
    x[domain == 2] *= -1  # the last domain turns the classes round
    parts = {"x_train": x, "y_train": y, "domain_train": domain, "x_test": x, "y_test": y, "domain_test": domain}
    np.savez(small.parent / "my.npz", **parts)
    text = SMALL.replace('"digits"', '"my.npz"').replace("epochs = 3", 'epochs = 10\nscenario = "domain-il"')
    small.write_text(text)
    assert sparcl(small, "--method", "naive").exit_code == 0
    found = results(small)["naive seed_0"]
    assert found["scenario"] == "domain-il"
    matrix = found["accuracy_class_il"]
    assert found["accuracy_task_il"] == matrix
    assert matrix[1][0] > 0.9
    assert matrix[2][2] > 0.9
    assert matrix[2][0] < 0.3
