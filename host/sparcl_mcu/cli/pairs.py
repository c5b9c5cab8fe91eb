"""Board against float twin over paired seeds: the same network, order and draws in both.

Two seeds run at once, each in a process of its own. A finished seed is kept in a file, so that an interrupted command
goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from ..config import Config


def pairs(
    config: Config, seeds: Iterable[int], data_dir: Path | None, kept: Path, console: Console
) -> list[dict[str, Any]]:
    """One dictionary a seed, in order: seed, config_hash, acc and acc_val of the board and, `_float`, of the twin."""
    wanted = [dataclasses.replace(config, seed=seed) for seed in seeds]
    kept.mkdir(parents=True, exist_ok=True)
    started, missing = time.monotonic(), [c for c in wanted if not _file(kept, c).exists()]
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_pair, c, data_dir, kept) for c in missing]
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            left = (time.monotonic() - started) / done * (len(missing) - done)
            console.print(f"  {config.name}: {done} of {len(missing)} seeds, {left / 60:.0f} min left", highlight=False)
    return [json.loads(_file(kept, c).read_text()) for c in wanted]


def _file(kept: Path, config: Config) -> Path:
    return kept / f"{config.name}_{config.hash[:12]}_{config.seed}.json"


def _pair(config: Config, data_dir: Path | None, kept: Path) -> None:
    from sparcl_tools.build import build
    from sparcl_tools.generate import generate, model_hash

    from .. import boards, experiment, metrics, prepare, record
    from ..learners.board import BoardLearner
    from ..learners.float_twin import FloatTwin
    from ..link.client import Client

    def quiet(done: int, total: int) -> None:
        pass

    made = prepare.scenario(config, data_dir)
    net = prepare.pretrained(config, made, quiet)
    stream, learn = experiment.quantised(net, made.tasks, made.shipped), config.learn
    room = prepare.room(config, net)
    settings = prepare.learn_settings(config)
    model_dir = kept / "models" / f"{config.name}_{config.seed}"
    generate(net, model_dir, room=room, settings=settings)
    facts = boards.catalogue.find(config.board.name)
    client = Client(boards.open_board(facts, build(facts.name, model_dir)), timeout=60.0)
    try:
        board = BoardLearner(client, net, expected_model_hash=model_hash(net, room))
        on_board = experiment.run(board, stream, settings, epochs=learn.epochs, on_progress=quiet)
    finally:
        client.close()
    twin = FloatTwin(net, room)
    in_float = experiment.run(twin, stream, settings, epochs=learn.epochs, on_progress=quiet)
    result = {
        "seed": config.seed,
        "commit": record.versions()["commit"],
        "config_hash": config.hash,
        "acc": metrics.acc(on_board.accuracy),
        "acc_float": metrics.acc(in_float.accuracy),
        "acc_val": metrics.acc(on_board.val_accuracy),
        "acc_val_float": metrics.acc(in_float.val_accuracy),
        "forgetting": metrics.forgetting(on_board.accuracy),
        "state_hash": on_board.stages[-1].state_hash,
    }
    file = _file(kept, config)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(result))
    part.replace(file)
