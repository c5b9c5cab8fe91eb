"""A data set in memory, and the checks every one passes before anything is trained on it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SparclError

Array = NDArray[Any]
SMALLEST, LARGEST = 1e-30, 1e30  # of a part's largest magnitude: what float32 can offset and scale
MAX_CLASSES = 255  # labels are one byte, and a network has at most 255 outputs


class DataError(SparclError):
    """A data set is missing, damaged, or does not suit class-incremental learning."""


@dataclass(frozen=True)
class DataSet:
    """Training and test part, labels counted from 0.

    x_train, x_test: (n, ...) real or integer values, every sample of one shape. y_train, y_test: uint8 (n,).
    domain_train, domain_test: None, or integers (n,) that tell persons, devices or recordings apart.
    class_names: one text a class. groups: by name, further integers (n,) of the training part that tell apart whose
    samples they are; negative: nobody's. unfit: by name, why another array NAME_train is not among them.
    """

    name: str
    x_train: Array
    y_train: NDArray[np.uint8]
    x_test: Array
    y_test: NDArray[np.uint8]
    class_names: tuple[str, ...]
    domain_train: Array | None = None
    domain_test: Array | None = None
    groups: dict[str, Array] = field(default_factory=dict)
    unfit: dict[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.x_train.shape[1:]

    @cached_property
    def checksum(self) -> str:
        """SHA-256 (hex) over names, shapes, dtypes and bytes of all arrays: the same data, wherever they came from."""
        digest = hashlib.sha256()
        for key in ("x_train", "y_train", "x_test", "y_test", "domain_train", "domain_test"):
            array = getattr(self, key)
            if array is not None:
                little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
                digest.update(f"{key} {little.dtype.str} {little.shape} ".encode())
                digest.update(little.tobytes())
        for name, array in sorted(self.groups.items()):
            digest.update(f"{name}_train {array.astype('<i8').tobytes().hex()} ".encode())
        return digest.hexdigest()


def pooled(data: DataSet, side: int) -> DataSet:
    """The same images, (n, height, width) or (n, height, width, channels), with the mean of every side x side pixels in
    their place, float32. Raises DataError for other samples, and for sides that `side` does not divide."""
    shape = data.sample_shape
    if len(shape) not in (2, 3) or shape[0] % side or shape[1] % side:
        raise DataError(f"{data.name} has samples of shape {shape}: data.pool {side} takes images it divides")
    split = (-1, shape[0] // side, side, shape[1] // side, side, *shape[2:])
    means = (part.reshape(split).mean(axis=(2, 4), dtype=np.float32) for part in (data.x_train, data.x_test))
    return replace(data, x_train=next(means), x_test=next(means))


def checked(
    where: str,
    arrays: dict[str, Array],
    *,
    name: str,
    class_names: tuple[str, ...] | None = None,
    groups: dict[str, Array] | None = None,
    unfit: dict[str, str] | None = None,
) -> DataSet:
    """Arrays under their names of `DataSet` -> a DataSet. Raises DataError naming `where`, the array and the remedy."""

    def refuse(key: str, why: str, remedy: str) -> None:
        raise DataError(f"{where}: {key} {why}; {remedy}")

    for key in ("x_train", "y_train", "x_test", "y_test"):
        if key not in arrays:
            refuse(key, "is missing", "a data file holds x_train, y_train, x_test and y_test")
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.dtype.kind not in "fiub":
            refuse(f"x_{part}", f"has dtype {x.dtype}", "store real or integer numbers")
        if x.ndim < 2 or x.shape[0] == 0 or x[0].size == 0:
            refuse(
                f"x_{part}", f"has shape {x.shape}", "store (samples, values) or (samples, height, width), not empty"
            )
        if not np.isfinite(x).all():
            count = int(np.count_nonzero(~np.isfinite(x)))
            refuse(f"x_{part}", f"holds {count} NaN or infinite values", "drop or fill those samples")
        peak = max(abs(float(x.min())), abs(float(x.max())))
        if peak and not SMALLEST <= peak <= LARGEST:
            refuse(f"x_{part}", f"has values up to {peak:g} in size", "scale them to about -1 .. 1")
        for key in (f"y_{part}", f"domain_{part}"):
            if key in arrays and (arrays[key].ndim != 1 or len(arrays[key]) != len(x)):
                refuse(key, f"has shape {arrays[key].shape} beside {len(x)} samples", f"store ({len(x)},)")
            if key in arrays and arrays[key].dtype.kind not in "iu":
                refuse(key, f"has dtype {arrays[key].dtype}", "store integers counted from 0")
        if int(y.min()) < 0 or int(y.max()) >= MAX_CLASSES:
            refuse(
                f"y_{part}", f"holds labels {y.min()} .. {y.max()}", f"number classes 0 .. {MAX_CLASSES - 1} at most"
            )
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        train, test = arrays["x_train"].shape[1:], arrays["x_test"].shape[1:]
        refuse("x_test", f"has samples of shape {test}, x_train of {train}", "use one shape")
    if ("domain_train" in arrays) != ("domain_test" in arrays):
        lone = "domain_train" if "domain_train" in arrays else "domain_test"
        refuse(lone, "stands alone", "give both domain_train and domain_test, or neither")
    present = np.unique(arrays["y_train"])
    classes = int(present[-1]) + 1
    if len(present) != classes:
        absent = sorted(set(range(classes)) - set(present.tolist()))
        refuse(
            "y_train", f"has no sample of class {absent[0]}", f"number the classes 0 .. {len(present) - 1} without gap"
        )
    if classes < 2:
        refuse("y_train", "holds a single class", "at least two are needed to tell apart")
    strange = sorted(set(np.unique(arrays["y_test"]).tolist()) ^ set(range(classes)))
    if strange:
        refuse("y_test", f"and y_train do not share class {strange[0]}", "both parts need samples of every class")
    if class_names is not None and len(class_names) < classes:
        refuse("classes", f"has {len(class_names)} names for {classes} classes", "give one name a class")
    return DataSet(
        name=name,
        x_train=arrays["x_train"],
        y_train=arrays["y_train"].astype(np.uint8),
        x_test=arrays["x_test"],
        y_test=arrays["y_test"].astype(np.uint8),
        class_names=class_names[:classes] if class_names else tuple(map(str, range(classes))),
        domain_train=arrays.get("domain_train"),
        domain_test=arrays.get("domain_test"),
        groups=groups or {},
        unfit=unfit or {},
    )
