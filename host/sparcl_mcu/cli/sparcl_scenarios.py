"""What `sparcl results sparcl` runs: scenarios, and the rows of their tables.

A scenario is an example with some settings changed; a row of its table is the scenario with more of them changed. Dense
rows have a learning rate of their own: every choice was made on validation samples (docs/results/tuning.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from ..config import Config

Change = dict[str, dict[str, Any]]  # settings by section of the experiment file

PAPER_Q = {0.25: 0.80, 0.1: 0.92, 0.05: 0.96}  # gradient sparsity by density: 80 % of the stored weights learn
USUAL = (0.25, 0.1)  # densities of tables with many rows
CONTROLS = {"magnitude": tuple(PAPER_Q), "random": tuple(PAPER_Q)}  # static masks and their densities
OFF: Change = {"tdm": {"importance": "off"}, "dgm": {"sparsity": 0.0}, "ddr": {"fraction": 0.0}}


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a table. against: the row its accuracy is compared with. control: as cli.runs.Run.control."""

    name: str
    change: Change
    against: str | None = "dense"
    control: str = ""
    twin: bool = False


@dataclasses.dataclass(frozen=True)
class Scenario:
    """example: folder. change: settings of all rows. dense, sparse: those of dense rows, and of rows with a density.
    exam: as Run.exam."""

    example: str
    seeds: int
    change: Change = dataclasses.field(default_factory=dict)
    dense: Change = dataclasses.field(default_factory=dict)
    sparse: Mapping[float, Change] = dataclasses.field(default_factory=dict)
    rows: Callable[[Change], list[Row]] | None = None  # of the dense rows' settings; None: main_rows
    exam: int | None = None

    def table(self) -> list[Row]:
        rows = (self.rows or main_rows)(self.dense)
        own = [self.sparse.get(row.change["network"].get("density", 0), {}) for row in rows]
        return [dataclasses.replace(row, change=merged(row.change, more)) for row, more in zip(rows, own, strict=True)]


def merged(*changes: Change) -> Change:
    """Later changes win, key by key."""
    sections = dict.fromkeys(section for change in changes for section in change)
    return {s: {k: v for change in changes for k, v in change.get(s, {}).items()} for s in sections}


def configured(config: Config, change: Change) -> Config:
    """An experiment with some settings changed."""
    for section, values in change.items():
        config = dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **values)})
    return config


def sparse(density: float, *more: Change) -> Change:
    """SparCL at a density."""
    return merged({"network": {"density": density}, "dgm": {"sparsity": PAPER_Q[density]}}, *more)


def _dense_rows(dense: Change) -> list[Row]:
    change = merged(OFF, {"network": {"density": 1.0}}, dense)
    return [
        Row("dense", change, against=None),
        Row("dense, naive: two updates a step, no replay", change, control="naive"),
        Row("dense, joint, two updates a step", change, control="joint"),
    ]


def main_rows(dense: Change, controls: Mapping[str, Iterable[float]] = CONTROLS) -> list[Row]:
    """Dense DER++ between its bounds, SparCL-DER++ at three densities, and beside each the masks that never move.

    controls: the densities that have a static mask of this kind.
    """
    found = _dense_rows(dense)
    for density in PAPER_Q:
        s = f"{1 - density:.2f}"
        found.append(Row(f"SparCL {s}", sparse(density)))
        static = merged(OFF, {"network": {"density": density}})
        for mask, densities in controls.items():
            if density in densities:
                change = merged(static, {"network": {"mask": mask}})
                found.append(Row(f"static {mask} {s}", change, against=f"SparCL {s}"))
    return found


def fewer_rows(dense: Change) -> list[Row]:
    """The main table where a run takes minutes: static random masks alone."""
    return main_rows(dense, {"random": USUAL})


def twin_rows(_: Change) -> list[Row]:
    """SparCL on the board beside its float twin."""
    return [Row(f"SparCL {1 - density:.2f}", sparse(density), against=None, twin=True) for density in USUAL]


def order_rows(dense: Change) -> list[Row]:
    """Dense DER++ and SparCL-DER++ with the ten classes in five random orders, two a task."""
    found: list[Row] = []
    for number in range(5):
        order = [int(c) for c in np.random.default_rng(number).permutation(10)]
        tasks = {"data": {"tasks": tuple(zip(order[::2], order[1::2], strict=True)), "classes_per_task": None}}
        name = f"order {' '.join(map(str, order))}"
        found.append(Row(f"{name}: dense", merged(_dense_rows(dense)[0].change, tasks), against=None))
        found += [
            Row(f"{name}: SparCL {1 - density:.2f}", merged(sparse(density), tasks), against=f"{name}: dense")
            for density in USUAL
        ]
    return found


def grid_rows(dense: Change) -> list[Row]:
    """TDM x DDR x DGM x single-head loss, all sixteen, at two densities; against the row with none of them."""
    found = _dense_rows(dense)[:1]
    for density, (tdm, ddr, dgm, single) in product(USUAL, product((False, True), repeat=4)):
        found.append(_ablated(density, tdm=tdm, ddr=ddr, dgm=dgm, single=single))
    return found


