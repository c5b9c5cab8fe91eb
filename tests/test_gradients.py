"""The integer backward pass of whole graphs against float64 autograd: every layer's gradient points where it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers import random_graph_network, random_samples
from sparcl_mcu import numerics as nx
from sparcl_mcu import ops
from sparcl_mcu import torch_backend as backend
from sparcl_mcu.graph import INPUT, Graph, Node, Window
from sparcl_mcu.learners.base import Room
from sparcl_mcu.learners.simulated import SimulatedLearner, _Trace
from sparcl_mcu.learners.step import Lesson
from sparcl_mcu.network import Network
from sparcl_mcu.numerics import Ints
from sparcl_mcu.sparsity import Block

STEM = Node("stem", "conv2d", (INPUT,), outputs=8, window=Window((3, 3)), relu=True)
HEAD = Node("head", "dense", ("op",), outputs=5)

OPERATORS = {
    "dense": Node("op", "dense", ("stem",), outputs=24, relu=True, density=0.5, block=Block(1, 4)),
    "conv 3x3": Node("op", "conv2d", ("stem",), outputs=8, window=Window((3, 3)), relu=True),
    "conv 5x5 stride 2": Node("op", "conv2d", ("stem",), outputs=8, window=Window((5, 5), (2, 2)), relu=True),
    "conv 1x1, sparse": Node(
        "op", "conv2d", ("stem",), outputs=16, window=Window((1, 1)), relu=True, density=0.5, block=Block(4, 1)
    ),
    "conv 3x1 valid, linear": Node("op", "conv2d", ("stem",), outputs=8, window=Window((3, 1), (1, 2), "valid")),
    "conv frozen": Node("op", "conv2d", ("stem",), outputs=8, window=Window((3, 3)), relu=True, frozen=True),
    "depthwise": Node("op", "depthwise", ("stem",), window=Window((3, 3)), relu=True),
    "depthwise stride 2": Node("op", "depthwise", ("stem",), window=Window((5, 5), (2, 2))),
    "max pool": Node("op", "max_pool", ("stem",), window=Window((2, 2), (2, 2))),
    "max pool, overlapping": Node("op", "max_pool", ("stem",), window=Window((3, 3), (2, 2))),
    "average pool": Node("op", "avg_pool", ("stem",), window=Window((2, 2), (2, 2), "valid")),
    "global average pool": Node("op", "avg_pool", ("stem",), window=Window((6, 6), (1, 1), "valid")),
}

RESIDUAL = Graph(
    (6, 6, 3),
    (
        STEM,
        Node("left", "conv2d", ("stem",), outputs=8, window=Window((3, 3)), relu=True),
        Node("right", "depthwise", ("left",), window=Window((3, 3))),
        Node("sum", "add", ("right", "stem"), relu=True),
        Node("pool", "avg_pool", ("sum",), window=Window((2, 2), (2, 2), "valid")),
        Node("head", "dense", ("pool",), outputs=5),
    ),
)


class Gradients(SimulatedLearner):
    """Keeps every layer's gradient, real values, instead of learning from it."""

    def _load(self) -> None:
        super()._load()
        self.weight: dict[str, NDArray[np.float64]] = {}
        self.bias: dict[str, NDArray[np.float64]] = {}

    def _update(self, node: Node, d: Ints, e_d: int, x: Ints, rate: int) -> None:
        operator = ops.OPERATORS[node.op]
        assert isinstance(operator, ops.Weighted)
        gradient = operator.weight_grad(node, d, x) * self.layers[node.name].start.mask
        self.weight[node.name] = gradient * 2.0 ** (e_d + self._exponent(node.sources[0]))
        self.bias[node.name] = d.sum(axis=(0, 1)) * 2.0**e_d


def autograd(network: Network, trace: _Trace, label: int) -> dict[str, tuple[Any, Any]]:
    """(weight gradient, bias gradient) of every trainable layer in float64.

    The integer learner's outputs take the place of the float ones, and gradients pass as if they had not; ReLU masks
    are its as well. So both decide alike, and what is compared is the arithmetic of the backward pass.
    """
    torch, graph = backend.torch(), network.graph
    parameters = {}
    for name, w in network.weights.items():
        hi = (w.masters >> 8) * 2.0 ** w.exponents.astype(np.float64)[:, None]
        bias = w.bias * 2.0**nx.BIAS_EXPONENT
        parameters[name] = tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (hi, bias))
    real = {
        name: torch.from_numpy(q * 2.0 ** network.exponents[graph.scales[name]]).permute(2, 0, 1)[None]
        for name, q in trace.maps.items()
    }
    values = {INPUT: real[INPUT]}
    for node in graph.nodes:
        weight, bias = parameters.get(node.name, (None, None))
        sources = [values[source] for source in node.sources]
        y = ops.OPERATORS[node.op].float_forward(backend.functional(), node, sources, weight, bias)
        if node.relu:
            y = y * torch.from_numpy(trace.positive[node.name]).permute(2, 0, 1)
        values[node.name] = y + (real[node.name] - y).detach() if node.name in real else y
    logits = values[graph.nodes[-1].name].flatten(1)
    backend.functional().cross_entropy(logits, torch.tensor([label])).backward()
    return {
        node.name: (
            parameters[node.name][0].grad.numpy() * network.weights[node.name].mask,
            parameters[node.name][1].grad.numpy(),
        )
        for node in network.trainable()
    }


def check(graph: Graph, seed: int) -> None:
    network = random_graph_network(graph, seed)
    (x, *_), (label, *_) = random_samples(network, 1, seed)
    learner = Gradients(network, Room())
    _, trace = learner._forward(x)
    learner._train(Lesson(x, int(label)))
    for name, (weight, bias) in autograd(network, trace, int(label)).items():
        for what, got, want in (("weights", learner.weight[name], weight), ("bias", learner.bias[name], bias)):
            length = np.linalg.norm(got) / np.linalg.norm(want)
            cosine = (got * want).sum() / (np.linalg.norm(got) * np.linalg.norm(want))
            assert cosine > 0.99, f"{what} of {name}: cosine {cosine:.4f}"
            assert 0.95 < length < 1.05, f"{what} of {name}: {length:.3f} times as long as it should be"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("node", OPERATORS.values(), ids=OPERATORS.keys())
def test_an_operator_between_two_layers(node: Node, seed: int) -> None:
    check(Graph((6, 6, 3), (STEM, node, HEAD)), seed)


@pytest.mark.parametrize("seed", range(5))
def test_a_network_with_a_residual(seed: int) -> None:
    check(RESIDUAL, seed)


@pytest.mark.parametrize("seed", range(3))
def test_a_one_dimensional_network(seed: int) -> None:
    nodes = (
        Node("stem", "conv2d", (INPUT,), outputs=8, window=Window((1, 5), (1, 2)), relu=True),
        Node("op", "max_pool", ("stem",), window=Window((1, 2), (1, 2))),
        HEAD,
    )
    check(Graph((1, 32, 3), nodes), seed)
