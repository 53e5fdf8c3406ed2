"""Curves of counted scores against sklearn.metrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from bigseg.errors import ValuesError
from bigseg.local.models.curves import STEPS, Scale, count_scores, curve_of
from bigseg.local.thresholds.compare import between

ONE = Scale.of(np.dtype("float32"), 0.0, 1.0)


def noisy(dtype: str, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.random(n) < 0.3
    score = np.clip(0.4 + 0.2 * truth + 0.15 * rng.standard_normal(n), 0, 1)
    return (score if dtype == "float32" else score * np.iinfo(dtype).max).astype(dtype), truth


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_integers_are_exact(dtype: str) -> None:
    """Area, average precision and both curves of 8 and 16 bits are scikit-learn's."""
    score, truth = noisy(dtype)
    scale = Scale.of(score.dtype, 0, 0)
    curve = curve_of(count_scores(score, truth, scale, 60)[0], scale)
    assert curve.areas()[0] == pytest.approx(metrics.roc_auc_score(truth, score), rel=1e-13)
    assert curve.average_precision() == pytest.approx(metrics.average_precision_score(truth, score), rel=1e-12)
    fpr, tpr, thresholds = metrics.roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(curve.fall_out, fpr[1:], rtol=1e-13)
    np.testing.assert_allclose(curve.recall, tpr[1:], rtol=1e-13)
    np.testing.assert_array_equal(curve.threshold, thresholds[1:])
    for place in (0, len(thresholds) // 2, len(thresholds) - 2):
        np.testing.assert_array_equal(score > curve.above[place], score >= curve.threshold[place])


def test_floats_lie_within_the_stated_error() -> None:
    """The area of real scores differs from scikit-learn's by less than is said with it, here below 3e-6."""
    score, truth = noisy("float32")
    curve = curve_of(count_scores(score, truth, ONE, 0.5)[0], ONE)
    area, error = curve.areas()
    assert abs(area - metrics.roc_auc_score(truth, score)) <= error
    assert error < 3e-6
    assert curve.average_precision() == pytest.approx(metrics.average_precision_score(truth, score), abs=3e-6)
    best, dice = curve.best()
    assert dice == pytest.approx(metrics.f1_score(truth, score > np.float32(best)), abs=1e-12)


def test_shares_of_trees_are_exact() -> None:
    """Probabilities in hundredths fall into steps of their own, so their area is exact."""
    rng = np.random.default_rng(1)
    score = (rng.integers(0, 101, 3000) / 100).astype(np.float32)
    truth = rng.random(3000) < score
    curve = curve_of(count_scores(score, truth, ONE, 0.5)[0], ONE)
    assert curve.areas()[0] == pytest.approx(metrics.roc_auc_score(truth, score), rel=1e-13)
    np.testing.assert_allclose(curve.threshold, np.unique(score)[::-1], atol=1 / STEPS)


@given(st.lists(st.tuples(st.integers(-128, 127), st.booleans()), min_size=2, max_size=40), st.integers(1, 39))
def test_parts_add_up(voxels: list[tuple[int, bool]], cut: int) -> None:
    """Counts of two parts are those of the whole, and the confusion is that of the mask above the threshold."""
    score, truth = np.array([v[0] for v in voxels], np.int8), np.array([v[1] for v in voxels])
    scale = Scale.of(score.dtype, 0, 0)
    counts, confusion = count_scores(score, truth, scale, 3)
    parts = [count_scores(score[part], truth[part], scale, 3) for part in (slice(cut), slice(cut, None))]
    np.testing.assert_array_equal(counts, parts[0][0] + parts[1][0])
    np.testing.assert_array_equal(confusion, parts[0][1] + parts[1][1])
    np.testing.assert_array_equal(confusion, metrics.confusion_matrix(truth, score > 3, labels=[False, True]))


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_real_scores_are_compared_as_a_threshold_does(dtype: str, threshold: float) -> None:
    """A threshold is cast to the scores' dtype first: a score that is equal to it then is not above it."""
    score = np.array([threshold, 1 - threshold, 0.05], dtype)
    _, confusion = count_scores(score, np.ones(3, bool), ONE, threshold)
    assert confusion[1, 1] == np.count_nonzero(between(score, above=threshold))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_refuses_scores_beyond_the_scale(bad: float) -> None:
    """What is NaN or outside of the range is refused with its number; what rounding adds is not."""
    score = np.float32([0.2, bad, 1.0])
    with pytest.raises(ValuesError, match="1 scores are NaN or not within 0 to 1"):
        count_scores(score, np.array([True, False, True]), ONE, 0.5)
    near = np.float32([-1e-7, 1 + 2e-7])
    assert count_scores(near, np.array([True, False]), ONE, 0.5)[0][:, [0, -1]].tolist() == [[0, 1], [1, 0]]


def test_refuses_no_voxel() -> None:
    """An empty count has no curve; one class alone has no area."""
    with pytest.raises(ValuesError, match="no voxel"):
        curve_of(np.zeros((2, ONE.steps), int), ONE)
    counts, _ = count_scores(np.float32([0.5, 0.6]), np.array([True, True]), ONE, 0.5)
    assert np.isnan(curve_of(counts, ONE).areas()).all()
