"""One streamed sample, as docs/numerics.md ("One step") orders it; shared by the learners that run on the host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import size
from ..network import Network
from ..numerics import Stream
from . import ids
from .base import Inputs, Labels, LearnerError, LearnSettings, Numbers, Replay, Room, TaskInfo
from .masks import Masks, SparseLayer
from .removal import Removal
from .replay import ReplayBuffer
from .schedule import Schedule


@dataclass(frozen=True)
class Lesson:
    """What one pass learns from a sample: cross entropy to `label`, or DER's distance to `logits`."""

    x: NDArray[Any]  # as the replay buffer keeps it
    label: int
    classes: NDArray[np.bool_] | None = None  # of the cross entropy; None: all
    logits: NDArray[Any] | None = None  # as the replay buffer keeps them
    alpha_shift: int = 0  # the distance to them weighs 2**-alpha_shift
    rate_shift: int = 0  # the learning rate is this many bits lower
    margin: int = 0  # > 0: nothing is learnt when the label wins by so much
    anchor: int | None = None  # LightCL: what a new sample becomes in place of being learnt, or a drawn one is held to
    offered: bool = False  # IDS decides on it


@dataclass(frozen=True)
class Slice:
    """What an importance pass measures: some stored blocks of one sparse layer, into accumulator 0 or 1."""

    layer: SparseLayer
    blocks: NDArray[np.bool_]  # (groups, columns)
    accumulator: int


