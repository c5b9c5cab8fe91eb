"""Ready-made architectures: their shapes and sizes, what is sparse in them, what is frozen, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import random_graph_network, random_samples
from sparcl_mcu.design import NETWORKS, cnn_1d, cnn_s, ds_cnn, freeze_until, lenet, mlp, resnet8
from sparcl_mcu.graph import Graph, GraphError
from sparcl_mcu.learners.base import Room
from sparcl_mcu.learners.float_twin import FloatTwin
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.sparsity import Block, shrink

# name, sample shape, classes, map before the head, weights, multiply-accumulates of a dense forward pass
SIZES = [
    ("mlp", (8, 8), 10, (1, 1, 32), 6_464, 6_464),
    ("lenet", (28, 28), 10, (1, 1, 64), 54_216, 834_816),
    ("cnn_s", (28, 28), 10, (1, 1, 64), 23_824, 549_568),
    ("ds_cnn", (49, 10), 12, (1, 1, 64), 21_056, 2_536_768),
    ("resnet8", (32, 32, 3), 10, (1, 1, 64), 77_360, 12_501_632),
    ("cnn_1d", (64, 6), 5, (1, 1, 64), 23_808, 293_184),
]


def weights(graph: Graph) -> dict[str, int]:
    return {node.name: graph.weight_rows(node) * graph.fan_in(node) for node in graph.nodes if node.weighted}


@pytest.mark.parametrize(("name", "shape", "classes", "last", "count", "macs"), SIZES)
def test_sizes_are_those_documented(
    name: str, shape: tuple[int, ...], classes: int, last: tuple[int, int, int], count: int, macs: int
) -> None:
    graph = NETWORKS[name](shape, classes)
    assert graph.shapes[graph.nodes[-1].sources[0]] == last
    assert graph.shapes[graph.nodes[-1].name] == (1, 1, classes)
    assert sum(weights(graph).values()) == count
    network = random_graph_network(graph, 0)
    assert sum(network.macs(node) for node in network.weighted()) == macs


@pytest.mark.parametrize("block", [Block(1, 1), Block(1, 4), Block(4, 1)])
@pytest.mark.parametrize("name", NETWORKS)
def test_density_is_exact_where_a_layer_is_sparse_and_small_layers_stay_dense(name: str, block: Block) -> None:
    _, shape, classes, *_ = next(entry for entry in SIZES if entry[0] == name)
    graph = NETWORKS[name](shape, classes, density=0.25, block=block)
    network = random_graph_network(graph, 1)
    sparse = {node.name for node in network.weighted() if not network.weights[node.name].dense}
    assert (
        sparse
        == {
            "mlp": {"fc1", "fc2"},
            "lenet": {"conv2", "fc1"},
            "cnn_s": {"conv2", "conv3"},
            "ds_cnn": {f"pointwise{i}" for i in range(1, 5)},
            "resnet8": {f"stage{i}_conv{j}" for i in (1, 2, 3) for j in (1, 2)} | {"stage2_short", "stage3_short"},
            "cnn_1d": {"conv2", "conv3"},
        }[name]
    )
    for node in network.weighted():
        w = network.weights[node.name]
        if node.name in sparse:
            assert w.slots == w.mask.size // 4
            shrink(w.mask, block)
        else:
            assert node.block == Block(1, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_integers_and_torch_compute_the_same_network(name: str) -> None:
    """One weight matrix, two implementations of every operator: layouts, paddings and strides must be the same."""
    shape = {"cnn_1d": (20, 3), "mlp": (5, 4), "resnet8": (9, 7, 3)}.get(name, (13, 10))
    network = random_graph_network(NETWORKS[name](shape, 6, density=0.5, block=Block(4, 1)), 3)
    x, _ = random_samples(network, 24, seed=3)
    simulated, twin = SimulatedLearner(network, Room()), FloatTwin(network, Room())
    integers = np.array([simulated._logits(sample) for sample in x]) / 32
    reals = np.array([twin._logits(sample) for sample in x]) / 32
    assert np.corrcoef(integers.ravel(), reals.ravel())[0, 1] > 0.98


def test_two_dimensional_samples_are_images_or_sensor_windows_as_the_network_reads_them() -> None:
    assert cnn_s((28, 28), 4).input_shape == (28, 28, 1)
    assert cnn_s((28, 28, 3), 4).input_shape == (28, 28, 3)
    assert cnn_1d((64, 6), 4).input_shape == cnn_1d((1, 64, 6), 4).input_shape == (1, 64, 6)
    assert mlp((28, 28), 4).input_shape == (1, 1, 784)
    assert ds_cnn((49, 10), 12).shapes["stem"] == (25, 5, 64)
    with pytest.raises(GraphError, match=r"shape \(32, 32, 3\) are no sensor windows; \(time, channels\) are"):
        cnn_1d((32, 32, 3), 4)
    with pytest.raises(GraphError, match=r"shape \(784,\) are no images"):
        lenet((784,), 4)


def test_a_small_cnn_takes_its_channels_from_hidden() -> None:
    graph = cnn_s((28, 28), 4, 0.5, hidden=(4, 8))
    assert [graph.shapes[name][2] for name in ("conv1", "conv2")] == [4, 8]
    assert [graph.node(name).density for name in ("conv1", "conv2")] == [1.0, 0.5]


def test_blocks_that_do_not_divide_a_layer_are_refused_by_its_name() -> None:
    with pytest.raises(GraphError, match="layer 'fc1': blocks of 4x1 do not divide a layer of 6 outputs"):
        mlp((8,), 2, [6], 0.5, Block(4, 1))
    with pytest.raises(GraphError, match="layer 'fc2': blocks of 1x4 do not divide a layer of 8 outputs x 6 inputs"):
        mlp((8,), 2, [6, 8], 0.5, Block(1, 4))
    assert mlp((6,), 2, [6], 1.0, Block(1, 4)).node("fc1").block == Block(1, 1)  # nothing to cut into blocks


def test_residuals_add_linear_branches_and_apply_relu_once() -> None:
    graph = resnet8((32, 32, 3), 10)
    linear = {node.name for node in graph.nodes if node.weighted and not node.relu}
    assert linear == {"stage1_conv2", "stage2_conv2", "stage2_short", "stage3_conv2", "stage3_short", "head"}
    assert {node.name: node.sources for node in graph.nodes if node.op == "add" and node.relu} == {
        "stage1": ("stage1_conv2", "stem"),
        "stage2": ("stage2_conv2", "stage2_short"),
        "stage3": ("stage3_conv2", "stage3_short"),
    }


def test_freezing_leaves_the_layer_named_and_all_after_it_trainable() -> None:
    graph = freeze_until(resnet8((32, 32, 3), 10), "stage3_conv1")
    trainable = [node.name for node in graph.nodes if node.weighted and not node.frozen]
    assert trainable == ["stage3_conv1", "stage3_conv2", "stage3_short", "head"]
    assert graph.learns == {*trainable, "stage3", "pool"}
    assert not any(node.frozen for node in freeze_until(graph, "stem").nodes)
    with pytest.raises(GraphError, match="no layer 'stage4' to freeze until; the layers are stem, stage1_conv1"):
        freeze_until(graph, "stage4")
