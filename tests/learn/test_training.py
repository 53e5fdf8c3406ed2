"""Training: scikit-learn's estimators on the same rows, in the same order, whatever the threads; honest figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bigseg.errors import ParameterError, ValuesError
from bigseg.learn.annotations import Annotated, Labels, Table, annotated_table
from bigseg.learn.clusters import Clusters, fit_clusters
from bigseg.learn.estimators import ESTIMATORS, make_estimator
from bigseg.learn.model import Source
from bigseg.learn.model_file import load_model, save_model
from bigseg.learn.sampled import Sampling
from bigseg.learn.training import Recipe, Trained, fit_model, neighbourhood_kernel
from bigseg.local.features.scaling import fit_table
from bigseg.ops.learning.features import Features
from tests.learn.test_annotations import SPEC, held
from tests.local.crops import textured

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c")
SHAPE = (10, 20, 30)


def table(classes: int = 2, rows: int = 1500) -> Table:
    """Three features that say something of the class, half for training, the rest for validation and test."""
    planes = RNG.random((3, rows)).astype(np.float32)
    score = planes[0] + planes[1] + 0.3 * RNG.standard_normal(rows)
    truth = (1 + np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))).astype(np.uint8)
    index = np.sort(RNG.choice(np.prod(SHAPE), rows, replace=False)).astype(np.uint64)
    part = (np.arange(rows) % 4 // 2 * (1 + np.arange(rows) % 2)).astype(np.uint8)
    return Table(planes, truth, part, np.zeros(rows, np.int32), index, (SHAPE,), (Source("v", "0", rows),))


TABLE = table()


def fitted(rows: Table = TABLE, recipe: Recipe | None = None, threads: int = 1, **known: Any) -> Trained:
    recipe = recipe or Recipe("random_forest", parameters={"n_estimators": 8})
    return fit_model(rows, recipe, names=NAMES, spec=SPEC, described={}, threads=threads, **known)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_is_scikit_learns(name: str, task: Any, tmp_path: Path) -> None:
    """Each kind, fitted here, predicts what scikit-learn's does when fitted to the same rows; a file keeps it."""
    if not ESTIMATORS[name].regressor and task == "regression":
        with pytest.raises(ParameterError, match="no regression"):
            make_estimator(name, task, {}, 0)
        return
    small = {
        "random_forest": {"n_estimators": 5},
        "extra_trees": {"n_estimators": 5},
        "gradient_boosting": {"max_iter": 5},
    }
    recipe = Recipe(name, task, small.get(name, {}), seed=3)
    model = fitted(recipe=recipe).model
    rows = TABLE.only("train")
    planes = TABLE.planes[:, rows].copy()
    other = TABLE.planes[:, ~rows].copy()
    if ESTIMATORS[name].scaled:
        scaling = fit_table("standard", planes)
        scaling.apply(planes)
        scaling.apply(other)
    truth = TABLE.truth[rows].astype(np.float32 if task == "regression" else np.uint8)
    wanted = make_estimator(name, task, small.get(name, {}), 3).fit(planes.T, truth)
    save_model(model, tmp_path / "m.npz")
    for found in (model, load_model(tmp_path / "m.npz")):
        if task == "classification":
            np.testing.assert_array_equal(found.labels(other), wanted.predict(other.T))
        else:
            np.testing.assert_allclose(found.values(other), wanted.predict(other.T), atol=2e-6)


def test_threads_do_not_show(tmp_path: Path) -> None:
    """A forest fitted by four threads is the same file as one fitted by one."""
    for threads in (1, 4):
        save_model(fitted(threads=threads).model, tmp_path / f"{threads}.npz")
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "4.npz").read_bytes()


