"""When something happens to masks within a task (docs/numerics.md, "Schedule" and "Importance")."""

from __future__ import annotations

from dataclasses import dataclass

from .base import LearnerError

EVENTS = 10  # event i is due after i tenths of the task
LAST = EVENTS - 1  # prunes, and masks stay as they are to the end of the task
SWEEP_STEPS = 32  # steps a slice is measured for, at most


@dataclass
class Schedule:
    """One task's. length: T, presentations of samples; windows: W, slices that a sweep measures, 0 without."""

    length: int
    windows: int
    position: int = 0
    event: int = 1  # the next one; 0 is part of opening the task
    swept: int = 0  # steps of the open sweep
    sweeping: bool = False

    def __post_init__(self) -> None:
        if self.windows and self.length < EVENTS * self.windows:
            raise LearnerError(
                f"the task announces {self.length} presentations, but measuring {self.windows} slices of the sparse "
                f"layers before each event needs at least {EVENTS * self.windows}: send more ([learn] epochs, [data] "
                'samples_per_task), or measure nothing ([tdm] importance = "magnitude" or "off", no [dgm])'
            )

    @property
    def log_steps(self) -> int:
        """k: a slice is measured for 2**k steps."""
        most = min(SWEEP_STEPS, self.length // (EVENTS * self.windows)) if self.windows else 1
        return most.bit_length() - 1

    @property
    def sweep(self) -> int:
        """Steps of a whole sweep."""
        return self.windows << self.log_steps if self.windows else 0

    def open_window(self) -> tuple[int, bool, bool] | None:
        """(slice to measure in this step, is it the first step of its window, is it the last); None if none is."""
        if not self.windows or self.event > LAST or self.swept == self.sweep:
            return None
        if not self.sweeping:
            self.sweeping = self.position >= -(-self.event * self.length // EVENTS) - self.sweep
        if not self.sweeping:
            return None
        window, inside = divmod(self.swept, 1 << self.log_steps)
        return window, inside == 0, inside == (1 << self.log_steps) - 1

    def due(self, *, swept: bool = True) -> int | None:
        """The event to happen now; it then counts as done. swept: not before its sweep is over."""
        early = self.event > LAST or EVENTS * self.position < self.event * self.length
        if self.length == 0 or early or (swept and self.swept < self.sweep):
            return None
        self.event += 1
        self.swept, self.sweeping = 0, False
        return self.event - 1
