"""The user's own recordings as one .npz file.

| array | shape | dtype |
|---|---|---|
| x_train, x_test | (n, values), (n, height, width), (n, steps, channels), ... | any real or integer; finite |
| y_train, y_test | (n,) | integer; classes 0 .. C - 1, none missing in either part, C at most 255 |
| domain_train, domain_test (optional, both) | (n,) | integer; person, device or recording |
| NAME_train (optional) | (n,) | integer; whose sample it is (speaker, person, ...), negative: nobody's |
| classes (optional) | (C,) | text; names of the classes |

`[data] validate_by = "NAME"` keeps the samples of one value of NAME_train together when validation is cut.
`[data] domains = "NAME"` and `recordings = "NAME"` make tasks of them; samples that are nobody's are in none.

Colour images may stand as JPEG instead (`jpeg.py`): jpeg_train and off_train in place of x_train, the same for test.
Other arrays are allowed and ignored; `sparcl data check` names them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import jpeg
from .dataset import Array, DataError, DataSet, checked

ARRAYS = ("x_train", "y_train", "x_test", "y_test", "domain_train", "domain_test", "classes")
JPEG = {"x_train": ("jpeg_train", "off_train"), "x_test": ("jpeg_test", "off_test")}


def load(path: Path) -> tuple[DataSet, tuple[str, ...]]:
    """Read and check a file -> (data, names of ignored arrays). Raises DataError naming file, array and remedy."""
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check [data] source in the experiment file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", error)
        raise DataError(f"{path} cannot be opened ({why}); name an .npz file that you may read") from None
    try:
        with opened, np.load(opened, allow_pickle=False) as file:
            arrays: dict[str, Array] = {key: file[key] for key in ARRAYS if key in file.files}
            used = set(arrays)
            for key, (images, offsets) in JPEG.items():
                if key not in arrays and images in file.files and offsets in file.files:
                    arrays[key] = jpeg.decode(file[images], file[offsets])
                    used |= {images, offsets}
            groups = {
                key.removesuffix("_train"): file[key]
                for key in file.files
                if key.endswith("_train") and key not in used
            }
            unfit = {name: why for name, array in groups.items() if (why := _unfit(array, arrays.get("y_train")))}
            groups = {name: array for name, array in groups.items() if name not in unfit}
            ignored = tuple(key for key in file.files if key not in used and key.removesuffix("_train") not in groups)
    except Exception as error:  # zipfile, NumPy and Pillow raise nearly anything on a damaged file
        raise DataError(
            f"{path} is not a readable .npz ({error}); write it with "
            "numpy.savez_compressed(path, x_train=..., y_train=..., x_test=..., y_test=...), no object arrays"
        ) from None
    names = arrays.pop("classes", None)
    class_names = None if names is None else tuple(str(name) for name in names.reshape(-1))
    data = checked(str(path), arrays, name=path.stem, class_names=class_names, groups=groups, unfit=unfit)
    return data, ignored


def _unfit(array: Array, labels: Array | None) -> str:
    """Why an array cannot tell whose samples the training part's are; empty if it can."""
    if array.dtype.kind not in "iu":
        return f"has dtype {array.dtype}; store integers"
    if labels is not None and array.shape != labels.shape:
        return f"has shape {array.shape} beside {len(labels)} samples; store {labels.shape}"
    return ""
