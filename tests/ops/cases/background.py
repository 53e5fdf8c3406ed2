"""Rows of the removal of uneven backgrounds."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage import morphology

from tests.ops.rows import Case, op


def ball(ndim: int, radius: int) -> np.ndarray:
    return morphology.disk(radius) if ndim == 2 else morphology.ball(radius)


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(image.astype(np.float32), sigma)


def median(image: np.ndarray) -> np.ndarray:
    return ndimage.median_filter(image, footprint=morphology.disk(1)[(None,) * (image.ndim - 2)])


def real(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32)


CASES = [
    Case(
        "subtract_background",
        lambda n: [op("subtract_background", sigma=2.4)],
        lambda x: real(x) - gaussian(x, 2.4),
        tolerance=1e-5,
        name="gaussian",
    ),
    Case(
        "subtract_background",
        lambda n: [op("subtract_background", sigma=1.2, mode="divide")],
        lambda x: real(x) / gaussian(x, 1.2),
        tolerance=1e-5,
        name="gaussian, divide",
    ),
    Case(
        "subtract_background",
        lambda n: [op("median", footprint="disk", radius=1), op("subtract_background", sigma=1.5)],
        lambda x: real(m := median(x)) - gaussian(m, 1.5),
        tolerance=1e-5,
        name="median minus gaussian",
    ),
    Case(
        "subtract_background",
        lambda n: [op("subtract_background", method="opening", radius=2)],
        lambda x: ndimage.white_tophat(x, footprint=ball(x.ndim, 2)),
        name="opening",
    ),
    Case(
        "subtract_background",
        lambda n: [op("subtract_background", method="closing", size=(1, 5, 3)[-n:])],
        lambda x: ndimage.black_tophat(x, size=(1, 5, 3)[-x.ndim :]),
        name="closing",
    ),
    Case(
        "subtract_background",
        lambda n: [op("subtract_background", method="opening", size=3, mode="divide")],
        lambda x: real(x) / real(ndimage.grey_opening(x, 3)),
        name="opening, divide",
    ),
    Case(
        "subtract_background",
        lambda n: [op("subtract_background", method="closing", radius=1, mode="divide")],
        lambda x: real(x) / real(ndimage.grey_closing(x, footprint=ball(x.ndim, 1))),
        name="closing, divide",
    ),
]
