"""What a run must know of itself to go on after it was stopped, in files of its folder that are whole at any moment.

begun.json: which data and which configuration it began with. progress.json: how far it has come.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np

from .config import Config
from .data import DataSet
from .experiment import Outcome, StageResult
from .record import RunFolder, UnusableError, read_json, reading

BEGUN, FILE = "begun.json", "progress.json"
REMEDY = "delete it, and the run learns again from its beginning, on the network it has; or start another run"


def begin(folder: RunFolder, config: Config, data: DataSet) -> None:
    """Note what a run begins with. Raises UnusableError when it goes on with something else: results from before and
    from now would be of different experiments."""
    file, now = folder.path / BEGUN, {"config_hash": config.hash, "data_sha256": data.checksum}
    if not file.exists():
        folder.write_json(BEGUN, now)
        return
    remedy = "start the run again"
    was = read_json(folder.path, BEGUN, remedy)
    with reading(file, remedy):
        changed = {key: was[key] != now[key] for key in now}
    what = {"config_hash": f"the configuration in {config.folder}", "data_sha256": f"data {config.data.source}"}
    if any(changed.values()):
        raise UnusableError(
            f"{folder.path} cannot go on: {' and '.join(what[key] for key in now if changed[key])} changed since it "
            "began; put back what was there, or start the run again"
        )


class Journal:
    """The runs of one run folder by name: begun or not, the stages behind them, and how they ended."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._file = folder, folder.path / FILE
        kept = read_json(folder.path, FILE, REMEDY) if self._file.exists() else {}
        with reading(self._file, REMEDY):
            self._runs: dict[str, Any] = {run: {**of, "stages": [*of["stages"]]} for run, of in kept.items()}
            for run in self._runs:
                self.stages(run), self.outcome(run)  # what cannot be understood is said here
        self.goes_on = bool(self._runs)  # runs had begun when this was read

    def reckoning(self) -> AbstractContextManager[None]:
        """Around what is computed from outcomes: where they are from before, numbers that do not fit are the file's."""
        return reading(self._file, REMEDY) if self.goes_on else nullcontext()

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
        return Outcome(self.stages(run), dict(self._runs[run]["stats"]), self._runs[run].get("resumed", False))

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
