"""`sparcl results ewc`: EWC in integers against its float twin and against no penalty, with date and command."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .. import experiment, prepare, record, summary
from ..config import Config
from ..data import Task
from ..experiment import Stream
from ..learners.base import Learner, LearnSettings, Replay, Room
from ..learners.simulated import SimulatedLearner
from ..network import Network
from .options import read
from .ui import terminal

SEEDS = 10
ROOM = Room(ewc=True)
DOMAINS = 3


@dataclass(frozen=True)
class Scenario:
    """What is learnt. samples: of each of the data's five tasks. domains: all five at once, and again with their pixels
    in other orders. alpha_shift: chosen with seeds 100 and 101 (docs/results/tuning.md)."""

    name: str
    what: str
    samples: int
    epochs: int
    alpha_shift: int
    domains: bool = False


SCENARIOS = (
    Scenario("task-il", "digits, 5 tasks of 2 classes, arg-max among the task's", 120, 3, 4),
    Scenario("domain-il", f"digits, all classes, {DOMAINS} orders of the pixels", 60, 2, 10, domains=True),
)
ROWS = {
    "ewc": "EWC, integers",
    "ewc float": "EWC, float twin",
    "none": "no penalty, integers",
    "none float": "no penalty, float twin",
}

_PAGE = """\
# Online EWC on the board

Measured {date} at commit {commit} by `sparcl results ewc` (`make results-ewc`): {seeds} seeds, the network of
`examples/digits` pretrained for each on its first task. Integers are NumPy's, which every core equals
(`tests/test_ewc.py`). No row keeps samples; each sample is one pass. Accuracy after the last task, mean over tasks of
the test part, in %; the penalty was chosen on validation samples of other seeds ([tuning.md](tuning.md)).

{tables}
## Memory

Of the network of `examples/digits`, {slots:,} stored weights, as `sparcl plan` prints it:

| | state, bytes | arena, bytes |
|---|---|---|
| EWC | {ewc_state:,} | {ewc_arena:,} |
| ER with 100 samples | {er_state:,} | {er_arena:,} |
| neither | {bare_state:,} | {bare_arena:,} |

