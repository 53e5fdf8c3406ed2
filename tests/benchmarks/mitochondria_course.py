"""The course's seven ways to classify pixels, on the mitochondria: each regresses the mask.

Estimators as the course sets them (25 trees, 4 clusters, 1 neighbour, a tree that splits 1,000 pixels or more where it
knows the position). Forests take a third of the features at each split, and learn from `ROWS` pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler
from sklearn.tree import DecisionTreeRegressor

import bigseg
from bigseg.learn.linears import linear_of
from bigseg.ops.learning.features import SCALES, Features
from bigseg.storage.spec import Spec

from .halves import BANDS, Array, Half, allowed, band, curve, dice, mae, predict, sample

ROWS = 20_000
PLACED = {"intensity": True, "position": 10}
FILTERS = {
    "intensity": True,
    **dict.fromkeys(
        (
            "gaussian",
            "difference_of_gaussians",
            "sobel",
            "gaussian_gradient_magnitude",
            "laplacian_of_gaussian",
            "hessian_eigenvalues",
            "structure_tensor_eigenvalues",
        ),
        SCALES,
    ),
}


def _forest() -> RandomForestRegressor:
    return RandomForestRegressor(25, max_features=1 / 3, random_state=0, n_jobs=1)


@dataclass(frozen=True)
class Way:
    """Features, an estimator, and how many pixels it learns from (None: all of the half)."""

    name: str
    features: Mapping[str, Any]
    estimator: Callable[[], Any]
    rows: int | None = ROWS


WAYS = (
    Way("decision tree", {"intensity": True}, lambda: DecisionTreeRegressor(random_state=0), None),
    Way("tree with position", PLACED, lambda: DecisionTreeRegressor(min_samples_split=1000, random_state=0), None),
    Way(
        "k-means + forest",
        PLACED,
        lambda: make_pipeline(RobustScaler(), KMeans(4, n_init=4, random_state=0), _forest()),
    ),
    Way("polynomial + forest", {**PLACED, "polynomial": 2}, _forest),
    Way("filters + forest", FILTERS, _forest),
    Way("neighbourhood + linear regression", {"neighbours": 1}, LinearRegression, None),
    Way(
        "neighbourhood + nearest neighbour",
        {"neighbours": 1},
        lambda: make_pipeline(RobustScaler(), KNeighborsRegressor(1, algorithm="kd_tree", n_jobs=1)),
    ),
)


@dataclass(frozen=True)
class Outcome:
    """Figures of one way, and its scores of the right half."""

    name: str
    features: int
    figures: Mapping[str, float]
    scores: Array
    model: Any


def learn(way: Way, planes: Array, half: Half, left_out: tuple[int, ...] = ()) -> Any:
    """A model from the left half without some bands."""
    where = allowed(half.truth.shape, left_out)
    places = np.flatnonzero(where) if way.rows is None else sample(where, way.rows)
    table = planes.reshape(len(planes), -1)[:, places].T
    return way.estimator().fit(np.ascontiguousarray(table), half.truth.reshape(-1)[places].astype(np.float32))


def judge(way: Way, left: Half, right: Half) -> Outcome:
    """Learn on the left half; its bands choose the threshold; judge on the right half."""
    planes = bigseg.features(left.image, **way.features)
    folded = np.empty(left.truth.shape, np.float32)
    for number in range(BANDS):
        rows = band(left.truth.shape, number)
        model = learn(way, planes, left, (number,))
        folded[rows] = predict(model, planes[:, rows].reshape(len(planes), -1)).reshape(folded[rows].shape)
    chosen = curve(folded, left.truth)
    threshold, best = chosen.best()
    model = learn(way, planes, left)
    seen = predict(model, planes.reshape(len(planes), -1)).reshape(left.truth.shape)
    planes = bigseg.features(right.image, **way.features)
    scores = predict(model, planes.reshape(len(planes), -1)).reshape(right.truth.shape)
    figures = {
        "AUC seen": curve(seen, left.truth).areas()[0],
        "AUC left": chosen.areas()[0],
        "Dice left": best,
        "threshold": threshold,
        "AUC right": curve(scores, right.truth).areas()[0],
        "Dice right": dice(scores > threshold, right.truth),
        "Dice right at 0.5": dice(scores > 0.5, right.truth),
        "MAE right": mae(scores, right.truth),
    }
    return Outcome(way.name, len(planes), figures, scores, model)


def normal_equations(half: Half) -> tuple[Array, float]:
    """The nine coefficients and the offset from sums over tiles; of 8-bit values every sum is exact."""
    stack = Features(neighbours=1).stack(Spec(half.image.shape, half.image.dtype, ("y", "x"), (1.0, 1.0)))
    square, right = np.zeros((10, 10)), np.zeros(10)
    keep = tuple(slice(0, n) for n in half.image.shape)
    for tile in stack.tiles([half.image], keep, tile=(1, 100)):
        rows = np.concatenate([tile.planes.astype(np.float64), np.ones((1, tile.planes.shape[1]))])
        square += rows @ rows.T
        right += rows @ half.truth[tile.part].reshape(-1)
    found = np.linalg.solve(square, right)
    return found[:9], float(found[9])


def same_coefficients(model: LinearRegression, half: Half) -> float:
    """Assert that the kernel is scikit-learn's on a table that was made without bigseg; the greatest difference.

    Three ways: scikit-learn on bigseg's table (``model``, as it is kept for prediction), sums over bigseg's tiles, and
    scikit-learn on NumPy's windows of the mirrored image.
    """
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(half.image, 1, mode="symmetric"), (3, 3))
    peer = LinearRegression().fit(windows.reshape(-1, 9).astype(np.float64), half.truth.reshape(-1).astype(np.float64))
    kept, (sums, offset) = linear_of(model), normal_equations(half)
    assert np.array_equal(kept.weights[0], model.coef_)
    scale = float(np.abs(peer.coef_).max())
    difference = max(
        float(np.abs(sums - peer.coef_).max()) / scale, abs(offset - peer.intercept_) / abs(peer.intercept_)
    )
    assert difference < 1e-9, f"sums over tiles differ from scikit-learn by {difference:.1e}"
    near = float(np.abs(kept.weights[0] - peer.coef_).max()) / scale
    assert near < 1e-4, f"scikit-learn on float32 differs from itself on float64 by {near:.1e}"
    return max(difference, 0.0)
