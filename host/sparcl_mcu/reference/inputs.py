"""Raw samples to what the network reads: crop and flip, then scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .. import torch_backend as backend
from ..data.dataset import Array
from ..quantize import input_scaling
from . import FloatReferenceError

CROP_PADDING = 4  # black pixels around an image before a crop of its own size


@dataclass(frozen=True)
class Inputs:
    """offset, gain: float32, of one sample's shape, or (channels,) for colour images."""

    offset: Any
    gain: Any
    crop_flip: bool

    def __call__(self, raw: Any) -> Any:
        """(n, *sample) of any dtype -> float32 of the same shape."""
        return (raw.float() - self.offset) * self.gain

    def augmented(self, raw: Any, rng: np.random.Generator) -> Any:
        """The same after a random crop and a random flip of each sample, where the experiment wants them."""
        return self(_crop_flip(raw, rng) if self.crop_flip else raw)


def learnt(x: Array, normalise: Literal["range", "standard"], crop_flip: bool, device: str) -> Inputs:
    """Scaling from the first task's training samples x (n, *sample); later tasks are not looked at.

    Colour images are scaled by channel, other samples by value. Raises FloatReferenceError or QuantizeError.
    """
    shape = x.shape[1:]
    if crop_flip and len(shape) < 2:
        raise FloatReferenceError(
            f"[reference] crop_flip is for images (height, width, ...), but samples have shape {shape}; set it to false"
        )
    colour = len(shape) == 3
    scaling = input_scaling(x.reshape(-1, shape[2]) if colour else x, normalise)
    torch = backend.torch()
    offset, gain = (torch.from_numpy(part.reshape(-1 if colour else shape)) for part in (scaling.offset, scaling.gain))
    return Inputs(offset.to(device), gain.to(device), crop_flip)


def _crop_flip(raw: Any, rng: np.random.Generator) -> Any:
    torch = backend.torch()
    n, height, width = raw.shape[:3]
    corner = rng.integers(0, 2 * CROP_PADDING + 1, (2, n, 1))
    columns = np.where(rng.random((n, 1)) < 0.5, np.arange(width)[::-1], np.arange(width))
    padded = raw.new_zeros((n, height + 2 * CROP_PADDING, width + 2 * CROP_PADDING, *raw.shape[3:]))
    padded[:, CROP_PADDING:-CROP_PADDING, CROP_PADDING:-CROP_PADDING] = raw
    rows, columns = (torch.from_numpy(at).to(raw.device) for at in (corner[0] + np.arange(height), corner[1] + columns))
    samples = torch.arange(n, device=raw.device)[:, None, None]
    return padded[samples, rows[:, :, None], columns[:, None, :]]
