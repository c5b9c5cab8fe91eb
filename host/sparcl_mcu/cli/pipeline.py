"""The whole road of one experiment, step by step, into a run folder.

load -> pretrain -> generate -> build -> board (with replay, without, joint) and references -> results -> report
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcl_tools import elf
from sparcl_tools.build import build, kept_program
from sparcl_tools.generate import generate, model_hash
from sparcl_tools.plan import MemoryPlan, plan

from .. import boards, experiment, journal, network_file, prepare, record, report
from ..boards import BoardError, ByteStream
from ..boards.catalogue import BoardFacts
from ..config import Config, ConfigError, load
from ..errors import SparclError
from ..experiment import Begun, Outcome, StageResult
from ..journal import Journal
from ..learners.base import LearnSettings
from ..learners.board import BoardLearner
from ..link.client import Client
from ..link.lock import key_of_environment
from ..link.log import LinkLog
from ..link.messages import RefusedError, Status
from ..network import Network
from ..record import RunFolder
from ..references import Job, References, first_disagreement
from ..results import Footprint, Outcomes, metrics_of, results_of, write_results
from .ui import Steps

FLASH = "flash.bin"  # of a board that this computer starts
LARGEST = 5  # contributors named when a network does not fit


class PipelineError(SparclError):
    """A run came to an end that must not pass for a success."""


@dataclass(frozen=True)
class Options:
    """What a run may be told besides its experiment file."""

    data_dir: Path | None = None  # where named data sets lie; None: SPARCL_DATA_DIR
    network_file: Path | None = None  # start from this network instead of pretraining one


@dataclass(frozen=True)
class Firmware:
    """Generated and, unless the board runs already, built."""

    facts: BoardFacts
    plan: MemoryPlan
    program: Path | None

    @property
    def footprint(self) -> Footprint:
        sizes = elf.sizes(self.program) if self.program else None
        return Footprint(
            ram_bytes=sizes.ram_bytes if sizes else None,
            flash_bytes=sizes.flash_bytes if sizes else None,
            replay_bytes=self.plan.replay_bytes,
        )


def run(config: Config, folder: RunFolder, steps: Steps, options: Options) -> dict[str, Any]:
    """One seed of an experiment, recorded in `folder` (entered here); returns its metrics.

    In the folder of a run that was stopped it goes on: with what is recorded, and on the board with the last sample it
    has learnt or, if it had to be switched on again, kept.
    Raises SparclError; PipelineError when board and simulation disagree, after everything has been written.
    """
    with folder:
        facts = boards.catalogue.find(config.board.name)
        folder.write_text("config.resolved.toml", config.to_toml())
        folder.write_json("versions.json", record.versions())
        folder.event("start", config_hash=config.hash, seed=config.seed, board=facts.name)
        with steps.step(f"Load {config.data.source}"):
            made = prepare.scenario(config, options.data_dir)
        data, tasks = made.data, made.tasks
        journal.begin(folder, config, data)
        known = Journal(folder)
        net = starting_network(config, made, steps, options.network_file)
        network_file.save(net, folder.path / "network.sparcl")
        prepare.check_tasks(config, net, made)  # after the file: a mistake found here must not cost the training
        firmware = make_firmware(config, facts, net, folder, steps)
        outcomes = _learn(config, net, made, firmware, folder, steps, known)
        with steps.step("Write results and report"):
            with known.reckoning():
                measured = metrics_of(config, tasks, outcomes, firmware.footprint)
                write_results(folder, measured, results_of(data, tasks, outcomes))
            folder.write_json("memory_plan.json", {"rows": firmware.plan.rows(), **firmware.plan.to_dict()})
            folder.write_json("board.json", {"name": facts.name, "title": facts.title})
            folder.write_text("report.html", report.render(folder.path))
        stage = first_disagreement(outcomes.replay, outcomes.simulated)
        if stage is not None:
            raise PipelineError(
                f"after task {stage} the state hash of board {facts.name!r} differs from the simulation's: the board "
                f"did not compute what it should. Rebuild it; if that does not help, report it with {folder.path}"
            )
        return measured


def starting_network(config: Config, made: prepare.Scenario, steps: Steps, file: Path | None) -> Network:
    """The network of `file`, or one pretrained on the base tasks."""
    if file is not None:
        net = network_file.load(file)
        net.quantise_inputs(made.data.x_test[:1])  # refuses samples of another size
        if net.classes != made.data.classes:
            raise prepare.PrepareError(
                f"{file} tells {net.classes} classes apart, but {made.data.name} has {made.data.classes}; "
                "pretrain a network on these data with: sparcl pretrain"
            )
        prepare.check_network(config, net, made.data.sample_shape)
        return net
    prepare.check_settings(config, made)
    for choice in prepare.block_choices(config, made):
        with steps.step(f"Choose the block shape of {choice}"):
            pass
    with steps.step(f"Pretrain a sparse network on {made.base_names} ({made.base_samples} samples)") as p:
        return prepare.pretrained(config, made, p)


def make_firmware(config: Config, facts: BoardFacts, net: Network, folder: RunFolder, steps: Steps) -> Firmware:
    """Generate C into the run folder, and build it unless a port says that the board runs already."""
    room, settings = prepare.room(config, net), prepare.learn_settings(config)
    _check_room(facts, plan(net, room))
    model_dir = folder.path / "generated"
    with steps.step("Generate C"):
        memory = generate(net, model_dir, room=room, settings=settings)
    if config.board.port is not None:
        return Firmware(facts, memory, None)
    with steps.step(f"Build firmware: pio run -e {facts.name}"):
        lines: list[str] = []
        try:
            program = build(facts.name, model_dir, store=config.board.commit_every > 0, on_line=lines.append)
        finally:
            folder.write_text("build.log", "\n".join(lines) + "\n")
    return Firmware(facts, memory, program)


def _check_room(facts: BoardFacts, memory: MemoryPlan) -> None:
    """Refuse what cannot fit by the plan alone; what nearly fits is the linker's to judge."""
    needed = memory.state_bytes + memory.arena_bytes + facts.stack_bytes
    if facts.ram_bytes is not None and needed > facts.ram_bytes:
        largest = ", ".join(f"{what} {size}" for what, size in memory.rows()[:LARGEST])
        raise ConfigError(
            f"the network does not fit board {facts.name!r}: it needs at least {needed} bytes of RAM, "
            f"{facts.ram_bytes} are available. Largest: {largest}. Choose a smaller network, a lower density, "
            "a smaller replay buffer or a larger board (sparcl boards)"
        )


