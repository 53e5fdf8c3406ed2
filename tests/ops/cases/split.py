"""Rows of distances and of splitting; and the drainage of a whole array voxel by voxel, which split must equal."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import ndimage

from bigseg.local.filters.linear import gaussian
from tests.ops.rows import Case, op


def capped(mask: np.ndarray, most: float) -> np.ndarray:
    """Distances to the background up to a maximum; the maximum where there is no background."""
    if mask.all():
        return np.full(mask.shape, most, np.float32)
    return np.minimum(ndimage.distance_transform_edt(mask), most).astype(np.float32)


def steep(mask: np.ndarray, most: float, sigma: float) -> np.ndarray:
    """Smoothed distances as heights. The gaussian is ours: scipy's differs by a step here and there."""
    smooth = gaussian(capped(mask, most), (sigma,) * mask.ndim, tuple(slice(0, n) for n in mask.shape))
    return np.where(mask, np.clip(np.trunc(smooth * np.float32(65535 / most)), 1, 65535), 0).astype(int)


def drained(height: np.ndarray, rise: float, connectivity: int) -> np.ndarray:
    """Voxel by voxel from the highest down: each goes to its highest neighbour, and may join basins by the way."""
    around = [d for d in product((-1, 0, 1), repeat=height.ndim) if 0 < sum(map(abs, d)) <= connectivity]
    padded = np.pad(height, 1)
    steps = [int(np.dot(d, [s // padded.itemsize for s in padded.strides])) for d in around]
    flat = padded.ravel().tolist()
    places = np.flatnonzero(padded)
    order = places[np.lexsort((places, -padded.ravel()[places]))].tolist()
    basin: dict[int, int] = {}
    above: dict[int, int] = {}

    def top(peak: int) -> int:
        while above[peak] != peak:
            peak = above[peak]
        return peak

    for place in order:
        near = [place + step for step in steps if place + step in basin]
        if not near:
            basin[place] = above[place] = place
            continue
        basin[place] = basin[min(near, key=lambda other: (-flat[other], other))]
        for other in near:
            mine, theirs = top(basin[place]), top(basin[other])
            if mine != theirs:
                low, high = sorted((mine, theirs), key=lambda peak: (flat[peak], -peak))
                if flat[low] - flat[place] < rise:
                    above[low] = high
    found = np.zeros(padded.size, np.uint32)
    ids: dict[int, int] = {}
    for place in places.tolist():
        found[place] = ids.setdefault(top(basin[place]), len(ids) + 1)
    return found.reshape(padded.shape)[(slice(1, -1),) * height.ndim]


def split(mask: np.ndarray, most: float = 16, sigma: float = 1, h: float = 0.5, connectivity: int = 2) -> np.ndarray:
    """The whole operation."""
    return drained(steep(mask, most, sigma), h * 65535 / most, connectivity)


CASES = [
    *(
        Case(
            "distance_transform",
            lambda n, most=most: [op("threshold", above=115), op("distance_transform", max_distance=most)],
            lambda x, most=most: capped(x > 115, most),
            dtypes=("uint8", "float32"),
            name=f"up to {most}",
        )
        for most in (2.5, 9)
    ),
    Case(
        "distance_transform",
        lambda n: [op("multi_threshold", values=(110, 150)), op("distance_transform", max_distance=4)],
        lambda x: capped(np.digitize(x, (110, 150)) > 0, 4),
        name="of classes",
    ),
    Case(
        "split",
        lambda n: [op("threshold", above=120), op("split", max_distance=5)],
        lambda x: split(x > 120, 5),
    ),
    *(
        Case(
            "split",
            lambda n, c=c: [
                op("threshold", above=118),
                op("split", max_distance=2, sigma=0, h=0.2, connectivity=min(c, n)),
            ],
            lambda x, c=c: split(x > 118, 2, 0, 0.2, min(c, x.ndim)),
            dtypes=("uint8", "float32"),
            name=f"plateaus, connectivity {c}",
        )
        for c in (1, 2, 3)
    ),
    Case(
        "split",
        lambda n: [
            op("threshold", above=90),
            op("split", max_distance=6, sigma=0.7, h=0.05, connectivity=1, dtype="uint64"),
        ],
        lambda x: split(x > 90, 6, 0.7, 0.05, 1).astype(np.uint64),
        dtypes=("uint16",),
        name="one component, many basins, 64 bits",
    ),
]
