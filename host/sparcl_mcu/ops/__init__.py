"""Operators, one file each: shape, cost, float forward, integer forward, input gradient, weight gradient.

`OPERATORS` maps the name used in graphs and .sparcl files to the operator. Maps are int64 arrays (height, width,
channels) of int8 mantissas; the same names stand in firmware/lib/sparcl/src/ops.
"""

from .add import Add
from .base import Operator, OperatorError, Unweighted, Weighted
from .conv2d import Conv2d
from .dense import DenseOp
from .depthwise import Depthwise
from .pool import AveragePool, MaxPool

OPERATORS: dict[str, Operator] = {
    "dense": DenseOp(),
    "conv2d": Conv2d(),
    "depthwise": Depthwise(),
    "max_pool": MaxPool(),
    "avg_pool": AveragePool(),
    "add": Add(),
}

__all__ = [
    "OPERATORS",
    "Add",
    "AveragePool",
    "Conv2d",
    "DenseOp",
    "Depthwise",
    "MaxPool",
    "Operator",
    "OperatorError",
    "Unweighted",
    "Weighted",
]
