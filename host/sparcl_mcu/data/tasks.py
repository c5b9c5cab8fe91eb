"""Class- and domain-incremental tasks, each with a training, a validation and a test part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .dataset import Array, DataError, DataSet
from .split import SplitError, grouped, sampled, stratified

VALIDATION_FRACTION = 0.1


@dataclass(frozen=True)
class Task:
    """One task. x_*: (n, ...) as in the data set; y_*: uint8 (n,), labels among `classes`.

    Validation samples are cut from the data set's training part; every choice is made on them, never on the test part.
    name: whose samples they are, where classes do not tell tasks apart.
    """

    classes: tuple[int, ...]
    x_train: Array
    y_train: NDArray[np.uint8]
    x_val: Array
    y_val: NDArray[np.uint8]
    x_test: Array
    y_test: NDArray[np.uint8]
    name: str = ""


def consecutive(data: DataSet, classes_per_task: int) -> tuple[tuple[int, ...], ...]:
    """Classes 0 .. C - 1 in order, `classes_per_task` a task; the last task takes what is left. Raises DataError when
    there would be no second task."""
    if classes_per_task >= data.classes:
        raise DataError(
            f"{data.name} has {data.classes} classes, so tasks of {classes_per_task} leave no second task; "
            "lower data.classes_per_task"
        )
    return tuple(
        tuple(range(first, min(first + classes_per_task, data.classes)))
        for first in range(0, data.classes, classes_per_task)
    )


def named(data: DataSet, tasks: Iterable[Iterable[str | int]]) -> tuple[tuple[int, ...], ...]:
    """Classes of each task given by name or number -> labels. Every class must be in exactly one task; raises
    DataError naming the one that is not."""
    known = ", ".join(f"{name!r}" for name in data.class_names)

    def label(wanted: str | int) -> int:
        if isinstance(wanted, str) and wanted in data.class_names:
            return data.class_names.index(wanted)
        if isinstance(wanted, int) and 0 <= wanted < data.classes:
            return wanted
        raise DataError(f"{data.name} has no class {wanted!r}; its {data.classes} classes are {known}")

    found = tuple(tuple(label(each) for each in task) for task in tasks)
    for c, name in enumerate(data.class_names):
        count = sum(task.count(c) for task in found)
        if count != 1:
            raise DataError(f"{data.name}: class {name!r} stands {count} times in data.tasks; put each class once")
    return found


def class_incremental(
    data: DataSet,
    classes: Sequence[tuple[int, ...]],
    samples_per_task: int | None = None,
    validate_by: str | None = None,
) -> tuple[Task, ...]:
    """Cut a data set into tasks of the given classes.

    samples_per_task: at most so many training samples, the classes' shares kept and at least one each; None: all.
    validate_by: "class" cuts validation samples evenly from each class; a name of `data.groups` or "domain" keeps each
    group's samples together; None: "domain" where the data tell domains apart, else "class". Nothing depends on the
    seed of a run. Raises DataError when a class would be missing in a part.
    """
    kept, cut = _validation(data, validate_by)
    return tuple(_task(data, each, kept, cut, samples_per_task) for each in classes)


def _validation(data: DataSet, by: str | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    groups = data.groups | ({} if data.domain_train is None else {"domain": data.domain_train})
    by = by or ("domain" if "domain" in groups else "class")
    if by == "class":
        return stratified(data.y_train, VALIDATION_FRACTION)
    if by not in groups:
        known = ", ".join(repr(name) for name in ("class", *groups))
        raise DataError(f"{_no_group(data, by)}; [data] validate_by can be {known}")
    try:
        return grouped(data.y_train, groups[by], VALIDATION_FRACTION)
    except SplitError as error:
        raise DataError(f"{data.name}, by {by}: {error}; choose another data.validate_by, such as 'class'") from None


def _task(
    data: DataSet,
    classes: tuple[int, ...],
    kept: NDArray[np.intp],
    cut: NDArray[np.intp],
    samples: int | None,
) -> Task:
    train, val = (part[np.isin(data.y_train[part], classes)] for part in (kept, cut))
    test = np.flatnonzero(np.isin(data.y_test, classes))
    lone = np.setdiff1d(data.y_train[train], data.y_train[val])
    if len(lone):
        raise DataError(
            f"{data.name}: class {data.class_names[lone[0]]!r} has 1 training sample; "
            "at least two a class are needed (one is kept for validation)"
        )
    train = _some(train, data, samples, f"the task of classes {', '.join(data.class_names[c] for c in classes)}")
    return Task(
        classes=classes,
        x_train=data.x_train[train],
        y_train=data.y_train[train],
        x_val=data.x_train[val],
        y_val=data.y_train[val],
        x_test=data.x_test[test],
        y_test=data.y_test[test],
    )


def _some(train: NDArray[np.intp], data: DataSet, samples: int | None, task: str) -> NDArray[np.intp]:
    """At most so many of the training samples, the classes' shares kept. Raises DataError when a class would go."""
    if samples is None or samples >= len(train):
        return train
    labels = data.y_train[train]
    classes = len(np.unique(labels))
    if samples < classes:
        raise DataError(
            f"{data.name}: {task} has training samples of {classes} classes, but [data] samples_per_task is {samples}; "
            "give at least one a class"
        )
    return train[sampled(labels, samples)]


