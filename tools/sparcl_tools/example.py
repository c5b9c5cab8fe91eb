"""The example's firmware: what is generated when a build is given no model (firmware/scripts/model.py)."""

from __future__ import annotations

from pathlib import Path

from sparcl_mcu import prepare
from sparcl_mcu.config import load as load_config
from sparcl_mcu.network_file import load as load_network

from .generate import generate
from .plan import MemoryPlan


def generate_example(example: Path, out_dir: Path) -> MemoryPlan:
    """Write model.h and model.c of `example`/network.sparcl with the settings of its experiment.toml."""
    config = load_config(example / "experiment.toml")
    network = load_network(example / "network.sparcl")
    settings, room = prepare.learn_settings(config), prepare.room(config, network)
    return generate(network, out_dir, room=room, settings=settings)
