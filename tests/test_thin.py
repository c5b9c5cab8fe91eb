"""Channel pruning: smaller dense layers that compute what is left of the network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sparcl_mcu import design, prepare, thin
from sparcl_mcu.config import Config, DataConfig, NetworkConfig, PretrainConfig
from sparcl_mcu.errors import SparclError
from sparcl_mcu.graph import Graph
from sparcl_mcu.pretrain import FloatNetwork, FloatWeights, PretrainSettings, pretrain
from sparcl_mcu.sparsity import Block

SHORT = PretrainSettings(epochs=2, fine_tune_epochs=0, channels=True)


def data(shape: tuple[int, ...], n: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, int(np.prod(shape)))).astype(np.float32), np.arange(n, dtype=np.uint8) % 2


def strong_first(graph: Graph) -> dict[str, np.ndarray]:
    """Weights whose rows grow weaker, and whose signs do not matter."""
    return {
        node.name: np.outer(-np.arange(graph.weight_rows(node), 0, -1), np.ones(graph.fan_in(node)))
        for node in graph.nodes
        if node.weighted
    }


def test_the_strongest_filters_of_sparse_layers_stay() -> None:
    graph = design.cnn_s((16, 16), 4, density=0.25, block=Block(1, 4))
    weights = strong_first(graph)
    weights["conv2"][::2] *= 100
    kept = thin.channels(graph, weights)
    assert kept["conv1"].tolist() == list(range(16))
    assert kept["conv2"].tolist() == list(range(0, 16, 2))
    assert kept["conv3"].tolist() == kept["pool"].tolist() == list(range(16))
    assert kept["head"].tolist() == list(range(4))
    smaller = thin.graph_of(graph, kept)
    assert [node.outputs for node in smaller.nodes] == [16, 8, 16, 0, 4]
    assert {(node.density, node.block) for node in smaller.nodes} == {(1.0, Block(1, 1))}


def test_at_least_one_channel_stays() -> None:
    graph = design.mlp((8,), 4, hidden=(6, 6), density=0.01)
    kept = thin.channels(graph, strong_first(graph))
    assert [len(kept[node.name]) for node in graph.nodes] == [1, 1, 4]


@pytest.mark.parametrize("kind", ["mlp", "lenet", "cnn_s", "ds_cnn"])
def test_what_is_left_computes_as_if_the_others_were_silent(kind: str) -> None:
    """Against the same network whole, the weights that read a removed channel 0."""
    shape = (24, 24)
    graph = design.NETWORKS[kind](shape, 3, density=0.4)
    rng = np.random.default_rng(1)
    whole, small, weights = {}, {}, {}
    for node in graph.nodes:
        if node.weighted:
            size = graph.weight_rows(node), graph.fan_in(node)
            weights[node.name] = rng.standard_normal(size).astype(np.float32)
    kept = thin.channels(graph, weights)
    thinner = thin.graph_of(graph, kept)
    for name, weight in weights.items():
        bias = rng.standard_normal(len(weight)).astype(np.float32)
        columns = thin.inputs(graph, name, kept)
        silent = np.zeros_like(weight)
        silent[:, columns] = weight[:, columns]
        whole[name] = FloatWeights(silent, bias, silent != 0)
        part = weight[kept[name]][:, columns]
        small[name] = FloatWeights(part, bias[kept[name]], part != 0)
    x, _ = data(shape, 4)
    close = FloatNetwork(thinner, small).logits(x), FloatNetwork(graph, whole).logits(x)
    assert np.abs(close[1]).max() > 1e-3
    np.testing.assert_allclose(*close, rtol=1e-4, atol=1e-3)


def test_pretraining_gives_a_smaller_dense_network() -> None:
    graph = design.freeze_until(design.cnn_s((16, 16), 3, density=0.5), "conv3")
    x, y = data((16, 16))
    for epochs in (0, 1):
        network = pretrain(graph, x, y, dataclasses.replace(SHORT, fine_tune_epochs=epochs), seed=0)
        assert {name: w.weight.shape for name, w in network.weights.items()} == {
            "conv1": (16, 9),
            "conv2": (16, 144),
            "conv3": (32, 144),
            "head": (3, 32),
        }
        assert all(w.mask.all() for w in network.weights.values())
        assert [node.frozen for node in network.graph.nodes] == [True, True, False, False, False]


def test_maps_that_are_added_are_refused() -> None:
    with pytest.raises(SparclError, match=r'pruned = "channels": stage1 adds maps, whose channels have to stay'):
        pretrain(design.resnet8((8, 8, 3), 3, density=0.5), *data((8, 8, 3)), SHORT, seed=0)


def test_settings_of_weights_are_refused() -> None:
    with pytest.raises(SparclError, match=r"leave .*gradual.*random.* out"):
        pretrain(
            design.cnn_s((16, 16), 3, density=0.5), *data((16, 16)), dataclasses.replace(SHORT, gradual=True), seed=0
        )


def test_an_experiment_may_prune_channels() -> None:
    config = Config(
        name="thin",
        data=DataConfig(source="digits", samples_per_task=20),
        network=NetworkConfig(hidden=(32, 16), density=0.5, pruned="channels"),
        pretrain=PretrainConfig(epochs=1, fine_tune_epochs=1),
    )
    net = prepare.pretrained(config, prepare.scenario(config, None), lambda *_: None)
    assert [weights.mask.shape for weights in net.weights.values()] == [(16, 64), (8, 16), (10, 8)]
    assert config.hash != dataclasses.replace(config, network=NetworkConfig(hidden=(32, 16), density=0.5)).hash
