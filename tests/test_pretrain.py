"""Pretraining and quantisation: exact density, folded normalisation, sensible exponents, refusals."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparcl_mcu import numerics as nx
from sparcl_mcu import pretrain as pretraining
from sparcl_mcu.design import cnn_s, ds_cnn, mlp, resnet8
from sparcl_mcu.graph import Graph
from sparcl_mcu.learners.base import Room
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.pretrain import FloatNetwork, PretrainError, PretrainSettings, pretrain
from sparcl_mcu.profiles import erk, global_blocks
from sparcl_mcu.quantize import InputScaling, QuantizeError, input_scaling, quantise
from sparcl_mcu.sparsity import Block, SparsityError, parse_block, shrink, top_blocks

QUICK = PretrainSettings(epochs=1, fine_tune_epochs=0)


def images(n: int, shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes of noise that differ in where it is bright; float32 (n, values) within +-1."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n).astype(np.uint8)
    x = rng.normal(0, 0.25, (n, *shape))
    x[y == 0, : shape[0] // 2] += 0.4
    x[y == 1, shape[0] // 2 :] += 0.4
    return x.reshape(n, -1).clip(-1, 127 / 128).astype(np.float32), y


def scaled(graph: Graph) -> InputScaling:
    inputs = int(np.prod(graph.input_shape))
    return InputScaling(np.zeros(inputs, np.float32), np.ones(inputs, np.float32), -7)


@pytest.mark.parametrize("block", [Block(1, 1), Block(1, 4), Block(4, 1)])
def test_pretrained_sparse_network_still_classifies_after_quantisation(block: Block) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300).astype(np.uint8)
    raw = rng.normal(0, 1, (300, 16)) + np.where(y[:, None] == 1, 1.0, -1.0) * np.linspace(0, 1, 16)
    scaling = input_scaling(raw, "range")
    graph = mlp((16,), 4, [16, 8], 0.25, block)
    seen = []
    x = (raw * scaling.gain).astype(np.float32)
    trained = pretrain(graph, x, y, PretrainSettings(10, 3), 1, lambda done, total, acc: seen.append((done, total)))
    assert seen[-1] == (13, 13)
    network = quantise(trained, scaling, x, "two")
    assert [w.slots for w in network.weights.values()] == [64, 32, 32]
    shrink(network.weights["fc1"].mask, block)
    predicted = SimulatedLearner(network, Room()).predict(network.quantise_inputs(raw))
    assert (predicted == y).mean() > 0.9
    # classes not seen yet were not trained: their output weights are as they started
    start = pretrain(graph, x, y, QUICK, 1)
    assert np.array_equal(trained.weights["fc3"].weight[2:], start.weights["fc3"].weight[2:])


def test_another_pruning_of_a_kept_dense_network_is_as_if_it_had_been_trained_again(tmp_path: Path) -> None:
    x, y = images(60, (9, 9))
    settings = PretrainSettings(2, 1)
    graphs = [cnn_s((9, 9), 3, density=density) for density in (0.5, 0.25)]
    alone = [pretrain(graph, x, y, settings, 4) for graph in graphs]
    shared = [pretrain(graph, x, y, settings, 4, dense=tmp_path / "start.dense") for graph in graphs]
    for one, other in zip(alone, shared, strict=True):
        for name, weights in one.weights.items():
            assert np.array_equal(weights.weight, other.weights[name].weight)
            assert np.array_equal(weights.bias, other.weights[name].bias)
    gradual = PretrainSettings(2, 1, gradual=True)
    pretrain(graphs[0], x, y, gradual, 4, dense=tmp_path / "gradual.dense")
    assert not (tmp_path / "gradual.dense").exists()  # such a network never is dense and done


@pytest.mark.parametrize("build", [cnn_s, ds_cnn, resnet8])
def test_pretrained_convolutional_network_classifies_in_integers_as_in_float(build) -> None:  # type: ignore[no-untyped-def]
    graph = build((12, 12), 4, density=0.5, block=Block(4, 1))
    x, y = images(240, (12, 12))
    trained = pretrain(graph, x, y, PretrainSettings(5, 3), 1)
    network = quantise(trained, scaled(graph), x, "two")
    for node in network.weighted():
        assert network.weights[node.name].slots == round(node.density * network.weights[node.name].mask.size)
        shrink(network.weights[node.name].mask, node.block)
    x, y = images(100, (12, 12), seed=1)
    predicted = SimulatedLearner(network, Room()).predict(network.quantise_inputs(x))
    assert (predicted == y).mean() > 0.95
    assert (predicted == trained.logits(x).argmax(axis=1)).mean() > 0.97


def test_folding_gives_the_network_that_was_trained() -> None:
    """Weights and biases after folding compute what batch normalisation over all samples computed."""
    import torch

    graph = resnet8((8, 8, 3), 4)
    rng = torch.Generator().manual_seed(0)
    layers = pretraining.start(graph, PretrainSettings(), rng)
    with torch.no_grad():
        for layer in layers.values():
            layer.bias += 0.3 * torch.randn(layer.bias.shape, generator=rng)
            if layer.gamma is not None:
                layer.gamma *= 0.5 + torch.rand(layer.gamma.shape, generator=rng)
        x = torch.from_numpy(images(50, (8, 8, 3))[0])
        want = pretraining._logits(graph, layers, x).numpy()
        pretraining._fold(graph, layers, x)
        assert all(layer.gamma is None for layer in layers.values())
        assert np.allclose(pretraining._logits(graph, layers, x).numpy(), want, atol=1e-4)


def test_pruning_looks_at_weights_as_they_will_be_folded() -> None:
    import torch

    graph = cnn_s((8, 8), 4, density=0.25)
    layers = pretraining.start(graph, PretrainSettings(), torch.Generator().manual_seed(0))
    with torch.no_grad():
        layers["conv2"].gamma[:8] = 100.0
    pretraining._prune(graph, layers, torch.from_numpy(images(20, (8, 8))[0]), PretrainSettings(), 0)
    assert layers["conv2"].mask[:8].mean() > 0.9
    assert layers["conv2"].mask.mean() == 0.25
    assert layers["conv1"].mask.all()


def test_a_channel_that_never_varies_does_not_blow_up_its_layer() -> None:
    graph = ds_cnn((9, 9), 3)
    trained = pretrain(graph, np.zeros((8, 81), np.float32), np.arange(8, dtype=np.uint8) % 2, QUICK, 0)
    largest = max(float(np.abs(w.weight).max()) for w in trained.weights.values())
    assert largest < 5 / pretraining.NORM_EPSILON**0.5


def test_exponents_fit_every_member_of_a_scale_and_each_depthwise_channel() -> None:
    graph = resnet8((8, 8), 3)
    x, y = images(64, (8, 8))
    trained = pretrain(graph, x, y, QUICK, 2)
    network = quantise(trained, scaled(graph), x, "n")
    maps = trained.maps(x[:64])
    for scale, e in list(network.exponents.items())[1:]:
        members = [name for name, of in graph.scales.items() if of == scale]
        outer = max(float(np.quantile(np.abs(maps[name]), 1 - 2.0**-nx.RARE_BITS)) for name in members)
        assert 127 * 2.0 ** (e - 1) < outer <= 127 * 2.0**e
    assert {"stage2_conv2", "stage2_short", "stage2"} == {k for k, s in graph.scales.items() if s == "stage2_conv2"}

    graph = ds_cnn((9, 9), 3)
    trained = pretrain(graph, *images(40, (9, 9)), QUICK, 2)
    w = trained.weights["depthwise2"]
    w.weight[3] *= 64
    network = quantise(trained, scaled(graph), images(40, (9, 9))[0], "n")
    got = network.weights["depthwise2"].exponents
    assert got.shape == (64,)
    assert got[3] == nx.exponent_for(float(np.abs(w.weight[3]).max())) > got[4]
    hi = network.weights["depthwise2"].masters >> 8
    assert np.allclose(hi * 2.0 ** got.astype(float)[:, None], w.weight, atol=2.0 ** float(got.max()) / 2)


def test_without_batch_normalisation_nothing_is_folded() -> None:
    x, y = images(40, (8, 8))
    plain = dataclasses.replace(QUICK, batch_norm=False, learning_rate=1e-9)
    start = pretrain(cnn_s((8, 8), 3), x, y, plain, 3)
    folded = pretrain(cnn_s((8, 8), 3), x, y, dataclasses.replace(plain, batch_norm=True), 3)
    assert np.abs(start.weights["conv1"].bias).max() < 1e-6
    assert np.abs(folded.weights["conv1"].bias).max() > 0.01


def test_the_same_seed_gives_the_same_network() -> None:
    x, y = images(33, (8, 8))  # the last batch has a single sample, which has no variance
    graph = cnn_s((8, 8), 3, density=0.5, block=Block(1, 4))
    made = [quantise(pretrain(graph, x, y, PretrainSettings(2, 1), seed), scaled(graph), x, "n") for seed in (1, 1, 2)]
    assert made[0].fingerprint == made[1].fingerprint != made[2].fingerprint


def test_input_scaling_uses_the_whole_int8_range() -> None:
    x = np.array([[0.0, 16.0], [4.0, 8.0]])
    scaling = input_scaling(x, "range")
    assert np.allclose(x * scaling.gain * 2.0**-scaling.exponent, x / 16 * 127)
    standard = input_scaling(np.array([[1.0, 5.0], [3.0, 5.0]]), "standard")
    assert standard.offset.tolist() == [2.0, 5.0]
    assert standard.gain.tolist() == [1.0, 0.0]
    with pytest.raises(QuantizeError, match="all zeros"):
        input_scaling(np.zeros((3, 2)), "range")
    with pytest.raises(QuantizeError, match=r"samples of the first task are the same; \[data\] normalise"):
        input_scaling(np.full((3, 2), 0.1), "standard")


@pytest.mark.filterwarnings("error")
def test_a_first_task_too_small_for_float32_is_refused() -> None:
    with pytest.raises(QuantizeError, match="values up to 1e-60 in size"):
        input_scaling(np.array([[1e-60], [0.0]]), "range")
    for tiny in (1e-60, 1e-200):  # the square of the second is 0
        with pytest.raises(QuantizeError, match=r"input 2 has a standard deviation of .*constant"):
            input_scaling(np.array([[1.0, 5.0, tiny], [3.0, 5.0, 0.0]]), "standard")


def test_unusable_settings_are_refused() -> None:
    graph = mlp((4,), 2, [4])
    with pytest.raises(PretrainError, match="no sample"):
        pretrain(graph, np.zeros((0, 4), np.float32), np.zeros(0, np.uint8), PretrainSettings(), 0)
    with pytest.raises(PretrainError, match="epochs >= 1"):
        pretrain(graph, np.zeros((2, 4), np.float32), np.zeros(2, np.uint8), PretrainSettings(epochs=0), 0)
    with pytest.raises(PretrainError, match=r"at least 2 samples a batch \(batch 1, 9 samples\)"):
        pretrain(cnn_s((4, 4), 2), *images(9, (4, 4)), dataclasses.replace(QUICK, batch=1), 0)
    with pytest.raises(SparsityError, match="'2x2' is not one of 1x1, 1x4, 4x1"):
        parse_block("2x2")


def test_weights_that_are_not_finite_are_refused_by_their_layer() -> None:
    graph = mlp((4,), 2, [4])
    trained = pretrain(graph, *images(9, (2, 2)), QUICK, 0)
    broken = dataclasses.replace(trained.weights["fc2"], bias=np.full(2, np.nan, np.float32))
    with pytest.raises(QuantizeError, match="layer 'fc2' has weights that are not finite; lower the learning rate"):
        quantise(FloatNetwork(graph, trained.weights | {"fc2": broken}), scaled(graph), images(9, (2, 2))[0], "n")


def test_selection_is_by_count_even_when_everything_ties() -> None:
    mask = top_blocks(np.ones((8, 8)), 0.3, Block(1, 4))
    assert np.count_nonzero(mask) == round(0.3 * 16) * 4
    assert mask[0].all()  # ties go to the lowest index


@pytest.mark.parametrize("density", [0.05, 0.25, 0.6])
@pytest.mark.parametrize("block", [Block(1, 1), Block(1, 4)], ids=str)
def test_profiles_keep_the_same_number_of_weights(density: float, block: Block) -> None:
    uniform = cnn_s((12, 12), 4, density=density, block=block)
    spread = erk(uniform)
    assert spread.node("conv2").density > spread.node("conv3").density
    assert spread.node("conv1").density == spread.node("head").density == 1
    rng = np.random.default_rng(0)
    sparse = [node for node in uniform.nodes if node.weighted and node.density < 1]
    sizes = {node.name: uniform.weight_rows(node) * uniform.fan_in(node) for node in sparse}
    wanted = sum(node.density * sizes[node.name] for node in sparse)
    assert sum(spread.node(name).density * size for name, size in sizes.items()) == pytest.approx(wanted)
    scores = {
        node.name: scale * rng.random((uniform.weight_rows(node), uniform.fan_in(node)))
        for node, scale in zip(sparse, (1.0, 0.01), strict=True)
    }
    masks = global_blocks(scores, {n.name: n.block for n in sparse}, {n.name: n.density for n in sparse})
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert wanted - 4 <= kept <= wanted + 0.5
    assert masks["conv2"].mean() > masks["conv3"].mean() > 0  # larger scores win, no layer dies


def test_gradual_pruning_ends_at_the_density_and_masks_only_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    prune = pretraining._prune

    def spy(graph: Graph, layers: Any, *rest: Any) -> None:
        prune(graph, layers, *rest)
        seen.append(layers["fc1"].mask.numpy().astype(bool).copy())

    monkeypatch.setattr(pretraining, "_prune", spy)
    graph = mlp((8,), 3, (16,), 0.25)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 8)).astype(np.float32), (np.arange(60) % 3).astype(np.uint8)
    pretrain(graph, x, y, PretrainSettings(8, 2, gradual=True), 0)
    densities = [mask.mean() for mask in seen]
    assert len(densities) == 4
    assert densities == sorted(densities, reverse=True)
    assert densities[-1] == 0.25
    assert all((later <= earlier).all() for earlier, later in itertools.pairwise(seen))


def test_random_masks_have_the_density_and_do_not_follow_the_weights() -> None:
    graph = mlp((40,), 3, (40,), 0.25)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 40)).astype(np.float32), (np.arange(60) % 3).astype(np.uint8)
    kept = [pretrain(graph, x, y, PretrainSettings(1, 0, random_masks=True), seed) for seed in (0, 1)]
    assert [network.weights["fc1"].mask.mean() for network in kept] == [0.25, 0.25]
    assert (kept[0].weights["fc1"].mask != kept[1].weights["fc1"].mask).any()
    largest = pretrain(graph, x, y, PretrainSettings(1, 0), 0).weights["fc1"]
    drawn = kept[0].weights["fc1"]
    assert np.abs(drawn.weight[drawn.mask]).mean() < 0.7 * np.abs(largest.weight[largest.mask]).mean()
