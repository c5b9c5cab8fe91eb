"""Metrics against numbers worked out by hand."""

import numpy as np
import pytest

from sparcl_mcu import metrics

GOLDEN = np.array([[0.98, 0.10, 0.05], [0.90, 0.97, 0.12], [0.93, 0.80, 0.96]])
UNTRAINED = np.array([0.10, 0.11, 0.09])


def test_golden_matrix() -> None:
    assert metrics.acc(GOLDEN) == pytest.approx(0.896667, abs=1e-6)
    assert metrics.aia(GOLDEN) == pytest.approx(0.937222, abs=1e-6)
    assert metrics.bwt(GOLDEN) == pytest.approx(-0.11)
    assert metrics.fwt(GOLDEN, UNTRAINED) == pytest.approx(0.01)
    assert metrics.forgetting(GOLDEN) == pytest.approx(0.11)


def test_forgetting_is_negative_for_a_task_that_got_better_at_the_end() -> None:
    better = GOLDEN.copy()
    better[2, 0] = 0.99
    assert metrics.forgetting(better) == pytest.approx(0.08)


def test_one_task_has_no_transfer() -> None:
    one = np.array([[0.9]])
    assert metrics.acc(one) == metrics.aia(one) == 0.9
    assert metrics.bwt(one) is metrics.forgetting(one) is metrics.fwt(one, np.array([0.1])) is None


def test_balanced_accuracy_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score

    rng = np.random.default_rng(0)
    labels, predicted = rng.choice(4, 200, p=[0.7, 0.1, 0.1, 0.1]), rng.integers(0, 4, 200)
    assert metrics.balanced_accuracy(labels, predicted) == pytest.approx(balanced_accuracy_score(labels, predicted))
