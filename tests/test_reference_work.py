"""Work in both columns against numbers worked out by hand, and the networks it is counted for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from reference_cases import job, opened, run, tasks
from sparcl_mcu.config import NetworkConfig
from sparcl_mcu.design import resnet8
from sparcl_mcu.reference import network, resnet18, trainer
from sparcl_mcu.reference.network import Network
from sparcl_mcu.reference.work import paper_flops

TINY = NetworkConfig(kind="mlp", hidden=(8,), density=0.5)  # 12-8-4: 96 weights, half of them, and 32 of the head


@pytest.fixture(scope="module")
def paper_network() -> Network:
    wanted = NetworkConfig(kind="resnet18", density=0.25)
    return network.build(wanted, (32, 32, 3), 10, batch_norm=True, seed=0, device="cpu")


def test_resnet18_is_the_one_of_the_paper(paper_network: Network) -> None:
    layers = {layer.name: layer for layer in paper_network.layers}
    assert len(layers) == 1 + 16 + 3 + 1
    assert sum(p.numel() for p in paper_network.parameters()) == 11_173_962
    assert sum(layer.positions * layer.size for layer in layers.values()) == 555_422_720
    dense = {name for name, layer in layers.items() if not layer.sparse}
    assert dense == {"stem", "head", "stage2_block1_short", "stage3_block1_short", "stage4_block1_short"}
    assert [name for name, layer in layers.items() if layer.first] == ["stem"]
    assert all(tuple(layer.weight.shape[2:]) == (3, 3) for layer in paper_network.sparse)


def test_positions_are_the_sizes_of_the_maps(paper_network: Network) -> None:
    seen: dict[int, int] = {}
    hooks = [
        part.register_forward_hook(lambda part, _, y: seen.update({id(part.weight): y[0, 0].numel()}))
        for part in paper_network.module.values()
    ]
    with torch.no_grad():
        assert paper_network(torch.zeros(2, 32, 32, 3)).shape == (2, 10)
    for hook in hooks:
        hook.remove()
    assert all(seen[id(layer.weight)] == layer.positions for layer in paper_network.layers)


def test_resnet18_is_seeded_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (resnet18.module(3, 4, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first["stage4_block2_conv2"].weight, again["stage4_block2_conv2"].weight)
    assert not torch.equal(first["stem"].weight, other["stem"].weight)


def test_the_paper_column_gives_the_published_figures(paper_network: Network) -> None:
    """1e15 operations for 50,000 images and 50 epochs, as reported: 13.9 dense, 0.6 and 0.5 for SparCL at 0.95."""
    presented = 50_000 * 50

    def flops(used: float, replays: int, s: float, q: float) -> float:
        layers = paper_network.layers
        return paper_flops(layers, presented * used, replays=replays, sparsity=s, gradient_sparsity=q) / 1e15

    dense = flops(1, 2, 0, 0)
    assert round(dense, 1) == 13.9
    assert round(flops(0.775, 2, 0.95, 0.96), 1) == 0.6
    assert round(flops(0.775, 2, 0.90, 0.92), 1) == 1.1
    assert [round(flops(1, 2, s, s), 1) for s in (0.90, 0.95)] == [1.6, 0.9]  # SNIP, RigL
    assert [round(flops(0.775, 1, s, q), 1) for s, q in ((0.75, 0.80), (0.90, 0.92), (0.95, 0.96))] == [2.0, 0.9, 0.5]
    assert round(dense, 1) / round(flops(0.775, 2, 0.95, 0.96), 1) == pytest.approx(23, abs=0.5)  # as it is quoted
    assert dense / flops(0.775, 2, 0.95, 0.96) == pytest.approx(21.56, abs=0.01)  # before rounding


def test_paper_column_by_hand() -> None:
    """12-8-4, 40 samples twice, q 0.6: 2 * 80 * [96 (3 * 0.5 + 2 * 0.4) + 32 (3 + 2)] with b = 2."""
    layers = opened(job("er", network=TINY)).network.layers
    assert [(layer.size, layer.positions, layer.sparse, layer.first) for layer in layers] == [
        (96, 1, True, True),
        (32, 1, False, False),
    ]
    got = paper_flops(layers, 80, replays=2, sparsity=0.5, gradient_sparsity=0.6)
    assert got == pytest.approx(2 * 80 * (96 * 2.3 + 32 * 5))


def test_counted_column_by_hand_dense() -> None:
    """Two tasks of 40 samples, two epochs, ER: 160 current passes, 80 from the buffer, 128 weights, 32 behind the
    first layer."""
    found = run("er", made=tasks(samples=40), network=replace(TINY, density=1.0), epochs=2, batch=8, buffer=40)
    assert found.macs["current"] == {"forward": 160 * 128, "input_grad": 160 * 32, "weight_grad": 160 * 128}
    assert found.macs["buffer"] == {"forward": 80 * 128, "input_grad": 80 * 32, "weight_grad": 80 * 128}
    assert found.flops_counted == 2 * 240 * (128 + 32 + 128)
    assert found.flops_paper == 2 * 160 * 128 * (2 + 2)


def test_counted_column_by_hand_with_gradient_masks() -> None:
    """48 of 96 weights exist, 38 (0.4 of 96) are updated; each epoch begins with a refresh from passes of its own."""
    settings = {"tdm": False, "ddr": False, "q": 0.6, "epochs": 2, "batch": 8}
    found = run("sparcl-er", made=tasks(samples=40), network=TINY, buffer=40, **settings)
    assert found.macs["current"] == {"forward": 160 * 80, "input_grad": 160 * 32, "weight_grad": 160 * (38 + 32)}
    assert found.macs["buffer"] == {"forward": 80 * 80, "input_grad": 80 * 32, "weight_grad": 80 * (38 + 32)}
    refreshed = 4 * 8 + 2 * 8  # a mini-batch each epoch, and a draw in the second task
    assert found.macs["refresh"] == {
        "forward": refreshed * 80,
        "input_grad": refreshed * 32,
        "weight_grad": refreshed * 80,
    }
    assert found.macs["importance"]["forward"] == 0
    released = run(
        "sparcl-er", made=tasks(samples=40), network=TINY, buffer=40, importance="released", **settings
    )  # the training pass itself computes what it will mask: 48 instead of 38
    assert released.macs["refresh"] == {"forward": 0, "input_grad": 0, "weight_grad": (4 * 8 + 2 * 8) * 10}


def test_growing_by_gradient_costs_a_dense_weight_gradient() -> None:
    found = run("rigl-naive", made=tasks(samples=40), network=TINY, epochs=2, batch=8)
    assert found.macs["importance"] == {"forward": 2 * 8 * 80, "input_grad": 2 * 8 * 32, "weight_grad": 2 * 8 * 128}
    snip = run("snip-naive", made=tasks(samples=40), network=TINY, epochs=2, batch=8)
    assert snip.macs["importance"] == {"forward": 8 * 128, "input_grad": 8 * 32, "weight_grad": 8 * 128}


def test_graphs_have_the_layers_and_density_rules_of_the_board() -> None:
    wanted = NetworkConfig(kind="resnet8", density=0.25, block="4x1", freeze_until="stage3_conv1")
    net = network.build(wanted, (8, 8, 3), 4, batch_norm=True, seed=0, device="cpu")
    graph = resnet8((8, 8, 3), 4, density=0.25)
    assert [layer.name for layer in net.layers] == [node.name for node in graph.nodes if node.weighted]
    assert {la.name for la in net.sparse} == {node.name for node in graph.nodes if node.density < 1}
    assert all(layer.weight.requires_grad for layer in net.layers)
    by_name = {layer.name: layer for layer in net.layers}
    assert by_name["stage2_conv1"].positions == 16
    plain = network.build(wanted, (8, 8, 3), 4, batch_norm=False, seed=0, device="cpu")
    with torch.no_grad():
        x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32))
        assert plain(x).shape == net(x).shape == (5, 4)
        # without normalisation a sample's logits do not depend on who else is in the mini-batch
        assert torch.allclose(plain(x)[:2], plain(x[:2]), atol=1e-5)
        assert not torch.allclose(net(x)[:2], net(x[:2]), atol=1e-3)
    assert trainer.chosen_device("cpu") == "cpu"
