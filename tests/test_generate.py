"""Generated C: it compiles warning-free, refuses a foreign runtime, and occupies what the plan says."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import RUNTIME, WARNINGS, random_graph_network, random_network
from sparcl_mcu.design import NETWORKS, cnn_s, freeze_until
from sparcl_mcu.graph import INPUT, Graph, Node
from sparcl_mcu.learners.base import LearnSettings
from sparcl_mcu.sparsity import Block
from sparcl_tools.generate import RUNTIME_VERSION, GenerateError, generate, model_hash
from sparcl_tools.lower import LowerError
from sparcl_tools.plan import Buffer, MemoryPlan, PlanError, plan

SHAPES = {"mlp": (6, 4), "cnn_1d": (16, 3), "resnet8": (8, 8, 3)}


def compiles(folder: Path, *flags: str, include: Path = RUNTIME / "include") -> str:
    """Compiler messages for model.c; empty when it compiled."""
    command = ["gcc", *WARNINGS, "-I", str(include), "-I", str(folder), *flags, "-c", str(folder / "model.c")]
    return subprocess.run([*command, "-o", str(folder / "model.o")], capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_of_network_compiles_without_warnings(kind: str, tmp_path: Path) -> None:
    graph = NETWORKS[kind](SHAPES.get(kind, (12, 10)), 5, density=0.5, block=Block(1, 4))
    network = random_graph_network(graph, 1)
    generate(network, tmp_path / "all", replay_capacity=4, settings=LearnSettings())
    assert compiles(tmp_path / "all") == ""
    frozen = dataclasses.replace(network, graph=freeze_until(graph, graph.nodes[-1].name))
    generate(frozen, tmp_path / "head", replay_capacity=4, settings=LearnSettings())
    assert compiles(tmp_path / "head") == ""


@pytest.mark.parametrize("replay", [0, 10])
@pytest.mark.parametrize("block", [Block(1, 1), Block(1, 4), Block(4, 1)])
def test_generated_code_compiles_without_warnings(tmp_path: Path, block: Block, replay: int) -> None:
    generate(random_network(1, block=block), tmp_path, replay_capacity=replay, settings=LearnSettings())
    assert compiles(tmp_path) == ""


def test_another_runtime_version_is_refused_by_the_compiler(tmp_path: Path) -> None:
    generate(random_network(1), tmp_path / "model", replay_capacity=1, settings=LearnSettings())
    for header in (RUNTIME / "include/sparcl").glob("*.h"):
        text = re.sub(r"(#define SCL_RUNTIME_VERSION) \d+", r"\1 99", header.read_text())
        (tmp_path / "include/sparcl").mkdir(parents=True, exist_ok=True)
        (tmp_path / "include/sparcl" / header.name).write_text(text)
    assert f"was generated for runtime {RUNTIME_VERSION}" in compiles(tmp_path / "model", include=tmp_path / "include")


def test_a_board_without_the_ram_is_refused_by_the_compiler(tmp_path: Path) -> None:
    memory = generate(random_network(1), tmp_path, replay_capacity=1, settings=LearnSettings())
    needed = memory.state_bytes + memory.arena_bytes
    assert "does not fit this board" in compiles(tmp_path, f"-DSCL_RAM_BYTES={needed}")
    assert compiles(tmp_path, f"-DSCL_RAM_BYTES={needed + 1}") == ""


def test_generator_and_runtime_versions_agree() -> None:
    header = (RUNTIME / "include/sparcl/sparcl.h").read_text()
    found = re.search(r"#define SCL_RUNTIME_VERSION (\d+)", header)
    assert found
    assert int(found[1]) == RUNTIME_VERSION


def test_unchanged_output_keeps_its_time_stamp(tmp_path: Path) -> None:
    network = random_network(1)
    generate(network, tmp_path, replay_capacity=1, settings=LearnSettings())
    before = (tmp_path / "model.c").stat().st_mtime_ns
    generate(network, tmp_path, replay_capacity=1, settings=LearnSettings())
    assert (tmp_path / "model.c").stat().st_mtime_ns == before


def test_model_hash_tells_replay_capacities_apart() -> None:
    network = random_network(1)
    assert model_hash(network, 1) != model_hash(network, 2)


def test_impossible_replay_buffer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GenerateError, match="70000 samples"):
        generate(random_network(1), tmp_path, replay_capacity=70000, settings=LearnSettings())


def overlapping(memory: MemoryPlan) -> list[tuple[str, str]]:
    """Buffers that are alive at the same time and share bytes, but for errors written over the sums they are read
    from."""
    return [
        (a.name, b.name)
        for i, a in enumerate(memory.arena)
        for b in memory.arena[i + 1 :]
        if a.first <= b.last and b.first <= a.last
        if a.offset < b.offset + b.bytes and b.offset < a.offset + a.bytes
        if not (overwrites(a, b) or overwrites(b, a))
    ]


def overwrites(d: Buffer, v: Buffer) -> bool:
    """Is d made from v, from the front, in the last step that reads v?"""
    return d.over == v.name and d.first == v.last and d.offset <= v.offset


@pytest.mark.parametrize("kind", NETWORKS)
def test_buffers_alive_together_never_overlap(kind: str) -> None:
    for density in (1.0, 0.5):
        graph = NETWORKS[kind](SHAPES.get(kind, (12, 10)), 5, density=density)
        memory = plan(random_graph_network(graph, 1), 4)
        assert not overlapping(memory)
        for b in memory.arena:
            assert b.offset % 4 == 0
            assert b.offset + b.bytes <= memory.arena_bytes
        # the plan is worth having: it never needs more than all buffers side by side, and at least the peak
        peak = max(memory.alive(step) for step in range(len(memory.steps)))
        assert peak <= memory.arena_bytes < sum(b.bytes for b in memory.arena)
        assert memory.arena_bytes <= 1.25 * peak


@given(st.lists(st.integers(2, 40), min_size=2, max_size=7))
def test_layers_that_widen_and_narrow_never_overlap(sizes: list[int]) -> None:
    assert not overlapping(plan(random_network(0, sizes=tuple(sizes), density=1.0), 4))


def test_an_error_over_the_middle_of_its_sum_would_be_noticed() -> None:
    """It would overwrite sums not yet read. What a first version of the planner did, for layers larger than below."""
    memory = plan(random_network(0, sizes=(10, 8, 16, 5), density=1.0), 4)
    v = next(b for b in memory.arena if b.name == "fc2_v")
    moved = tuple(
        dataclasses.replace(b, offset=v.offset + 16) if b.over == v.name else b for b in memory.arena if b.name != "x"
    )
    assert overlapping(dataclasses.replace(memory, arena=moved))


def test_names_that_clash_in_c_are_refused() -> None:
    def chain(*names: str) -> Graph:
        nodes = [Node(n, "dense", (s,), 4, relu=True) for s, n in zip((INPUT, *names), names, strict=False)]
        return Graph((1, 1, 4), (*nodes, Node("head", "dense", (names[-1],), 3)))

    with pytest.raises(LowerError, match="rename"):
        plan(random_graph_network(chain("conv", "Conv"), 0), 1)
    with pytest.raises(PlanError, match="rename"):
        plan(random_graph_network(chain("fc", "fc_bias"), 0), 1, batch=3)


def test_a_lifetime_cut_short_would_be_noticed() -> None:
    """The overlap test above can fail: the same check on a plan with one buffer moved reports it."""
    memory = plan(random_network(1), 4)
    moved = tuple(dataclasses.replace(b, offset=0) for b in memory.arena)
    assert overlapping(dataclasses.replace(memory, arena=moved))


def test_freezing_costs_less_ram_and_keeps_frozen_weights_out_of_the_state() -> None:
    network = random_graph_network(cnn_s((16, 16), 4), 1)
    frozen = dataclasses.replace(network, graph=freeze_until(network.graph, "conv3"))
    everything, last = plan(network, 4), plan(frozen, 4)
    assert {field.name for field in everything.state} - {field.name for field in last.state} >= {
        "conv1_master",
        "conv2_master",
        "conv1_bias",
    }
    assert last.arena_bytes < everything.arena_bytes
    assert last.constant_bytes < everything.constant_bytes
    nodes = tuple(dataclasses.replace(n, frozen=n.weighted) for n in network.graph.nodes)
    all_frozen = dataclasses.replace(network, graph=dataclasses.replace(network.graph, nodes=nodes))
    with pytest.raises(GenerateError, match="every layer is frozen"):
        generate(all_frozen, Path("never"), replay_capacity=1, settings=LearnSettings())


def test_a_layer_may_have_a_name_that_means_something_in_c(tmp_path: Path) -> None:
    graph = Graph((1, 1, 4), (Node("int", "dense", (INPUT,), 4, relu=True), Node("load", "dense", ("int",), 2)))
    generate(random_graph_network(graph, 0), tmp_path, replay_capacity=1, settings=LearnSettings())
    assert compiles(tmp_path) == ""
