"""The float twin: what it starts from, what it updates, and that it meets the stream the integer learner meets."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import random_graph_network, random_network, random_samples, whole_task
from sparcl_mcu.design import cnn_s, freeze_until, resnet8
from sparcl_mcu.learners.base import LearnSettings, Room
from sparcl_mcu.learners.float_twin import FloatTwin
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.learners.step import Lesson, StepLearner
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import Block

Snapshot = dict[str, tuple[np.ndarray, np.ndarray]]


def snapshot(twin: FloatTwin) -> Snapshot:
    return {k: (v.weight.detach().numpy().copy(), v.bias.detach().numpy().copy()) for k, v in twin._layers.items()}


def taught(network: Network, samples: int, **settings: int) -> tuple[FloatTwin, Snapshot]:
    """A twin after some samples, and its weights before."""
    twin = FloatTwin(network, Room(replay=8))
    twin.reset(LearnSettings(**settings))
    before = snapshot(twin)
    twin.begin_task(whole_task(network))
    twin.observe(*random_samples(network, samples, seed=1))
    return twin, before


@pytest.mark.parametrize("learner", [SimulatedLearner, FloatTwin])
def test_the_rate_is_halved_in_the_last_epochs_of_a_task(
    learner: type[StepLearner], monkeypatch: pytest.MonkeyPatch
) -> None:
    shifts: list[int] = []
    train = learner._train

    def watched(self: StepLearner, lesson: Lesson) -> tuple[np.ndarray, bool]:
        shifts.append(lesson.rate_shift)
        return train(self, lesson)

    monkeypatch.setattr(learner, "_train", watched)
    network = random_network(4)
    device = learner(network, Room(replay=8))
    device.reset(LearnSettings(anneal=2, beta_shift=3))
    x, y = random_samples(network, 1, seed=1)
    for task in range(2):
        device.begin_task(whole_task(network, 1, 4))
        for _ in range(5):  # one more than announced
            device.observe(x, y)
            device.end_epoch()
        device.end_task()
        new, drawn = (shifts, []) if task == 0 else (shifts[::2], shifts[1::2])
        assert new == [0, 0, 1, 2, 2]
        assert drawn == ([] if task == 0 else [3, 3, 4, 5, 5])
        shifts.clear()


def test_it_starts_from_the_masters_with_all_their_bits() -> None:
    network = random_network(4)
    twin = FloatTwin(network, Room(replay=1))
    w = network.weights["fc1"]
    real = np.where(w.mask, w.masters.astype(float) - 128, 0) * 2.0 ** (float(w.exponents[0]) - 8)
    weight, bias = snapshot(twin)["fc1"]
    assert np.array_equal(weight, real.astype(np.float32))
    assert np.allclose(bias, w.bias * 2.0**-20)


def test_masked_weights_stay_zero_and_frozen_layers_stay_as_they_were() -> None:
    graph = freeze_until(resnet8((8, 8, 3), 4, density=0.25, block=Block(1, 4)), "stage3_conv1")
    network = random_graph_network(graph, 2)
    twin, before = taught(network, 6, lr_exponent=-5)
    after = snapshot(twin)
    for node in network.weighted():
        moved = [not np.array_equal(a, b) for a, b in zip(before[node.name], after[node.name], strict=True)]
        assert moved == [not node.frozen] * 2, node.name
        assert not after[node.name][0][~network.weights[node.name].mask].any()


def test_a_step_goes_down_the_gradient_by_the_learning_rate() -> None:
    """Against finite differences of the loss, through a residual, strides and pooling."""
    import torch

    network = random_graph_network(resnet8((8, 8, 2), 4), 5)
    twin, before = taught(network, 1, lr_mantissa=3, lr_exponent=-8)
    after = snapshot(twin)
    x, y = random_samples(network, 1, seed=1)
    start = FloatTwin(network, Room(replay=1))

    def loss() -> float:
        with torch.no_grad():
            z = start._forward(x).double()
            return float(torch.nn.functional.cross_entropy(z, torch.tensor([int(y[0])])))

    for name in ("stem", "stage2_conv1", "stage2_short", "stage3_conv2", "head"):
        step = before[name][0] - after[name][0]
        direction = torch.tensor(step / np.linalg.norm(step))
        at, h = start._layers[name].weight, 1e-3
        with torch.no_grad():
            at += h * direction
            above = loss()
            at -= 2 * h * direction
            slope = (above - loss()) / (2 * h)
            at += h * direction
        assert np.linalg.norm(step) == pytest.approx(3 * 2.0**-8 * slope, rel=0.05), name


def test_replay_draws_and_buffer_are_those_of_the_integer_learner() -> None:
    network = random_network(6)
    learners = [SimulatedLearner(network, Room(replay=8)), FloatTwin(network, Room(replay=8))]
    for learner in learners:
        learner.reset(LearnSettings(seed=3))
        for task in range(2):
            learner.begin_task(whole_task(network))
            learner.observe(*random_samples(network, 30, seed=task))
            learner.end_task()
    integer, real = learners
    assert np.array_equal(integer.replay.x, real.replay.x)
    assert np.array_equal(integer.replay.y, real.replay.y)
    assert real.stats()["training_passes"] == integer.stats()["training_passes"] == 90


def test_both_learners_learn_a_small_convolutional_network() -> None:
    network = random_graph_network(cnn_s((12, 12), 4, density=0.5, block=Block(1, 4)), 8)
    x, y = random_samples(network, 260, seed=8)
    for learner in (SimulatedLearner(network, Room(replay=8)), FloatTwin(network, Room(replay=8))):
        learner.reset(LearnSettings(lr_exponent=-6))
        learner.begin_task(whole_task(network))
        learner.observe(x[:200], y[:200])
        assert (learner.predict(x[200:]) == y[200:]).mean() > 0.9, type(learner).__name__
