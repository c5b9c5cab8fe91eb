"""What the tables of `sparcl results sparcl` are to show, beside what they do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ..summary import interval, spread

Rows = dict[str, Any]  # of a scenario: name -> against, runs


@dataclasses.dataclass(frozen=True)
class Target:
    """row: how its name begins. shown: of the scenario's rows and the row's name, the cell, and whether it is met."""

    what: str
    scenario: str
    row: str
    shown: Callable[[Rows, str], tuple[str, bool]]


def table(measured: dict[str, Any]) -> str:
    """A line a target; one of a scenario that was not run says so."""
    lines = ["| target | scenario | row | measured | |", "|---|---|---|---|---|"]
    for target in TARGETS:
        rows = measured.get(target.scenario, {"rows": {}})["rows"]
        name = next((name for name in rows if name.startswith(target.row)), None)
        cell, met = target.shown(rows, name) if name else ("not measured", False)
        lines.append(f"| {target.what} | {target.scenario} | {name or target.row} | {cell} | {_verdict(name, met)} |")
    return "\n".join(lines) + "\n"


def _verdict(name: str | None, met: bool) -> str:
    return "" if name is None else "met" if met else "**not met**"


def _at_least(points: float) -> Callable[[Rows, str], tuple[str, bool]]:
    """Points over the row it is paired with, judged on the mean."""

    def shown(rows: Rows, name: str) -> tuple[str, bool]:
        other = rows[rows[name]["against"]]["runs"]
        found = [a["acc"] - b["acc"] for a, b in zip(rows[name]["runs"], other, strict=True)]
        return f"{spread(found, '+.2f')} points, n {len(found)}", 100 * float(interval(found)["mean"] or 0) >= points

    return shown


def _twin(rows: Rows, name: str) -> tuple[str, bool]:
    """Within a point of the float twin, or within two standard errors of the difference."""
    found = [run["acc"] - run["acc_float"] for run in rows[name]["runs"]]
    mean = float(interval(found)["mean"] or 0)
    error = (sum((d - mean) ** 2 for d in found) / (len(found) - 1) / len(found)) ** 0.5
    return f"{spread(found, '+.2f')} points, n {len(found)}", abs(mean) <= max(0.01, 2 * error)


def _pooled(rows: Rows, _: str) -> tuple[str, bool]:
    found = [run["acc"] - run["acc_float"] for row in rows.values() for run in row["runs"] if "acc_float" in run]
    return f"{spread(found, '+.2f')} points, n {len(found)}", abs(float(interval(found)["mean"] or 0)) <= 0.005


def _times_less(key: str, least: float) -> Callable[[Rows, str], tuple[str, bool]]:
    """How many times less of something than dense DER++, the table's first row."""

    def shown(rows: Rows, name: str) -> tuple[str, bool]:
        dense, own = ([run[key] for run in row["runs"]] for row in (next(iter(rows.values())), rows[name]))
        ratio = sum(dense) / sum(own)
        return f"{ratio:.1f}x", ratio >= least

    return shown


def _targets() -> list[Target]:
    found = []
    for scenario, limits in {
        "seq_fashion_mlp": (-1.0, -2.0),
        "base_fashion_mlp": (-0.75, -1.5),
        "base_fashion_cnn": (-1.5, -3.0),
        "seq_kws": (-1.5, -3.0),
    }.items():
        for sparsity, limit in zip(("0.75", "0.90"), limits, strict=True):
            what = f"no worse than {limit:+g} against dense DER++"
            found.append(Target(what, scenario, f"SparCL {sparsity}", _at_least(limit)))
    for scenario in ("twins_fashion", "twins_kws"):
        for sparsity in ("0.75", "0.90"):
            what = "board - float twin within 1.0, or 2 standard errors"
            found.append(Target(what, scenario, f"SparCL {sparsity}", _twin))
        found.append(Target("both together within 0.5", scenario, "SparCL", _pooled))
    for scenario, kb, least in (
        ("equal_bytes", 16, 3.0),
        ("equal_bytes", 32, 1.0),
        ("equal_bytes_pooled", 8, 0.5),
        ("equal_bytes_pooled", 16, 0.5),
    ):
        what = f"at least {least:+g} against dense of equal bytes"
        found.append(Target(what, scenario, f"{kb} KB: sparse", _at_least(least)))
    for scenario, work, weights in (("base_fashion_mlp", 20.0, 6.0), ("base_fashion_cnn", None, 4.0)):
        if work:
            what = f"paper's work at least {work:g}x less"
            found.append(Target(what, scenario, "SparCL 0.95", _times_less("work_paper", work)))
        what = f"masters, masks, index and accumulators at least {weights:g}x less"
        found.append(Target(what, scenario, "SparCL 0.90", _times_less("weight_bytes", weights)))
    found.append(
        Target("paper's work at least 12x less", "seq_cifar10", "SparCL 0.95", _times_less("work_paper", 12.0))
    )
    return found


TARGETS = _targets()
