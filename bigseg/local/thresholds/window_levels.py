"""Thresholds for rows of voxels from sums over windows: running sums of integers, trees of sums of real numbers.

8 and 16-bit integers: window sums are int64 and exact, so they may run, and time does not grow with the window::

    columns of z   + the plane that comes, - the plane that goes
    rows of y      + the row that comes, - the row that goes
    x              differences of running totals

Other dtypes: sums of float64, which may not run, as then they would depend on where the block starts. Along z
they are added voxel by voxel; along y and x windows of 2, 4, 8 … voxels are added up from those of half the
length, and the window put together from those of the bits of its width: the same tree of sums for each voxel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Rule(NamedTuple):
    """A threshold from mean m and standard deviation s.

    r: 0 for ``m - k s``, else ``m (1 + k (s / r - 1))``; offset is taken off; k = 0 gives the mean for r = 0.
    """

    k: float
    r: float = 0.0
    offset: float = 0.0


class IntegerRoom(NamedTuple):
    """Sums, each of voxels and of their squares: over z for a plane, over y for a row, running along x."""

    columns: NDArray[np.int64]
    row: NDArray[np.int64]
    totals: NDArray[np.int64]


def integer_room(y_reads: int, x_reads: int, line: int) -> IntegerRoom:
    """Room for what is read along y and x, and for a line with its margins; sums begin at 0."""
    return IntegerRoom(
        np.zeros((2, y_reads, x_reads), np.int64), np.zeros((2, x_reads), np.int64), np.zeros((2, line + 1), np.int64)
    )


class RealRoom(NamedTuple):
    """Sums, each of voxels and of their squares: over z with margins along y, over y, and two lines of x."""

    columns: NDArray[np.float64]
    rows: NDArray[np.float64]
    lines: NDArray[np.float64]


def real_room(height: int, y_positions: int, x_reads: int, line: int) -> RealRoom:
    """Room for rows with their margins, rows that are wanted, and lines with their margins."""
    return RealRoom(np.empty((2, y_positions, x_reads)), np.empty((2, height, x_reads)), np.empty((6, line)))


@njit(nogil=True, cache=True, error_model="numpy")
def integer_levels(rows, z, y, x, size, rule, sign, at, room, level, mask, levels):  # type: ignore[no-untyped-def]
    """Fill the mask (sign 1: voxels above, -1: below) or the levels (sign 0) of a volume of 8 or 16-bit integers.

    rows, z, y, x: what is read (`bigseg.local.filters.reflect`); size: of the window; at: where the first voxel wanted
    lies.
    """
    planes, height = z.voxels.size - size[0] + 1, y.voxels.size - size[1] + 1
    for k in range(planes + size[0] - 1):
        _exchange(rows, z, y, x, k, size[0], room.columns)
        if k >= size[0] - 1:
            for i in range(room.row.shape[1]):
                room.row[0, i] = 0
                room.row[1, i] = 0
            for j in range(height + size[1] - 1):
                come = y.voxels[j] - y.start
                go = y.voxels[max(0, j - size[1])] - y.start
                for c in range(2):
                    _run(room.row[c], room.columns[c, come], room.columns[c, go], j >= size[1])
                if j >= size[1] - 1:
                    first = j - size[1] + 1
                    for c in range(2):
                        _totals(room.totals[c], room.row[c], x)
                    _levels(level, room.totals, size[2], size[0] * size[1] * size[2], rule)
                    plane = k - size[0] + 1
                    base = (at[0] + plane) * rows.plane + (at[1] + first) * rows.row + at[2]
                    _store(rows.flat[base : base + level.size], level, sign, mask, levels, plane, first)


@njit(nogil=True, cache=True, error_model="numpy")
def _exchange(rows, z, y, x, k, size, columns):  # type: ignore[no-untyped-def]
    """Add plane k of those read to the columns, and take off the one that leaves the window."""
    n = columns.shape[2]
    for j in range(columns.shape[1]):
        sums, squares = columns[0, j], columns[1, j]
        base = z.voxels[k] * rows.plane + (y.start + j) * rows.row + x.start
        come = rows.flat[base : base + n]
        if k < size:
            for i in range(n):
                a = np.int64(come[i])
                sums[i] += a
                squares[i] += a * a
        else:
            base = z.voxels[k - size] * rows.plane + (y.start + j) * rows.row + x.start
            go = rows.flat[base : base + n]
            for i in range(n):
                a, b = np.int64(come[i]), np.int64(go[i])
                sums[i] += a - b
                squares[i] += a * a - b * b


@njit(nogil=True, cache=True, error_model="numpy")
def _run(row, come, go, full):  # type: ignore[no-untyped-def]
    if full:
        for i in range(row.size):
            row[i] += come[i] - go[i]
    else:
        for i in range(row.size):
            row[i] += come[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _totals(totals, row, x):  # type: ignore[no-untyped-def]
    """Running totals along x; that they wrap round does not change their differences."""
    total = totals[0]
    for i in range(x.voxels.size):
        total += row[x.voxels[i] - x.start]
        totals[i + 1] = total


@njit(nogil=True, cache=True, error_model="numpy")
def _levels(level, totals, width, count, rule):  # type: ignore[no-untyped-def]
    n = level.size
    voxels = np.float64(count)
    a, b = totals[0, :n], totals[0, width : width + n]
    c, d = totals[1, :n], totals[1, width : width + n]
    for i in range(n):
        mean = np.float64(b[i] - a[i]) / voxels
        variance = np.float64(d[i] - c[i]) / voxels - mean * mean
        level[i] = _level(mean, variance, rule)


@njit(nogil=True, cache=True, error_model="numpy")
def _level(mean, variance, rule):  # type: ignore[no-untyped-def]
    std = np.sqrt(variance if variance > 0.0 else 0.0)
    if rule.r > 0.0:
        return mean * (1.0 + rule.k * (std / rule.r - 1.0)) - rule.offset
    return mean - rule.k * std - rule.offset


@njit(nogil=True, cache=True, error_model="numpy")
def _store(x, level, sign, mask, levels, k, j):  # type: ignore[no-untyped-def]
    if sign > 0:
        row = mask[k, j]
        for i in range(level.size):
            row[i] = np.float64(x[i]) > level[i]
    elif sign < 0:
        row = mask[k, j]
        for i in range(level.size):
            row[i] = np.float64(x[i]) < level[i]
    else:
        out = levels[k, j]
        for i in range(level.size):
            out[i] = level[i]


@njit(nogil=True, cache=True, error_model="numpy")
def real_levels(rows, z, y, x, size, rule, sign, at, room, level, mask, levels):  # type: ignore[no-untyped-def]
    """Fill the mask (sign 1: voxels above, -1: below) or the levels (sign 0) of a volume of any other dtype.

    rows, z, y, x: what is read (`bigseg.local.filters.reflect`); size: of the window; at: where the first voxel wanted
    lies.
    """
    planes, height = z.voxels.size - size[0] + 1, y.voxels.size - size[1] + 1
    line = x.voxels.size
    voxels = np.float64(size[0] * size[1] * size[2])
    for k in range(planes):
        for j in range(y.voxels.size):
            base = y.voxels[j] * rows.row + x.start
            _add_columns(room.columns[0, j], room.columns[1, j], rows, base, z.voxels[k : k + size[0]])
        for c in range(2):
            _add_rows(room.rows[c], room.columns[c], size[1])
        for j in range(height):
            for c in range(2):
                for i in range(line):
                    room.lines[c, i] = room.rows[c, j, x.voxels[i] - x.start]
                _add_line(room.lines[c + 4], room.lines[c], room.lines[c + 2], size[2])
            sums, squares = room.lines[4], room.lines[5]
            for i in range(level.size):
                mean = sums[i] / voxels
                level[i] = _level(mean, squares[i] / voxels - mean * mean, rule)
            base = (at[0] + k) * rows.plane + (at[1] + j) * rows.row + at[2]
            _store(rows.flat[base : base + level.size], level, sign, mask, levels, k, j)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_columns(sums, squares, rows, base, planes):  # type: ignore[no-untyped-def]
    n = sums.size
    start = planes[0] * rows.plane + base
    row = rows.flat[start : start + n]
    for i in range(n):
        a = np.float64(row[i])
        sums[i] = a
        squares[i] = a * a
    # An odd window leaves pairs: half as many loads and stores of the sums as row by row.
    for d in range(1, planes.size - 1, 2):
        start = planes[d] * rows.plane + base
        row = rows.flat[start : start + n]
        start = planes[d + 1] * rows.plane + base
        next_ = rows.flat[start : start + n]
        for i in range(n):
            a, b = np.float64(row[i]), np.float64(next_[i])
            sums[i] = sums[i] + a + b
            squares[i] = squares[i] + a * a + b * b


@njit(nogil=True, cache=True, error_model="numpy")
def _add_rows(dst, src, width):  # type: ignore[no-untyped-def]
    """Fill dst with sums of ``width`` rows of src, which is used up: it holds sums of 1, 2, 4 … rows in turn."""
    step, done = 1, 0
    while step <= width:
        if width & step:
            for j in range(len(dst)):
                to, part = dst[j], src[j + done]
                if done:
                    for i in range(to.size):
                        to[i] += part[i]
                else:
                    for i in range(to.size):
                        to[i] = part[i]
            done += step
        if 2 * step <= width:
            for j in range(len(src) - 2 * step + 1):
                to, part = src[j], src[j + step]
                for i in range(to.size):
                    to[i] += part[i]
        step *= 2


@njit(nogil=True, cache=True, error_model="numpy")
def _add_line(dst, src, other, width):  # type: ignore[no-untyped-def]
    """As `_add_rows` for the voxels of a line; src and other hold sums of 1, 2, 4 … voxels in turn."""
    n = src.size - width + 1
    step, done = 1, 0
    while step <= width:
        if width & step:
            part = src[done : done + n]
            if done:
                for i in range(n):
                    dst[i] += part[i]
            else:
                for i in range(n):
                    dst[i] = part[i]
            done += step
        if 2 * step <= width:
            shifted = src[step:]
            for i in range(src.size - 2 * step + 1):
                other[i] = src[i] + shifted[i]
            src, other = other, src
        step *= 2
