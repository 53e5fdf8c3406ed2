"""Models as functions on arrays: ``bigseg.train(volume, labels, features=…)`` and ``bigseg.classify(volume, model=…)``.

NumPy in, NumPy out; dask in, dask out; DataArray in, DataArray out. On dask arrays both the result and the features
stay lazy, and give the same bits as a pipeline. For tables of rows there is dask-ml's ParallelPostFit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from dask_ml.wrappers import ParallelPostFit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from bigseg.engine.field import Visit
from bigseg.engine.source import finite
from bigseg.errors import ParameterError
from bigseg.functions import by_name, describe, like
from bigseg.grid import Block, Box, Grid
from bigseg.learn.annotations import Labels
from bigseg.learn.clusters import Clusters
from bigseg.learn.importance import By, groups_of, shuffled_losses
from bigseg.learn.loading import load_kept
from bigseg.learn.model import Model, check_fits
from bigseg.learn.model_file import save_model
from bigseg.learn.training import prepared
from bigseg.local.features.scaling import Scaling
from bigseg.ops.classify import Classifier, Classify, ModelPlace, stack_of
from bigseg.ops.learning.predict import asked
from bigseg.pipeline.arrays import function_input, in_order, refuse_unnamed
from bigseg.pipeline.steps import make_op
from bigseg.pipeline.training import Example, make_train, open_truth, train_on
from bigseg.storage.scratch import Scratch
from bigseg.storage.sources.opening import open_source
from bigseg.storage.spec import Spec

MODEL = "a model"


def train(volume: Any, labels: Any = None, *, out: str | Path | None = None, **parameters: Any) -> Model:
    """A model trained on annotated voxels of one volume or several.

    Parameters
    ----------
    volume : an image as path, array or DataArray, or several of one shape as a mapping by name; or without ``labels``
        a list of pairs (volume, labels), of any shapes.
    labels : of the same shape, as path or array: integers with 0 for what is not known, a mask, or floats for a
        regression; or the path of a table of points (CSV, Parquet).
    out : also write a model file.
    parameters : those of `bigseg.Train`: features, estimator, regions, classes …

    Returns
    -------
    Model : `bigseg.classify` applies it; ``labels``, ``probabilities`` and ``values`` take feature vectors. Its
        ``figures`` (as a table: ``summary()``) and ``threshold`` come from the regions.

    Raises
    ------
    PipelineError, InputError, ParameterError
        When parameters or annotations are wrong.

    Examples
    --------
    >>> import numpy as np, bigseg
    >>> image, painted = np.array([[1, 2, 9, 8]], "uint8"), np.array([[1, 0, 2, 0]], "uint8")
    >>> model = bigseg.train(image, painted, features={"intensity": True}, estimator="decision_tree")
    >>> bigseg.classify(image, model=model)
    array([[1, 1, 2, 2]], dtype=uint8)
    """
    op = make_train(parameters, "bigseg.train")
    pairs = [(volume, labels)] if labels is not None else volume
    if not isinstance(pairs, Sequence) or not pairs or any(not isinstance(p, tuple) or len(p) != 2 for p in pairs):
        raise ParameterError("bigseg.train: expected labels beside the volume, or a list of pairs (volume, labels)")
    examples = []
    for number, (images, known) in enumerate(pairs):
        volumes = by_name(images, "")
        refuse_unnamed([*volumes.values(), known])
        origins = {name: _origin(item) for name, item in volumes.items()}
        spec = next(iter(origins.values())).spec
        if isinstance(known, (str, Path)):
            table = Path(known).suffix.lower() in (".csv", ".parquet")
            truth: Any = open_truth(known, known if table else None, spec, op)
        else:
            truth = Labels(_origin(known), op.kind)
        first = next(iter(volumes.values()))
        name = os.path.basename(str(first)) if isinstance(first, (str, Path)) else f"array {number}"
        examples.append(Example(origins, truth, name=name))
    trained, _ = train_on(examples, op)
    if out is not None:
        save_model(trained.model, out)
    return trained.model


def classify(volume: Any, model: Model | str | Path, **parameters: Any) -> Any:
    """A trained model on every voxel of an array.

    Parameters
    ----------
    volume : array, dask array or DataArray of 2 or 3 axes; several, as a mapping by name in the model's order, or a
        list.
    model : of `train`, or the path of a model file.
    parameters : those of `bigseg.Classify`: output, target, dtype, override.

    Returns
    -------
    As the first volume: of dask arrays lazy.

    Raises
    ------
    InputError, ParameterError
        When the model does not fit the volume, or does not know what is asked.
    """
    images = list(by_name(volume, "").values())
    refuse_unnamed(images)
    path = "" if isinstance(model, Model) else str(model)
    op = make_op(Classify, {"model": path or MODEL, **parameters}, "bigseg.classify")
    assert isinstance(op, Classify)
    found = model if isinstance(model, Model) else load_kept(path, op.digest)
    specs = [describe(image) for image in images]
    stack = stack_of(found, specs)
    check_fits(found, specs[0], override=op.override)
    op.asks(found)
    kernel = Classifier(op, stack, tuple(str(spec.dtype) for spec in specs), ModelPlace("", ""), 0.0, 0, 0)
    data = [in_order(image).data if isinstance(image, xr.DataArray) else image for image in images]
    spec = op.result(specs[0])
    if any(isinstance(item, da.Array) for item in data):
        result: Any = _lazily(kernel, found, data, spec)
    else:
        result = _box(kernel, found, [np.asarray(item) for item in data], Box.whole(spec.shape), spec.shape)
    first = images[0]
    if isinstance(first, xr.DataArray):
        return like(first, result, spec.kind)
    return result


def _box(kernel: Classifier, model: Model, arrays: Sequence[Any], box: Box, shape: tuple[int, ...]) -> Any:
    """One box, of arrays that hold it grown by the depth."""
    outer = box.grow(kernel.depth(), shape)
    visit = Visit(Grid(shape, box.shape), Block(0, (0,) * len(shape), box), Scratch(""))
    arrays = [finite(array, outer.start) for array in arrays]
    return kernel.on(model).compute(arrays, box.within(outer), box, visit)


def _lazily(kernel: Classifier, model: Model, data: Sequence[Any], spec: Spec) -> da.Array:
    """Blocks are cut with their halo, clipped at the volume's edge, exactly as the engine reads them."""
    chunks = next(item.chunks for item in data if isinstance(item, da.Array))
    lazy = [item if isinstance(item, da.Array) else da.from_array(np.asarray(item), chunks) for item in data]
    starts = [np.concatenate([[0], np.cumsum(sizes)]) for sizes in chunks]

    def part(place: tuple[int, ...]) -> da.Array:
        box = Box(
            tuple(int(s[p]) for s, p in zip(starts, place, strict=True)),
            tuple(int(s[p + 1]) for s, p in zip(starts, place, strict=True)),
        )
        outer = box.grow(kernel.depth(), spec.shape)
        arrays = [_whole(item[outer.slices]) for item in lazy]
        delayed = _delayed(kernel, model, arrays, box, spec.shape)
        return da.from_delayed(delayed, box.shape, spec.dtype)

    counts = [len(sizes) for sizes in chunks]
    places = np.empty(counts, object)
    for place in np.ndindex(*counts):
        places[place] = part(place)
    return da.block(places.tolist())