def _learn(
    config: Config,
    net: Network,
    made: prepare.Scenario,
    firmware: Firmware,
    folder: RunFolder,
    steps: Steps,
    journal: Journal,
) -> Outcomes:
    stream = experiment.quantised(net, made.tasks, made.shipped)
    replay = prepare.learn_settings(config)
    repeat = prepare.without_replay(replay)
    epochs = config.learn.epochs

    def note(run: str, result: StageResult) -> None:
        folder.event(
            "stage",
            run=run,
            stage=result.stage,
            test_accuracy=result.test_accuracy,
            val_accuracy=result.val_accuracy,
            state_hash=result.state_hash,
            seconds=round(result.seconds, 3),
        )
        journal.stage(run, result)

    def taught(run: str, title: str, teach: Callable[..., Outcome], settings: LearnSettings) -> Outcome:
        """From the journal, from where the board is in it, or from its beginning."""
        with steps.step(title) as p:
            if (outcome := journal.outcome(run)) is None:
                position = learner.position(settings) if journal.has_begun(run) else None
                outcome = teach(
                    learner,
                    stream,
                    settings,
                    epochs=epochs,
                    on_progress=p,
                    on_stage=lambda result: note(run, result),
                    on_reset=lambda: journal.begin(run),
                    begun=Begun(position, journal.stages(run)) if position else None,
                )
                journal.end(run, outcome)
            return outcome

    with References(Job(net, stream, replay, epochs, prepare.room(config, net))) as references:
        with ExitStack() as until_learnt:
            with steps.step(f"Open board {firmware.facts.name}"):
                learner = until_learnt.enter_context(_open(config, firmware, net, folder, journal))
            title = f"Board learns {len(made.tasks) - made.shipped} tasks, with replay"
            with_replay = taught("replay", title, experiment.run, replay)
            without = taught("repeat", "The same without replay", experiment.run, repeat)
            joint = taught("joint", "The same, all tasks at once (joint)", experiment.run_joint, repeat)
        with steps.step("Float twin and simulation") as p:
            others = references.outcomes(p)
    return Outcomes(with_replay, without, joint, others["simulated"], others["float"])


def board_of(folder: Path) -> ByteStream:
    """The board that this computer started for a run, switched on again with what it has in its flash.

    Raises PipelineError when it kept nothing, and what opening a board raises."""
    settings = load(folder / "config.resolved.toml").board
    if not (folder / FLASH).is_file():
        raise PipelineError(
            f"{folder} has no {FLASH}: its board kept nothing. Set commit_every in [board] before a run, or name "
            "the port of a board that still runs with --port"
        )
    facts = boards.catalogue.find(settings.name)
    return boards.open_board(facts, kept_program(facts, folder / "generated"), flash=folder / FLASH)


@contextmanager
def _open(
    config: Config, firmware: Firmware, net: Network, folder: RunFolder, journal: Journal
) -> Iterator[BoardLearner]:
    flash = folder.path / FLASH if config.board.commit_every else None
    stream = boards.open_board(firmware.facts, firmware.program, config.board.port, flash)
    with open(folder.path / "link.log", "a", encoding="utf-8") as log:
        client = Client(stream, log=LinkLog(log), key=key_of_environment())
        try:
            expected = model_hash(net, prepare.room(config, net))
            every = config.board.commit_every
            learner = BoardLearner(client, net, expected_model_hash=expected, commit_every=every)
            if learner.hello.board != firmware.facts.name:
                raise PipelineError(
                    f"{client.name} says it is board {learner.hello.board!r}, but this run is for "
                    f"{firmware.facts.name!r}; name it with: --board {learner.hello.board}"
                )
            yield learner
        except (BoardError, RefusedError) as error:
            small = isinstance(error, RefusedError) and error.status == Status.STORE
            # No run begins without a first commit, so it was fit for that then.
            if flash is None or not journal.goes_on or not (small or str(flash.resolve()) in str(error)):
                raise
            raise record.UnusableError(
                f"{flash}, the flash of board {firmware.facts.name!r}, is damaged, the board cannot use it; put back "
                "the whole file, or delete it, and the board learns its open run again"
            ) from None
        finally:
            client.close()
