"""Fitting a model to a table of annotated voxels, and figures of how well it does on voxels it has not seen.

The table comes in an order that no block decides, scaling and clusters are found from its training rows alone, and
everything is fitted with one thread but for forests, whose trees do not depend on each other: the same model, bit for
bit, from the same voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bigseg.errors import ParameterError, ValuesError
from bigseg.learn.annotations import Table
from bigseg.learn.clusters import Clusters, fit_clusters
from bigseg.learn.estimators import ESTIMATORS, Task
from bigseg.learn.loading import knows_probabilities
from bigseg.learn.model import Model, make_model
from bigseg.learn.recipe import Recipe
from bigseg.learn.sampled import block_folds
from bigseg.local.features.scaling import Scaling, fit_table
from bigseg.local.filters.linear import Float32
from bigseg.local.models.agreement import overall, per_class
from bigseg.local.models.curves import Scale, count_scores, curve_of
from bigseg.local.models.linear_model import Linear
from bigseg.storage.spec import Spec

Figures = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """A model and what it is worth.

    Parameters
    ----------
    model : what predicts.
    figures : by the part of the annotations that they come from: validation, test, folds; and ``train``, how many
        voxels of each class it was fitted to.
    threshold : of two classes, the probability above which Dice is best where it may be chosen: on validation
        voxels, else on folds that were left out; never on what tests. None where there are neither.
    """

    model: Model
    figures: Mapping[str, Figures]
    threshold: float | None


def fit_model(
    table: Table,
    recipe: Recipe,
    *,
    names: Sequence[str],
    spec: Spec,
    described: Mapping[str, Any],
    scales: Sequence[float | str] = (),
    classes: Mapping[int, str] | None = None,
    colours: Mapping[int, str] | None = None,
    threads: int = 1,
) -> Trained:
    """Fit a model.

    Parameters
    ----------
    table : of `bigseg.learn.annotations.annotated_table`.
    recipe : what is fitted.
    names : of the table's features.
    spec : of the volumes.
    described : what the model says of its features, as JSON holds it; scaling and clusters are added.
    scales, classes, colours : as of `make_model`.
    threads : for forests; no result depends on it.

    Raises
    ------
    ParameterError
        Unknown estimators or parameters, a single class, names of classes that do not occur.

    Examples
    --------
    >>> from bigseg.learn.model import Source
    >>> x = np.float32([[1, 2, 8, 9]])
    >>> spec = Spec((4, 4), np.dtype("uint8"), ("y", "x"), (1.0, 1.0))
    >>> table = Table(x, np.array([1, 1, 2, 2], np.uint8), np.zeros(4, np.uint8), np.zeros(4, np.int32),
    ...               np.arange(4, dtype=np.uint64), ((4, 4),), (Source("a", "", 4),))
    >>> found = fit_model(table, Recipe("decision_tree"), names=["intensity"], spec=spec, described={})
    >>> found.model.labels(np.float32([[3, 7]]))
    array([1, 2], dtype=uint8)
    """
    rows = np.flatnonzero(table.only("train"))
    if not rows.size:
        raise ParameterError("no voxel for training: annotate some in a region for training")
    fitted = _fit(table, rows, recipe, threads)
    features = dict(described)
    if fitted.scaling is not None:
        features["scaling"] = fitted.scaling.to_dict()
    if fitted.clusters is not None:
        features["clusters"] = fitted.clusters.to_dict()

    def packed(item: _Fitted) -> Model:
        return make_model(
            item.estimator,
            features=features,
            names=item.clusters.names(tuple(names)) if item.clusters else tuple(names),
            spec=spec,
            scales=scales,
            classes=_present(item.estimator, classes),
            colours=_present(item.estimator, colours),
            training=table.sources,
        )

    model = packed(fitted)
    figures: dict[str, Figures] = {"train": _counted(table, rows, recipe.task)}
    threshold = None
    if recipe.folds:
        figures["folds"] = _folded(table, rows, recipe, packed, threads)
        threshold = figures["folds"].get("best_threshold")
    for part in ("validation", "test"):
        own = np.flatnonzero(table.only(part))
        if own.size:
            figures[part] = measured(model, fitted.prepared(table.planes[:, own]), table.truth[own], threshold)
            if part == "validation":
                threshold = figures[part].get("best_threshold", threshold)
            else:  # nothing may be chosen on what tests
                figures[part] = {key: item for key, item in figures[part].items() if not key.startswith("best_")}
    return Trained(replace(model, figures=figures, threshold=threshold), figures, threshold)


def measured(model: Model, planes: Float32, truth: NDArray[Any], threshold: float | None = None) -> Figures:
    """Figures of a model on some voxels.

    Parameters
    ----------
    model : the model; planes : its features, scaled and with clusters; truth : of every voxel.
    threshold : of two classes: also figures for a probability above it.

    Returns
    -------
    Of classes: voxels, accuracy, dice (of two classes of the second, else the mean), confusion, auc,
    average_precision, best_threshold and best_dice of two; with a threshold dice_at_threshold. Of values: mse, mae;
    auc, best_threshold and best_dice where the truth is 0 or 1.
    """
    if model.task == "regression":
        found = model.values(planes)
        known: Figures = {"voxels": int(truth.size), **_errors(found, truth)}
        if set(np.unique(truth).tolist()) == {0.0, 1.0}:
            known |= _curve(found, truth == 1, threshold)
        return known
    values = [item.value for item in model.classes]
    labels = model.labels(planes)
    classes = np.union1d(np.union1d(truth, labels), values)
    confusion = np.zeros((classes.size,) * 2, np.int64)
    np.add.at(confusion, (np.searchsorted(classes, truth), np.searchsorted(classes, labels)), 1)
    shares = per_class(confusion)
    dice = float(shares.f1[1]) if classes.size == 2 else float(np.mean(shares.f1))
    known = {
        "voxels": int(truth.size),
        "accuracy": overall(confusion).accuracy,
        "dice": dice,
        "classes": classes.tolist(),
        "confusion": confusion.tolist(),
    }
    if len(values) == 2 and knows_probabilities(model):
        known |= _curve(model.probabilities(planes)[1], truth == values[1], threshold)
    return known


def neighbourhood_kernel(model: Model) -> tuple[NDArray[np.float64], float] | None:
    """A linear regression on a neighbourhood as the kernel that it is.

    Parameters
    ----------
    model : any.

    Returns
    -------
    The weight of every voxel of the neighbourhood, float64 (2n + 1 along each axis), and the offset: correlating the
    image with it (`bigseg.convolve` with the kernel mirrored) and adding the offset gives the values. None where the
    model is none of one sum of neighbours alone.

    Examples
    --------
    >>> linear = Linear(np.array([[1.0, 2.0, 3.0]]), np.array([0.5]), "value")
    >>> names = ("neighbour(0,-1)", "neighbour(0,0)", "neighbour(0,1)")
    >>> model = Model(linear, "regression", "", {}, names, (), (1.0, 1.0), "", "uint8")
    >>> neighbourhood_kernel(model)
    (array([[1., 2., 3.]]), 0.5)
    """
    predictor = model.predictor
    if not isinstance(predictor, Linear) or len(predictor.weights) != 1 or "clusters" in model.features:
        return None
    shifts = []
    for name in model.names:
        inner = name.rpartition(":")[2]
        if not inner.startswith("neighbour("):
            return None
        try:
            shifts.append(tuple(int(item) for item in inner[len("neighbour(") : -1].split(",")))
        except ValueError:  # products
            return None
    if len(set(shifts)) < len(shifts):  # of several images
        return None
    weights, offset = predictor.weights[0], float(predictor.offsets[0])
    if "scaling" in model.features:
        scaling = Scaling.from_dict(model.features["scaling"])
        if scaling.kind == "quantile":
            return None
        weights = weights / np.array(scaling.scale)
        offset -= float(np.sum(weights * np.array(scaling.centre)))
    reach = np.max(np.abs(shifts), axis=0)
    kernel = np.zeros(tuple(2 * reach + 1))
    for shift, weight in zip(shifts, weights, strict=True):
        kernel[tuple(np.array(shift) + reach)] = weight
    return kernel, offset


@dataclass(frozen=True)
class _Fitted:
    """A fitted estimator, and what its features go through first."""

    estimator: Any
    scaling: Scaling | None
    clusters: Clusters | None

    def prepared(self, planes: Float32) -> Float32:
        """Features as the estimator takes them."""
        return prepared(planes.copy(), self.scaling, self.clusters)


def prepared(planes: Float32, scaling: Scaling | None, clusters: Clusters | None) -> Float32:
    """Features scaled, where they lie, and with clusters."""
    if scaling is not None:
        scaling.apply(planes)
    return clusters.added(planes) if clusters is not None else planes


def _fit(table: Table, rows: NDArray[np.int64], recipe: Recipe, threads: int) -> _Fitted:
    planes = np.ascontiguousarray(table.planes[:, rows])
    truth = table.truth[rows].astype(np.float32 if recipe.task == "regression" else np.uint8)
    if recipe.task == "classification" and len(np.unique(truth)) < 2:
        raise ParameterError(
            f"only class {int(truth[0])} is annotated for training: expected two classes at least; annotate another, "
            "for a mask say kind: mask"
        )
    kind = recipe.scaling_kind
    scaling = fit_table(kind, planes) if kind else None
    if scaling is not None:
        scaling.apply(planes)
    clusters = None
    if recipe.clusters:
        clusters = fit_clusters(planes, recipe.clusters, recipe.cluster_features, recipe.clusters_alone, recipe.seed)
        planes = clusters.added(planes)
    estimator = recipe.made()
    parallel = isinstance(recipe.estimator, str) and ESTIMATORS[recipe.estimator].parallel
    if parallel:
        estimator.set_params(n_jobs=threads)
    _refuse_few(estimator, rows.size)
    with threadpool_limits(1):
        try:
            estimator.fit(np.ascontiguousarray(planes.T), truth)
        except (ValueError, TypeError) as error:
            raise ParameterError(f"{type(estimator).__name__} cannot be fitted: {error}") from error
    return _Fitted(estimator, scaling, clusters)


def _refuse_few(estimator: Any, voxels: int) -> None:
    """Fewer voxels than neighbours that vote can be fitted, but nothing could be predicted."""
    given: dict[str, Any] = getattr(estimator, "get_params", dict)()
    votes = [value for key, value in given.items() if key.endswith("n_neighbors") and isinstance(value, int)]
    if max(votes, default=0) > voxels:
        raise ParameterError(
            f"{type(estimator).__name__} asks {max(votes)} neighbours, and {voxels} voxels are annotated for training: "
            f"annotate more, or give n_neighbors of {voxels} at most"
        )


def _folded(table: Table, rows: NDArray[np.int64], recipe: Recipe, packed: Any, threads: int) -> Figures:
    """Figures of voxels by models that were fitted without their blocks."""
    fold = np.empty(rows.size, np.int64)
    for number, shape in enumerate(table.shapes):
        own = table.volume[rows] == number
        side = recipe.fold_side if len(recipe.fold_side) == len(shape) else (*recipe.fold_side * len(shape),)
        fold[own] = block_folds(table.index[rows[own]], shape, side or (64,) * len(shape), recipe.folds, recipe.seed)
    scores, labels, truths = [], [], []
    for number in range(recipe.folds):
        out, kept = rows[fold == number], rows[fold != number]
        if not out.size or not kept.size:
            raise ValuesError(
                f"fold {number + 1} of {recipe.folds} leaves no voxel on one side: annotate more places, or take fewer "
                "folds or smaller blocks"
            )
        fitted = _fit(table, kept, replace(recipe, folds=0), threads)
        model: Model = packed(fitted)
        planes = fitted.prepared(table.planes[:, out])
        truths.append(table.truth[out])
        if model.task == "regression":
            scores.append(model.values(planes))
        else:
            labels.append(model.labels(planes))
            if len(model.classes) == 2 and knows_probabilities(model):
                scores.append(model.probabilities(planes)[1])
    return _joined(np.concatenate(truths), scores, labels, recipe.folds)


def _joined(truth: NDArray[Any], scores: list[Any], labels: list[Any], folds: int) -> Figures:
    known: Figures = {"voxels": int(truth.size), "folds": folds}
    if labels:
        found = np.concatenate(labels)
        known["accuracy"] = float(np.mean(found == truth))
    elif scores:
        known |= _errors(np.concatenate(scores), truth)
    values = np.unique(truth)
    if len(scores) == folds and values.size == 2:
        known |= _curve(np.concatenate(scores), truth == values[1], None)
    return known


def _errors(values: NDArray[np.float32], truth: NDArray[Any]) -> Figures:
    """How far values of a regression are off."""
    away = values.astype(np.float64) - truth
    return {"mse": float(np.mean(away**2)), "mae": float(np.mean(np.abs(away)))}


def _curve(scores: NDArray[np.float32], yes: NDArray[np.bool_], threshold: float | None) -> Figures:
    if not 0 < np.count_nonzero(yes) < yes.size:
        return {}
    low, high = min(0.0, float(scores.min())), max(1.0, float(scores.max()))
    scale = Scale.of(np.dtype("float32"), low, high)
    counts, confusion = count_scores(scores, yes, scale, 0.5 if threshold is None else threshold)
    curve = curve_of(counts, scale)
    best, dice = curve.best()
    known: Figures = {"auc": curve.areas()[0], "average_precision": curve.average_precision()}
    known |= {"best_threshold": best, "best_dice": dice}
    if threshold is not None:
        known |= {"threshold": threshold, "dice_at_threshold": float(per_class(confusion).f1[1])}
    return known


def _present(estimator: Any, told: Mapping[int, str] | None) -> dict[int, str]:
    """What is told of the classes that the estimator knows."""
    known = set(np.asarray(getattr(estimator, "classes_", ())).tolist())
    return {value: item for value, item in (told or {}).items() if value in known}


def _counted(table: Table, rows: NDArray[np.int64], task: Task) -> Figures:
    known: Figures = {"voxels": int(rows.size)}
    if task == "classification":
        values, counts = np.unique(table.truth[rows], return_counts=True)
        known["classes"] = dict(zip(map(str, values.tolist()), counts.tolist(), strict=True))
    return known
