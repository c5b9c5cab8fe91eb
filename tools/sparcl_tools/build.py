"""Build the firmware of one board with PlatformIO, and say in plain words why it did not work."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sparcl_mcu.boards.catalogue import BoardFacts, find
from sparcl_mcu.errors import SparclError

from . import elf, pio

# GNU ld: region `RAM' overflowed by 1234 bytes
OVERFLOW = re.compile(r"region [`'\"](RAM|FLASH)['\"] overflowed by (\d+) bytes")
ERROR = re.compile(r"(?:^|\s)(?:fatal )?error:|^Error: |undefined reference|\*\*\* ")
FIRST_ERRORS = 5
CONTRIBUTORS = 5


class BuildError(SparclError):
    """A firmware does not compile or does not fit its board."""


def build(
    env: str,
    model_dir: Path,
    *,
    build_dir: Path | None = None,
    app: Path | None = None,
    whole_memory: bool = False,
    store: bool = False,
    floating: bool = False,
    on_line: Callable[[str], None] = lambda line: None,
) -> Path:
    """Build board `env` with the model.h and model.c of `model_dir`; returns the program, put beside them.

    build_dir: where PlatformIO keeps its objects, by default the checkout's .pio/build, so that another model
    recompiles only what depends on it. app: folder of the program's main file instead of firmware/app. Builds in one
    folder wait for each other. on_line gets every line PlatformIO says. An emulated board's linker map is put beside
    the program, too. whole_memory gives such a board all its machine has instead of what the part has that it stands
    for; it changes nothing on other boards. store: the firmware keeps what was learnt in flash, where the board has
    some for it. floating: the program may calculate with floating point, and with the FPU that the board's
    custom_sparcl_fpu_flags name; for the bench's control alone.
    Raises BoardError for an unknown board, PioError when PlatformIO is missing, BuildError otherwise: also for any
    other program that calculates with floating point.
    """
    facts = find(env)
    if whole_memory and facts.reached == "qemu":
        facts = replace(facts, ram_bytes=facts.machine_ram_bytes, flash_bytes=facts.machine_flash_bytes)
    for name in ("model.h", "model.c"):
        if not (model_dir / name).is_file():
            raise BuildError(f"{model_dir} holds no {name}; generate it with: sparcl generate")
    if facts.reached == "serial" and not pio.can_get_platform(facts.platform):
        raise BuildError(
            f"board {env!r} needs PlatformIO's platform {facts.platform!r}, which is not installed, and the registry "
            f"it comes from cannot be reached; connect once and run: pio pkg install -e {env}"
        )
    folder = (build_dir or pio.ROOT / ".pio" / "build").resolve()
    program = folder / env / ("program" if facts.reached == "native" else "program.elf")
    kept = kept_program(facts, model_dir)
    with _alone(folder):
        # What a failed build left of an earlier model must not pass for its result.
        program.unlink(missing_ok=True)
        wishes = {"WHOLE_MEMORY": whole_memory, "STORE": store, "FLOATING": floating}
        lines = _run(env, model_dir, folder, app or pio.ROOT / "firmware" / "app", wishes, on_line)
        if not program.is_file():
            raise BuildError(_why(facts, folder / env, lines))
        if facts.reached == "qemu":
            if not floating:
                _refuse_float(facts, program)
            _keep(program.with_suffix(".map"), kept.with_suffix(".map"))
        _keep(program, kept)
    return kept


def kept_program(facts: BoardFacts, model_dir: Path) -> Path:
    """Where `build` puts a board's program."""
    return model_dir / (facts.name if facts.reached == "native" else f"{facts.name}.elf")


def _keep(made: Path, kept: Path) -> None:
    part = kept.with_name(kept.name + ".part")
    shutil.copy2(made, part)
    part.replace(kept)


def _refuse_float(facts: BoardFacts, program: Path) -> None:
    """The runtime's promise, checked where an emulated core has no FPU: a float then needs the compiler's library."""
    if found := elf.soft_float(program):
        raise BuildError(
            f"the firmware of {facts.name!r} calculates with floating point: it calls {', '.join(found)}; the runtime "
            "learns in integers only. Find the float with: -Wdouble-promotion -Wfloat-conversion"
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other builds out of a build folder for a while."""
    folder.mkdir(parents=True, exist_ok=True)
    # Beside the folder: PlatformIO empties it when the project's files change, and a lock in it would be gone.
    with open(folder.with_name(f"{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(
    env: str, model_dir: Path, folder: Path, app: Path, wishes: dict[str, bool], on_line: Callable[[str], None]
) -> list[str]:
    places = {
        "SPARCL_MODEL_DIR": str(model_dir.resolve()),
        "PLATFORMIO_BUILD_DIR": str(folder),
        "PLATFORMIO_SRC_DIR": str(app),
    }
    process = subprocess.Popen(
        pio.command("run", "--project-dir", str(pio.ROOT), "--environment", env),
        env=pio.environment(**places, **{f"SPARCL_{name}": str(int(wish)) for name, wish in wishes.items()}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            on_line(lines[-1])
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        process.stdout.close()
    return lines


def _why(facts: BoardFacts, objects: Path, lines: list[str]) -> str:
    """The reason a build failed, from what was printed and what was compiled."""
    overflows = {match[1]: int(match[2]) for line in lines if (match := OVERFLOW.search(line))}
    if overflows:
        return "\n".join(_does_not_fit(facts, objects, region, over) for region, over in overflows.items())
    errors = [line for line in lines if ERROR.search(line)] or [line for line in lines if line][-FIRST_ERRORS:]
    return "\n  ".join([f"the firmware of {facts.name!r} does not build:", *errors[:FIRST_ERRORS]])


def _does_not_fit(facts: BoardFacts, objects: Path, region: str, over: int) -> str:
    available = (facts.ram_bytes if region == "RAM" else facts.flash_bytes) or 0
    found: dict[str, int] = {"stack": facts.stack_bytes} if region == "RAM" else {}
    for path in sorted(objects.rglob("*.o")):
        made = elf.sizes(path)
        found.update(made.ram if region == "RAM" else made.flash)
    largest = sorted(found.items(), key=lambda item: -item[1])[:CONTRIBUTORS]
    return (
        f"the network does not fit board {facts.name!r}: it needs {available + over} bytes of {region}, "
        f"{available} are available. Largest: {', '.join(f'{name} {size}' for name, size in largest)}. "
        "Choose a smaller network, a lower density, a smaller replay buffer or a larger board (sparcl boards)"
    )
