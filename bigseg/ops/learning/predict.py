"""What a model says of feature vectors, whichever come together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from bigseg.engine.field import Array, Values
from bigseg.learn.clusters import Clusters
from bigseg.local.filters.linear import Float32
from bigseg.local.models.forest import Forest
from bigseg.local.models.linear_model import Linear

if TYPE_CHECKING:
    from bigseg.learn.model import Model

Output = Literal["labels", "probability", "uncertainty", "value"]
Stored = Literal["float32", "uint8"]
BY_ROW = ("HistGradientBoosting", "GradientBoosting", "GaussianNB")
"""Estimators that look at each row by itself; others may multiply matrices, where rows that come together show."""
BATCH, FIXED = 16384, 1024
"""Rows that an estimator of scikit-learn is given at once; always as many where rows might show."""
OTHER_NS = 2000.0
"""Nanoseconds a voxel of an estimator that is not ours: nobody knows."""
UNKNOWN_MODEL = 256 << 20
"""Bytes planned for a model that is still to be trained, or is not ours."""


@dataclass(frozen=True)
class Predict:
    """What a model says of feature vectors: a finder, as `OnFeatures` takes it.

    Parameters
    ----------
    model : the model.
    output : what is found of each voxel.
    place : of probability, which class's.
    stored : dtype of shares; uint8 as shares of 255.
    clusters : that the model's features go through first.
    """

    model: Model
    output: Output
    place: int = 0
    stored: Stored = "float32"
    clusters: Clusters | None = None

    @property
    def dtype(self) -> str:
        """Of what it finds."""
        if self.output == "labels":
            return "uint8"
        return "float32" if self.output == "value" else self.stored

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel."""
        return cost_of(self.model)

    def memory(self, voxels: int) -> int:
        """Probabilities, clusters and rows of a tile."""
        return row_bytes(self.model) * voxels

    def bind(self, values: Values) -> Predict:
        """Nothing to bind."""
        return self

    def find(self, planes: Float32) -> Array:
        """One value a voxel."""
        if self.clusters is not None:
            planes = self.clusters.added(planes)
        model = self.model
        if self.output == "labels":
            return asked(model, model.labels, planes)
        if self.output == "value":
            return asked(model, model.values, planes)
        found = asked(model, model.probabilities, planes)
        if self.output == "probability":
            return self._shares(found[self.place])
        if len(found) == 1:
            return self._shares(np.zeros(found.shape[1], np.float32))
        second, first = np.partition(found, -2, axis=0)[-2:]
        return self._shares(np.float32(1) - (first - second))

    def _shares(self, shares: NDArray[np.float32]) -> Array:
        return np.rint(shares * np.float32(255)).astype(np.uint8) if self.stored == "uint8" else shares


def asked(model: Model, ask: Callable[[Float32], Array], planes: Float32) -> Array:
    """What a model says of voxels, the same for any that come together.

    Our own kernels add in a fixed order. Others get rows in batches with one thread; where they may multiply matrices
    the last batch is filled up, so that every row goes through the same instructions.
    """
    if isinstance(model.predictor, (Forest, Linear)):
        return ask(planes)
    by_row = _by_row(model.predictor)
    size = BATCH if by_row else FIXED
    found = []
    with _controller().limit(limits=1):
        for start in range(0, planes.shape[1], size):
            part = planes[:, start : start + size]
            count = part.shape[1]
            if count < size and not by_row:
                part = np.pad(part, ((0, 0), (0, size - count)), mode="edge")
            found.append(ask(part)[..., :count])
    return np.concatenate(found, axis=-1)


def cost_of(model: Model) -> float:
    """Nanoseconds a voxel on one core."""
    predictor = model.predictor
    if isinstance(predictor, Forest):
        return 1.0 * predictor.trees * max(1.0, float(np.log2(predictor.nodes / predictor.trees + 1)))
    return 0.3 * predictor.weights.size if isinstance(predictor, Linear) else OTHER_NS


def model_bytes(model: Model) -> int:
    """In memory and while it is loaded."""
    predictor = model.predictor
    if isinstance(predictor, Forest):
        return 2 * predictor.nbytes + (2 << 20)
    return 1 << 20 if isinstance(predictor, Linear) else UNKNOWN_MODEL


def row_bytes(model: Model) -> int:
    """For each voxel of a tile."""
    clusters = 4 * len(model.names) if "clusters" in model.features else 0
    return clusters + 12 * max(1, len(model.classes)) + 8


def _by_row(predictor: Any) -> bool:
    """Whether an estimator looks at each row by itself; nearest neighbours do in a tree, and not by brute force."""
    name = type(predictor).__name__
    return name.startswith(BY_ROW) or getattr(predictor, "_fit_method", "") in ("kd_tree", "ball_tree")


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
