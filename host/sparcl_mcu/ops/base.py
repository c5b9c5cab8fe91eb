"""What an operator is, for shape inference, the float learners and the integer learner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import SparclError
from ..numerics import Ints
from ..sparsity import SparsityError, block_count

if TYPE_CHECKING:
    from ..graph import Node, Shape


class OperatorError(SparclError):
    """Shapes an operator cannot take; whoever knows the layer's name adds it."""


class Operator(ABC):
    """Common to all operators."""

    weighted: ClassVar[bool]

    @abstractmethod
    def shape(self, node: Node, sources: list[Shape]) -> Shape:
        """Output shape; raises OperatorError with the numbers when the sources do not suit."""

    def fan_in(self, node: Node, sources: list[Shape]) -> int:
        """Weights an output has when dense; 0 without weights."""
        return 0

    @abstractmethod
    def float_forward(self, functional: Any, node: Node, xs: list[Any], weight: Any, bias: Any) -> Any:
        """torch: maps float32 (n, channels, height, width) -> the same, before ReLU. weight (rows, fan_in)."""


def check_matrix(node: Node, rows: int, fan_in: int) -> None:
    """Refuse a weight matrix that the kernels cannot hold or that the layer's blocks do not divide."""
    if not (1 <= rows <= 65535 and 1 <= fan_in <= 65535):
        raise OperatorError(f"{rows} outputs of {fan_in} inputs each; both must lie within 1 .. 65535")
    if not 0 < node.density <= 1:
        raise OperatorError(f"density {node.density}; it must be above 0 and at most 1")
    try:
        block_count((rows, fan_in), node.block)
    except SparsityError as error:
        raise OperatorError(str(error)) from None


class Weighted(Operator):
    """An operator with a weight matrix hi (rows, fan_in), int64 in [-127, 127], 0 where masked."""

    weighted = True

    @abstractmethod
    def positions(self, shape: Shape) -> int:
        """Times each weight is used in a forward pass, given the output shape."""

    @abstractmethod
    def forward(self, node: Node, hi: Ints, x: Ints) -> Ints:
        """Accumulators (height, width, rows) without bias."""

    @abstractmethod
    def input_grad(self, node: Node, hi: Ints, d: Ints, shape: Shape) -> Ints:
        """Errors of the input map, int32, `shape` its shape; d (height, width, rows)."""

    @abstractmethod
    def weight_grad(self, node: Node, d: Ints, x: Ints) -> Ints:
        """G (rows, fan_in): for each weight the sum over positions of error times input."""


class Unweighted(Operator):
    """An operator without weights; what backward needs of forward is `saved`.

    shares_exponent: its outputs have its sources' exponent. exponent: of what forward and backward give, less that of
    the sources and of the error.
    """

    weighted = False
    shares_exponent: ClassVar[bool] = True
    exponent: ClassVar[int] = 0

    @abstractmethod
    def forward(self, node: Node, xs: list[Ints]) -> tuple[Ints, Any]:
        """(map before ReLU, requantisation and saturation, saved)."""

    @abstractmethod
    def backward(self, node: Node, d: Ints, saved: Any, shape: Shape) -> Ints:
        """int32 errors of each source; `shape` is a source's shape."""