def leave_one_out_rows(dense: Change) -> list[Row]:
    """All of SparCL, and with one of its parts left out, at two densities; against the row with none of them."""
    found = _dense_rows(dense)[:1]
    for density in USUAL:
        found.append(_ablated(density, tdm=False, ddr=False, dgm=False, single=False))
        found.append(_ablated(density, tdm=True, ddr=True, dgm=True, single=False))
        for left_out in ("tdm", "ddr", "dgm"):
            kept = {"tdm": True, "ddr": True, "dgm": True, left_out: False}
            found.append(_ablated(density, **kept, single=False))
        found.append(_ablated(density, tdm=True, ddr=True, dgm=True, single=True))
    return found


def _ablated(density: float, *, tdm: bool, ddr: bool, dgm: bool, single: bool) -> Row:
    change = sparse(density, {"learn": {"single_head_loss": single}})
    for section, kept in (("tdm", tdm), ("ddr", ddr), ("dgm", dgm)):
        change = change if kept else merged(change, {section: OFF[section]})
    parts = [name for name, on in (("TDM", tdm), ("DDR", ddr), ("DGM", dgm), ("single head", single)) if on]
    s = f"{1 - density:.2f}"
    none = f"{s}: none"
    return Row(f"{s}: {' + '.join(parts)}" if parts else none, change, against=none if parts else "dense")


def block_rows(dense: Change) -> list[Row]:
    """SparCL with each block shape; against single weights."""
    found = _dense_rows(dense)[:1]
    for density, block in product(USUAL, ("1x1", "1x4", "4x1")):
        s = f"{1 - density:.2f}"
        change = sparse(density, {"network": {"block": block}})
        found.append(Row(f"SparCL {s} in {block}", change, against="dense" if block == "1x1" else f"SparCL {s} in 1x1"))
    return found


KB_OF_WEIGHTS = (8, 16, 32, 64)
WIDE = 128  # outputs of the sparse networks' hidden layer, in 1x4 blocks
NOT_SPARSE = 2 * 10 * WIDE + 2 * (WIDE + 1)  # bytes of their dense heads, and of where groups begin


def equal_bytes_rows(inputs: int, sparse_rate: int, dense: Change) -> list[Row]:
    """Sparse-wide against dense-narrow, the same bytes of masters and index, masks static. Both have one hidden layer:
    with two they did worse (docs/results/tuning.md). sparse_rate: exponent."""
    found: list[Row] = []
    for kb in KB_OF_WEIGHTS:
        narrow = 1024 * kb // (2 * (inputs + 10))
        change = merged(OFF, {"network": {"density": 1.0, "hidden": (narrow,)}}, dense)
        found.append(Row(f"{kb} KB: dense {inputs}-{narrow}-10", change, against=None))
        density = (1024 * kb - NOT_SPARSE) / (2.25 * inputs * WIDE)  # two bytes a master, one an index of four
        if density < 1:
            network = {"density": round(density - 5e-5, 4), "hidden": (WIDE,)}
            change = merged(OFF, {"network": network, "learn": {"lr_exponent": sparse_rate}})
            name = f"{kb} KB: sparse {inputs}-{WIDE}-10 at {density:.3f}"
            found.append(Row(name, change, against=found[-1].name))
    return found


LATENTS, LATENT, INPUT = 200, 64, 490  # latents kept; bytes of a DS-CNN's pooled features, of a second of keywords
BESIDE = 1 + 2 * 12  # bytes of a slot's label and logits
INPUTS = LATENTS * (LATENT + BESIDE) // (INPUT + BESIDE)  # as many bytes


def latent_rows(dense: Change) -> list[Row]:
    """Replay of latents against replay of inputs: as many, and as many bytes. Only the head learns."""
    head = merged(OFF, {"network": {"density": 1.0, "freeze_until": "head"}}, dense)
    whole, latents, few = f"{LATENTS} inputs", f"{LATENTS} latents", f"{INPUTS} inputs: the bytes of {LATENTS} latents"
    return [
        Row(whole, merged(head, {"learn": {"replay": LATENTS}}), against=None),
        Row(latents, merged(head, {"learn": {"replay": LATENTS, "replay_at": "border"}}), against=whole),
        Row(few, merged(head, {"learn": {"replay": INPUTS}}), against=latents),
    ]


EQUAL_RAM = {
    0.5: (12, 24, 48),
    0.25: (10, 20, 40),
    0.1: (8, 16, 32),
}  # channels of a dense CNN by a sparse one's density


def equal_ram_rows(dense: Change) -> list[Row]:
    """Sparse CNN-S against a dense one of fewer channels that takes as much RAM at most: weights, index, activations;
    masks static, the same buffer."""
    found: list[Row] = []
    for density, channels in EQUAL_RAM.items():
        narrow = merged(OFF, {"network": {"density": 1.0, "hidden": channels}}, dense)
        found.append(Row(f"dense {'-'.join(map(str, channels))}", narrow, against=None))
        change = merged(OFF, {"network": {"density": density}})
        found.append(Row(f"16-32-64 at {density}", change, against=found[-1].name))
    return found


