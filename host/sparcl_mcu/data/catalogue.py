"""Where data come from: a bundled set by name, a file by path, or a name found in the data folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from . import digits, npz
from .dataset import DataError, DataSet

BUNDLED: dict[str, Callable[[], DataSet]] = {"digits": digits.load}


def load(source: str, *, relative_to: Path, data_dir: Path | None = None) -> DataSet:
    """`source`: a bundled name, the path of an .npz (relative to `relative_to`), or a name in the data folder.

    data_dir: the data folder; by default the environment variable SPARCL_DATA_DIR. Raises DataError.
    """
    if source in BUNDLED:
        return BUNDLED[source]()
    if is_path(source):
        return npz.load(relative_to / source)[0]
    folder = data_dir or (Path(os.environ["SPARCL_DATA_DIR"]) if os.environ.get("SPARCL_DATA_DIR") else None)
    if folder is None:
        raise DataError(
            f"data set {source!r} is not bundled ({', '.join(BUNDLED)} is); give the path of an .npz file, "
            f"or say where {source}.npz lies with --data-dir or SPARCL_DATA_DIR"
        )
    there = sorted(file.stem for file in folder.glob("*.npz"))
    if source not in there:
        known = ", ".join(there) or "no .npz file"
        raise DataError(f"data set {source!r} is neither bundled nor in {folder} (which holds {known})")
    return npz.load(folder / f"{source}.npz")[0]


def is_path(source: str) -> bool:
    """Whether `source` names a file rather than a data set."""
    return source.endswith(".npz") or "/" in source or os.sep in source
