"""What a run on the board cost, in the published convention and as it was.

`paper` (by formula, floating-point operations, two a multiply-accumulate): no backward pass of the buffer, both others
shrunk by the gradient masks. `counted`: every multiply-accumulate the board did to learn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .learners.base import LearnSettings, Replay

BUFFER_PASSES = {Replay.ER: 1, Replay.REPEAT: 1, Replay.DER: 1, Replay.DERPP: 2, Replay.EWC: 0, Replay.LIGHTCL: 1}
COUNTED = ("macs_forward", "macs_input_grad", "macs_weight_grad", "macs_importance")


def published(layers: Iterable[tuple[int, float, float]], presented: float, replays: int) -> float:
    """F = 2 * presented * sum over layers of MAC * [(1 + b) (1 - s) + 2 (1 - q)].

    layers: (MAC of a dense forward pass, 1 - s, 1 - q), the shares of its weights that exist and that learn. presented:
    samples presented in all. replays: b, buffer passes a step.
    """
    return 2 * presented * sum(macs * ((1 + replays) * live + 2 * learns) for macs, live, learns in layers)


def paper(run: dict[str, Any], settings: LearnSettings) -> float:
    """`published` for what `cli.runs.measure` found; presented are the samples really sent."""
    layers = []
    for layer in run["layers"]:
        density = layer["stored"] / layer["weights"]
        learns = density * (settings.dgm_share / 65536 if settings.dgm_share and layer["sparse"] else 1.0)
        learns = 0.0 if layer["frozen"] else learns
        layers.append((layer["weights"] * layer["positions"], density, learns))
    return published(layers, run["presented"] * run["data_used"], BUFFER_PASSES[settings.replay])


def counted(run: dict[str, Any]) -> int:
    """Multiply-accumulates, importance passes and replay included."""
    return int(sum(run["stats"][name] for name in COUNTED))
