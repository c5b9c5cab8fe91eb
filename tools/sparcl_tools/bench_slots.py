"""RAM of a stored weight in a sparse layer that learns, by storage, as the memory plan has it."""

from __future__ import annotations

from dataclasses import dataclass

from sparcl_mcu.design import mlp
from sparcl_mcu.learners.base import Room
from sparcl_mcu.sparsity import BLOCKS, SINGLE, Block

from .bench_steps import live_network
from .plan import plan

DENSITY = 0.25
STORAGE = ("masters, int16", "first blocks, uint16", "block columns")  # weights and index
MASKING = ("importance, uint8", "blocks that learn")  # TDM's and DGM's
AT_MOST = {"1x4": 2.6, "4x1": 2.6, "1x1, 8-bit index": 3.1, "1x1, 16-bit index": 4.1}


@dataclass(frozen=True)
class Slot:
    """Bytes a stored weight. stored: master and index; masked: with what TDM and DGM keep of it besides."""

    storage: str
    stored: float
    masked: float


def slots() -> list[Slot]:
    """Of the first layer of an MLP, 784 or (8-bit index, single weights) 196 inputs and 128 outputs, in 25 % of it."""
    cases = [(str(block), (28, 28), block) for block in BLOCKS if block != SINGLE]
    cases += [("1x1, 8-bit index", (14, 14), SINGLE), ("1x1, 16-bit index", (28, 28), SINGLE)]
    return [_slot(*case) for case in cases]


def _slot(storage: str, shape: tuple[int, int], block: Block) -> Slot:
    network, _ = live_network(mlp(shape, 10, hidden=(128,), density=DENSITY, block=block), 0)
    state = plan(network, Room(replay=4, tdm=True, dgm=True, slice=64)).state
    held = network.weights["fc1"].slots

    def bytes_of(parts: tuple[str, ...]) -> float:
        return sum(field.bytes for field in state if field.what in {f"fc1 {part}" for part in parts}) / held

    return Slot(storage, bytes_of(STORAGE), bytes_of(STORAGE + MASKING))
