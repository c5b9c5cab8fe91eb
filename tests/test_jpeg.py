"""Images kept as JPEG in a data file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from sparcl_mcu.data import DataError
from sparcl_mcu.data.npz import load


def packed(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RGB images -> (files end to end, offsets)."""
    from PIL import Image

    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
        files.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, files)]).astype(np.int32)
    return np.frombuffer(b"".join(files), np.uint8), offsets


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    images = np.zeros((6, 8, 16, 3), np.uint8)
    images[:, :, :, 0] = np.arange(6)[:, None, None] * 40  # red says which image it is
    images[:, :4, :, 2] = 200  # the upper half is blue
    (train, off_train), (test, off_test) = packed(images[:4]), packed(images[4:])
    return {
        "jpeg_train": train,
        "off_train": off_train,
        "y_train": np.arange(4) % 2,
        "jpeg_test": test,
        "off_test": off_test,
        "y_test": np.arange(2),
        "file_test": np.arange(2),
    }


def test_images_come_out_in_order_with_rows_columns_and_colours(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    data, ignored = load(tmp_path / "a.npz")
    assert data.x_train.shape == (4, 8, 16, 3)
    assert data.x_test.shape == (2, 8, 16, 3)
    assert np.abs(data.x_train[:, :, :, 0].mean(axis=(1, 2)) - [0, 40, 80, 120]).max() < 8
    assert np.abs(data.x_test[1, 4:, :, 0].astype(int) - 200).max() < 8
    assert data.x_train[:, :4, :, 2].mean() > 190 > 10 > data.x_train[:, 4:, :, 2].mean()
    assert ignored == ("file_test",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"off_train": np.array([0, 400, 100, 500])}, "do not ascend"),
        ({"off_train": np.array([0, 10**6])}, "ends at byte 1000000 of"),
        ({"jpeg_train": np.zeros(5000, np.uint8)}, "cannot identify image"),
        ({"jpeg_test": np.zeros(5000, np.int16)}, r"uint8 \(bytes,\)"),
        ({"off_test": None}, "x_test is missing"),
    ],
)
def test_damaged_images_are_refused_by_file(
    tmp_path: Path, arrays: dict[str, np.ndarray], changes: dict[str, np.ndarray], words: str
) -> None:
    changed = {key: value for key, value in (arrays | changes).items() if value is not None}
    np.savez(tmp_path / "a.npz", **changed)
    with pytest.raises(DataError, match=rf"a\.npz.*{words}"):
        load(tmp_path / "a.npz")


def test_a_cut_image_and_one_of_another_size_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    cut = arrays["off_train"].copy()
    cut[-1] -= 200
    np.savez(tmp_path / "a.npz", **arrays | {"off_train": cut})
    with pytest.raises(DataError, match="Truncated"):
        load(tmp_path / "a.npz")
    small, _ = packed(np.zeros((1, 8, 8, 3), np.uint8))
    whole = np.concatenate([arrays["jpeg_train"], small])
    offsets = np.concatenate([arrays["off_train"], [len(whole)]])
    changed = arrays | {"jpeg_train": whole, "off_train": offsets, "y_train": np.arange(5) % 2}
    np.savez(tmp_path / "a.npz", **changed)
    with pytest.raises(DataError, match="image 4 is 8x8"):
        load(tmp_path / "a.npz")
