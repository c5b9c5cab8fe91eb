"""`sparcl results operators`: what convolutions, residuals and the rest reach, written with date, commit, command."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from ..summary import spread
from .options import DataDir, read
from .runs import run_all, seeds
from .ui import terminal

SEEDS = 10
REPLAY = 40  # samples, for ResNet-8
EXAMPLES = {"fashion_cnn": 0.5, "kws_dscnn": 1.0}  # folder of the example: target in points

_PAGE = """\
# Operators: what was measured

Written {date} by `sparcl results operators` (`make results-operators` runs the tests it reads first).

## Integer learner on the board against its float twin

{n} paired seeds, class-il, experience replay; accuracy is the mean over tasks of the test part, arg-max over all
classes. Same network, order and replay draws in both. What was tried before stands in [tuning.md](tuning.md).

| experiment | commit | board, % | float twin, % | board minus twin, points | target for the mean | met |
|---|---|---|---|---|---|---|
{pairs}

Means with 95 % t-intervals over seeds. Seed by seed (board - twin, points): {each}.

## ResNet-8, training memory

Sparsity 0.75 in all convolutions but the stem, a replay buffer of {replay} inputs of 3,072 bytes, from the
ELF of `qemu_m4` with the whole memory of its emulated machine (`.data` + `.bss` + 2 KB of stack).

| layers that learn | RAM, bytes | of it state (replay included) | arena | peak of the arena |
|---|---|---|---|---|
{memory}

The target is that the second fits 256 KB = 262,144 bytes: {fits}.

## Whole networks, the same state on every core

`tests/test_networks.py`, state hash after every task against NumPy's: {equality}.

## Mutations

`tests/test_mutations.py` flips a rounding, an exponent, a padding and more in the C, one at a time, and expects a
test to fail for each: {mutations}.
"""


def operators(
    data_dir: DataDir = None,
    tests: Annotated[Path, typer.Option(help="JUnit file of the test run.")] = Path("build/operators.xml"),
    kept: Annotated[Path, typer.Option(help="Finished seeds are kept here.")] = Path("build/pairs"),
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """CNN-S on Fashion-MNIST and DS-CNN on keywords, 10 paired seeds each; ResNet-8's memory (about 30 minutes)."""
    from sparcl_tools.pio import ROOT

    console = terminal()
    measured: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "command": "sparcl results operators"}
    runs = [run for name in EXAMPLES for run in seeds(read(ROOT / "examples" / name), range(SEEDS))]
    found = run_all(runs, data_dir, kept, console)
    measured["pairs"] = {name: found[k * SEEDS : (k + 1) * SEEDS] for k, name in enumerate(EXAMPLES)}
    measured["resnet8"] = {what: _resnet8(first) for what, first in {"all": None, "stage 3": "stage3_conv1"}.items()}
    measured["tests"] = _outcomes(tests)
    out.mkdir(parents=True, exist_ok=True)
    (out / "operators.json").write_text(json.dumps(measured, indent=1) + "\n")
    (out / "operators.md").write_text(_page(measured))
    console.print(f"Written: {out / 'operators.md'}, operators.json", markup=False)


def _resnet8(first_trainable: str | None) -> dict[str, Any]:
    """Bytes of ResNet-8; its weights do not matter for them, so it is pretrained on noise."""
    import numpy as np

    from sparcl_tools import elf
    from sparcl_tools.build import build
    from sparcl_tools.generate import generate

    from ..design import freeze_until, resnet8
    from ..learners.base import LearnSettings, Room
    from ..pretrain import PretrainSettings, pretrain
    from ..quantize import input_scaling, quantise
    from ..sparsity import Block

    graph = resnet8((32, 32, 3), 10, density=0.25, block=Block(1, 4))
    x = np.random.default_rng(0).uniform(-1, 1, (32, 3072)).astype(np.float32)
    y = np.arange(32, dtype=np.uint8) % 10
    settings = PretrainSettings(epochs=1, fine_tune_epochs=0)
    graph = freeze_until(graph, first_trainable) if first_trainable else graph
    net = quantise(pretrain(graph, x, y, settings, 0), input_scaling(x, "range"), x, "resnet8")
    folder = Path("build") / "resnet8" / (first_trainable or "all")
    memory = generate(net, folder, room=Room(replay=REPLAY), settings=LearnSettings())
    ram = elf.sizes(build("qemu_m4", folder, whole_memory=True)).ram_bytes
    return {"ram_bytes": ram, "state": memory.state_bytes, "arena": memory.arena_bytes, "peak": memory.peak}


def _outcomes(file: Path) -> dict[str, dict[str, int]]:
    """Of each test function in a JUnit file: how many cases passed, failed or were skipped."""
    if not file.exists():
        return {}
    counts: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        outcome = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        counts.setdefault(f"{case.get('classname')}.{str(case.get('name')).split('[')[0]}", Counter())[outcome] += 1
    return {name: dict(count) for name, count in counts.items()}


def _page(measured: dict[str, Any]) -> str:
    rows, each = [], []
    for name, runs in measured["pairs"].items():
        difference = [run["acc"] - run["acc_float"] for run in runs]
        cells = [spread([run[key] for run in runs], ".1f") for key in ("acc", "acc_float")]
        cells.append(spread(difference, "+.2f"))
        link = f"[{name}](../../examples/{name}/experiment.toml)"
        met = "yes" if abs(100 * sum(difference) / len(difference)) <= EXAMPLES[name] else "**no**"
        rows.append(f"| {link} | {runs[0]['commit']} | {' | '.join(cells)} | within {EXAMPLES[name]} | {met} |")
        each.append(f"{name} " + ", ".join(f"{100 * d:+.1f}" for d in difference))
    memory = [
        f"| {what} | {m['ram_bytes']:,} | {m['state']:,} | {m['arena']:,} | {m['peak']} |"
        for what, m in measured["resnet8"].items()
    ]
    return _PAGE.format(
        date=measured["date"],
        n=SEEDS,
        pairs="\n".join(rows),
        each="; ".join(each),
        replay=REPLAY,
        memory="\n".join(memory),
        fits="it does" if measured["resnet8"]["stage 3"]["ram_bytes"] <= 262_144 else "it does not",
        equality=_counted(measured["tests"], "test_networks"),
        mutations=_counted(measured["tests"], "test_mutations"),
    )


def _counted(outcomes: dict[str, dict[str, int]], module: str) -> str:
    listed = [
        f"{name.rsplit('.', 1)[1]} " + ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
        for name, counts in outcomes.items()
        if module in name
    ]
    return "; ".join(listed) or "not run"