def test_figures_are_scikit_learns() -> None:
    """Accuracy, Dice, AUC and average precision of validation and test are those of sklearn.metrics on these rows."""
    trained = fitted()
    assert list(trained.figures) == ["train", "validation", "test"]
    assert trained.figures["train"]["classes"] == {
        "1": int((TABLE.truth[TABLE.only("train")] == 1).sum()),
        "2": int((TABLE.truth[TABLE.only("train")] == 2).sum()),
    }
    for part in ("validation", "test"):
        own = TABLE.only(part)
        yes, found = TABLE.truth[own] == 2, trained.figures[part]
        labels, score = (
            trained.model.labels(TABLE.planes[:, own]) == 2,
            trained.model.probabilities(TABLE.planes[:, own])[1],
        )
        assert found["accuracy"] == pytest.approx(metrics.accuracy_score(yes, labels))
        assert found["dice"] == pytest.approx(metrics.f1_score(yes, labels))
        assert found["auc"] == pytest.approx(metrics.roc_auc_score(yes, score), abs=1e-6)
        assert found["average_precision"] == pytest.approx(metrics.average_precision_score(yes, score), abs=1e-6)


def test_the_threshold_comes_from_validation_and_never_from_test() -> None:
    """Other truth in the test rows changes no threshold; other truth in the validation rows does."""
    own = fitted()
    assert own.threshold == own.figures["validation"]["best_threshold"]
    assert own.figures["test"]["threshold"] == own.threshold
    assert not {"best_threshold", "best_dice"} & set(own.figures["test"])
    for part, same in (("test", True), ("validation", False)):
        turned = np.where(TABLE.only(part), 3 - TABLE.truth, TABLE.truth).astype(np.uint8)
        assert (fitted(replace(TABLE, truth=turned)).threshold == own.threshold) == same
    without = replace(TABLE, part=np.where(TABLE.part == 1, 2, TABLE.part).astype(np.uint8))
    assert fitted(without).threshold is None


def test_folds_try_models_on_blocks_that_were_left_out() -> None:
    """Cross-validation by blocks gives a figure for each training voxel, and a threshold where no region does."""
    only = replace(TABLE, part=np.zeros(TABLE.index.size, np.uint8))
    recipe = Recipe("random_forest", parameters={"n_estimators": 5}, folds=3, fold_side=(5,))
    trained = fitted(only, recipe)
    assert trained.figures["folds"]["voxels"] == TABLE.index.size
    assert 0.7 < trained.figures["folds"]["auc"] < 1
    assert trained.threshold == trained.figures["folds"]["best_threshold"]
    with pytest.raises(ValuesError, match="fold 1 of 2"):
        fitted(only, replace(recipe, folds=2, fold_side=(99,)))


@pytest.mark.parametrize("give", ["labels", "distances"])
@pytest.mark.parametrize("alone", [False, True])
def test_clusters_stand_in_front(give: Any, alone: bool) -> None:
    """K-means is scikit-learn's on the training rows; its labels or distances are features of the forest."""
    recipe = Recipe(
        "random_forest", parameters={"n_estimators": 5}, clusters=4, cluster_features=give, clusters_alone=alone
    )
    model = fitted(recipe=recipe).model
    rows = TABLE.only("train")
    wanted = KMeans(4, n_init=4, random_state=0).fit(TABLE.planes[:, rows].T.astype(np.float64))
    clusters = Clusters.from_dict(model.features["clusters"])
    np.testing.assert_allclose(clusters.centres, sorted(map(tuple, wanted.cluster_centers_)), rtol=1e-12)
    added = clusters.added(TABLE.planes)
    own = added if alone else added[3:]
    order = np.argsort(np.argsort(wanted.cluster_centers_[:, 0]))
    if give == "labels":
        np.testing.assert_array_equal(own[0], order[wanted.predict(TABLE.planes.T.astype(np.float64))])
    else:
        np.testing.assert_allclose(own[order], wanted.transform(TABLE.planes.T.astype(np.float64)).T, rtol=1e-6)
    expected = RandomForestClassifier(5, random_state=0).fit(added[:, rows].T, TABLE.truth[rows])
    np.testing.assert_array_equal(model.labels(added), expected.predict(added.T))


def test_clusters_do_not_depend_on_what_comes_together() -> None:
    """Distances of a voxel are the same bits alone and among others."""
    clusters = fit_clusters(TABLE.planes, 5, "distances", True, seed=1)
    whole = clusters.added(TABLE.planes)
    for start in range(0, 40, 7):
        np.testing.assert_array_equal(clusters.added(TABLE.planes[:, start : start + 7]), whole[:, start : start + 7])


