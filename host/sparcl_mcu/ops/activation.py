"""What becomes of a layer's accumulators: int8 outputs with or without ReLU, or int16 logits.

The twin of firmware/lib/sparcl/src/ops/output.h.
"""

from __future__ import annotations

import numpy as np

from .. import numerics as nx
from ..numerics import Ints


def requantise(acc: Ints, shift: Ints | int, relu: bool) -> tuple[Ints, int]:
    """(int8 outputs, how many of them saturated); shift = output exponent - accumulator exponent, an int or one a
    channel."""
    q = rsr_channels(np.maximum(acc, 0) if relu else acc, shift)
    return nx.sat(q, 127), int(np.count_nonzero(np.abs(q) > 127))


def rsr_channels(acc: Ints, shift: Ints | int) -> Ints:
    """`rsr` with one shift, or with one a channel (last axis)."""
    if np.ndim(shift) == 0:
        return nx.rsr(acc, int(shift))
    return np.stack([nx.rsr(acc[..., c], int(s)) for c, s in enumerate(np.asarray(shift))], axis=-1)


def logits(acc: Ints, accumulator_exponent: int) -> Ints:
    """int16 logits in units of 1/32."""
    return nx.sat(nx.rsr(acc, nx.LOGIT_EXPONENT - accumulator_exponent), 32767)
