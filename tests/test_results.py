"""The commands behind docs/results: paired seeds are kept and not run twice, pages say what was measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console

from helpers import REPO
from sparcl_mcu import config
from sparcl_mcu.cli import results_operators
from sparcl_mcu.cli.runs import run_all, seeds


def test_a_finished_seed_is_kept_and_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = config.load(REPO / "examples" / "digits" / "experiment.toml")
    short = dataclasses.replace(
        example,
        data=dataclasses.replace(example.data, samples_per_task=24),
        learn=dataclasses.replace(example.learn, epochs=1),
        pretrain=dataclasses.replace(example.pretrain, epochs=1, fine_tune_epochs=1),
    )
    quiet = Console(quiet=True)
    first = run_all(seeds(short, [3]), None, tmp_path, quiet)
    assert first[0]["seed"] == 3
    assert 0 < first[0]["acc"] <= 1
    assert abs(first[0]["acc"] - first[0]["acc_float"]) < 0.2
    file = next(tmp_path.glob("*.json"))
    file.write_text(json.dumps(first[0] | {"acc": 0.5}))
    assert run_all(seeds(short, [3]), None, tmp_path, quiet)[0]["acc"] == 0.5
    assert not list(tmp_path.glob("*.part"))


def test_the_page_tells_differences_in_points_and_every_outcome(tmp_path: Path) -> None:
    runs = [
        {"seed": s, "commit": "abc", "acc": 0.70 + 0.01 * s, "acc_float": 0.71, "config_hash": ""} for s in range(3)
    ]
    junit = tmp_path / "t.xml"
    junit.write_text(
        '<testsuites><testsuite><testcase classname="tests.test_networks" name="test_a[m3]"/>'
        '<testcase classname="tests.test_networks" name="test_a[m4]"><failure/></testcase>'
        '<testcase classname="tests.test_mutations" name="test_b[x]"/></testsuite></testsuites>'
    )
    memory = {"ram_bytes": 300_000, "state": 1, "arena": 2, "peak": "loss"}
    page = results_operators._page(
        {
            "date": "2026-01-02",
            "pairs": {"fashion_cnn": runs, "kws_dscnn": runs},
            "resnet8": {"all": memory, "stage 3": memory},
            "tests": results_operators._outcomes(junit),
        }
    )
    assert "71.0 ± 2.48 | 71.0 ± 0.00 | +0.00 ± 2.48 | within 0.5 | yes" in page
    assert "test_a 1 passed, 1 failure" in page
    assert "test_b 1 passed" in page
    assert "it does not" in page
