"""Rows of thresholds and histograms."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage import filters

from tests.ops.rows import Case, op


def every_value(image: np.ndarray) -> dict[str, float]:
    exact = image.astype(np.float64)
    found = {"min": image.min(), "max": image.max(), "mean": exact.mean(), "std": exact.std()}
    found |= {f"p{q}": np.percentile(exact, q) for q in (1, 5, 50, 99)}
    return {key: float(value) for key, value in found.items()}


CASES = [
    Case("threshold", lambda n: [op("threshold", above=120.5)], lambda x: x > 120.5),
    Case("threshold", lambda n: [op("threshold", above=100, below=140)], lambda x: (x > 100) & (x < 140), name="band"),
    Case(
        "threshold",
        lambda n: [op("median", size=3), op("gaussian", sigma=0.8), op("threshold", above=127.0)],
        lambda x: ndimage.gaussian_filter(ndimage.median_filter(x, 3).astype(np.float32), 0.8) > np.float32(127.0),
        dtypes=("uint8",),
        name="fused chain",
    ),
    Case("histogram", lambda n: [op("histogram")], every_value),
    Case(
        "auto_threshold", lambda n: [op("auto_threshold", method="otsu")], lambda x: {"otsu": filters.threshold_otsu(x)}
    ),
    Case(
        "auto_threshold",
        lambda n: [op("auto_threshold", method="isodata")],
        lambda x: {"isodata": filters.threshold_isodata(x)},
        name="isodata",
    ),
    Case(
        "auto_threshold",
        lambda n: [op("auto_threshold", method="triangle")],
        lambda x: {"triangle": filters.threshold_triangle(x)},
        name="triangle",
    ),
    Case(
        "auto_threshold",
        lambda n: [op("auto_threshold", method="multi_otsu")],
        lambda x: dict(zip(("multi_otsu_1", "multi_otsu_2"), filters.threshold_multiotsu(x), strict=True)),
        name="multi_otsu",
    ),
]
