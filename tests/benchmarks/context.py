"""Features with wide context for the mitochondria recipes, of one half or of its map of probabilities.

``basic`` and ``ilastik`` are bigseg's presets. ``wide`` adds to ilastik's what tells a mitochondrion from a membrane
or a vesicle of the same grey: closings and openings of the smoothed image (a closing wider than a membrane or vesicle
leaves mitochondria alone dark), local deviations, and percentiles in disks. ``rings`` adds what lies around: values on
circles, in order of size and not of direction, so that a turned cell has the same features::

       . 4 .
     3       5        smoothed values at 8 places of a circle of radius r, sorted:
     2   x   6        least, 2nd, median of the 8, 7th, greatest
       1 8 7
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

import bigseg

from .halves import Array

RADII = (10, 20, 32, 48)
_DIRECTIONS = tuple((np.sin(a), np.cos(a)) for a in np.arange(8) * np.pi / 4)


def rings(image: Array, radii: Sequence[int] = RADII) -> list[Array]:
    """Five order statistics of eight places on each circle; the image is mirrored at its edge."""
    reach = max(radii)
    wide = np.pad(image, reach, mode="symmetric")
    height, width = image.shape
    found = []
    for radius in radii:
        shifts = [(reach + round(radius * dy), reach + round(radius * dx)) for dy, dx in _DIRECTIONS]
        around = np.sort([wide[y : y + height, x : x + width] for y, x in shifts], axis=0)
        found += [around[0], around[1], (around[3] + around[4]) / 2, around[6], around[7]]
    return found


def deviations(image: Array, sigmas: Sequence[float]) -> list[Array]:
    """Local standard deviations."""
    found = []
    for sigma in sigmas:
        mean, square = (bigseg.gaussian(x, sigma=sigma) for x in (image, image * image))
        found.append(np.sqrt(np.maximum(square - mean * mean, 0)))
    return found


def ranks(image: Array) -> list[Array]:
    """Closings, openings and percentiles."""
    smooth = bigseg.gaussian(image.astype(np.float32), sigma=1.5)
    byte = np.clip(np.rint(smooth), 0, 255).astype(np.uint8)
    found = []
    for radius in (3, 5, 7, 10, 14):
        found.append(bigseg.gaussian(bigseg.closing(smooth, radius=radius), sigma=2))
        found.append(bigseg.gaussian(bigseg.opening(smooth, radius=radius), sigma=2))
    for radius in (6, 12):
        for percentile in (10, 50, 90):
            disk = bigseg.percentile(byte, percentile=percentile, radius=radius, footprint="ball")
            found.append(disk.astype(np.float32))
    return found


def basic(image: Array) -> Array:
    """The preset, 24 features."""
    return bigseg.features(image, preset="basic")


def ilastik(image: Array) -> Array:
    """The preset, 49 features."""
    return bigseg.features(image, preset="ilastik")


def wide(image: Array) -> Array:
    """ilastik's, scale 16, closings, openings, percentiles, deviations."""
    real = image.astype(np.float32)
    more = bigseg.features(image, gaussian=16, hessian_eigenvalues=16, structure_tensor_eigenvalues=16)
    return np.concatenate([ilastik(image), more, np.stack([*ranks(image), *deviations(real, (2, 4, 8, 16))])])


def around(image: Array) -> Array:
    """`wide`, and rings of the smoothed image, of its closing and of the gradient."""
    real = image.astype(np.float32)
    smooth = bigseg.gaussian(real, sigma=3)
    closed = bigseg.gaussian(bigseg.closing(bigseg.gaussian(real, sigma=1.5), radius=6), sigma=2)
    edges = bigseg.gaussian(bigseg.gaussian_gradient_magnitude(real, sigma=1.5), sigma=3)
    return np.concatenate([wide(image), np.stack([part for x in (smooth, closed, edges) for part in rings(x)])])


def context(scores: Array) -> Array:
    """Of a map of probabilities: smoothed, its edges and ridges, closed and opened, and rings."""
    filters = bigseg.features(
        scores, intensity=True, gaussian=[1, 2, 4, 8, 16], edges=[2, 4, 8], hessian_eigenvalues=[2, 4, 8, 16]
    )
    smooth = bigseg.gaussian(scores, sigma=2)
    shapes = [part for r in (4, 8, 12) for part in (bigseg.closing(smooth, radius=r), bigseg.opening(smooth, radius=r))]
    return np.concatenate([filters, np.stack([*shapes, *rings(bigseg.gaussian(scores, sigma=3))])])


SETS: dict[str, Callable[[Array], Array]] = {"basic": basic, "ilastik": ilastik, "wide": wide, "rings": around}
