"""scikit-learn's bundled handwritten digits: 1,797 real 8x8 images, values 0 .. 16, nothing to download.

They come without a test part; a fixed fifth of every class is set aside for it.
"""

from __future__ import annotations

import numpy as np

from .dataset import DataSet, checked
from .split import stratified

TEST_FRACTION = 0.2


def load() -> DataSet:
    """x: uint8 (n, 8, 8), values 0 .. 16; y: uint8 (n,), digits 0 .. 9."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    train, test = stratified(labels, TEST_FRACTION)
    arrays = {
        "x_train": images[train],
        "y_train": labels[train],
        "x_test": images[test],
        "y_test": labels[test],
    }
    return checked("digits", arrays, name="digits")
