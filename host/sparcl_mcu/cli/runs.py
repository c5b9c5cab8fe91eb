"""Many runs of many configurations, on native or emulated boards or in the float reference: two at a time, each kept
in a file when it ends.

An interrupted command goes on where it stopped. With `twin`, the float twin learns the same stream beside the board.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import current_process, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console

from ..block_choice import AUTO
from ..config import Config
from ..data.catalogue import is_path

if TYPE_CHECKING:
    from ..experiment import Outcome
    from ..network import Network
    from ..prepare import Scenario


@dataclasses.dataclass(frozen=True)
class Run:
    """One seed of one configuration. control: "naive", without replay, or "joint", all tasks at once: the bounds.
    validation: every accuracy is that of validation samples, the test part is not looked at. exam: so many samples of
    a task at most, drawn at random, the same for every seed; None: all. With 0 nothing is classified and no accuracy
    found, where only what learning costs is asked."""

    config: Config
    twin: bool = True
    control: str = ""
    validation: bool = False
    exam: int | None = None

    def file(self, kept: Path) -> Path:
        """Where the outcome is kept; a board's is also that of a run with its twin."""
        name = f"{self.config.name}_{self.config.hash[:12]}_{self.config.seed}" + ("_" + self.control).rstrip("_")
        name += "_val" * self.validation + ("" if self.exam is None else f"_exam{self.exam}")
        if is_path(source := self.config.data.source) and (file := self.config.folder / source).exists():
            name += f"_{zlib.crc32(file.read_bytes()):08x}"  # such data may change under their name
        with_twin = kept / f"{name}.json"
        return with_twin if self.twin or with_twin.exists() else kept / f"{name}_board.json"

    def outcome(self, data_dir: Path | None, kept: Path) -> dict[str, Any]:
        return measure(self, data_dir, kept)


class Measurable(Protocol):
    """What `run_all` runs: one seed, which another process can be sent."""

    @property
    def config(self) -> Config: ...

    def file(self, kept: Path) -> Path: ...

    def outcome(self, data_dir: Path | None, kept: Path) -> dict[str, Any]: ...


def seeds(
    config: Config, wanted: Iterable[int], *, twin: bool = True, control: str = "", exam: int | None = None
) -> list[Run]:
    """A run for each seed."""
    return [Run(dataclasses.replace(config, seed=seed), twin, control, exam=exam) for seed in wanted]


def run_all(runs: Sequence[Measurable], data_dir: Path | None, kept: Path, console: Console) -> list[dict[str, Any]]:
    """The outcome of every run, in order. Prints progress with the time left."""
    kept.mkdir(parents=True, exist_ok=True)
    missing = [run for run in runs if not run.file(kept).exists()]
    started = time.monotonic()
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_keep, run, data_dir, kept): run for run in missing}
        for done, future in enumerate(as_completed(futures), 1):
            try:
                future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            config, left = futures[future].config, (time.monotonic() - started) / done * (len(missing) - done)
            console.print(
                f"  {done} of {len(missing)} runs ({config.name}, seed {config.seed}), {left / 60:.0f} min left",
                highlight=False,
            )
    return [json.loads(run.file(kept).read_text()) for run in runs]


def _keep(run: Measurable, data_dir: Path | None, kept: Path) -> None:
    file = run.file(kept)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(run.outcome(data_dir, kept)))
    part.replace(file)


def pretrained(config: Config, made: Scenario, folder: Path) -> Network:
    """The network a run starts from; kept, because the rows of a table often start from the same."""
    from .. import network_file, prepare

    content = config.canonical()
    start = [config.name, config.seed, made.data.checksum, *(content[part] for part in ("data", "network", "pretrain"))]
    start += [config.board.name] if config.network.block == AUTO else []
    file = folder / f"{_digest(start)}.sparcl"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for of_pruning_or_later in ("density", "block", "profile", "mask", "pruned", "freeze_until"):
            content["network"].pop(of_pruning_or_later, None)
        del content["pretrain"]["fine_tune_epochs"]
        dense = folder / f"{_digest(start)}.dense"
        mine = file.with_suffix(f".{os.getpid()}")  # two runs may want the same network at once
        network_file.save(prepare.pretrained(config, made, lambda *_: None, dense), mine)
        mine.replace(file)
    return network_file.load(file)


