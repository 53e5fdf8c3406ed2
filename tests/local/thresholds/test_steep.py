"""Steep voxels against scipy's Laplacian, for any crop."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bigseg.local.thresholds.steep import steep


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64", "bool"])
@pytest.mark.parametrize("shape", [(50,), (20, 33), (7, 12, 18), (1, 5, 6), (1, 1, 3)])
def test_steep_is_scipys_laplacian_above_a_limit(shape: tuple[int, ...], dtype: str) -> None:
    """The mask is exactly that of scipy's Laplacian of the image as float32, mode reflect, in every crop."""
    rng = np.random.default_rng(1)
    x = rng.normal(100, 20, shape)
    x = x > 100 if dtype == "bool" else x.astype(dtype)
    laplacian = np.abs(ndimage.laplace(x.astype(np.float32)))
    for limit in (0.0, float(np.median(laplacian)), 60.7):
        expected = laplacian > np.float32(limit)
        np.testing.assert_array_equal(steep(x, limit, tuple(slice(0, n) for n in shape)), expected)
        for _ in range(4):
            start = [int(rng.integers(0, n)) for n in shape]
            stop = [int(rng.integers(a + 1, n + 1)) for a, n in zip(start, shape, strict=True)]
            outer = tuple(slice(max(0, a - 1), min(n, b + 1)) for a, b, n in zip(start, stop, shape, strict=True))
            keep = tuple(slice(a - o.start, b - o.start) for a, b, o in zip(start, stop, outer, strict=True))
            inner = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
            np.testing.assert_array_equal(steep(x[outer], limit, keep), expected[inner])
