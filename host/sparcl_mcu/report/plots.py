"""Pictures as inline SVG and PNG; the one module that imports matplotlib.

Colours are CSS variables of the page, so that pictures follow the reader's light or dark theme: matplotlib draws with
placeholder colours, which are replaced in its SVG.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PLACEHOLDERS = {
    "ink": "#010101",
    "muted": "#020202",
    "line": "#030303",
    "replay": "#040404",
    "repeat": "#050505",
    "joint": "#060606",
    "fill": "#070707",
}


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    """A bare figure (no pyplot: no global state, no display), in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_PLACEHOLDERS["line"])
    axes.tick_params(length=0, colors=_PLACEHOLDERS["muted"], labelsize=10)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    import matplotlib as mpl

    buffer = io.StringIO()
    # Text stays text: it takes the page's font and can be searched. A fixed salt makes equal pictures equal files.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(
        r'<svg[^>]*viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{title}">', text, count=1
    )
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", text)
    for name, colour in _PLACEHOLDERS.items():
        text = text.replace(colour, f"var(--{name})")
    return text.strip()


def standalone(svg: str, width: int = 640) -> str:
    """A picture of this module as a file of its own: colours filled in, on white, `width` pixels wide."""
    colours = {"ink": "#1c1d1f", "muted": "#63666b", "line": "#dcdcd4", "replay": "#1a6dae", "repeat": "#c4561b"}
    for name, colour in (colours | {"joint": "#63666b", "fill": "#d5e3ef"}).items():
        svg = svg.replace(f"var(--{name})", colour)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    root = f'<svg {names} width="{width}" '
    return svg.replace("<svg ", root + 'font-family="sans-serif" style="background: #fff" ', 1) + "\n"


