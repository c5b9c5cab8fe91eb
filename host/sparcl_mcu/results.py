"""What a run found out, as plain values: metrics.json and results.json. The report is drawn from these alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import metrics
from .config import Config
from .data import DataSet, Task
from .experiment import Outcome
from .record import RunFolder
from .references import first_disagreement
from .work import COUNTED

WATCHED = 20  # test samples whose predictions the report shows


@dataclass(frozen=True)
class Outcomes:
    """All runs of one experiment: three on the board, two on the host."""

    replay: Outcome
    repeat: Outcome  # without replay: two updates a sample
    joint: Outcome  # all tasks at once
    simulated: Outcome
    float_twin: Outcome


@dataclass(frozen=True)
class Footprint:
    """Memory of the firmware in bytes, from its ELF; None when it was not built here."""

    ram_bytes: int | None
    flash_bytes: int | None
    replay_bytes: int


def metrics_of(config: Config, tasks: Sequence[Task], outcomes: Outcomes, footprint: Footprint) -> dict[str, Any]:
    """metrics.json: accuracies are fractions of the test samples, means over tasks; null where nothing is known.

    resumed: the run with replay was stopped and gone on with, and what it took before that is not known: then
    samples_per_second and flash_wear are null.
    """
    board, stats = outcomes.replay, outcomes.replay.stats
    r, last = board.accuracy, board.stages[-1]
    steps = stats["steps"]
    macs = sum(stats[key] for key in COUNTED)
    sent = sum(len(task.y_train) for task in tasks[config.pretrain.tasks if config.pretrain.shipped else 0 :])
    labels = np.concatenate([task.y_test for task in tasks])
    return {
        "acc": metrics.acc(r),
        "acc_without_replay": metrics.acc(outcomes.repeat.accuracy),
        "acc_joint": metrics.acc(outcomes.joint.accuracy),
        "acc_float": metrics.acc(outcomes.float_twin.accuracy),
        "forgetting": metrics.forgetting(r),
        "forgetting_without_replay": metrics.forgetting(outcomes.repeat.accuracy),
        "aia": metrics.aia(r),
        "bwt": metrics.bwt(r),
        "fwt": None,  # meaningless for class-il
        "task_il": sum(last.task_il) / len(last.task_il) if last.task_il else None,
        "data_used": steps / (sent * config.learn.epochs),
        "balanced_acc": metrics.balanced_accuracy(labels, np.concatenate(last.predictions)),
        "acc_val": metrics.acc(board.val_accuracy),
        "n_test": len(labels),
        "state_hash": [stage.state_hash for stage in board.stages],
        "simulation_agrees": first_disagreement(board, outcomes.simulated) is None,
        "masters_moved": outcomes.simulated.stats["masters_moved_ppm"] / 1e6,
        "ram_bytes": footprint.ram_bytes,
        "flash_bytes": footprint.flash_bytes,
        "replay_bytes": footprint.replay_bytes,
        "instructions_per_step": stats["instructions"] / steps if stats.get("instructions") else None,
        "macs_per_step": macs / steps,
        "resumed": board.resumed,
        "samples_per_second": None if board.resumed else steps / sum(stage.seconds for stage in board.stages),
        "link_bytes": stats["link_bytes"],
        "payload_over_wire": stats["link_payload_sent"] / stats["link_bytes_sent"],
        "flash_wear": None if board.resumed else _wear(stats, len(board.stages) * config.learn.epochs),
        "board": config.board.name,
        "seed": config.seed,
        "config_hash": config.hash,
    }


def _wear(stats: dict[str, int], epochs: int) -> dict[str, float] | None:
    """What commits cost the board's flash, since its power-on: null when it made none.

    amplification: bytes erased for each byte that was kept. erasures_per_epoch: of a sector, on average."""
    if not stats.get("store_programmed"):
        return None
    erased, sector = stats["store_erased"], stats["store_sector_bytes"]
    sectors = stats["store_slots"] * stats["store_slot_bytes"] / sector
    return {
        "commits": stats["store_commits"],
        "failed": stats["store_failed"],
        "amplification": erased * sector / stats["store_programmed"],
        "erasures_per_epoch": erased / sectors / epochs,
    }


def results_of(data: DataSet, tasks: Sequence[Task], outcomes: Outcomes) -> dict[str, Any]:
    """results.json: accuracy of every run after every task, the board's work, and twenty test samples."""
    return {
        "data": {
            "name": data.name,
            "sha256": data.checksum,
            "shape": list(data.sample_shape),
            "train": len(data.x_train),
            "test": len(data.x_test),
        },
        "class_names": list(data.class_names),
        "tasks": [
            {
                "name": t.name,
                "classes": list(t.classes),
                "train": len(t.x_train),
                "val": len(t.x_val),
                "test": len(t.x_test),
            }
            for t in tasks
        ],
        "runs": {
            "replay": _run(outcomes.replay),
            "repeat": _run(outcomes.repeat),
            "joint": _run(outcomes.joint),
            "simulated": _run(outcomes.simulated),
            "float": _run(outcomes.float_twin),
        },
        "watched": _watched(tasks, outcomes.replay),
    }


def write_results(folder: RunFolder, measured: dict[str, Any], results: dict[str, Any]) -> None:
    """metrics.json, results.json and the accuracy matrix as CSV."""
    folder.write_json("metrics.json", measured)
    folder.write_json("results.json", results)
    folder.write_matrix("accuracy_matrix.csv", results["runs"]["replay"]["test_accuracy"])


def _run(outcome: Outcome) -> dict[str, Any]:
    return {
        "test_accuracy": outcome.accuracy.tolist(),
        "val_accuracy": outcome.val_accuracy.tolist(),
        "state_hash": [stage.state_hash for stage in outcome.stages],
        "seconds": [round(stage.seconds, 3) for stage in outcome.stages],
        "stats": outcome.stats,
    }


def _watched(tasks: Sequence[Task], outcome: Outcome) -> list[dict[str, Any]]:
    """Twenty test samples spread evenly over the classes, the first of each class in the data set's order."""
    members = [
        (j, i)
        for rank in range(WATCHED)
        for j, task in enumerate(tasks)
        for label in task.classes
        for i in np.flatnonzero(task.y_test == label)[rank : rank + 1].tolist()
    ]
    first_of_each = members[: sum(len(task.classes) for task in tasks)]
    if len(first_of_each) > WATCHED:
        members = [first_of_each[k] for k in np.linspace(0, len(first_of_each) - 1, WATCHED).astype(int)]
    chosen = sorted(members[:WATCHED], key=lambda at: (int(tasks[at[0]].y_test[at[1]]), at[1]))
    first, last = outcome.stages[0].predictions, outcome.stages[-1].predictions
    return [
        {
            "label": int(tasks[j].y_test[i]),
            "after_first": int(first[j][i]),
            "after_last": int(last[j][i]),
            "values": np.round(tasks[j].x_test[i].astype(np.float64), 4).tolist(),
        }
        for j, i in chosen
    ]
