"""The methods of the float reference: each learns, repeats, and refuses what makes no sense."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from reference_cases import CNN, MLP, job, opened, run, tasks
from sparcl_mcu.config import NetworkConfig, ReferenceConfig
from sparcl_mcu.errors import SparclError
from sparcl_mcu.reference import FloatReferenceError, methods, names, trainer
from sparcl_mcu.reference.buffer import Reservoir
from sparcl_mcu.reference.masks import keep
from sparcl_mcu.reference.methods.ewc import EWC

REHEARSAL = ("er", "der", "der++")  # agem too keeps a buffer, but only holds its loss
WANTED = (*names.BASES, "sparcl-er", "sparcl-der++", "sparcl-ewc", "snip-der++", "rigl-der++", "static-der++")


@pytest.mark.parametrize("method", WANTED)
def test_each_method_learns_two_tasks_above_chance(method: str) -> None:
    found = run(method, learning_rate=0.1)
    single = [stage.test[stage.stage].class_il for stage in found.stages] if len(found.stages) > 1 else []
    assert all(accuracy > 0.8 for accuracy in single), single  # each task when it is new, of four classes
    final = found.class_il[-1].mean()
    if method == "joint" or any(method.endswith(base) for base in REHEARSAL):
        assert final > 0.7
    else:  # without a buffer the first task is forgotten, but less inside its own classes
        assert found.task_il[-1].mean() > 0.6
    assert found.task_il[-1].mean() >= final
    assert found.class_il.shape == ((1, 2) if method == "joint" else (2, 2))
    masked = "-" in method
    assert all(share == pytest.approx(0.25 if masked else 1.0, abs=0.01) for share in found.density.values())


@pytest.mark.parametrize("method", ["er", "sparcl-der++", "rigl-der++"])
def test_the_same_seed_repeats_exactly_and_another_differs(method: str) -> None:
    first, again, other = run(method), run(method), run(method, seed=4)
    assert np.array_equal(first.class_il, again.class_il)
    assert first.macs == again.macs
    assert [stage.test for stage in first.stages] == [stage.test for stage in again.stages]
    weights = [weights_after(method, seed) for seed in (3, 3, 4)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert other.class_il.shape == first.class_il.shape


def weights_after(method: str, seed: int) -> Any:
    """The first layer's weights after a short run."""
    kept: list[Any] = []

    def note(stage: trainer.Stage) -> None:
        kept.append(states[-1].network.layers[0].weight.detach().clone())

    states: list[Any] = []
    original = trainer._state
    try:
        trainer._state = lambda *arguments: states.append(original(*arguments)) or states[-1]
        trainer.run(job(method, seed=seed, steps=12), lambda *_: None, note)
    finally:
        trainer._state = original
    return kept[-1]


def gradient_of_head(method: str, **changes: Any) -> Any:
    """Gradient of the head's rows (classes, features) in a step of the first task (of classes 0 and 1)."""
    state = opened(job(method, **changes))
    method_ = methods.make(method, state.settings, state.density)
    method_.begin_task(state)
    method_.loss(state, state.batch(np.arange(16))).total.backward()
    return state.network.layers[-1].weight.grad


def test_single_head_loss_touches_only_the_current_classes() -> None:
    single, whole = (gradient_of_head("er", single_head_loss=on) for on in (True, False))
    assert single.shape[0] == 4
    assert not single[2:].any()
    assert single[0].any()
    assert single[1].any()
    assert whole[2].any()
    assert whole[3].any()


def test_replay_begins_with_the_second_task_and_draws_as_the_method_says() -> None:
    for method, draws in (("naive", 0), ("er", 1), ("der", 1), ("der++", 2)):
        of = job(method, buffer=40)
        state = opened(of)
        rule = methods.make(method, state.settings, 1.0)
        assert rule.replays == draws
        for task in range(2):
            trainer._open(state, task, of.tasks[task])
            for at in (0, 16):
                trainer._step(state, rule, np.arange(at, at + 16), 0.1)
                assert state.replayed == (16 * draws if task else 0)
        assert state.buffer.seen == 64


