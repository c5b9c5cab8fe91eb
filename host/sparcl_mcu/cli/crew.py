"""Many boards at once: the seeds of an experiment, each learnt by whichever board is free."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..boards.stream import BoardError
from ..config import BoardConfig, Config
from ..errors import SparclError
from ..experiment import Progress as Report
from ..link.messages import LinkError
from .ui import Steps


class CrewError(SparclError):
    """What is to be shared, or over which boards, is not clear."""


@dataclass(frozen=True)
class Shared:
    """What came of it. failed: the error of each seed that did not end well."""

    measured: list[dict[str, Any]]
    failed: dict[int, str]


def crew(board: BoardConfig, boards: str | None, ports: Sequence[str]) -> list[BoardConfig]:
    """The boards that `--boards NAME:COUNT` or several `--port`s mean; else `board` alone. Raises CrewError."""
    if boards is None:
        return [replace(board, port=port) for port in ports] or [board]
    name, _, count = boards.partition(":")
    if ports or not count.isdigit() or not 1 <= int(count) <= 64:
        raise CrewError(f"--boards {boards}: give NAME:COUNT, as native:4 (1 to 64), or several times --port, not both")
    return [replace(board, name=name, port=None)] * int(count)


def share(
    configs: Sequence[Config],
    boards: Sequence[BoardConfig],
    learn: Callable[[Config, Steps], dict[str, Any]],
    console: Console,
) -> Shared:
    """`learn` every config, one seed each, on the boards. A board that fails is left out from then on while there are
    others; its seed is lost, no other. Ctrl-C stops them all."""
    free: queue.SimpleQueue[BoardConfig] = queue.SimpleQueue()
    for board in boards:
        free.put(board)
    lock, left = threading.Lock(), len(boards)
    stop, failed = threading.Event(), dict[int, str]()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())

    def one(config: Config) -> dict[str, Any] | None:
        nonlocal left
        board, fit = free.get(), True
        where = board.port or board.name
        try:
            steps = _Row(progress, f"seed {config.seed} on {where}", stop)
            return learn(replace(config, board=board), steps)
        except SparclError as error:
            with lock:
                failed[config.seed] = str(error)
                fit = left == 1 or not isinstance(error, BoardError | LinkError)
                left -= not fit
            return None
        finally:
            if fit:
                free.put(board)

    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(len(boards)) as pool:
        try:
            measured = list(pool.map(one, configs))
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return Shared([found for found in measured if found is not None], failed)


class _Row:
    """Steps as one line of a display that several seeds share."""

    def __init__(self, progress: Progress, label: str, stop: threading.Event) -> None:
        self._progress, self._label, self._stop = progress, label, stop
        self._row = progress.add_task(self._label, total=None)

    @contextmanager
    def step(self, title: str) -> Iterator[Report]:
        self._progress.update(self._row, description=f"{self._label}: {title}", completed=0, total=None)
        yield self._report

    def _report(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._progress.update(self._row, completed=done, total=total)
