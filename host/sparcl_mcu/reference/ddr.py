"""DDR, dynamic data removal: the easiest samples of a task are left out of its later epochs.

Needs nothing of torch. Samples already in the buffer stay there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class DDR:
    """Scores of one task's samples.

    score: "misclassified", how often since the last removal (the paper), or "transitions", how often a sample went
    from right to wrong since then; those that were never right score highest (the authors' code; few scores occur, so
    ties decide)."""

    def __init__(self, samples: int, fraction: float, removals: int, score: str = "misclassified") -> None:
        """`fraction` of `samples` is removed in all, split evenly over `removals`."""
        self.kept: NDArray[np.intp] = np.arange(samples)
        self._samples, self._fraction, self._removals, self._score = samples, fraction, removals, score
        self._done = 0
        self._clear()

    def record(self, index: NDArray[np.intp], correct: NDArray[np.bool_]) -> None:
        """How samples were classified in training. index: positions in the task, each at most once; correct: (n,)."""
        self._misses[index] += ~correct & (self._right[index] if self._score == "transitions" else True)
        self._right[index] = correct
        self._ever_right[index] |= correct

    def remove(self, rng: np.random.Generator) -> None:
        """Drop the samples with the lowest score; ties are decided by lot. Counting starts afresh."""
        self._done += 1
        left = self._samples - round(self._fraction * self._samples * self._done / self._removals)
        difficulty = self._misses
        if self._score == "transitions":
            difficulty = np.where(self._ever_right, difficulty, difficulty.max() + 1)
        lot = rng.permutation(self.kept)
        self.kept = np.sort(lot[np.argsort(-difficulty[lot], kind="stable")[:left]])
        self._clear()

    def _clear(self) -> None:
        self._misses: NDArray[Any] = np.zeros(self._samples, dtype=np.int64)
        self._right: NDArray[np.bool_] = np.zeros(self._samples, dtype=np.bool_)
        self._ever_right = self._right.copy()