def test_derpp_is_its_formula() -> None:
    of = job("der++", der_alpha=0.3, der_beta=0.7, buffer=4, batch_norm=False)
    state = opened(of, task=1)
    x, y = torch.from_numpy(of.tasks[0].x_train[:4]), torch.tensor([0, 1, 0, 1])
    z = torch.arange(16.0).reshape(4, 4)
    state.buffer.add(x, y, z)  # a buffer no larger than a mini-batch: both draws are all of it
    batch = state.batch(np.arange(16))
    got = methods.make("der++", state.settings, 1.0).loss(state, batch).total.detach()
    cross_entropy = torch.nn.functional.cross_entropy
    replayed = state.network(state.inputs(x))
    want = cross_entropy(state.network(batch.x), batch.y) + 0.3 * ((replayed - z) ** 2).mean()
    want = want + 0.7 * cross_entropy(replayed, y)
    assert float(got) == pytest.approx(float(want.detach()), rel=1e-5)


def test_ewc_pulls_known_weights_back_and_only_after_a_task() -> None:
    of = job("ewc", ewc_lambda=3.0)
    state = opened(of)
    rule = EWC()
    batch = state.batch(np.arange(16))
    plain = methods.make("naive", state.settings, 1.0).loss(state, batch).total
    plain = plain.detach()
    assert float(rule.loss(state, batch).total.detach()) == float(plain)
    rule.end_task(state)
    assert float(rule.loss(state, batch).total.detach()) == pytest.approx(float(plain), rel=1e-4)
    weight = state.network.layers[0].weight
    with torch.no_grad():
        weight[0, 0] += 0.5
    moved = methods.make("naive", state.settings, 1.0).loss(state, batch).total
    fisher = float(rule._fisher[0][0, 0])
    assert fisher > 0
    assert float((rule.loss(state, batch).total - moved).detach()) == pytest.approx(1.5 * fisher * 0.25, rel=1e-3)


def test_lwf_holds_what_the_network_said_before_the_task() -> None:
    of = job("lwf", lwf_lambda=0.5, batch_norm=False)
    state = opened(of)
    rule = methods.make("lwf", state.settings, 1.0)
    rule.begin_task(state)
    batch = state.batch(np.arange(16))
    naive = methods.make("naive", state.settings, 1.0)
    assert float(rule.loss(state, batch).total.detach()) == float(naive.loss(state, batch).total.detach())
    rule.end_task(state)
    trainer._open(state, 1, of.tasks[1])
    rule.begin_task(state)
    assert state.work.total == 100 * sum(layer.size for layer in state.network.layers)  # forward, once a sample
    batch = state.batch(np.arange(16, 32))
    softmax = torch.nn.functional.softmax
    old = softmax(state.network(batch.x)[:, :2].detach() / 2, dim=1)
    with torch.no_grad():
        state.network.layers[-1].weight[0] += 0.5
    new = torch.log_softmax(state.network(batch.x)[:, :2] / 2, dim=1)
    want = naive.loss(state, batch).total - 0.5 * (old * new).sum(dim=1).mean()
    assert float(rule.loss(state, batch).total.detach()) == pytest.approx(float(want.detach()), rel=1e-5)


@pytest.mark.parametrize("apart", [True, False])
def test_agem_takes_out_what_would_raise_the_buffers_loss(apart: bool) -> None:
    """The buffer holds the mini-batch's samples: with labels of the other class their gradients point apart,
    once the network knows them."""
    of = job("agem", buffer=16, batch_norm=False)
    state = opened(of, task=1)
    for _ in range(20):
        trainer._step(state, methods.make("naive", state.settings, 1.0), np.arange(16), 0.05)
    state.buffer = Reservoir(16, np.random.default_rng(0))
    batch = state.batch(np.arange(16))
    state.buffer.add(batch.raw, 5 - batch.y if apart else batch.y, torch.zeros(16, 4))  # its classes are 2 and 3
    rule = methods.make("agem", state.settings, 1.0)
    loss = rule.loss(state, batch)
    parameters = state.network.parameters()
    loss.total.backward()
    before = [w.grad.clone() for w in parameters]
    buffered = torch.nn.functional.cross_entropy(state.network(batch.x), 5 - batch.y if apart else batch.y)
    reference = torch.autograd.grad(buffered, parameters)
    rule.after_backward(state, batch, loss)

    def along(gradients: list[Any]) -> float:
        return sum(float((g * r).sum()) for g, r in zip(gradients, reference, strict=True))

    after = [w.grad for w in parameters]
    if apart:
        assert along(before) < -0.01
        assert along(after) == pytest.approx(0, abs=1e-5)
        assert any(g.any() for g in after)
    else:
        assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert state.replayed == 16


