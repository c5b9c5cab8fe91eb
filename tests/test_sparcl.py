"""SparCL in the learners on the host: events, masks, importance, gradient masks, data removal, DER++."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import SPARCL, SPARCL_ROOM, random_network, random_samples, whole_task
from sparcl_mcu import numerics as nx
from sparcl_mcu import prepare
from sparcl_mcu.config import (
    Config,
    ConfigError,
    DataConfig,
    DdrConfig,
    DgmConfig,
    LearnConfig,
    NetworkConfig,
    TdmConfig,
)
from sparcl_mcu.learners import masking
from sparcl_mcu.learners.base import Importance, LearnerError, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.float_twin import FloatTwin
from sparcl_mcu.learners.masks import SparseLayer
from sparcl_mcu.learners.removal import Removal
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.learners.step import StepLearner
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import BLOCKS, Block, shrink

SAMPLES, EPOCHS = 60, 3


QUADS = Block(1, 4)


def make(block: Block = QUADS, density: float = 0.25) -> Network:
    return random_network(3, sizes=(48, 32, 16, 6), density=density, block=block)


def teach(
    learner: StepLearner, settings: LearnSettings, tasks: int = 2, each: Callable[[], None] = lambda: None
) -> None:
    """Tasks of two classes, `EPOCHS` times `SAMPLES` samples each; `each` is called after every step."""
    learner.reset(settings)
    for task in range(tasks):
        classes = (2 * task, 2 * task + 1)
        x, y = random_samples(learner.network, SAMPLES, seed=task)
        y = np.array(classes, np.uint8)[y % 2]
        learner.begin_task(TaskInfo(classes, SAMPLES, EPOCHS))
        each()
        for _ in range(EPOCHS):
            for number in np.flatnonzero(learner.wanted()):
                learner.observe(x[[number]], y[[number]], np.array([number]))
                each()
            learner.end_epoch()
            each()
        learner.end_task()


# ---- selection by count


@given(st.lists(st.integers(0, 1 << 30), min_size=1, max_size=80), st.data())
def test_the_lowest_are_exactly_as_many_and_none_above_the_cut(keys: list[int], data: Any) -> None:
    count = data.draw(st.integers(0, len(keys)))
    codes = masking.code(np.array(keys))
    chosen = masking.lowest(codes, count, data.draw(st.integers(0, (1 << 32) - 1)))
    assert chosen.sum() == count
    if 0 < count < len(keys):
        assert codes[chosen].max() <= codes[~chosen].min()


def test_codes_keep_the_order_within_an_eighth() -> None:
    values = np.unique(np.concatenate([np.arange(5000), 2 ** np.arange(30), 3 * 2 ** np.arange(28)]))
    codes = masking.code(values)
    assert (np.diff(codes) >= 0).all()
    assert codes.max() < masking.TERM_GROWN
    back = masking.decode(codes)
    assert (back <= values).all()
    assert (back >= values - values // 8).all()


def test_ties_are_taken_from_a_random_one_on_around_the_end() -> None:
    keys = np.full(10, 3)
    starts = {tuple(np.flatnonzero(masking.lowest(keys, 4, draw << 28))) for draw in range(16)}
    assert (0, 7, 8, 9) in starts
    assert len(starts) == 10


@given(st.integers(0, 2**32 - 1), st.integers(0, 30))
def test_growth_takes_exactly_as_many_unused_blocks(seed: int, count: int) -> None:
    stored = np.arange(50) % 3 == 0
    chosen = masking.grow(stored, count, seed, 5, 1)
    assert chosen.sum() == min(count, int((~stored).sum()))
    assert not (chosen & stored).any()


def test_growth_is_uniform() -> None:
    stored = np.arange(40) % 4 == 0
    counts = sum(masking.grow(stored, 6, seed, 0, 0).astype(int) for seed in range(1000))
    assert (counts[stored] == 0).all()
    assert counts[~stored].min() > 140  # 200 expected, standard deviation 13
    assert counts[~stored].max() < 260


# ---- TDM


@pytest.mark.parametrize("learner_kind", [SimulatedLearner, FloatTwin])
@pytest.mark.parametrize("importance", [Importance.PAPER, Importance.RELEASED, Importance.MAGNITUDE])
def test_counts_are_exact_at_every_event(learner_kind: type[StepLearner], importance: Importance) -> None:
    learner = learner_kind(make(), SPARCL_ROOM)
    events: list[tuple[int, list[int]]] = []

    def note() -> None:
        if learner.work["events"] > len(events):
            events.append((learner.schedule.position, [int(layer.stored.sum()) for layer in learner.masks.layers]))

    teach(learner, dataclasses.replace(SPARCL, importance=importance), each=note)
    start = [layer.start for layer in learner.masks.layers]
    lent = [layer.start + masking.share(layer.stored.size, SPARCL.tdm_inter) for layer in learner.masks.layers]
    length = SAMPLES * EPOCHS
    due = [0, *(-(-i * length // 10) for i in range(1, 10))]
    assert [position for position, _ in events] == due * 2
    assert [counts for _, counts in events] == [start] * 10 + [lent] + [start] * 9


def test_masks_move_and_are_fixed_after_the_last_event() -> None:
    learner = SimulatedLearner(make(), SPARCL_ROOM)
    seen: list[bytes] = []
    teach(learner, SPARCL, each=lambda: seen.append(learner.masks.layers[0].stored.tobytes()))
    assert len(set(seen)) > 15  # two tasks of eight moves and one loan
    tail = SAMPLES * EPOCHS // 10 - 1
    assert len(set(seen[-tail:])) == 1


@pytest.mark.parametrize("dgm_share", [0, 32768])
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_what_is_masked_is_zero_and_masks_are_whole_blocks(block: Block, dgm_share: int) -> None:
    learner = SimulatedLearner(make(block), SPARCL_ROOM)
    teach(learner, dataclasses.replace(SPARCL, dgm_share=dgm_share))
    for layer in learner.masks.layers:
        state = learner.layers[layer.node.name]
        assert (state.masters[~layer.mask] == 128).all()
        assert np.array_equal(shrink(layer.mask, block), layer.stored)
        assert (layer.selected <= layer.stored).all()


def test_the_gradient_term_decides() -> None:
    """With terms rounded away TDM would be magnitude pruning: the masks must differ, and terms be above 0."""
    masks = []
    for importance in (Importance.PAPER, Importance.MAGNITUDE):
        learner = SimulatedLearner(make(), SPARCL_ROOM)
        teach(learner, dataclasses.replace(SPARCL, importance=importance, dgm_share=0))
        masks.append([layer.stored.copy() for layer in learner.masks.layers])
        measured = [np.count_nonzero(layer.terms[layer.stored]) / layer.start for layer in learner.masks.layers]
        assert (min(measured) > 0.3) == (importance is Importance.PAPER)
    assert any((a != b).any() for a, b in zip(*masks, strict=True))


def test_integer_terms_follow_the_float_twins() -> None:
    """The same weights and samples: accumulated gradients agree in order."""
    settings = dataclasses.replace(SPARCL, lr_exponent=-15, tdm_intra=0, tdm_inter=0)
    integer, real = SimulatedLearner(make(), SPARCL_ROOM), FloatTwin(make(), SPARCL_ROOM)
    for learner in (integer, real):
        teach(learner, settings)
    for a, b in zip(integer.masks.layers, real.masks.layers, strict=True):
        ours = masking.decode(a.terms[a.stored].astype(np.int64))
        assert np.corrcoef(ours, b.terms[a.stored])[0, 1] > 0.97


def test_importance_passes_neither_learn_nor_move_a_window() -> None:
    learner = SimulatedLearner(make(), SPARCL_ROOM)
    learner.reset(SPARCL)
    learner.begin_task(TaskInfo((0, 1), SAMPLES, EPOCHS))
    x, _ = random_samples(learner.network, 1, seed=0)
    layer, blocks = learner.masks.slice(0)
    before = learner.state_hash()
    from sparcl_mcu.learners.step import Lesson, Slice

    assert learner._measure(Lesson(x[0], 1), Slice(layer, blocks, 0))
    assert learner.state_hash() == before
    assert learner.layers[layer.node.name].accumulated[0].any()
    assert not learner.layers[layer.node.name].accumulated[1].any()


# ---- DGM


@pytest.mark.parametrize("learner_kind", [SimulatedLearner, FloatTwin])
def test_unselected_weights_are_bit_identical_between_refreshes(learner_kind: type[StepLearner]) -> None:
    settings = dataclasses.replace(SPARCL, importance=Importance.OFF)
    learner = learner_kind(make(), SPARCL_ROOM)
    before: dict[str, Any] = {}
    compared = 0

    def weights(layer: SparseLayer) -> np.ndarray:
        if isinstance(learner, SimulatedLearner):
            return learner.layers[layer.node.name].masters.copy()
        return learner._layers[layer.node.name].weight.detach().numpy().copy()  # type: ignore[attr-defined]

    def check() -> None:
        nonlocal compared
        events = learner.work["events"]
        for layer in learner.masks.layers:
            name, now = layer.node.name, weights(layer)
            if before.get("events") == events:
                assert np.array_equal(now[~layer.learns], before[name][~layer.learns])
                compared += 1
            before[name] = now
        before["events"] = events

    teach(learner, settings, each=check)
    assert compared > 300
    for layer in learner.masks.layers:
        assert layer.selected.sum() == masking.share(layer.start, settings.dgm_share)
    assert learner.stats()["macs_weight_grad"] < 0.8 * learner.stats()["macs_forward"]


def test_grown_blocks_learn() -> None:
    learner = SimulatedLearner(make(), SPARCL_ROOM)
    learner.reset(SPARCL)
    learner.begin_task(TaskInfo((0, 1), SAMPLES, EPOCHS))
    layer = learner.masks.layers[0]
    layer.selected[:] = False
    layer.terms[layer.stored] = 100
    layer.grow(layer.start + 3, 0, 0)
    layer.select(SPARCL.dgm_share, 0, 0)
    grown = layer.terms == masking.TERM_GROWN
    assert grown.sum() == 3
    assert layer.selected[grown].all()


# ---- DDR


def test_ddr_removes_the_most_often_right_in_even_parts_and_exactly() -> None:
    removal = Removal(100)
    removal.begin(90, 10, 20000)  # cut-off after epoch 4
    wrong = np.arange(90) % 3 == 0
    for epoch in range(1, 11):
        for number in np.flatnonzero(removal.alive):
            removal.note(int(number), bool(wrong[number]))
        removal.end_epoch(epoch, 1, epoch)
        assert removal.removed == 90 * 20000 * min(epoch, 4) // (65536 * 4)
        assert removal.alive[:90].sum() == 90 - removal.removed
    assert removal.alive[:90][wrong].all()  # 27 leave, and 60 were always right


def test_ddr_never_removes_what_it_has_not_seen() -> None:
    removal = Removal(20)
    removal.begin(20, 5, 32768)
    for number in range(3):
        removal.note(number, wrong=False)
    removal.end_epoch(1, 0, 0)
    assert np.flatnonzero(~removal.alive).tolist() == [0, 1, 2]


def test_removed_samples_are_refused_and_fewer_are_learnt() -> None:
    settings = dataclasses.replace(SPARCL, ddr_fraction=20000, importance=Importance.OFF, dgm_share=0)
    learner = SimulatedLearner(make(), SPARCL_ROOM)
    teach(learner, settings)
    gone = SAMPLES * 20000 // 65536
    assert learner.step == 2 * (SAMPLES * EPOCHS - (EPOCHS - 1) * gone)
    learner = SimulatedLearner(make(), SPARCL_ROOM)
    learner.reset(settings)
    x, y = random_samples(learner.network, SAMPLES, seed=0)
    learner.begin_task(whole_task(learner.network, SAMPLES, EPOCHS))
    learner.observe(x, y, np.arange(SAMPLES))
    learner.end_epoch()
    first = int(np.flatnonzero(~learner.wanted())[0])
    with pytest.raises(LearnerError, match=f"sample {first} is not one of the task's 60, or was removed"):
        learner.observe(x[:1], y[:1], np.array([first]))


# ---- losses and replay


def test_derpp_draws_twice_and_stores_the_logits_before_learning() -> None:
    learner = SimulatedLearner(make(), SPARCL_ROOM)
    settings = LearnSettings(seed=1, replay=Replay.DERPP, lr_exponent=-5)
    learner.reset(settings)
    x, y = random_samples(learner.network, 30, seed=1)
    learner.begin_task(whole_task(learner.network))
    first = learner._logits(x[0])
    learner.observe(x[:1], y[:1])
    assert np.array_equal(learner.replay.logits[0], first)
    assert not np.array_equal(learner._logits(x[0]), first)
    learner.observe(x[1:], y[1:])
    learner.end_task()
    learner.begin_task(whole_task(learner.network))
    learner.observe(x, y)
    assert learner.stats()["training_passes"] == 30 + 3 * 30


def test_der_pulls_logits_to_the_stored_ones() -> None:
    for learner in (SimulatedLearner(make(), SPARCL_ROOM), FloatTwin(make(), SPARCL_ROOM)):
        learner.reset(LearnSettings(replay=Replay.DER, alpha_shift=2, lr_exponent=-5))
        x, y = random_samples(learner.network, 2, seed=1)
        learner.remember(x[:1], y[:1])
        target = learner._logits(x[0]) + 20
        learner.replay.logits[0] = target
        before = np.abs(learner._logits(x[0]) - target).sum()
        learner.begin_task(whole_task(learner.network))
        for _ in range(40):
            learner._pass(learner._drawn(nx.Stream.FIRST_DRAW, logits=True))
        assert np.abs(learner._logits(x[0]) - target).sum() < before / 2, type(learner).__name__


def test_the_single_head_loss_leaves_other_classes_rows_alone() -> None:
    learner = SimulatedLearner(make(), Room(replay=4))
    learner.reset(LearnSettings(single_head_loss=True, lr_exponent=-5))
    x, y = random_samples(learner.network, 20, seed=1)
    head = learner.layers["fc3"]
    before = head.masters.copy()
    learner.begin_task(TaskInfo((1, 4)))
    learner.observe(x, np.array([1, 4], np.uint8)[y % 2])
    moved = (head.masters != before).any(axis=1)
    assert moved.tolist() == [c in (1, 4) for c in range(6)]


def test_margin_skip_learns_nothing_from_what_is_clear() -> None:
    learner = SimulatedLearner(make(), Room(replay=4))
    x, _ = random_samples(learner.network, 30, seed=1)
    learner.reset(LearnSettings(margin=1))
    answers = learner.predict(x)
    learner.begin_task(whole_task(learner.network))
    masters = learner.layers["fc1"].masters.copy()
    sure = next(i for i, z in enumerate(map(learner._logits, x)) if np.sort(z)[-1] - np.sort(z)[-2] >= 1)
    learner.observe(x[[sure]], answers[[sure]])
    assert np.array_equal(learner.layers["fc1"].masters, masters)
    assert learner.stats()["skipped"] == 1
    learner.observe(x[[sure]], (answers[[sure]] + 1) % 6)
    assert not np.array_equal(learner.layers["fc1"].masters, masters)


def test_remembered_samples_are_replayed_in_the_first_task_and_not_learnt_before() -> None:
    learner = SimulatedLearner(make(), SPARCL_ROOM)
    learner.reset(LearnSettings(replay=Replay.DERPP))
    x, y = random_samples(learner.network, 25, seed=1)
    masters = learner.layers["fc1"].masters.copy()
    learner.remember(x, y)
    assert np.array_equal(learner.layers["fc1"].masters, masters)
    assert (learner.step, learner.replay.seen) == (0, 25)
    learner.begin_task(whole_task(learner.network))
    learner.observe(x[:4], y[:4])
    assert learner.stats()["training_passes"] == 12


def test_predicting_among_classes_is_task_il() -> None:
    for learner in (SimulatedLearner(make(), Room()), FloatTwin(make(), Room())):
        x, _ = random_samples(learner.network, 40, seed=1)
        best = [2 + int(np.argmax(learner._logits(sample)[2:4])) for sample in x]
        assert learner.predict(x, (2, 3)).tolist() == best


# ---- refusals

BAD: list[Any] = [
    ({"replay": 20}, SPARCL, "generated without room for logits"),
    ({"replay": 20, "logits": True}, SPARCL, r"masks that move \(TDM\)"),
    (
        {"replay": 20, "logits": True, "tdm": True, "slice": 64, "dgm": True},
        SPARCL,
        "5240 / 65536 more blocks a layer",
    ),
    ({"logits": True, "tdm": True, "inter": 9999, "slice": 64}, SPARCL, r"a selection of blocks \(DGM\)"),
    ({"logits": True, "tdm": True, "inter": 9999, "dgm": True}, SPARCL, "measured importance"),
    ({}, LearnSettings(ddr_fraction=9), "counters for DDR"),
]


@pytest.mark.parametrize(("memory", "settings", "message"), BAD)
def test_settings_that_need_memory_which_is_not_there(
    memory: dict[str, Any], settings: LearnSettings, message: str
) -> None:
    with pytest.raises(LearnerError, match=message):
        SimulatedLearner(make(), Room(**memory)).reset(settings)


def test_tasks_that_do_not_suit_the_settings() -> None:
    learner = SimulatedLearner(make(), SPARCL_ROOM)
    learner.reset(SPARCL)
    before = learner.state_hash()
    with pytest.raises(LearnerError, match="announce the task's samples and epochs"):
        learner.begin_task(whole_task(learner.network))
    with pytest.raises(LearnerError, match=r"12 presentations, but measuring 11 slices .* needs at least 110"):
        learner.begin_task(whole_task(learner.network, 12, 1))
    with pytest.raises(LearnerError, match=r"classes \(6,\) in a network of 6"):
        learner.begin_task(TaskInfo((6,), 60, 3))
    assert learner.state_hash() == before
    learner.reset(dataclasses.replace(SPARCL, ddr_fraction=999, importance=Importance.OFF, dgm_share=0))
    with pytest.raises(LearnerError, match="81 samples, but DDR has counters for 80"):
        learner.begin_task(whole_task(learner.network, 81, 3))
    with pytest.raises(LearnerError, match="epochs is 2; 3 are needed"):
        learner.begin_task(whole_task(learner.network, 60, 2))
    assert (learner.tasks_begun, learner.removal.samples) == (0, 0)
    learner.begin_task(TaskInfo((0, 1), 60, 3))
    opened = learner.state_hash()
    x, y = random_samples(learner.network, 3, seed=0)
    with pytest.raises(LearnerError, match=r"a label is not one of the task's classes \(0, 1\)"):
        learner.observe(x, y * 0 + 2, np.arange(3))
    with pytest.raises(LearnerError, match="give numbers"):
        learner.observe(x, y % 2)
    with pytest.raises(LearnerError, match="before a task opens or after it ended"):
        learner.remember(x, y)
    with pytest.raises(LearnerError, match="a task is open already"):
        learner.begin_task(TaskInfo((0, 1), 60, 3))
    assert learner.state_hash() == opened
    for among in ((), (6,)):
        with pytest.raises(LearnerError, match="in a network of 6 classes"):
            learner.predict(x, among)


def test_rates_fall_to_what_the_board_knows_at_most() -> None:
    with pytest.raises(LearnerError, match=r"anneal is 5; it must lie in 0 .. lr_exponent \+ 15 = 4"):
        LearnSettings(lr_exponent=-11, anneal=5)
    with pytest.raises(LearnerError, match=r"EWC finds out .* set \[learn\] anneal = 0"):
        LearnSettings(replay=Replay.EWC, anneal=1)
    learner = SimulatedLearner(make(), SPARCL_ROOM)
    learner.reset(LearnSettings(anneal=3))
    with pytest.raises(LearnerError, match="in each of the last 3 of 3 epochs; announce more"):
        learner.begin_task(whole_task(learner.network, 60, 3))


def test_batches_and_moving_masks_do_not_mix() -> None:
    with pytest.raises(LearnerError, match="mini-batch of 4 steps cannot be gathered under moving masks"):
        Room(batch=4, tdm=True)


# ---- from the experiment file

SPARSE = Config(
    "x",
    DataConfig("digits", samples_per_task=50),
    network=NetworkConfig(density=0.25, block="1x4"),
    learn=LearnConfig(method="der++", replay=30),
    tdm=TdmConfig("paper", 0.005, 0.01),
    dgm=DgmConfig(0.8),
    ddr=DdrConfig(0.3),
)


def test_fractions_become_what_the_board_counts_with() -> None:
    settings = prepare.learn_settings(SPARSE)
    assert settings.replay is Replay.DERPP
    assert settings.importance is Importance.PAPER
    assert settings.dgm_share == round(0.8 * 65536)  # 20 % of all weights are 80 % of the stored ones
    assert (settings.tdm_intra, settings.tdm_inter, settings.ddr_fraction) == (328, 655, 19661)
    room = prepare.room(SPARSE, make())
    assert room.logits
    assert room.tdm
    assert room.dgm
    assert room.ddr == 50
    assert room.inter == 655
    capacity = 4 * (96 + 4)  # weights: 96 of 384 blocks in fc1, and 1 % more of 384
    assert room.slice == 4 * -(-capacity // (4 * prepare.SLICES))
    room.check(settings)
    plain = prepare.without_replay(settings)
    assert not plain.scheduled


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dataclasses.replace(SPARSE, dgm=DgmConfig(0.75)), "sparsity q is 0.75, but .* s = 0.75 of the weights"),
        (dataclasses.replace(SPARSE, data=DataConfig("digits")), r"says nothing; set \[ddr\] samples"),
        (
            dataclasses.replace(SPARSE, data=DataConfig("digits", samples_per_task=70000)),
            r"1 .. 65535, .* says 70000; set \[ddr\] samples",
        ),
        (dataclasses.replace(SPARSE, tdm=TdmConfig("paper", 0.25, 0.01)), "intra is 0.25, .* density leaves only 0.25"),
        (dataclasses.replace(SPARSE, tdm=TdmConfig("paper", 0.005, 0.8)), "inter is 0.8, but only 0.75 .* are masked"),
        (
            dataclasses.replace(SPARSE, tdm=TdmConfig("paper", 0.249, 0.01)),
            "intra moves 96 of fc1's 384 blocks at an event, and only 96 are stored",
        ),
        (dataclasses.replace(SPARSE, tdm=TdmConfig("paper", 0.0001, 0.0)), "come to no block of any layer"),
        (dataclasses.replace(SPARSE, dgm=DgmConfig(0.7501)), "leaves no block of any layer out"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(config: Config, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare.room(config, make())


def test_masks_that_move_need_a_sparse_layer() -> None:
    with pytest.raises(ConfigError, match="every layer of this network is dense or frozen"):
        prepare.room(SPARSE, make(density=1.0))


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.9])
def test_every_event_happens_however_much_data_is_removed(fraction: float) -> None:
    learner = SimulatedLearner(make(), SPARCL_ROOM)
    teach(learner, dataclasses.replace(SPARCL, ddr_fraction=round(fraction * 65536)))
    assert learner.work["events"] == 20
    assert [int(layer.stored.sum()) for layer in learner.masks.layers] == [
        layer.start for layer in learner.masks.layers
    ]