def _whole(array: da.Array) -> Any:
    """A small lazy array as one delayed NumPy array."""
    return array.rechunk(array.shape).to_delayed().item()


def _delayed(kernel: Classifier, model: Model, arrays: Sequence[Any], box: Box, shape: tuple[int, ...]) -> Any:
    from dask import delayed

    return delayed(_box, pure=False)(kernel, delayed(model, traverse=False), list(arrays), box, shape)


def importances(
    model: Model, table: pd.DataFrame, *, by: By = "feature", repeats: int = 3, seed: int = 0
) -> pd.DataFrame:
    """How much worse a model does when a feature is shuffled among the voxels: what it cannot do without.

    Take voxels that it was not trained on. Features that tell the same stand in for each other, so that each alone
    seems to matter little: ``by="filter"`` and ``by="scale"`` shuffle all of a filter or of a scale together.

    Parameters
    ----------
    model : of `train`.
    table : of `bigseg.feature_table` with the features of the model and labels.
    by : what is shuffled together: a feature, a filter or a scale.
    repeats, seed : how many shuffles, and of what they are drawn.

    Returns
    -------
    DataFrame, greatest loss first: ``loss`` of balanced accuracy (of a regression, the rise of the mean squared error),
    and ``spread``, its standard deviation over the repeats.

    Raises
    ------
    ParameterError
        When the table lacks the truth or features of the model.

    Notes
    -----
    See `bigseg.learn.importance.shuffled_losses`.

    Examples
    --------
    >>> import numpy as np, bigseg
    >>> image, painted = np.array([[1, 2, 9, 8]], "uint8"), np.array([[1, 1, 2, 2]], "uint8")
    >>> chosen = {"intensity": True, "position": {"y": 10}}
    >>> model = bigseg.train(image, painted, features=chosen, estimator="decision_tree")
    >>> found = importances(model, bigseg.feature_table(image, painted, **chosen), repeats=9)
    >>> list(found.index), bool(found["loss"].iloc[0] > 0), float(found["loss"].iloc[1])
    (['intensity', 'position-y-10'], True, 0.0)
    """
    names = [str(name) for name in model.features["names"]]
    lacking = [name for name in ("truth", *names) if name not in table]
    if lacking:
        raise ParameterError(
            f"the table has no column {', '.join(lacking[:3])}: expected feature_table with labels, and the features "
            "that the model was trained with"
        )
    planes = np.ascontiguousarray(table[names].to_numpy(np.float32).T)
    truth = table["truth"].to_numpy()
    losses = shuffled_losses(model, planes, truth, groups_of(names, by), repeats, seed)
    found = pd.DataFrame(
        {"loss": [np.mean(item) for item in losses.values()], "spread": [np.std(item) for item in losses.values()]},
        index=pd.Index(list(losses), name=by),
    )
    return found.sort_values("loss", ascending=False, kind="stable")


class RowsClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model as an estimator of scikit-learn's that takes rows of features: for `parallel`."""

    def __init__(self, model: Any = None) -> None:
        self.model = model

    @property
    def classes_(self) -> Any:
        """The numbers of the classes."""
        return np.array([item.value for item in self.model.classes])

    def fit(self, rows: Any, truth: Any = None) -> RowsClassifier:
        """It is fitted already."""
        return self

    def predict(self, rows: Any) -> Any:
        """Classes of rows."""
        return asked(self.model, self.model.labels, rows_as_planes(self.model, rows))

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities of rows, float32 (rows, classes)."""
        return asked(self.model, self.model.probabilities, rows_as_planes(self.model, rows)).T


class RowsRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regression as an estimator of scikit-learn's that takes rows of features."""

    def __init__(self, model: Any = None) -> None:
        self.model = model

    def fit(self, rows: Any, truth: Any = None) -> RowsRegressor:
        """It is fitted already."""
        return self

    def predict(self, rows: Any) -> Any:
        """Values of rows."""
        return asked(self.model, self.model.values, rows_as_planes(self.model, rows))


def rows_as_planes(model: Model, rows: Any) -> Any:
    """Rows of features, as `bigseg.features` gives them, in the form that the model takes."""
    planes = np.array(np.asarray(rows, np.float32).T, order="C")
    told = model.features
    scaling = Scaling.from_dict(told["scaling"]) if "scaling" in told else None
    clusters = Clusters.from_dict(told["clusters"]) if "clusters" in told else None
    return prepared(planes, scaling, clusters)


def parallel(model: Model) -> ParallelPostFit:
    """A model for lazy tables of feature vectors, rows x features, as dask-ml applies it.

    Parameters
    ----------
    model : of `train`.

    Returns
    -------
    dask_ml.wrappers.ParallelPostFit : its ``predict`` and ``predict_proba`` of a dask array or DataFrame stay lazy.

    Examples
    --------
    >>> import numpy as np, dask.array as da, bigseg
    >>> image, painted = np.array([[1, 2, 9, 8]], "uint8"), np.array([[1, 0, 2, 0]], "uint8")
    >>> model = bigseg.train(image, painted, features={"intensity": True}, estimator="decision_tree")
    >>> parallel(model).predict(da.from_array(np.float32([[1], [9], [2]]), (2, 1))).compute()
    array([1, 2, 1], dtype=uint8)
    """
    kind = RowsClassifier if model.task == "classification" else RowsRegressor
    return ParallelPostFit(estimator=kind(model))


def _origin(item: Any) -> Any:
    if isinstance(item, (str, Path)):
        return open_source(item)
    return function_input(item)
