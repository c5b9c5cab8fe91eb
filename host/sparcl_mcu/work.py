"""What a run on the board cost, in the published convention and as it was.

`paper` (by formula, floating-point operations, two a multiply-accumulate): no backward pass of the buffer, both others
shrunk by the gradient masks. `counted`: every multiply-accumulate the board did to learn.
"""

from __future__ import annotations

from typing import Any

from .learners.base import LearnSettings, Replay

BUFFER_PASSES = {Replay.ER: 1, Replay.REPEAT: 1, Replay.DER: 1, Replay.DERPP: 2}
COUNTED = ("macs_forward", "macs_input_grad", "macs_weight_grad", "macs_importance")


def paper(run: dict[str, Any], settings: LearnSettings) -> float:
    """F = 2 * presented * sum over layers of MAC * [(1 + b) (1 - s) + 2 (1 - q)], presented the samples really sent.

    run: what `cli.runs.measure` found. b: buffer passes a step; s, q: sparsities of a layer's weights and gradients.
    """
    b, total = BUFFER_PASSES[settings.replay], 0.0
    for layer in run["layers"]:
        density = layer["stored"] / layer["weights"]
        learns = density * (settings.dgm_share / 65536 if settings.dgm_share and layer["sparse"] else 1.0)
        learns = 0.0 if layer["frozen"] else learns
        total += layer["weights"] * layer["positions"] * ((1 + b) * density + 2 * learns)
    return float(2 * run["presented"] * run["data_used"] * total)


def counted(run: dict[str, Any]) -> int:
    """Multiply-accumulates, importance passes and replay included."""
    return int(sum(run["stats"][name] for name in COUNTED))
