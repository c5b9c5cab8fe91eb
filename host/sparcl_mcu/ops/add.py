"""Residual addition; the twin of firmware/lib/sparcl/src/ops/add.c. Both sources and the sum share one exponent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..numerics import Ints
from .base import OperatorError, Unweighted

if TYPE_CHECKING:
    from ..graph import Node, Shape


class Add(Unweighted):
    def shape(self, node: Node, sources: list[Shape]) -> Shape:
        if len(sources) != 2 or sources[0] != sources[1]:
            maps = " and ".join("x".join(map(str, s)) for s in sources)
            raise OperatorError(f"a residual adds two maps of one shape, not {maps}")
        return sources[0]

    def float_forward(self, functional: Any, node: Node, xs: list[Any], weight: Any, bias: Any) -> Any:
        return xs[0] + xs[1]

    def forward(self, node: Node, xs: list[Ints]) -> tuple[Ints, None]:
        return xs[0] + xs[1], None

    def backward(self, node: Node, d: Ints, saved: Any, shape: Shape) -> Ints:
        return d
