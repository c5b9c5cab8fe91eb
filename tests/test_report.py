"""The report: drawn from the files of a run folder, complete in one file, for pictures and for anything else."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sparcl_mcu import config, report, results, summary
from sparcl_mcu.cli.app import app
from sparcl_mcu.data import DataSet, Task, class_incremental, consecutive
from sparcl_mcu.data.dataset import checked
from sparcl_mcu.experiment import Outcome, StageResult
from sparcl_mcu.record import RecordError, RunFolder
from sparcl_mcu.report.render import _ticks

CONFIG = config.parse('name = "x"\n[data]\nsource = "digits"\n', Path("experiment.toml"))
WORK = {
    "steps": 90,
    "macs_forward": 800,
    "macs_input_grad": 90,
    "macs_weight_grad": 810,
    "macs_importance": 100,
    "link_bytes": 4321,
    "link_bytes_sent": 4000,
    "link_payload_sent": 3600,
}
LOSES_TASK_0 = 3  # test samples of task 0 forgotten in the last stage


def data_set(shape: tuple[int, ...], names: tuple[str, ...] | None = None) -> DataSet:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 6
    arrays = {
        "x_train": rng.normal(size=(60, *shape)),
        "y_train": y,
        "x_test": rng.normal(size=(60, *shape)),
        "y_test": y,
    }
    return checked("made up", arrays, name="made-up", class_names=names)


def outcome(tasks: tuple[Task, ...], *, hashes: tuple[int, ...] = (1, 2, 3), forgets: bool = False) -> Outcome:
    """Knows the tasks met so far, but for LOSES_TASK_0 samples (all, with `forgets`) of task 0 at the end."""
    stages = []
    for i, value in enumerate(hashes):
        given = []
        for j, task in enumerate(tasks):
            predicted = task.y_test.copy() if j <= i else np.zeros_like(task.y_test)
            if j == 0 and i == 2:
                predicted[: None if forgets else LOSES_TASK_0] = 5
            given.append(predicted)
        accuracy = tuple(float((p == t.y_test).mean()) for p, t in zip(given, tasks, strict=True))
        stages.append(StageResult(i, accuracy, accuracy, tuple(given), value, 0.5))
    return Outcome(tuple(stages), dict(WORK))


def folder_of(tmp_path: Path, data: DataSet, *, simulated: tuple[int, ...] = (1, 2, 3)) -> tuple[RunFolder, Outcome]:
    tasks = class_incremental(data, consecutive(data, 2))
    board = outcome(tasks)
    other = outcome(tasks, hashes=simulated)
    other.stats["masters_moved_ppm"] = 654_321
    outcomes = results.Outcomes(board, outcome(tasks, forgets=True), outcome(tasks), other, outcome(tasks))
    folder = RunFolder.create(tmp_path, "x")
    measured = results.metrics_of(CONFIG, tasks, outcomes, results.Footprint(12345, None, 678))
    results.write_results(folder, measured, results.results_of(data, tasks, outcomes))
    folder.write_text("config.resolved.toml", CONFIG.to_toml())
    folder.write_json("versions.json", {"python": "3.x", "packages": {"numpy": "1"}})
    folder.write_json("board.json", {"name": "native", "title": "This <computer>"})
    plan = {
        "rows": [["replay buffer", 678], ["arena", 100]],
        "steps": ["fc1 forward", "loss"],
        "arena": [{"name": "fc1_q", "bytes": 100, "offset": 0, "first": 0, "last": 1}],
        "arena_bytes": 100,
        "state_bytes": 700,
        "peak": "loss",
    }
    folder.write_json("memory_plan.json", plan)
    return folder, board


class Page(HTMLParser):
    """Collects what a page refers to, and refuses tags that do not nest."""

    VOID = frozenset({"meta", "img", "br", "link", "path", "use", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.resources: list[str] = []
        self.open: list[str] = []
        self.images = 0
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img"
        self.resources += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.resources += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_page_holds_everything_and_asks_for_nothing(tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path, data_set((8, 8)))
    text = report.render(folder.path)
    page = Page(text)
    assert page.images == results.WATCHED
    assert all(resource.startswith(("data:", "#")) for resource in page.resources)
    assert not re.search(r"url\((?!#)|@import", text)
    assert text.count("<svg") == 2
    assert "This &lt;computer&gt;" in text


def test_page_says_what_was_measured(tmp_path: Path) -> None:
    folder, board = folder_of(tmp_path, data_set((8, 8)))
    text = report.render(folder.path)
    acc = board.accuracy[-1].mean()
    assert f"<h1>{100 * acc:.0f} % with replay, 67 % without</h1>" in text
    assert "7.5 points" in text  # of 20 samples 3 forgotten, mean over two earlier tasks
    assert "50.0 without replay" in text
    assert "bit for bit" in text
    assert "12\u202f345 B" in text  # RAM
    assert text.count("not measured") == 1  # flash
    assert "4\u202f321" in text
    assert CONFIG.hash in text
    assert "00000003" in text


def test_a_board_that_differs_from_the_simulation_cannot_be_overlooked(tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path, data_set((8, 8)), simulated=(1, 9, 9))
    assert "DIFFERS" in report.render(folder.path)
    assert json.loads((folder.path / "metrics.json").read_text())["simulation_agrees"] is False


def test_samples_that_are_no_pictures_become_a_table(tmp_path: Path) -> None:
    names = ("walk", "run", "sit", "a&b", "lie", "stand")
    folder, _ = folder_of(tmp_path, data_set((12, 3), names))
    page = Page(text := report.render(folder.path))
    assert page.images == 0
    assert "a&amp;b" in text
    assert text.count("<code>") >= results.WATCHED


def test_metrics_file_has_the_promised_keys(tmp_path: Path) -> None:
    folder, board = folder_of(tmp_path, data_set((5,)))
    found = json.loads((folder.path / "metrics.json").read_text())
    promised = (
        "acc forgetting acc_without_replay acc_float acc_joint n_test state_hash ram_bytes flash_bytes replay_bytes "
        "instructions_per_step macs_per_step link_bytes board seed config_hash aia bwt fwt"
    )
    assert set(promised.split()) <= set(found)
    assert found["acc"] == pytest.approx((0.85 + 1 + 1) / 3) == pytest.approx(board.accuracy[-1].mean())
    assert found["forgetting"] == pytest.approx(0.075)
    assert found["macs_per_step"] == 20
    assert found["data_used"] == 90 / (54 * 3)  # 90 steps of 3 epochs over what validation leaves of 60 samples
    assert found["task_il"] is None
    assert found["n_test"] == 60
    assert found["state_hash"] == [1, 2, 3]
    assert found["fwt"] is found["instructions_per_step"] is found["flash_bytes"] is None
    assert (folder.path / "accuracy_matrix.csv").read_text().splitlines()[3] == "2,0.850000,1.000000,1.000000"


@pytest.mark.parametrize(("classes", "most"), [(2, 10), (6, 4), (10, 2), (12, 2), (40, 1)])
def test_twenty_watched_samples_are_spread_over_the_classes(classes: int, most: int) -> None:
    y = np.arange(classes * 12) % classes
    x = np.zeros((len(y), 2))
    data = checked("x", {"x_train": x, "y_train": y, "x_test": x, "y_test": y}, name="x")
    tasks = class_incremental(data, consecutive(data, classes // 2))
    stage = StageResult(0, (1.0, 1.0), (1.0, 1.0), tuple(t.y_test for t in tasks), 1, 0.1)
    watched = results._watched(tasks, Outcome((stage,), {}))
    assert len(watched) == 20
    labels = [w["label"] for w in watched]
    assert labels == sorted(labels)
    assert max(np.bincount(labels)) == most
    assert max(labels) >= classes - 2
    assert all(w["after_last"] == w["label"] for w in watched)


def test_folders_that_lack_something_are_named(tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path, data_set((8, 8)))
    (folder.path / "memory_plan.json").unlink()
    with pytest.raises(RecordError, match="memory_plan"):
        report.render(folder.path)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("metrics.json", lambda found: found.pop("masters_moved")),
        ("metrics.json", dict.clear),
        ("board.json", dict.clear),
        ("versions.json", dict.clear),
        ("results.json", dict.clear),
        ("results.json", lambda found: found["watched"][0].update(label=99)),
        ("results.json", lambda found: found.update(runs=[])),
        ("memory_plan.json", lambda found: found.update(rows=[])),
        ("memory_plan.json", lambda found: found.update(rows=[["arena", 0]])),
    ],
)
def test_files_that_lack_something_are_the_folders_fault(
    tmp_path: Path, name: str, damage: Callable[[dict[str, Any]], Any]
) -> None:
    """As damaged ones do, and those of another version; no traceback."""
    path = folder_of(tmp_path, data_set((8, 8)))[0].path
    damage(found := json.loads((path / name).read_text()))
    (path / name).write_text(json.dumps(found))
    refused_report(path)


def test_files_that_are_no_text_and_summaries_without_content_are_the_folders_fault(tmp_path: Path) -> None:
    path = folder_of(tmp_path, data_set((8, 8)))[0].path
    (path / "config.resolved.toml").write_bytes(b"\xff\xfe")
    refused_report(path)
    (path / "summary.json").write_text("{}")
    refused_report(path)


def refused_report(path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(path)])
    assert done.exit_code == 2, done.output
    assert f"{path} cannot be read (" in done.stderr
    assert "another version; run the experiment again" in done.stderr


def test_summary_of_seeds(tmp_path: Path) -> None:
    base = {"board": "native", "acc_joint": 0.95, "forgetting": 0.1, "aia": 0.9, "acc_val": 0.8}
    rows = [(0.80, 0.20, 0.81), (0.84, 0.19, 0.83), (0.82, 0.21, 0.82)]
    runs = [{**base, "seed": n, "acc": a, "acc_without_replay": w, "acc_float": f} for n, (a, w, f) in enumerate(rows)]
    found = summary.summarise(runs)
    assert found["mean"]["acc"]["mean"] == pytest.approx(0.82)
    assert found["mean"]["acc"]["half_width"] == pytest.approx(4.303 * 0.02 / 3**0.5, rel=1e-3)  # t(2), by the book
    assert found["paired"]["board - float twin"]["mean"] == pytest.approx(0)
    assert found["paired"]["board - float twin"]["half_width"] == pytest.approx(4.303 * 0.01 / 3**0.5, rel=1e-3)
    folder = RunFolder.create(tmp_path, "s")
    folder.write_json("summary.json", found)
    text = report.render_summary(folder.path)
    Page(text)
    assert "82 % with replay, 20 % without" in text
    assert text.count('href="seed_') == 3


def test_an_interval_of_one_value_is_unknown() -> None:
    assert summary.interval([0.5]) == {"mean": 0.5, "half_width": None, "n": 1}


def test_the_axis_says_what_its_numbers_are() -> None:
    assert _ticks([[str(j)] for j in range(9)])[:3] == ["task 0", "1", "2"]
    assert _ticks([["0"], ["1"]]) == ["task 0\n0", "task 1\n+ 1"]
