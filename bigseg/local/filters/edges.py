"""Edges from the nearest neighbours: Sobel, Prewitt and Laplace in float32, the same bits in whatever block.

The derivatives along all axes come from one pass. Of each row the sum and the difference across planes are
made once and kept for the three rows of the result that need them::

    x, any dtype ──z──► smooth, slope ──y──► smooth smooth ──x──► difference = d/dx
    rows of planes      3 rows of each       slope  smooth ──x──► smooth     = d/dz
    z-1, z, z+1         stay in L1           smooth slope  ──x──► smooth     = d/dy

Loops run over whole rows, a voxel gets the same operations in a lane of a vector as at the end of a row.
Where the image is flat all derivatives are exactly 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numba import njit
from numpy.typing import DTypeLike

from bigseg.errors import ParameterError
from bigseg.local.filters.linear import Float32, as_real
from bigseg.local.filters.reflect import Array, Reach, Rows, reach, rows_of, shape_of, three_axes, working_bytes

SOBEL, PREWITT = 2.0, 1.0
"""Weight of the middle one of three voxels in the sums across an edge; the other two weigh 1."""

MAGNITUDE, PRODUCTS = 3, 4
"""What `gradient_of_rows` gives; 0, 1 and 2: the derivative along that axis alone."""


def gradient(x: Array, keep: Sequence[slice], middle: float = SOBEL, axis: int | None = None) -> Float32:
    """Sobel's or Prewitt's derivative along an axis, or the magnitude of those along all axes.

    Parameters
    ----------
    x : array of 1 to 3 axes, any integer, bool or float dtype; converted to float32 before anything else.
    keep : the part of x that is wanted. Where a neighbour is not in x, x must end at the edge of the volume:
        the image is mirrored there.
    middle : `SOBEL` or `PREWITT`, the middle weight of the sums along the other axes.
    axis : 0 to ``x.ndim - 1``; None for the magnitude, the root of the sum of squares over all axes.

    Returns
    -------
    float32 array of the shape of keep: scipy.ndimage.sobel or prewitt of x as float32, not normalised: the
    difference of the two neighbours times the weights of the sums, so a slope of 1 a voxel gives 32 in 3-D.

    Raises
    ------
    ParameterError : an axis that x lacks, a keep that is not in x, or a dtype that is not a real number.

    Notes
    -----
    One core of the test machine, uint16 in 3-D: 600 Mvox/s, 30 x scipy for the magnitude, 10 x for one axis.

    Examples
    --------
    >>> gradient(np.array([[0, 0, 3, 3]] * 3, "uint8"), (slice(0, 1), slice(0, 4)))
    array([[ 0., 12., 12.,  0.]], dtype=float32)
    """
    if axis is not None and not 0 <= axis < x.ndim:
        raise ParameterError(f"axis {axis}: expected 0 to {x.ndim - 1} for an array of shape {x.shape}")
    out = np.empty((1, *shape_of(keep)), np.float32)
    _fill(x, keep, middle, MAGNITUDE if axis is None else axis + 3 - x.ndim, out)
    magnitude: Float32 = out[0]
    return magnitude


def gradient_products(x: Array, keep: Sequence[slice]) -> Float32:
    """Products of every two of Sobel's derivatives: what a structure tensor is smoothed from.

    Parameters
    ----------
    x, keep : as in `gradient`.

    Returns
    -------
    float32 array of shape (n, *keep): zz, zy, zx, yy, yx, xx for three axes, yy, yx, xx for two.

    Examples
    --------
    >>> gradient_products(np.array([[0, 1, 1]] * 2, "uint8"), (slice(0, 1), slice(0, 3)))[:, 0]
    array([[ 0.,  0.,  0.],
           [ 0.,  0.,  0.],
           [16., 16.,  0.]], dtype=float32)
    """
    out = np.empty((x.ndim * (x.ndim + 1) // 2, *shape_of(keep)), np.float32)
    _fill(x, keep, SOBEL, PRODUCTS, out)
    return out


def laplace(x: Array, keep: Sequence[slice]) -> Float32:
    """Sum over all axes of the second difference, ``x[i-1] - 2 x[i] + x[i+1]``: negative on bright spots.

    Parameters
    ----------
    x, keep : as in `gradient`.

    Returns
    -------
    float32 array of the shape of keep: scipy.ndimage.laplace of x as float32.

    Notes
    -----
    One core, uint16 in 3-D: 740 Mvox/s, 14 x scipy.

    Examples
    --------
    >>> laplace(np.array([0, 0, 3, 3], "uint8"), (slice(0, 4),))
    array([ 0.,  3., -3.,  0.], dtype=float32)
    """
    out = np.empty(shape_of(keep), np.float32)
    volume, (z, y, x_) = _reaches(x, keep)
    if out.size:
        line = np.empty(x_.voxels.size, np.float32)
        _laplace(rows_of(volume), z, y, x_, line, out.reshape(_shape(z, y, x_)))
    return out


def edge_working_bytes(outer: Sequence[int], inner: Sequence[int], dtype: DTypeLike = np.float32) -> int:
    """Most bytes that `gradient` and `laplace` hold beside an input of shape ``outer`` and the result.

    >>> edge_working_bytes((258, 258, 258), (256, 256, 256)) // 1024
    27
    """
    copied = 4 * prod(outer) if np.dtype(dtype) == np.float16 else 0
    return copied + working_bytes(inner, [3] * len(inner), 4 * 12 * (inner[-1] + 2))


def _reaches(x: Array, keep: Sequence[slice]) -> tuple[Array, tuple[Reach, Reach, Reach]]:
    volume, keep3 = three_axes(as_real(x), keep)
    z, y, x_ = (reach(k, 1, n) for k, n in zip(keep3, volume.shape, strict=True))
    return volume, (z, y, x_)


def _fill(x: Array, keep: Sequence[slice], middle: float, wanted: int, out: Float32) -> None:
    volume, (z, y, x_) = _reaches(x, keep)
    if not out.size:
        return
    gradient_of_rows(rows_of(volume), (z, y, x_), x.ndim, middle, wanted, out.reshape(len(out), *_shape(z, y, x_)))


def gradient_of_rows(
    rows: Rows, reaches: tuple[Reach, Reach, Reach], ndim: int, middle: float, wanted: int, out: Float32
) -> None:
    """`gradient` or `gradient_products` of rows in flat memory, for filters that keep planes in an order of their own.

    Parameters
    ----------
    rows : where the planes lie.
    reaches : what is read along each axis, with a radius of 1; along z any planes.
    ndim : axes of the image; of 2 the reach along z names each plane three times.
    middle : `SOBEL` or `PREWITT`.
    wanted : `MAGNITUDE`, `PRODUCTS`, or an axis.
    out : float32 array (n, z, y, x) that is filled.
    """
    z, y, x = reaches
    # An axis that the image does not have is neither summed over nor derived along.
    weights = np.array([[1.0, middle] if missing < ndim else [0.0, 1.0] for missing in (2, 1, 0)], np.float32)
    work = np.empty((12, x.voxels.size), np.float32)
    _gradient(rows, z, y, x, weights, 3 - ndim, wanted, work, out)


def _shape(*axes: Reach) -> list[int]:
    return [axis.voxels.size - 2 for axis in axes]


@njit(nogil=True, cache=True)
def _gradient(rows, z, y, x, weights, first, wanted, work, out):  # type: ignore[no-untyped-def]
    _, planes, height, width = out.shape
    reads = x.stop - x.start
    # Whole rows and then parts of them: of a part of a table Numba does not know that its rows are contiguous.
    smooth, slope, lines, found = work[:3], work[3:6], work[6:9], work[9:]
    for k in range(planes):
        for j in range(height + 2):
            at = y.voxels[j] * rows.row + x.start
            low = rows.flat[at + z.voxels[k] * rows.plane :][:reads]
            here = rows.flat[at + z.voxels[k + 1] * rows.plane :][:reads]
            high = rows.flat[at + z.voxels[k + 2] * rows.plane :][:reads]
            _sum_of_three(smooth[j % 3][:reads], low, here, high, weights[0])
            _difference(slope[j % 3][:reads], low, high)
            if j < 2:
                continue
            low, here, high = (j - 2) % 3, (j - 1) % 3, j % 3
            _sum_of_three(lines[0, x.before :][:reads], slope[low], slope[here], slope[high], weights[1])
            _difference(lines[1, x.before :][:reads], smooth[low], smooth[high])
            _sum_of_three(lines[2, x.before :][:reads], smooth[low], smooth[here], smooth[high], weights[1])
            for line in lines:
                _mirror(line, x.before, reads)
            if wanted == 0 or wanted == 1:
                line = lines[wanted]
                _sum_of_three(out[0, k, j - 2], line, line[1:], line[2:], weights[2])
            elif wanted == 2:
                _difference(out[0, k, j - 2], lines[2], lines[2, 2:])
            elif wanted == MAGNITUDE:
                _magnitude(out[0, k, j - 2], lines[0], lines[1], lines[2], weights[2])
            else:
                for a in range(2):
                    line = lines[a]
                    _sum_of_three(found[a][:width], line, line[1:], line[2:], weights[2])
                _difference(found[2][:width], lines[2], lines[2, 2:])
                n = 0
                for a in range(first, 3):
                    for b in range(a, 3):
                        _product(out[n, k, j - 2], found[a], found[b])
                        n += 1


@njit(nogil=True, cache=True)
def _sum_of_three(dst, low, here, high, weights):  # type: ignore[no-untyped-def]
    side, middle = weights[0], weights[1]
    for i in range(dst.size):
        dst[i] = side * (np.float32(low[i]) + np.float32(high[i])) + middle * np.float32(here[i])


@njit(nogil=True, cache=True)
def _difference(dst, low, high):  # type: ignore[no-untyped-def]
    for i in range(dst.size):
        dst[i] = np.float32(high[i]) - np.float32(low[i])


@njit(nogil=True, cache=True)
def _magnitude(dst, z, y, x, weights):  # type: ignore[no-untyped-def]
    side, middle = weights[0], weights[1]
    for i in range(dst.size):
        dz = side * (z[i] + z[i + 2]) + middle * z[i + 1]
        dy = side * (y[i] + y[i + 2]) + middle * y[i + 1]
        dx = x[i + 2] - x[i]
        dst[i] = np.sqrt(dz * dz + dy * dy + dx * dx)


@njit(nogil=True, cache=True)
def _product(dst, a, b):  # type: ignore[no-untyped-def]
    for i in range(dst.size):
        dst[i] = a[i] * b[i]


@njit(nogil=True, cache=True)
def _mirror(line, before, reads):  # type: ignore[no-untyped-def]
    """The voxels of a row beyond the edge: one to either side at most."""
    if before:
        line[0] = line[1]
    if before + reads < line.size:
        line[-1] = line[-2]


@njit(nogil=True, cache=True)
def _laplace(rows, z, y, x, line, out):  # type: ignore[no-untyped-def]
    planes, height, _ = out.shape
    reads = x.stop - x.start
    for k in range(planes):
        for j in range(height):
            at = y.voxels[j + 1] * rows.row + z.voxels[k + 1] * rows.plane + x.start
            here = rows.flat[at:][:reads]
            line[x.before : x.before + reads] = here
            _mirror(line, x.before, reads)
            dst, here = out[k, j], line[1:]
            _second_difference(dst, line, here, line[2:])
            inside = x.start + 1 - x.before
            at = y.voxels[j + 1] * rows.row + inside
            low, high = z.voxels[k] * rows.plane, z.voxels[k + 2] * rows.plane
            _add_second_difference(dst, rows.flat[at + low :], here, rows.flat[at + high :])
            at = z.voxels[k + 1] * rows.plane + inside
            low, high = y.voxels[j] * rows.row, y.voxels[j + 2] * rows.row
            _add_second_difference(dst, rows.flat[at + low :], here, rows.flat[at + high :])


@njit(nogil=True, cache=True)
def _second_difference(dst, low, here, high):  # type: ignore[no-untyped-def]
    for i in range(dst.size):
        dst[i] = (low[i] + high[i]) - np.float32(2) * here[i]


@njit(nogil=True, cache=True)
def _add_second_difference(dst, low, here, high):  # type: ignore[no-untyped-def]
    for i in range(dst.size):
        dst[i] += (np.float32(low[i]) + np.float32(high[i])) - np.float32(2) * here[i]
