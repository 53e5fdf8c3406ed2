"""Forests as arrays: exactly scikit-learn's predict, probabilities within 1e-6."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import ndimage
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from bigseg.errors import ParameterError, ValuesError
from bigseg.learn.forests import forest_of, is_forest
from bigseg.local.models import forest as kernel


def features(n: int, seed: int = 0, count: int = 5) -> np.ndarray:
    """Smooth and rough planes with many equal values, rows of a table."""
    rng = np.random.default_rng(seed)
    planes = [ndimage.gaussian_filter1d(rng.standard_normal(n), s) for s in np.linspace(0.1, 3, count)]
    return np.round(np.stack(planes, 1), 2).astype(np.float32)


def classes(x: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(len(x))
    score = x[:, 0] + 2 * x[:, -1] ** 2 + 0.3 * noise
    return np.digitize(score, np.quantile(score, np.linspace(0, 1, count + 1)[1:-1]))


def assert_same(estimator: object, x: np.ndarray) -> None:
    """Labels are the argmax of scikit-learn's probabilities, which are met to the last bit of float32."""
    forest = forest_of(estimator)
    planes = np.ascontiguousarray(x.T)
    wanted = estimator.predict_proba(x)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(kernel.means(forest, planes), wanted.T.astype(np.float32))
    found = estimator.classes_[kernel.labels(forest, planes)]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(found, estimator.predict(x))  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(60, random_state=0),
        RandomForestClassifier(40, max_depth=4, min_samples_leaf=7, random_state=0),
        RandomForestClassifier(11, class_weight="balanced", min_samples_leaf=3, random_state=0),
        ExtraTreesClassifier(30, random_state=0),
        DecisionTreeClassifier(random_state=0),
        DecisionTreeClassifier(max_depth=3, random_state=0),
    ],
    ids=["deep", "shallow", "weighted", "extra", "tree", "shallow tree"],
)
def test_classifiers_predict_as_scikit_learn(estimator: object, count: int) -> None:
    """Labels exactly and probabilities to float32, for binary and multi-class, deep and shallow, odd numbers."""
    x = features(700)
    estimator.fit(x[:500], classes(x, count)[:500])  # type: ignore[attr-defined]
    assert_same(estimator, x[:699])


@pytest.mark.parametrize("n", [1, 7, 8, 9, 255, 257, 20001])
def test_any_number_of_voxels(n: int) -> None:
    """Numbers that fill no tile, no block, or several blocks give the same as scikit-learn."""
    x = features(400)
    model = RandomForestClassifier(25, random_state=2).fit(x, classes(x, 3))
    assert_same(model, features(n, seed=5))


def test_ties_go_to_the_first_class() -> None:
    """Two trees that contradict each other make ties; the first class wins, as numpy's argmax."""
    x = np.arange(40, dtype=np.float32)[:, None]
    forest = RandomForestClassifier(4, random_state=3).fit(x, np.random.default_rng(0).integers(0, 3, 40))
    ties = np.isclose(*np.sort(forest.predict_proba(x))[:, -2:].T)
    assert ties.any()
    assert_same(forest, x)


def test_one_tree_against_all_others_is_not_cut_off() -> None:
    """A forest that is undecided until its last trees is walked to its end."""
    x = features(1000, count=3)
    noise = np.random.default_rng(4).integers(0, 2, 1000)
    model = RandomForestClassifier(64, random_state=0, max_features=1).fit(x, noise)
    others = features(3000, seed=9, count=3)
    assert np.mean(np.abs(np.diff(model.predict_proba(others))) < 0.04) > 0.05
    assert forest_of(model).packed.first == 33
    assert_same(model, others)


def test_thresholds_round_as_scikit_learn() -> None:
    """Values on, just below and just above every threshold, which are float64 between two float32, go one way."""
    rng = np.random.default_rng(0)
    base = rng.random(200).astype(np.float32)
    base[:50] = np.float32(0.1) * rng.integers(-3, 4, 50).astype(np.float32)
    x = np.stack([base, np.roll(base, 3)], 1)
    model = ExtraTreesClassifier(20, random_state=0).fit(x, rng.integers(0, 2, 200))
    found = np.concatenate([tree.tree_.threshold for tree in model.estimators_])
    near = found.astype(np.float32)
    assert (near.astype(np.float64) != found).any()
    steps = [near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))]
    values = np.concatenate([*steps, np.float32([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38])])
    assert_same(model, np.stack([values, values[::-1]], 1))


def test_thresholds_at_zero() -> None:
    """Both zeros and the numbers next to them fall on scikit-learn's side of a threshold of zero."""
    x = np.float32([[-1e-45], [1e-45]])
    model = DecisionTreeClassifier().fit(x, [0, 1])
    model.tree_.threshold[0] = -0.0
    assert_same(model, np.float32([[-0.0], [0.0], [1e-45], [-1e-45], [1], [-1]]))


