"""Pretraining and quantisation: exact density, sensible exponents, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from sparcl_mcu.design import mlp_specs
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.pretrain import PretrainError, PretrainSettings, pretrain
from sparcl_mcu.quantize import QuantizeError, input_scaling, quantise
from sparcl_mcu.sparsity import Block, SparsityError, parse_block, shrink, top_blocks


@pytest.mark.parametrize("block", [Block(1, 1), Block(1, 4), Block(4, 1)])
def test_pretrained_sparse_network_still_classifies_after_quantisation(block: Block) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300).astype(np.uint8)
    raw = rng.normal(0, 1, (300, 16)) + np.where(y[:, None] == 1, 1.0, -1.0) * np.linspace(0, 1, 16)
    scaling = input_scaling(raw, "range")
    specs = mlp_specs(16, 4, [16, 8], 0.25, block)
    seen = []
    x = (raw * scaling.gain).astype(np.float32)
    layers = pretrain(specs, x, y, PretrainSettings(10, 3), 1, lambda done, total, acc: seen.append((done, total)))
    assert seen[-1] == (13, 13)
    network = quantise(layers, scaling, x, "two")
    assert [layer.slots for layer in network.layers] == [64, 32, 32]
    shrink(network.layers[0].mask, block)
    predicted = SimulatedLearner(network, 0).predict(network.quantise_inputs(raw))
    assert (predicted == y).mean() > 0.9
    # classes not seen yet were not trained: their output weights are as they started
    start = pretrain(specs, x, y, PretrainSettings(1, 0), 1)
    assert np.array_equal(layers[-1].weight[2:], start[-1].weight[2:])


def test_the_same_seed_gives_the_same_network() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, (60, 8)).astype(np.float32)
    y = rng.integers(0, 2, 60).astype(np.uint8)
    scaling = input_scaling(x, "range")
    made = [
        quantise(pretrain(mlp_specs(8, 3, [8], 0.5, Block(1, 1)), x, y, PretrainSettings(2, 1), seed), scaling, x, "n")
        for seed in (1, 1, 2)
    ]
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


def test_unusable_settings_are_refused() -> None:
    specs = mlp_specs(4, 2, [4], 1.0, Block(1, 1))
    with pytest.raises(PretrainError, match="no sample"):
        pretrain(specs, np.zeros((0, 4), np.float32), np.zeros(0, np.uint8), PretrainSettings(), 0)
    with pytest.raises(PretrainError, match="epochs >= 1"):
        pretrain(specs, np.zeros((2, 4), np.float32), np.zeros(2, np.uint8), PretrainSettings(epochs=0), 0)
    with pytest.raises(SparsityError, match="blocks of 4x1 do not divide a layer of 6 outputs"):
        mlp_specs(8, 2, [6], 0.5, Block(4, 1))
    with pytest.raises(SparsityError, match="'2x2' is not one of 1x1, 1x4, 4x1"):
        parse_block("2x2")


def test_selection_is_by_count_even_when_everything_ties() -> None:
    mask = top_blocks(np.ones((8, 8)), 0.3, Block(1, 4))
    assert np.count_nonzero(mask) == round(0.3 * 16) * 4
    assert mask[0].all()  # ties go to the lowest index
