"""Steps on the terminal: a live bar while one runs, one line when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..experiment import Progress as Report


class Steps(Protocol):
    """Where a pipeline says what it is doing."""

    @contextmanager
    def step(self, title: str) -> Iterator[Report]:
        """One step; call what it yields with (done, total) as often as wanted, or never."""


class TerminalSteps:
    """Steps on a rich console. Where that is no terminal, each step is one plain line when it ends."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, title: str) -> Iterator[Report]:
        started, title = time.monotonic(), escape(title)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            bar = progress.add_task(title, total=None)
            yield lambda done, total: progress.update(bar, completed=done, total=total)
        self.console.print(f"[green]✓[/] {title} [dim]{time.monotonic() - started:.1f} s[/]", highlight=False)
