"""Continual-learning metrics from an accuracy matrix, each with its formula.

R[i, j] is the test accuracy on task j after learning task i, of T tasks. Libraries differ in what they call
forgetting; ours is Chaudhry et al. 2018.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]  # (T, T)


def acc(r: Matrix) -> float:
    """Final accuracy: mean over tasks j of R[T-1, j]."""
    return float(r[-1].mean())


def aia(r: Matrix) -> float:
    """Average incremental accuracy: mean over i of the mean over j <= i of R[i, j]."""
    return float(seen_accuracy(r).mean())


def seen_accuracy(r: Matrix) -> Matrix:
    """(T,): after each task i, the mean over the tasks j <= i seen so far of R[i, j]."""
    return np.array([r[i, : i + 1].mean() for i in range(len(r))])


def bwt(r: Matrix) -> float | None:
    """Backward transfer: mean over j < T-1 of R[T-1, j] - R[j, j]. None with one task."""
    return float((r[-1, :-1] - np.diag(r)[:-1]).mean()) if len(r) > 1 else None


def fwt(r: Matrix, untrained: Matrix) -> float | None:
    """Forward transfer: mean over j >= 1 of R[j-1, j] - b[j]. None with one task.

    untrained: (T,), accuracy b of the network before any learning. Meaningless for class-il, where the outputs of
    future classes are untrained: report it for task-il and domain-il only.
    """
    return float(np.mean([r[j - 1, j] - untrained[j] for j in range(1, len(r))])) if len(r) > 1 else None


def forgetting(r: Matrix) -> float | None:
    """Mean over j < T-1 of (max over i < T-1 of R[i, j]) - R[T-1, j]. None with one task."""
    return float((r[:-1, :-1].max(axis=0) - r[-1, :-1]).mean()) if len(r) > 1 else None


def balanced_accuracy(labels: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Mean over classes of the share of that class's samples that were recognised. Both (n,)."""
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))
