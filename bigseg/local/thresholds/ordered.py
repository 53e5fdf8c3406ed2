"""Exact percentiles, mean and deviation of 32-bit images from counts: two reads of 16 bits each.

A voxel becomes an unsigned key of the same order (`bigseg.local.keys`), which has two halves. ::

    key   = upper half | lower half
    read 1: for each upper half h: how many voxels, the sum of their lower halves and of the squares (`outline`)
    read 2: for the few upper halves in which a wanted rank falls: how often each lower half occurs (`refine`)

Among the voxels of one upper half the value is a straight line in the lower half, ``(offset + lower) * 2**e``, for
real numbers too: they share sign, exponent and the first bits behind the point. So the sums of read 1 give the sum
of all values and of their squares without any rounding, and ranks found in read 2 are true voxels. Counts and sums
are integers: blocks add up in any order.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.filters.reflect import rows_of, three_axes
from bigseg.local.keys import in_order, key_order

Array = NDArray[Any]
Table = NDArray[np.int64]

KEYED = ("float32", "uint32", "int32")
HALF = 1 << 16
MOST_BINS = 254

_KEYS = np.dtype(np.uint32)
_FINEST = -149  # float32 counts in units of 2**-149
_AT_ONCE = 4096  # upper halves whose sums are taken together: their integers take 2 MiB


class Ranks(NamedTuple):
    """The upper halves in which wanted ranks fall.

    bins: the upper halves, rising; below: for each, the number of voxels with a smaller one.
    """

    bins: list[int]
    below: list[int]


def outline(x: Array) -> Table:
    """Count the upper halves of the keys of an image, and add up the lower ones.

    Parameters
    ----------
    x : array of float32, uint32 or int32, of 1 to 3 axes and at most 2^31 voxels; finite.

    Returns
    -------
    int64 array (65536, 4), a row each upper half: voxels, sum of the lower halves, and the sum of their squares as
    ``row[2] * 2**32 + row[3]``. Tables of parts of an image add up to that of the image.

    Raises
    ------
    ParameterError : any other dtype.

    Notes
    -----
    One read, 2 ns a voxel on one core.

    Examples
    --------
    >>> table = outline(np.array([0, 3, 70000, 70001], "uint32"))
    >>> table[:2].tolist()
    [[2, 3, 0, 9], [2, 8929, 0, 39863521]]
    """
    _check(x.dtype)
    table = np.zeros((HALF, 4), np.int64)
    if x.size:
        rows, shape = _rows(x)
        _outline(rows, shape, key_order(x.dtype, _KEYS), table)
        table[:, 2] = table[:, 3].view(np.uint64) >> np.uint64(32)
        table[:, 3] &= 0xFFFFFFFF
    return table


def refine(x: Array, bins: ArrayLike) -> Table:
    """Count the lower halves of the keys whose upper half is one of a few.

    Parameters
    ----------
    x : as in `outline`.
    bins : upper halves, rising, 254 at most.

    Returns
    -------
    int64 array (bins, 65536): how often each lower half occurs with each upper one.

    Raises
    ------
    ParameterError : any other dtype, or too many bins.

    Notes
    -----
    One read, 1.2 ns a voxel on one core, 3 where all voxels share an upper half.

    Examples
    --------
    >>> refine(np.array([0, 3, 70000, 70001], "uint32"), [1]).nonzero()
    (array([0, 0]), array([4464, 4465]))
    """
    wanted = np.asarray(bins, np.int64)
    if wanted.size > MOST_BINS:
        raise ParameterError(f"{wanted.size} ranges of values at once: expected {MOST_BINS} at most; ask for fewer")
    _check(x.dtype)
    row_of = np.zeros(HALF, np.uint8)
    row_of[wanted] = np.arange(1, wanted.size + 1)
    table = np.zeros((wanted.size, HALF), np.uint32)
    if x.size:
        rows, shape = _rows(x)
        _refine(rows, shape, key_order(x.dtype, _KEYS), row_of, table)
    return table.astype(np.int64)


def moments(table: Table, dtype: np.dtype[Any]) -> tuple[int, float, float]:
    """Number of voxels, mean and standard deviation of an image from its outline.

    Parameters
    ----------
    table : from `outline`, of the whole image; dtype : the image's.

    Returns
    -------
    voxels, mean, std. The sums are exact; the mean is rounded once, std (which divides by the voxels) twice.

    Raises
    ------
    ValuesError : no voxel.

    Examples
    --------
    >>> moments(outline(np.array([0.5, 1.5, 4.0], "float32")), np.dtype("float32"))
    (3, 2.0, 1.4719601443879744)
    """
    filled = np.flatnonzero(table[:, 0])
    if not filled.size:
        raise ValuesError("no voxel was counted: expected at least one; check the region and the mask")
    unit = _FINEST if dtype.kind == "f" else 0
    voxels = first = second = 0
    for start in range(0, filled.size, _AT_ONCE):
        part = filled[start : start + _AT_ONCE]
        count, lows, high, low = table[part].astype(object).T
        offset, exponent = _line(part, dtype)
        scale = np.array([1 << int(e - unit) for e in exponent], object)
        voxels += int(count.sum())
        first += int((scale * (offset * count + lows)).sum())
        squares = high * (1 << 32) + low
        second += int((scale * scale * (offset * offset * count + 2 * offset * lows + squares)).sum())
    variance = (voxels * second - first * first) / (voxels * voxels << -2 * unit)
    return voxels, first / (voxels << -unit), sqrt(variance)


def places(voxels: ArrayLike, percentages: ArrayLike) -> tuple[Table, Table, NDArray[np.float64]]:
    """The two ranks between which each percentile lies, and the weight of the upper one, as numpy.percentile.

    voxels : a number, or one for each object and one percentage for all.

    >>> places(5, [50, 90])
    (array([2, 3]), array([3, 4]), array([0. , 0.6]))
    """
    last = np.asarray(voxels) - 1
    place = last * (np.asarray(percentages, np.float64) / 100)
    before = np.floor(place).astype(np.int64)
    return before, np.minimum(before + 1, last), place - before


def between(low: NDArray[np.float64], high: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """The percentiles from the voxels of `places` and their weight.

    >>> between(np.array([2.0]), np.array([7.0]), np.array([0.6]))
    array([5.])
    """
    # Starting from the nearer neighbour, as numpy does, keeps the last bit.
    gap = high - low
    return np.asarray(np.where(weight < 0.5, low + gap * weight, high - gap * (1 - weight)), np.float64)


def ranks_in(table: Table, ranks: ArrayLike) -> Ranks:
    """The upper halves that hold the voxels of some ranks (0 is the least voxel).

    >>> ranks_in(outline(np.array([0, 3, 70000, 70001], "uint32")), [3])
    Ranks(bins=[1], below=[2])
    """
    upto = np.cumsum(table[:, 0])
    bins = np.unique(np.searchsorted(upto, np.asarray(ranks), side="right"))
    return Ranks(bins.tolist(), (upto[bins] - table[bins, 0]).tolist())


def percentiles(
    found: Ranks, refined: Table, voxels: int, percentages: ArrayLike, dtype: np.dtype[Any]
) -> NDArray[np.float64]:
    """Percentiles of an image from its refined counts.

    Parameters
    ----------
    found, refined : the upper halves that hold the ranks of `places`, and the counts within them.
    voxels : of the image; dtype : the image's.
    percentages : 0 to 100.

    Returns
    -------
    float64 array: numpy.percentile of the image as float64 (its method is linear), exactly.

    Examples
    --------
    >>> image = np.array([0.5, 1.5, 4.0, 8.0], "float32")
    >>> found = ranks_in(outline(image), [1, 2])
    >>> percentiles(found, refine(image, found.bins), 4, [50], image.dtype)
    array([2.75])
    """
    before, after, weight = places(voxels, percentages)
    low, high = (_values_at(rank, found, refined, dtype) for rank in (before, after))
    return between(low, high, weight)


def _values_at(ranks: Table, found: Ranks, refined: Table, dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """The voxels of some ranks."""
    row = np.searchsorted(found.below, ranks, side="right") - 1
    upto = np.cumsum(refined, axis=1)
    lower = [np.searchsorted(upto[j], rank - found.below[j], side="right") for j, rank in zip(row, ranks, strict=True)]
    keys = (np.asarray(found.bins, _KEYS)[row] << _KEYS.type(16)) | np.asarray(lower, _KEYS)
    values: Array = in_order(keys, key_order(dtype, _KEYS).back).view(dtype)
    return np.asarray(values, np.float64) + 0.0  # -0.0 and 0.0 have two keys but are one value


def _line(upper: Table, dtype: np.dtype[Any]) -> tuple[Array, Table]:
    """Offsets and exponents of upper halves: a voxel's value is ``(offset + lower) * 2**exponent``."""
    first = upper << 16
    if dtype.kind != "f":
        return (first - (1 << 31) if dtype.kind == "i" else first).astype(object), np.zeros(upper.size, np.int64)
    negative = upper < HALF // 2
    magnitude = np.where(negative, 0x7FFFFFFF - first - (HALF - 1), first - (1 << 31))
    exponent = magnitude >> 23
    digits = (magnitude & 0x7FFFFF) + np.where(exponent > 0, 1 << 23, 0)
    offset = np.where(negative, -(digits + HALF - 1), digits)
    return offset.astype(object), np.maximum(exponent, 1) - 1 + _FINEST


