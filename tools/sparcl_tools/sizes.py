"""What every part of a firmware occupies, from the linker's map, and what has grown since a report was accepted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sparcl_mcu.errors import SparclError

from . import elf

# Growth that has to be accepted: more than both.
SHARE, BYTES = 0.05, 64

FLASH, RAM = {".text", ".ARM.exidx", ".data"}, {".data", ".bss"}
CONTENTS = "Linker script and memory map"
OUTPUT = re.compile(r"(\.\S+)(?:\s|$)")
SECTION = re.compile(r" (\.\S+)")  # of an object file; a long name stands in a line of its own
INPUT = re.compile(r" (?:[.\w$-]\S*)?\s*0x[0-9a-f]+\s+0x([0-9a-f]+) (\S.*)")
MEMBER = re.compile(r".*/lib(\w+)\.a\((.+?)(?:\.c)?\.o(?:bj)?\)")

# The code that learns, by object. The rest of the runtime is the host's link, the store and the hash of the state.
RUNTIME, MODEL_CODE = "sparcl/", "model code"
LEARNING = {
    "kernels": {"add", "batch", "conv2d", "dense", "depthwise", "numerics", "output", "paired", "pool", "scale"},
    "loss": {"error_sum", "softmax_ce"},
    "replay": {"replay"},
    "learner": {
        "event",
        "ewc",
        "grda",
        "ids",
        "importance",
        "learner",
        "lightcl",
        "mask",
        "pass",
        "removal",
        "schedule",
    },
}
NOT_LEARNING = {
    "admit",
    "crc32",
    "error",
    "frame",
    "help",
    "lock",
    "matrix",
    "query",
    "reply",
    "session",
    "siphash",
    "store",
}


class SizesError(SparclError):
    """A linker map or a size report cannot be read."""


@dataclass(frozen=True)
class Usage:
    """Bytes of one object file. code: functions, constants and initial values, in flash. ram: static data."""

    code: int
    ram: int


@dataclass(frozen=True)
class Firmware:
    """One build. stack: the most its stack held, by painted high-water mark. objects: what was linked, by name."""

    compiler: str
    stack: int
    objects: dict[str, Usage]

    @property
    def total(self) -> Usage:
        return Usage(sum(o.code for o in self.objects.values()), sum(o.ram for o in self.objects.values()))

    @property
    def trainer(self) -> dict[str, int]:
        """Bytes of code that learning takes, by the parts of LEARNING and the model's functions."""
        parts = {
            part: sum(usage.code for name, usage in self.objects.items() if name.removeprefix(RUNTIME) in names)
            for part, names in LEARNING.items()
        }
        return parts | {MODEL_CODE: self.objects[MODEL_CODE].code}


Report = Mapping[str, Firmware]  # by "NETWORK on BOARD"


@dataclass(frozen=True)
class Growth:
    """One figure of a report that is larger than it was."""

    firmware: str
    part: str
    what: str
    before: int
    after: int


def by_object(program: Path) -> dict[str, Usage]:
    """Bytes of each object file in a program built by `build`, by its name; alignment is nobody's.

    The runtime's are `sparcl/NAME`; the C library and the compiler's are one each; functions of the model are `model
    code`, apart from its constants. Raises SizesError.
    """
    path = program.with_suffix(".map")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SizesError(f"{path} cannot be read ({error}); build the program again with: sparcl build") from None
    if CONTENTS not in text:
        raise SizesError(f"{path} is no map of GNU ld; build the program again with: sparcl build")
    code: dict[str, int] = {}
    ram: dict[str, int] = {}
    section = part = ""
    for line in text.split(CONTENTS, 1)[1].splitlines():
        if match := OUTPUT.match(line):
            section = match[1]
            continue
        if match := SECTION.match(line):
            part = match[1]
        if match := INPUT.match(line):
            name, size = _object_name(match[2]), int(match[1], 16)
            if name == "model" and part.startswith(".text"):
                name = MODEL_CODE
            for sections, of in ((FLASH, code), (RAM, ram)):
                if section in sections and size:
                    of[name] = of.get(name, 0) + size
    return {name: Usage(code.get(name, 0), ram.get(name, 0)) for name in sorted({*code, *ram})}


def _object_name(path: str) -> str:
    if member := MEMBER.fullmatch(path):
        library = member[1].removesuffix("_nano")
        return f"lib{library}" if library in ("c", "gcc") else f"{library}/{member[2]}"
    return Path(path).stem


def measure(program: Path, stack: int) -> Firmware:
    """The figures of a program built by `build`; `stack` is what it reported after it had run."""
    return Firmware(elf.compiler(program), stack, by_object(program))


def grown(before: Report, after: Report) -> list[Growth]:
    """Every figure that grew by more than SHARE and BYTES, or that is new and larger than BYTES."""
    return [g for g in _figures(before, after) if g.after - g.before > max(BYTES, SHARE * g.before)]


def _figures(before: Report, after: Report) -> Iterator[Growth]:
    none = Firmware("", 0, {})
    for name, new in after.items():
        old = before.get(name, none)
        yield Growth(name, "all", "stack", old.stack, new.stack)
        for part, now in {"all": new.total, **new.objects}.items():
            was = old.total if part == "all" else old.objects.get(part, Usage(0, 0))
            yield Growth(name, part, "code", was.code, now.code)
            yield Growth(name, part, "ram", was.ram, now.ram)


def growth_table(growth: list[Growth]) -> str:
    """Lines for a person to read."""
    rows = [("firmware", "object", "what", "before", "after")]
    rows += [(g.firmware, g.part, g.what, str(g.before), str(g.after)) for g in growth]
    return _table(rows)


def report_table(report: Report) -> str:
    """Lines for a person to read."""
    rows = []
    for name, firmware in report.items():
        rows.append((name, "code", "ram", f"stack {firmware.stack}"))
        parts = {**firmware.objects, "all": firmware.total}
        rows += [(f"  {part}", str(usage.code), str(usage.ram), "") for part, usage in parts.items()]
    return _table(rows)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(w) if cell.isdigit() else cell.ljust(w) for cell, w in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def save(report: Report, path: Path) -> None:
    """Write a report as JSON, so that a change of one figure is a change of one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {name: asdict(firmware) for name, firmware in report.items()}
    text = json.dumps(content, indent=2)
    flat = re.sub(r'\{\s+"code": (\d+),\s+"ram": (\d+)\s+\}', r'{"code": \1, "ram": \2}', text)
    path.write_text(flat + "\n", encoding="ascii")


def load(path: Path) -> Report:
    """Read what `save` wrote. Raises SizesError."""
    try:
        content = json.loads(path.read_text(encoding="ascii"))
        return {
            name: Firmware(f["compiler"], f["stack"], {o: Usage(**usage) for o, usage in f["objects"].items()})
            for name, f in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SizesError(f"{path} is no size report ({error}); make one with: make sizes") from None