def _digest(facts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def measure(run: Run, data_dir: Path | None, kept: Path) -> dict[str, Any]:
    """seed, commit, config_hash; the board's state_hash, work and, after an exam, acc, aia, bwt, forgetting,
    task_il; memory in bytes; of gRDA pruned, the share of its weights that are 0; of an emulated board ram_bytes and
    flash_bytes of its firmware; acc_float and task_il_float of the twin."""
    from sparcl_tools import elf
    from sparcl_tools.build import build
    from sparcl_tools.generate import generate, model_hash

    from .. import boards, experiment, metrics, prepare, record, work
    from ..learners.board import BoardLearner
    from ..learners.float_twin import FloatTwin
    from ..link.client import Client

    def quiet(done: int, total: int) -> None:
        pass

    config = run.config
    made = prepare.scenario(config, data_dir)
    net = pretrained(config, made, kept / "networks")
    room, settings = prepare.room(config, net), prepare.learn_settings(config)
    prepare.check_tasks(config, net, made)
    stream, epochs = experiment.quantised(net, made.tasks, made.shipped), config.learn.epochs
    asked = stream.val if run.validation else stream.test
    asked = tuple(part.some(run.exam) for part in asked) if run.exam != 0 else ()
    stream = dataclasses.replace(stream, test=asked, val=())
    model_dir = kept / "models" / run.file(kept).stem
    memory = generate(net, model_dir, room=room, settings=settings)
    facts = boards.catalogue.find(config.board.name)
    objects = kept / "objects" / current_process().name  # builds in one folder wait for each other
    program = build(facts.name, model_dir, build_dir=objects, whole_memory=True)
    client = Client(boards.open_board(facts, program), timeout=60.0)
    try:
        board = BoardLearner(client, net, expected_model_hash=model_hash(net, room))
        if run.control:
            settings = prepare.without_replay(settings)
        teach = experiment.run_joint if run.control == "joint" else experiment.run
        on_board = teach(board, stream, settings, epochs=epochs, on_progress=quiet)
        learnt = client.read_state() if room.prune else b""
    finally:
        client.close()
    last, presented = on_board.stages[-1], sum(len(part) for part in stream.train[stream.shipped :]) * epochs
    found: dict[str, Any] = {
        "seed": config.seed,
        "commit": record.versions()["commit"],
        "config_hash": config.hash,
        "data_checksum": made.data.checksum,
        "state_hash": last.state_hash,
        "data_used": 1.0 if run.control else on_board.stats["steps"] / presented,
        "layers": work.layers(net),
        "presented": presented,
        "stats": on_board.stats,
        "state_bytes": memory.state_bytes,
        "arena_bytes": memory.arena_bytes,
        "replay_bytes": memory.replay_bytes,
        "weight_bytes": memory.weight_bytes,
    }
    if asked:
        found |= {
            "acc": metrics.acc(on_board.accuracy),
            "task_il": _task_il(on_board),
            "aia": metrics.aia(on_board.accuracy),
            "bwt": metrics.bwt(on_board.accuracy),
            "forgetting": metrics.forgetting(on_board.accuracy),
        }
    if working := [field for field in memory.state if field.name.endswith("_working")]:
        zeros = sum(learnt[field.offset :][: field.bytes].count(0) for field in working)
        found["pruned"] = zeros / sum(field.bytes for field in working)
    if facts.reached == "qemu":
        made_of = elf.sizes(program)
        found |= {"ram_bytes": made_of.ram_bytes, "flash_bytes": made_of.flash_bytes}
    if run.twin:
        twin = experiment.run(FloatTwin(net, room), stream, settings, epochs=epochs, on_progress=quiet)
        found["acc_float"] = metrics.acc(twin.accuracy)
        found["task_il_float"] = _task_il(twin)
    return found


def _task_il(outcome: Outcome) -> float | None:
    """Mean over tasks after the last; None where every task has all classes."""
    last = outcome.stages[-1]
    return sum(last.task_il) / len(last.task_il) if last.task_il else None
