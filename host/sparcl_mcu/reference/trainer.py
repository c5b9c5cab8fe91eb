"""The published protocol: tasks, epochs and mini-batches of plain SGD; every task is tested after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import torch_backend as backend
from ..config import Config, NetworkConfig, ReferenceConfig
from ..data import Task
from ..experiment import Progress
from ..metrics import Matrix
from . import FloatReferenceError, inputs, methods, network
from .buffer import Reservoir
from .evaluate import Accuracy, accuracies
from .masks import Masks
from .state import State
from .work import Work, paper_flops


@dataclass(frozen=True)
class Job:
    """One seed of one method. tasks: with their samples as the data set has them. buffer: samples. device: "cpu",
    "cuda" or "auto". steps: at most so many mini-batches a task, for a trial; None: all."""

    settings: ReferenceConfig
    network: NetworkConfig
    tasks: tuple[Task, ...]
    classes: int
    normalise: str
    buffer: int
    seed: int
    device: str = "auto"
    steps: int | None = None

    @property
    def data_epochs(self) -> int:
        """Presentations if all samples were trained on in every epoch."""
        return self.settings.epochs * sum(len(task.y_train) for task in self.tasks)


@dataclass(frozen=True)
class Stage:
    """Accuracy on every task's test samples after one task. seconds: of training and testing."""

    stage: int
    test: tuple[Accuracy, ...]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """A whole run. val: accuracy on every task's validation samples at the end. data_used: presentations over all that
    `epochs` passes over all data would be. density: by sparse layer, at the end. macs: `Work.macs`."""

    stages: tuple[Stage, ...]
    val: tuple[Accuracy, ...]
    data_used: float
    density: dict[str, float]
    flops_paper: float
    macs: dict[str, dict[str, int]]
    device: str

    @property
    def class_il(self) -> Matrix:
        """R[i, j]: test accuracy on task j after stage i, arg-max over all classes."""
        return np.array([[each.class_il for each in stage.test] for stage in self.stages])

    @property
    def task_il(self) -> Matrix:
        """The same, arg-max over the task's own classes."""
        return np.array([[each.task_il for each in stage.test] for stage in self.stages])

    @property
    def flops_counted(self) -> int:
        """Two a multiply-accumulate, as `flops_paper` counts."""
        return 2 * sum(sum(parts.values()) for parts in self.macs.values())


def job(
    config: Config, tasks: tuple[Task, ...], classes: int, *, device: str = "auto", steps: int | None = None
) -> Job:
    """The job of an experiment's method and seed."""
    return Job(
        settings=config.reference,
        network=config.network,
        tasks=tasks,
        classes=classes,
        normalise=config.data.normalise,
        buffer=config.learn.replay,
        seed=config.seed,
        device=device,
        steps=steps,
    )


def run(job: Job, on_progress: Progress, on_stage: Callable[[Stage], None] = lambda _: None) -> Outcome:
    """Train from random weights and test. The same job gives the same outcome on the CPU.

    on_progress(done, total) counts mini-batches. Raises FloatReferenceError, PrepareError or QuantizeError.
    """
    settings, device = job.settings, chosen_device(job.device)
    method = methods.make(settings.method, settings, job.network.density)
    train = (_joined(job.tasks),) if method.all_at_once else job.tasks
    state = _state(job, device)
    progress = _Steps(job, train, on_progress)
    exams = tuple(_Exam.of(state, task) for task in job.tasks)
    presented = 0
    stages = []
    for index, task in enumerate(train):
        started = time.monotonic()
        _open(state, index, task)
        method.begin_task(state)
        presented += _teach(job, state, method, progress)
        method.end_task(state)
        test = tuple(exam.test(state) for exam in exams)
        stages.append(Stage(index, test, time.monotonic() - started))
        on_stage(stages[-1])
    masked = isinstance(method, methods.Masked)
    return Outcome(
        stages=tuple(stages),
        val=tuple(exam.val(state) for exam in exams),
        data_used=presented / job.data_epochs,
        density={layer.name: state.masks.live(layer) / layer.size for layer in state.network.sparse},
        flops_paper=paper_flops(
            state.network.layers,
            presented,
            replays=method.replays,
            sparsity=1 - state.density if masked else 0.0,
            gradient_sparsity=method.gradient_sparsity(state) if isinstance(method, methods.Masked) else 0.0,
        ),
        macs=state.work.macs,
        device=device,
    )


def chosen_device(wanted: str) -> str:
    """ "cpu" or "cuda". Raises FloatReferenceError when there is no such device here."""
    there = bool(backend.torch().cuda.is_available())
    if wanted not in ("auto", "cpu", "cuda"):
        raise FloatReferenceError(f"there is no device {wanted!r}; choose cpu, cuda or auto")
    if wanted == "cuda" and not there:
        raise FloatReferenceError("--device is cuda, but torch finds no GPU here; use --device cpu or auto")
    return "cuda" if there and wanted != "cpu" else "cpu"