def test_agem_holds_the_weights_that_dgm_updates() -> None:
    """After gradient masks, too, a step does not raise the loss of the buffer, which is drawn as a whole."""
    of = job("sparcl-agem", buffer=16, batch_norm=False)
    state = opened(of)
    rule = methods.make("sparcl-agem", state.settings, state.density)
    rule.begin_task(state)
    for task in range(2):
        trainer._open(state, task, of.tasks[task])
        rule.begin_task(state)
        for state.step, at in enumerate(range(0, 96, 16)):
            batch = state.batch(np.arange(at, at + 16))
            loss = rule.loss(state, batch)
            parameters = state.network.parameters()
            for w in parameters:
                w.grad = None
            loss.total.backward()
            rule.after_backward(state, batch, loss)
            state.masks.apply_to_gradients()
            if task:
                kept = state.draw()
                buffered = torch.nn.functional.cross_entropy(state.network(kept.x), kept.y)
                reference = torch.autograd.grad(buffered, parameters)
                assert sum(float((w.grad * r).sum()) for w, r in zip(parameters, reference, strict=True)) > -1e-5
            with torch.no_grad():
                for w in parameters:
                    w.sub_(0.1 * w.grad)
            if not task:
                state.buffer.add(batch.raw, batch.y, loss.logits)
    layer = state.network.sparse[0]
    assert 0 < state.masks.updated(layer) < state.masks.live(layer) < layer.size


@pytest.mark.parametrize("method", ["static-agem", "rigl-lwf", "snip-agem", "sparcl-lwf"])
def test_masks_stand_around_lwf_and_agem(method: str) -> None:
    found = run(method, epochs=3, ddr=False)
    assert all(share == pytest.approx(0.25, abs=0.01) for share in found.density.values())


def test_forgetting_is_what_a_buffer_prevents() -> None:
    naive, replayed = run("naive").class_il, run("der++").class_il
    assert naive[0, 0] - naive[1, 0] > 0.3
    assert replayed[1, 0] - naive[1, 0] > 0.3


def test_rigl_keeps_its_density_and_moves_to_the_largest_gradients() -> None:
    state = opened(job("rigl-naive", epochs=10))
    rule = methods.make("rigl-naive", state.settings, state.density)
    rule.begin_task(state)
    layer = state.network.sparse[0]
    before = state.masks.weights(layer).clone()
    state.epoch = 1
    rule.begin_epoch(state)
    after = state.masks.weights(layer)
    assert int(after.sum()) == keep(0.25, layer)
    dropped, new = before & ~after, after & ~before
    assert int(new.sum()) == int(dropped.sum()) > 0
    assert not layer.weight[new].any()
    assert state.work.macs["importance"]["weight_grad"] > state.work.macs["importance"]["forward"]


def test_snip_keeps_the_most_sensitive_connections() -> None:
    """A zero input gives its weights no gradient, so none of them is kept."""
    made = tuple(replace(t, x_train=t.x_train * (np.arange(12) < 6)) for t in tasks())
    state = opened(job("snip-er", made=made, normalise="range"))
    methods.make("snip-er", state.settings, state.density).begin_task(state)
    mask = state.masks.weights(state.network.sparse[0])
    assert int(mask.sum()) == keep(0.25, state.network.sparse[0])
    assert not mask[:, 6:].any()


def test_ablations_leave_each_part_out() -> None:
    whole = run("sparcl-er")
    without = {part: run("sparcl-er", **{part: False}) for part in ("tdm", "ddr", "dgm")}
    assert without["ddr"].data_used == 1.0 > whole.data_used
    assert sum(without["dgm"].macs["refresh"].values()) == 0 < sum(whole.macs["refresh"].values())
    assert sum(without["tdm"].macs["importance"].values()) == 0 < sum(whole.macs["importance"].values())
    assert without["dgm"].flops_paper > whole.flops_paper


