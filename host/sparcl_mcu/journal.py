"""What a run must know of itself to go on after it was stopped: progress.json in its folder, whole at any moment."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from .experiment import Outcome, StageResult
from .record import RunFolder, read_json

FILE = "progress.json"


class Journal:
    """The runs of one run folder by name: begun or not, the stages behind them, and how they ended."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._runs: dict[str, Any] = read_json(folder.path, FILE) if (folder.path / FILE).exists() else {}

    def begin(self, run: str) -> None:
        """The learner was reset: what was known of this run before is void."""
        self._runs[run] = {"stages": [], "stats": None}
        self._save()

    def stage(self, run: str, result: StageResult) -> None:
        """A stage is over."""
        kept = asdict(result) | {"predictions": [labels.tolist() for labels in result.predictions]}
        self._runs[run]["stages"].append(kept)
        self._save()

    def end(self, run: str, outcome: Outcome) -> None:
        """The run is over."""
        self._runs[run] |= {"stats": outcome.stats, "resumed": outcome.resumed}
        self._save()

    def has_begun(self, run: str) -> bool:
        """Whether the learner was reset for this run."""
        return run in self._runs

    def stages(self, run: str) -> tuple[StageResult, ...]:
        """The stages behind a run that has begun."""
        return tuple(_result(kept) for kept in self._runs[run]["stages"])

    def outcome(self, run: str) -> Outcome | None:
        """Of a run that is over."""
        if run not in self._runs or self._runs[run]["stats"] is None:
            return None
        return Outcome(self.stages(run), self._runs[run]["stats"], self._runs[run]["resumed"])

    def _save(self) -> None:
        self._folder.write_json(FILE, self._runs)


def _result(kept: dict[str, Any]) -> StageResult:
    return StageResult(
        stage=kept["stage"],
        test_accuracy=tuple(kept["test_accuracy"]),
        val_accuracy=tuple(kept["val_accuracy"]),
        predictions=tuple(np.array(labels, np.uint8) for labels in kept["predictions"]),
        state_hash=kept["state_hash"],
        seconds=kept["seconds"],
        task_il=tuple(kept["task_il"]),
    )
