"""What training costs, in two columns.

`paper`: the published convention, floating-point operations (two a multiply-accumulate). It leaves out the buffer's
backward pass and lets gradient sparsity shrink both backward halves. `counted`: every multiply-accumulate the
algorithm does if masks are exploited, by phase; testing is not training and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..work import published
from .masks import Masks
from .network import Layer

Live = Callable[[Layer], int]  # weights of a layer that a pass uses


def paper_flops(
    layers: Iterable[Layer], presented: float, *, replays: int, sparsity: float, gradient_sparsity: float
) -> float:
    """`work.published` with one s and q for all sparse layers; without gradient masks q = s.

    presented: samples presented in all, r_data * n * epochs. replays: b, buffer mini-batches a step.
    """
    shares = {True: (1 - sparsity, 1 - gradient_sparsity), False: (1.0, 1.0)}
    return published(((layer.positions * layer.size, *shares[layer.sparse]) for layer in layers), presented, replays)


class Work:
    """Multiply-accumulates done so far. A phase is "current", "buffer" (training passes), "importance" or "refresh"."""

    def __init__(self, layers: tuple[Layer, ...], masks: Masks) -> None:
        self._layers, self._masks = layers, masks
        self.macs: dict[str, dict[str, int]] = {
            phase: {"forward": 0, "input_grad": 0, "weight_grad": 0}
            for phase in ("current", "buffer", "importance", "refresh")
        }

    @property
    def total(self) -> int:
        return sum(sum(parts.values()) for parts in self.macs.values())

    def training_pass(self, phase: str, samples: int) -> None:
        """Forward and backward of `samples`; only gradients of updated weights are computed."""
        self._add(phase, samples, self._masks.live, self._masks.updated)

    def forward_pass(self, phase: str, samples: int) -> None:
        """Forward alone."""
        used = sum(layer.positions * self._masks.live(layer) for layer in self._layers)
        self.macs[phase]["forward"] += samples * used

    def scoring_pass(self, phase: str, samples: int) -> None:
        """Forward and backward of `samples` for the gradients of all weights that exist."""
        self._add(phase, samples, self._masks.live, self._masks.live)

    def growing_pass(self, phase: str, samples: int) -> None:
        """Forward and backward of `samples` for the gradients of all weights, those that do not exist too."""
        self._add(phase, samples, self._masks.live, lambda layer: layer.size)

    def widen(self, phase: str, samples: int) -> None:
        """A training pass computed the gradients of all weights that exist: what `training_pass` did not count."""
        missing = sum(la.positions * (self._masks.live(la) - self._masks.updated(la)) for la in self._layers)
        self.macs[phase]["weight_grad"] += samples * missing

    def _add(self, phase: str, samples: int, live: Live, scored: Live) -> None:
        parts = self.macs[phase]
        for layer in self._layers:
            forward = samples * layer.positions * live(layer)
            parts["forward"] += forward
            parts["input_grad"] += 0 if layer.first else forward
            parts["weight_grad"] += samples * layer.positions * scored(layer)
