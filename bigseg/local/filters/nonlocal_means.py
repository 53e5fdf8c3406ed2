"""Non-local means: a mean of the voxels of a search window, weighted by how alike the patches around them are.

For voxels p and q = p + t, with o running over the patch, G a Gaussian of sigma (patch - 1) / 4 cut off at the
patch and of sum 1, and noise of standard deviation sigma:

    d = sum over o of G[o] ((x[p + o] - x[q + o])^2 - 2 sigma^2) / h^2
    w = exp(-max(d, 0)), but 0 if the sum exceeds 5 before the last plane of the patch (in 2-D: the last row)
    out[p] = x[p] + sum of w (x[q] - x[p]) / sum of w

(A. Buades, B. Coll and J.-M. Morel, A non-local algorithm for image denoising, CVPR 2005.) That, the early end
and the rough exponential included, is what scikit-image computes with fast_mode=False. It visits each voxel of
each patch; here one shift t at a time is done for a tile of voxels, and as G is separable, three short
correlations of the squared differences serve all patches of the tile::

    (x[p] - x[p + t])^2  ──x──► rows  ──y──► planes  ──z──► d, w, sums
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.filters.exponential import FURTHEST, rough_exponential
from bigseg.local.filters.margins import Float32, mirror_reach, padded, planes_first, spread
from bigseg.local.filters.reflect import Array, shape_of, working_bytes

_END, _NONE = np.float32(5), np.float32(0)
_TILE = (16, 8, 128)  # voxels in work at once: with what they read, they stay in 1 MiB of L2
_STACK = (128, 1, 128)


def non_local_means(
    x: Array, patch: Sequence[int], distance: Sequence[int], h: float, keep: Sequence[slice], sigma: float = 0.0
) -> Float32:
    """Non-local means in float32.

    Parameters
    ----------
    x : array of 1 to 3 axes, any integer, bool or float dtype; converted to float32 before anything else.
    patch : odd width of the patches along each axis.
    distance : how far the search goes to either side along each axis, in voxels.
    h : how alike patches must be, in units of the values: their difference by root mean square, weighted.
    keep : the part of x that is wanted. Where a voxel within ``distance + patch // 2`` is not in x, x must end
        at the edge of the volume: the search ends there, and patches are mirrored, edge voxels once.
    sigma : standard deviation of the noise, in units of the values.

    Returns
    -------
    float32 array of the shape of keep: skimage.restoration.denoise_nl_means with fast_mode=False and
    preserve_range=True.

    Raises
    ------
    ParameterError : an h that is not positive, a negative sigma, patches that are not odd, or not one an axis.

    Examples
    --------
    >>> noisy = np.array([[1, 3, 2, 9, 8, 9], [2, 2, 1, 8, 9, 9]], "uint8")
    >>> non_local_means(noisy, (1, 3), (1, 4), 2.0, (slice(0, 1), slice(0, 6))).round(1)
    array([[1.7, 2.1, 1.7, 8.7, 8.7, 8.8]], dtype=float32)
    """
    _check(patch, distance, h, sigma, x.ndim)
    volume, keep3 = planes_first(x, keep)
    sizes, far = spread(patch, 1), spread(distance, 0)
    searched = tuple(
        slice(max(0, k.start - d), min(n, k.stop + d)) for k, d, n in zip(keep3, far, volume.shape, strict=True)
    )
    z, y, w = (mirror_reach(s, n // 2, m) for s, n, m in zip(searched, sizes, volume.shape, strict=True))
    read = padded(volume, (z, y, w))
    out = np.empty(shape_of(keep3), np.float32)
    starts = tuple(k.start - s.start + n // 2 for k, s, n in zip(keep3, searched, sizes, strict=True))
    weights = _weights(sizes, h)
    tile = _tile(out.shape)
    work = tuple(np.empty(n, np.float32) for n in _work(tile, sizes))
    _filter(read, starts, weights, far, np.float32(2 * float(sigma) ** 2), tile, work, out)
    return out.reshape(shape_of(keep))


def non_local_means_working_bytes(outer: Sequence[int], inner: Sequence[int], patch: Sequence[int]) -> int:
    """Most bytes that `non_local_means` holds beside an input of shape ``outer`` and a result of shape ``inner``.

    >>> non_local_means_working_bytes((142, 142, 142), (128, 128, 128), (5, 5, 5)) // 1024
    12383
    """
    read = 4 * prod(n + s - 1 for n, s in zip(outer, patch, strict=True))
    work = 4 * sum(_work(_tile(spread(inner, 1)), spread(patch, 1)))
    return working_bytes(outer, patch, read + work)


def _check(patch: Sequence[int], distance: Sequence[int], h: float, sigma: float, ndim: int) -> None:
    if len(patch) != ndim or any(s < 1 or s % 2 == 0 for s in patch):
        raise ParameterError(f"patch {tuple(patch)}: expected {ndim} odd widths of 1 or more, one an axis")
    if len(distance) != ndim or any(d < 0 for d in distance):
        raise ParameterError(f"distance {tuple(distance)}: expected {ndim} distances of 0 or more, one an axis")
    if not 0 < h < np.inf or not 0 <= sigma < np.inf:
        raise ParameterError(f"h {h}, sigma {sigma}: expected a finite h above 0 and a finite sigma of 0 or more")


def _weights(sizes: Sequence[int], h: float) -> tuple[Float32, Float32, Float32]:
    """The Gaussian of the patch along each axis, divided by h^2 along the first, which comes last."""
    axes: list[NDArray[np.float64]] = []
    for size in sizes:
        steps = np.arange(-(size // 2), size // 2 + 1)
        weights = np.exp(-0.5 * (4 * steps / max(1, size - 1)) ** 2)
        axes.append(weights / weights.sum())
    z, y, x = axes
    return (z / float(h) ** 2).astype(np.float32), y.astype(np.float32), x.astype(np.float32)


def _tile(shape: Sequence[int]) -> tuple[int, int, int]:
    z, y, x = (min(n, t) for n, t in zip(shape, _STACK if shape[1] == 1 else _TILE, strict=True))
    return z, y, x


def _work(tile: tuple[int, int, int], sizes: Sequence[int]) -> tuple[int, int, int, int]:
    """Voxels of the arrays in work: squares, rows, planes and sums."""
    (tz, ty, tx), (sz, sy, sx) = tile, sizes
    return tx + sx - 1, (ty + sy - 1) * tx, (tz + sz - 1) * ty * tx, 2 * (tz * ty + 1) * tx


@njit(nogil=True, cache=True, error_model="numpy")
def _filter(read: Any, starts: Any, weights: Any, far: Any, noise: Any, tile: Any, work: Any, out: Any) -> None:
    planes, height, width = out.shape
    for z in range(0, planes, tile[0]):
        for y in range(0, height, tile[1]):
            for x in range(0, width, tile[2]):
                part = out[z : z + tile[0], y : y + tile[1], x : x + tile[2]]
                _tile_of(read, (starts[0] + z, starts[1] + y, starts[2] + x), weights, far, noise, tile, work, part)


@njit(nogil=True, cache=True, error_model="numpy")
def _tile_of(read: Any, at: Any, weights: Any, far: Any, noise: Any, tile: Any, work: Any, out: Any) -> None:
    """Fill a tile whose first voxel is ``at`` in read."""
    planes, height, width = out.shape
    pitch = tile[2]
    sums = work[3].reshape((-1, 2, pitch))
    spare = sums[-1]
    for r in range(planes * height):
        for i in range(width):
            sums[r, 0, i] = 0
            sums[r, 1, i] = 0
    for tz in range(-far[0], far[0] + 1):
        z0, z1 = _within(at[0], planes, tz, weights[0].size // 2, read.shape[0])
        for ty in range(-far[1], far[1] + 1):
            y0, y1 = _within(at[1], height, ty, weights[1].size // 2, read.shape[1])
            for tx in range(-far[2], far[2] + 1):
                x0, x1 = _within(at[2], width, tx, weights[2].size // 2, read.shape[2])
                if z0 < z1 and y0 < y1 and x0 < x1:
                    box = ((z0, z1), (y0, y1), (x0, x1))
                    _differences(read, at, box, (tz, ty, tx), weights, work, pitch, height)
                    for k in range(z0, z1):
                        for j in range(y0, y1):
                            here = read[at[0] + k, at[1] + j, at[2] + x0 : at[2] + x1]
                            there = read[at[0] + k + tz, at[1] + j + ty, at[2] + x0 + tx : at[2] + x1 + tx]
                            base = ((k - z0) * height + j - y0) * pitch
                            total = sums[k * height + j, 0, x0:x1]
                            moved = sums[k * height + j, 1, x0:x1]
                            _add(total, moved, here, there, work[2], base, height * pitch, weights[0], noise, spare)
    for k in range(planes):
        for j in range(height):
            here = read[at[0] + k, at[1] + j, at[2] : at[2] + width]
            total, moved = sums[k * height + j, 0], sums[k * height + j, 1]
            for i in range(width):
                out[k, j, i] = here[i] + moved[i] / total[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _within(at: int, n: int, t: int, radius: int, end: int) -> tuple[int, int]:
    """Which of n voxels from ``at`` on have their partner at distance t in the volume."""
    return max(0, radius - t - at), min(n, end - radius - t - at)


@njit(nogil=True, cache=True, error_model="numpy")
def _differences(read: Any, at: Any, box: Any, t: Any, weights: Any, work: Any, pitch: int, height: int) -> None:
    """Squared differences at a shift, weighted along x and y: planes of the box and of what the patch adds."""
    (z0, z1), (y0, y1), (x0, x1) = box
    n = x1 - x0
    wz, wy, wx = weights
    rz, ry, rx = wz.size // 2, wy.size // 2, wx.size // 2
    squares, rows, planes = work[0], work[1], work[2]
    for k in range(z1 - z0 + 2 * rz):
        z = at[0] + z0 - rz + k
        for j in range(y1 - y0 + 2 * ry):
            y = at[1] + y0 - ry + j
            x = at[2] + x0 - rx
            here = read[z, y, x : x + n + 2 * rx]
            there = read[z + t[0], y + t[1], x + t[2] : x + t[2] + n + 2 * rx]
            for i in range(n + 2 * rx):
                step = there[i] - here[i]
                squares[i] = step * step
            _weigh(rows[j * pitch : j * pitch + n], squares, 0, 1, wx)
        for j in range(y1 - y0):
            base = (k * height + j) * pitch
            _weigh(planes[base : base + n], rows, j * pitch, pitch, wy)


@njit(nogil=True, cache=True, error_model="numpy")
def _weigh(dst: Any, src: Any, base: int, step: int, weights: Any) -> None:
    """The weighted sum of the rows of src that start every ``step`` from ``base`` on, in their order."""
    n = dst.size
    a = src[base : base + n]
    w = weights[0]
    for i in range(n):
        dst[i] = w * a[i]
    for k in range(1, weights.size - 1, 2):
        w, v = weights[k], weights[k + 1]
        a = src[base + k * step : base + k * step + n]
        b = src[base + (k + 1) * step : base + (k + 1) * step + n]
        for i in range(n):
            dst[i] = dst[i] + w * a[i] + v * b[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _add(
    total: Any, moved: Any, here: Any, there: Any, planes: Any, base: int, step: int, wz: Any, noise: Any, spare: Any
) -> None:
    """Weights of one shift for a row of voxels, and what they add to the sums."""
    n = here.size
    far, most = spare[0], spare[1]
    for i in range(n):
        far[i] = 0
        most[i] = 0
    for m in range(wz.size):
        w = wz[m]
        a = planes[base + m * step : base + m * step + n]
        for i in range(n):
            most[i] = most[i] if most[i] > far[i] else far[i]
            far[i] = far[i] + w * (a[i] - noise)
    for i in range(n):
        d = far[i] if far[i] > 0 else _NONE
        near = (d < FURTHEST) & (most[i] <= _END)
        w = rough_exponential(d if near else FURTHEST)
        w = w if near else _NONE
        total[i] += w
        moved[i] += w * (there[i] - here[i])
