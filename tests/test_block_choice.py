"""Block shapes chosen from what the bench and `sparcl results` measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from sparcl_mcu import block_choice, counted, design, prepare
from sparcl_mcu.block_choice import Choice, choose
from sparcl_mcu.config import NetworkConfig
from sparcl_mcu.errors import SparclError
from sparcl_mcu.sparsity import Block

MLP = design.mlp((28, 28), 10, hidden=(128, 64), density=0.25)
WANTED = NetworkConfig(kind="mlp", hidden=(128, 64), block="auto")


def chosen(choices: tuple[Choice, ...]) -> dict[str, str]:
    return {choice.layer: str(choice.block) for choice in choices}


def rows(*instructions: tuple[str, float, float]) -> list[dict[str, object]]:
    """Rows of a bench where every pass costs the same. (block, density, instructions a weight)."""
    return [
        {"core": "m4", "what": f"dense 784x128 {each}", "block": block, "density": density, "per_nonzero": count}
        for block, density, count in instructions
        for each in ("forward", "forward, frozen", "input gradient", "weight update")
    ]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a bench where 4x1 is cheapest and accuracies where no shape loses."""
    folder = tmp_path / "docs/results"
    folder.mkdir(parents=True)
    write(folder, rows(("1x1", 0.25, 5.0), ("1x4", 0.25, 3.0), ("4x1", 0.25, 2.0)), lost_in_4x1=0.0)
    monkeypatch.setattr(counted, "ROOT", tmp_path)
    return folder


def write(folder: Path, bench: list[dict[str, object]], lost_in_4x1: float) -> None:
    (folder / "bench.json").write_text(json.dumps(bench))
    runs = {"1x1": [0.70, 0.72], "1x4": [0.71, 0.71], "4x1": [0.70 - lost_in_4x1, 0.721 - lost_in_4x1]}
    table = {
        f"SparCL {sparsity} in {block}": {"runs": [{"acc": acc} for acc in accs]}
        for sparsity in ("0.75", "0.90")
        for block, accs in runs.items()
    }
    (folder / "sparcl.json").write_text(json.dumps({"blocks": {"rows": table}}))


def test_the_shape_of_fewest_instructions_is_chosen(measured: Path) -> None:
    assert chosen(choose(MLP, "Cortex-M4")) == {"fc1": "4x1", "fc2": "4x1"}
    first, second = choose(MLP, "Cortex-M4")
    assert first.instructions[Block(4, 1)] == 4.0  # no layer learns below it: no input gradient
    assert second.instructions[Block(4, 1)] == 6.0


def test_a_shape_that_surely_loses_accuracy_is_not(measured: Path) -> None:
    write(measured, rows(("1x1", 0.25, 5.0), ("1x4", 0.25, 3.0), ("4x1", 0.25, 2.0)), lost_in_4x1=0.1)
    assert chosen(choose(MLP, "Cortex-M4")) == {"fc1": "1x4", "fc2": "1x4"}


def test_instructions_are_those_of_the_nearest_density(measured: Path) -> None:
    bench = rows(("1x1", 0.25, 5.0), ("1x4", 0.25, 3.0), ("4x1", 0.25, 2.0), ("1x1", 0.05, 5.0), ("4x1", 0.05, 9.0))
    write(measured, [*bench, *rows(("1x4", 0.05, 7.0))], lost_in_4x1=0.0)
    assert chosen(choose(design.mlp((28, 28), 10, density=0.06), "Cortex-M4")) == {"fc1": "1x1", "fc2": "1x1"}


def test_a_shape_that_does_not_divide_a_layer_is_not_chosen(measured: Path) -> None:
    odd = design.mlp((28, 28), 10, hidden=(30, 64), density=0.25)  # 30 outputs: no four rows; then 30 inputs
    assert chosen(choose(odd, "Cortex-M4")) == {"fc1": "1x4", "fc2": "4x1"}
    neither = design.mlp((27, 27), 10, hidden=(30,), density=0.25)
    assert chosen(choose(neither, "Cortex-M4")) == {"fc1": "1x1"}


def test_frozen_layers_are_judged_by_their_forward_pass_alone(measured: Path) -> None:
    bench = rows(("1x1", 0.25, 5.0), ("1x4", 0.25, 3.0), ("4x1", 0.25, 2.0))
    for row in bench:
        if row["what"] == "dense 784x128 forward, frozen" and row["block"] == "1x4":
            row["per_nonzero"] = 1.0
    write(measured, bench, lost_in_4x1=0.0)
    assert chosen(choose(design.freeze_until(MLP, "fc2"), "Cortex-M4")) == {"fc1": "1x4", "fc2": "4x1"}


def test_a_core_is_judged_by_what_it_has_in_common_with_one_that_was_counted(measured: Path) -> None:
    assert chosen(choose(MLP, "Cortex-M7")) == chosen(choose(MLP, "Cortex-M4"))
    with pytest.raises(SparclError, match="no instructions were counted for Z80; or name a shape: 1x1, 1x4, 4x1"):
        choose(MLP, "Z80")


def test_missing_measurements_are_named(measured: Path) -> None:
    block_choice.choose(MLP, "Cortex-M4")
    (measured / "sparcl.json").unlink()
    with pytest.raises(SparclError, match=r"block = .auto.: docs/results/sparcl.json is not there"):
        block_choice.choose(MLP, "Cortex-M4")
    write(measured, rows(("1x1", 0.25, 5.0)), lost_in_4x1=0.0)
    with pytest.raises(SparclError, match="no row 'dense 784x128 forward' in 1x4 of m4; count it with: make bench"):
        block_choice.choose(MLP, "Cortex-M4")


@pytest.mark.parametrize("core", ["host", *counted.CORES, *counted.LIKE])
@pytest.mark.parametrize("kind", ["mlp", "lenet", "cnn_s", "ds_cnn", "resnet8"])
def test_every_network_gets_shapes_on_every_core(kind: str, core: str) -> None:
    """With what was really measured; the graph checks that the shapes fit its layers."""
    wanted = NetworkConfig(kind=kind, block="auto", density=0.1, profile="erk")
    graph = prepare.design(wanted, (28, 28), 10, core)
    plain = prepare.design(dataclasses.replace(wanted, block="1x1"), (28, 28), 10)
    assert [node.density for node in graph.nodes] == [node.density for node in plain.nodes]
    assert {node.block for node in graph.nodes if node.weighted and node.density < 1} - {Block(1, 1)}
