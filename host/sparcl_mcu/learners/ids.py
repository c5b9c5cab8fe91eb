"""IDS, instance selection in one pass: a share of the new samples is learnt, those with the largest gradient of the
last layer (docs/numerics.md, "IDS").

The twin of firmware/lib/sparcl/src/ids.c. A part of our reconstruction of EsaCL (Ren and Honavar, SDM 2024, arXiv
2401.05667), whose code is not public: B points of a stream of n are a share of B / n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import numerics as nx
from ..numerics import Ints

LEVEL_BITS = 8  # a level is 2**LEVEL_BITS log2 of a squared score
FRESH = -(1 << 31)  # a board's threshold before the first sample
MOST = 1 << 30  # above every level of an exponent that a state may have
STEP_BITS = 10  # a threshold is in units of 2**-STEP_BITS levels: a sample moves it by less than 64 levels


def level(g: Ints, h: Ints, e_h: int) -> int | None:
    """Of |g|**2 |h|**2; None where that is 0. g: loss gradient, (classes,), exponent -15. h: what the last layer reads,
    exponent e_h. The logarithm is linear between two powers of two."""
    score = int((g**2).sum()) * int((h**2).sum())
    if score == 0:
        return None
    n = score.bit_length() - 1
    fraction = (score << LEVEL_BITS >> n) - (1 << LEVEL_BITS)
    return (n << LEVEL_BITS) + fraction + (2 * (e_h + nx.LOSS_EXPONENT) << LEVEL_BITS)


def real_level(score: float) -> float | None:
    """The same of |g| |h| in real numbers."""
    return float(2 * math.log2(score) * 2**LEVEL_BITS) if score > 0 else None


@dataclass
class Threshold:
    """share: of the samples, in 2**-16, that is taken. value: what a level has to reach, in 2**-STEP_BITS levels; None
    before the first sample."""

    share: int
    value: float | None = None

    def takes(self, level: float | None) -> bool:
        """Is a sample of this level learnt? Each that is raises the threshold, each that is not lowers it, so that
        `share` of them is in the long run. One without a level has nothing to be left out of."""
        if level is None:
            return True
        scaled = level * (1 << STEP_BITS)
        if self.value is None:
            self.value = scaled
        taken = scaled >= self.value
        self.value += (1 << 16) - self.share if taken else -self.share
        return taken
