"""`sparcl results faults`: what the link and the store withstand, measured and written with date and commit."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import record
from .fault_runs import EPOCHS, EXAM, PARTS, RUNS, SAMPLES
from .ui import terminal


def faults(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(PARTS)}; left out: all.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """What the link and the store withstand (about 30 minutes); a part measured before stays as it was."""
    unknown = [part for part in parts or [] if part not in PARTS]
    if unknown:
        raise typer.BadParameter(f"there is no part {unknown[0]!r}; choose of {', '.join(PARTS)}")
    console = terminal()
    file = out / "faults.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    for part in parts or PARTS:
        console.print(f"[bold]{part}[/]")
        with tempfile.TemporaryDirectory() as folder:
            measured = PARTS[part](Path(folder), lambda text: console.print(f"  {text}", markup=False))
        commit = record.versions()["commit"]
        found[part] = {"date": time.strftime("%Y-%m-%d"), "commit": commit, **measured}
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n")
        (out / "faults.md").write_text(page(found))
    console.print(f"Written: {out / 'faults.md'}, faults.json", markup=False)


# What the fuzzers count, in words.
FUZZ_COUNTS = {
    "acted_on": "frames acted on",
    "refused": "refused",
    "taken": "changed commits taken up",
    "admitted": "of those learnt with",
}

_HEAD = """\
# What the link and the store withstand

Measured by `sparcl results faults`: the digits example, shortened to {samples} samples a task, {epochs} epochs and
{exam} test samples, through the link to real firmware with a store; what it must end in comes from the simulated
learner. Each row names its date and commit; all figures are in [faults.json](faults.json).

| what | measured | target | date, commit |
|---|---|---|---|
"""


def page(found: dict[str, Any]) -> str:
    """docs/results/faults.md."""
    rows = []

    def row(part: str, what: str, measured: str, target: str) -> None:
        rows.append(f"| {what} | {measured} | {target} | {found[part]['date']}, {found[part]['commit']} |\n")

    if "line" in found:
        for board in RUNS:
            m = found["line"][board]
            happened = ", ".join(f"{count:,} {name}" for name, count in m["faults"].items() if count)
            measured = (
                f"{m['different']} of {m['runs']} differ ({happened}; {m['frames_sent_again']:,} frames sent again)"
            )
            rates = dict(m["rates"])
            what = f"whole runs on {board}; {100 * rates.pop('flipped'):g} % of bytes flipped; of frames "
            what += ", ".join(f"{100 * rate:g} % {name}" for name, rate in rates.items())
            row("line", what, measured, "0 differ in their state hash")
    if "cuts" in found:
        m = found["cuts"]
        measured = f"{m['operations']:,} operations, {m['commits']} commits: {m['lost']} lost, {m['torn']} torn, "
        measured += f"{m['different']} runs ended differently"
        row("cuts", "power cut in every flash operation of a run of 3 tasks, native", measured, "0 lost, 0 torn")
    if "kills" in found:
        m = found["kills"]
        measured = f"{m['kills']} kills in {m['runs']} runs: {m['different']} runs ended differently"
        row("kills", "qemu_m4 killed at random moments, resumed", measured, "50 kills, same state hash")
    if "fuzz" in found:
        m = found["fuzz"]
        counts = {name: count for name, count in m.items() if name in FUZZ_COUNTS}
        counted = ", ".join(f"{count:,} {FUZZ_COUNTS[name]}" for name, count in counts.items())
        measured = f"{m['inputs']:,} inputs ({counted}): "
        measured += f"{m['reports']} crashes, sanitizer reports or changes by bad frames"
        row("fuzz", "the C session, states from elsewhere and failing flash, fuzzed", measured, "10,000,000 inputs, 0")
    if "soak" in found:
        m = found["soak"]
        measured = (
            f"{m['samples']:,} samples in {m['training_passes']:,} passes, replay included, "
            f"{m['samples_per_second']:,} a second on a busy computer; "
            f"accuracy {m['accuracy'][0]:.2f} at first, {m['accuracy'][-1]:.2f} at last; "
            f"memory {m['resident_kib'][0]} KiB, then at most {max(m['resident_kib'])}; "
            f"counters {'agree' if m['counters_consistent'] else 'DISAGREE'}"
        )
        row("soak", "soak, native", measured, "no leak, no stall, no collapse")
    if "efficiency" in found:
        m = found["efficiency"]
        row(
            "efficiency",
            "payload over wire, 784-byte samples",
            f"{100 * m['payload_over_wire']:.1f} %",
            "at least 90 %",
        )
        shares = ", ".join(
            f"{100 * value['share_of_line']:.0f} % with a window of {name.removeprefix('window_')}"
            for name, value in m.items()
            if name.startswith("window_")
        )
        row("efficiency", "of a line of 100 kB/s with 16 ms latency, used", shares, "the window hides it")
    if "sizes" in found:
        m = found["sizes"]
        names = {"session": "session", "replies": "reply", "frames": "frame", "CRC": "crc32"}
        link = sum(m[f"sparcl/{name}"] for name in names.values())
        parts = ", ".join(f"{what} {m[f'sparcl/{name}']:,}" for what, name in names.items())
        row("sizes", "flash of link and session, qemu_m4", f"{link:,} B ({parts})", "at most 6,144 B")
        row("sizes", "flash of checking a state from elsewhere", f"{m['sparcl/admit']} B", "")
        store = m["sparcl/store"] + m["flash_mps2"]
        row("sizes", "flash of the store, its port included", f"{store} B", "at most 3,072 B")
        row("sizes", "flash of the lock: the firmware with a key against the one without", f"{m['lock']:,} B", "")
        ram = f"{m['ram_link']} B, a frame included; {m['ram_store']} B; {m['ram_lock']} B"
        row("sizes", "RAM of link and session; of the store; of the lock", ram, "")
    return _HEAD.format(samples=SAMPLES, epochs=EPOCHS, exam=EXAM) + "".join(rows)
