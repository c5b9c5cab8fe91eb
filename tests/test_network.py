"""Network files: what is written comes back, and what is damaged is refused by name."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import random_graph_network, random_network
from sparcl_mcu import network_file as nf
from sparcl_mcu.design import NETWORKS, cnn_s, freeze_until, lenet, resnet8
from sparcl_mcu.graph import INPUT, Graph, Node, Window
from sparcl_mcu.network import Network, NetworkError, Weights
from sparcl_mcu.sparsity import Block

SHAPES = {"mlp": (6, 4), "cnn_1d": (16, 3), "resnet8": (8, 8, 3)}


@pytest.mark.parametrize("kind", NETWORKS)
def test_saved_network_comes_back_with_the_same_fingerprint(kind: str, tmp_path: Path) -> None:
    graph = NETWORKS[kind](SHAPES.get(kind, (12, 10)), 5, density=0.5, block=Block(4, 1))
    network = random_graph_network(freeze_until(graph, graph.nodes[-1].name), 1)
    nf.save(network, tmp_path / "n.sparcl")
    again = nf.load(tmp_path / "n.sparcl")
    assert again.fingerprint == network.fingerprint
    assert again.graph == network.graph
    assert again.exponents == network.exponents
    for name, weights in network.weights.items():
        assert (again.weights[name].masters == weights.masters).all()
        assert (again.weights[name].mask == weights.mask).all()
    assert [p.name for p in tmp_path.iterdir()] == ["n.sparcl"]


def test_fingerprint_tells_networks_apart() -> None:
    network = random_network(1)
    masters = network.weights["fc1"].masters.copy()
    masters[tuple(np.argwhere(network.weights["fc1"].mask)[0])] += 1
    found = {network.fingerprint, change(network, masters=masters).fingerprint}
    found.add(dataclasses.replace(network, graph=freeze_until(network.graph, "fc2")).fingerprint)
    found.add(dataclasses.replace(network, exponents=network.exponents | {"fc1": -3}).fingerprint)
    assert len(found) == 4


def test_every_truncation_and_most_flips_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.sparcl"
    network = random_network(1, sizes=(4, 4, 2))
    nf.save(network, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(NetworkError, match=r"n\.sparcl"):
            nf.load(path)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with contextlib.suppress(NetworkError):
            assert nf.load(path).fingerprint == network.fingerprint  # a flip in a time stamp changes nothing


def test_pickles_and_zip_bombs_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "n.sparcl"
    np.savez(path.open("wb"), meta=np.array([{"a": 1}], dtype=object))
    with pytest.raises(NetworkError, match="not a readable"):
        nf.load(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meta.npy", bytes(nf.SIZE_LIMIT + 1))
    with pytest.raises(NetworkError, match="at most"):
        nf.load(path)


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="sparcl pretrain"):
        nf.load(tmp_path / "none.sparcl")


def test_other_format_version_is_named(tmp_path: Path) -> None:
    meta = json.dumps({"format": 99}).encode()
    buffer = io.BytesIO()
    np.savez(buffer, meta=np.frombuffer(meta, np.uint8))
    (tmp_path / "n.sparcl").write_bytes(buffer.getvalue())
    with pytest.raises(NetworkError, match="format 99; this version reads 2"):
        nf.load(tmp_path / "n.sparcl")


def change(network: Network, name: str = "fc1", **changes: Any) -> Network:
    weights: Weights = dataclasses.replace(network.weights[name], **changes)
    return dataclasses.replace(network, weights=network.weights | {name: weights})


def test_impossible_weights_are_refused_by_layer() -> None:
    network = random_network(1, block=Block(4, 1))
    w = network.weights["fc1"]
    with pytest.raises(NetworkError, match="'fc1': a masked weight is not 0"):
        change(network, masters=np.full_like(w.masters, 500))
    with pytest.raises(NetworkError, match="'fc1': a bias lies outside"):
        change(network, bias=np.full_like(w.bias, 2**30))
    broken = w.mask.copy()
    broken[tuple(np.argwhere(~broken)[0])] = True
    with pytest.raises(NetworkError, match="'fc1': the mask is not made of whole 4x1 blocks"):
        change(network, mask=broken)
    with pytest.raises(NetworkError, match=r"'fc1': masters must be int16 \(16, 24\), not int16 \(12, 24\)"):
        change(network, masters=w.masters[:12])
    with pytest.raises(NetworkError, match="'fc1': a weight exponent lies outside"):
        change(network, exponents=np.array([20], np.int8))
    with pytest.raises(NetworkError, match="weights are given for fc2, fc3, which are not its layers"):
        dataclasses.replace(network, weights={k: v for k, v in network.weights.items() if k != "fc1"})


def test_accumulator_that_could_overflow_is_refused_with_figures() -> None:
    network = random_network(1, density=1.0)
    with pytest.raises(NetworkError, match=r"'fc1': 24 inputs .* could overflow the 32-bit accumulator"):
        change(network, exponents=np.array([-30], np.int8))
    convolution = random_graph_network(cnn_s((16, 16), 4), 1)
    with pytest.raises(NetworkError, match=r"'conv2': 144 inputs .* could overflow the 32-bit accumulator"):
        change(convolution, "conv2", exponents=np.array([-30], np.int8))


def edited(network: Network, path: Path, edit: Callable[[dict[str, Any]], None]) -> str:
    """What loading a .sparcl file says after its description was edited."""
    nf.save(network, path)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    meta = json.loads(arrays["meta"].tobytes())
    edit(meta)
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with open(path, "wb") as out:
        np.savez(out, **arrays)
    with pytest.raises(NetworkError) as caught:
        nf.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message


def node(meta: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in meta["nodes"] if entry["name"] == name)


def test_graphs_that_do_not_compose_are_refused_by_layer(tmp_path: Path) -> None:
    network = random_graph_network(lenet((12, 12), 4), 1)
    path = tmp_path / "n.sparcl"

    def window(name: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
        return lambda meta: node(meta, name)["window"].update(changes)

    assert "layer 'conv1': a kernel of 7x7; sides of 1, 3 and 5" in edited(
        network, path, window("conv1", kernel=[7, 7])
    )
    assert "layer 'conv1': a kernel of 5x5 with stride 0x1" in edited(network, path, window("conv1", stride=[0, 1]))
    assert "stride 1x300" in edited(network, path, window("conv2", stride=[1, 300]))
    assert "'pool1': a max pool of 4x4" in edited(network, path, window("pool1", kernel=[4, 4]))
    assert "'conv1': padding 'mirror'" in edited(network, path, window("conv1", padding="mirror"))
    assert "layer 'fc1': blocks of 4x1 do not divide a layer of 63 outputs" in edited(
        network, path, lambda meta: node(meta, "fc1").update(outputs=63, block="4x1")
    )
    assert "layer 'fc1': masters must be int16 (63, 144), not int16 (64, 144)" in edited(
        network, path, lambda meta: node(meta, "fc1").update(outputs=63)
    )
    assert "block shape '3x3' is not one of" in edited(
        network, path, lambda meta: node(meta, "fc1").update(block="3x3")
    )
    assert "layer 'fc1' takes 'poool2', which no earlier layer gives" in edited(
        network, path, lambda meta: node(meta, "fc1").update(sources=["poool2"])
    )


def test_residuals_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    network = random_graph_network(resnet8((8, 8, 16), 4), 1)
    path = tmp_path / "n.sparcl"
    message = edited(network, path, lambda meta: node(meta, "stage1").update(sources=["stage1_conv2", "input"]))
    assert "residual 'stage1' joins the input, whose exponent is fixed" in message
    message = edited(network, path, lambda meta: node(meta, "stage2_short").update(outputs=16))
    assert "layer 'stage2': a residual adds two maps of one shape, not 4x4x32 and 4x4x16" in message


def test_inputs_are_checked_and_quantised() -> None:
    network = random_network(1)
    x = np.zeros((2, 24), np.float32)
    x[0, 0], x[0, 1], x[1, 0] = 0.5, -2.0, 1 / 256
    q = network.quantise_inputs(x)
    assert q[0, 0] == 64
    assert q[0, 1] == -127
    assert q[1, 0] == 0  # ties go to even
    with pytest.raises(NetworkError, match="a sample has 5 values, but network 'random1' takes 24"):
        network.quantise_inputs(np.zeros((2, 5)))
    x[0, 0] = np.nan
    with pytest.raises(NetworkError, match="NaN"):
        network.quantise_inputs(x)


def test_a_name_cannot_carry_c_into_the_firmware() -> None:
    network = random_network(1)
    for name in ('x */ int evil(void) { return 1; } /* "', "", "a" * 41, "-n"):
        with pytest.raises(NetworkError, match="at most 40 letters"):
            dataclasses.replace(network, name=name)


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "n.sparcl").mkdir()
    with pytest.raises(NetworkError, match="cannot write"):
        nf.save(random_network(1), tmp_path / "n.sparcl")
    assert [p.name for p in tmp_path.iterdir()] == ["n.sparcl"]


def test_more_inputs_than_a_device_can_count_are_refused() -> None:
    strided = Node("conv", "conv2d", (INPUT,), 1, Window((3, 3), (50, 50)), relu=True)
    graph = Graph((300, 300, 1), (strided, Node("head", "dense", ("conv",), 2)))
    with pytest.raises(NetworkError, match="90000 input values a sample; at most 65535"):
        random_graph_network(graph, 0)


def test_a_depthwise_kernel_with_a_hole_is_refused() -> None:
    network = random_graph_network(NETWORKS["ds_cnn"]((9, 9), 3), 0)
    weights = network.weights["depthwise1"]
    mask, masters = weights.mask.copy(), weights.masters.copy()
    mask[0, 0], masters[0, 0] = False, 128
    holed = network.weights | {"depthwise1": dataclasses.replace(weights, mask=mask, masters=masters)}
    with pytest.raises(NetworkError, match="'depthwise1': depthwise kernels are stored whole"):
        dataclasses.replace(network, weights=holed)
