"""The fuzzers of tests/fuzz, built by clang with AddressSanitizer and UBSan and driven by its libFuzzer."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..design import mlp
from ..errors import SparclError
from ..learners.base import LearnSettings, Room
from .fault_runs import untrained

TARGETS = ("session", "store")
LONGEST = 96  # bytes an input, the most of any that is kept
PACKAGES = "on Debian: sudo apt-get install clang libclang-rt-14-dev"


class FuzzError(SparclError):
    """A fuzzer cannot be built."""


@dataclass(frozen=True)
class Fuzzed:
    """inputs run; counts: what the fuzzer counted, by name; report: of what it found, "" if nothing."""

    inputs: int
    counts: dict[str, int]
    report: str


def folders(target: str) -> list[Path]:
    """Inputs that are kept: those that together reach everything reached so far, and those that found something."""
    from sparcl_tools.pio import ROOT

    return [ROOT / "tests" / "fuzz" / kind / target for kind in ("corpus", "regressions")]


def build(target: str, folder: Path) -> Path:
    """tests/fuzz/TARGET_fuzz.c before a learner with room for everything. Raises FuzzError."""
    from sparcl_tools.generate import generate
    from sparcl_tools.pio import ROOT

    if not shutil.which("clang"):
        raise FuzzError(f"clang is not installed; {PACKAGES}")
    room = Room(replay=5, logits=True, tdm=True, inter=6000, dgm=True, slice=32, ddr=40)
    generate(untrained(mlp((12,), 5, (8, 8), 0.5)), folder / "model", room=room, settings=LearnSettings())
    runtime, tests = ROOT / "firmware" / "lib" / "sparcl", ROOT / "tests" / "fuzz"
    includes = [f"-I{path}" for path in (runtime / "include", folder / "model")]
    sources = [tests / f"{target}_fuzz.c", folder / "model" / "model.c", *runtime.rglob("*.c")]
    # Without trace-cmp, which finds the constants of comparisons and takes half of the time: inputs are made of
    # what frames hold, lengths and codes right already.
    watched = ["-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-coverage=trace-cmp"]
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", *watched, "-fno-sanitize-recover=all", *includes]
    program = folder / f"{target}_fuzz"
    command = ["clang", *flags, *map(str, sources), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        hint = f"; {PACKAGES}" if "libclang_rt" in done.stderr else ""
        raise FuzzError(f"the fuzzer does not compile{hint}:\n{done.stderr.strip()}")
    return program


def run(program: Path, target: str, inputs: int) -> Fuzzed:
    """Every input that is kept, then new ones made of them: `inputs` in all, the same ones each time. New ones that
    reach more, and those that find something, go into a folder beside the program."""
    new = program.with_name(f"{target}_new")
    new.mkdir(exist_ok=True)
    how = [f"-runs={inputs}", "-seed=1", f"-max_len={LONGEST}", f"-artifact_prefix={new}/"]
    command = [str(part) for part in (program, *how, new, *folders(target))]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    ran = re.search(r"Done (\d+) runs", done.stderr)
    counts = {name: int(count) for name, count in re.findall(r"(\w+) (\d+)", done.stdout)}
    # What libFuzzer says while it works begins with #.
    report = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("#"))
    return Fuzzed(int(ran[1]) if ran else 0, counts, report if done.returncode else "")
