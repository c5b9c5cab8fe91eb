"""Directional pruning by gRDA: the threshold, what it prunes, and that C, NumPy and the float twin agree."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from executors import BOARDS, firmware, taught
from helpers import every_operator, random_graph_network, random_network, random_samples
from native import Program, assert_learnt_the_same
from sparcl_mcu import config, prepare
from sparcl_mcu.learners import grda
from sparcl_mcu.learners.base import Learner, LearnerError, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.float_twin import FloatTwin
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.messages import Status
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import Block
from sparcl_tools import state_block
from sparcl_tools.generate import model_hash
from sparcl_tools.plan import plan

SAMPLES, EPOCHS = 25, 2
MU = 39322  # 0.6
FIRST = 40_000  # grows to 0.06 in a hundred steps
NETWORKS = {
    "mlp": lambda: random_network(3, sizes=(48, 32, 16, 6), density=0.25, block=Block(1, 4)),
    "dense": lambda: random_network(3, sizes=(24, 16, 6), density=1.0),
    "every operator": lambda: random_graph_network(every_operator(), 3),
    "frozen below": lambda: random_graph_network(every_operator(("stem", "conv1", "conv2")), 3),
}


@dataclasses.dataclass(frozen=True)
class Case:
    network: str
    room: Room
    settings: LearnSettings


EWC = LearnSettings(seed=3, lr_exponent=-6, replay=Replay.EWC, alpha_shift=0)
CASES = {
    "ewc": Case("every operator", Room(ewc=True, prune=FIRST, prune_mu=MU), EWC),
    "ewc, ids": Case("mlp", Room(ewc=True, ids=32768, prune=FIRST, prune_mu=MU), EWC),
    "sharp": Case("every operator", Room(ewc=True, prune=FIRST, prune_mu=MU, rho=9), EWC),
    "sharp, ids": Case("dense", Room(ewc=True, ids=32768, prune=FIRST, prune_mu=MU, rho=11), EWC),
    "er": Case("dense", Room(8, prune=FIRST, prune_mu=32768), LearnSettings(3, 1, -6)),
    "der++, latents": Case(
        "frozen below",
        Room(8, logits=True, latent=True, prune=FIRST, prune_mu=MU),
        LearnSettings(3, 1, -6, Replay.DERPP),
    ),
    "lightcl": Case(
        "mlp",
        Room(5, logits=True, light_keep=9830, light_most=19661, prune=FIRST, prune_mu=MU),
        LearnSettings(3, 1, -6, Replay.LIGHTCL, 7),
    ),
}


@cache
def network(name: str) -> Network:
    return NETWORKS[name]()


def tasks(net: Network) -> list[tuple[TaskInfo, NDArray[np.int8], NDArray[np.uint8]]]:
    found = []
    for task in range(2):
        x, y = random_samples(net, SAMPLES, seed=task)
        classes = (2 * task, 2 * task + 1)
        found.append((TaskInfo(classes, SAMPLES, EPOCHS), x, np.array(classes, np.uint8)[y % 2]))
    return found


def teach(learner: Learner, case: Case) -> list[int | None]:
    """Two tasks; the state hash after every epoch."""
    hashes = []
    learner.reset(case.settings)
    for task, x, y in tasks(network(case.network)):
        learner.begin_task(task)
        for _ in range(EPOCHS):
            learner.observe(x, y)
            learner.end_epoch()
            hashes.append(learner.state_hash())
        learner.end_task()
    return hashes


@cache
def expected(name: str) -> tuple[SimulatedLearner, list[int | None]]:
    learner = SimulatedLearner(network(CASES[name].network), CASES[name].room)
    return learner, teach(learner, CASES[name])


def zeros(learner: SimulatedLearner) -> int:
    """Stored weights in use that are 0."""
    layers = [learner.layers[node.name] for node in grda.pruned(learner.network)]
    return sum(int(np.count_nonzero(layer.hi[layer.learns] == 0)) for layer in layers)


# ---- what is computed


@pytest.mark.parametrize("mu", [0.5, 0.6, 0.7])
def test_the_threshold_is_the_sum_that_grda_keeps(mu: float) -> None:
    """To 1.5 %, and to half a unit of the first."""
    rate, c = 2.0**-7, 0.05
    powers = grda.powers(grda.start(c, rate, mu), round(mu * 65536))
    tau = 0.0
    for n in range(1, 5000):
        tau += c * rate ** (mu + 0.5) * (n**mu - (n - 1) ** mu)
        ours = grda.threshold(powers, n) * 2.0**grda.EXPONENT
        assert tau * 0.984 < ours < tau * 1.0005, n
    assert grda.threshold(powers, 0) == grda.threshold(powers, 1) == powers[0]
    assert grda.threshold(powers, (1 << 32) - 1) <= grda.MOST
    found = [grda.threshold(powers, step) for step in (*range(300), 1 << 31, (1 << 32) - 1)]
    assert found == sorted(found)
    assert grda.powers(1 << 30, 65535)[-1] == grda.MOST


def test_weights_are_masters_drawn_towards_zero() -> None:
    masters = np.arange(-32512, 32768, dtype=np.int16)[None]
    e_w = -9
    for tau in (0.0, 0.001, 0.01, 0.05):
        real = (masters.astype(float) - 128) * 2.0 ** (e_w - 8)
        soft = np.sign(real) * np.maximum(np.abs(real) - tau, 0)
        ours = grda.weights(masters, np.array([e_w], np.int8), round(tau * 2**24))
        assert np.abs(ours * 2.0**e_w - soft).max() <= 2.0 ** (e_w - 1) * 1.01
    assert np.array_equal(grda.weights(masters, np.array([e_w], np.int8), 0), masters >> 8)
    assert not grda.weights(masters, np.array([e_w], np.int8), grda.MOST).any()


def test_a_threshold_of_nothing_changes_nothing() -> None:
    case = CASES["er"]
    plain = SimulatedLearner(network(case.network), Room(8))
    pruned = SimulatedLearner(network(case.network), Room(8, prune=1, prune_mu=1))
    for learner in (plain, pruned):
        teach(learner, case)
    for name, layer in plain.layers.items():
        assert np.array_equal(layer.masters, pruned.layers[name].masters)
        assert np.array_equal(layer.hi, pruned.layers[name].hi)


def test_weights_are_pruned_and_what_is_left_learns() -> None:
    case = CASES["ewc"]
    net, roomy = network(case.network), dataclasses.replace(case.room, prune=120_000)  # 0.11 in a hundred steps
    learner, plain = SimulatedLearner(net, roomy), SimulatedLearner(net, Room(ewc=True))
    for each in (learner, plain):
        teach(each, case)
    stored = sum(net.weights[node.name].slots for node in grda.pruned(net))
    assert zeros(learner) > 0.4 * stored
    assert zeros(plain) < 0.04 * stored
    assert learner.moved() > 0.5
    assert learner.layers["depthwise"].working is None
    layer = learner.layers["conv1"]
    assert layer.ewc is not None
    assert np.array_equal(layer.ewc.anchor, layer.masters), "EWC holds what learns, not what is in use"


def test_the_twin_prunes_alike() -> None:
    case = CASES["er"]
    twin, simulated = FloatTwin(network(case.network), case.room), expected("er")[0]
    teach(twin, case)
    for node, layer in zip(grda.pruned(network(case.network)), twin._pruned, strict=True):
        ours = simulated.layers[node.name]
        real = ours.hi * 2.0**ours.start.exponent
        theirs = layer.weight.detach().numpy()
        assert np.corrcoef(real.ravel(), theirs.ravel())[0, 1] > 0.97
        assert abs((real == 0).mean() - (np.abs(theirs) < 2.0 ** (ours.start.exponent - 1)).mean()) < 0.1
        assert np.count_nonzero(theirs == 0) > 0


# ---- sharpness


def test_an_ascent_is_as_long_as_asked_for() -> None:
    rng = np.random.default_rng(0)
    for rho in (1, 8, 14):
        for size in (1, 40, 3000, (1 << 31) - 1):
            step = grda.ascent(rng.integers(-size, size + 1, 50), rho)
            assert 1 << (rho - 1) <= np.abs(step).max() <= 1 << rho
    assert not grda.ascent(np.zeros(5, np.int64), 9).any()


def test_gradients_are_taken_up_the_slope_and_masters_are_where_they_were() -> None:
    net, rho = network("dense"), 11
    learner = SimulatedLearner(net, Room(ewc=True, prune=1, prune_mu=1, rho=rho))
    learner.reset(EWC)
    (task, x, y), _ = tasks(net)
    learner.begin_task(task)
    seen = []
    forward = learner._forward
    learner._forward = lambda sample: seen.append((layer.masters.copy(), layer.hi)) or forward(sample)  # type: ignore
    layer, climbed = learner.layers["fc1"], []
    for i in range(SAMPLES):
        seen.clear()
        learner.observe(x[i : i + 1], y[i : i + 1])
        if len(seen) == 1:
            continue  # nothing to learn
        (before, here), (there, above) = seen
        assert np.array_equal(before, there)
        assert 1 << (rho - 9) <= np.abs(above - here).max() <= 1 << (rho - 8)
        assert np.array_equal(layer.hi, layer.masters >> 8), "made of masters anew"
        assert not np.array_equal(layer.masters, before)
        losses = []
        for weights in (here, above):
            layer.working = weights.astype(np.int8)
            z = forward(x[i])[0] / 32
            losses.append(np.log(np.exp(z - z[y[i]]).sum()))
        layer.working = (layer.masters >> 8).astype(np.int8)
        climbed.append(losses[1] - losses[0])
    assert len(climbed) > SAMPLES / 2
    assert np.mean(np.array(climbed) > 0) > 0.9


def test_a_second_pass_is_counted() -> None:
    learner, _ = expected("sharp")
    stats, net = learner.stats(), learner.network
    assert stats["macs_input_grad"] == 2 * stats["backward_passes"] * net.macs_input_grad
    assert stats["macs_weight_grad"] == 2 * stats["backward_passes"] * net.macs_weight_grad
    assert stats["macs_forward"] == (stats["training_passes"] + stats["backward_passes"]) * net.macs_forward


def test_the_twin_climbs_alike() -> None:
    case = CASES["sharp, ids"]
    twin, simulated = FloatTwin(network(case.network), case.room), expected("sharp, ids")[0]
    teach(twin, case)
    for node, layer in zip(grda.pruned(network(case.network)), twin._pruned, strict=True):
        ours = simulated.layers[node.name]
        masters = (ours.masters.astype(float) - 128).ravel()
        assert np.corrcoef(masters, layer.master.numpy().ravel())[0, 1] > 0.97


# ---- C


@pytest.mark.parametrize("name", CASES)
def test_c_equals_numpy(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    net = network(case.network)
    program = Program(net, tmp_path, room=case.room)
    program.reset(case.settings)
    for task, x, y in tasks(net):
        program.begin_task(task)
        for _ in range(EPOCHS):
            program.observe(x, y)
            program.end_epoch()
            program.hash()
        program.end_task()
    program.counters()
    program.save()
    learner, want = expected(name)
    again = assert_learnt_the_same(program.run(), learner, want, net, case.room)
    task, x, y = tasks(net)[0]
    for other in (again, learner):  # goes on alike
        other.begin_task(task)
        other.observe(x[:9], y[:9])
    assert again.state_hash() == learner.state_hash()
    expected.cache_clear()


@pytest.mark.parametrize("board", BOARDS)
def test_training_is_equal_on_every_core(board: str, tmp_path: Path) -> None:
    case = CASES["sharp"]
    program, _ = firmware(board, network(case.network), tmp_path, room=case.room, whole_memory=True)
    with taught(board, program, network(case.network), room=case.room) as learner:
        assert teach(learner, case) == expected("sharp")[1]


def test_a_state_with_impossible_weights_is_not_admitted(tmp_path: Path) -> None:
    case = CASES["er"]
    program = Program(network(case.network), tmp_path, room=case.room)
    program.save()
    block = bytearray.fromhex(program.run()[0])
    field = next(f for f in plan(network(case.network), case.room).state if f.name == "fc1_working")
    program.load(bytes(block))
    program.admit()
    block[field.offset + field.bytes - 1] = 0x80
    with pytest.raises(state_block.StateError, match="fc1 has a weight in use below -127"):
        state_block.load(network(case.network), case.room, bytes(block))
    program.load(bytes(block))
    program.refused(Status.STATE)
    program.admit()
    program.run()


# ---- what it needs


def test_room_is_a_byte_a_weight_and_a_table() -> None:
    net, room = network("every operator"), Room(ewc=True, prune=FIRST, prune_mu=MU)
    plain, roomy = plan(net, Room(ewc=True)), plan(net, room)
    slots = sum(net.weights[node.name].slots for node in net.trainable() if node.op != "depthwise")
    assert sum(f.bytes for f in roomy.state) - sum(f.bytes for f in plain.state) == slots
    assert roomy.arena_bytes == plain.arena_bytes
    assert roomy.constant_bytes - plain.constant_bytes == 4 * len(grda.powers(1, 1))
    rooms = (Room(ewc=True), room, dataclasses.replace(room, prune=1), dataclasses.replace(room, prune_mu=1))
    assert len({model_hash(net, each) for each in rooms}) == len(rooms)


def test_what_does_not_go_together_is_refused() -> None:
    for more in ({"batch": 4}, {"tdm": True}, {"dgm": True, "slice": 64}):
        with pytest.raises(LearnerError, match=r"gRDA .* needs batch = 1, and masks that stay"):
            Room(prune=1, prune_mu=1, **more)  # type: ignore[arg-type]
    for more in ({}, {"ewc": True}, {"prune": 1, "prune_mu": 1}):
        with pytest.raises(LearnerError, match="needs room for both"):
            Room(rho=9, **more)  # type: ignore[arg-type]
    with pytest.raises(LearnerError, match=r"0 \.\. 14 are possible"):
        Room(ewc=True, prune=1, prune_mu=1, rho=15)
    for first, mu in ((1 << 31, 1), (1, 0), (1, 65536), (-1, 1)):
        with pytest.raises(LearnerError, match=r"choose another .grda. c or mu"):
            Room(prune=first, prune_mu=mu)


def test_an_experiment_asks_for_it() -> None:
    text = 'name = "x"\n[data]\nsource = "digits"\n[learn]\nlr_exponent = -6\n'
    wanted = config.parse(text + "[grda]\nc = 0.5\n", Path("x.toml"))
    first = round(0.5 * 2.0 ** (-6 * 1.1) * 2**24)
    assert prepare.room(wanted, network("mlp")) == Room(100, prune=first, prune_mu=MU)
    plain = config.parse(text, Path("x.toml"))
    assert prepare.room(plain, network("mlp")) == Room(100)
    assert config.parse(text + "[grda]\nc = 0.0\n", Path("x.toml")).hash == plain.hash != wanted.hash
    sharp = text.replace("[learn]\n", '[learn]\nmethod = "ewc"\n') + "[grda]\nc = 0.5\nrho = 9\n"
    room = prepare.room(config.parse(sharp, Path("x.toml")), network("mlp"))
    assert room == Room(ewc=True, prune=first, prune_mu=MU, rho=9)
    for missing in ("c = 0.5\n", 'method = "ewc"\n'):
        with pytest.raises(config.ConfigError, match="rho = 9 moves the weights in use"):
            prepare.room(config.parse(sharp.replace(missing, ""), Path("x.toml")), network("mlp"))
    tiny = config.parse(text + "[grda]\nc = 1e-9\n", Path("x.toml"))
    with pytest.raises(config.ConfigError, match=r"draws weights by 0 / 2.*choose a larger c"):
        prepare.room(tiny, network("mlp"))
    large = max(network("mlp").weights[node.name].largest for node in grda.pruned(network("mlp")))
    most = large / 2.0 ** (-6 * 1.1)  # draws the largest weight to 0 at once
    prepare.room(config.parse(text + f"[grda]\nc = {0.99 * most}\n", Path("x.toml")), network("mlp"))
    with pytest.raises(config.ConfigError, match=r"the largest is .*: all would be 0; choose a smaller c"):
        prepare.room(config.parse(text + f"[grda]\nc = {1.01 * most}\n", Path("x.toml")), network("mlp"))
