"""What becomes of a layer's accumulators: int8 after ReLU in hidden layers, int16 logits in the last.

The twin of firmware/lib/sparcl/src/ops/output.h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import numerics as nx
from ..numerics import Ints


def relu(acc: Ints, shift: int) -> tuple[Ints, NDArray[np.bool_], int]:
    """(int8 outputs, ReLU mask, outputs that saturated); shift = output exponent - accumulator exponent.

    The mask is acc > 0: an output that rounds to 0 or saturates keeps its gradient.
    """
    q = nx.rsr(np.maximum(acc, 0), shift)
    return np.minimum(q, 127), acc > 0, int(np.count_nonzero(q > 127))


def logits(acc: Ints, accumulator_exponent: int) -> Ints:
    """int16 logits in units of 1/32."""
    return nx.sat(nx.rsr(acc, nx.LOGIT_EXPONENT - accumulator_exponent), 32767)
