"""Linear models of feature vectors: weighted sums in a fixed order, whichever voxels stand beside each other.

A matrix product by a BLAS library differs in the last bits with the number of rows it is given, so between two ways of
cutting a volume into blocks. Here every voxel's products are added feature by feature, in float64, then the offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.filters.exponential import exponential

Array = NDArray[Any]
Link = Literal["value", "side", "logistic", "softmax"]
LINKS = ("value", "side", "logistic", "softmax")
_PIECE = 2048  # voxels whose sums stay in the cache while the features pass


@dataclass(frozen=True)
class Linear:
    """Weights and offsets of one or more sums.

    Parameters
    ----------
    weights : float64 (sums, features).
    offsets : float64 (sums).
    link : what the sums mean. value: of a regression; side: of a hyperplane, or the class with the greatest sum;
        logistic: the probability of the second of two classes; softmax: those of as many classes as sums.

    Raises
    ------
    ParameterError
        When the arrays do not fit each other or the link, or are not finite.
    """

    weights: Array
    offsets: Array
    link: Link

    def __post_init__(self) -> None:
        sums = self.weights.shape[0] if self.weights.ndim == 2 else 0
        fits = self.offsets.shape == (sums,) and {"value": sums == 1, "logistic": sums == 1}.get(self.link, sums > 0)
        finite = np.isfinite(self.weights).all() and np.isfinite(self.offsets).all()
        if self.link not in LINKS or not fits or not finite or (self.link == "softmax" and sums < 2):
            raise ParameterError(
                f"this is no linear model: weights of shape {self.weights.shape} and offsets of shape "
                f"{self.offsets.shape} for {self.link!r}; train the model again"
            )

    @property
    def features(self) -> int:
        """How many features a voxel has."""
        return int(self.weights.shape[1])

    @property
    def outputs(self) -> int:
        """How many classes, or 1 of a regression."""
        sums = int(self.weights.shape[0])
        return 2 if sums == 1 and self.link != "value" else sums


def sums(model: Linear, planes: Array) -> NDArray[np.float64]:
    """The weighted sums of every voxel.

    Parameters
    ----------
    model : the weights.
    planes : float32 (features, n); other dtypes are converted.

    Returns
    -------
    float64 (sums, n), each within 1e-12 of scikit-learn's ``decision_function`` or ``predict`` relative to the sum of
    the products' magnitudes, and the same bits for any part of the voxels.

    Raises
    ------
    ValuesError : NaN or infinite sums.
    ParameterError : another number of features.

    Notes
    -----
    0.6 ns a voxel, feature and sum on one core.

    Examples
    --------
    >>> model = Linear(np.array([[2.0, -1.0]]), np.array([0.5]), "value")
    >>> sums(model, np.float32([[1, 2], [3, 5]]))
    array([[-0.5, -0.5]])
    """
    if planes.ndim != 2 or planes.shape[0] != model.features:
        raise ParameterError(
            f"features of shape {planes.shape}: expected {model.features} planes of one value a voxel; compute the "
            "features that the model was trained on"
        )
    out = np.zeros((model.weights.shape[0], planes.shape[1]), np.float64)
    weights, offsets = (np.ascontiguousarray(part, np.float64) for part in (model.weights, model.offsets))
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(planes, np.float32)
    _add(values, weights, offsets, out)
    if not np.isfinite(out).all():
        raise ValuesError("NaN or infinite values among the features: check the volume and the steps before")
    return out


def means(model: Linear, planes: Array) -> NDArray[np.float32]:
    """Probabilities of the classes, or the value of a regression: float32 (outputs, n).

    Parameters and errors as `sums`; a model that only knows sides has no probabilities. Within 1e-6 of scikit-learn;
    the exponential is of additions and multiplications alone, so that every machine gives the same bits.

    >>> means(Linear(np.array([[1.0]]), np.array([0.0]), "logistic"), np.float32([[0, 30]])).tolist()
    [[0.5, 9.357622912219837e-14], [0.5, 1.0]]
    """
    if model.link == "side":
        raise ParameterError("this linear model knows no probabilities: ask for labels")
    found = sums(model, planes)
    if model.link == "value":
        return found.astype(np.float32)
    out = np.empty((model.outputs, found.shape[1]), np.float32)
    _link(found, out)
    return out


def labels(model: Linear, planes: Array) -> NDArray[np.uint8]:
    """The place of the class with the greatest sum, of equal ones the first: uint8 (n).

    Parameters and errors as `sums`. Of one sum, classes are parted at 0, which is of the first.

    >>> labels(Linear(np.array([[1.0]]), np.array([0.0]), "side"), np.float32([[-1, 0, 2]]))
    array([0, 0, 1], dtype=uint8)
    """
    found = sums(model, planes)
    return np.asarray(found[0] > 0 if found.shape[0] == 1 else found.argmax(axis=0), np.uint8)


@njit(nogil=True, cache=True)
def _add(planes, weights, offsets, out):  # type: ignore[no-untyped-def]
    features, n = planes.shape
    for start in range(0, n, _PIECE):
        stop = min(n, start + _PIECE)
        for k in range(weights.shape[0]):
            total = out[k, start:stop]
            for feature in range(features):
                weight = weights[k, feature]
                plane = planes[feature, start:stop]
                for v in range(plane.size):
                    total[v] += weight * np.float64(plane[v])
            for v in range(total.size):
                total[v] += offsets[k]


@njit(nogil=True, cache=True)
def _link(found, out):  # type: ignore[no-untyped-def]
    count = found.shape[0]
    for v in range(found.shape[1]):
        if count == 1:
            part = exponential(-abs(found[0, v]))  # of the sum's magnitude: never too large
            near, far = 1.0 / (1.0 + part), part / (1.0 + part)
            out[1, v] = near if found[0, v] > 0 else far
            out[0, v] = far if found[0, v] > 0 else near
        else:
            most = found[0, v]
            for k in range(1, count):
                most = max(most, found[k, v])
            total = 0.0
            for k in range(count):
                total += exponential(found[k, v] - most)
            for k in range(count):
                out[k, v] = exponential(found[k, v] - most) / total