def _check(dtype: np.dtype[Any]) -> None:
    if dtype.name not in KEYED:
        raise ParameterError(f"expected an image of {', '.join(KEYED)}, found {dtype.name}: convert it first")


def _rows(x: Array) -> tuple[Any, tuple[int, int, int]]:
    volume, _ = three_axes(x, tuple(slice(0, n) for n in x.shape))
    nz, ny, nx = volume.shape
    rows = rows_of(volume)
    return rows._replace(flat=rows.flat.view(_KEYS)), (nz, ny, nx)


@njit(nogil=True, cache=True)
def _outline(rows, shape, order, table):  # type: ignore[no-untyped-def]
    for z in range(shape[0]):
        for y in range(shape[1]):
            start = z * rows.plane + y * rows.row
            line = rows.flat[start : start + shape[2]]
            for i in range(line.size):
                bits = line[i]
                key = bits ^ (order.high if bits >= order.top else order.low)
                row = table[key >> np.uint32(16)]
                low = np.int64(key & np.uint32(0xFFFF))
                row[0] += 1
                row[1] += low
                row[3] += low * low  # below 2**63 in 2^31 voxels


@njit(nogil=True, cache=True)
def _refine(rows, shape, order, row_of, table):  # type: ignore[no-untyped-def]
    for z in range(shape[0]):
        for y in range(shape[1]):
            start = z * rows.plane + y * rows.row
            line = rows.flat[start : start + shape[2]]
            for i in range(line.size):
                bits = line[i]
                key = bits ^ (order.high if bits >= order.top else order.low)
                row = row_of[key >> np.uint32(16)]
                if row:
                    table[row - 1, key & np.uint32(0xFFFF)] += np.uint32(1)
