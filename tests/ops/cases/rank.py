"""Rows of the filters over a window."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tests.ops.rows import Case, op


def ellipsoid(*radii: float) -> np.ndarray:
    """Voxels at a distance of up to 1, in radii."""
    places = np.indices([2 * int(r) + 1 for r in radii])
    return sum(((p - int(r)) / (r or 1)) ** 2 for p, r in zip(places, radii, strict=True)) <= 1


def plus(ndim: int, radius: int) -> np.ndarray:
    away = np.indices((2 * radius + 1,) * ndim) - radius
    return np.count_nonzero(away, axis=0) <= 1


def corner(ndim: int) -> np.ndarray:
    """A footprint that is not symmetric along any axis, with a hole and without the voxel itself."""
    found = np.zeros((3,) * (ndim - 2) + (3, 5), bool)
    found[..., 0, (0, 1, 3)] = found[..., 1, 4] = True
    found[0] &= ndim == 2
    return found


def flat(x: np.ndarray, radius: float) -> np.ndarray:
    return ellipsoid(*(0.0,) * (x.ndim - 2), radius, radius)


CASES = [
    Case(
        "median",
        lambda n: [op("median", footprint="ball", radius=1.8)],
        lambda x: ndimage.median_filter(x, footprint=ellipsoid(*(1.8,) * x.ndim)),
        name="ball",
    ),
    Case(
        "median",
        lambda n: [op("median", footprint="disk", radius=2)],
        lambda x: ndimage.median_filter(x, footprint=flat(x, 2)),
        name="disk",
    ),
    Case("median", lambda n: [op("median", radius=3)], lambda x: ndimage.median_filter(x, 7), name="radius 3"),
    *(
        Case(
            "percentile",
            lambda n, p=p: [op("percentile", percentile=p, size=(3, 5, 3)[-n:])],
            lambda x, p=p: ndimage.percentile_filter(x, p, (3, 5, 3)[-x.ndim :]),
            name=f"{p}",
        )
        for p in (0, 12.5, 90, 100)
    ),
    Case(
        "percentile",
        lambda n: [op("percentile", percentile=30, footprint=corner(n))],
        lambda x: ndimage.percentile_filter(x, 30, footprint=corner(x.ndim)),
        name="array",
    ),
    Case("minimum", lambda n: [op("minimum")], lambda x: ndimage.minimum_filter(x, 3)),
    Case(
        "minimum",
        lambda n: [op("minimum", footprint="ball", radius=(2.3, 3, 1)[-n:])],
        lambda x: ndimage.minimum_filter(x, footprint=ellipsoid(*(2.3, 3, 1)[-x.ndim :])),
        name="ellipsoid",
    ),
    Case(
        "minimum",
        lambda n: [op("threshold", above=125), op("minimum", size=5)],
        lambda x: ndimage.minimum_filter(x > 125, 5),
        name="of a mask, mirrored",
    ),
    Case(
        "maximum",
        lambda n: [op("maximum", size=(5, 1, 7)[-n:])],
        lambda x: ndimage.maximum_filter(x, (5, 1, 7)[-x.ndim :]),
        name="box",
    ),
    Case(
        "maximum",
        lambda n: [op("maximum", footprint=corner(n))],
        lambda x: ndimage.maximum_filter(x, footprint=corner(x.ndim)),
        name="array",
    ),
    Case(
        "mean",
        lambda n: [op("mean", size=3)],
        lambda x: ndimage.uniform_filter(x.astype(np.float32), 3),
        tolerance=1e-5,
    ),
    Case(
        "mean",
        lambda n: [op("mean", radius=(1, 4, 2)[-n:])],
        lambda x: ndimage.uniform_filter(x.astype(np.float32), (3, 9, 5)[-x.ndim :]),
        tolerance=1e-5,
        name="3x9x5",
    ),
]