def chip_rows(dense: Change) -> list[Row]:
    """Dense DER++ and SparCL-DER++, for what they cost on a chip."""
    return [
        *_dense_rows(dense)[:1],
        *(Row(f"SparCL {1 - density:.2f}", sparse(density)) for density in PAPER_Q),
    ]


FASTER: Change = {"learn": {"lr_exponent": -6}}
CHIP: Change = {"board": {"name": "qemu_m4"}, "data": {"samples_per_task": 100}}
SEQUENTIAL: Change = {"data": {"tasks": None, "classes_per_task": 2}, "pretrain": {"shipped": False}}
MNIST = merged(SEQUENTIAL, {"data": {"source": "mnist"}})
WORDS = [["down", "go", "_silence_", "_unknown_"], ["left", "no"], ["off", "on"], ["right", "stop"], ["up", "yes"]]
KWS: Change = {
    "data": {"source": "kws", "tasks": tuple(map(tuple, WORDS)), "samples_per_task": None, "validate_by": "speaker"},
    "network": {"kind": "ds_cnn", "hidden": None, "block": "1x1"},
    "learn": {"alpha_shift": 5},
    "pretrain": {"shipped": False, "epochs": 20, "fine_tune_epochs": 5},
    "ddr": {"samples": 1024},
}
KWS_SPARSE = dict.fromkeys(PAPER_Q, merged(FASTER, {"learn": {"anneal": 2}}))
KWS_BASE = merged(KWS, {"pretrain": {"shipped": True, "tasks": 3}})
CIFAR = merged(
    SEQUENTIAL,
    {
        "data": {"source": "cifar10_jpeg"},
        "network": {"kind": "resnet8", "hidden": None, "profile": "uniform", "freeze_until": "stage3_conv1"},
        "learn": {"replay": 50, "epochs": 3},
    },
)
CNN_S: Change = {"network": {"kind": "cnn_s", "hidden": None}, "pretrain": {"fine_tune_epochs": 6}}
PRUNED_SLOWLY = merged(FASTER, {"pretrain": {"prune": "gradual"}})
CNN_SPARSE = {0.1: PRUNED_SLOWLY, 0.05: PRUNED_SLOWLY}

RANDOM: Change = {"network": {"mask": "random"}}  # where masks begin, as the published ones do
DENSE: Change = {"learn": {"lr_exponent": -8}, "network": {"mask": "magnitude"}}  # half the sparse rows' rate

SCENARIOS = {
    "seq_digits": Scenario("digits_sparcl", 10),
    "seq_mnist_mlp": Scenario("base_fashion_mlp", 10, merged(MNIST, RANDOM), DENSE),
    "seq_fashion_mlp": Scenario("base_fashion_mlp", 20, merged(SEQUENTIAL, RANDOM), DENSE),
    "base_fashion_mlp": Scenario("base_fashion_mlp", 20, RANDOM, DENSE),
    "base_fashion_cnn": Scenario("base_fashion_mlp", 10, CNN_S, sparse=CNN_SPARSE, rows=fewer_rows),
    "seq_fashion_cnn": Scenario("base_fashion_mlp", 5, merged(SEQUENTIAL, CNN_S), sparse=CNN_SPARSE, rows=fewer_rows),
    "seq_kws": Scenario("base_fashion_mlp", 5, KWS, sparse=KWS_SPARSE, rows=fewer_rows),
    "seq_cifar10": Scenario("base_fashion_mlp", 3, CIFAR, rows=fewer_rows, exam=400),  # all 1,800 a task: two hours
    "har_persons": Scenario("har_persons", 10, rows=fewer_rows),
    "twins_fashion": Scenario("base_fashion_mlp", 10, merged(SEQUENTIAL, RANDOM), rows=twin_rows),
    "twins_kws": Scenario("base_fashion_mlp", 10, KWS, sparse=KWS_SPARSE, rows=twin_rows),
    "ablation": Scenario("digits_sparcl", 10, rows=grid_rows),
    "leave_one_out": Scenario("base_fashion_mlp", 10, RANDOM, DENSE, rows=leave_one_out_rows),
    "blocks": Scenario("base_fashion_mlp", 10, RANDOM, DENSE, rows=block_rows),
    "orders": Scenario("base_fashion_mlp", 4, merged(SEQUENTIAL, RANDOM), DENSE, rows=order_rows),
    "equal_bytes": Scenario("base_fashion_mlp", 10, dense=DENSE, rows=partial(equal_bytes_rows, 784, -7)),
    "equal_bytes_pooled": Scenario(
        "base_fashion_mlp", 10, {"data": {"pool": 2}}, rows=partial(equal_bytes_rows, 196, -6)
    ),
    "latents_kws": Scenario("base_fashion_mlp", 10, KWS_BASE, rows=latent_rows),
    "equal_ram": Scenario("base_fashion_mlp", 10, CNN_S, rows=equal_ram_rows),
    "chip_mlp": Scenario("base_fashion_mlp", 1, CHIP, rows=chip_rows, exam=0),
    "chip_cnn": Scenario("base_fashion_mlp", 1, merged(CHIP, CNN_S), rows=chip_rows, exam=0),
}