def test_duplicated_thresholds() -> None:
    """Few distinct values make the same thresholds again and again, in one tree and in many."""
    x = np.random.default_rng(0).integers(0, 4, (500, 3)).astype(np.float32)
    model = RandomForestClassifier(30, random_state=0).fit(x, np.random.default_rng(1).integers(0, 3, 500))
    thresholds = np.concatenate([tree.tree_.threshold for tree in model.estimators_])
    assert np.unique(thresholds).size < 10
    assert_same(model, x)


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestRegressor(30, random_state=0),
        ExtraTreesRegressor(20, max_depth=5, random_state=0),
        DecisionTreeRegressor(random_state=0),
    ],
    ids=["forest", "extra", "tree"],
)
def test_regressors_predict_as_scikit_learn(estimator: object) -> None:
    """The mean of the trees, to the last bit of float32."""
    x = features(500)
    y = np.sin(x).sum(1) * 1e3
    estimator.fit(x[:300], y[:300])  # type: ignore[attr-defined]
    found = kernel.means(forest_of(estimator), np.ascontiguousarray(x.T))
    assert found.shape == (1, 500)
    np.testing.assert_array_equal(found[0], estimator.predict(x).astype(np.float32))  # type: ignore[attr-defined]


def test_a_tree_of_one_leaf() -> None:
    """A forest that learned one class only says so everywhere."""
    x = features(20)
    assert_same(DecisionTreeClassifier().fit(x, np.zeros(20)), x)
    assert_same(RandomForestClassifier(3).fit(x, np.full(20, 5)), x)


def test_results_do_not_depend_on_the_crop() -> None:
    """Any part of the voxels, in any order of features in memory, gives the same bits as the whole."""
    x = features(3000, count=4)
    forest = forest_of(RandomForestClassifier(40, min_samples_leaf=2, random_state=0).fit(x, classes(x, 3)))
    planes = np.ascontiguousarray(x.T)
    labels, means = kernel.labels(forest, planes), kernel.means(forest, planes)
    for start, stop in ((0, 1), (1, 18), (17, 1042), (2999, 3000), (5, 2998)):
        part = x.T[:, start:stop]
        np.testing.assert_array_equal(kernel.labels(forest, part), labels[start:stop])
        np.testing.assert_array_equal(kernel.means(forest, part), means[:, start:stop])


def test_many_features_make_small_blocks() -> None:
    """1,100 features, as a spectrum has, are walked in blocks of 256 voxels with the same result."""
    x = np.random.default_rng(0).random((600, 1100), np.float32)
    model = ExtraTreesClassifier(5, random_state=0).fit(x, (x[:, 0] > x[:, 1099]) + (x[:, 7] > 0.5))
    assert_same(model, x)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_refuses_what_is_not_finite(bad: float) -> None:
    """NaN and infinite values are refused with their number, values beyond float32 too."""
    x = features(100)
    forest = forest_of(RandomForestClassifier(3, random_state=0).fit(x, classes(x, 2)))
    planes = x.T.astype(np.float64)
    planes[1, 50:53] = bad
    with pytest.raises(ValuesError, match="3 NaN or infinite"):
        kernel.labels(forest, planes)
    with pytest.raises(ValuesError, match="3 NaN or infinite"):
        kernel.means(forest, planes)


def test_refuses_other_estimators() -> None:
    """What is no mean of trees, is not fitted, has several targets or other features is refused by name."""
    x = features(60)
    y = classes(x, 2)
    boosted = GradientBoostingClassifier(n_estimators=2).fit(x, y)
    assert not is_forest(boosted)
    with pytest.raises(ParameterError, match="GradientBoostingClassifier is no forest"):
        forest_of(boosted)
    with pytest.raises(ParameterError, match="not fitted"):
        forest_of(RandomForestClassifier())
    with pytest.raises(ParameterError, match="2 targets"):
        forest_of(RandomForestRegressor(2).fit(x, np.stack([y, y], 1)))
    forest = forest_of(RandomForestClassifier(2).fit(x, y))
    with pytest.raises(ParameterError, match="expected 5 planes"):
        kernel.labels(forest, x.T[:4])


def test_refuses_too_many_classes() -> None:
    """More classes than a byte tells apart are refused for labels; their probabilities are not."""
    x = np.arange(300, dtype=np.float32)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # as many classes as samples
        model = DecisionTreeClassifier().fit(x, np.arange(300))
    forest = forest_of(model)
    with pytest.raises(ParameterError, match="300 classes"):
        kernel.labels(forest, x.T)
    np.testing.assert_array_equal(kernel.means(forest, x.T), np.eye(300, dtype=np.float32))
