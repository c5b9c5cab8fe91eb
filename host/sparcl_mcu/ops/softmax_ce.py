"""Softmax cross entropy in integers; the twin of firmware/lib/sparcl/src/ops/softmax_ce.c."""

from __future__ import annotations

import numpy as np

from .. import numerics as nx
from ..numerics import Ints


def gradient(z: Ints, label: int) -> Ints:
    """Gradient of the loss to the logits, int32 (classes,), exponent -15: softmax(z) - onehot(label).

    z: int16 logits, unit 1/32. Probabilities are not rounded to 8 bits: that would lose small gradients.
    """
    e = nx.EXP_TABLE[np.minimum(z.max() - z, 255)]
    g: Ints = (e << 15) // e.sum()
    g[label] -= 1 << 15
    return g