def test_a_learning_rate_of_its_own() -> None:
    settings = ReferenceConfig(learning_rates=(("er", 0.5),))
    assert (settings.rate("er"), settings.rate("der")) == (0.5, 0.03)


def test_trial_steps_end_each_task_early() -> None:
    seen: list[tuple[int, int]] = []
    found = trainer.run(job("er", steps=3), lambda done, total: seen.append((done, total)))
    assert found.data_used == 3 * 16 / (10 * 100)
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize(
    ("method", "changes", "density", "words"),
    [
        ("sparcl-er", {"q": 0.75}, 0.25, r"\[reference\] q is 0.75, but \[network\] density 0.25 .* sparsity of 0.75"),
        ("sparcl-er", {"q": 0.5}, 0.25, "with q <= s"),
        ("sparcl-er", {"q": 1.0}, 0.25, "q is 1: no weight would be updated"),
        ("sparcl-er", {"p_inter": 0.8}, 0.25, r"\[reference\] p_inter is 0.8, .* leaves only 0.75"),
        ("sparcl-er", {"p_intra": 0.3}, 0.25, r"\[reference\] p_intra is 0.3"),
        ("sparcl-er", {"epochs": 2}, 0.25, r"\[reference\] ddr .* epochs is 2"),
        ("rigl-der++", {}, 1.0, r"\[network\] density is 1"),
        ("sgd", {}, 0.25, "no method 'sgd'; the methods are naive, joint"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(
    method: str, changes: dict[str, Any], density: float, words: str
) -> None:
    with pytest.raises(FloatReferenceError, match=words):
        methods.make(method, replace(ReferenceConfig(), **changes), density)
    usable = {key: value for key, value in changes.items() if key == "batch"}
    methods.make("sparcl-er", replace(ReferenceConfig(), **usable), 0.25)


def test_what_is_refused_when_a_run_starts() -> None:
    images = tasks(shape=(9, 9))
    with pytest.raises(FloatReferenceError, match=r"\[reference\] batch is 1"):
        run("er", made=images, network=CNN, batch=1)
    assert run("er", made=images, network=CNN, batch=1, batch_norm=False, steps=3).data_used == 3 / 1000
    assert run("er", batch=99, epochs=1, steps=3).data_used == 1.0  # a last mini-batch of one sample counts, but not
    assert run("er", made=images, network=CNN, batch=99, epochs=1).data_used == 0.99  # where it has no variance
    with pytest.raises(FloatReferenceError, match="kind 'resnet18' takes colour images"):
        run("er", network=NetworkConfig(kind="resnet18"))
    with pytest.raises(FloatReferenceError, match="batch_norm is false"):
        run("er", network=NetworkConfig(kind="resnet18"), batch_norm=False)
    with pytest.raises(SparclError, match=r"\[network\] kind 'cnn_s'"):
        run("er", network=CNN)
    first, second = tasks()
    empty = replace(second, x_train=second.x_train[:0], y_train=second.y_train[:0])
    with pytest.raises(FloatReferenceError, match="task 1 has no training sample"):
        run("er", made=(first, empty))
    with pytest.raises(FloatReferenceError, match="device 'tpu'"):
        run("er", device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(FloatReferenceError, match="--device is cuda, but torch finds no GPU"):
            run("er", device="cuda")


def test_every_name_makes_a_method_and_q_follows_the_density() -> None:
    for name in names.METHODS:
        method = methods.make(name, ReferenceConfig(), 0.25)
        assert isinstance(method, methods.Masked) == ("-" in name)
    for density, q in ((0.25, 0.80), (0.10, 0.92), (0.05, 0.96)):
        state = opened(job("sparcl-er", network=replace(MLP, density=density)))
        made = methods.make("sparcl-er", state.settings, density)
        assert isinstance(made, methods.Masked)
        assert made.gradient_sparsity(state) == pytest.approx(q)
