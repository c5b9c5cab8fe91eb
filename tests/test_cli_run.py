"""`sparcl run` on the native board, for real: pretrained, generated, built with PlatformIO, taught, reported."""

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sparcl_mcu import network_file, prepare, record, state_file
from sparcl_mcu.boards import BoardError
from sparcl_mcu.cli import pipeline
from sparcl_mcu.cli.app import app
from sparcl_mcu.journal import Journal

SMALL = """
name = "small"
[data]
source = "digits"
samples_per_task = 24
[network]
hidden = [16]
[pretrain]
epochs = 2
fine_tune_epochs = 1
[learn]
epochs = 2
replay = 20
"""
CNN = SMALL.replace("hidden = [16]", 'kind = "cnn_s"\ndensity = 0.5\nblock = "4x1"\nfreeze_until = "conv2"').replace(
    "replay = 20", "replay = 20\nbatch = 3\nlr_exponent = -5"
)
FILES = (
    "config.resolved.toml versions.json events.jsonl accuracy_matrix.csv metrics.json results.json network.sparcl "
    "memory_plan.json board.json link.log build.log report.html status.json"
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "experiment.toml"
    file.write_text(SMALL)
    return file


def run(file: Path, *arguments: str) -> tuple[Result, Path]:
    """`sparcl run` and the folder it left."""
    out = file.parent / "runs"
    result = CliRunner().invoke(app, ["run", str(file), "--out", str(out), *arguments])
    folders = sorted(out.iterdir(), key=lambda path: path.stat().st_mtime_ns) if out.is_dir() else []
    return result, folders[-1] if folders else out


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = record.read_json(folder, "metrics.json")
    return found


def test_demo_ends_with_result_report_and_what_next(tmp_path: Path) -> None:
    """The figures of one seed; the mean of ten is for `make results`."""
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (folder,) = tmp_path.iterdir()
    blank, said, where, further = result.stdout.splitlines()[-4:]
    assert blank == ""
    found = metrics(folder)
    assert said.startswith(f"{100 * found['acc']:.0f} % with replay, {100 * found['acc_without_replay']:.0f} % without")
    assert where == f"Report: {folder / 'report.html'}"
    assert further.startswith("Next: make demo BOARD=qemu_m4")
    assert found["acc"] > 0.75
    assert found["acc"] - found["acc_without_replay"] > 0.5
    assert found["simulation_agrees"]
    assert found["masters_moved"] > 0.2
    for name in FILES.split():
        assert (folder / name).stat().st_size > 0, name
    assert {"model.c", "model.h"} <= {path.name for path in (folder / "generated").iterdir()}
    assert not list(folder.rglob("*.part"))
    assert record.status(folder) == "done"


def test_a_run_repeats_exactly_from_what_it_left_behind(small: Path) -> None:
    first, folder = run(small)
    assert first.exit_code == 0, first.output
    (small.parent / "again.toml").write_text((folder / "config.resolved.toml").read_text())
    second, again = run(small.parent / "again.toml", "--network", str(folder / "network.sparcl"))
    assert second.exit_code == 0, second.output
    assert folder != again
    one, other = metrics(folder), metrics(again)
    # a HELLO carries a random number, which COBS may stuff
    for changing in ("samples_per_second", "link_bytes", "payload_over_wire"):
        del one[changing], other[changing]
    assert one == other


def test_a_partly_frozen_sparse_cnn_learns_in_mini_batches_as_simulated(small: Path) -> None:
    """Every setting of a network at once; the board's state hashes are the simulation's, or the run would fail."""
    small.write_text(CNN)
    result, folder = run(small)
    assert result.exit_code == 0, result.output
    found = metrics(folder)
    assert found["simulation_agrees"]
    assert 0 < found["masters_moved"] <= 1
    assert len(set(found["state_hash"])) == 5
    plan = record.read_json(folder, "memory_plan.json")
    assert {field["name"] for field in plan["state"]} >= {"conv2_master", "conv3_master", "head_master"}
    assert "conv1_master" not in {field["name"] for field in plan["state"]}


def test_what_a_board_learnt_travels(small: Path, tmp_path: Path) -> None:
    """A run with a store; its board, switched on again, gives its state away and takes it back."""
    small.write_text(SMALL + "[board]\ncommit_every = 50\n")
    result, folder = run(small)
    assert result.exit_code == 0, result.output
    wear = metrics(folder)["flash_wear"]
    # after the reset and at the end of 5 tasks, none of which has 50 samples
    assert (wear["commits"], wear["failed"]) == (1 + 5, 0)
    assert "Flash: 6 commits" in result.output
    learned = tmp_path / "learned.state"

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    pulled = command("pull", str(learned), "--run", str(folder))
    assert pulled.exit_code == 0, pulled.output
    assert f"Wrote {learned}" in pulled.output
    for _ in range(2):
        pushed = command("push", str(learned), "--run", str(folder))
        assert pushed.exit_code == 0, pushed.output
        assert "It is in the board's flash." in pushed.output
        assert pulled.output.split()[-1] in pushed.output, "the same state hash"
    other = tmp_path / "other.state"
    state = bytearray(learned.read_bytes()[:-4])
    state[8] ^= 1
    state_file.save(other, bytes(state))
    refused = command("push", str(other), "--run", str(folder))
    assert refused.exit_code == 2
    assert "a state belongs to one network" in refused.output
    assert "name the board" in command("pull", str(learned)).output
    (folder / "flash.bin").unlink()
    assert "its board kept nothing" in command("pull", str(learned), "--run", str(folder)).output


def test_seeds_share_a_folder_and_a_summary(small: Path) -> None:
    result, folder = run(small, "--seeds", "2")
    assert result.exit_code == 0, result.output
    summary = record.read_json(folder, "summary.json")
    assert [one["seed"] for one in summary["seeds"]] == [0, 1]
    hashes = [metrics(folder / f"seed_{seed}")["state_hash"] for seed in (0, 1)]
    assert not set(hashes[0]) & set(hashes[1])
    assert "board - float twin" in result.stdout
    assert (folder / "report.html").is_file()
    assert record.status(folder) == record.status(folder / "seed_1") == "done"


def test_boards_share_the_seeds_and_one_that_fails_loses_only_its_own(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pipeline.run

    def unlucky(config: Any, *arguments: Any) -> Any:
        if config.seed == 1:
            raise BoardError("it was unplugged")
        return whole(config, *arguments)

    monkeypatch.setattr(pipeline, "run", unlucky)
    result, folder = run(small, "--seeds", "3", "--boards", "native:2")
    assert result.exit_code == 2
    assert "1 of 3 seeds failed" in result.stderr
    assert "seed 1 failed: it was unplugged" in result.output
    summary = json.loads((folder / "summary.json").read_text())
    assert [one["seed"] for one in summary["seeds"]] == [0, 2]
    assert record.status(folder) == "failed"
    assert f"Go on with: sparcl run --resume {folder}" in result.output
    monkeypatch.undo()
    learnt: list[int] = []
    monkeypatch.setattr(pipeline, "run", lambda config, *a: (learnt.append(config.seed), whole(config, *a))[1])
    resumed = CliRunner().invoke(app, ["run", "--resume", str(folder)])
    assert resumed.exit_code == 0, resumed.output
    assert learnt == [1], "what had ended well is taken as it is"
    monkeypatch.undo()
    shared = json.loads((folder / "summary.json").read_text())
    assert [one["seed"] for one in shared["seeds"]] == [0, 1, 2]
    assert shared["seeds"][0] == summary["seeds"][0]
    assert "is done" in CliRunner().invoke(app, ["run", "--resume", str(folder)]).stderr
    alone, single = run(small, "--seeds", "1")
    assert alone.exit_code == 0
    assert summary["seeds"][0]["acc"] == metrics(single)["acc"]
    refused, _ = run(small, "--seeds", "2", "--boards", "native")
    assert "give NAME:COUNT" in refused.stderr


def test_seeds_that_were_stopped_go_on(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the second of three, on a network that was given."""
    small.write_text(SMALL + "[board]\ncommit_every = 30\n")
    network = Path(__file__).parents[1] / "examples" / "digits" / "network.sparcl"
    given = ("--seeds", "3", "--network", str(network))
    small.write_text(small.read_text().replace("hidden = [16]", "hidden = [64, 32]"))
    whole, reference = run(small, *given)
    assert whole.exit_code == 0, whole.output
    end, ended = Journal.end, 0

    def stopped(self: Journal, *arguments: Any) -> None:
        nonlocal ended
        end(self, *arguments)
        ended += 1
        if ended == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "end", stopped)
    interrupted, folder = run(small, *given)
    assert interrupted.exit_code == 130
    assert f"Go on with: sparcl run --resume {folder}" in interrupted.stdout
    assert [record.status(folder / f"seed_{seed}") for seed in (0, 1)] == ["done", "interrupted"]
    monkeypatch.undo()
    file = folder / "experiment.toml"
    file.write_text((kept := file.read_text()).replace("lr_exponent = -7", "lr_exponent = -6"))
    assert "the configuration in" in resume_refused(folder)
    file.unlink()
    assert "has lost its experiment.toml; put it back" in resume_refused(folder)
    file.write_text(kept)
    resumed = CliRunner().invoke(app, ["run", "--resume", str(folder)])
    assert resumed.exit_code == 0, resumed.output
    for seed in range(3):
        was, now = (metrics(place / f"seed_{seed}") for place in (reference, folder))
        assert (now["acc"], now["state_hash"]) == (was["acc"], was["state_hash"])


def test_a_board_that_computes_something_else_is_a_failed_run(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(pipeline.References):
        def outcomes(self, on_progress: Any) -> Any:
            found = super().outcomes(on_progress)
            stages = list(found["simulated"].stages)
            stages[2] = dataclasses.replace(stages[2], state_hash=stages[2].state_hash ^ 1)
            return found | {"simulated": dataclasses.replace(found["simulated"], stages=tuple(stages))}

    monkeypatch.setattr(pipeline, "References", Wrong)
    result, folder = run(small)
    assert result.exit_code == 2
    assert "after task 2 the state hash of board 'native' differs" in result.stderr
    assert record.status(folder) == "failed"
    assert "DIFFERS" in (folder / "report.html").read_text()


def test_what_cannot_run_is_refused_and_recorded(small: Path, tmp_path: Path) -> None:
    result, folder = run(small, "--port", str(tmp_path / "ttyGone"))
    assert result.exit_code == 2
    assert "ttyGone" in result.stderr
    assert record.status(folder) == "failed"
    result, _ = run(small, "--board", "qemu_m5")
    assert result.exit_code == 2
    assert "did you mean" in result.stderr
    (tmp_path / "other.toml").write_text(SMALL.replace("digits", "own.npz"))
    result, _ = run(tmp_path / "other.toml")
    assert result.exit_code == 2
    assert "own.npz does not exist" in result.stderr


def test_a_network_too_large_for_the_board_is_refused_with_figures(small: Path) -> None:
    small.write_text(SMALL.replace("hidden = [16]", "hidden = [1100, 260]").replace("epochs = 2", "epochs = 1", 1))
    result, folder = run(small, "--board", "qemu_m3")
    assert result.exit_code == 2
    needed = re.search(r"needs at least (\d+) bytes of RAM, 65536 are available", result.stderr)
    assert needed, result.stderr
    masters = 2 * 1100 * 260 // 4
    assert masters < int(needed[1]) < 1.5 * masters
    assert f"Largest: fc2 masters, int16 {masters}, fc1 masters" in result.stderr
    assert record.status(folder) == "failed"


def test_a_board_of_another_name_is_refused(small: Path) -> None:
    made, folder = run(small)
    assert made.exit_code == 0, made.output
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            line, _ = server.accept()
            with line:
                subprocess.run([folder / "generated" / "native"], stdin=line, stdout=line, check=False)

        threading.Thread(target=serve, daemon=True).start()
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
        given = ("--network", str(folder / "network.sparcl"), "--board", "qemu_m4", "--port", url)
        result, _ = run(small, *given)
    assert result.exit_code == 2
    assert "says it is board 'native', but this run is for 'qemu_m4'; name it with: --board native" in result.stderr


def test_tasks_too_short_for_the_settings_are_refused_before_a_board_is_asked(small: Path) -> None:
    network = Path(__file__).parents[1] / "examples" / "digits" / "network.sparcl"
    whole = SMALL.replace("hidden = [16]", "hidden = [64, 32]")
    for more, said in (
        ('[tdm]\nimportance = "paper"\n', "measuring"),
        ("[ddr]\nfraction = 0.1\nsamples = 80\n", "DDR needs samples that come back at least twice"),
    ):
        small.write_text(whole + more)
        result, _ = run(small, "--network", str(network))
        assert result.exit_code == 2
        assert "task 0 (" in result.stderr
        assert said in result.stderr


def test_settings_that_cannot_be_followed_are_refused_before_anything_is_trained(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: Any) -> Any:
        raise AssertionError("it was trained")

    monkeypatch.setattr(prepare, "pretrained", trained)
    for network, more, said in (
        ("hidden = [16]", "[dgm]\nsparsity = 0.5\n", "sparsity q is 0.5"),
        ("hidden = [16]", '[tdm]\nimportance = "paper"\n', "measuring"),
        ("hidden = [16]", "[ddr]\nfraction = 0.1\nsamples = 80\n", "DDR needs samples that come back at least twice"),
        ('hidden = [16]\nprofile = "global"', 'replay_at = "border"\n', "no layer is frozen below"),
        ('kind = "resnet8"\ndensity = 0.5\npruned = "channels"', "", "adds maps, whose channels have to stay the same"),
    ):
        small.write_text(SMALL.replace("hidden = [16]", network) + more)
        for seeds in ("1", "2"):
            result, folder = run(small, "--seeds", seeds)
            assert result.exit_code == 2, result.output
            assert said in result.stderr
            assert "--resume" not in result.stdout, "that would end the same way"
            assert record.status(folder) == "failed"


def test_a_mistake_that_only_the_trained_network_shows_does_not_cost_it(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = network_file.load(Path(__file__).parents[1] / "examples" / "digits" / "network.sparcl")
    monkeypatch.setattr(prepare, "pretrained", lambda *_: kept)
    small.write_text(SMALL.replace("hidden = [16]", "hidden = [64, 32]") + "[grda]\nc = 1000.0\nmu = 0.5\n")
    result, folder = run(small)
    assert result.exit_code == 2
    assert "all would be 0; choose a smaller c" in result.stderr
    assert network_file.load(folder / "network.sparcl").fingerprint == kept.fingerprint
    assert f"Its network is kept: start again with --network {folder / 'network.sparcl'}" in result.stdout
    assert "--resume" not in result.stdout


def resume_refused(folder: Path) -> str:
    """What `--resume` says that must end with exit code 2, without asking to try the same again."""
    result = CliRunner().invoke(app, ["run", "--resume", str(folder)])
    assert result.exit_code == 2, result.output
    assert "--resume" not in result.stdout
    return result.stderr


def test_a_run_goes_on_only_with_what_it_began_with(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other data, another configuration, and what is left of it damaged: each says what is wrong and what to do."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 5)) + np.arange(200)[:, None] % 4, np.arange(200) % 4
    data = small.parent / "own.npz"
    np.savez(data, x_train=x, y_train=y, x_test=x, y_test=y)
    small.write_text(SMALL.replace('"digits"', '"own.npz"') + "[board]\ncommit_every = 20\n")
    end = Journal.end

    def stopped(self: Journal, *arguments: Any) -> None:
        end(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "end", stopped)
    interrupted, folder = run(small)
    assert interrupted.exit_code == 130, interrupted.output
    monkeypatch.undo()

    np.savez(data, x_train=x, y_train=y, x_test=x, y_test=y[::-1])
    said = resume_refused(folder)
    assert f"data {data} changed since it began; put back what was there, or start the run again" in said
    np.savez(data, x_train=x, y_train=y, x_test=x, y_test=y)
    for name, damaged, said in (
        (
            "config.resolved.toml",
            lambda text: text.replace(b"epochs = 2\nreplay", b"epochs = 3\nreplay"),
            "configuration",
        ),
        ("begun.json", lambda text: b"[]", "begun.json cannot be read"),
        (
            "progress.json",
            lambda text: text[: len(text) // 2],
            "delete it, and the run learns again from its beginning",
        ),
        ("progress.json", lambda text: re.sub(rb'"stats": {[^}]*}', b'"stats": {}', text), "KeyError: 'steps'"),
        ("network.sparcl", lambda text: text[:1000], "not a readable .sparcl file"),
        ("flash.bin", lambda text: text[:1000], "flash.bin, the flash of board 'native', is damaged"),
    ):
        whole = (folder / name).read_bytes()
        assert damaged(whole) != whole
        (folder / name).write_bytes(damaged(whole))
        assert said in resume_refused(folder), name
        (folder / name).write_bytes(whole)
    (folder / "flash.bin").unlink()
    (folder / "flash.bin").mkdir()
    assert "flash.bin, the flash of board 'native', is damaged" in resume_refused(folder)
    (folder / "flash.bin").rmdir()
    resumed = CliRunner().invoke(app, ["run", "--resume", str(folder)])
    assert resumed.exit_code == 0, resumed.output


def test_a_network_for_other_data_is_refused(small: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 5)), np.arange(200) % 4
    np.savez(small.parent / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    network = Path(__file__).parents[1] / "examples" / "digits" / "network.sparcl"
    (small.parent / "own.toml").write_text(SMALL.replace('"digits"', '"own.npz"'))
    result, _ = run(small.parent / "own.toml", "--network", str(network))
    assert result.exit_code == 2
    assert "a sample has 5 values, but network 'digits' takes 64" in result.stderr


def started(*arguments: str) -> subprocess.Popen[str]:
    """`sparcl`, in a session of its own, so that a signal reaches the whole foreground group as from a terminal."""
    program = [sys.executable, "-c", "from sparcl_mcu.cli.main import main; main()"]
    return subprocess.Popen(
        [*program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(small: Path) -> None:
    small.write_text(SMALL.replace("epochs = 2\nreplay", "epochs = 40\nreplay") + "[board]\ncommit_every = 30\n")
    whole, reference = run(small)
    assert whole.exit_code == 0, whole.output
    out = small.parent / "killed"
    process = started("run", str(small), "--out", str(out))
    deadline = time.monotonic() + 120
    while not [p for p in out.glob("*/progress.json") if json.loads(p.read_text())["replay"]["stages"]]:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (folder,) = out.iterdir()
    assert record.status(folder) == "running"
    assert record.read_json(folder, "progress.json")["replay"]["stats"] is None, "the run with replay was not over"
    (flash,) = folder.glob("flash.bin")
    resumed = CliRunner().invoke(app, ["run", "--resume", str(folder)])
    assert resumed.exit_code == 0, resumed.output
    assert flash.stat().st_size > 0
    was, now = metrics(reference), metrics(folder)
    assert was["samples_per_second"] > 0
    assert was["flash_wear"]["erasures_per_epoch"] > 0
    assert not was["resumed"]
    assert now["link_bytes"] > 0
    unknown = {"samples_per_second": None, "flash_wear": None}  # since the resume only
    link = {key: now[key] for key in ("link_bytes", "payload_over_wire")}
    assert now == was | unknown | link | {"resumed": True}
    assert "Resumed: how fast it learnt" in resumed.output
    assert "<b>resumed</b>samples learnt a second" in (folder / "report.html").read_text()
    assert "resumed" not in whole.output.lower()
    again = CliRunner().invoke(app, ["run", "--resume", str(folder)])
    assert again.exit_code == 2
    assert "is done" in again.stderr
    nothing = CliRunner().invoke(app, ["run"])
    assert "--resume RUN" in nothing.stderr
    assert "is missing" in CliRunner().invoke(app, ["run", "--resume", str(small.parent)]).stderr


def test_ctrl_c_leaves_a_readable_folder_that_says_interrupted(small: Path) -> None:
    out = small.parent / "runs"
    small.write_text(SMALL.replace("epochs = 2", "epochs = 500"))
    process = started("run", str(small), "--out", str(out))
    deadline = time.monotonic() + 120
    while not list(out.glob("*/link.log")):  # the board is being taught
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    (folder,) = out.iterdir()
    assert f"{folder} is readable" in stdout
    assert f"sparcl run --resume {folder}" in stdout
    assert record.status(folder) == "interrupted"
    events = [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert events[0] == "start"
    assert events[-1] == "interrupted"
    assert not (folder / "metrics.json").exists()
    assert not list(folder.rglob("*.part"))
