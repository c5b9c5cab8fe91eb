"""Fixed stratified splits: the same samples whatever the seed of a run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SPLIT_SEED = 20220926  # any constant; changing it changes every published figure


def stratified(labels: NDArray[np.uint8], fraction: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices (kept, cut), both ascending: `fraction` of each class is cut, at least one sample if a class has two.

    labels: uint8 (n,). Depends on nothing but the labels.
    """
    cut = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, round(fraction * len(members))) if len(members) > 1 else 0
        cut[np.random.default_rng([_SPLIT_SEED, int(label)]).permutation(members)[:count]] = True
    return np.flatnonzero(~cut), np.flatnonzero(cut)
