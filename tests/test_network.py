"""Network files: what is written comes back, and what is damaged is refused by name."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from helpers import random_network
from sparcl_mcu import network as nw
from sparcl_mcu.network import Network, NetworkError
from sparcl_mcu.sparsity import Block


def test_saved_network_comes_back_with_the_same_fingerprint(tmp_path: Path) -> None:
    network = random_network(1, block=Block(4, 1))
    nw.save(network, tmp_path / "n.sparcl")
    again = nw.load(tmp_path / "n.sparcl")
    assert again.fingerprint == network.fingerprint
    assert (again.layers[0].masters == network.layers[0].masters).all()
    assert [p.name for p in tmp_path.iterdir()] == ["n.sparcl"]


def test_fingerprint_tells_networks_apart() -> None:
    network = random_network(1)
    layer = network.layers[0]
    masters = layer.masters.copy()
    masters[tuple(np.argwhere(layer.mask)[0])] += 1
    other = dataclasses.replace(network, layers=(dataclasses.replace(layer, masters=masters), *network.layers[1:]))
    assert other.fingerprint != network.fingerprint


def test_every_truncation_and_most_flips_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.sparcl"
    network = random_network(1, sizes=(4, 4, 2))
    nw.save(network, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(NetworkError, match=r"n\.sparcl"):
            nw.load(path)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with contextlib.suppress(NetworkError):
            assert nw.load(path).fingerprint == network.fingerprint  # a flip in a time stamp changes nothing


def test_pickles_and_zip_bombs_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "n.sparcl"
    np.savez(path.open("wb"), meta=np.array([{"a": 1}], dtype=object))
    with pytest.raises(NetworkError, match="not a readable"):
        nw.load(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meta.npy", bytes(nw.SIZE_LIMIT + 1))
    with pytest.raises(NetworkError, match="at most"):
        nw.load(path)


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="sparcl pretrain"):
        nw.load(tmp_path / "none.sparcl")


def test_other_format_version_is_named(tmp_path: Path) -> None:
    meta = json.dumps({"format": 99}).encode()
    buffer = io.BytesIO()
    np.savez(buffer, meta=np.frombuffer(meta, np.uint8))
    (tmp_path / "n.sparcl").write_bytes(buffer.getvalue())
    with pytest.raises(NetworkError, match="format 99; this version reads 1"):
        nw.load(tmp_path / "n.sparcl")


def change(network: Network, **changes: object) -> Network:
    layer = dataclasses.replace(network.layers[0], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(network, layers=(layer, *network.layers[1:]))


def test_impossible_layers_are_refused_by_name() -> None:
    network = random_network(1)
    layer = network.layers[0]
    with pytest.raises(NetworkError, match="'fc1': a masked weight is not 0"):
        change(network, masters=np.full_like(layer.masters, 500))
    with pytest.raises(NetworkError, match="'fc1': a bias lies outside"):
        change(network, bias=np.full_like(layer.bias, 2**30))
    with pytest.raises(NetworkError, match=r"'fc1': blocks of 1x4|'fc1': the mask"):
        change(network, block=Block(1, 4))
    rows = {"masters": layer.masters[:12], "mask": layer.mask[:12], "bias": layer.bias[:12]}
    with pytest.raises(NetworkError, match="'fc2' takes 16 inputs, but 'fc1' gives 12"):
        change(network, **rows)


def test_accumulator_that_could_overflow_is_refused_with_figures() -> None:
    network = random_network(1, density=1.0)
    with pytest.raises(NetworkError, match=r"'fc1': 24 inputs .* could overflow the 32-bit accumulator"):
        change(network, weight_exponent=-30)


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
