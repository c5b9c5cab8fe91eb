"""Generated C: it compiles warning-free, refuses a foreign runtime, and occupies what the plan says."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import RUNTIME, WARNINGS, every_operator, random_graph_network, random_network
from sparcl_mcu.design import NETWORKS, cnn_s, freeze_until, mlp
from sparcl_mcu.graph import INPUT, Graph, Node
from sparcl_mcu.learners.base import LearnerError, LearnSettings, Replay, Room
from sparcl_mcu.sparsity import Block
from sparcl_tools.generate import RUNTIME_VERSION, GenerateError, generate, model_hash
from sparcl_tools.lower import LowerError
from sparcl_tools.plan import Buffer, MemoryPlan, PlanError, plan

# room for everything, and each part of it beside a replay buffer
EVERYTHING = Room(replay=8, logits=True, tdm=True, inter=6554, dgm=True, slice=64, ddr=100)
EVERY_ROOM = [
    {name: getattr(EVERYTHING, name)} | ({"tdm": True} if name == "inter" else {})
    for name in ("logits", "tdm", "inter", "dgm", "slice", "ddr")
]
SHAPES = {"mlp": (6, 4), "cnn_1d": (16, 3), "resnet8": (8, 8, 3)}


def compiles(folder: Path, *flags: str, include: Path = RUNTIME / "include") -> str:
    """Compiler messages for model.c; empty when it compiled."""
    command = ["gcc", *WARNINGS, "-I", str(include), "-I", str(folder), *flags, "-c", str(folder / "model.c")]
    return subprocess.run([*command, "-o", str(folder / "model.o")], capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_of_network_compiles_without_warnings(kind: str, tmp_path: Path) -> None:
    graph = NETWORKS[kind](SHAPES.get(kind, (12, 10)), 5, density=0.5, block=Block(1, 4))
    network = random_graph_network(graph, 1)
    generate(network, tmp_path / "all", room=Room(replay=4), settings=LearnSettings())
    assert compiles(tmp_path / "all") == ""
    frozen = dataclasses.replace(network, graph=freeze_until(graph, graph.nodes[-1].name))
    generate(frozen, tmp_path / "head", room=Room(replay=4), settings=LearnSettings())
    assert compiles(tmp_path / "head") == ""


ROOMS = [Room(), Room(replay=10), Room(replay=10, batch=4), EVERYTHING]


@pytest.mark.parametrize("room", [*ROOMS, *(Room(replay=8, **more) for more in EVERY_ROOM)], ids=str)
@pytest.mark.parametrize("block", [Block(1, 1), Block(1, 4), Block(4, 1)])
def test_generated_code_compiles_without_warnings_as_large_as_planned(tmp_path: Path, block: Block, room: Room) -> None:
    """Static assertions compare every planned size with sizeof; a member too many or too few would not compile."""
    generate(random_network(1, block=block), tmp_path, room=room, settings=LearnSettings())
    assert compiles(tmp_path) == ""


def test_every_planned_member_lies_where_the_compiler_puts_it(tmp_path: Path) -> None:
    memory = generate(random_graph_network(every_operator(), 1), tmp_path, room=EVERYTHING, settings=LearnSettings())
    asserts = [
        f"_Static_assert(offsetof(scl_model_state, {f.name}) == {f.offset} && "
        f'sizeof(((scl_model_state *)0)->{f.name}) == {f.bytes}, "{f.name}");'
        for f in memory.state
    ]
    (tmp_path / "model.c").write_text("\n".join(['#include "model.h"', *asserts, ""]))
    assert compiles(tmp_path) == ""


def test_what_settings_do_not_need_costs_nothing() -> None:
    """A byte of RAM is used only by the part of the room that needs it."""
    network = random_network(1)
    plain = plan(network, Room(replay=8))
    parts = {field.name for field in plain.state}
    assert parts == {
        "head", "task_classes", "replay_x", "replay_y", "fc1_scale", "fc2_scale",
        *(f"fc{n}_{what}" for n in (1, 2, 3) for what in ("bias", "master")),
    }  # fmt: skip
    added = {
        "logits": {"replay_logits"},
        "tdm": {f"{layer}_{what}" for layer in ("fc1", "fc2") for what in ("start", "index")},
        "dgm": {"fc1_selected", "fc2_selected", "learning"},
        "slice": {"fc1_terms", "fc2_terms", "importance_sums"},
        "ddr": {"ddr_alive", "ddr_wrong"},
    }
    for name, members in added.items():
        memory = plan(network, dataclasses.replace(Room(replay=8), **{name: getattr(EVERYTHING, name)}))
        assert {field.name for field in memory.state} - parts == members
        assert memory.arena_bytes == plain.arena_bytes


def test_room_for_more_blocks_is_by_share_and_never_more_than_all() -> None:
    network = random_network(1, density=0.5)  # 24 x 16 and 16 x 8, sparse; masters are an even number
    sizes = {}
    for inter in (0, 6554, 65535):
        memory = plan(network, Room(tdm=True, inter=inter))
        sizes[inter] = [field.bytes for field in memory.state if field.name in ("fc1_master", "fc2_master")]
    assert sizes == {0: [2 * 192, 2 * 64], 6554: [2 * (192 + 38), 2 * (64 + 13 + 1)], 65535: [2 * 384, 2 * 128]}


@pytest.mark.parametrize(
    ("room", "message"),
    [
        (Room(replay=1, logits=True, slice=6), "a slice of 6 weights is not made of whole 1x4 blocks, as layer 'fc1'"),
        (Room(logits=True), "replay buffer holds 0 samples"),
        (Room(inter=655), "room for 655 / 65536 more blocks a layer, but masks that do not move"),
        (Room(slice=70000), "a slice of 70000 weights; 0 .. 65535 are possible"),
        (Room(ddr=65536), "DDR counters for 65536 samples; 0 .. 65535"),
        (Room(batch=256), "a mini-batch of 256 steps; 1 .. 255"),
    ],
)
def test_impossible_room_is_refused(room: Room, message: str, tmp_path: Path) -> None:
    with pytest.raises(GenerateError, match=message):
        generate(random_network(1, block=Block(1, 4)), tmp_path, room=room, settings=LearnSettings())


@pytest.mark.parametrize("room", [Room(tdm=True), Room(dgm=True), Room(slice=64)])
def test_masks_cannot_learn_where_nothing_is_sparse(room: Room, tmp_path: Path) -> None:
    with pytest.raises(GenerateError, match="no trainable layer is sparse"):
        generate(random_network(1, density=1.0), tmp_path, room=room, settings=LearnSettings())


def test_a_layer_that_could_grow_too_large_is_refused_with_its_numbers(tmp_path: Path) -> None:
    network = random_network(1, sizes=(400, 320, 5), density=0.5)
    generate(network, tmp_path, room=Room(tdm=True), settings=LearnSettings())  # 64,000 blocks
    message = "layer 'fc1' stores up to 70400 blocks of 1x1; a sparse layer holds 65535"
    with pytest.raises(GenerateError, match=message):
        generate(network, tmp_path, room=Room(tdm=True, inter=3277), settings=LearnSettings())


def test_settings_without_room_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LearnerError, match="without room for logits"):
        generate(random_network(1), tmp_path, room=Room(replay=4), settings=LearnSettings(replay=Replay.DER))


def test_another_runtime_version_is_refused_by_the_compiler(tmp_path: Path) -> None:
    generate(random_network(1), tmp_path / "model", room=Room(replay=1), settings=LearnSettings())
    for header in (RUNTIME / "include/sparcl").glob("*.h"):
        text = re.sub(r"(#define SCL_RUNTIME_VERSION) \d+", r"\1 99", header.read_text())
        (tmp_path / "include/sparcl").mkdir(parents=True, exist_ok=True)
        (tmp_path / "include/sparcl" / header.name).write_text(text)
    assert f"was generated for runtime {RUNTIME_VERSION}" in compiles(tmp_path / "model", include=tmp_path / "include")


def test_a_board_without_the_ram_is_refused_by_the_compiler(tmp_path: Path) -> None:
    memory = generate(random_network(1), tmp_path, room=Room(replay=1), settings=LearnSettings())
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
    generate(network, tmp_path, room=Room(replay=1), settings=LearnSettings())
    before = (tmp_path / "model.c").stat().st_mtime_ns
    generate(network, tmp_path, room=Room(replay=1), settings=LearnSettings())
    assert (tmp_path / "model.c").stat().st_mtime_ns == before


def test_model_hash_tells_every_room_apart() -> None:
    rooms = [Room(replay=8), *(dataclasses.replace(Room(replay=8), **more) for more in EVERY_ROOM)]
    assert len({model_hash(random_network(1), room) for room in rooms}) == len(rooms)


def test_impossible_replay_buffer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GenerateError, match="70000 samples"):
        generate(random_network(1), tmp_path, room=Room(replay=70000), settings=LearnSettings())


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
    for density, room in ((1.0, Room(replay=4)), (0.5, Room(replay=4)), (0.5, EVERYTHING)):
        graph = NETWORKS[kind](SHAPES.get(kind, (12, 10)), 5, density=density)
        memory = plan(random_graph_network(graph, 1), room)
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
    assert not overlapping(plan(random_network(0, sizes=tuple(sizes), density=1.0), Room(replay=4)))


def test_an_error_over_the_middle_of_its_sum_would_be_noticed() -> None:
    """It would overwrite sums not yet read. What a first version of the planner did, for layers larger than below."""
    memory = plan(random_network(0, sizes=(10, 8, 16, 5), density=1.0), Room(replay=4))
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
        plan(random_graph_network(chain("conv", "Conv"), 0), Room())
    with pytest.raises(PlanError, match="rename"):
        plan(random_graph_network(chain("fc", "fc_bias"), 0), Room(batch=3))


def test_a_lifetime_cut_short_would_be_noticed() -> None:
    """The overlap test above can fail: the same check on a plan with one buffer moved reports it."""
    memory = plan(random_network(1), Room(replay=4))
    moved = tuple(dataclasses.replace(b, offset=0) for b in memory.arena)
    assert overlapping(dataclasses.replace(memory, arena=moved))


def test_freezing_costs_less_ram_and_keeps_frozen_weights_out_of_the_state() -> None:
    network = random_graph_network(cnn_s((16, 16), 4), 1)
    frozen = dataclasses.replace(network, graph=freeze_until(network.graph, "conv3"))
    everything, last = plan(network, Room(replay=4)), plan(frozen, Room(replay=4))
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
        generate(all_frozen, Path("never"), room=Room(replay=1), settings=LearnSettings())


def test_constants_of_frozen_rows_in_pairs_are_planned(tmp_path: Path) -> None:
    """With the zeros that make groups of four rows, and of four inputs, whole."""
    graph = mlp((10,), 4, (7,))
    learning, frozen = (random_graph_network(g, 1) for g in (graph, freeze_until(graph, "fc2")))
    memory = generate(frozen, tmp_path, room=Room(replay=4), settings=LearnSettings())
    assert "static const _Alignas(4) int16_t fc1_weights[48] =" in (tmp_path / "model.c").read_text()
    assert plan(learning, Room(replay=4)).constant_bytes - memory.constant_bytes == 2 * 7 * 10 - 8 * 12


def test_a_layer_may_have_a_name_that_means_something_in_c(tmp_path: Path) -> None:
    graph = Graph((1, 1, 4), (Node("int", "dense", (INPUT,), 4, relu=True), Node("load", "dense", ("int",), 2)))
    generate(random_graph_network(graph, 0), tmp_path, room=Room(replay=1), settings=LearnSettings())
    assert compiles(tmp_path) == ""