EWC takes 6 bytes a stored weight that learns and no buffer: it is the smaller one where a buffer of inputs is large
beside the weights.
"""


def results_ewc(out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results")) -> None:
    """Task-il and domain-il, 10 seeds, against the float twin and against no penalty (15 minutes)."""
    from sparcl_tools.pio import ROOT
    from sparcl_tools.plan import plan

    console = terminal()
    config = read(ROOT / "examples" / "digits")
    found: dict[str, list[dict[str, dict[str, float]]]] = {scenario.name: [] for scenario in SCENARIOS}
    for seed in range(SEEDS):
        for scenario in SCENARIOS:
            few = replace(config.data, samples_per_task=scenario.samples)
            network, stream = prepared(scenario, replace(config, seed=seed, data=few))
            found[scenario.name].append(measure(scenario, network, stream, seed))
            console.print(f"{scenario.name}, seed {seed}: {found[scenario.name][-1]}", markup=False)
    memory: dict[str, int] = {}
    for name, room in (("ewc", ROOM), ("er", Room(replay=100)), ("bare", Room())):
        planned = plan(network, room)
        memory |= {f"{name}_state": planned.state_bytes, f"{name}_arena": planned.arena_bytes}
    measured = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": record.versions()["commit"],
        "command": "sparcl results ewc",
        "seeds": found,
        "memory": memory | {"slots": network.slots},
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "ewc.json").write_text(json.dumps(measured, indent=1) + "\n")
    (out / "ewc.md").write_text(page(measured))
    console.print(f"Written: {out / 'ewc.md'}, ewc.json", markup=False)


def prepared(scenario: Scenario, config: Config) -> tuple[Network, Stream]:
    """The network pretrained on the first task, and all tasks."""
    made = prepare.scenario(config, None)
    if scenario.domains:
        tasks = permuted(made.tasks, config.seed)
        made = replace(made, tasks=tasks, base=tasks[:1])
    network = prepare.pretrained(config, made, lambda done, total: None)
    return network, experiment.quantised(network, made.tasks)


def permuted(tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
    """All samples of all tasks, once as they are and then in other orders of the pixels: a task each."""

    def whole(part: str, order: Any) -> dict[str, Any]:
        x = np.concatenate([getattr(task, f"x_{part}") for task in tasks])
        y = np.concatenate([getattr(task, f"y_{part}") for task in tasks])
        return {f"x_{part}": x.reshape(len(x), -1)[:, order].reshape(x.shape), f"y_{part}": y}

    found = []
    for domain in range(DOMAINS):
        size = int(np.prod(tasks[0].x_train.shape[1:]))
        order = np.random.default_rng([seed, domain]).permutation(size) if domain else np.arange(size)
        parts = {key: value for part in ("train", "val", "test") for key, value in whole(part, order).items()}
        found.append(replace(tasks[0], classes=tuple(sorted({c for task in tasks for c in task.classes})), **parts))
    return tuple(found)


def measure(scenario: Scenario, network: Network, stream: Stream, seed: int) -> dict[str, dict[str, float]]:
    """Of every row: accuracy in the scenario, and class-il."""
    from ..learners.float_twin import FloatTwin

    held = LearnSettings(seed=seed, lr_exponent=-5, replay=Replay.EWC, alpha_shift=scenario.alpha_shift)
    free = replace(held, replay=Replay.ER)  # without a buffer there is nothing to draw

    def run(kind: Callable[[Network, Room], Learner], settings: LearnSettings) -> dict[str, float]:
        outcome = experiment.run(
            kind(network, ROOM), stream, settings, epochs=scenario.epochs, on_progress=lambda done, total: None
        )
        last = outcome.stages[-1]
        return {
            scenario.name: float(np.mean(last.test_accuracy if scenario.domains else last.task_il)),
            "class-il": float(np.mean(last.test_accuracy)),
        }

    return {
        "ewc": run(SimulatedLearner, held),
        "ewc float": run(FloatTwin, held),
        "none": run(SimulatedLearner, free),
        "none float": run(FloatTwin, free),
    }


def page(measured: dict[str, Any]) -> str:
    """docs/results/ewc.md."""
    tables = "\n".join(_table(scenario, measured["seeds"][scenario.name]) for scenario in SCENARIOS)
    facts = {key: measured[key] for key in ("date", "commit")}
    return _PAGE.format(**facts, seeds=SEEDS, tables=tables, **measured["memory"])


def _table(scenario: Scenario, seeds: list[dict[str, dict[str, float]]]) -> str:
    beside = "" if scenario.domains else " class-il |"
    lines = [
        f"## {scenario.name}: {scenario.what}",
        "",
        f"{scenario.samples * (5 if scenario.domains else 1)} samples and {scenario.epochs} epochs a task, alpha_shift "
        f"{scenario.alpha_shift}.",
        "",
        f"| | {scenario.name} |{beside}",
        f"|---|---|{'---|' if beside else ''}",
    ]
    for row, title in ROWS.items():
        cells = [summary.spread([seed[row][key] for seed in seeds]) for key in seeds[0][row]][: 1 + bool(beside)]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    for title, one, other, target in (
        ("integers minus float twin", "ewc", "ewc float", "mean within 1.0"),
        ("EWC minus no penalty", "ewc", "none", ""),
    ):
        gaps = [seed[one][scenario.name] - seed[other][scenario.name] for seed in seeds]
        met = f" ({target}: {'met' if abs(np.mean(gaps)) <= 0.01 else '**not met**'})" if target else ""
        lines.append(f"| {title}, points, paired | {summary.spread(gaps, '+.2f')}{met} |{' |' if beside else ''}")
    return "\n".join([*lines, ""])
