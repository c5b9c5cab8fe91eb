"""What a seed found out and what several say together, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import metrics
from ..summary import interval
from .trainer import Job, Outcome

MEANS = (
    "acc",
    "aia",
    "bwt",
    "forgetting",
    "acc_task_il",
    "acc_val",
    "data_used",
    "flops_paper",
    "flops_counted",
)


def of(job: Job, outcome: Outcome) -> dict[str, Any]:
    """One seed. Accuracies are fractions, arg-max over all classes unless the key says task_il; null where nothing is
    known: a joint run has one stage, and nothing to forget."""
    several = len(outcome.stages) > 1
    r, own = outcome.class_il, outcome.task_il
    return {
        "method": job.settings.method,
        "seed": job.seed,
        "scenario": job.settings.scenario,
        "single_head_loss": job.settings.single_head_loss,
        "learning_rate": job.settings.rate(job.settings.method),
        "acc": metrics.acc(r),
        "aia": metrics.aia(r) if several else None,
        "bwt": metrics.bwt(r) if several else None,
        "forgetting": metrics.forgetting(r) if several else None,
        "acc_task_il": metrics.acc(own),
        "forgetting_task_il": metrics.forgetting(own) if several else None,
        "acc_val": sum(each.class_il for each in outcome.val) / len(outcome.val),
        "data_used": outcome.data_used,
        "flops_paper": outcome.flops_paper,
        "flops_counted": outcome.flops_counted,
        "macs": outcome.macs,
        "density": outcome.density,
        "accuracy_class_il": r.tolist(),
        "accuracy_task_il": own.tolist(),
        "n_test": sum(len(task.y_test) for task in job.tasks),
        "steps_limit": job.steps,
        "device": outcome.device,
        "seconds": round(sum(stage.seconds for stage in outcome.stages), 3),
    }


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`of` for each seed -> means with 95 % t-intervals."""
    known = [key for key in MEANS if all(run[key] is not None for run in runs)]
    return {
        "method": runs[0]["method"],
        "mean": {key: interval([run[key] for run in runs]) for key in known},
        "seeds": list(runs),
    }
