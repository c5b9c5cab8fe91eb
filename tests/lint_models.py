"""Generate small models of every operator for `make lint` to look at: python tests/lint_models.py FOLDER."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from helpers import random_graph_network
from sparcl_mcu import design
from sparcl_mcu.learners.base import LearnSettings, Room
from sparcl_mcu.sparsity import Block
from sparcl_tools.generate import generate

MODELS = {
    "mlp": design.mlp((8, 8), 10, (16,), 0.5, Block(4, 1)),
    "lenet": design.lenet((8, 8), 10, density=0.5, block=Block(1, 4)),
    "ds_cnn": design.ds_cnn((8, 8), 4, density=0.25),
    "resnet8": design.freeze_until(design.resnet8((8, 8, 3), 4, density=0.25), "stage3_conv1"),
}

ROOMS = {
    "replay": Room(replay=4),
    "ewc": Room(ewc=True, ids=32768, prune=4000, prune_mu=39322, rho=9),
    "lightcl": Room(replay=4, logits=True, light_keep=9830, light_most=19661),
    "sparcl_ewc": Room(tdm=True, inter=655, dgm=True, slice=64, ddr=100, ewc=True),
    "sparcl": Room(replay=4, logits=True, tdm=True, inter=655, dgm=True, slice=64, ddr=100),
}

for name, graph in MODELS.items():
    network = random_graph_network(graph, 0)
    for kind, room in ROOMS.items():
        generate(network, Path(sys.argv[1]) / f"{name}_{kind}", room=room, settings=LearnSettings())
    if any(node.frozen for node in graph.nodes):
        room = replace(ROOMS["sparcl"], latent=True)
        generate(network, Path(sys.argv[1]) / f"{name}_latent", room=room, settings=LearnSettings())