def _no_group(data: DataSet, name: str) -> str:
    """Why `name` is none of `data.groups`."""
    if name in data.unfit:
        return f"{data.name}: {name}_train {data.unfit[name]}"
    return f"{data.name} has no array {name}_train"


def domain_incremental(data: DataSet, samples_per_task: int | None = None) -> tuple[Task, ...]:
    """Cut a data set into one task a domain, in ascending order of `domain_train`; every task has all classes.

    Validation samples are cut evenly from each class of a domain. Raises DataError when the data tell no domains apart
    or a domain is missing in the test part.
    """
    if data.domain_train is None or data.domain_test is None:
        raise DataError(f"{data.name} has no arrays domain_train and domain_test, so it cannot be cut by domain")
    domains = np.unique(data.domain_train)
    absent = sorted(set(domains.tolist()) - set(np.unique(data.domain_test).tolist()))
    if absent or len(domains) < 2:
        why = f"domain {absent[0]} has no test sample" if absent else "it has a single domain"
        raise DataError(f"{data.name} cannot be cut by domain: {why}; each task is tested on its own domain")
    tasks: list[Task] = []
    for domain in domains:
        train, test = (np.flatnonzero(part == domain) for part in (data.domain_train, data.domain_test))
        own = replace(
            data,
            name=f"{data.name}, domain {domain}",
            x_train=data.x_train[train],
            y_train=data.y_train[train],
            x_test=data.x_test[test],
            y_test=data.y_test[test],
            domain_train=None,
            domain_test=None,
            groups={},
        )
        tasks += class_incremental(own, [tuple(range(data.classes))], samples_per_task)
    return tuple(tasks)


def recorded_incremental(
    data: DataSet, domains: str, recordings: str, samples_per_task: int | None = None
) -> tuple[Task, ...]:
    """Cut the training part of a data set into one task a domain (a person, a device), in ascending order; every task
    has all classes, though not every person need have shown them all.

    domains, recordings: names of `data.groups`. The last third of a domain's recordings, in ascending order, is its
    test part and the one before them its validation part: no recording is in two. Samples that are nobody's, or of no
    recording (negative values), are left out. Raises DataError naming what is missing.
    """
    for name, key in ((domains, "domains"), (recordings, "recordings")):
        if name not in data.groups:
            known = ", ".join(map(repr, data.groups)) or "none of its arrays"
            raise DataError(f"{_no_group(data, name)}; [data] {key} can be {known}")
    domain, recording = data.groups[domains], data.groups[recordings]
    names = np.unique(domain[domain >= 0])
    if len(names) < 2:
        many = "a single" if len(names) else "no"
        raise DataError(f"{data.name} has {many} {domains}; tasks by {domains} need two at least")
    recorded = recording >= 0
    return tuple(
        _recorded(data, f"{domains} {name}", recorded & (domain == name), recording, samples_per_task) for name in names
    )


def _recorded(data: DataSet, whose: str, own: NDArray[np.bool_], recording: Array, samples: int | None) -> Task:
    order = np.unique(recording[own])
    if len(order) < 3:
        raise DataError(
            f"{data.name}: {whose} has {len(order)} recordings; three are needed, for training, validation and test"
        )
    late = len(order) - len(order) // 3
    train, val, test = (
        np.flatnonzero(own & np.isin(recording, part))
        for part in (order[: late - 1], order[late - 1 : late], order[late:])
    )
    train = _some(train, data, samples, whose)
    x, y = data.x_train, data.y_train
    return Task(tuple(range(data.classes)), x[train], y[train], x[val], y[val], x[test], y[test], whose)
