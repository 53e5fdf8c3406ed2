"""Euclidean distance of foreground voxels to the nearest background, up to a cap.

Squares of distances are separable: along z a count of voxels, then along y and x the least of the squares of
neighbours plus ``d**2``. A whole row is lowered by one neighbour row at a time, in vectors of 16-bit integers where
they suffice; rows stop as soon as no further neighbour can be nearer, so a cap that is never met costs nothing::

    mask ──z, there and back──► count, 8 bits ──y──► row of squares ──x──► root ──► out
                                                    stays in L1

Minima and sums of integers are exact, so the result is the same for any crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray

from bigseg.errors import ParameterError
from bigseg.local.basins.growing import nearest_reach
from bigseg.local.filters.reflect import Array, shape_of, three_axes

_DIVISORS = 64  # squares of the sides are sought as integers over 1, 2, ... 64: sides 3, 0.8, 0.8 give 225, 16, 16


class Squares(NamedTuple):
    """How squares of distances are counted: in what dtype, and the square of a step along z, y, x.

    far: stands for what lies beyond the cap; scale: what the root of 1 means.
    """

    dtype: np.dtype[Any]
    steps: tuple[float, ...]
    far: float
    scale: float


def distance_transform(
    mask: Array, distance: float, sampling: Sequence[float], keep: Sequence[slice]
) -> NDArray[np.float32]:
    """Distance of each foreground voxel to the nearest background voxel, capped.

    Parameters
    ----------
    mask : bool or integer array of 1 to 3 axes; what is not 0 is foreground.
    distance : the cap, in units of ``sampling``; above 0.
    sampling : size of a voxel along each axis; 1 for distances in voxels.
    keep : the part of the array that is wanted; around it lie `nearest_reach` voxels, or the volume ends. Beyond the
        volume's edge there is no background.

    Returns
    -------
    float32 array of keep's shape, 0 in the background: ``minimum(distance_transform_edt(mask, sampling), distance)`` of
    scipy.ndimage rounded to float32 (by the last bit where sides differ); the cap where there is no background at all.

    Raises
    ------
    ParameterError : a mask of another dtype, a cap that is not above 0, or not one sampling for each axis.

    Notes
    -----
    Squares are 16-bit integers up to 181 voxels of equal sides, and where sides have squares in small ratios, else
    float64. One core, packed grains of 24 voxels, cap 6 to 40: 3 to 5 ns a voxel, in float64 8 (edt 39 to 57, scipy
    185 to 330). P. Felzenszwalb and D. Huttenlocher (2012, Distance transforms of sampled functions) take lower
    envelopes instead: no dearer the farther, but slower for tens of voxels.

    Examples
    --------
    >>> distance_transform(np.array([0, 1, 1, 1, 1, 1, 1], bool), 4.0, (1.0,), (slice(0, 7),))
    array([0., 1., 2., 3., 4., 4., 4.], dtype=float32)
    """
    if mask.dtype.kind not in "biu":
        raise ParameterError(f"a mask is bool or integers, not {mask.dtype}: put a threshold before it")
    if not 0 < distance < np.inf or len(sampling) != mask.ndim or not all(step > 0 for step in sampling):
        raise ParameterError(
            f"distance {distance} with sampling {tuple(sampling)}: expected a cap and {mask.ndim} sizes above 0"
        )
    volume, (z, y, x) = three_axes(mask if mask.dtype.kind == "b" else mask != 0, keep)
    volume = np.ascontiguousarray(volume).view(np.uint8)
    squares = squares_of(distance, sampling)
    within = (*(0,) * (3 - mask.ndim), *nearest_reach(distance, sampling))
    reach = tuple(min(r, n) for r, n in zip(within, volume.shape, strict=True))
    out = np.empty(shape_of((z, y, x)), np.float32)
    if out.size:
        _, rows, columns = volume.shape
        count = np.empty((out.shape[0], rows, columns), _count_dtype(squares))
        _count(volume, z.start, reach[0], np.empty((rows, columns), count.dtype), count)
        steps = np.array(squares.steps, squares.dtype)
        far = squares.dtype.type(squares.far)
        plane = np.full((rows + 1, columns), far, squares.dtype)
        line = np.full(columns + 2 * reach[2], far, squares.dtype)
        best = np.empty(out.shape[2], squares.dtype)
        _lower_all(count, reach, y.start, x.start, steps, far, plane, line, best, squares.scale, distance, out)
    return out.reshape(shape_of(keep))


def squares_of(distance: float, sampling: Sequence[float]) -> Squares:
    """How squares of distances up to a cap are counted for voxels of given sides.

    >>> squares_of(10.0, (1.0, 1.0, 1.0))
    Squares(dtype=dtype('uint16'), steps=(1, 1, 1), far=101, scale=1.0)
    >>> squares_of(10.0, (2.0, 0.5))
    Squares(dtype=dtype('uint16'), steps=(1, 16, 1), far=401, scale=0.5)
    """
    sides = np.array(sampling, np.float64)
    shares = (sides / sides.min()) ** 2
    more = (1,) * (3 - len(sides))
    for divisor in range(1, _DIVISORS + 1):
        whole = np.rint(shares * divisor)
        if np.all(np.abs(shares * divisor - whole) <= 1e-12 * whole):
            scale = float(sides.min() / np.sqrt(divisor))
            far = ceil((distance / scale) ** 2) + 1
            if far < 2**15:  # so that a sum of two fits 16 bits
                steps = (*more, *(min(int(step), far) for step in whole))
                return Squares(np.dtype(np.uint16), steps, far, scale)
            break
    real = (*more, *(float(side * side) for side in sides))
    return Squares(np.dtype(np.float64), real, 1.001 * distance * distance, 1.0)


def _count_dtype(squares: Squares) -> np.dtype[Any]:
    """What holds a count of voxels along z, and one more: squares of 16 bits reach no farther than 181."""
    return np.dtype(np.uint8 if squares.dtype == np.uint16 else np.uint16)


def distance_working_bytes(
    outer: Sequence[int], inner: Sequence[int], distance: float, sampling: Sequence[float], dtype: DTypeLike = bool
) -> int:
    """Bytes that `distance_transform` holds beside its input and result.

    Parameters
    ----------
    dtype : of the mask; integers are compared with 0 first, a byte a voxel.

    >>> distance_working_bytes((96, 96, 96), (64, 64, 64), 16.0, (1.0, 1.0, 1.0)) // 1024
    611
    """
    more = 3 - len(outer)
    (_, rows, columns), (depth, _, width) = ((1,) * more + tuple(n) for n in (outer, inner))
    squares = squares_of(distance, sampling)
    reach = nearest_reach(distance, sampling)
    counts = (depth + 1) * rows * columns * _count_dtype(squares).itemsize
    row = (rows + 1) * columns + columns + 2 * min(reach[-1], columns) + width
    converted = 0 if np.dtype(dtype).kind == "b" else prod(outer)
    return counts + row * squares.dtype.itemsize + converted + 8192


@njit(nogil=True, cache=True)
def _count(volume, start, reach, steps, count):  # type: ignore[no-untyped-def]
    """Voxels along z to the nearest background; reach + 1 for none."""
    depth, rows, columns = count.shape
    planes = volume.shape[0]
    last = min(planes, start + depth + reach)
    far = count.dtype.type(reach + 1)
    steps[:] = far
    for z in range(max(0, start - reach), start + depth):
        for y in range(rows):
            _step(volume[z, y], far, steps[y])
            if z >= start:
                here, found = count[z - start, y], steps[y]
                for x in range(columns):
                    here[x] = found[x]
    steps[:] = far
    for z in range(last - 1, start - 1, -1):
        for y in range(rows):
            _step(volume[z, y], far, steps[y])
            if z < start + depth:
                here, found = count[z - start, y], steps[y]
                for x in range(columns):
                    here[x] = found[x] if found[x] < here[x] else here[x]


@njit(nogil=True, cache=True)
def _step(row, far, steps):  # type: ignore[no-untyped-def]
    kind = steps.dtype.type
    for x in range(row.size):
        more = kind(steps[x] + kind(1))
        more = more if more < far else far
        steps[x] = more if row[x] != 0 else kind(0)


@njit(nogil=True, cache=True)
def _lower_all(count, reach, y0, x0, steps, far, plane, line, best, scale, cap, out):  # type: ignore[no-untyped-def]
    depth, rows, columns = count.shape
    height, width = out.shape[1:]
    kind = plane.dtype.type
    unknown = count.dtype.type(reach[0] + 1)
    spare = rows
    bx = reach[2]
    true = line[bx : bx + columns]
    most = np.float32(cap)
    for z in range(depth):
        for y in range(max(0, y0 - reach[1]), min(rows, y0 + height + reach[1])):
            counted, square = count[z, y], plane[y]
            for x in range(columns):
                n = kind(counted[x])
                found = kind(n * n * steps[0])
                square[x] = far if counted[x] == unknown else found
        for j in range(height):
            y = y0 + j
            middle = plane[y]
            for x in range(columns):
                true[x] = middle[x]
            d = 1
            while d <= reach[1] and _above(true, kind(d * d * steps[1])):
                e = min(d + 1, reach[1])
                above = plane[y - d if y >= d else spare]
                below = plane[y + d if y + d < rows else spare]
                higher = plane[y - e if y >= e else spare]
                lower = plane[y + e if y + e < rows else spare]
                _lower(true, above, below, kind(d * d * steps[1]), higher, lower, kind(e * e * steps[1]))
                d += 2
            at = bx + x0
            for i in range(width):
                best[i] = line[at + i]
            d = 1
            while d <= reach[2] and _above(best, kind(d * d * steps[2])):
                e = min(d + 1, reach[2])
                _lower(
                    best,
                    line[at - d : at - d + width],
                    line[at + d : at + d + width],
                    kind(d * d * steps[2]),
                    line[at - e : at - e + width],
                    line[at + e : at + e + width],
                    kind(e * e * steps[2]),
                )
                d += 2
            row = out[z, j]
            for i in range(width):
                found = np.float32(scale * np.sqrt(np.float64(best[i])))
                row[i] = found if found < most else most


@njit(nogil=True, cache=True)
def _above(row, value):  # type: ignore[no-untyped-def]
    """Whether any square can still be lowered by a neighbour that is itself at this square or more."""
    some = False
    for i in range(row.size):
        some |= row[i] > value
    return some


@njit(nogil=True, cache=True)
def _lower(best, a, b, near, c, d, next_near):  # type: ignore[no-untyped-def]
    """Lower a row to two neighbours plus a square, and to the two after them."""
    kind = best.dtype.type
    for i in range(best.size):
        first = a[i] if a[i] < b[i] else b[i]
        second = c[i] if c[i] < d[i] else d[i]
        first = kind(first + near)
        second = kind(second + next_near)
        first = first if first < second else second
        best[i] = first if first < best[i] else best[i]
