"""Run folder -> HTML text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import metrics
from ..record import RecordError, read_json


def render(folder: Path) -> str:
    """The report of one finished run, complete in one file. Raises RecordError for files that are missing or no JSON;
    for JSON that lacks something nearly anything (record.reading)."""
    from . import plots

    results, measured = read_json(folder, "results.json"), read_json(folder, "metrics.json")
    plan = read_json(folder, "memory_plan.json")
    runs = {name: np.array(run["test_accuracy"]) for name, run in results["runs"].items()}
    names = results["class_names"]
    labels = _labels(results)
    watched = results["watched"]
    pictures = plots.images([w["values"] for w in watched]) if _is_image(watched[0]["values"]) else None
    return _page(
        "report.html.j2",
        title=folder.name,
        m=measured,
        results=results,
        plan=plan,
        board=read_json(folder, "board.json"),
        versions=read_json(folder, "versions.json"),
        config=_text(folder, "config.resolved.toml"),
        names=names,
        listed=[", ".join(each) for each in labels],
        watched=watched,
        pictures=pictures,
        columns=[_values(w["values"]) for w in watched],
        by_domain=all(task["name"] for task in results["tasks"]),
        heat=runs["replay"].tolist(),
        ram=_shares(plan["rows"]),
        accuracy_plot=_accuracy_plot(runs, labels),
        arena_plot=plots.arena(plan["steps"], plan["arena"], plan["arena_bytes"]),
    )


def accuracy_picture(folder: Path) -> str:
    """The report's first plot as an SVG file of its own, on white. Raises as `render`."""
    from . import plots

    results = read_json(folder, "results.json")
    runs = {name: np.array(run["test_accuracy"]) for name, run in results["runs"].items()}
    return plots.standalone(_accuracy_plot(runs, _labels(results)))


def _labels(results: dict[str, Any]) -> list[list[str]]:
    """What a reader knows each task by: its name, or its classes."""
    names = results["class_names"]
    return [[task["name"]] if task["name"] else [names[c] for c in task["classes"]] for task in results["tasks"]]


def _accuracy_plot(runs: dict[str, Any], classes: list[list[str]]) -> str:
    from . import plots

    return plots.accuracy(
        _ticks(classes),
        metrics.seen_accuracy(runs["replay"]).tolist(),
        metrics.seen_accuracy(runs["repeat"]).tolist(),
        metrics.seen_accuracy(runs["float"]).tolist(),
        float(runs["joint"][-1].mean()),
    )


def render_summary(folder: Path) -> str:
    """The page over several seeds of one experiment. Raises as `render`."""
    return _page("summary.html.j2", title=folder.name, s=read_json(folder, "summary.json"))


def _page(template: str, **facts: Any) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sparcl_mcu.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.0f} %"
    environment.filters["points"] = lambda value: f"{100 * value:.1f}"
    environment.filters["count"] = lambda value: f"{value:,.0f}".replace(",", "\u202f")
    return environment.get_template(template).render(**facts)


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{folder / name} cannot be read: {error}") from None


def _is_image(values: Any) -> bool:
    shape = np.shape(values)
    return len(shape) in (2, 3) and shape[0] == shape[1] >= 4 and shape[2:] in ((), (1,), (3,))


def _values(values: Any) -> str:
    """The first few values of a sample, for data that are no pictures."""
    flat = np.ravel(values)
    return ", ".join(f"{value:.4g}" for value in flat[:4]) + (", ..." if flat.size > 4 else "")


def _ticks(tasks: list[list[str]]) -> list[str]:
    """Labels under the plot: the classes each task added, or its name, as far as there is room."""
    if len(tasks) > 8:
        return ["task 0", *map(str, range(1, len(tasks)))]
    if all(len(", ".join(names)) <= 8 for names in tasks):
        added = [", ".join(names) for names in tasks]
    elif all(len(names) <= 3 and max(map(len, names)) <= 14 for names in tasks):
        added = ["\n".join(names) for names in tasks]
    else:
        return [f"task {j}" for j in range(len(tasks))]
    return [f"task {j}\n{'+ ' * (j > 0)}{names}" for j, names in enumerate(added)]


def _shares(rows: list[list[Any]]) -> list[dict[str, Any]]:
    """Contributors of RAM with their share of the largest, which sets the length of a bar."""
    largest = max(size for _, size in rows)
    return [{"what": what, "bytes": size, "share": size / largest} for what, size in rows]
