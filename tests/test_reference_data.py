"""What the float reference trains on: data removal, the reservoir, crop and flip, scaling, domains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from reference_cases import job, run, tasks
from sparcl_mcu.data import DataError, domain_incremental
from sparcl_mcu.data.dataset import DataSet
from sparcl_mcu.reference import FloatReferenceError, inputs, schedule
from sparcl_mcu.reference.buffer import Reservoir
from sparcl_mcu.reference.ddr import DDR


def test_released_settings_use_775_of_1000_samples_and_remove_evenly() -> None:
    removal = DDR(1000, 0.30, len(schedule.removals(50)))
    rng = np.random.default_rng(0)
    used, left = 0, []
    for epoch in range(50):
        if epoch in schedule.removals(50):
            removal.remove(rng)
            left.append(len(removal.kept))
        used += len(removal.kept)
    assert left == [925, 850, 775, 700]
    assert used / (50 * 1000) == 0.775


def test_a_whole_run_uses_the_share_that_data_removal_leaves() -> None:
    made = tasks(samples=40)
    assert run("sparcl-naive", made=made, epochs=50).data_used == 0.775
    assert run("sparcl-naive", made=made, epochs=50, ddr=False).data_used == 1.0
    assert run("static-naive", made=made).data_used == 1.0


def test_the_easiest_samples_go_first_and_counting_starts_afresh() -> None:
    removal, rng = DDR(6, 0.5, 3), np.random.default_rng(0)
    everything = np.arange(6)
    for wrong in ([0, 1, 2, 3, 4], [1, 2, 3, 4], [2]):
        removal.record(everything, ~np.isin(everything, wrong))
    removal.remove(rng)
    assert removal.kept.tolist() == [0, 1, 2, 3, 4]
    for wrong in ([0, 1, 3, 4],) * 2:  # sample 2, wrong most often before, is now the easiest
        removal.record(removal.kept, ~np.isin(removal.kept, wrong))
    removal.remove(rng)
    assert removal.kept.tolist() == [0, 1, 3, 4]


def test_transitions_count_right_to_wrong_and_keep_what_was_never_right() -> None:
    removal = DDR(3, 2 / 3, 2, "transitions")
    for right in ([1, 1, 0], [1, 0, 0], [1, 1, 0]):
        removal.record(np.arange(3), np.array(right, dtype=bool))
    removal.remove(np.random.default_rng(0))
    assert removal.kept.tolist() == [1, 2]
    for right in ([1, 0], [0, 0], [1, 0]):
        removal.record(removal.kept, np.array(right, dtype=bool))
    removal.remove(np.random.default_rng(0))
    assert removal.kept.tolist() == [2]


def test_ties_are_decided_by_lot() -> None:
    left = set()
    for seed in range(40):
        removal = DDR(4, 0.5, 1)
        removal.remove(np.random.default_rng(seed))
        left.add(tuple(removal.kept.tolist()))
    assert len(left) == 6  # every pair occurs


def test_the_reservoir_keeps_every_presentation_with_equal_probability() -> None:
    kept = np.zeros(50)
    for seed in range(2000):
        buffer = Reservoir(10, np.random.default_rng(seed))
        for start in range(0, 50, 8):  # mini-batches, the last one short
            ids = torch.arange(start, min(start + 8, 50))
            buffer.add(ids[:, None].float(), ids, ids[:, None].float())
        assert buffer.seen == 50
        drawn = buffer.draw(10)
        assert torch.equal(drawn.x[:, 0], drawn.y.float())
        assert torch.equal(drawn.z[:, 0], drawn.y.float())
        assert len(set(drawn.y.tolist())) == 10  # without replacement
        kept[drawn.y.numpy()] += 1
    expected, deviation = 2000 * 10 / 50, (2000 * 0.2 * 0.8) ** 0.5
    assert np.abs(kept - expected).max() < 4 * deviation


def test_the_buffer_counts_epochs_again_and_draws_no_more_than_it_has() -> None:
    buffer = Reservoir(100, np.random.default_rng(0))
    for _ in range(3):
        buffer.add(torch.zeros(4, 2), torch.arange(4), torch.zeros(4, 5))
    assert buffer.seen == len(buffer) == 12
    assert len(buffer.draw(32).y) == 12
    assert len(buffer.draw(5).y) == 5


def test_crop_and_flip_move_whole_images() -> None:
    images = torch.arange(1, 65, dtype=torch.uint8).reshape(1, 8, 8).repeat(200, 1, 1)[..., None].repeat(1, 1, 1, 3)
    moved = inputs._crop_flip(images, np.random.default_rng(0))
    assert moved.shape == images.shape
    padded = torch.zeros(16, 16, dtype=torch.uint8)
    padded[4:12, 4:12] = images[0, :, :, 0]
    possible = {}
    for row in range(9):
        for column in range(9):
            crop = padded[row : row + 8, column : column + 8]
            possible[crop.numpy().tobytes()] = (row, column, False)
            possible[crop.flip(1).contiguous().numpy().tobytes()] = (row, column, True)
    seen = [possible[image[:, :, 0].contiguous().numpy().tobytes()] for image in moved]
    assert torch.equal(moved[..., 0], moved[..., 2])
    assert {row for row, _, _ in seen} == {column for _, column, _ in seen} == set(range(9))
    assert 70 < sum(flip for _, _, flip in seen) < 130


def test_colour_images_are_scaled_by_channel_and_only_the_first_task_is_looked_at() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(0, 1, (50, 4, 4, 3)) * [1, 10, 100] + [5, 0, 0]).astype(np.float32)
    scaling = inputs.learnt(x, "standard", False, "cpu")
    scaled = scaling(torch.from_numpy(x))
    assert torch.allclose(scaled.mean(dim=(0, 1, 2)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(scaled.std(dim=(0, 1, 2)), torch.ones(3), atol=1e-2)
    first, second = tasks()
    shifted = replace(second, x_train=second.x_train + 100, x_val=second.x_val + 100, x_test=second.x_test + 100)
    steps = run("naive", made=(first, second)).class_il[0, 0], run("naive", made=(first, shifted)).class_il[0, 0]
    assert steps[0] == steps[1]
    with pytest.raises(FloatReferenceError, match=r"\[reference\] crop_flip .* \(12,\)"):
        inputs.learnt(first.x_train, "range", True, "cpu")


def test_domains_become_tasks_with_all_classes() -> None:
    made = tasks(samples=60)
    x = np.concatenate([task.x_train for task in made])
    y = np.tile([0, 1], 60).astype(np.uint8)
    domain = np.repeat([4, 7], 60)
    data = DataSet("mine", x, y, x[::2], y[::2][:60], ("a", "b"), domain, domain[::2])
    data = replace(data, y_test=np.tile([0, 1], 30).astype(np.uint8))
    cut = domain_incremental(data)
    assert [task.classes for task in cut] == [(0, 1)] * 2
    assert [len(task.y_train) + len(task.y_val) for task in cut] == [60, 60]
    assert np.array_equal(cut[1].x_test, data.x_test[domain[::2] == 7])
    found = run("er", made=cut).class_il
    assert found.shape == (2, 2)
    of = job("er", made=cut)
    assert of.tasks[0].classes == of.tasks[1].classes
    with pytest.raises(DataError, match="domain 7 has no test sample"):
        domain_incremental(replace(data, domain_test=np.full(60, 4)))
    with pytest.raises(DataError, match="no arrays domain_train"):
        domain_incremental(replace(data, domain_train=None, domain_test=None))
