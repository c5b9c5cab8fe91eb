"""The bench: some of docs/results/bench.json measured again, and what its page says."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import pytest

from helpers import REPO
from programs import need
from sparcl_mcu.cli import bench, bench_page
from sparcl_tools import bench_epochs, bench_float, bench_kernels, bench_steps, elf, sizes
from sparcl_tools.bench_epochs import Call
from sparcl_tools.bench_kernels import BenchError, Row

ACCEPTED = REPO / "docs/results/bench.json"
BOARD = "qemu_m4"
MORE = 1.02  # growth that has to be accepted, by running the bench again


def accepted() -> dict[tuple[str, str, str, float], int]:
    return {bench.key(row): row["instructions"] for row in json.loads(ACCEPTED.read_text())}


def check(rows: list[Row], program: Path) -> None:
    """No row may have grown, nor be missing. Figures of another compiler are not compared."""
    was = sizes.load(REPO / "docs/results/sizes.json")["digits on qemu_m4"].compiler
    if elf.compiler(program) != was:
        warnings.warn(f"instructions are not compared: {elf.compiler(program)!r} here, {was!r} then", stacklevel=1)
        return
    old = accepted()
    grown = {
        bench.key(vars(row)): (old[bench.key(vars(row))], row.instructions)
        for row in rows
        if row.instructions > MORE * old[bench.key(vars(row))]
    }
    assert not grown, "more instructions than in docs/results/bench.json; if it has to be: make bench"


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("board", "layer"),
    [
        *((BOARD, bench_kernels.LAYERS[n]) for n in (0, 1, 4, 5)),
        *(("qemu_m55", bench_kernels.LAYERS[n]) for n in (0, 2)),
    ],
    ids=lambda of: getattr(of, "name", of),
)
def test_kernels_cost_what_they_did(board: str, layer: bench_kernels.Layer, tmp_path: Path) -> None:
    need("arm-none-eabi-gcc", "qemu-system-arm")
    rows = bench_kernels.measure(board, layer, tmp_path / "kernels", (0.25,))
    check(rows, tmp_path / "kernels" / f"{board}.elf")


@pytest.mark.emulator
@pytest.mark.parametrize("density", [1.0, 0.1])
def test_a_step_costs_what_it_did(density: float, tmp_path: Path) -> None:
    need("arm-none-eabi-gcc", "qemu-system-arm")
    row = bench_steps.measure(BOARD, bench_steps.STEPS[0], density, tmp_path / "step")
    check([row], tmp_path / "step" / f"{BOARD}.elf")


@pytest.mark.emulator
def test_the_float_control_costs_what_it_did(tmp_path: Path) -> None:
    """And computes what NumPy does."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    check([bench_float.measure(BOARD, tmp_path / "float")], tmp_path / "float" / f"{BOARD}.elf")


@pytest.mark.emulator
def test_a_wrong_kernel_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CRC covers what every case writes: NumPy's operators, told a different rate, no longer agree."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    right = bench_kernels.apply_bias
    monkeypatch.setattr(bench_kernels, "apply_bias", lambda bias, g, shift: right(bias, g, shift + 1))
    with pytest.raises(BenchError, match=r"dense 128x10 weight update, dense at 1.0: qemu_m4 computed something else"):
        bench_kernels.measure(BOARD, bench_kernels.LAYERS[1], tmp_path / "kernels")


# ---- without an emulator


def test_only_whole_steps_are_called_steps() -> None:
    rows = json.loads(ACCEPTED.read_text())
    columns = {"core", "what", "block", "density", "instructions", "per_nonzero", "per_mac", "flash_bytes", "ram_bytes"}
    assert {frozenset(row) - {"real", "stack_bytes"} for row in rows} == {frozenset(columns)}
    steps = {row["what"] for row in rows if row["what"].startswith("step ")}
    assert steps == {f"step {step.name}" for step in bench_steps.STEPS}


def test_the_page_is_of_the_figures() -> None:
    """bench.md was written from bench.json, but for its date."""
    rows = json.loads(ACCEPTED.read_text())
    fresh, kept = bench_page.page(rows, sizes.load(bench.SIZES)), (REPO / "docs/results/bench.md").read_text()
    assert fresh.splitlines()[4:] == kept.splitlines()[4:]


def test_rows_measured_again_take_their_place() -> None:
    row = Row("m4", "dense forward", "4x1", 0.1, 10, 1.0, 0.1, 100, 50)
    kept = {name: value for name, value in vars(row).items() if name not in ("real", "stack_bytes")}
    other = kept | {"core": "m3"}
    assert bench.merged([kept | {"instructions": 20, "real": 15}, other], [row]) == [kept, other]
    with_real = dataclasses.replace(row, real=8, stack_bytes=9)
    assert bench.merged([kept, other], [with_real]) == [dict(vars(with_real)), other]


def test_a_part_can_be_measured_before_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture without the layer it is of."""
    row = Row("m4", "step mlp-784-128-10", "dense", 1.0, 10, 1.0, 0.1, 100, 50)
    monkeypatch.setattr(bench_steps, "measure", lambda *_: row)
    bench.bench(["qemu_m4"], only="step mlp-784", kept=tmp_path, out=tmp_path)
    assert "| mlp-784-128-10 | dense | 100% | 10 |  | 1.0 | 0.1 | 100 | 50 |  |" in (tmp_path / "bench.md").read_text()
    assert not (tmp_path / "bench.svg").exists()


def test_parts_of_an_epoch_are_told_apart() -> None:
    calls = [
        Call.of(500, 0b010),  # a task begins, and grows
        Call.of(100, 0b001),
        Call.of(130, 0b101),
        Call.of(530, 0b111),
        Call.of(50, 3 << 3),  # epochs end
        Call.of(450, 3 << 3 | 0b010),
        Call.of(5, 0),
    ]
    assert bench_epochs.parts(calls) == {
        bench_epochs.WHAT: 1765,
        bench_epochs.TDM: 500 + 400 + 400,
        bench_epochs.DDR: 2 * 50,
        bench_epochs.IMPORTANCE: 2 * 30,
    }
    with pytest.raises(BenchError, match="make its task longer"):
        bench_epochs.parts(calls[:2])


def test_a_share_may_be_of_several_times_a_figure() -> None:
    row = {"core": "m4", "what": "a", "block": "dense", "density": 1.0, "instructions": 30}
    cell = bench_page.Cell("a", "dense", 1.0)
    assert bench_page.Target("t", 1.0, (cell,), bench_page.Cell("b", "dense", 1.0), 5).measured([row]) is None
    assert bench_page.Target("t", 1.0, (cell,), bench_page.Cell("b", "dense", 1.0), 5).measured(
        [row, row | {"what": "b", "instructions": 12}]
    ) == pytest.approx(0.5)


def test_break_even_is_where_the_lines_meet() -> None:
    names = ("core", "what", "block", "density", "instructions")
    points = [("4x1", 0.5, 600), ("4x1", 0.1, 200), ("dense", 1.0, 900)]
    rows = [dict(zip(names, ("m4", f"{bench_page.DENSE} forward", *point), strict=True)) for point in points]
    assert "forward 80%" in bench_page._break_even(rows)
