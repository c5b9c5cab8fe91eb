"""Class-incremental tasks: consecutive classes, each with a training, a validation and a test part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dataset import Array, DataError, DataSet
from .split import stratified

VALIDATION_FRACTION = 0.1


@dataclass(frozen=True)
class Task:
    """One task. x_*: (n, ...) as in the data set; y_*: uint8 (n,), labels among `classes`.

    Validation samples are cut from the data set's training part; every choice is made on them, never on the test part.
    """

    classes: tuple[int, ...]
    x_train: Array
    y_train: NDArray[np.uint8]
    x_val: Array
    y_val: NDArray[np.uint8]
    x_test: Array
    y_test: NDArray[np.uint8]


def class_incremental(data: DataSet, classes_per_task: int, samples_per_task: int | None = None) -> tuple[Task, ...]:
    """Classes 0 .. C - 1 in order, `classes_per_task` a task (the last task takes what is left).

    samples_per_task: at most so many training samples, the classes' shares kept; None: all. The split depends on the
    labels alone, not on the seed of a run. Raises DataError when there would be no second task or an empty part.
    """
    if classes_per_task >= data.classes:
        raise DataError(
            f"{data.name} has {data.classes} classes, so tasks of {classes_per_task} leave no second task; "
            "lower data.classes_per_task"
        )
    return tuple(
        _task(data, tuple(range(first, min(first + classes_per_task, data.classes))), samples_per_task)
        for first in range(0, data.classes, classes_per_task)
    )


def _task(data: DataSet, classes: tuple[int, ...], samples: int | None) -> Task:
    inside = np.flatnonzero(np.isin(data.y_train, classes))
    test = np.flatnonzero(np.isin(data.y_test, classes))
    kept, cut = stratified(data.y_train[inside], VALIDATION_FRACTION)
    train, val = inside[kept], inside[cut]
    if samples is not None and samples < len(train):
        train = train[stratified(data.y_train[train], samples / len(train))[1]]
    if not (len(train) and len(val)):
        raise DataError(
            f"{data.name}: classes {', '.join(map(str, classes))} have {len(inside)} training samples; "
            "at least two a class are needed (one is kept for validation)"
        )
    return Task(
        classes=classes,
        x_train=data.x_train[train],
        y_train=data.y_train[train],
        x_val=data.x_train[val],
        y_val=data.y_train[val],
        x_test=data.x_test[test],
        y_test=data.y_test[test],
    )
