"""`sparcl results latent`: what latent replay saves, measured again and written with date, commit and command."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import record
from .ui import terminal

if TYPE_CHECKING:
    from sparcl_tools.bench_replay import Cost

BOARD = "qemu_m4"
BYTES = {"DS-CNN": 7, "ResNet-8": 40}  # times less in the buffer, at pooled features
TIMES = 3  # times fewer instructions a step

_PAGE = """\
# Latent replay: what it saves

Measured {date} at commit {commit} by `sparcl results latent` (`make results-latent`) on `{board}`, counted in
instructions by QEMU. The layers below the border are frozen; the replay buffer holds either inputs or the activations
at the border ([learn] `replay_at`), int8 both. What is learnt is the same: the hash of all layers and exponents after
the run is equal, the whole state is NumPy's.

## The buffer

| network | learns from | border | an input, bytes | a latent, bytes | times less | target |
|---|---|---|---|---|---|---|
{buffers}

## Instructions

A step is the new sample and its replayed ones: one with ER, two with DER++. A pass is forward, backward and update of
one replayed sample.

| network | learns from | method | a step, inputs | a step, latents | times fewer | target | a pass, inputs | a pass, \
latents | times fewer | learnt the same |
|---|---|---|---|---|---|---|---|---|---|---|
{steps}

A step from latents runs the frozen layers once, for its new sample. So it can at most be as many times cheaper as it
has passes: 2 with ER, 3 with DER++, and 5 in the steps in which SparCL-DER++ also measures importance.
"""


def latent(
    kept: Annotated[Path, typer.Option(help="Folder of the programs.")] = Path("build/latent"),
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """Replay of inputs against replay of latents: bytes, instructions, and the state they lead to (5 minutes)."""
    from sparcl_tools import bench_replay

    console = terminal()
    costs = []
    for case in bench_replay.CASES:
        for method in bench_replay.METHODS:
            for at_border in (False, True):
                name = f"{case.name}_{case.freeze_until}_{method}_{'latents' if at_border else 'inputs'}"
                costs.append(bench_replay.measure(BOARD, case, method, at_border, kept / name, console.print))
    measured = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": record.versions()["commit"],
        "command": "sparcl results latent",
        "costs": [vars(cost) for cost in costs],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "latent.json").write_text(json.dumps(measured, indent=1) + "\n")
    (out / "latent.md").write_text(page(measured, costs))
    console.print(f"Written: {out / 'latent.md'}, latent.json", markup=False)


def page(measured: dict[str, Any], costs: list[Cost]) -> str:
    """docs/results/latent.md. costs: of inputs and of latents in turn."""
    pairs = list(zip(costs[::2], costs[1::2], strict=True))
    return _PAGE.format(
        **{key: measured[key] for key in ("date", "commit")},
        board=BOARD,
        buffers="\n".join(dict.fromkeys(_buffer(*pair) for pair in pairs)),
        steps="\n".join(_step(*pair) for pair in pairs),
    )


def _met(times: float, target: float) -> str:
    return f"at least {target}: {'met' if times >= target else '**not met**'}"


def _buffer(whole: Cost, latent: Cost) -> str:
    times = whole.bytes / latent.bytes
    target = _met(times, BYTES[whole.network]) if whole.freeze_until == "head" else "none: said by `sparcl plan`"
    cells = (whole.network, whole.freeze_until, latent.border, f"{whole.bytes:,}", f"{latent.bytes:,}")
    return _row(*cells, f"{times:.2f}", target)


def _step(whole: Cost, latent: Cost) -> str:
    times = whole.step / latent.step
    passes = [(cost.step - cost.first) / (2 if cost.method == "der++" else 1) for cost in (whole, latent)]
    return _row(
        *(whole.network, whole.freeze_until, whole.method, f"{whole.step:,}", f"{latent.step:,}", f"{times:.3f}"),
        *(_met(times, TIMES), *(f"{cost:,.0f}" for cost in passes), f"{passes[0] / passes[1]:.1f}"),
        "yes" if whole.learnt == latent.learnt else "**no**",
    )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
