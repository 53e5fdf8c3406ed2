"""Rows of the filters that remove noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tests.ops.rows import Case, op

CASES = [
    Case(
        "gaussian",
        lambda n: [op("gaussian", sigma=1.3)],
        lambda x: ndimage.gaussian_filter(x.astype(np.float32), 1.3),
        tolerance=1e-5,
    ),
    Case(
        "gaussian",
        lambda n: [op("gaussian", sigma=(0.0, 2.6, 1.0)[-n:])],
        lambda x: ndimage.gaussian_filter(x.astype(np.float32), (0.0, 2.6, 1.0)[-x.ndim :]),
        tolerance=1e-5,
        name="anisotropic",
    ),
    Case("median", lambda n: [op("median", size=3)], lambda x: ndimage.median_filter(x, 3)),
    Case(
        "median",
        lambda n: [op("median", size=(1, 5, 3)[-n:])],
        lambda x: ndimage.median_filter(x, (1, 5, 3)[-x.ndim :]),
        name="5x3",
    ),
]
