"""What `sparcl plan` says that each method would add, against what was planned and measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from helpers import random_graph_network
from sparcl_mcu import counted, network_file
from sparcl_mcu.cli.app import app
from sparcl_mcu.cli.plan_methods import METHODS, Cost, costs
from sparcl_mcu.design import freeze_until, mlp
from sparcl_mcu.learners.base import Room
from sparcl_tools.plan import plan

CORE = "Cortex-M4"
NETWORK = random_graph_network(
    freeze_until(mlp((8, 8), 10, hidden=(64, 32)), "fc2"), 1
)  # as `results methods` measures


def found(core: str = CORE) -> dict[str, Cost]:
    return {cost.name: cost for cost in costs(NETWORK, core, samples=200)}


def measured() -> dict[str, Any]:
    sets = json.loads((counted.ROOT / METHODS).read_text())["sets"]
    return next(rows for name, rows in sets.items() if name.startswith("seq-digits"))


def test_ram_is_that_of_the_plan() -> None:
    bare, whole = plan(NETWORK, Room()), plan(NETWORK, Room(replay=200, logits=True))
    more = whole.state_bytes + whole.arena_bytes - bare.state_bytes - bare.arena_bytes
    assert found()["DER++"].ram == more > 200 * 64
    assert found()["none: nothing is remembered"].ram == 0


ROWS = {
    "ER": "ER",
    "DER": "DER",
    "DER++": "DER++",
    "DER++, latents": "DER++, latents",
    "ER, IDS of a half": "ER, IDS: half of the samples",
    "EWC": "EWC",
    "EsaCL-EWC": "EsaCL-EWC, not retrained",
    "LightCL, 15 anchors": "LightCL",
}
WITHOUT_BUFFER = ("EWC", "EsaCL-EWC", "LightCL, 15 anchors")


@pytest.mark.parametrize(("name", "row"), ROWS.items())
def test_instructions_are_about_what_was_measured(name: str, row: str) -> None:
    """The first of five tasks has nothing to replay. What is not in layers with weights is not counted."""
    stats = measured()[row]["chip"]["stats"]
    cost, first = found()[name].instructions, found()["none: nothing is remembered"].instructions
    expected = cost if name in ("EWC", "EsaCL-EWC") else (first + 4 * cost) / 5
    assert expected == pytest.approx(stats["instructions"] / stats["steps"], rel=0.25)


@pytest.mark.parametrize(("name", "row"), ROWS.items())
def test_flash_is_about_what_was_measured(name: str, row: str) -> None:
    chips = measured()
    more = chips[row]["chip"]["flash_bytes"] - chips["naive: two updates a step"]["chip"]["flash_bytes"]
    assert more <= found()[name].flash <= more + 400  # tables count twice


def test_methods_without_a_buffer_are_not_for_class_il() -> None:
    for name, cost in found().items():
        assert ("class-il" in cost.settings) == (name not in WITHOUT_BUFFER), name
    assert list({cost.name: cost for cost in costs(NETWORK, CORE, samples=0)})[1:] == list(WITHOUT_BUFFER)


def test_measurements_that_lack_a_row_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs/results").mkdir(parents=True)
    rows = {name: row for name, row in measured().items() if name != "EWC"}
    (tmp_path / METHODS).write_text(json.dumps({"sets": {"seq-digits": rows}}))
    monkeypatch.setattr(counted, "ROOT", tmp_path)
    with pytest.raises(counted.CountedError, match="has no EWC of seq-digits; measure with: make results-methods"):
        found()


def test_what_a_network_cannot_learn_by_is_left_out() -> None:
    whole = random_graph_network(mlp((8, 8), 10, hidden=(64, 32)), 1)
    assert "DER++, latents" in found()
    assert "DER++, latents" not in {cost.name for cost in costs(whole, CORE, samples=200)}
    head = random_graph_network(freeze_until(mlp((8, 8), 10, hidden=(64, 32)), "fc3"), 1)
    assert "LightCL, 15 anchors" not in {cost.name for cost in costs(head, CORE, samples=200)}


@pytest.mark.parametrize("name", ROWS)
def test_a_slower_core_takes_more(name: str) -> None:
    assert found("Cortex-M0+")[name].instructions > 2 * found()[name].instructions


def test_the_command_prints_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network_file.save(NETWORK, tmp_path / "n.sparcl")
    command = ["plan", str(tmp_path / "n.sparcl"), "--board", "qemu_m4"]
    said = CliRunner().invoke(app, command).stdout
    rows = [line.split() for line in said.splitlines() if line.startswith("  EWC ")]
    assert rows == [["EWC", "task-il,", "domain-il", *(f"{n:+,}" for n in (found()["EWC"].ram, found()["EWC"].flash)),
                     f"{found()['EWC'].instructions:,.0f}"]]  # fmt: skip
    assert any(line.startswith("  ER  ") and "class-il" in line for line in said.splitlines())
    monkeypatch.setattr(counted, "ROOT", tmp_path)
    said = CliRunner().invoke(app, command).stdout
    assert f"What methods would add is not known: {METHODS} is not there" in said
    assert "RAM needed" in said
