"""When masks and data change within a task: the schedule of SparCL's release, scaled to the epochs of a task.

50 epochs: events at 0, 5, .. 45; the one at 45 only prunes, and the mask stays to the end of the task; data are
removed at 5, 10, 15 and 20.
"""

from __future__ import annotations


def interval(epochs: int) -> int:
    """Epochs between two events: a tenth of a task, at least one."""
    return max(1, round(epochs / 10))


def last_event(epochs: int) -> int:
    """Epoch of the event that only prunes; 0 when a task is too short for any event after its start."""
    step = interval(epochs)
    return 9 * epochs // 10 // step * step


def events(epochs: int) -> range:
    """Epochs before which masks change."""
    return range(0, last_event(epochs) + 1, interval(epochs))


def removals(epochs: int) -> range:
    """Epochs before which data are removed: the events after a task's start up to 40 % of it."""
    step = interval(epochs)
    return range(step, 4 * epochs // 10 + 1, step)
