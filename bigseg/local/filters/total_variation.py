"""Total variation: the image nearest to the given one whose gradients are small and few, by Chambolle's iteration.

Each iteration turns the image found so far into a dual field p, one component an axis, and p into the next::

    u = x - sum over axes of (p_a[v] - p_a[v - a])
    p_a = (p_a - tau g_a) / (1 + tau / weight * |g|),  g_a = u[v + a] - u[v],  tau = 1 / (2 axes)

(A. Chambolle, An algorithm for total variation minimization and applications, Journal of Mathematical Imaging
and Vision 20, 2004.) Gradients across the edge of the volume are 0. What is known at a voxel after n iterations
depends on voxels within n - 1, so every iteration works on a box that is one voxel narrower than the last where
the array does not end at the volume's edge. One sweep through the planes does an iteration::

    plane k + 1 of u  <-  x, p before this iteration
    plane k of p      <-  planes k and k + 1 of u
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numba import njit

from bigseg.errors import ParameterError
from bigseg.local.filters.margins import Float32, planes_first
from bigseg.local.filters.reflect import Array, shape_of

_ONE = np.float32(1)


def total_variation(x: Array, weight: float, iterations: int, keep: Sequence[slice]) -> Float32:
    """Total variation denoising with a fixed number of iterations, in float32.

    Parameters
    ----------
    x : array of 1 to 3 axes, any integer, bool or float dtype; converted to float32 before anything else.
    weight : how much is smoothed, in units of the values: about the height of the steps that go.
    iterations : as max_num_iter of scikit-image; the first only prepares, so 1 gives x.
    keep : the part of x that is wanted. Where a voxel within ``iterations - 1`` is not in x, x must end at the
        edge of the volume.

    Returns
    -------
    float32 array of the shape of keep: skimage.restoration.denoise_tv_chambolle(x, weight, eps=0, iterations).

    Raises
    ------
    ParameterError : a weight that is not positive, less than one iteration, a keep that is not in x.

    Examples
    --------
    >>> step = np.array([[0, 1, 0, 1, 90, 91, 90]], "uint8")
    >>> total_variation(step, 1.0, 60, (slice(0, 1), slice(0, 7))).round(1)
    array([[ 0.7,  0.7,  0.7,  1. , 90. , 90. , 90. ]], dtype=float32)
    """
    if not 0 < weight < np.inf or iterations < 1:
        raise ParameterError(
            f"weight {weight}, iterations {iterations}: expected a weight above 0, 1 iteration or more"
        )
    volume, keep3 = planes_first(x, keep)
    grown = tuple(
        slice(max(0, k.start - iterations + 1), min(n, k.stop + iterations - 1))
        for k, n in zip(keep3, volume.shape, strict=True)
    )
    image = np.ascontiguousarray(volume[grown], np.float32)
    z, y, w = image.shape
    # A plane, a row and a column of zeros stand before the first of the volume.
    p = (np.zeros((z + 1, y, w), np.float32), np.zeros((z, y + 1, w), np.float32), np.zeros((z, y, w + 1), np.float32))
    planes = np.zeros((2, y, w + 1), np.float32)
    kept = [(k.start - g.start, k.stop - g.start) for k, g in zip(keep3, grown, strict=True)]
    tau = 1 / (2 * x.ndim)
    out = np.empty(shape_of(keep3), np.float32)
    for left in range(iterations - 1 if out.size else 0, 0, -1):
        box = tuple((max(0, a - left), min(n, b + left)) for (a, b), n in zip(kept, image.shape, strict=True))
        _iterate(image, *p, planes, box, np.float32(tau), np.float32(tau / weight))
    _finish(image, *p, tuple(kept), out)
    return out.reshape(shape_of(keep))


def total_variation_working_bytes(outer: Sequence[int]) -> int:
    """Most bytes that `total_variation` holds beside an input of shape ``outer`` and the result.

    >>> total_variation_working_bytes((100, 100, 100)) // 1000
    16206
    """
    z, y, x = outer if len(outer) == 3 else (outer[0], 1, outer[-1])
    return 4 * (4 * prod(outer) + y * x + z * x + z * y + 2 * y * (x + 1)) + 6144


@njit(nogil=True, cache=True, error_model="numpy")
def _row(dst: Any, image: Any, pz: Any, py: Any, px: Any, k: int, j: int, first: int, last: int) -> None:
    """Row (k, j) of the image that belongs to p, from ``first`` to ``last``."""
    n = last - first
    here = image[k, j, first:last]
    z, above = pz[k + 1, j, first:last], pz[k, j, first:last]
    y, before = py[k, j + 1, first:last], py[k, j, first:last]
    x, left = px[k, j, first + 1 : last + 1], px[k, j, first:last]
    for i in range(n):
        dst[i] = here[i] + (above[i] - z[i] + (before[i] - y[i]) + (left[i] - x[i]))


@njit(nogil=True, cache=True, error_model="numpy")
def _move(pz: Any, py: Any, px: Any, here: Any, below: Any, behind: Any, tau: Any, slope: Any) -> None:
    """One step of a row of p along the gradients of the image; ``here`` is one voxel longer than the row."""
    right = here[1:]
    for i in range(pz.size):
        gz, gy, gx = below[i] - here[i], behind[i] - here[i], right[i] - here[i]
        shrink = _ONE / (_ONE + slope * np.sqrt(gz * gz + gy * gy + gx * gx))
        pz[i] = (pz[i] - tau * gz) * shrink
        py[i] = (py[i] - tau * gy) * shrink
        px[i] = (px[i] - tau * gx) * shrink


@njit(nogil=True, cache=True, error_model="numpy")
def _iterate(image: Any, pz: Any, py: Any, px: Any, planes: Any, box: Any, tau: Any, slope: Any) -> None:
    (z0, z1), (y0, y1), (x0, x1) = box
    n = x1 - x0
    for k in range(z0, z1 + 1):
        now = planes[k % 2]
        if k < z1:
            for j in range(y0, y1):
                _row(now[j], image, pz, py, px, k, j, x0, x1)
                now[j, n] = now[j, n - 1]
        if k > z0:
            # The gradient across the last plane, row and column of the box is that of a voxel with itself.
            old = planes[(k - 1) % 2]
            next_ = now if k < z1 else old
            for j in range(y0, y1):
                _move(
                    pz[k, j, x0:x1],
                    py[k - 1, j + 1, x0:x1],
                    px[k - 1, j, x0 + 1 : x1 + 1],
                    old[j, : n + 1],
                    next_[j],
                    old[min(j + 1, y1 - 1)],
                    tau,
                    slope,
                )


@njit(nogil=True, cache=True, error_model="numpy")
def _finish(image: Any, pz: Any, py: Any, px: Any, box: Any, out: Any) -> None:
    (z0, z1), (y0, y1), (x0, x1) = box
    for k in range(z0, z1):
        for j in range(y0, y1):
            _row(out[k - z0, j - y0], image, pz, py, px, k, j, x0, x1)
