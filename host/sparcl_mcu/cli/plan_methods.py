"""What each method would add to a network on a board, for `sparcl plan`, before anything is built.

RAM is planned. Instructions are the bench's (`sparcl bench`) for the passes of a step, and what a method does beside
them as `sparcl results methods` measured it on a Cortex-M4, for each weight that learns; flash is from there, too.
Pools, softmax and copies are not counted, masks that move (TDM, DGM, DDR) are not among the methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import counted
from ..config import Config, DataConfig
from .results_methods import ANCHORS, ER, ESACL, EWC, HALF
from .sparcl_scenarios import Change, configured, merged

if TYPE_CHECKING:
    from sparcl_tools.plan import MemoryPlan

    from ..network import Network

METHODS = "docs/results/methods.json"
MEASURED = "seq-digits"  # how the name of the set begins from which code and work beside passes are taken
NAIVE = "naive: two updates a step"
EVERYWHERE, NOT_CLASS_IL = "class-il, task-il, domain-il", "task-il, domain-il"

DER: Change = {"learn": {"method": "der"}}
DERPP: Change = {"learn": {"method": "der++"}}
_ANY = Config("any", DataConfig("digits", classes_per_task=2))  # its data do not matter
LATENTS: Change = {"learn": {"replay_at": "border"}}


@dataclass(frozen=True)
class Method:
    """passes: of a step once there is something to remember: over the whole network, and from the border on.
    backward: how many of them go back. row: of METHODS."""

    name: str
    settings: str
    change: Change
    row: str
    passes: tuple[float, float] = (1, 0)
    backward: float = 1


def _offered(samples: int) -> tuple[Method, ...]:
    """samples: of the replay buffers; 0: only methods without one."""
    buffer: Change = {"learn": {"replay": samples}}
    with_buffer = (
        Method("ER", EVERYWHERE, merged(ER, buffer), "ER", (2, 0), 2),
        Method("DER", EVERYWHERE, merged(DER, buffer), "DER", (2, 0), 2),
        Method("DER++", EVERYWHERE, merged(DERPP, buffer), "DER++", (3, 0), 3),
        Method("DER++, latents", EVERYWHERE, merged(DERPP, buffer, LATENTS), "DER++, latents", (1, 2), 3),
        Method("ER, IDS of a half", EVERYWHERE, merged(ER, buffer, HALF), "ER, IDS: half of the samples", (2, 0), 1.5),
    )
    return (
        *(with_buffer if samples else ()),
        Method("EWC", NOT_CLASS_IL, EWC, "EWC"),
        Method("EsaCL-EWC", NOT_CLASS_IL, ESACL, "EsaCL-EWC, not retrained", (2, 0), 2),
        Method("LightCL, 15 anchors", NOT_CLASS_IL, ANCHORS, "LightCL", (2, 0), 2),
    )


@dataclass(frozen=True)
class Cost:
    """ram, flash: bytes beside those of a learner that remembers nothing. instructions: of a step."""

    name: str
    settings: str
    ram: int
    flash: int
    instructions: float


def costs(network: Network, core: str, samples: int) -> Iterator[Cost]:
    """Of every method that the network can learn by. core: as boards name it. Raises counted.CountedError."""
    from sparcl_tools.plan import plan

    from ..config import ConfigError
    from ..learners.base import Room
    from ..prepare import room

    rows = _measured()
    bare = plan(network, Room())
    yield Cost("none: nothing is remembered", EVERYWHERE, 0, 0, _step(network, core, (1, 0), 1))
    for method in _offered(samples):
        try:
            memory = plan(network, room(configured(_ANY, method.change), network))
        except ConfigError:  # no border, or nothing learns below the last layer
            continue
        yield Cost(
            method.name,
            method.settings,
            _bytes(memory) - _bytes(bare),
            memory.constant_bytes - bare.constant_bytes + _code(rows, method.row),
            _step(network, core, method.passes, method.backward) + _beside(rows, method, core) * _learning(network),
        )


def _measured() -> dict[str, dict[str, Any]]:
    """What each row of METHODS took on a Cortex-M4."""
    sets = counted.measured(METHODS)["sets"]
    of: dict[str, Any] = next((rows for name, rows in sets.items() if name.startswith(MEASURED)), {})
    missing = {NAIVE, *(method.row for method in _offered(1))} - set(of)
    if missing:
        raise counted.CountedError(
            f"{METHODS} has no {', '.join(sorted(missing))} of {MEASURED}; measure with: make results-methods"
        )
    return {row: each["chip"] for row, each in of.items()}


def _bytes(memory: MemoryPlan) -> int:
    return memory.state_bytes + memory.arena_bytes


def _code(rows: dict[str, Any], row: str) -> int:
    """Code of a method where it was measured; its tables, few bytes, count twice."""
    return int(rows[row]["flash_bytes"] - rows[NAIVE]["flash_bytes"])


def _step(network: Network, core: str, passes: tuple[float, float], backward: float) -> float:
    """Instructions of the passes of a step, in the layers with weights."""
    whole, from_border = passes
    name, total = counted.core_of(core), 0.0
    for node in network.weighted():
        block = None if network.weights[node.name].dense else node.block
        for each in counted.passes(network.graph, node):
            what = f"{counted.operator(node)} {each}"
            times = whole if node.frozen else whole + from_border if each == counted.FORWARD else backward
            total += times * network.macs(node) * counted.instructions(name, what, block, node.density)
    return total


def _learning(network: Network) -> int:
    return sum(network.weights[node.name].slots for node in network.trainable())


def _beside(rows: dict[str, Any], method: Method, core: str) -> float:
    """Instructions a step and weight that learns beside the passes, of methods whose steps are not passes alone.

    Counted on a Cortex-M4; another core takes as many times more as for the update of a weight.
    """
    if method.row not in ("EWC", "EsaCL-EWC, not retrained"):
        return 0.0
    naive, chip = rows[NAIVE], rows[method.row]
    passes = chip["stats"]["macs_forward"] / naive["stats"]["macs_forward"] * naive["stats"]["instructions"]
    learning = sum(layer["stored"] for layer in chip["layers"] if not layer["frozen"])
    of_m4 = float((chip["stats"]["instructions"] - passes) / chip["stats"]["steps"] / learning)
    here, m4 = (
        counted.instructions(each, f"{counted.LARGE_DENSE} {counted.WEIGHT_UPDATE}", None, 1.0)
        for each in (counted.core_of(core), "m4")
    )
    return of_m4 * here / m4
