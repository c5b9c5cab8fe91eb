"""IDS: the share that is learnt, that it is the samples of the largest gradients, and that C, NumPy and twin agree."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from executors import BOARDS, firmware, taught
from helpers import SPARCL, SPARCL_ROOM, every_operator, random_graph_network, random_network, random_samples
from native import Program, assert_learnt_the_same
from sparcl_mcu import config, design, prepare
from sparcl_mcu.learners import ids
from sparcl_mcu.learners.base import Importance, Learner, LearnerError, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.float_twin import FloatTwin
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.messages import Status
from sparcl_mcu.network import Network
from sparcl_mcu.ops import softmax_ce
from sparcl_mcu.sparsity import Block
from sparcl_tools import state_block
from sparcl_tools.generate import model_hash
from sparcl_tools.plan import plan

HALF = 32768
SAMPLES, EPOCHS = 30, 3
DENSE = design.mlp((8,), 4, (8,), 1.0, Block(1, 1))
NETWORKS = {
    "mlp": lambda: random_network(3, sizes=(48, 32, 16, 6), density=0.25, block=Block(1, 4)),
    "one layer": lambda: random_network(3, sizes=(24, 6), density=1.0),
    "every operator": lambda: random_graph_network(every_operator(), 3),
    "head alone": lambda: random_graph_network(
        design.freeze_until(design.mlp((8,), 4, (8,), 1.0, Block(1, 1)), "fc2"), 0
    ),
}


@dataclasses.dataclass(frozen=True)
class Case:
    network: str
    room: Room
    settings: LearnSettings


CASES = {
    "er": Case("mlp", Room(8, ids=HALF), LearnSettings(3, 1, -6)),
    "er, margin": Case("mlp", Room(8, ids=20000), LearnSettings(3, 1, -6, margin=40)),
    "repeat": Case("one layer", Room(ids=45000), LearnSettings(3, 1, -6, Replay.REPEAT, single_head_loss=True)),
    "der++": Case("every operator", Room(8, logits=True, ids=HALF), LearnSettings(3, 1, -6, Replay.DERPP)),
    "ewc": Case("every operator", Room(ewc=True, ids=HALF), LearnSettings(3, 1, -6, Replay.EWC, 0)),
    "lightcl": Case(
        "mlp",
        Room(5, logits=True, light_keep=9830, light_most=19661, ids=HALF),
        LearnSettings(3, 1, -6, Replay.LIGHTCL, 7),
    ),
    "latents of the head": Case("head alone", Room(8, latent=True, ids=HALF), LearnSettings(3, 1, -6)),
    "batch": Case("mlp", Room(8, batch=4, ids=HALF), LearnSettings(3, 1, -6)),
    "sparcl": Case(
        "mlp",
        dataclasses.replace(SPARCL_ROOM, ids=HALF),
        dataclasses.replace(SPARCL, dgm_share=0, importance=Importance.MAGNITUDE),
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
    """A few samples remembered, then two tasks; the state hash after every epoch."""
    net, hashes = network(case.network), []
    learner.reset(case.settings)
    learner.remember(*random_samples(net, 3, seed=9))
    for task, x, y in tasks(net):
        learner.begin_task(task)
        for _ in range(EPOCHS):
            learner.observe(x, y, np.arange(SAMPLES))
            learner.end_epoch()
            hashes.append(learner.state_hash())
        learner.end_task()
    return hashes


@cache
def expected(name: str) -> tuple[SimulatedLearner, list[int | None]]:
    case = CASES[name]
    learner = SimulatedLearner(network(case.network), case.room)
    return learner, teach(learner, case)


# ---- what is computed


def test_a_level_is_the_logarithm_of_the_gradient_of_the_last_layer() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        z = rng.integers(-2000, 2000, 6) >> int(rng.integers(0, 12))
        g, h = softmax_ce.gradient(z, 2), rng.integers(-127, 128, 20) >> int(rng.integers(0, 7))
        e_h = int(rng.integers(-12, 3))
        found = ids.level(g, h, e_h)
        if not g.any() or not h.any():
            assert found is None
            continue
        matrix = np.outer(g * 2.0**-15, h * 2.0**e_h)  # the weight gradient itself
        assert found == pytest.approx(ids.real_level(float(np.linalg.norm(matrix))), abs=23)  # 0.09 octaves
        assert ids.level(2 * g, h, e_h) == ids.level(g, 2 * h, e_h) == ids.level(g, h, e_h + 1) == found + 512
    levels = [ids.level(np.array([1 << k, n]), np.array([1]), 0) for k in (3, 12) for n in range(1, 200)]
    assert levels == sorted(levels), "a larger gradient never has a lower level"
    assert ids.level(np.array([0, 0]), h, 0) is None
    assert ids.real_level(0.0) is None


@pytest.mark.parametrize("share", [1, 6554, HALF, 60000])
def test_the_share_that_is_learnt_is_the_one_asked_for(share: int) -> None:
    """Also where the scores drift by ten octaves, and change at a stroke."""
    rng = np.random.default_rng(1)
    levels = np.concatenate([rng.normal(0, 300, 2000) - np.linspace(0, 2560, 2000), rng.normal(2000, 100, 2000)])
    threshold = ids.Threshold(share)
    taken = np.array([threshold.takes(float(round(level))) for level in levels])
    assert threshold.value is not None
    first = round(levels[0]) * 1024
    assert (taken.sum() << 16) - share * len(levels) == threshold.value - first, "an identity, not an estimate"
    assert abs(taken[500:].mean() - share / 65536) < 0.03
    if share > 1:
        assert levels[1000:1500][taken[1000:1500]].mean() > levels[1000:1500].mean()


def test_a_sample_without_a_score_moves_nothing() -> None:
    threshold = ids.Threshold(HALF)
    assert threshold.takes(None)
    assert threshold.value is None
    assert threshold.takes(5)
    assert threshold.value == 5 * 1024 + HALF
    assert threshold.takes(None)
    assert threshold.value == 5 * 1024 + HALF


def test_samples_of_the_largest_gradients_are_learnt_and_the_others_change_nothing() -> None:
    case = CASES["er"]
    net = network(case.network)
    learner = SimulatedLearner(net, Room(ids=HALF))
    learner.reset(case.settings)
    task, x, y = tasks(net)[0]
    learner.begin_task(task)
    scores, learnt = [], []
    for i in range(SAMPLES):
        z, trace = learner._forward(x[i])
        scores.append(ids.level(softmax_ce.gradient(z, int(y[i])), trace.maps["fc2"], learner._exponent("fc2")))
        before, threshold = learner.learnt_hash(), learner.threshold.value
        masters = learner.layers["fc1"].masters.copy()
        learner.observe(x[i : i + 1], y[i : i + 1])
        learnt.append(not np.array_equal(masters, learner.layers["fc1"].masters))
        assert learnt[-1] == (threshold is None or scores[-1] * 1024 >= threshold)
        assert learner.learnt_hash() != before, "the threshold is part of it"
    assert 0.3 < np.mean(learnt) < 0.7
    stats = learner.stats()
    assert stats["skipped"] == SAMPLES - sum(learnt)
    assert stats["backward_passes"] == sum(learnt)
    assert stats["training_passes"] == SAMPLES


def test_replayed_samples_are_always_learnt() -> None:
    learner, _ = expected("er")
    stats = learner.stats()
    new = 2 * EPOCHS * SAMPLES
    assert stats["training_passes"] == 2 * new
    assert stats["backward_passes"] == 2 * new - stats["skipped"]
    assert 0.4 < stats["skipped"] / new < 0.6


def test_the_twin_decides_alike() -> None:
    case = CASES["er"]
    twin, simulated = FloatTwin(network(case.network), case.room), expected("er")[0]
    teach(twin, case)
    ours, theirs = simulated.stats()["skipped"], twin.stats()["skipped"]
    assert abs(ours - theirs) <= 0.05 * simulated.step
    assert simulated.threshold.value == pytest.approx(twin.threshold.value, abs=1024 * 256)  # an octave of the square


# ---- C


@pytest.mark.parametrize("name", CASES)
def test_c_equals_numpy(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    net = network(case.network)
    program = Program(net, tmp_path, room=case.room)
    program.reset(case.settings)
    program.remember(*random_samples(net, 3, seed=9))
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
        other.observe(x, y, np.arange(SAMPLES))
    assert again.state_hash() == learner.state_hash()
    expected.cache_clear()


@pytest.mark.parametrize("board", BOARDS)
def test_training_is_equal_on_every_core(board: str, tmp_path: Path) -> None:
    case = CASES["ewc"]
    program, _ = firmware(board, network(case.network), tmp_path, room=case.room, whole_memory=True)
    with taught(board, program, network(case.network), room=case.room) as learner:
        assert teach(learner, case) == expected("ewc")[1]
        assert learner.stats()["skipped"] == expected("ewc")[0].stats()["skipped"]


def test_a_state_with_an_impossible_threshold_is_not_admitted(tmp_path: Path) -> None:
    net, room = network("mlp"), Room(ids=HALF)
    program = Program(net, tmp_path, room=room)
    program.save()
    block = bytearray.fromhex(program.run()[0])
    at = next(f.offset for f in plan(net, room).state if f.name == "ids_threshold")
    assert int.from_bytes(block[at : at + 4], "little", signed=True) == ids.FRESH
    assert state_block.load(net, room, bytes(block)).threshold.value is None
    for value, sound in (
        (ids.FRESH, True),
        (1 << 30, True),
        (-(1 << 30), True),
        ((1 << 30) + 1, False),
        (ids.FRESH + 1, False),
    ):
        block[at : at + 4] = value.to_bytes(4, "little", signed=True)
        program.load(bytes(block))
        if not sound:
            program.refused(Status.STATE)
            with pytest.raises(state_block.StateError, match="of IDS is out of range"):
                state_block.load(net, room, bytes(block))
        program.admit()
    program.run()


# ---- what it needs


def test_room_is_four_bytes_and_networks_without_it_are_as_before() -> None:
    net = network("mlp")
    plain, roomy = plan(net, Room(8)), plan(net, Room(8, ids=HALF))
    assert sum(f.bytes for f in roomy.state) - sum(f.bytes for f in plain.state) == 4
    assert roomy.arena_bytes == plain.arena_bytes
    assert len({model_hash(net, Room(8, ids=share)) for share in (0, 1, HALF)}) == 3
    with pytest.raises(LearnerError, match="IDS learns 65536 / 65536"):
        Room(ids=65536)


def test_an_experiment_asks_for_a_share() -> None:
    text = 'name = "x"\n[data]\nsource = "digits"\n'
    wanted = config.parse(text + "[ids]\nshare = 0.5\n", Path("x.toml"))
    assert prepare.room(wanted, network("mlp")) == Room(100, ids=HALF)
    plain = config.parse(text, Path("x.toml"))
    assert prepare.room(plain, network("mlp")) == Room(100)
    assert config.parse(text + "[ids]\nshare = 0.0\n", Path("x.toml")).hash == plain.hash != wanted.hash
    tiny = config.parse(text + "[ids]\nshare = 1e-6\n", Path("x.toml"))
    assert prepare.room(tiny, network("mlp")).ids == 1, "not none, which would be all"
    both = config.parse(text + "[learn]\nmargin_skip = 9\n[ids]\nshare = 0.5\n", Path("x.toml"))
    with pytest.raises(config.ConfigError, match="leave one of them out"):
        prepare.room(both, network("mlp"))
    with pytest.raises(config.ConfigError, match="share"):
        config.parse(text + "[ids]\nshare = 1.0\n", Path("x.toml"))