class StepLearner(ABC):
    """Tasks, replay, masks and counters around passes that a subclass provides."""

    masks: Masks
    sample_type: type[np.generic]  # in the replay buffer

    def __init__(self, network: Network, room: Room) -> None:
        self.network = network
        self.room = room
        self.entry = room.entry(network.graph)  # the tensor that training passes start at
        self.below, self.above = network.graph.split(self.entry)
        self.macs_below = sum(network.macs(node) for node in self.below if node.weighted)
        self.reset(LearnSettings())

    def reset(self, settings: LearnSettings) -> None:
        self.room.check(settings)
        self.settings = settings
        self.step = 0
        self.tasks_begun = 0
        self.task: TaskInfo | None = None
        self.task_classes = np.zeros(self.network.classes, dtype=np.bool_)
        self.remembered = False
        self.epoch = 0
        values = size(self.network.graph.shapes[self.entry])
        anchors = settings.replay is Replay.LIGHTCL
        self.replay = ReplayBuffer(self.room.replay, values, self.network.classes, self.sample_type, anchors)
        self.removal = Removal(self.room.ddr)
        self.schedule = Schedule(0, 0)
        self.gathered = 0
        self.work = dict.fromkeys(
            (
                *("training_passes", "backward_passes", "skipped", "events", "removed"),
                *("macs_forward", "macs_input_grad", "macs_weight_grad", "macs_importance"),
            ),
            0,
        )
        self.masks = Masks(self.network, self.room, settings)
        self.threshold = ids.Threshold(self.room.ids)
        self._load()

    def remember(self, x: Inputs, y: Labels) -> None:
        if self.task:
            raise LearnerError("samples are remembered before a task opens or after it ended")
        self._check_labels(y)
        for sample, label in zip(x, y, strict=True):
            at = self._enter(sample)
            if self.replay.anchors:
                self._look(at)
            if self.settings.replay is Replay.EWC:
                self._need(Lesson(at, int(label)))
            self.replay.insert(at, int(label), self._logits(at), self.settings.seed)
            self.remembered = True

    def begin_task(self, task: TaskInfo) -> None:
        if self.task:
            raise LearnerError("a task is open already; end it first")
        self._check_classes(task.classes)
        self.schedule = schedule_of(task, self.settings, self.room, self.masks.windows)
        if self.settings.ddr_fraction:
            self.removal.begin(task.samples, task.epochs, self.settings.ddr_fraction)
        self.task = task
        self.task_classes = np.isin(np.arange(self.network.classes), task.classes)
        self.tasks_begun += 1
        self.epoch = 0
        if self.schedule.length:
            self._event(0)

    def end_task(self) -> None:
        if not self.task:
            raise LearnerError("no task is open; begin one first")
        self._apply_batch()
        if self.settings.replay is Replay.EWC:
            self._hold()
        self.task = None

    def end_epoch(self) -> None:
        if not self.task:
            raise LearnerError("no task is open; begin one first")
        self.epoch += 1
        if self.settings.ddr_fraction:
            before = self.removal.removed
            self.removal.end_epoch(self.epoch, self.settings.seed, self.step)
            self.work["removed"] += self.removal.removed - before
        self.schedule.position = self.epoch * self.task.samples
        while (event := self.schedule.due(swept=False)) is not None:
            self._event(event)

    def wanted(self) -> NDArray[np.bool_]:
        if not self.task:
            raise LearnerError("no task is open; begin one first")
        if not self.settings.ddr_fraction:
            return np.ones(self.task.samples, dtype=np.bool_)
        return self.removal.alive[: self.task.samples].copy()

    def observe(self, x: Inputs, y: Labels, numbers: Numbers | None = None) -> None:
        if not self.task:
            raise LearnerError("no task is open; begin one first")
        self._check_labels(y)
        if len(y) and not self.task_classes[y].all():
            raise LearnerError(f"a label is not one of the task's classes {self.task.classes}")
        if numbers is None:
            if self.settings.ddr_fraction:
                raise LearnerError("DDR needs to know which of the task's samples each one is; give numbers")
            numbers = np.zeros(len(y), dtype=np.int64)
        for sample, label, number in zip(x, y, numbers, strict=True):
            if self.settings.ddr_fraction and not (0 <= number < self.task.samples and self.removal.alive[number]):
                raise LearnerError(f"sample {number} is not one of the task's {self.task.samples}, or was removed")
            self.work["macs_forward"] += self.macs_below
            self._observe(self._enter(sample), int(label), int(number))

    def _check_classes(self, classes: tuple[int, ...]) -> None:
        if not classes or not all(0 <= c < self.network.classes for c in classes):
            raise LearnerError(f"classes {classes} in a network of {self.network.classes} classes")

    def _check_labels(self, y: Labels) -> None:
        if len(y) and int(y.max()) >= self.network.classes:
            raise LearnerError(f"label {int(y.max())} in a network of {self.network.classes} classes")

    # ---- one step

    def _observe(self, x: NDArray[Any], label: int, number: int) -> None:
        s = self.settings
        own = Lesson(x, label, self.task_classes if s.single_head_loss else None)
        replays = self.tasks_begun >= 2 or self.remembered
        if self.replay.anchors and self.schedule.position == self.epoch == 0:
            self._open_anchors()
            self.replay.anchored = 0
        anchor = self.replay.free_anchor if replays else None
        offered = self.room.ids > 0 and anchor is None
        logits = self._pass(Lesson(x, label, own.classes, margin=s.margin, anchor=anchor, offered=offered))
        if anchor is not None:
            self.replay.anchor(x, label, logits)
        if s.ddr_fraction:
            among = self.task_classes if s.ddr_within_task else None
            self.removal.note(number, arg_max(logits, among) != label)
        if replays:
            for lesson in self._second_lessons(own):
                self._pass(lesson)
        self._sweep(own)
        self.replay.insert(x, label, logits, s.seed)
        self.step += 1
        self.schedule.position += 1
        if (event := self.schedule.due()) is not None:
            self._event(event)
        if self.room.batch > 1:
            self.gathered += 1
            if self.gathered == self.room.batch:
                self._apply_batch()

    def _second_lessons(self, own: Lesson) -> list[Lesson]:
        kind = self.settings.replay
        if kind is Replay.REPEAT:
            return [own]
        if kind is Replay.EWC or not self.replay.filled:
            return []
        if kind is Replay.ER:
            return [self._drawn(Stream.FIRST_DRAW)]
        first = [self._drawn(Stream.FIRST_DRAW, logits=True)]  # DER, DER++, LightCL
        return first + ([self._drawn(Stream.SECOND_DRAW)] if kind is Replay.DERPP else [])

    def _drawn(self, stream: Stream, logits: bool = False) -> Lesson:
        slot = self.replay.draw(stream, self.settings.seed, self.step)
        x, y = self.replay.x[slot], int(self.replay.y[slot])
        if logits:
            anchor = slot if self.replay.anchors else None
            logits_then = self.replay.logits[slot]
            return Lesson(x, y, logits=logits_then, alpha_shift=self.settings.alpha_shift, anchor=anchor)
        return Lesson(x, y, rate_shift=self.settings.beta_shift)

    def _pass(self, lesson: Lesson) -> NDArray[Any]:
        """One training pass; returns the logits before it."""
        logits, learnt = self._train(replace(lesson, rate_shift=lesson.rate_shift + self._halved()))
        self.work["training_passes"] += 1
        self.work["macs_forward"] += self.masks.macs_forward
        if learnt:
            again = self.room.rho > 0
            self.work["backward_passes"] += 1
            self.work["macs_forward"] += again * self.masks.macs_forward
            self.work["macs_input_grad"] += (1 + again) * self.masks.macs_input_grad
            self.work["macs_weight_grad"] += (1 + again) * self.masks.macs_weight_grad
        return logits

    def _halved(self) -> int:
        """Times that the rate was halved in the open task."""
        assert self.task
        anneal = self.settings.anneal
        return min(max(0, self.epoch + 1 + anneal - self.task.epochs), anneal)

    def _apply_batch(self) -> None:
        if self.gathered:
            self._apply()
            self.gathered = 0

    # ---- masks

    def _sweep(self, own: Lesson) -> None:
        """The importance passes of this step."""
        window = self.schedule.open_window()
        if window is None:
            return
        index, first, last = window
        layer, blocks = self.masks.slice(index)
        if first:
            self._clear(layer)
        if blocks.any():
            self._importance_passes(own, layer, blocks)
        if last:
            layer.terms[blocks] = self._terms(layer)[blocks]
        self.schedule.swept += 1

    def _importance_passes(self, own: Lesson, layer: SparseLayer, blocks: NDArray[np.bool_]) -> None:
        released = self.masks.released
        lesson = own if released else Lesson(own.x, own.label, self.task_classes)
        self._importance(lesson, Slice(layer, blocks, 0))
        replays = (self.tasks_begun >= 2 or self.remembered) and self.settings.replay is not Replay.REPEAT
        if replays and self.replay.filled:
            slot = self.replay.draw(Stream.IMPORTANCE, self.settings.seed, self.step)
            lesson = Lesson(self.replay.x[slot], int(self.replay.y[slot]))
            self._importance(lesson, Slice(layer, blocks, 0 if released else 1))

    def _importance(self, lesson: Lesson, part: Slice) -> None:
        self.work["macs_importance"] += self.masks.macs_forward
        if self._measure(lesson, part):
            self.work["macs_importance"] += self.masks.macs_measure(part.layer, part.blocks)

    def _event(self, event: int) -> None:
        s = self.settings
        for layer in self.masks.layers:
            if self.masks.moves:
                self._move(layer, event)
            if s.dgm_share:
                everything = event == 0 and self.tasks_begun == 1
                layer.select(None if everything else s.dgm_share, s.seed, self.step)
            self._settle(layer)
        self.masks.count()
        self.work["events"] += 1

    def _move(self, layer: SparseLayer, event: int) -> None:
        least, most = layer.targets(event, self.tasks_begun, self.settings)
        keys = self._weigh(layer, self.schedule.log_steps if self.masks.measures_tdm else None)
        layer.shrink(least, keys, self.settings.seed, self.step)
        self._remask(layer)
        layer.grow(most, self.settings.seed, self.step)
        self._remask(layer)

    # ---- what a subclass provides

    @abstractmethod
    def _load(self) -> None:
        """Start again from the network as it was quantised."""

    @abstractmethod
    def _enter(self, x: NDArray[np.int8]) -> NDArray[Any]:
        """What training passes and the replay buffer take of a sample: its values in the tensor `entry`, flat."""

    @abstractmethod
    def _logits(self, x: NDArray[Any]) -> NDArray[Any]:
        """(classes,) in units of 1/32 of what `_enter` gave; changes nothing."""

    @abstractmethod
    def _train(self, lesson: Lesson) -> tuple[NDArray[Any], bool]:
        """Forward, loss, backward, update (or gather): the logits before, and False when there was nothing to learn."""

    @abstractmethod
    def _apply(self) -> None:
        """Learn what the open mini-batch gathered, and start gathering again."""

    @abstractmethod
    def _hold(self) -> None:
        """EWC: the open task is over; hold what it needs where it is now."""

    @abstractmethod
    def _need(self, lesson: Lesson) -> None:
        """EWC: hold what a remembered sample needs, where it is now."""

    @property
    def _noting(self) -> bool:
        """EWC, LightCL: it is noted what the open task needs, or excites, in its last epoch."""
        notes = self.settings.replay in (Replay.EWC, Replay.LIGHTCL)
        return notes and self.task is not None and self.epoch + 1 >= self.task.epochs

    @abstractmethod
    def _open_anchors(self) -> None:
        """LightCL: a task's first sample has come; channels that the last one excited are kept."""

    @abstractmethod
    def _look(self, x: NDArray[Any]) -> None:
        """LightCL: note what a remembered sample excites, of what `_enter` gave."""

    @abstractmethod
    def _clear(self, layer: SparseLayer) -> None:
        """Start accumulating gradients of a layer afresh."""

    @abstractmethod
    def _measure(self, lesson: Lesson, part: Slice) -> bool:
        """Add a lesson's gradients to an accumulator, learning nothing; False when the loss had no gradient."""

    @abstractmethod
    def _terms(self, layer: SparseLayer) -> NDArray[Any]:
        """(groups, columns) the gradient term of every block, of what was accumulated."""

    @abstractmethod
    def _weigh(self, layer: SparseLayer, log_steps: int | None) -> NDArray[Any]:
        """(groups, columns) what TDM ranks blocks by: magnitudes and terms of 2**log_steps passes; None: no terms."""

    @abstractmethod
    def _remask(self, layer: SparseLayer) -> None:
        """Weights that are masked, or were until now, become 0."""

    @abstractmethod
    def _settle(self, layer: SparseLayer) -> None:
        """A layer's masks are what they will be until the next event."""

    def stats(self) -> dict[str, int]:
        return {"steps": self.step, **self.work}


