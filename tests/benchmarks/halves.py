"""The mitochondria image as two images: the left half is learned from, the right half judged on.

Nothing passes from one half to the other: features are computed on each half by itself, mirrored at its edge. Inside
the left half four bands of rows take turns as validation; what is learned for a band has not seen its truth, nor that
of `GUARD` rows around it::

    left half                 validating band 1
    band 0  rows   0..191     learn from 0..175
    band 1  rows 192..383     scores of these rows
    band 2  rows 384..575     learn from 400..
    band 3  rows 576..767     ..767
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from sklearn.pipeline import Pipeline

from bigseg.learn.forests import forest_of, is_forest
from bigseg.learn.linears import is_linear, linear_of
from bigseg.local.models import forest, linear_model
from bigseg.local.models.curves import Curve, Scale, count_scores, curve_of
from bigseg.local.models.sampling import smallest

from .measure import ROOT

Array = np.ndarray
DATA = Path(os.environ.get("BIGSEG_DATA", ROOT.parent / "shared" / "data"))
BANDS, GUARD = 4, 16


class Half(NamedTuple):
    """Grey values (uint8) and where mitochondria are (bool)."""

    image: Array
    truth: Array


def load(folder: Path = DATA) -> tuple[Half, Half]:
    """The left and the right half."""
    image, truth = (np.asarray(Image.open(folder / "lecture" / name)) for name in ("em_image.png", "em_image_seg.png"))
    middle = image.shape[1] // 2
    parts = (slice(0, middle), slice(middle, None))
    left, right = (Half(np.ascontiguousarray(image[:, x]), np.ascontiguousarray(truth[:, x] > 0)) for x in parts)
    return left, right


def band(shape: tuple[int, ...], number: int) -> slice:
    """The rows of a band."""
    step = shape[0] // BANDS
    return slice(number * step, shape[0] if number == BANDS - 1 else (number + 1) * step)


def allowed(shape: tuple[int, ...], left_out: Collection[int]) -> Array:
    """Where may be learned from, when these bands are left out."""
    found = np.ones(shape, bool)
    for number in left_out:
        rows = band(shape, number)
        found[max(0, rows.start - GUARD) : rows.stop + GUARD] = False
    return found


def sample(where: Array, count: int, seed: int = 0) -> Array:
    """Places in raster order of some of the voxels of a mask, by their hashes."""
    places = np.flatnonzero(where)
    return places[smallest(seed, places.astype(np.uint64), count)]


def predict(estimator: Any, planes: Array) -> Array:
    """What a fitted estimator says of features (features, n): float32 values, or probabilities of yes.

    Trees, forests and linear models through bigseg's kernels, the others by their own predict.
    """
    if isinstance(estimator, Pipeline):
        return predict(estimator[-1], np.ascontiguousarray(estimator[:-1].transform(planes.T).T, np.float32))
    if is_forest(estimator):
        return np.asarray(forest.means(forest_of(estimator), planes)[-1])
    if is_linear(estimator):
        return np.asarray(linear_model.means(linear_of(estimator), planes)[-1])
    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(planes.T)[:, 1], np.float32)
    return np.asarray(estimator.predict(planes.T), np.float32)


def curve(scores: Array, truth: Array) -> Curve:
    """The ROC curve of float32 scores."""
    low, high = float(scores.min()), float(scores.max())
    scale = Scale.of(scores.dtype, low, high)
    return curve_of(count_scores(scores, truth, scale, high)[0], scale)


def dice(found: Array, truth: Array) -> float:
    """Dice of two masks."""
    both = int(np.count_nonzero(found)) + int(np.count_nonzero(truth))
    return 2 * int(np.count_nonzero(found & truth)) / max(1, both)


def mae(scores: Array, truth: Array) -> float:
    """Mean absolute difference."""
    return float(np.abs(scores.astype(np.float64) - truth).mean())
