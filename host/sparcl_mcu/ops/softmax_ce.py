"""Softmax cross entropy and the DER++ logit term; the twin of firmware/lib/sparcl/src/ops/softmax_ce.c."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import numerics as nx
from ..numerics import Ints


def gradient(z: Ints, label: int, classes: NDArray[np.bool_] | None = None) -> Ints:
    """Gradient of the loss to the logits, int32 (classes,), exponent -15: softmax(z) - onehot(label).

    z: int16 logits, unit 1/32. classes: which classes take part (default all); the others are left out of the
    softmax and get gradient 0. Probabilities are not rounded to 8 bits: that would lose small gradients.
    """
    taking_part = np.ones(len(z), np.bool_) if classes is None else classes
    e = np.where(taking_part, nx.EXP_TABLE[np.clip(z[taking_part].max() - z, 0, 255)], 0)
    g: Ints = (e << 15) // e.sum()
    g[label] -= 1 << 15
    return g


def logit_gradient(z: Ints, target: Ints, shift: int) -> Ints:
    """DER's mean squared error to stored logits: (z - t) * 1024 / 2**shift, floor, exponent -15.

    z, target: int16 logits, unit 1/32, so that 1024 turns their unit into 2**-15. The weight 2 alpha / classes is
    rounded to 2**-shift.
    """
    return ((z - target) * 1024) >> shift