def test_linear_regression_is_its_kernel() -> None:
    """On a neighbourhood the weights are scikit-learn's on the same table, and correlation with them is the model."""
    image = textured((40, 50), "uint8")
    truth = ndimage.gaussian_filter(image.astype(np.float32), 1)
    stack = Features(neighbours=1).stack(SPEC.but(shape=image.shape, axes=("y", "x"), spacing=(1.0, 1.0), origin=()))
    rows = annotated_table([Annotated("a", (held(image),), Labels(held(truth)))], stack, Sampling(None), block=(9, 9))
    for scaling in ("none", "standard"):
        recipe = Recipe("linear", "regression", scaling=scaling)  # type: ignore[arg-type]
        model = fit_model(rows, recipe, names=stack.names, spec=SPEC, described={}).model
        shown = neighbourhood_kernel(model)
        assert shown is not None
        kernel, offset = shown
        wanted = LinearRegression().fit(rows.planes.T, rows.truth)
        # Scaled in float32; values to 150 as float32.
        np.testing.assert_allclose(kernel.ravel(), wanted.coef_, rtol=0, atol=1e-6)
        found = ndimage.correlate(image.astype(np.float64), kernel, mode="reflect") + offset
        np.testing.assert_allclose(found.ravel(), wanted.predict(rows.planes.T), rtol=0, atol=1e-4)


def test_other_models_have_no_kernel() -> None:
    """Forests, and linear models of other features, are shown as no kernel."""
    assert neighbourhood_kernel(fitted().model) is None
    assert neighbourhood_kernel(fitted(recipe=Recipe("linear", "regression")).model) is None


@pytest.mark.parametrize(
    "estimator", [GaussianNB(), RandomForestClassifier(4), HistGradientBoostingClassifier(max_iter=4)]
)
def test_any_estimator_in_python(estimator: Any) -> None:
    """An estimator of scikit-learn's can be given as it is; the one given is not changed, chance has our seed."""
    first, second = (fitted(recipe=Recipe(estimator, seed=4)).model.labels(TABLE.planes) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not hasattr(estimator, "classes_")


def test_several_classes_and_their_names() -> None:
    """Three classes have names, colours and a mean Dice, but no threshold."""
    trained = fitted(table(3), classes={1: "pore", 9: "never seen"}, colours={2: "#000000"})
    assert [(item.value, item.name) for item in trained.model.classes] == [(1, "pore"), (2, "class 2"), (3, "class 3")]
    assert trained.model.classes[1].colour == "#000000"
    assert np.array(trained.figures["test"]["confusion"]).shape == (3, 3)
    assert trained.threshold is None


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        (Recipe("random_forrest"), "did you mean 'random_forest'"),
        (Recipe("random_forest", parameters={"n_estimator": 5}), "did you mean 'n_estimators'"),
        (Recipe("random_forest", parameters={"n_jobs": 5}), "unknown parameter 'n_jobs'"),
        (Recipe("random_forest", parameters={"n_estimators": "many"}), "cannot be fitted"),
        (Recipe(clusters=9999), "9999 clusters"),
    ],
)
def test_refusals(recipe: Recipe, why: str) -> None:
    """Unknown names with the nearest one, and parameters that scikit-learn refuses."""
    with pytest.raises(ParameterError, match=why):
        fitted(recipe=recipe)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("own", [False, True])
def test_fewer_voxels_than_neighbours_are_refused(own: bool, task: Any) -> None:
    """When fitting, not when the model is applied; with as many neighbours as voxels it is fitted."""
    rows = replace(TABLE, part=np.where(np.arange(len(TABLE.part)) < 4, 0, 1).astype(np.uint8))
    given = make_pipeline(StandardScaler(), make_estimator("nearest_neighbours", task, {}, 0))
    with pytest.raises(ParameterError, match=r"asks 5 neighbours, and 4 voxels .* n_neighbors of 4 at most"):
        fitted(rows, Recipe(given if own else "nearest_neighbours", task))
    assert fitted(rows, Recipe("nearest_neighbours", task, {"n_neighbors": 4})).model


def test_one_class_is_refused() -> None:
    """A single class cannot be told from another."""
    with pytest.raises(ParameterError, match="only class 1"):
        fitted(replace(TABLE, truth=np.ones_like(TABLE.truth)))
