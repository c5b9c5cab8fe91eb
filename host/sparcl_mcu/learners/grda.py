"""Directional pruning by gRDA in integers: weights in use are masters drawn towards 0 by a threshold that grows
(docs/numerics.md, "gRDA").

The twin of firmware/lib/sparcl/src/grda.c. Chao et al. 2020, "Directional pruning of deep neural networks". A part of
our reconstruction of EsaCL (Ren and Honavar, SDM 2024, arXiv 2401.05667), whose code is not public.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from .. import numerics as nx
from ..graph import Node
from ..network import Network
from ..numerics import Ints

EXPONENT = -24  # of thresholds
MOST = (1 << 31) - 1
MU_BITS = 16  # mu is in units of 2**-MU_BITS


def pruned(network: Network) -> list[Node]:
    """The layers it acts on: all that learn but depthwise ones, which are never pruned."""
    return [node for node in network.trainable() if node.op != "depthwise"]


def start(c: float, rate: float, mu: float) -> int:
    """The threshold of the first step, c * rate**(mu + 1/2), as `powers` takes it."""
    power: float = rate ** (mu + 0.5)
    return round(c * power * 2.0**-EXPONENT)


def powers(start: int, mu: int) -> list[int]:
    """Thresholds of steps 1, 2, 4, .. 2**32: start * 2**(k mu), the same on every computer."""
    with localcontext(prec=40):
        exact = [start * Decimal(2) ** (Decimal(k * mu) / (1 << MU_BITS)) for k in range(33)]
        return [min(int(value.to_integral_value()), MOST) for value in exact]


def threshold(powers: list[int], step: int) -> int:
    """Of a step: linear between two powers of two."""
    n = max(step, 1)
    k = n.bit_length() - 1
    return powers[k] + ((powers[k + 1] - powers[k]) * (n - (1 << k)) >> k)


def weights(masters: NDArray[np.int16], exponents: NDArray[np.int8], threshold: int) -> NDArray[np.int8]:
    """int8 weights in use, (rows, fan_in), of masters M' with one exponent."""
    return rounded(soft(masters, exponents, threshold))


def soft(masters: NDArray[np.int16], exponents: NDArray[np.int8], threshold: int) -> Ints:
    """Masters M, drawn towards 0."""
    m: Ints = masters.astype(np.int64) - 128
    tau = nx.rsr(np.array(threshold, np.int64), int(exponents[0]) - 8 - EXPONENT)
    return np.sign(m) * np.maximum(np.abs(m) - tau, 0)


def rounded(m: Ints) -> NDArray[np.int8]:
    """int8 weights of masters M."""
    return nx.sat((m + 128) >> 8, 127).astype(np.int8)


def ascent(gradient: Ints, rho: int) -> Ints:
    """A layer's step up its gradient, in units of masters: the largest component is 2**(rho - 1) .. 2**rho, as in block
    floating point."""
    largest = int(np.abs(gradient).max())
    return nx.rsr(gradient, largest.bit_length() - rho)
