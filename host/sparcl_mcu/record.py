"""The run folder: everything one run leaves behind, readable at any moment.

A file appears under its final name only when it is whole; the two logs (events.jsonl, link.log) grow line by line.
status.json says "running", "interrupted", "failed" or "done", so a folder never passes for more than it is.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from . import whole_file
from .errors import SparclError

STATUSES = ("running", "interrupted", "failed", "done")
AGAIN = "run the experiment again"


class RecordError(SparclError):
    """A run folder cannot be made or read."""


class UnusableError(RecordError):
    """What a run left behind is damaged, or is of other data or settings: going on with it as it is cannot help."""


@dataclass(frozen=True)
class RunFolder:
    """A folder being written. As a context manager it records how the run ended."""

    path: Path

    @classmethod
    def create(cls, parent: Path, name: str) -> RunFolder:
        """Make parent/<date>_<name>, or with a number behind it when that exists. Raises RecordError."""
        stem = f"{time.strftime('%Y-%m-%d_%H%M%S')}_{name}"
        for suffix in ("", *(f"_{n}" for n in range(2, 100))):
            path = parent / (stem + suffix)
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                if path.is_dir():
                    continue
                raise RecordError(f"{parent} is not a folder; choose another with --out") from None
            except OSError as error:
                raise RecordError(f"cannot make run folder {path} ({error}); choose another with --out") from None
            folder = cls(path)
            folder._status("running")
            return folder
        raise RecordError(f"{parent} already holds 99 runs named {stem}; wait a second")

    @classmethod
    def resume(cls, path: Path) -> RunFolder:
        """A run folder that goes on where it stopped, or a new one. Raises RecordError."""
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(f"cannot make run folder {path} ({error}); choose another with --out") from None
        folder = cls(path)
        folder._status("running")
        return folder

    def write_text(self, name: str, text: str) -> Path:
        """Write a whole file; returns its path. Raises RecordError."""
        path = self.path / name
        try:
            whole_file.write(path, text.encode())
        except OSError as error:
            raise RecordError(
                f"cannot write {path} ({error.strerror or error}); free some space, or choose another folder with --out"
            ) from None
        return path

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file for people and programs. Not-a-number is refused (ValueError): it is no JSON."""
        return self.write_text(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def write_matrix(self, name: str, matrix: Sequence[Sequence[float]]) -> Path:
        """Accuracy matrix as CSV: a row a stage, a column a task."""
        header = ",".join(["after_task", *(f"task_{j}" for j in range(len(matrix[0])))])
        rows = [",".join([str(i), *(f"{value:.6f}" for value in row)]) for i, row in enumerate(matrix)]
        return self.write_text(name, "\n".join([header, *rows]) + "\n")

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to events.jsonl; on disk when this returns, so a crash loses nothing that was said."""
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **fields}, allow_nan=False)
        with open(self.path / "events.jsonl", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self._status("done")
            return
        for part in self.path.rglob("*.part"):
            part.unlink(missing_ok=True)
        if issubclass(kind, KeyboardInterrupt):
            self._ended("interrupted")
        else:
            self._ended("failed", error=f"{kind.__name__}: {error}")

    def _ended(self, status: str, **fields: str) -> None:
        """Say how a run ended that did not end well; a full disk must not hide the error that ended it."""
        with suppress(OSError):
            self.event(status, **fields)
        try:
            self._status(status, **fields)
        except RecordError:
            # A full disk has no room for a second file, but the first one's block can be written again.
            with suppress(OSError), open(self.path / "status.json", "r+", encoding="utf-8") as file:
                file.write(json.dumps({"status": status, **fields}) + "\n")
                file.truncate()

    def _status(self, status: str, **fields: Any) -> None:
        self.write_json("status.json", {"status": status, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **fields})


def status(path: Path) -> str:
    """How the run in `path` stands: one of STATUSES. Raises RecordError when it is no run folder."""
    kept = read_json(path, "status.json")
    with reading(path / "status.json"):
        found = kept["status"]
    if found not in STATUSES:
        raise RecordError(f"{path / 'status.json'} has status {found!r}; known are {', '.join(STATUSES)}")
    return str(found)


@contextmanager
def reading(path: Path, remedy: str = AGAIN) -> Iterator[None]:
    """Around what reads, reckons with or draws the content of a run's file or folder, and nothing else: whatever that
    raises is the content's fault. Raises UnusableError naming it; a SparclError says more and passes."""
    try:
        yield
    except SparclError:
        raise
    except Exception as error:  # text where a number should be, a key or a row too few: no list of these is complete
        raise UnusableError(
            f"{path} cannot be read ({type(error).__name__}: {error}): it is damaged, or was written by another "
            f"version; {remedy}"
        ) from None


def read_json(path: Path, name: str, remedy: str = AGAIN) -> Any:
    """A JSON file of a run folder. Raises RecordError naming the file."""
    file = path / name
    with reading(file, remedy):
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            hint = "" if name == "status.json" else f" (the run is {status(path)!r})"
            raise RecordError(
                f"{file} is missing{hint}; give the folder of a finished run, such as runs/DATE_NAME"
            ) from None


def versions() -> dict[str, Any]:
    """What a result depends on besides configuration and data: Python, platform, packages, commit."""
    return {
        "sparcl-mcu": importlib.metadata.version("sparcl-mcu"),
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "packages": packages(),
    }


def packages() -> dict[str, str | None]:
    """Version of each Python package this one requires here; None where it is not installed."""
    from packaging.requirements import Requirement

    found: dict[str, str | None] = {}
    for requirement in map(Requirement, importlib.metadata.requires("sparcl-mcu") or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            try:
                found[requirement.name] = importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                found[requirement.name] = None
    return found


def _commit() -> str | None:
    """Commit of the checkout this package runs from, "+" behind it when files were changed; None outside of one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
