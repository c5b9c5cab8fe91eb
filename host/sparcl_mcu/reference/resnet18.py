"""ResNet-18 for CIFAR as continual learning uses it: a 3x3 stem without pooling, four stages of two basic blocks with
64, 128, 256 and 512 channels, batch normalisation everywhere.

Only the 3x3 convolutions after the stem may be sparse; stem, 1x1 shortcuts and head are small and stay dense.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import torch_backend as backend

CHANNELS = (64, 128, 256, 512)
BLOCKS = 2  # a stage
STEM = "stem"


def module(inputs: int, classes: int, seed: int) -> Any:
    """torch.nn.ModuleDict of convolutions (no bias), normalisations and the head, with torch's own initialisation.

    Keys: stem, stage1_block1_conv1, stage2_block1_short, ..., head; a convolution's normalisation has `_norm` behind.
    """
    torch = backend.torch()
    nn = torch.nn
    parts = {}

    def convolution(name: str, sources: int, outputs: int, side: int, stride: int) -> None:
        parts[name] = nn.Conv2d(sources, outputs, side, stride, padding=side // 2, bias=False)
        parts[f"{name}_norm"] = nn.BatchNorm2d(outputs)

    with torch.random.fork_rng(devices=[]):  # torch initialises from its global generator only
        torch.manual_seed(seed)
        convolution(STEM, inputs, CHANNELS[0], 3, 1)
        for name, sources, outputs, stride in _blocks():
            convolution(f"{name}_conv1", sources, outputs, 3, stride)
            convolution(f"{name}_conv2", outputs, outputs, 3, 1)
            if stride != 1:
                convolution(f"{name}_short", sources, outputs, 1, stride)
        parts["head"] = nn.Linear(CHANNELS[-1], classes)
    return nn.ModuleDict(parts)


def forward(parts: Any, x: Any) -> Any:
    """float32 (n, channels, height, width) -> logits (n, classes)."""

    def normalised(name: str, source: Any) -> Any:
        return parts[f"{name}_norm"](parts[name](source))

    x = normalised(STEM, x).relu()
    for name, _, _, stride in _blocks():
        y = normalised(f"{name}_conv2", normalised(f"{name}_conv1", x).relu())
        x = (y + (x if stride == 1 else normalised(f"{name}_short", x))).relu()
    return parts["head"](x.mean(dim=(2, 3)))


def layers(parts: Any, height: int, width: int) -> Iterator[tuple[str, Any, int, bool]]:
    """Of each layer with weights: name, weight, positions of its output map, whether it may be sparse."""
    yield STEM, parts[STEM].weight, height * width, False
    for name, _, _, stride in _blocks():
        height, width = -(-height // stride), -(-width // stride)
        for part in ("conv1", "conv2", "short"):
            if f"{name}_{part}" in parts:
                yield f"{name}_{part}", parts[f"{name}_{part}"].weight, height * width, part != "short"
    yield "head", parts["head"].weight, 1, False


def _blocks() -> Iterator[tuple[str, int, int, int]]:
    """Name, input channels, output channels and stride of every basic block."""
    sources = CHANNELS[0]
    for stage, outputs in enumerate(CHANNELS, start=1):
        for block in range(1, BLOCKS + 1):
            yield f"stage{stage}_block{block}", sources, outputs, 2 if outputs != sources else 1
            sources = outputs
