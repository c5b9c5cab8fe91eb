"""Images kept as JPEG inside an .npz: `jpeg_train` and `jpeg_test`, uint8 files end to end, and `off_train` and
`off_test`, integers (n + 1,) that say where each begins and the last ends.

The one module that imports Pillow.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from .dataset import Array


def decode(files: Array, offsets: Array) -> NDArray[np.uint8]:
    """uint8 (bytes,), integers (n + 1,) -> RGB images uint8 (n, height, width, 3), all of the first one's size.

    Raises ValueError or OSError (Pillow's) for what is no JPEG, too short, or of another size.
    """
    from PIL import Image

    if files.dtype != np.uint8 or files.ndim != 1 or offsets.dtype.kind not in "iu" or offsets.ndim != 1:
        raise ValueError("images in JPEG are uint8 (bytes,) with integer offsets (n + 1,)")
    if len(offsets) < 2 or offsets[0] < 0 or (np.diff(offsets.astype(np.int64)) <= 0).any():
        raise ValueError("the offsets of images in JPEG do not ascend")
    if offsets[-1] > len(files):
        raise ValueError(f"the last image in JPEG ends at byte {offsets[-1]} of {len(files)}")
    raw = files.tobytes()

    def image(i: int) -> NDArray[np.uint8]:
        with Image.open(io.BytesIO(raw[offsets[i] : offsets[i + 1]]), formats=["JPEG"]) as opened:
            return np.asarray(opened.convert("RGB"), dtype=np.uint8)

    first = image(0)
    images = np.empty((len(offsets) - 1, *first.shape), dtype=np.uint8)
    for i in range(len(images)):
        pixels = image(i)
        if pixels.shape != first.shape:
            raise ValueError(f"image {i} is {pixels.shape[1]}x{pixels.shape[0]}, the first another size")
        images[i] = pixels
    return images
