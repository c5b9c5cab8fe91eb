"""What a run on the board cost, in the published convention and as it was.

`paper` (by formula, floating-point operations, two a multiply-accumulate): no backward pass of the buffer, both others
shrunk by the gradient masks. `counted`: every multiply-accumulate the board did to learn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .learners.base import LearnSettings, Replay
from .network import Network

BUFFER_PASSES = {Replay.ER: 1, Replay.REPEAT: 1, Replay.DER: 1, Replay.DERPP: 2, Replay.EWC: 0, Replay.LIGHTCL: 1}
COUNTED = ("macs_forward", "macs_input_grad", "macs_weight_grad", "macs_importance")


def published(layers: Iterable[tuple[int, float, float]], presented: float, replays: int) -> float:
    """F = 2 * presented * sum over layers of MAC * [(1 + b) (1 - s) + 2 (1 - q)].

    layers: (MAC of a dense forward pass, 1 - s, 1 - q), the shares of its weights that exist and that learn. presented:
    samples presented in all. replays: b, buffer passes a step.
    """
    return 2 * presented * sum(macs * ((1 + replays) * live + 2 * learns) for macs, live, learns in layers)


def layers(net: Network) -> list[dict[str, Any]]:
    """Of each layer with weights what `paper` asks: weights in all and those stored; positions, the outputs a weight
    is used for; sparse, whether gradient masks hold in it; frozen."""
    return [
        {
            "name": node.name,
            "weights": net.weights[node.name].mask.size,
            "stored": net.weights[node.name].slots,
            "positions": net.positions(node),
            "sparse": not (net.weights[node.name].dense or node.frozen),
            "frozen": node.frozen,
        }
        for node in net.weighted()
    ]


def paper(run: dict[str, Any], settings: LearnSettings) -> float:
    """`published` for what `cli.runs.measure` found; presented are the samples really sent."""
    costs = []
    for layer in run["layers"]:
        density = layer["stored"] / layer["weights"]
        learns = density * (settings.dgm_share / 65536 if settings.dgm_share and layer["sparse"] else 1.0)
        learns = 0.0 if layer["frozen"] else learns
        costs.append((layer["weights"] * layer["positions"], density, learns))
    return published(costs, run["presented"] * run["data_used"], BUFFER_PASSES[settings.replay])


def counted(run: dict[str, Any]) -> int:
    """Multiply-accumulates, importance passes and replay included."""
    return int(sum(run["stats"][name] for name in COUNTED))
