"""Inputs and expected results of the on-target tests, made by the NumPy side at build time as vectors.h.

Nothing is checked in, so C and NumPy cannot part unnoticed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sparcl_mcu import network_file, prepare
from sparcl_mcu import numerics as nx
from sparcl_mcu.config import load
from sparcl_mcu.learners.base import TaskInfo
from sparcl_mcu.learners.simulated import SimulatedLearner

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits"
TASKS, SAMPLES = 2, 40  # samples a task; 40 closes one window of the sticky exponents

INT32 = (-(2**31), -(2**31) + 1, -65537, -3, -2, -1, 0, 1, 2, 3, 127, 128, 65535, 2**30, 2**31 - 1)
SHIFTS = (-40, -31, -5, 0, 1, 2, 7, 16, 30, 31, 32, 40)
WORDS = (0, 1, 2, 41, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def write(path: Path) -> None:
    """Write vectors.h; left alone when nothing changed, so that nothing is compiled again."""
    text = render()
    if not path.is_file() or path.read_text(encoding="ascii") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


def render() -> str:
    """The whole header."""
    hashes = [(s, t, w, w ^ 5, s, nx.hash32(s, t, w, w ^ 5, s)) for s in WORDS for t in (1, 2) for w in WORDS]
    crc = bytes(range(256))
    return "\n".join(
        [
            "/* Made by tests/target/vectors.py; do not edit. */",
            "#include <stdint.h>",
            _rows("struct { int32_t v; int shift; int32_t expected; } rsr_cases", _rsr_cases()),
            _rows(
                "struct { int32_t v, limit, expected; } sat_cases",
                [(_c(v), limit, int(nx.sat(np.int64(v), limit))) for v in INT32 for limit in (0, 127, 32767)],
            ),
            _rows("struct { uint32_t a[5], expected; } hash_cases", [(_braces(row[:5]), row[5]) for row in hashes]),
            _rows(
                "struct { uint32_t hash, n, expected; } pick_cases",
                [(h, n, nx.pick(h, n)) for h in WORDS for n in (1, 2, 100, 65535, 0xFFFFFFFF)],
            ),
            _rows(
                "struct { uint32_t n, expected; } crc_cases", [(n, zlib.crc32(crc[:n])) for n in (0, 1, 9, 255, 256)]
            ),
            _learning(),
            "",
        ]
    )


def _rsr_cases() -> Iterable[tuple[object, ...]]:
    return [(_c(v), shift, _c(int(nx.rsr(v, shift)))) for v in INT32 for shift in SHIFTS]


def _learning() -> str:
    """Random samples for the example's network, and what the simulated learner makes of them."""
    net = network_file.load(EXAMPLE / "network.sparcl")
    config = load(EXAMPLE / "experiment.toml")
    rng = np.random.default_rng(2026)
    x = rng.integers(-127, 128, (TASKS * SAMPLES, net.inputs)).astype(np.int8)
    y = rng.integers(0, net.classes, len(x)).astype(np.uint8)
    learner = SimulatedLearner(net, prepare.room(config, net))
    learner.reset(prepare.learn_settings(config))
    hashes = [learner.state_hash()]
    for task in range(TASKS):
        part = slice(task * SAMPLES, (task + 1) * SAMPLES)
        learner.begin_task(TaskInfo(tuple(range(net.classes))))
        learner.observe(x[part], y[part])
        learner.end_task()
        hashes.append(learner.state_hash())
    return "\n".join(
        [
            f"#define TASKS {TASKS}",
            f"#define SAMPLES {SAMPLES} /* a task */",
            _rows(f"int8_t sample_x[{len(x)}][{net.inputs}]", [[_braces(row)] for row in x], nested=False),
            _rows(f"uint8_t sample_y[{len(y)}]", [[v] for v in y], nested=False),
            _rows(f"uint8_t predicted[{len(y)}]", [[v] for v in learner.predict(x)], nested=False),
            _rows("uint32_t state_hashes[TASKS + 1]", [[v] for v in hashes], nested=False),
        ]
    )


def _rows(declaration: str, rows: Iterable[Iterable[object]], *, nested: bool = True) -> str:
    what, _, name = declaration.rpartition(" ")
    if nested:
        name += "[]"
    lines = ["    " + (_braces(row) if nested else ", ".join(map(str, row))) + "," for row in rows]
    return "\n".join([f"static const {what} {name} = {{", *lines, "};"])


def _braces(values: Iterable[object]) -> str:
    return "{" + ", ".join(map(_c, values)) + "}"


def _c(value: object) -> str:
    """A C constant: C has no literal for the smallest int32, and one above 2^31 is unsigned."""
    if not isinstance(value, (int, np.integer)):
        return str(value)
    if value == -(2**31):
        return "INT32_MIN"
    return f"{value}u" if value > 2**31 - 1 else str(value)
