"""`bigseg.importances`: what a model cannot do without."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import permutation_importance

import bigseg
from bigseg.errors import ParameterError
from bigseg.learn.importance import groups_of
from bigseg.model_functions import RowsClassifier, RowsRegressor

CHOSEN = {"intensity": True, "gaussian": [1, 2], "position": {"x": 10}}


class Known(NamedTuple):
    """An image, its classes, and a table of both."""

    image: np.ndarray
    truth: np.ndarray
    table: pd.DataFrame


@pytest.fixture(scope="module")
def known() -> Known:
    """Smooth noise and its bright parts; kernels are not compiled while tests are collected."""
    image = bigseg.gaussian(np.random.default_rng(0).random((48, 64), np.float32), sigma=1.5)
    truth = np.where(bigseg.gaussian(image, sigma=2.0) > 0.5, 2, 1).astype("uint8")
    return Known(image, truth, bigseg.feature_table(image, truth, **CHOSEN))


def test_the_feature_that_decides_comes_first(known: Known) -> None:
    """Shuffling what the truth was made of costs most; what tells nothing costs nothing; twice the same."""
    model = bigseg.train(known.image, known.truth, features=CHOSEN, parameters={"n_estimators": 10})
    found = bigseg.importances(model, known.table)
    assert found.index[0] == "gaussian-2.0"
    assert found.index.name == "feature"
    assert found["loss"].iloc[0] > 0.3
    assert abs(found.loc["position-x-10", "loss"]) < 0.02
    assert found.equals(bigseg.importances(model, known.table))


@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_equals_scikit_learn(known: Known, scaling: str) -> None:
    """The mean loss is that of sklearn's permutation_importance, within a few times the spread of chance."""
    chosen = {"features": CHOSEN, "scaling": scaling, "clusters": {"k": 3}, "parameters": {"n_estimators": 10}}
    model = bigseg.train(known.image, known.truth, **chosen)
    found = bigseg.importances(model, known.table, repeats=10)
    rows = known.table[list(model.features["names"])].to_numpy(np.float32)
    estimator = RowsClassifier(model)
    settings = {"scoring": "balanced_accuracy", "n_repeats": 10, "random_state": 5}
    theirs = permutation_importance(estimator, rows, known.table["truth"], **settings)
    for name, mean, spread in zip(
        model.features["names"], theirs.importances_mean, theirs.importances_std, strict=True
    ):
        assert found.loc[name, "loss"] == pytest.approx(mean, abs=2 * spread + 0.002), name


def test_a_regression_loses_squared_error(known: Known) -> None:
    """The rise of the mean squared error, as sklearn finds it."""
    values = known.image * 3 + 1
    model = bigseg.train(known.image, values, features=CHOSEN, estimator="linear")
    table = bigseg.feature_table(known.image, voxels=None, **CHOSEN).assign(truth=values.reshape(-1))
    found = bigseg.importances(model, table, repeats=5)
    rows = table[list(model.features["names"])].to_numpy(np.float32)
    settings = {"scoring": "neg_mean_squared_error", "n_repeats": 5, "random_state": 2}
    theirs = permutation_importance(RowsRegressor(model), rows, table["truth"], **settings)
    assert found.index[0] == "intensity"
    assert found.loc["intensity", "loss"] == pytest.approx(theirs.importances_mean[0], rel=0.1)


def test_groups_are_shuffled_together(known: Known) -> None:
    """By filter and by scale, in the order of the features; position and neighbours have no scale."""
    names = ["position-x-10", "neighbour(0,-1)", "neighbour(0,1)", "xray:gaussian-2.5um", "xray:gaussian-1.0"]
    assert groups_of(names, "feature") == {name: [place] for place, name in enumerate(names)}
    assert groups_of(names, "filter") == {"position": [0], "neighbour": [1, 2], "xray:gaussian": [3, 4]}
    assert list(groups_of(names, "scale")) == [*names[:3], "2.5um", "1.0"]
    model = bigseg.train(known.image, known.truth, features=CHOSEN, parameters={"n_estimators": 10})
    one, both = (bigseg.importances(model, known.table, by=by)["loss"] for by in ("feature", "filter"))
    assert both["gaussian"] > one["gaussian-1.0"]


def test_refusals(known: Known) -> None:
    """Tables without truth or features, no repeats, no voxels."""
    model = bigseg.train(known.image, known.truth, features=CHOSEN, estimator="decision_tree")
    for table, why in (
        (known.table.drop(columns="truth"), "no column truth"),
        (known.table.drop(columns="gaussian-1.0"), "no column gaussian-1.0"),
        (known.table[:0], "on 0 voxels"),
    ):
        with pytest.raises(ParameterError, match=why):
            bigseg.importances(model, table)
    with pytest.raises(ParameterError, match="0 repeats"):
        bigseg.importances(model, known.table, repeats=0)
