"""Generated C: it compiles warning-free, refuses a foreign runtime, and occupies what the plan says."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest

from helpers import RUNTIME, WARNINGS, random_network
from sparcl_mcu.learners.base import LearnSettings
from sparcl_mcu.sparsity import Block
from sparcl_tools.generate import RUNTIME_VERSION, GenerateError, generate, model_hash
from sparcl_tools.plan import Buffer, plan


def compiles(folder: Path, *flags: str, include: Path = RUNTIME / "include") -> str:
    """Compiler messages for model.c; empty when it compiled."""
    command = ["gcc", *WARNINGS, "-I", str(include), "-I", str(folder), *flags, "-c", str(folder / "model.c")]
    return subprocess.run([*command, "-o", str(folder / "model.o")], capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("replay", [0, 10])
@pytest.mark.parametrize("block", [Block(1, 1), Block(1, 4), Block(4, 1)])
def test_generated_code_compiles_without_warnings(tmp_path: Path, block: Block, replay: int) -> None:
    generate(random_network(1, block=block), tmp_path, replay_capacity=replay, settings=LearnSettings())
    assert compiles(tmp_path) == ""


def test_another_runtime_version_is_refused_by_the_compiler(tmp_path: Path) -> None:
    generate(random_network(1), tmp_path / "model", replay_capacity=1, settings=LearnSettings())
    for header in (RUNTIME / "include/sparcl").glob("*.h"):
        text = header.read_text().replace("#define SCL_RUNTIME_VERSION 1\n", "#define SCL_RUNTIME_VERSION 2\n")
        (tmp_path / "include/sparcl").mkdir(parents=True, exist_ok=True)
        (tmp_path / "include/sparcl" / header.name).write_text(text)
    assert "was generated for runtime 1" in compiles(tmp_path / "model", include=tmp_path / "include")


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


def test_buffers_alive_together_never_overlap() -> None:
    for seed, sizes in enumerate([(24, 16, 8, 5), (10, 3), (8, 40, 4, 60, 9), (5, 5, 5, 5, 5, 2)]):
        memory = plan(random_network(seed, sizes=sizes, density=1.0), 4)
        for i, a in enumerate(memory.arena):
            for b in memory.arena[i + 1 :]:
                together = a.first <= b.last and b.first <= a.last
                apart = a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset
                assert apart or not together, (a, b)
            assert a.offset % 4 == 0
            assert a.offset + a.bytes <= memory.arena_bytes
        # the plan is worth having: it never needs more than all buffers side by side, and at least the peak
        assert max(memory.alive(s) for s in range(len(memory.steps))) <= memory.arena_bytes
        if len(sizes) > 2:
            assert memory.arena_bytes < sum(b.bytes for b in memory.arena)


def test_a_lifetime_cut_short_would_be_noticed() -> None:
    """The overlap test above can fail: the same check on a plan with one buffer moved reports it."""
    memory = plan(random_network(1), 4)
    moved: list[Buffer] = [dataclasses.replace(b, offset=0) for b in memory.arena]
    clashes = [
        (a.name, b.name) for i, a in enumerate(moved) for b in moved[i + 1 :] if a.first <= b.last and b.first <= a.last
    ]
    assert clashes
