"""One level of a pyramid: halve an image by the mean, labels and classes by the mode.

Each output voxel stands for a cell of two voxels along every reduced axis; a cell at an odd far edge holds
those that exist. So a block that starts at even indices gives exactly the crop of the whole image's level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ParameterError


def mean2(x: NDArray[Any], axes: Sequence[int] | None = None) -> NDArray[Any]:
    """Halve an image along some axes by the mean of each cell.

    Parameters
    ----------
    x : array of integers or real numbers, 1 to 4 axes
    axes : axes to halve, at most three. Default: all, but of four axes the last three (channels come first).

    Returns
    -------
    level : same dtype, ceil(n / 2) voxels along each halved axis. Integers are rounded half up,
        floor(mean + 0.5), exactly for all 64 bits. Real numbers are added in float64 in C order within the
        cell, then divided and rounded to the dtype; a cell with NaN becomes NaN.

    Raises
    ------
    ParameterError : other dtypes, more than 4 axes, or axes that are not there, given twice or more than 3.

    Notes
    -----
    One read of the image, one write an eighth as large; a row at a time, in vector loops.

    Examples
    --------
    >>> mean2(np.array([[1, 2, 9], [3, 5, 4], [8, 8, 7]], np.uint8))
    array([[3, 7],
           [8, 7]], dtype=uint8)
    """
    if x.dtype.kind not in "iuf" or x.dtype.itemsize > 8:
        raise ParameterError(f"a mean needs an image of integers or real numbers; got {x.dtype}: use mode2 for masks")
    if x.dtype.name == "float16":
        return mean2(x.astype(np.float64), axes).astype(x.dtype)
    work: type[np.generic]
    if x.dtype.kind == "f":
        kernel, work = _mean_real, np.float64
    elif x.dtype.itemsize == 8:
        kernel, work = _mean_wide, x.dtype.type
    else:
        kernel, work = _mean_narrow, np.int32 if x.dtype.itemsize < 4 else np.int64
    return _reduce(kernel, x, axes, work)


def mode2(x: NDArray[Any], axes: Sequence[int] | None = None) -> NDArray[Any]:
    """Halve labels, classes or a mask along some axes by the most frequent value of each cell.

    Parameters
    ----------
    x : array of integers or booleans, 1 to 4 axes
    axes : as for `mean2`

    Returns
    -------
    level : same dtype, ceil(n / 2) voxels along each halved axis. Of equally frequent values the smallest.

    Raises
    ------
    ParameterError : real numbers, more than 4 axes, or axes that are not there, given twice or more than 3.

    Notes
    -----
    Cells of one value, nearly all of them, are found and written in a vector loop; the others are counted.

    Examples
    --------
    >>> mode2(np.array([[7, 7, 0], [7, 2, 5], [4, 3, 9]], np.uint32))
    array([[7, 0],
           [3, 9]], dtype=uint32)
    """
    if x.dtype.kind not in "iub":
        raise ParameterError(f"a mode needs labels or classes, that is integers or booleans; got {x.dtype}")
    if x.dtype.kind == "b":
        return mode2(x.view(np.uint8), axes).view(np.bool_)
    return _reduce(_mode, x, axes, x.dtype.type)


def _reduce(
    kernel: Callable[..., None], x: NDArray[Any], axes: Sequence[int] | None, work: type[np.generic]
) -> NDArray[Any]:
    """Run a kernel on 3-D volumes (z, y, x) with a factor of 1 or 2 an axis, one volume a channel."""
    if not 1 <= x.ndim <= 4:
        raise ParameterError(f"a pyramid level needs an image of 1 to 4 axes; got shape {x.shape}")
    halved = range(x.ndim)[-3:] if axes is None else [axis + x.ndim if axis < 0 else axis for axis in axes]
    if len(set(halved)) != len(halved) or not set(halved) <= set(range(x.ndim)) or len(halved) > 3:
        raise ParameterError(f"axes must be up to three different axes of an image of {x.ndim}; got {axes}")
    if x.ndim == 4 and 0 in halved:
        # The kernels take three axes; one that stays goes first.
        stays = min(set(range(4)) - set(halved))
        turned = [axis + 1 if axis < stays else axis for axis in halved]
        return np.moveaxis(_reduce(kernel, np.moveaxis(x, stays, 0), turned, work), 0, stays)
    factors = [2 if axis in halved else 1 for axis in range(x.ndim)]
    shape = tuple(-(-n // f) for n, f in zip(x.shape, factors, strict=True))
    native = np.ascontiguousarray(x, x.dtype.newbyteorder("="))
    out = np.empty(shape, native.dtype)
    if out.size:
        fz, fy, fx = [1, 1, *factors][-3:]
        for source, target in zip(_volumes(native), _volumes(out), strict=True):
            kernel(source, target, fz, fy, fx, np.empty(target.shape[2], work))
    return out.astype(x.dtype, copy=False)


def _volumes(x: NDArray[Any]) -> NDArray[Any]:
    """View of an array of 1 to 4 axes as (channel, z, y, x)."""
    return x.reshape((1,) * (4 - x.ndim) + x.shape)


@njit(nogil=True, cache=True)
def _add_row(row, fx, total):  # type: ignore[no-untyped-def]
    if fx == 1:
        for i in range(row.size):
            total[i] += row[i]
        return
    for i in range(row.size // 2):
        total[i] = total[i] + row[2 * i] + row[2 * i + 1]
    if row.size % 2:
        total[-1] += row[-1]


@njit(nogil=True, cache=True)
def _mean_narrow(x, out, fz, fy, fx, total):  # type: ignore[no-untyped-def]
    # Cells hold 1, 2, 4 or 8 voxels, so the division is a shift, which rounds down for negative sums too.
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            total[:] = 0
            cell = x[fz * z : fz * z + fz, fy * y : fy * y + fy]
            for dz in range(cell.shape[0]):
                for dy in range(cell.shape[1]):
                    _add_row(cell[dz, dy], fx, total)
            rows = cell.shape[0] * cell.shape[1]
            shift = np.int32((rows > 1) + (rows > 2) + (fx > 1))
            half = np.int32(1 << shift >> 1)
            line = out[z, y]
            for i in range(line.size):
                line[i] = (total[i] + half) >> shift
            if fx * line.size > cell.shape[2]:
                line[-1] = (total[-1] + (half >> 1)) >> (shift - 1)


@njit(nogil=True, cache=True)
def _mean_real(x, out, fz, fy, fx, total):  # type: ignore[no-untyped-def]
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            total[:] = 0
            cell = x[fz * z : fz * z + fz, fy * y : fy * y + fy]
            for dz in range(cell.shape[0]):
                for dy in range(cell.shape[1]):
                    _add_row(cell[dz, dy], fx, total)
            # A power of two: multiplying by it rounds as the division does.
            share = 1.0 / (cell.shape[0] * cell.shape[1] * fx)
            line = out[z, y]
            for i in range(line.size):
                line[i] = total[i] * share
            if fx * line.size > cell.shape[2]:
                line[-1] = total[-1] * (2.0 * share)


@njit(nogil=True, cache=True)
def _mean_wide(x, out, fz, fy, fx, total):  # type: ignore[no-untyped-def]
    # Eight values of 64 bits overflow: add quotients and remainders of the division apart.
    kind = out.dtype.type
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for i in range(out.shape[2]):
                cell = x[fz * z : fz * z + fz, fy * y : fy * y + fy, fx * i : fx * i + fx]
                shift = kind((cell.size > 1) + (cell.size > 2) + (cell.size > 4))
                quotients, rest = kind(0), kind(cell.size // 2)
                for dz in range(cell.shape[0]):
                    for dy in range(cell.shape[1]):
                        for dx in range(cell.shape[2]):
                            value = cell[dz, dy, dx]
                            quotients += value >> shift
                            rest += value & kind(cell.size - 1)
                out[z, y, i] = quotients + (rest >> shift)


@njit(nogil=True, cache=True)
def _mode(x, out, fz, fy, fx, differs):  # type: ignore[no-untyped-def]
    values = np.empty(8, x.dtype)
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            cell = x[fz * z : fz * z + fz, fy * y : fy * y + fy]
            line = out[z, y]
            pairs = cell.shape[2] // fx
            first = cell[0, 0]
            for i in range(line.size):
                line[i] = first[fx * i]
                differs[i] = 0
            for dz in range(cell.shape[0]):
                for dy in range(cell.shape[1]):
                    row = cell[dz, dy]
                    for i in range(pairs):
                        differs[i] |= (row[fx * i] ^ line[i]) | (row[fx * i + fx - 1] ^ line[i])
                    if pairs < line.size:
                        differs[-1] |= row[-1] ^ line[-1]
            for i in range(line.size):
                if differs[i]:
                    line[i] = _most_frequent(cell[:, :, fx * i : fx * i + fx], values)


@njit(nogil=True, cache=True)
def _most_frequent(cell, values):  # type: ignore[no-untyped-def]
    count = 0
    for dz in range(cell.shape[0]):
        for dy in range(cell.shape[1]):
            for dx in range(cell.shape[2]):
                value = cell[dz, dy, dx]
                place = count
                while place > 0 and values[place - 1] > value:
                    values[place] = values[place - 1]
                    place -= 1
                values[place] = value
                count += 1
    # Sorted: equal values form runs, and the first of the longest runs has the smallest value.
    best, longest, run = values[0], 1, 1
    for k in range(1, count):
        run = run + 1 if values[k] == values[k - 1] else 1
        if run > longest:
            best, longest = values[k], run
    return best
