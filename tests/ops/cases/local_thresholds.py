"""Rows of thresholds that follow the image, and of several at once."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage import filters

from tests.ops.rows import INTEGERS, Case, op

CASES = [
    Case(
        "local_threshold",
        lambda n: [op("local_threshold", method="niblack", window=7, k=0.3)],
        lambda x: x > filters.threshold_niblack(x.astype(np.float64), 7, 0.3),
        name="niblack",
    ),
    Case(
        "local_threshold",
        lambda n: [op("local_threshold", method="sauvola", window=(3, 5, 9)[-n:], r=40, polarity="below")],
        lambda x: x < filters.threshold_sauvola(x.astype(np.float64), (3, 5, 9)[-x.ndim :], 0.2, 40.0),
        name="sauvola, below",
    ),
    Case(
        "local_threshold",
        lambda n: [op("local_threshold", method="sauvola", window=5, gives="threshold")],
        lambda x: filters.threshold_sauvola(x, 5).astype(np.float32),
        dtypes=INTEGERS,
        name="sauvola, r from the dtype, threshold",
    ),
    Case(
        "local_threshold",
        lambda n: [op("local_threshold", method="niblack", window=5, offset=2.5, gives="threshold")],
        lambda x: filters.threshold_niblack(x.astype(np.float64), 5, 0.2) - 2.5,
        tolerance=1e-6,
        name="niblack, threshold",
    ),
    # No offset of a third of a voxel's value can make a mean of 25 or 125 voxels a tie.
    Case(
        "local_threshold",
        lambda n: [op("local_threshold", method="mean", window=5, offset=0.337)],
        lambda x: x > filters.threshold_local(x.astype(np.float64), 5, method="mean", offset=0.337),
        name="mean",
    ),
    Case(
        "local_threshold",
        lambda n: [op("local_threshold", method="median", window=(1, 5, 3)[-n:], offset=-1.5)],
        lambda x: x > ndimage.median_filter(x, (1, 5, 3)[-x.ndim :]).astype(np.float64) + 1.5,
        name="median",
    ),
    Case(
        "local_threshold",
        lambda n: [op("local_threshold", method="median", window=3, gives="threshold", offset=3)],
        lambda x: filters.threshold_local(x.astype(np.float64), 3, method="median", offset=3).astype(np.float32),
        name="median, threshold",
    ),
    Case(
        "local_threshold",
        lambda n: [op("local_threshold", method="gaussian", window=9, offset=0.337)],
        lambda x: x > filters.threshold_local(x.astype(np.float64), 9, method="gaussian", offset=0.337),
        name="gaussian",
    ),
    Case(
        "multi_threshold",
        lambda n: [op("multi_threshold", values=[100, 120.5, 140])],
        lambda x: np.digitize(x, [100, 120.5, 140]).astype(np.uint8),
    ),
]
