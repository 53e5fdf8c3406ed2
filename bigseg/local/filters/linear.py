"""Separable linear filters in float32: the same bits for a voxel in whatever block it lies.

One loop serves all three axes: ``dst[i] = sum of weights[k] * row_k[i]``. It runs over whole rows, so the
compiler uses vectors, yet every voxel is multiplied and added in the order of the taps, in a lane of a vector
as among the last few of the loop. Along x the rows are one row, shifted. A plane at a time::

    x, any dtype ──z──► plane, float32 ──y──► line, mirrored ──x──► out
    planes z-r..z+r     stays in L2           stays in L1           each voxel written once

So there is no float32 copy of the block and no intermediate volume. Two other forms were measured: whole
passes over intermediate volumes are slower, tiles of several planes converted first are no faster and longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, DTypeLike, NDArray

from bigseg.errors import ParameterError
from bigseg.local.filters.reflect import Array, mirror_row, reach, rows_of, shape_of, three_axes, working_bytes

Float32 = NDArray[np.float32]

MOST = 1 << 20
"""Voxels to either side that a Gaussian reads at most: as many as no volume has, and a kernel of 16 MiB."""
_STRIP = 256  # rows of a plane in work at once: 256 x 272 voxels of float32 fill a quarter of 1 MiB of L2


def gaussian_radius(sigma: float, truncate: float = 4.0) -> int:
    """Voxels to either side that a Gaussian reads: ``truncate * sigma``, rounded half up.

    >>> [gaussian_radius(s) for s in (0, 0.3, 1, 2.5)]
    [0, 1, 4, 10]

    Raises
    ------
    ParameterError : a radius beyond `MOST`.
    """
    radius = truncate * float(sigma) + 0.5
    if not radius < MOST + 1:
        raise ParameterError(f"sigma {sigma:g}: expected at most {MOST / truncate:g} voxels")
    return int(radius)


def gaussian_kernel(sigma: float, truncate: float = 4.0) -> Float32 | None:
    """Weights of a Gaussian, None for a radius of 0. Their sum is 1 in float64, in which they are computed.

    >>> gaussian_kernel(0.3)
    array([0.00383626, 0.9923275 , 0.00383626], dtype=float32)
    """
    radius = gaussian_radius(sigma, truncate)
    if radius == 0:
        return None
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum(), np.float32)


def gaussian(x: Array, sigma: Sequence[float], keep: Sequence[slice], truncate: float = 4.0) -> Float32:
    """Gaussian smoothing, computed and given back in float32.

    Parameters
    ----------
    x : array of 1 to 3 axes, any integer, bool or float dtype; converted to float32 before anything else.
    sigma : standard deviation along each axis in voxels; 0 leaves an axis as it is.
    keep : the part of x that is wanted. Where a voxel within the radius is not in x, x must end at the edge
        of the volume: the image is mirrored there.
    truncate : the kernel is cut off at this many sigma.

    Returns
    -------
    float32 array of the shape of keep: scipy.ndimage.gaussian_filter of x as float32 with mode 'reflect',
    within 4e-7 of the greatest absolute value in x.

    Raises
    ------
    ParameterError : a sigma that is negative or NaN, not one for each axis, or as `separable`.

    Notes
    -----
    One core of the test machine, blocks of 256^3 uint16: 440 Mvox/s at sigma 1, 280 at 2, 90 at 5, 5 to 7 x
    scipy. A fifth less for float32; 64-bit dtypes only 2 x scipy at sigma 5, as every tap reads them again.

    Examples
    --------
    >>> spike = np.array([[0, 0, 8, 0, 0, 0]], "uint16")
    >>> gaussian(spike, (0, 0.5), (slice(0, 1), slice(0, 4))).round(2)
    array([[0.  , 0.85, 6.29, 0.85]], dtype=float32)
    """
    _check_sigma(sigma, x.ndim)
    return separable(x, [gaussian_kernel(s, truncate) for s in sigma], keep)


def separable(x: Array, kernels: Sequence[ArrayLike | None], keep: Sequence[slice]) -> Float32:
    """Correlate an array with one kernel along each axis: first z, then y, then x.

    Parameters
    ----------
    x : array of 1 to 3 axes, any integer, bool or float dtype; converted to float32 before anything else.
    kernels : for each axis an odd number of weights, the middle one for the voxel itself, or None. They are
        used as they stand, not turned round: ``out[i] = sum of weights[k] * x[i + k - radius]``.
    keep : the part of x that is wanted; mirrored at the ends of x as in `gaussian`.

    Returns
    -------
    float32 array of the shape of keep. Each axis adds in float32, taps in the order of their weights.

    Raises
    ------
    ParameterError : kernels that do not fit, a keep that is not in x, or a dtype that is not a real number.

    Notes
    -----
    A multiplication and an addition a tap, voxel and axis: 12 to 15 Gtap/s on one core. In blocks of more
    than 256 rows, 2 r of them are computed twice along z for every 256. Views whose last axis is contiguous
    are read where they lie, others copied.

    Examples
    --------
    >>> ramp = np.array([1, 2, 4, 8], "uint8")
    >>> separable(ramp, [[-0.5, 0, 0.5]], (slice(1, 4),))
    array([1.5, 3. , 2. ], dtype=float32)
    """
    volume, keep3 = three_axes(as_real(x), keep)
    weights = _weights(kernels, x.ndim)
    out = np.empty(shape_of(keep3), np.float32)
    if out.size:
        z, y, x_ = (reach(k, w.size // 2, n) for k, w, n in zip(keep3, weights, volume.shape, strict=True))
        planed = min(min(out.shape[1], _STRIP) + weights[1].size - 1, y.stop - y.start)
        plane = np.empty(planed * (x_.stop - x_.start), np.float32)
        line = np.empty(x_.voxels.size, np.float32)
        _correlate(rows_of(volume), z, y, x_, weights, _STRIP, plane, line, out)
    return out.reshape(shape_of(keep))


def separable_working_bytes(
    outer: Sequence[int], inner: Sequence[int], radii: Sequence[int], dtype: DTypeLike = np.float32
) -> int:
    """Most bytes that `separable` holds beside an input of shape ``outer`` and a result of shape ``inner``.

    Parameters
    ----------
    radii : half of each kernel's length, rounded down; 0 for None.
    dtype : that of the input; float16 is converted as a whole.

    >>> separable_working_bytes((144, 144, 144), (128, 128, 128), (8, 8, 8)) // 1024
    92
    """
    ones = (1,) * (3 - len(outer))
    (_, ny, nx), (_, ky, kx) = (*ones, *outer), (*ones, *inner)
    _, ry, rx = (*(0 for _ in ones), *radii)
    plane = min(ny, min(ky, _STRIP) + 2 * ry) * min(nx, kx + 2 * rx)
    copied = 0 if _known(np.dtype(dtype)) else 4 * prod(outer)
    return copied + working_bytes(inner, [2 * r + 1 for r in radii], 4 * (plane + kx + 2 * rx))


def gaussian_working_bytes(
    outer: Sequence[int],
    inner: Sequence[int],
    sigma: Sequence[float],
    truncate: float = 4.0,
    dtype: DTypeLike = np.float32,
) -> int:
    """Most bytes that `gaussian` holds beside an input of shape ``outer`` and a result of shape ``inner``.

    >>> gaussian_working_bytes((272, 272, 272), (256, 256, 256), (2, 2, 2)) // 1024
    305
    """
    return separable_working_bytes(outer, inner, [gaussian_radius(s, truncate) for s in sigma], dtype)


def _check_sigma(sigma: Sequence[float], ndim: int) -> None:
    if len(sigma) != ndim or not all(0 <= s < np.inf for s in sigma):
        raise ParameterError(f"sigma {tuple(sigma)}: expected {ndim} finite values of 0 or more, one an axis")


def as_real(x: Array) -> Array:
    """The array in a dtype that kernels take: masks as bytes, half precision as float32.

    Raises
    ------
    ParameterError : complex numbers and what is no number.
    """
    if x.dtype.kind not in "biuf":
        raise ParameterError(f"a filter takes integers, real numbers or masks, found dtype {x.dtype}")
    if x.dtype.kind == "b":
        return x.view(np.uint8)
    return x if _known(x.dtype) else x.astype(np.float32)


def _known(dtype: np.dtype[Any]) -> bool:
    """Whether Numba knows the dtype: neither half nor extended precision."""
    return dtype.kind != "f" or dtype.itemsize in (4, 8)


def _weights(kernels: Sequence[ArrayLike | None], ndim: int) -> tuple[Float32, Float32, Float32]:
    one = np.ones(1, np.float32)
    given = [one if k is None else np.ascontiguousarray(k, np.float32) for k in kernels]
    if len(given) != ndim or any(k.ndim != 1 or k.size % 2 == 0 for k in given):
        found = [k.shape for k in given]
        raise ParameterError(f"expected {ndim} kernels of one axis and odd length; found shapes {found}")
    z, y, x = [one] * (3 - ndim) + given
    return z, y, x


@njit(nogil=True, cache=True)
def _correlate(rows, z, y, x, weights, strip, plane, line, out):  # type: ignore[no-untyped-def]
    planes, height, _ = out.shape
    reads = x.stop - x.start
    true = line[x.before : x.before + reads]
    shifts = np.arange(weights[2].size)
    start, step = np.int64(0), np.int64(1)  # of 0 and 1 as they are written Numba would compile `_add_rows` once more
    for first in range(0, height, strip):
        last = min(first + strip, height)
        needed = y.voxels[first : last + weights[1].size - 1]
        top, bottom = needed.min(), needed.max() + 1
        for k in range(planes):
            for j in range(top, bottom):
                dst = plane[(j - top) * reads : (j - top + 1) * reads]
                _add_rows(dst, rows.flat, j * rows.row + x.start, z.voxels[k:], rows.plane, weights[0])
            for j in range(first, last):
                _add_rows(true, plane, -top * reads, y.voxels[j:], reads, weights[1])
                mirror_row(line, x)
                _add_rows(out[k, j], line, start, shifts, step, weights[2])


@njit(nogil=True, cache=True)
def _add_rows(dst, src, base, rows, step, weights):  # type: ignore[no-untyped-def]
    """Write the weighted sum of the rows of src that start at ``base + rows[k] * step``."""
    n = dst.size
    at = base + rows[0] * step
    a = src[at : at + n]
    w0 = weights[0]
    head = 1
    if weights.size % 4 == 3:
        head = 3
        at = base + rows[1] * step
        b = src[at : at + n]
        at = base + rows[2] * step
        c = src[at : at + n]
        w1, w2 = weights[1], weights[2]
        for i in range(n):
            dst[i] = w0 * np.float32(a[i]) + w1 * np.float32(b[i]) + w2 * np.float32(c[i])
    else:
        for i in range(n):
            dst[i] = w0 * np.float32(a[i])
    # Four taps a turn: with more rows LLVM does not check whether they overlap, and so makes no vectors.
    for k in range(head, weights.size, 4):
        w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        at = base + rows[k] * step
        a = src[at : at + n]
        at = base + rows[k + 1] * step
        b = src[at : at + n]
        at = base + rows[k + 2] * step
        c = src[at : at + n]
        at = base + rows[k + 3] * step
        d = src[at : at + n]
        for i in range(n):
            two = dst[i] + w0 * np.float32(a[i]) + w1 * np.float32(b[i])
            dst[i] = two + w2 * np.float32(c[i]) + w3 * np.float32(d[i])
