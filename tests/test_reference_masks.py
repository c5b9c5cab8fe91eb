"""TDM, DGM and the masks under them: exact counts, the gradient mask inside the weight mask, frozen bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from reference_cases import CNN, MLP, job, opened, tasks
from sparcl_mcu.reference import dgm, importance, methods, schedule, tdm, trainer
from sparcl_mcu.reference.masks import Masks, grown, top
from sparcl_mcu.reference.methods.base import Loss, Method
from sparcl_mcu.reference.state import Batch, State


def test_the_schedule_is_the_released_one_at_fifty_epochs() -> None:
    assert list(schedule.events(50)) == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]
    assert list(schedule.removals(50)) == [5, 10, 15, 20]
    assert schedule.last_event(50) == 45
    for epochs in range(2, 120):  # every task ends with an event that only prunes, and with some training after it
        assert schedule.last_event(epochs) == schedule.events(epochs)[-1] < epochs
        assert schedule.last_event(epochs) > 0


@pytest.mark.parametrize("rule", ["paper", "released", "magnitude"])
@pytest.mark.parametrize("network", [MLP, CNN])
def test_every_event_leaves_exactly_the_counts_of_the_schedule(network: Any, rule: str) -> None:
    made = tasks(shape=(9, 9))
    state = opened(job("sparcl-er", made=made, network=network, epochs=50, importance=rule, p_inter=0.05))
    sizes = {layer.name: layer.size for layer in state.network.sparse}
    assert sizes

    def shares() -> dict[str, int]:
        return {layer.name: state.masks.live(layer) for layer in state.network.sparse}

    def wanted(density: float) -> dict[str, int]:
        return {name: round(density * size) for name, size in sizes.items()}

    tdm.start(state)
    assert shares() == wanted(0.25)
    for task in range(2):
        trainer._open(state, task, made[task])
        for state.epoch in range(50):
            before = {layer.name: state.masks.weights(layer).clone() for layer in state.network.sparse}
            tdm.event(state)
            assert shares() == wanted(0.30 if state.epoch < 5 else 0.25), (task, state.epoch)
            for layer in state.network.sparse:
                mask, old = state.masks.weights(layer), before[layer.name]
                assert int(mask.sum()) == state.masks.live(layer)
                assert not layer.weight[~mask].any()
                assert not layer.weight[mask & ~old].any()  # growth starts at 0
                gone = int((old & ~mask).sum())
                if state.epoch not in schedule.events(50):
                    assert torch.equal(mask, old)
                elif 0 < state.epoch < 45:
                    assert gone <= round(0.30 * layer.size) - round(0.24 * layer.size)
                    assert gone > 0 or layer.size < 1000
                else:
                    assert gone == 0
            with torch.no_grad():  # as an update would
                for layer in state.network.sparse:
                    layer.weight.add_(0.01 * torch.randn_like(layer.weight) * state.masks.weights(layer))


def test_shrinking_removes_the_least_important_and_importance_sees_gradients() -> None:
    state = opened(job("sparcl-er", importance="released", epochs=50))
    tdm.start(state)
    layer = state.network.sparse[0]
    layer.weight.grad = torch.zeros_like(layer.weight)
    live = state.masks.weights(layer).nonzero()
    saved, weakest = sorted(live.tolist(), key=lambda at: float(layer.weight.detach()[tuple(at)].abs()))[:2]
    layer.weight.grad[tuple(saved)] = 100.0
    state.masks.set_weights(state.network.sparse[1], torch.ones_like(state.network.sparse[1].weight, dtype=torch.bool))
    scores = importance.of_weights(state)
    chosen = top(scores[layer.name], len(live) - 1, among=state.masks.weights(layer))
    assert not chosen[tuple(weakest)]
    assert chosen[tuple(saved)]


def test_paper_importance_is_the_formula() -> None:
    """alpha |d Ls / dw| + beta |d L(M) / dw| of the very batch and draw, each absolute after its sum."""
    of = job("sparcl-er", cwi_alpha=0.5, cwi_beta=2.0, batch_norm=False)
    state = opened(of, task=1)
    old, labels = torch.from_numpy(of.tasks[0].x_train[:4]), torch.tensor([0, 1, 0, 1])
    state.buffer.add(old, labels, torch.zeros(4, 4))
    batch = state.batch(np.arange(8))
    layer = state.network.sparse[0]
    got = importance.gradients(state, batch, "refresh")[layer.name]
    own = torch.nn.functional.cross_entropy(state.network(batch.x)[:, 2:], batch.y - 2)
    buffered = torch.nn.functional.cross_entropy(state.network(state.inputs(old)), labels)
    terms = [torch.autograd.grad(loss, layer.weight)[0].abs() for loss in (own, buffered)]
    assert torch.allclose(got, 0.5 * terms[0] + 2.0 * terms[1], atol=1e-6)
    assert state.work.macs["refresh"]["forward"] == 12 * sum(la.positions * la.size for la in state.network.layers)


def test_importance_passes_leave_running_statistics_alone() -> None:
    state = opened(job("sparcl-er", made=tasks(shape=(9, 9)), network=CNN))
    before = {k: v.clone() for k, v in state.network.module.state_dict().items() if "running" in k}
    assert before
    importance.gradients(state, state.batch(np.arange(8)), "refresh")
    after = state.network.module.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    state.network(state.batch(np.arange(8)).x)
    assert not all(torch.equal(after[k], v) for k, v in before.items())


class Watched(Method):
    """A method that looks at every step and epoch of another one."""

    def __init__(self, inner: Method) -> None:
        self.inner, self.refreshes, self.steps = inner, 0, 0
        self.replays = inner.replays  # type: ignore[misc]
        self.frozen: dict[str, tuple[Any, Any]] = {}

    def begin_task(self, state: State) -> None:
        self.inner.begin_task(state)

    def begin_epoch(self, state: State) -> None:
        self.check(state)
        self.inner.begin_epoch(state)
        self.frozen = {}

    def loss(self, state: State, batch: Batch) -> Loss:
        return self.inner.loss(state, batch)

    def after_backward(self, state: State, batch: Batch, loss: Loss) -> None:
        self.check(state)
        self.inner.after_backward(state, batch, loss)
        self.steps += 1
        for layer in state.network.sparse:
            weights, updates = state.masks.weights(layer), state.masks.updates(layer)
            assert not (updates & ~weights).any()
            assert int(updates.sum()) == state.masks.updated(layer) == round(0.2 * layer.size)
            if state.step % dgm.REFRESH == 0:
                self.refreshes += 1
                self.frozen[layer.name] = (~updates, layer.weight.detach().clone())
            else:
                assert torch.equal(self.frozen[layer.name][0], ~updates)

    def check(self, state: State) -> None:
        """Weights that were not selected have not moved by a bit since the refresh; selected ones have."""
        for layer in state.network.sparse if self.frozen else ():
            frozen, then = self.frozen[layer.name]
            now = layer.weight.detach()
            assert torch.equal(now[frozen].view(torch.int32), then[frozen].view(torch.int32))
            assert not torch.equal(now, then)


@pytest.mark.parametrize("rule", ["paper", "released", "magnitude"])
def test_unselected_weights_are_bit_identical_between_refreshes(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    watched = []

    original = methods.make

    def make(*arguments: Any) -> Watched:
        watched.append(Watched(original(*arguments)))
        return watched[0]

    monkeypatch.setattr(methods, "make", make)
    trainer.run(job("sparcl-der++", made=tasks(samples=80), batch=2, importance=rule), lambda *_: None)
    # An epoch has 40, 37, 34, 31 and then 28 mini-batches, as data are removed; the 1st and the 31st choose again.
    assert watched[0].steps == 2 * (40 + 37 + 34 + 31 + 6 * 28)
    assert watched[0].refreshes == 2 * (4 * 2 + 6) * 2  # tasks, epochs, layers


def test_gradient_mask_is_cut_when_the_weight_mask_shrinks() -> None:
    state = opened(job("sparcl-er"))
    layer = state.network.sparse[0]
    state.masks.set_updates(layer, torch.ones_like(layer.weight, dtype=torch.bool))
    half = grown(torch.zeros_like(layer.weight, dtype=torch.bool), layer.size // 2, np.random.default_rng(0))
    state.masks.set_weights(layer, half)
    assert torch.equal(state.masks.updates(layer), half)
    assert state.masks.updated(layer) == layer.size // 2


def test_selection_is_by_count_even_when_everything_ties() -> None:
    ties = torch.zeros(10, 10)
    assert int(top(ties, 37).sum()) == 37
    among = torch.zeros(10, 10, dtype=torch.bool)
    among[:5] = True
    assert int(top(ties, 37, among=among).sum()) == 37
    assert not (top(ties, 37, among=among) & ~among).any()
    assert top(torch.arange(100.0), 3).nonzero().flatten().tolist() == [97, 98, 99]


def test_growth_draws_every_unused_place_alike() -> None:
    rng = np.random.default_rng(0)
    start = torch.zeros(20, dtype=torch.bool)
    start[:4] = True
    counts = sum(grown(start, 8, rng).int() for _ in range(4000))
    assert counts[:4].tolist() == [4000] * 4
    assert float((counts[4:] / 1000).min()) > 0.88  # 4 of 16 places: 1000 each, standard deviation 27
    assert float((counts[4:] / 1000).max()) < 1.12


def test_masks_report_layers_they_were_never_given() -> None:
    state = opened(job("der++"))
    masks = Masks(state.network.layers)
    assert all(masks.live(la) == masks.updated(la) == la.size for la in state.network.layers)
