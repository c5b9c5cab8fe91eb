"""The run folder: how a run ends is written down, and nothing half-written has a final name."""

import errno
import json
from pathlib import Path

import pytest

from sparcl_mcu import record
from sparcl_mcu.record import RecordError, RunFolder


def test_status_says_how_a_run_ended(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "a") as folder:
        assert record.status(folder.path) == "running"
    assert record.status(folder.path) == "done"

    folder = RunFolder.create(tmp_path, "b")
    folder.event("stage", stage=0)
    with pytest.raises(KeyboardInterrupt), folder:
        raise KeyboardInterrupt
    assert record.status(folder.path) == "interrupted"
    events = [json.loads(line) for line in (folder.path / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["stage", "interrupted"]

    with pytest.raises(RecordError), RunFolder.create(tmp_path, "c") as folder:
        raise RecordError("the cable fell out")
    assert record.status(folder.path) == "failed"
    assert "the cable fell out" in record.read_json(folder.path, "status.json")["error"]


def test_two_runs_of_one_second_do_not_share_a_folder(tmp_path: Path) -> None:
    paths = {RunFolder.create(tmp_path, "x").path for _ in range(3)}
    assert len(paths) == 3
    assert all(path.name[0].isdigit() and "_x" in path.name for path in paths)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(tmp_path, "x")
    folder.write_text("a.txt", "old")

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(RecordError, match=r"cannot write .*a\.txt \(disk full\); free some space"):
        folder.write_text("a.txt", "new")
    assert (folder.path / "a.txt").read_text() == "old"
    assert not list(folder.path.glob("*.part"))


def test_a_full_disk_still_lets_a_run_say_that_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = RunFolder.create(tmp_path, "x")
    monkeypatch.setattr("os.fsync", fail)
    (folder.path / "left.sparcl.part").write_text("half of")
    with pytest.raises(RecordError, match=r"big\.txt"), folder:
        folder.write_text("big.txt", "much")
    assert record.status(folder.path) == "failed"
    assert {path.name for path in folder.path.iterdir()} == {"status.json", "events.jsonl"}


def test_events_are_on_disk_at_once(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x")
    for count in range(1, 4):
        folder.event("tick", count=count)
        assert len((folder.path / "events.jsonl").read_text().splitlines()) == count


def test_matrix_and_json_files(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x")
    text = folder.write_matrix("m.csv", [[1.0, 0.5], [0.25, 1 / 3]]).read_text()
    assert text == "after_task,task_0,task_1\n0,1.000000,0.500000\n1,0.250000,0.333333\n"
    with pytest.raises(ValueError, match="JSON compliant"):
        folder.write_json("bad.json", float("nan"))
    assert not (folder.path / "bad.json").exists()


def test_folders_that_cannot_be_made_or_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="--out"):
        RunFolder.create(tmp_path / "file", "x")
    with pytest.raises(RecordError, match=r"status\.json is missing; give the folder of a finished run"):
        record.status(tmp_path)
    folder = RunFolder.create(tmp_path, "x")
    with pytest.raises(RecordError, match="the run is 'running'"):
        record.read_json(folder.path, "metrics.json")
    (folder.path / "metrics.json").write_text("{")
    with pytest.raises(RecordError, match=r"metrics\.json cannot be read .*; run the experiment again"):
        record.read_json(folder.path, "metrics.json")
    for content in ("[]", "null", "{}"):
        (folder.path / "status.json").write_text(content)
        with pytest.raises(RecordError, match=r"status\.json cannot be read .*; run the experiment again"):
            record.status(folder.path)


def test_versions_name_the_packages_results_depend_on() -> None:
    found = record.versions()
    assert {"numpy", "torch", "scikit-learn", "platformio"} <= set(found["packages"])
    assert "pytest" not in found["packages"]
    assert found["python"].startswith("3.")
