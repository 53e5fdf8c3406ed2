"""The bilateral filter: a mean of the neighbours, weighted by how near they lie and how alike they are.

``out = x + sum(w * (x[q] - x)) / sum(w)`` over the voxels q of a window, with ``w = exp(-distance^2 / 2
sigma_spatial^2) * exp(-(x[q] - x)^2 / 2 sigma_color^2)`` (C. Tomasi and R. Manduchi, Bilateral filtering for
gray and color images, ICCV 1998). The sum is of differences, so flat images stay as they are to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log, prod
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.filters.exponential import LARGEST, power_of_half
from bigseg.local.filters.margins import Float32, padded, planes_first, spread
from bigseg.local.filters.reflect import Array, reach, shape_of, working_bytes

_NONE = np.float32(0)


def bilateral_window(sigma_spatial: float) -> int:
    """Width of the window for a standard deviation in voxels: three to either side, at least 5 voxels.

    >>> [bilateral_window(s) for s in (0, 0.5, 1, 2)]
    [1, 5, 7, 13]
    """
    return max(5, 2 * ceil(3 * sigma_spatial) + 1) if sigma_spatial else 1


def bilateral(
    x: Array, sigma_color: float, sigma_spatial: Sequence[float], window: Sequence[int], keep: Sequence[slice]
) -> Float32:
    """Bilateral filter in float32.

    Parameters
    ----------
    x : array of 1 to 3 axes, any integer, bool or float dtype; converted to float32 before anything else.
    sigma_color : standard deviation of the difference between voxels, in units of their values.
    sigma_spatial : standard deviation of the distance along each axis, in voxels; 0 reads nothing along it.
    window : odd width of the window along each axis.
    keep : the part of x that is wanted. Where a voxel of the window is not in x, x must end at the edge of the
        volume: the image is mirrored there, edge voxels twice.

    Returns
    -------
    float32 array of the shape of keep.

    Raises
    ------
    ParameterError : values that are not positive, windows that are not odd, or not one for each axis.

    Notes
    -----
    The exponential of the difference is exact to float32 (`power_of_half`); scikit-image reads it from a table
    over the range of the image.

    Examples
    --------
    >>> step = np.array([[10, 11, 10, 90, 91, 90]], "uint8")
    >>> bilateral(step, 5.0, (1.0, 1.0), (1, 3), (slice(0, 1), slice(0, 6))).round(1)
    array([[10.3, 10.5, 10.4, 90.4, 90.5, 90.3]], dtype=float32)
    """
    if not 0 < sigma_color < np.inf:
        raise ParameterError(f"sigma_color {sigma_color}: expected a finite value above 0")
    _check(sigma_spatial, window, x.ndim)
    volume, keep3 = planes_first(x, keep)
    sizes, sigmas = spread(window, 1), spread(sigma_spatial, 0.0)
    read = padded(volume, tuple(reach(k, s // 2, n) for k, s, n in zip(keep3, sizes, volume.shape, strict=True)))  # type: ignore[arg-type]
    out = np.empty(shape_of(keep3), np.float32)
    scale = np.float32(1 / (2 * log(2) * float(sigma_color) ** 2))
    _filter(read, _weights(sizes, sigmas), scale, np.empty((2, out.shape[2]), np.float32), out)
    return out.reshape(shape_of(keep))


def bilateral_working_bytes(outer: Sequence[int], inner: Sequence[int], window: Sequence[int]) -> int:
    """Most bytes that `bilateral` holds beside an input of shape ``outer`` and a result of shape ``inner``.

    >>> bilateral_working_bytes((134, 134, 134), (128, 128, 128), (7, 7, 7)) // 1024
    9417
    """
    read = 4 * prod(n + s - 1 for n, s in zip(inner, window, strict=True))
    return working_bytes(inner, window, read + 8 * inner[-1] + 20 * prod(window))


def _check(sigma_spatial: Sequence[float], window: Sequence[int], ndim: int) -> None:
    if len(sigma_spatial) != ndim or not all(0 <= s < np.inf for s in sigma_spatial):
        raise ParameterError(f"sigma_spatial {tuple(sigma_spatial)}: expected {ndim} finite values of 0 or more")
    if len(window) != ndim or any(s < 1 or s % 2 == 0 for s in window):
        raise ParameterError(f"window {tuple(window)}: expected {ndim} odd widths of 1 or more, one an axis")


def _weights(sizes: Sequence[int], sigmas: Sequence[float]) -> Float32:
    """Weights of the window by distance, the voxel itself 1."""
    axes: list[NDArray[np.float64]] = []
    for size, sigma in zip(sizes, sigmas, strict=True):
        steps = np.arange(-(size // 2), size // 2 + 1)
        axes.append(np.exp(-0.5 * (steps / sigma) ** 2) if sigma else (steps == 0).astype(np.float64))
    z, y, x = axes
    return (z[:, None, None] * y[:, None] * x).astype(np.float32)


@njit(nogil=True, cache=True, error_model="numpy")
def _filter(read: Float32, weights: Float32, scale: Any, sums: Float32, out: Float32) -> None:
    planes, height, width = out.shape
    nz, ny, nx = weights.shape
    total, moved = sums[0], sums[1]
    for k in range(planes):
        for j in range(height):
            here = read[k + nz // 2, j + ny // 2, nx // 2 : nx // 2 + width]
            for i in range(width):
                total[i] = 0
                moved[i] = 0
            for dz in range(nz):
                for dy in range(ny):
                    row = read[k + dz, j + dy]
                    for dx in range(nx):
                        weight = weights[dz, dy, dx]
                        if weight > 0:
                            _add(total, moved, here, row[dx : dx + width], weight, scale)
            for i in range(width):
                out[k, j, i] = here[i] + moved[i] / total[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _add(total: Float32, moved: Float32, here: Float32, there: Float32, weight: Any, scale: Any) -> None:
    """Add one neighbour of every voxel of a row."""
    for i in range(total.size):
        step = there[i] - here[i]
        u = step * step * scale
        near = u < LARGEST
        w = weight * power_of_half(u if near else LARGEST)
        w = w if near else _NONE
        total[i] += w
        moved[i] += w * step
