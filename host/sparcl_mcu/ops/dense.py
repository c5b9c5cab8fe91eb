"""Dense layer in integers (docs/numerics.md); the twin of firmware/lib/sparcl/src/ops/dense.c.

Shapes: hi int64 (outputs, inputs), the rounded int8 weight, 0 where masked; x int64 (inputs,) int8 mantissas;
d int64 (outputs,) int8 error mantissas. Masked weights are zeros here and absent on the device.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import numerics as nx
from ..numerics import Ints


def forward(hi: Ints, bias: Ints, x: Ints, accumulator_exponent: int) -> Ints:
    """Accumulators int32 (outputs,) with exponent `accumulator_exponent` = weight exponent + input exponent."""
    return hi @ x + nx.rsr(bias, accumulator_exponent - nx.BIAS_EXPONENT)


def input_grad(hi: Ints, d: Ints) -> Ints:
    """Error of the layer's input, int32 (inputs,), exponent = weight exponent + error exponent."""
    return d @ hi


def weight_update(
    masters: NDArray[np.int16], mask: NDArray[np.bool_], d: Ints, x: Ints, shift: int, lr_mantissa: int
) -> None:
    """M' -= sat(rsr(m_lr * d * x, shift)) for every stored weight, in place."""
    step = nx.sat(nx.rsr(lr_mantissa * np.outer(d, x), shift), 32767)
    moved = np.clip(masters - step, nx.MASTER_MIN, nx.MASTER_MAX)
    masters[mask] = moved[mask].astype(np.int16)


def bias_update(bias: NDArray[np.int32], d: Ints, shift: int, lr_mantissa: int) -> None:
    """b -= rsr(m_lr * d, shift), in place, |b| <= 2**29."""
    bias[:] = nx.sat(bias - nx.rsr(lr_mantissa * d, shift), nx.BIAS_LIMIT).astype(np.int32)