def schedule_of(task: TaskInfo, settings: LearnSettings, room: Room, windows: int) -> Schedule:
    """Of a task that opens; windows: slices that a sweep measures. Raises LearnerError, with the numbers, where the
    settings cannot follow a task so long or so short."""
    length = task.samples * task.epochs
    if not (0 <= length < 1 << 32 and 0 <= task.epochs < 1 << 16):
        raise LearnerError(f"{task.samples} samples, {task.epochs} epochs: together they must fit 32 bits")
    if settings.scheduled and not length:
        raise LearnerError("masks and data removal follow a schedule: announce the task's samples and epochs")
    if settings.anneal and task.epochs <= settings.anneal:
        raise LearnerError(
            f"the rate is to be halved in each of the last {settings.anneal} of {task.epochs} epochs; announce more "
            "([learn] epochs) or lower [learn] anneal"
        )
    if settings.ddr_fraction:
        Removal.check(task.samples, task.epochs, room.ddr)
    if settings.replay is Replay.LIGHTCL and 0 < length <= room.replay:
        raise LearnerError(
            f"{task.samples} samples, {task.epochs} epochs: LightCL would make all of them anchors, of which it has "
            f"{room.replay}, and learn none; keep far fewer anchors ([learn] replay) or send more samples"
        )
    return Schedule(length if settings.masks_learn else 0, windows if settings.sweeps else 0)


def arg_max(logits: NDArray[Any], among: NDArray[np.bool_] | None) -> int:
    """The winning class of all, or of some; the lowest of equals."""
    return int(np.argmax(logits if among is None else np.where(among, logits, -np.inf)))
