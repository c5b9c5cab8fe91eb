"""Ready-made architectures: graphs that pretraining fills in and quantisation freezes.

A builder takes the shape of one sample as the data set has it. Networks for images read (height, width) as one
channel; `cnn_1d` reads (time, channels). The order of a sample's values never changes. First convolutions, depthwise
layers and heads are small and stay dense; `density` and `block` hold for the other layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from .graph import INPUT, Graph, GraphError, Node, Shape, Window
from .sparsity import SINGLE, Block


class Builder(Protocol):
    """What `NETWORKS` holds. Raises GraphError for a shape the network cannot take or blocks that do not divide a
    layer."""

    def __call__(self, shape: Sequence[int], classes: int, *, density: float = 1.0, block: Block = SINGLE) -> Graph: ...


class SizedBuilder(Protocol):
    """What `SIZED` holds; hidden: outputs or channels of the layers before the last."""

    def __call__(
        self, shape: Sequence[int], classes: int, *, hidden: Sequence[int], density: float = 1.0, block: Block = SINGLE
    ) -> Graph: ...


def mlp(
    shape: Sequence[int],
    classes: int,
    hidden: Sequence[int] = (64, 32),
    density: float = 1.0,
    block: Block = SINGLE,
) -> Graph:
    """Multilayer perceptron on samples of any shape; hidden layers are sparse."""
    nodes = [
        _dense(f"fc{i + 1}", f"fc{i}" if i else INPUT, size, density=density, block=block)
        for i, size in enumerate(hidden)
    ]
    head = _head(nodes[-1].name if nodes else INPUT, classes, name=f"fc{len(hidden) + 1}")
    return Graph((1, 1, math.prod(shape)), (*nodes, head))


def lenet(shape: Sequence[int], classes: int, density: float = 1.0, block: Block = SINGLE) -> Graph:
    """LeNet-like: two 5x5 convolutions, each halved by a max pool, and two dense layers."""
    return Graph(
        _image(shape),
        (
            _conv("conv1", INPUT, 8, kernel=5),
            _max_pool("pool1", "conv1"),
            _conv("conv2", "pool1", 16, kernel=5, density=density, block=block),
            _max_pool("pool2", "conv2"),
            _dense("fc1", "pool2", 64, density=density, block=block),
            _head("fc1", classes),
        ),
    )


def cnn_s(
    shape: Sequence[int],
    classes: int,
    density: float = 1.0,
    block: Block = SINGLE,
    hidden: Sequence[int] = (16, 32, 64),
) -> Graph:
    """3x3 convolutions with stride 2, as many channels as `hidden` says, and global average pooling; all convolutions
    but the first are sparse."""
    nodes = [_conv("conv1", INPUT, hidden[0], stride=2)]
    for i, channels in enumerate(hidden[1:], start=2):
        nodes.append(_conv(f"conv{i}", f"conv{i - 1}", channels, stride=2, density=density, block=block))
    return _pooled(_image(shape), nodes, classes)


def ds_cnn(shape: Sequence[int], classes: int, density: float = 1.0, block: Block = SINGLE) -> Graph:
    """Keyword spotting after MLPerf Tiny: a strided stem and four depthwise separable convolutions of 64 channels.

    The stem is 5x5 where MLPerf's is 10x4: sides of 10 and 4 are not among the kernels.
    """
    nodes = [_conv("stem", INPUT, 64, kernel=5, stride=2)]
    for i in range(1, 5):
        nodes.append(Node(f"depthwise{i}", "depthwise", (nodes[-1].name,), window=Window((3, 3)), relu=True))
        nodes.append(_conv(f"pointwise{i}", f"depthwise{i}", 64, kernel=1, density=density, block=block))
    return _pooled(_image(shape), nodes, classes)


def resnet8(shape: Sequence[int], classes: int, density: float = 1.0, block: Block = SINGLE) -> Graph:
    """ResNet-8 of MLPerf Tiny: a stem and three residual stages of 16, 32 and 64 channels.

    All convolutions but the stem are sparse. Names: stage2_conv1, stage2_conv2, stage2_short, stage2, ...
    """
    conv = partial(_conv, density=density, block=block)
    nodes = [_conv("stem", INPUT, 16)]
    for stage, channels in enumerate((16, 32, 64), start=1):
        name, source, stride = f"stage{stage}", nodes[-1].name, 1 if stage == 1 else 2
        nodes.append(conv(f"{name}_conv1", source, channels, stride=stride))
        nodes.append(replace(conv(f"{name}_conv2", f"{name}_conv1", channels), relu=False))
        if stride != 1:
            nodes.append(replace(conv(f"{name}_short", source, channels, kernel=1, stride=stride), relu=False))
            source = f"{name}_short"
        nodes.append(Node(name, "add", (f"{name}_conv2", source), relu=True))
    return _pooled(_image(shape), nodes, classes)


def cnn_1d(shape: Sequence[int], classes: int, density: float = 1.0, block: Block = SINGLE) -> Graph:
    """Sensor windows: three convolutions over time with stride 2 (32, 64, 64 channels) and global average pooling."""
    return _pooled(
        _sensor_window(shape),
        [
            _conv("conv1", INPUT, 32, kernel=(1, 5), stride=(1, 2)),
            _conv("conv2", "conv1", 64, kernel=(1, 5), stride=(1, 2), density=density, block=block),
            _conv("conv3", "conv2", 64, kernel=(1, 3), stride=(1, 2), density=density, block=block),
        ],
        classes,
    )


NETWORKS: dict[str, Builder] = {
    "mlp": mlp,
    "lenet": lenet,
    "cnn_s": cnn_s,
    "ds_cnn": ds_cnn,
    "resnet8": resnet8,
    "cnn_1d": cnn_1d,
}
SIZED: dict[str, SizedBuilder] = {"mlp": mlp, "cnn_s": cnn_s}


def freeze_until(graph: Graph, name: str) -> Graph:
    """The same graph with every weighted layer before `name` frozen and the others trainable. Raises GraphError."""
    names = [node.name for node in graph.nodes]
    if name not in names:
        raise GraphError(f"there is no layer {name!r} to freeze until; the layers are {', '.join(names)}")
    first = names.index(name)
    return replace(
        graph, nodes=tuple(replace(node, frozen=i < first and node.weighted) for i, node in enumerate(graph.nodes))
    )


# ---- parts


def _image(shape: Sequence[int]) -> Shape:
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    raise GraphError(f"samples of shape {tuple(shape)} are no images; (height, width) or (height, width, channels) are")


def _sensor_window(shape: Sequence[int]) -> Shape:
    if len(shape) == 2:
        return 1, shape[0], shape[1]
    if len(shape) == 3 and shape[0] == 1:
        return 1, shape[1], shape[2]
    raise GraphError(f"samples of shape {tuple(shape)} are no sensor windows; (time, channels) are")


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _conv(
    name: str,
    source: str,
    channels: int,
    *,
    kernel: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 1,
    density: float = 1.0,
    block: Block = SINGLE,
) -> Node:
    window = Window(_pair(kernel), _pair(stride))
    return Node(name, "conv2d", (source,), channels, window, True, density, block if density < 1 else SINGLE)


def _dense(name: str, source: str, outputs: int, *, density: float, block: Block) -> Node:
    return Node(name, "dense", (source,), outputs, None, True, density, block if density < 1 else SINGLE)


def _max_pool(name: str, source: str) -> Node:
    return Node(name, "max_pool", (source,), window=Window((2, 2), (2, 2), "valid"))


def _head(source: str, classes: int, name: str = "head") -> Node:
    return Node(name, "dense", (source,), classes)


def _pooled(shape: Shape, nodes: list[Node], classes: int) -> Graph:
    """Global average pooling and a head after `nodes`."""
    last = nodes[-1].name
    height, width, _ = Graph(shape, (*nodes, _head(last, classes))).shapes[last]
    pool = Node("pool", "avg_pool", (last,), window=Window((height, width), padding="valid"))
    return Graph(shape, (*nodes, pool, _head("pool", classes)))