def accuracy(
    tasks: Sequence[str],
    replay: Sequence[float],
    repeat: Sequence[float],
    float_twin: Sequence[float],
    joint: float,
) -> str:
    """Accuracy (fractions) on the classes seen so far after each task; joint is one level."""
    figure, axes = _figure(6.4, 3.9)
    x = np.arange(len(tasks))
    c = _PLACEHOLDERS
    axes.axhline(100 * joint, color=c["joint"], linewidth=1.6, linestyle=(0, (1, 1.6)))
    for values, colour, width in ((repeat, c["repeat"], 2.4), (replay, c["replay"], 3.0)):
        axes.plot(x, 100 * np.array(values), color=colour, linewidth=width, marker="o", markersize=6, clip_on=False)
    axes.plot(x, 100 * np.array(float_twin), color=c["ink"], linewidth=1.3, linestyle=(0, (4, 3)), clip_on=False)
    axes.set_xticks(x, tasks)
    axes.set_ylim(0, 100)
    axes.set_yticks(range(0, 101, 20), [f"{v} %" for v in range(0, 101, 20)])
    axes.grid(axis="y", color=c["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.04)
    return _svg(figure, "Accuracy on the classes seen so far, after each task")


def sparsity(
    series: dict[str, list[tuple[float, float, float]]], levels: dict[str, float], lowest: float, title: str
) -> str:
    """Accuracy over sparsity (fractions): of each series its points (sparsity, mean, half of an interval); levels go
    from side to side. Up to three of either."""
    figure, axes = _figure(6.4, 3.9)
    c = _PLACEHOLDERS
    styles = zip(("replay", "repeat", "muted"), ("-", "--", ":"), series.items(), strict=False)
    for shift, (colour, style, (name, points)) in enumerate(styles):
        x, mean, half = (np.array(column) for column in zip(*points, strict=True))
        axes.errorbar(
            x + 0.004 * (shift - 1),
            100 * mean,
            100 * half,
            color=c[colour],
            linestyle=style,
            linewidth=2.2,
            marker="o",
            markersize=5,
            capsize=3,
            label=name,
        )
    for dashes, (name, value) in zip(((1, 0), (6, 3), (1, 2)), levels.items(), strict=False):
        axes.axhline(100 * value, color=c["ink"], linewidth=1.1, linestyle=(0, dashes), label=name)
    axes.set_xlabel("sparsity", color=c["muted"])
    highest = max(*levels.values(), *(mean + half for points in series.values() for _, mean, half in points))
    axes.set_ylim(100 * lowest, min(100.0, 100 * highest + 2))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    axes.grid(axis="y", color=c["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, labelcolor=c["ink"], loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=10)
    return _svg(figure, title)


def instructions(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]], dense: Sequence[float]) -> str:
    """Instructions against density: by name the points (density, instructions); `dense`, for each, the dense layer."""
    figure, axes = _figure(6.4, 3.9)
    c = _PLACEHOLDERS
    for (name, points), level, colour in zip(curves, dense, ("replay", "ink", "repeat"), strict=True):
        x, y = np.array(points).T
        axes.plot(100 * x, y, color=c[colour], linewidth=2.4, marker="o", markersize=5)
        axes.axhline(level, color=c[colour], linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            name, (100 * x[-1], y[-1]), xytext=(6, 0), textcoords="offset points", color=c[colour], va="center"
        )
    axes.set_xlim(0, 100)
    axes.set_ylim(0, None)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value / 1000:,.0f} k")
    axes.set_xlabel("density", color=c["muted"])
    axes.grid(axis="y", color=c["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    return _svg(figure, "Instructions of a sparse layer against density, with those of the dense layer")


def arena(steps: Sequence[str], buffers: Sequence[dict[str, Any]], size: int) -> str:
    """Arena buffers as boxes: steps of one training pass to the right, bytes upwards."""
    many = len(steps) > 12
    width, height = (12.0, 7.0) if many else (7.6, 3.6)
    figure, axes = _figure(width, height)
    c = _PLACEHOLDERS
    letters_a_step = width * 72 * 0.9 / len(steps) / 4.8  # of the names inside the boxes
    for buffer in buffers:
        left, span = buffer["first"] - 0.46, buffer["last"] - buffer["first"] + 0.92
        axes.broken_barh(
            [(left, span)],
            (buffer["offset"], buffer["bytes"]),
            facecolor=c["fill"],
            edgecolor=c["replay"],
            linewidth=0.9,
        )
        fits = span * letters_a_step > len(buffer["name"]) or not many
        if fits and buffer["bytes"] >= size * 0.25 / height:
            axes.text(
                left + 0.08,
                buffer["offset"] + buffer["bytes"] / 2,
                buffer["name"],
                va="center",
                fontsize=8.5,
                color=c["ink"],
            )
    if many:
        axes.set_xticks(range(len(steps)), steps, fontsize=8.5, rotation=90)
    else:
        axes.set_xticks(range(len(steps)), [step.replace(" ", "\n") for step in steps], fontsize=8.5)
    axes.set_xlim(-0.6, len(steps) - 0.4)
    axes.set_ylim(0, size)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", "\u202f"))
    axes.set_ylabel("bytes", color=c["muted"])
    axes.grid(axis="y", color=c["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    return _svg(figure, "Arena buffers over the steps of one training pass")


def images(samples: Sequence[Any]) -> list[str]:
    """Grey (h, w) or colour (h, w, 3) samples -> PNG data URIs, all on one scale."""
    from matplotlib.image import imsave

    arrays = [np.asarray(sample, dtype=np.float64) for sample in samples]
    arrays = [array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array for array in arrays]
    low = min(float(array.min()) for array in arrays)
    high = max(float(array.max()) for array in arrays)
    uris = []
    for array in arrays:
        buffer = io.BytesIO()
        scaled = (array - low) / ((high - low) or 1.0)
        imsave(buffer, scaled, format="png", cmap="gray_r", vmin=0, vmax=1)
        uris.append("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())
    return uris
