"""Several seeds of one experiment: means and paired differences with 95 % t-intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

MEANS = ("acc", "acc_without_replay", "acc_float", "acc_joint", "forgetting", "aia", "acc_val")
PAIRS = {
    "board - float twin": ("acc", "acc_float"),
    "replay - without": ("acc", "acc_without_replay"),
    "replay - joint": ("acc", "acc_joint"),
}


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """metrics.json of each seed -> summary.json; differences are taken seed by seed."""
    known = [key for key in MEANS if all(run[key] is not None for run in runs)]
    return {
        "board": runs[0]["board"],
        "mean": {key: interval([run[key] for run in runs]) for key in known},
        "paired": {name: interval([run[a] - run[b] for run in runs]) for name, (a, b) in PAIRS.items()},
        "seeds": list(runs),
    }


def interval(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, half width of its 95 % t-interval (None for one value) and number of values."""
    from scipy.stats import t  # type: ignore[import-untyped]

    n = len(values)
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else None
    return {"mean": float(np.mean(values)), "half_width": half, "n": n}


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """Fractions as a cell of a table: mean and half width of the interval in percent; empty without values."""
    if not values:
        return ""
    found = interval(values)
    mean, half = 100 * float(found["mean"] or 0), found["half_width"]
    return f"{mean:{form}}" + ("" if half is None else f" ± {100 * float(half):.2f}")


def difference(values: Sequence[float]) -> str:
    """Paired differences as a cell: in points, bold where the interval excludes 0."""
    found = interval(values) if values else {"mean": None, "half_width": None}
    sure = found["half_width"] is not None and abs(found["mean"] or 0) > found["half_width"]
    cell = spread(values, "+.2f")
    return f"**{cell}**" if sure else cell
