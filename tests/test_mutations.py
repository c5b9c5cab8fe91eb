"""Do the kernel tests notice? Each mutation changes one thing in a copy of the C runtime; its test file must fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from helpers import REPO


class Mutation(NamedTuple):
    what: str
    file: str  # below the runtime
    old: str
    new: str
    test: str  # tests/test_<test>.py


MUTATIONS = [
    Mutation("nothing", "src/ops/pool.c", "best = -128", "best = -128", "pool"),
    Mutation("rounding: rsr drops the half", "include/sparcl/numerics.h", " + ((v >> (shift - 1)) & 1)", "", "dense"),
    Mutation("exponent: average pool", "src/ops/pool.c", "(x.e - 15)", "(x.e - 14)", "pool"),
    Mutation(
        "rounding: softmax to 8 bits", "src/ops/softmax_ce.c", "(e << 15) / sum", "((e << 8) / sum) << 7", "softmax_ce"
    ),
    Mutation(
        "rounding: DER++ towards zero", "src/ops/softmax_ce.c", "* 1024 >> shift", "* 1024 / (1 << shift)", "softmax_ce"
    ),
    Mutation(
        "saturation: -128",
        "src/ops/output.h",
        "(int8_t)scl_sat(q, 127)",
        "(int8_t)(q > 127 ? 127 : q < -128 ? -128 : q)",
        "conv2d",
    ),
    Mutation("saturation: add does not count", "src/ops/output.h", "|| q < -127", "", "add"),
    Mutation(
        "exponent: bias",
        "src/ops/output.c",
        "bias_shift = e_acc - SCL_BIAS_EXPONENT;\n    rectified",
        "bias_shift = e_acc - SCL_BIAS_EXPONENT + 1;\n    rectified",
        "dense",
    ),
    Mutation("exponent: update", "src/ops/output.h", "(e_w + to->unit)", "(e_w + to->unit + 1)", "conv2d"),
    Mutation(
        "saturation: measured",
        "src/ops/output.h",
        "(scl_rsr(change, shift), 65535)",
        "(scl_rsr(change, shift), 9)",
        "dense",
    ),
    Mutation("exponent: measured", "src/ops/output.h", ".unit = -4", ".unit = -5", "dense"),
    Mutation(
        "selection: watched",
        "src/ops/output.h",
        "scl_bit(to->selected, block)",
        "scl_bit(to->selected, 0 * block)",
        "dense",
    ),
    Mutation(
        "selection: as the first of a group",
        "src/ops/blocks.h",
        "!scl_bit(selected, b)",
        "!scl_bit(selected, first)",
        "dense",
    ),
    Mutation("watched: no update at all", "src/ops/output.c", "change != 0 && step == 0", "step == 0", "dense"),
    Mutation("watched: inputs of 0", "src/ops/watch.h", "xs[c] != 0 ? gradients : 0", "gradients", "dense"),
    Mutation("selection: of another group", "src/ops/dsp/update.h", "0xffu << others", "0xffu", "dense"),
    Mutation("selection: after the last", "src/ops/dsp/update.h", "bits &= (1u << left) - 1u;", "", "dense"),
    Mutation(
        "shrink: ties from the front",
        "src/mask.c",
        ".first = scl_pick(hash, ties)",
        ".first = scl_pick(hash, 1)",
        "mask",
    ),
    Mutation("shrink: terms stay behind", "src/mask.c", "mask->terms[to] = mask->terms[from];", "", "mask"),
    Mutation("shrink: holds stay behind", "src/mask.c", "move_weights(mask, mask->held, to, from);", "", "mask"),
    Mutation("grow: held from the start", "src/mask.c", "fill_weights(mask, mask->held, b, 0);", "", "mask"),
    Mutation("grow: not by what is missing", "src/mask.c", "number), missing--)", "number), whole)", "mask"),
    Mutation("grow: over the blocks there are", "src/mask.c", "move_block(mask, b + room, b)", "(void)b", "mask"),
    Mutation("code: rounded up", "src/mask.c", "((t >> e) & 7)", "((t >> e) & 6)", "mask"),
    Mutation("exponent: a channel's", "src/ops/depthwise.c", "m->e_w_max - m->e_w[c]", "0", "depthwise"),
    Mutation("exponent: join", "src/ops/error_sum.c", "branch->e > sum->e ? branch->e : sum->e", "sum->e", "error_sum"),
    Mutation("exponent: normalise", "src/ops/error_sum.c", "sum->e + shift", "sum->e", "error_sum"),
    Mutation("padding: rows", "src/ops/window.h", "ky) - w->pad_top", "ky) - w->pad_top / 2", "conv2d"),
    Mutation(
        "padding: not zero", "src/ops/blocks.h", "+ c) * SCL_TILE + lane] = 0", "+ c) * SCL_TILE + lane] = 1", "conv2d"
    ),
    Mutation(
        "padding: not zero, DSP",
        "src/ops/dsp/tile.h",
        "tile_at(i, lane, m, k)] = 0",
        "tile_at(i, lane, m, k)] = 1",
        "conv2d",
    ),
    Mutation("padding: on the right", "src/ops/conv2d.c", "(width - end) * w->channels", "0", "conv2d"),
    Mutation(
        "rounding: rectified",
        "src/ops/output.c",
        "twice = (v >> (shift - 1)) + 1",
        "twice = (v >> (shift - 1))",
        "dense",
    ),
    Mutation("ReLU mask: rectified", "src/ops/output.c", "(uint32_t)-v &", "(uint32_t)~v &", "dense"),
    Mutation("rounding: a step, DSP", "src/ops/dsp/update.h", "MORE * 65536 + 32768", "MORE * 65536", "dense"),
    Mutation("saturation: a step, DSP", "src/ops/dsp/update.h", "less, MORE *", "less, (MORE - 1) *", "dense"),
    Mutation("pairs: not rounded", "src/ops/paired.c", "(values[i] + 128) >> 8", "values[i] >> 8", "dense"),
    Mutation("pairs: inputs beyond the fours", "src/ops/paired.c", "if (left > 0)", "if (left > 1)", "dense"),
    Mutation(
        "pairs: of 32 bits, DSP",
        "src/ops/dsp/paired.h",
        "((sums.both - sums.even) >> 8)",
        "(sums.both - sums.even) >> 8",
        "dense",
    ),
    Mutation("span: one too few", "src/ops/taps.h", ">= in + pad", ">= in + pad - 1", "conv2d"),
    Mutation("padding: left is top", "src/ops/window.h", "kx) - w->pad_left", "kx) - w->pad_top", "depthwise"),
    Mutation("padding: wins", "src/ops/pool.c", "best = -128", "best = 0", "pool"),
    Mutation("ReLU mask", "src/ops/output.h", "acc <= 0", "acc < 0", "add"),
    Mutation("tie", "src/ops/pool.c", "+ c] > best", "+ c] >= best", "pool"),
    Mutation("hash of a masked weight", "src/ops/matrix.c", "- 128 : 0", "- 128 : -128", "dense"),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[m.what for m in MUTATIONS])
def test_a_mutation_is_of_the_code_as_it_is(mutation: Mutation) -> None:
    text = (REPO / "firmware/lib/sparcl" / mutation.file).read_text()
    assert text.count(mutation.old) == 1


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=[m.what for m in MUTATIONS])
def test_a_mutation_of_the_c_code_fails_a_test(mutation: Mutation, tmp_path: Path) -> None:
    for part in ("tests", "firmware/lib/sparcl"):
        shutil.copytree(REPO / part, tmp_path / part)
    path = tmp_path / "firmware/lib/sparcl" / mutation.file
    path.write_text(path.read_text().replace(mutation.old, mutation.new))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/test_{mutation.test}.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{REPO / 'host'}{os.pathsep}{REPO / 'tools'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    survives = mutation.what == "nothing"  # the copy itself must work, or every mutation would seem to be noticed
    assert done.returncode == (0 if survives else 1), done.stdout
    assert ": error: " not in done.stdout, done.stdout  # the compiler refused it, so no test has seen it