def _state(job: Job, device: str) -> State:
    settings, first = job.settings, job.tasks[0]
    net = network.build(
        job.network,
        first.x_train.shape[1:],
        job.classes,
        batch_norm=settings.batch_norm,
        seed=job.seed,
        device=device,
    )
    if net.norms and settings.batch < 2:
        raise FloatReferenceError("[reference] batch is 1, and batch_norm needs 2 or more; set batch_norm to false")
    masks = Masks(net.layers)
    return State(
        settings=settings,
        network=net,
        inputs=inputs.learnt(first.x_train, job.normalise, settings.crop_flip, device),  # type: ignore[arg-type]
        buffer=Reservoir(job.buffer, np.random.default_rng([job.seed, 1])),
        masks=masks,
        work=Work(net.layers, masks),
        density=job.network.density,
        rng=np.random.default_rng([job.seed, 2]),
        order=np.random.default_rng([job.seed, 3]),
    )


def _open(state: State, index: int, task: Task) -> None:
    """Put a task's samples into the state."""
    torch, device = backend.torch(), state.inputs.offset.device
    if not len(task.y_train):
        raise FloatReferenceError(f"task {index} has no training sample; check [data] tasks")
    state.task = index
    state.classes = torch.tensor(sorted(task.classes), device=device)
    state.raw = torch.from_numpy(np.ascontiguousarray(task.x_train)).to(device)
    state.y = torch.from_numpy(task.y_train.astype(np.int64)).to(device)
    state.kept = np.arange(len(task.y_train))


def _teach(job: Job, state: State, method: methods.Method, progress: _Steps) -> int:
    """All epochs of one task; returns how many samples were presented."""
    settings, presented, steps = state.settings, 0, 0
    rate = settings.rate(settings.method)
    state.network.module.train()
    for state.epoch in range(settings.epochs):
        method.begin_epoch(state)
        order = state.order.permutation(state.kept)
        for state.step, at in enumerate(range(0, len(order), settings.batch)):
            if steps == job.steps:
                progress.end_of_task(state.task)
                return presented
            index = order[at : at + settings.batch]
            if len(index) == 1 and state.network.norms:
                continue  # one sample has no variance
            _step(state, method, index, rate)
            presented += len(index)
            steps += 1
            progress.at(state)
    progress.end_of_task(state.task)
    return presented


def _step(state: State, method: methods.Method, index: NDArray[np.intp], rate: float) -> None:
    torch, parameters = backend.torch(), state.network.parameters()
    state.replayed = 0
    batch = state.batch(index)
    loss = method.loss(state, batch)
    for parameter in parameters:
        parameter.grad = None
    loss.total.backward()
    method.after_backward(state, batch, loss)
    state.masks.apply_to_gradients()
    with torch.no_grad():
        torch._foreach_add_(parameters, [parameter.grad for parameter in parameters], alpha=-rate)
    state.work.training_pass("current", len(index))
    state.work.training_pass("buffer", state.replayed)
    state.buffer.add(batch.raw, batch.y, loss.logits)


def _joined(tasks: Sequence[Task]) -> Task:
    """The training samples of all tasks as one task."""
    return replace(
        tasks[0],
        classes=tuple(sorted({c for task in tasks for c in task.classes})),
        x_train=np.concatenate([task.x_train for task in tasks]),
        y_train=np.concatenate([task.y_train for task in tasks]),
    )


@dataclass(frozen=True)
class _Exam:
    """A task's test and validation samples where the network is."""

    classes: tuple[int, ...]
    parts: tuple[tuple[Any, Any], tuple[Any, Any]]

    @classmethod
    def of(cls, state: State, task: Task) -> _Exam:
        torch, device = backend.torch(), state.inputs.offset.device

        def part(x: NDArray[Any], y: NDArray[np.uint8]) -> tuple[Any, Any]:
            return torch.from_numpy(np.ascontiguousarray(x)).to(device), torch.from_numpy(y.astype(np.int64)).to(device)

        return cls(task.classes, (part(task.x_test, task.y_test), part(task.x_val, task.y_val)))

    def test(self, state: State) -> Accuracy:
        return accuracies(state.network, state.inputs, *self.parts[0], self.classes)

    def val(self, state: State) -> Accuracy:
        return accuracies(state.network, state.inputs, *self.parts[1], self.classes)


class _Steps:
    """Progress in mini-batches, as if no data were removed: what DDR saves is skipped at an epoch's end."""

    def __init__(self, job: Job, train: Sequence[Task], report: Progress) -> None:
        self._epoch = [-(-len(task.y_train) // job.settings.batch) for task in train]
        limit = job.steps or sum(self._epoch) * job.settings.epochs
        self._tasks = [min(limit, each * job.settings.epochs) for each in self._epoch]
        self._report = report

    def at(self, state: State) -> None:
        within = state.epoch * self._epoch[state.task] + state.step + 1
        self._report(sum(self._tasks[: state.task]) + min(within, self._tasks[state.task]), sum(self._tasks))

    def end_of_task(self, task: int) -> None:
        self._report(sum(self._tasks[: task + 1]), sum(self._tasks))
