"""Eigenvalues of the Hessian and of the structure tensor: ridges, blobs, sheets; corners and directions.

Both come slab by slab along the first axis, so that the smoothed image, or the smoothed products, are never
held for a whole block::

    Hessian            x ──gaussian──► slab + 2 ──differences of differences──► 6 rows ──► eigenvalue
    structure tensor   x ──Sobel──► 6 products, slab + r ──gaussian──► slab ──► eigenvalue

What is computed beyond a slab is cut off where the volume ends, so the second step meets its own rule at the edge
there and only there: one-sided differences (numpy.gradient), products mirrored (mode reflect).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
from numba import njit
from numpy.typing import DTypeLike

from bigseg.local.filters.derivatives import gaussian_in_pairs
from bigseg.local.filters.edges import edge_working_bytes, gradient_products
from bigseg.local.filters.eigen import CHUNK_FLOATS, check_which, eigenvalues_of_rows
from bigseg.local.filters.linear import Float32, gaussian, gaussian_radius, gaussian_working_bytes
from bigseg.local.filters.reflect import Array, shape_of

_SLAB = 1 << 19  # voxels of the result in work at once; six float32 products of that many take 12 MiB

Keep = tuple[slice, ...]


def hessian_eigenvalue(x: Array, sigma: Sequence[float], keep: Sequence[slice], which: int) -> Float32:
    """One eigenvalue of the matrix of second derivatives of an image smoothed by a Gaussian.

    Parameters
    ----------
    x : array of 2 or 3 axes, any integer, bool or float dtype; converted to float32 before anything else.
    sigma : standard deviation along each axis in voxels; 0 for none.
    keep : the part of x that is wanted. Where a voxel within `gaussian_radius` + 2 is not in x, x must end at the
        edge of the volume: the image is mirrored there, and differences of the smoothed image are one-sided.
    which : 1 for the greatest eigenvalue, ``x.ndim`` for the least.

    Returns
    -------
    float32 array of the shape of keep, grey values per voxel squared: skimage.feature.hessian_matrix_eigvals of
    hessian_matrix(x as float32, sigma, mode="reflect", use_gaussian_derivatives=False). Along an axis of one voxel,
    which scikit-image refuses, derivatives are 0.

    Raises
    ------
    ParameterError : a which that there is not, or as `bigseg.local.filters.linear.gaussian`.

    Notes
    -----
    One core of the test machine, 3-D uint16, sigma 1.5: 75 Mvox/s, 55 x scikit-image. Second differences keep what
    float32 keeps of the smoothed image: they are 4e-7 of its greatest value off scikit-image's, also float32, at most.

    Examples
    --------
    >>> ridge = np.array([[0, 0, 4, 0, 0]] * 3, "uint8")
    >>> hessian_eigenvalue(ridge, (0, 0), (slice(1, 2), slice(2, 3)), 2)
    array([[-2.]], dtype=float32)
    """
    check_which(which, x.ndim)
    out = np.empty(shape_of(keep), np.float32)
    more = 3 - x.ndim
    for part, into in _slabs(keep, _planes(out.shape, 2)):
        grown = _grow(part, [2] * x.ndim, x.shape)
        smooth = gaussian_in_pairs(x, sigma, grown)
        begins = (0,) * more + tuple(p.start - g.start for p, g in zip(part, grown, strict=True))
        work = np.empty((9, smooth.shape[-1]), np.float32)
        volume, dst = (a.reshape((1,) * more + a.shape) for a in (smooth, out[into]))
        _hessian(volume, begins, which, work, np.empty(CHUNK_FLOATS, np.float32), dst, more)
        del smooth, volume  # before the next slab is made
    return out


def structure_tensor_eigenvalue(x: Array, sigma: Sequence[float], keep: Sequence[slice], which: int) -> Float32:
    """One eigenvalue of the products of first derivatives, smoothed by a Gaussian.

    Parameters
    ----------
    x : array of 2 or 3 axes, any integer, bool or float dtype; converted to float32 before anything else.
    sigma : standard deviation of the Gaussian along each axis in voxels; 0 for none.
    keep : the part of x that is wanted. Where a voxel within `gaussian_radius` + 1 is not in x, x must end at the
        edge of the volume: the image is mirrored there, and so are the products.
    which : 1 for the greatest eigenvalue, ``x.ndim`` for the least.

    Returns
    -------
    float32 array of the shape of keep, grey values squared: skimage.feature.structure_tensor_eigenvalues of
    structure_tensor(x as float32, sigma, mode="reflect"), whose derivatives are scipy's Sobel.

    Raises
    ------
    ParameterError : a which that there is not, or as `bigseg.local.filters.linear.gaussian`.

    Notes
    -----
    One core, 3-D uint16, sigma 1.5: 23 Mvox/s, 18 x scikit-image.

    Examples
    --------
    >>> step = np.array([[0, 0, 3, 3]] * 3, "uint8")
    >>> structure_tensor_eigenvalue(step, (0, 0), (slice(1, 2), slice(0, 4)), 1)
    array([[  0., 144., 144.,   0.]], dtype=float32)
    """
    check_which(which, x.ndim)
    out = np.empty(shape_of(keep), np.float32)
    radii = [gaussian_radius(s) for s in sigma]
    chunk = np.empty(CHUNK_FLOATS, np.float32)
    for part, into in _slabs(keep, _planes(out.shape, 2 * radii[0])):
        grown = _grow(part, radii, x.shape)
        within = tuple(slice(p.start - g.start, p.stop - g.start) for p, g in zip(part, grown, strict=True))
        products = gradient_products(x, grown)
        rows = np.empty((len(products), prod(shape_of(part))), np.float32)
        for row, product in zip(rows, products, strict=True):
            row[:] = gaussian(product, sigma, within).reshape(-1)
        eigenvalues_of_rows(rows, which, chunk, out[into].reshape(-1))
        del products, rows  # before those of the next slab are made
    return out


def hessian_working_bytes(
    outer: Sequence[int], inner: Sequence[int], sigma: Sequence[float], dtype: DTypeLike = np.float32
) -> int:
    """Most bytes that `hessian_eigenvalue` holds beside an input of shape ``outer`` and the result.

    >>> hessian_working_bytes((272, 272, 272), (256, 256, 256), (1.5, 1.5, 1.5)) // 1024
    3467
    """
    slab = (min(inner[0], _planes(inner, 2)), *inner[1:])
    grown = tuple(min(n + 4, m) for n, m in zip(slab, outer, strict=True))
    rows = 4 * (9 * grown[-1] + CHUNK_FLOATS)
    return 4 * prod(grown) + max(rows, gaussian_working_bytes(outer, grown, sigma, dtype=dtype))


def structure_tensor_working_bytes(
    outer: Sequence[int], inner: Sequence[int], sigma: Sequence[float], dtype: DTypeLike = np.float32
) -> int:
    """Most bytes that `structure_tensor_eigenvalue` holds beside an input of shape ``outer`` and the result.

    >>> structure_tensor_working_bytes((272, 272, 272), (256, 256, 256), (1.5, 1.5, 1.5)) >> 20
    60
    """
    radii = [gaussian_radius(s) for s in sigma]
    products = len(inner) * (len(inner) + 1) // 2
    slab = (min(inner[0], _planes(inner, 2 * radii[0])), *inner[1:])
    grown = tuple(min(n + 2 * r, m) for n, r, m in zip(slab, radii, outer, strict=True))
    smooth = 4 * prod(slab) * (products + 1) + gaussian_working_bytes(grown, slab, sigma)
    return 4 * products * prod(grown) + max(smooth, edge_working_bytes(outer, grown, dtype)) + 4 * CHUNK_FLOATS


def _planes(shape: Sequence[int], least: int) -> int:
    """Planes of a slab: enough that what is computed beyond it does not count for much."""
    return max(1, least, -(-_SLAB // max(1, prod(shape[1:]))))


def _slabs(keep: Sequence[slice], planes: int) -> Iterator[tuple[Keep, slice]]:
    """Parts of keep along its first axis, and where each lies in the result."""
    first = keep[0]
    if any(k.stop == k.start for k in keep):
        return
    for start in range(first.start, first.stop, planes):
        stop = min(start + planes, first.stop)
        yield (slice(start, stop), *keep[1:]), slice(start - first.start, stop - first.start)


def _grow(part: Sequence[slice], depth: Sequence[int], shape: Sequence[int]) -> Keep:
    return tuple(slice(max(0, p.start - d), min(n, p.stop + d)) for p, d, n in zip(part, depth, shape, strict=True))


@njit(nogil=True, cache=True)
def _hessian(smooth, begins, which, work, chunk, out, first):  # type: ignore[no-untyped-def]
    nz, ny, _ = smooth.shape
    # Always whole rows, then parts of them: of others Numba does not know that they are contiguous.
    rows = work[:3] if first else work[:6]
    for k in range(out.shape[0]):
        z, wz = around(begins[0] + k, nz, 0, nz)
        for j in range(out.shape[1]):
            y, wy = around(begins[1] + j, ny, 0, ny)
            second_differences(smooth, z, wz, y, wy, begins[2], out.shape[2], work, rows)
            eigenvalues_of_rows(rows, which, chunk, out[k, j])


@njit(nogil=True, cache=True)
def second_differences(smooth, z, wz, y, wy, inside, width, work, rows):  # type: ignore[no-untyped-def]
    """Differences of differences of a row of smoothed voxels, one-sided at the edge of the volume.

    z, wz, y, wy: from `around`; inside, width: the voxels that are wanted; work: 9 rows; rows: the first 6 of these,
    which get zz, zy, zx, yy, yx, xx, or the first 3, which get yy, yx, xx.
    """
    row_z, row_y, row_x = work[6], work[7], work[8]
    n = 0
    if rows.shape[0] == 6:
        _slope(row_z, smooth[z[1], y[0]], smooth[z[2], y[0]], wz[0])
        low, high = smooth[z[3], y[0], inside:], smooth[z[4], y[0], inside:]
        lower, higher = smooth[z[5], y[0], inside:], smooth[z[6], y[0], inside:]
        _slope_of_slopes(rows[0][:width], low, high, wz[1], lower, higher, wz[2], wz[0])
        low, high = smooth[z[1], y[1], inside:], smooth[z[2], y[1], inside:]
        lower, higher = smooth[z[1], y[2], inside:], smooth[z[2], y[2], inside:]
        _slope_of_slopes(rows[1][:width], low, high, wz[0], lower, higher, wz[0], wy[0])
        _slope_along(rows[2][:width], row_z, inside)
        n = 3
    plane = smooth[z[0]]
    _slope(row_y, plane[y[1]], plane[y[2]], wy[0])
    _slope_along(row_x, plane[y[0]], 0)
    low, high, lower, higher = plane[y[3], inside:], plane[y[4], inside:], plane[y[5], inside:], plane[y[6], inside:]
    _slope_of_slopes(rows[n][:width], low, high, wy[1], lower, higher, wy[2], wy[0])
    _slope_along(rows[n + 1][:width], row_y, inside)
    _slope_along(rows[n + 2][:width], row_x, inside)


@njit(nogil=True, cache=True)
def around(i, n, first, slots):  # type: ignore[no-untyped-def]
    """What second differences at voxel i of n are taken of, and weights.

    Where the voxels are kept, in slots from the voxel ``first`` on: i, its two `_neighbours`, the two of the lower and
    the two of the higher of these; the weights of these three pairs.
    """
    low, high, weight = _neighbours(i, n)
    a, b, below = _neighbours(low, n)
    c, d, above = _neighbours(high, n)
    i, low, high = (i - first) % slots, (low - first) % slots, (high - first) % slots
    a, b, c, d = (a - first) % slots, (b - first) % slots, (c - first) % slots, (d - first) % slots
    return (i, low, high, a, b, c, d), (weight, below, above)


@njit(nogil=True, cache=True)
def _neighbours(i, n):  # type: ignore[no-untyped-def]
    """The voxels between which a difference is taken, and what it is multiplied by to be one per voxel."""
    low, high = max(i - 1, 0), min(i + 1, n - 1)
    return low, high, np.float32(0 if high == low else 1 / (high - low))


@njit(nogil=True, cache=True)
def _slope(dst, low, high, weight):  # type: ignore[no-untyped-def]
    """Difference of two rows, times a weight of `_neighbours`."""
    for i in range(dst.size):
        dst[i] = (high[i] - low[i]) * weight


@njit(nogil=True, cache=True)
def _slope_of_slopes(dst, a, b, low, c, d, high, weight):  # type: ignore[no-untyped-def]
    """Difference of two differences of rows, each times a weight of `_neighbours`."""
    for i in range(dst.size):
        dst[i] = ((d[i] - c[i]) * high - (b[i] - a[i]) * low) * weight


@njit(nogil=True, cache=True)
def _slope_along(dst, src, begin):  # type: ignore[no-untyped-def]
    """Differences along a row from the voxel ``begin`` on, one-sided at the row's ends."""
    n, last = dst.size, src.size - 1
    if last == 0:
        dst[0] = 0
        return
    if begin == 0:
        dst[0] = src[1] - src[0]
    if begin + n > last:
        dst[n - 1] = src[last] - src[last - 1]
    first = max(begin, 1)
    inner, low, high = dst[first - begin : min(n, last - begin)], src[first - 1 :], src[first + 1 :]
    for i in range(inner.size):
        inner[i] = (high[i] - low[i]) * np.float32(0.5)
