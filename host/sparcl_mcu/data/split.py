"""Fixed splits: the same samples whatever the seed of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SparclError

_SPLIT_SEED = 20220926  # any constant; changing it changes every published figure


class SplitError(SparclError):
    """Samples that belong together cannot be parted as wanted."""


def stratified(labels: NDArray[np.uint8], fraction: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices (kept, cut), both ascending: `fraction` of each class is cut, at least one sample if a class has two.

    labels: uint8 (n,). Depends on nothing but the labels.
    """
    cut = np.zeros(len(labels), dtype=np.bool_)
    for members in _shuffled(labels):
        count = max(1, round(fraction * len(members))) if len(members) > 1 else 0
        cut[members[:count]] = True
    return np.flatnonzero(~cut), np.flatnonzero(cut)


def sampled(labels: NDArray[np.uint8], count: int) -> NDArray[np.intp]:
    """Indices, ascending, of at most `count` samples: of each class its share, and at least one.

    labels: uint8 (n,). count: at least as many as there are classes. Depends on nothing but these.
    """
    share = count / len(labels)
    drawn = np.sort(np.concatenate([each[: max(1, round(share * len(each)))] for each in _shuffled(labels)]))
    first = np.unique(labels[drawn], return_index=True)[1]  # of its class: it stays when rounding drew too many
    return np.sort(np.concatenate([drawn[first], np.delete(drawn, first)[: count - len(first)]]))


def _shuffled(labels: NDArray[np.uint8]) -> Iterator[NDArray[np.intp]]:
    """Of each class, in ascending order, the indices of its samples in a fixed random order."""
    for label in np.unique(labels):
        yield np.random.default_rng([_SPLIT_SEED, int(label)]).permutation(np.flatnonzero(labels == label))


def grouped(
    labels: NDArray[np.uint8], groups: NDArray[np.integer[Any]], fraction: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices (kept, cut), both ascending: about `fraction` of each class is cut, and no group is in both.

    labels: uint8 (n,). groups: integers (n,), samples of one value belong together (a person, a recording); a
    negative value belongs to nobody. Depends on nothing but these. Raises SplitError naming a class that would be
    missing in one part.
    """
    owners = np.where(groups < 0, -1 - np.arange(len(groups)), groups.astype(np.int64))
    names, owner = np.unique(owners, return_inverse=True)
    classes, label = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(names), len(classes)), dtype=np.int64)
    np.add.at(counts, (owner, label), 1)
    have, wanted = counts.sum(axis=0), fraction * counts.sum(axis=0)
    taken = np.zeros(len(names), dtype=np.bool_)

    def miss(cut: NDArray[np.int64]) -> float:
        return float((((cut - wanted) / wanted) ** 2).sum())

    order = np.random.default_rng(_SPLIT_SEED).permutation(len(names))
    for group in order:
        cut = counts[taken].sum(axis=0)
        taken[group] = miss(cut + counts[group]) < miss(cut)
    for c in range(len(classes)):  # groups larger than the fraction: take the smallest that holds the class
        cut = counts[taken].sum(axis=0)
        holders = [g for g in order if counts[g, c] and not taken[g] and (cut + counts[g] < have).all()]
        if cut[c] == 0 and holders:
            taken[min(holders, key=lambda g: counts[g].sum())] = True
    missing = (counts[taken].sum(axis=0) == 0) | (counts[~taken].sum(axis=0) == 0)
    if missing.any():
        raise SplitError(f"class {classes[missing.argmax()]} is not in enough groups to be in both parts")
    return np.flatnonzero(~taken[owner]), np.flatnonzero(taken[owner])
