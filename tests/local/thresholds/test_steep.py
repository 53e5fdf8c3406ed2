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


@pytest.mark.parametrize("shape", [(9, 12, 30), (12, 30), (40,), (1, 7, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("limit", [-1.0, 0.0, 40.2, 3000.0, 1e9, np.inf])
def test_integers_give_what_floats_give(shape: tuple[int, ...], dtype: str, limit: float) -> None:
    """Whole numbers are compared as such: the same voxels as those of the image as float32."""
    info = np.iinfo(dtype)
    x = np.random.default_rng(3).integers(info.min, info.max, shape, dtype, endpoint=True)
    for keep in (tuple(slice(0, n) for n in shape), tuple(slice(n // 3, n // 3 + 1) for n in shape)):
        np.testing.assert_array_equal(steep(x, limit, keep), steep(x.astype(np.float32), limit, keep))
