"""Rows of the filters that keep edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skimage import restoration

from tests.ops.rows import Case, op


def bilateral(image: np.ndarray, color: float, spatial: Sequence[float], window: Sequence[int]) -> np.ndarray:
    """The definition, neighbour by neighbour, in float64."""
    x = image.astype(np.float64)
    radii = [w // 2 for w in window]
    padded = np.pad(x, [(r, r) for r in radii], mode="symmetric")
    total, moved = np.zeros(x.shape), np.zeros(x.shape)
    for place in np.ndindex(*window):
        there = padded[tuple(slice(p, p + n) for p, n in zip(place, x.shape, strict=True))]
        far = sum(((p - r) / s) ** 2 for p, r, s in zip(place, radii, spatial, strict=True))
        weights = np.exp(-0.5 * far - 0.5 * ((there - x) / color) ** 2)
        total += weights
        moved += weights * there
    return moved / total


def without_distance(image: np.ndarray) -> np.ndarray:
    if image.ndim == 3:
        return bilateral(image, 12.0, (1e4,) * 3, (5,) * 3)
    return restoration.denoise_bilateral(
        image.astype(np.float64), 5, sigma_color=12.0, sigma_spatial=1e4, bins=1_000_000, mode="symmetric"
    )


def means(image: np.ndarray, patch: int, distance: int, h: float, sigma: float) -> np.ndarray:
    return np.asarray(
        restoration.denoise_nl_means(
            image.astype(np.float64), patch, distance, h, fast_mode=False, sigma=sigma, preserve_range=True
        )
    )


CASES = [
    Case(
        "bilateral",
        lambda n: [op("bilateral", sigma_color=9, sigma_spatial=(0.6, 1.5, 0.8)[-n:], window=(3, 7, 5)[-n:])],
        lambda x: bilateral(x, 9.0, (0.6, 1.5, 0.8)[-x.ndim :], (3, 7, 5)[-x.ndim :]),
        tolerance=1e-5,
    ),
    Case(
        "bilateral",
        lambda n: [op("bilateral", sigma_color=12, sigma_spatial=1e4, window=5)],
        without_distance,
        tolerance=1e-5,
        name="every distance alike",
    ),
    Case(
        "non_local_means",
        lambda n: [op("non_local_means", h=7, patch_size=3, patch_distance=2)],
        lambda x: means(x, 3, 2, 7.0, 0.0),
        tolerance=1e-5,
    ),
    Case(
        "non_local_means",
        lambda n: [op("non_local_means", h=5, sigma=3, patch_size=5, patch_distance=1)],
        lambda x: means(x, 5, 1, 5.0, 3.0),
        tolerance=1e-5,
        name="known noise",
    ),
    Case(
        "total_variation",
        lambda n: [op("total_variation", weight=9, iterations=8)],
        lambda x: restoration.denoise_tv_chambolle(x.astype(np.float64), 9.0, eps=0, max_num_iter=8),
        tolerance=1e-5,
    ),
]
