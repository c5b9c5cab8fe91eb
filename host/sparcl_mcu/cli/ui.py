"""Steps on the terminal: a live bar while one runs, one line when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..config import ConfigError
from ..experiment import Progress as Report
from ..network import NetworkError
from ..record import UnusableError

# A run that ended by these ends so again when it is gone on with.
DEAD_ENDS = (ConfigError, NetworkError, UnusableError)
PLAIN_SECONDS = 60.0  # between two lines about one step where no bar can be drawn


def terminal(*, stderr: bool = False) -> Console:
    """Where commands print, without what Rich makes of plain text: colours for numbers, lines broken, emoji for
    :name:."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)


class Steps(Protocol):
    """Where a pipeline says what it is doing."""

    @contextmanager
    def step(self, title: str) -> Iterator[Report]:
        """One step; call what it yields with (done, total) as often as wanted, or never."""


class TerminalSteps:
    """Steps on a rich console, with the time that is left. Where that is no terminal, each step is one plain line when
    it ends, and a long one also says every minute how far it is."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, title: str) -> Iterator[Report]:
        started, text, title = time.monotonic(), title, escape(title)
        if self.console.is_terminal:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("[dim]left[/]"),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self.console, transient=True) as progress:
                bar = progress.add_task(text, total=None)
                yield lambda done, total: progress.update(bar, completed=done, total=total)
        else:
            yield self._plain(title, started)
        self.console.print(f"[green]✓[/] {title} [dim]{time.monotonic() - started:.1f} s[/]", highlight=False)

    def _plain(self, title: str, started: float) -> Report:
        said = started

        def report(done: int, total: int) -> None:
            nonlocal said
            now = time.monotonic()
            if now - said >= PLAIN_SECONDS and done:
                said = now
                left = (now - started) * (total - done) / done
                self.console.print(f"  {title}: {done / total:.0%}, {left / 60:.0f} min left", highlight=False)

        return report
