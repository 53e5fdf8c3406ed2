"""A trained model: what predicts, and everything that must be known to use it on another volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import InputError, ParameterError
from bigseg.learn.estimators import Task
from bigseg.learn.forests import forest_of, is_forest
from bigseg.learn.linears import is_linear, linear_of
from bigseg.local.models import forest, linear_model
from bigseg.local.models.forest import Forest
from bigseg.local.models.linear_model import Linear
from bigseg.storage.spec import Spec
from bigseg.storage.units import POWERS, convert

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
"""Colours of classes that were given none: Paul Tol's bright scheme, which the colour-blind can tell apart."""
LIBRARIES = ("bigseg", "scikit-learn", "numpy", "skops")
NEAR = 0.01
"""Share by which a spacing may differ from that of the training volumes."""


@dataclass(frozen=True)
class ClassName:
    """A class: its number in label volumes (1 to 255), its name, its colour as ``#rrggbb``."""

    value: int
    name: str
    colour: str


@dataclass(frozen=True)
class Source:
    """A volume that a model was trained on: its name, the digest of what was read, how many voxels were labelled."""

    volume: str
    digest: str
    voxels: int


@dataclass(frozen=True, repr=False)
class Model:
    """What predicts, and what it was trained on.

    Parameters
    ----------
    predictor : a `Forest`, a `Linear`, or any other fitted scikit-learn estimator.
    task : classification or regression.
    estimator : the name of the scikit-learn class; parameters : what it was made with.
    features : how the feature vectors are made: what the feature stack says of itself, as JSON.
    names : one name a feature, in the order of the planes.
    scales : the scales of the features, in voxels or with a unit.
    spacing, unit : of the training volumes; ``unit`` is ``""`` where it is not known.
    dtype : of the training volumes' voxels.
    classes : in the order of the probabilities; empty of a regression.
    training : the volumes that were read.
    versions : of the libraries that made it.
    figures : how well it does on voxels it has not seen, by the region that they lie in, see
        `bigseg.learn.training.Trained`.
    threshold : of two classes: above this probability Dice was best on the validation region, else on folds.
    """

    predictor: Any
    task: Task
    estimator: str
    features: Mapping[str, Any]
    names: tuple[str, ...]
    scales: tuple[float | str, ...]
    spacing: tuple[float, ...]
    unit: str
    dtype: str
    classes: tuple[ClassName, ...] = ()
    training: tuple[Source, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    threshold: float | None = None

    def __repr__(self) -> str:
        known = ", ".join(f"{item.value} {item.name}" for item in self.classes)
        return (
            f"<{self.estimator.rpartition('.')[2]} of {len(self.names)} features"
            + (f"; classes {known}" if known else "; a regression")
            + (f"; threshold {self.threshold:.4g}>" if self.threshold is not None else ">")
        )

    def summary(self) -> pd.DataFrame:
        """How well the model does, one row a region: voxels, accuracy, Dice, area under the ROC curve.

        Parts: train (how many voxels it learned from, nothing else), validation (where the threshold was chosen),
        test (where nothing was), folds (blocks that were left out in turn).
        """
        import pandas as pd  # which takes half a second to load

        plain = {
            part: {key: item for key, item in told.items() if not isinstance(item, (list, Mapping))}
            for part, told in self.figures.items()
        }
        return pd.DataFrame.from_dict(plain, orient="index")

    def labels(self, planes: Array) -> NDArray[np.uint8]:
        """The number of the most probable class of every voxel.

        Parameters
        ----------
        planes : float32 (features, n).

        Returns
        -------
        uint8 (n), of the values of ``classes``.

        Raises
        ------
        ParameterError
            Of a regression, or another number of features.
        ValuesError
            NaN or infinite values.
        """
        self._only("classification")
        if isinstance(self.predictor, (Forest, Linear)):
            table = np.array([item.value for item in self.classes], np.uint8)
            return table[_labels(self.predictor, planes)]
        return np.asarray(self.predictor.predict(self._rows(planes))).astype(np.uint8)

    def probabilities(self, planes: Array) -> NDArray[np.float32]:
        """The probability of every class: float32 (classes, n); parameters and errors as `labels`."""
        self._only("classification")
        if isinstance(self.predictor, (Forest, Linear)):
            return _means(self.predictor, planes)
        if not hasattr(self.predictor, "predict_proba"):
            raise ParameterError(f"{self.estimator} knows no probabilities: ask for labels, or train another estimator")
        return np.ascontiguousarray(self.predictor.predict_proba(self._rows(planes)).T, np.float32)

    def values(self, planes: Array) -> NDArray[np.float32]:
        """The value of a regression: float32 (n); parameters and errors as `labels`."""
        self._only("regression")
        if isinstance(self.predictor, (Forest, Linear)):
            return np.asarray(_means(self.predictor, planes)[0])
        return np.asarray(self.predictor.predict(self._rows(planes)), np.float32)

    def _only(self, task: Task) -> None:
        if self.task != task:
            other = "values" if self.task == "regression" else "labels or probabilities"
            raise ParameterError(f"this model is a {self.task}: ask it for {other}")

    def _rows(self, planes: Array) -> NDArray[np.float32]:
        if planes.ndim != 2 or planes.shape[0] != len(self.names):
            raise ParameterError(f"features of shape {planes.shape}: expected {len(self.names)} planes")
        return np.ascontiguousarray(planes.T, np.float32)


def make_model(
    estimator: Any,
    *,
    features: Mapping[str, Any],
    names: Sequence[str],
    spec: Spec,
    scales: Sequence[float | str] = (),
    classes: Mapping[int, str] | None = None,
    colours: Mapping[int, str] | None = None,
    training: Sequence[Source] = (),
) -> Model:
    """A model from a fitted estimator.

    Parameters
    ----------
    estimator : any fitted scikit-learn estimator of one target; trees and forests become a `Forest`, linear models a
        `Linear`. The classes of a classifier are whole numbers, 0 to 255.
    features, names, scales, training : as in `Model`.
    spec : of the training volume.
    classes : name of each class by number; colours : ``#rrggbb``.

    Raises
    ------
    ParameterError
        When the estimator is not fitted or does not fit what is said of it.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> x, y = np.float32([[10], [20], [200], [220]]), [1, 1, 2, 2]
    >>> spec = Spec((64, 64), np.dtype("uint8"), ("y", "x"), (1.0, 1.0))
    >>> model = make_model(DecisionTreeClassifier().fit(x, y), features={}, names=["intensity"], spec=spec,
    ...                    classes={1: "pore", 2: "matrix"})
    >>> model.labels(np.float32([[15, 230]])), [item.name for item in model.classes]
    (array([1, 2], dtype=uint8), ['pore', 'matrix'])
    """
    kind = type(estimator)
    count = getattr(estimator, "n_features_in_", None)
    if count is None:
        raise ParameterError(f"this {kind.__name__} is not fitted: call its fit first")
    if count != len(names):
        raise ParameterError(f"this {kind.__name__} was fitted on {count} features, and {len(names)} are named")
    if "n_jobs" in estimator.get_params(deep=False):
        estimator.set_params(n_jobs=1)  # a parallel forest adds its trees in the order in which they finish
    return Model(
        _predictor(estimator),
        "classification" if hasattr(estimator, "classes_") else "regression",
        f"{kind.__module__}.{kind.__qualname__}",
        dict(features),
        tuple(names),
        tuple(scales),
        spec.spacing,
        spec.unit,
        str(spec.dtype),
        _classes(getattr(estimator, "classes_", ()), classes or {}, colours or {}),
        tuple(training),
        {key: _plain(value) for key, value in estimator.get_params(deep=False).items()},
        library_versions(),
    )


def check_fits(model: Model, spec: Spec, *, override: bool = False) -> None:
    """Refuse a volume that a model was not made for.

    Parameters
    ----------
    model : the model.
    spec : of the volume: its spacing may differ by 1 % from that of the training volumes, where both are known in
        units, else the ratios between its axes; its dtype is that of the training volumes, or holds the same range.
    override : use the model all the same.

    Raises
    ------
    InputError
        With everything that does not fit.
    """
    wrong = [] if override else [*_spacing_differs(model, spec), *_range_differs(model, spec)]
    if wrong:
        raise InputError(
            f"the model does not fit this volume: {'; '.join(wrong)}. Resample or rescale the volume, train a model on "
            "one like it, or use the model all the same with override"
        )


def _predictor(estimator: Any) -> Any:
    if is_forest(estimator):
        return forest_of(estimator)
    return linear_of(estimator) if is_linear(estimator) else estimator


def _labels(predictor: Forest | Linear, planes: Array) -> Array:
    if isinstance(predictor, Forest):
        return forest.labels(predictor, planes)
    return linear_model.labels(predictor, planes)


def _means(predictor: Forest | Linear, planes: Array) -> NDArray[np.float32]:
    if isinstance(predictor, Forest):
        return np.asarray(forest.means(predictor, planes), np.float32)
    return linear_model.means(predictor, planes)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide what a model predicts."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _spacing_differs(model: Model, spec: Spec) -> list[str]:
    axes = min(len(model.spacing), spec.ndim)  # a model of slices has no z
    ours, theirs = model.spacing[-axes:], spec.spacing[-axes:]
    if model.unit in POWERS and spec.unit in POWERS:
        theirs = tuple(convert(step, spec.unit, model.unit) for step in theirs)
        said = "spacing"
    elif model.unit in POWERS:
        return [f"expected a spacing of {_lengths(ours, model.unit)}, found a volume without a unit"]
    else:
        ours, theirs = tuple(x / ours[-1] for x in ours), tuple(x / theirs[-1] for x in theirs)
        said = "ratio of spacings"
    if all(abs(a - b) <= NEAR * a for a, b in zip(ours, theirs, strict=True)):
        return []
    unit = model.unit if said == "spacing" else ""
    return [f"expected a {said} of {_lengths(ours, unit)}, found {_lengths(theirs, unit)}"]


def _range_differs(model: Model, spec: Spec) -> list[str]:
    if str(spec.dtype) == model.dtype:
        return []
    known = Spec((1,), np.dtype(model.dtype), ("x",), (1.0,)).bounds
    if known is not None and known == spec.bounds:
        return []
    said = [
        f" ({low:g} to {high:g})" if ends else "" for ends in (known, spec.bounds) for low, high in [ends or (0, 0)]
    ]
    return [f"expected voxels of {model.dtype}{said[0]}, found {spec.dtype}{said[1]}"]


def _lengths(steps: Sequence[float], unit: str) -> str:
    return " x ".join(f"{step:g}" for step in steps) + (f" {unit}" if unit else "")


def _classes(values: Any, names: Mapping[int, str], colours: Mapping[int, str]) -> tuple[ClassName, ...]:
    found = np.asarray(values)
    if found.size and (found.ndim != 1 or found.dtype.kind not in "biu" or found.min() < 0 or found.max() > 255):
        raise ParameterError(f"classes {found.tolist()!r:.80}: expected whole numbers, 0 to 255")
    missing = [str(value) for value in (*names, *colours) if value not in found]
    if missing:
        raise ParameterError(f"no voxel was labelled {', '.join(missing)}: the model knows {found.tolist()} only")
    return tuple(
        ClassName(value, names.get(value, f"class {value}"), colours.get(value, COLOURS[place % len(COLOURS)]))
        for place, value in enumerate(map(int, found))
    )


def _plain(value: Any) -> Any:
    """A parameter as JSON holds it."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)[:200]
