"""Reading an image at other places than its voxels' centres: linear between neighbours, or the nearest voxel.

Axes are cells that lie edge to edge. A new voxel of ``ratio`` old ones has its centre at
``(i + 0.5) * ratio - 0.5`` in old voxels, whatever block it is computed in, so that blocks agree bit for bit::

    old   |  0  |  1  |  2  |  3  |  4  |          ratio 2.5
    new   |      0       |      1       |          centres at 0.75 and 3.25
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


class Between(NamedTuple):
    """For new voxels of an axis: the old ones before and behind each centre, and how far it is on the way."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: NDArray[np.float64]


def new_length(n: int, ratio: float) -> int:
    """How many new voxels cover an axis of n: rounded, at least one.

    >>> new_length(101, 2.5), new_length(3, 10), new_length(7, 0.5)
    (40, 1, 14)
    """
    return max(1, floor(n / ratio + 0.5))


def between(start: int, stop: int, ratio: float, n: int) -> Between:
    """Between which of n old voxels the new voxels from start to stop lie; beyond the ends, at the last one.

    >>> between(0, 2, 2.5, 5).low, between(0, 2, 2.5, 5).weight
    (array([0, 3]), array([0.75, 0.25]))
    """
    centre = np.clip((np.arange(start, stop) + 0.5) * ratio - 0.5, 0.0, n - 1.0)
    low = np.floor(centre).astype(np.int64)
    return Between(low, np.minimum(low + 1, n - 1), centre - low)


def nearest(start: int, stop: int, ratio: float, n: int) -> NDArray[np.int64]:
    """In which of n old voxels the centres of the new voxels from start to stop lie; on an edge, behind it.

    >>> nearest(0, 2, 2.5, 5), nearest(0, 2, 2.0, 4)
    (array([1, 3]), array([1, 3]))
    """
    place = np.floor((np.arange(start, stop) + 0.5) * ratio).astype(np.int64)
    return np.asarray(np.minimum(place, n - 1))


def span(start: int, stop: int, ratio: float, n: int, linear: bool) -> tuple[int, int]:
    """The stretch of n old voxels that the new voxels from start to stop are made of.

    >>> span(0, 1, 2.5, 5, True), span(0, 1, 2.5, 5, False)
    ((0, 2), (1, 2))
    """
    first, last = (start + 0.5) * ratio, (stop - 1 + 0.5) * ratio
    if not linear:
        return min(floor(first), n - 1), min(floor(last), n - 1) + 1
    low = floor(min(max(first - 0.5, 0.0), n - 1.0))
    high = floor(min(max(last - 0.5, 0.0), n - 1.0)) + 1
    return low, min(high, n - 1) + 1


def interpolate(x: Array, places: Sequence[Between], out: Array) -> None:
    """Linear interpolation along every axis: first between planes' rows, then rows, then along them.

    Parameters
    ----------
    x : array of 1 to 3 axes, integers or floats.
    places : for each axis where in x the new voxels lie.
    out : array of the new shape, written; integers are rounded half up. Computed in float64.

    Notes
    -----
    Equal to scipy.ndimage.map_coordinates with order 1 and mode 'nearest'. A line of x is mixed from four, along
    which it then is interpolated: 2 to 4 ns a new voxel on one core, 10 x scipy.ndimage.zoom.

    Examples
    --------
    >>> new = np.empty(2)
    >>> interpolate(np.array([0, 1, 2, 3, 9]), [between(0, 2, 2.5, 5)], new)
    >>> new
    array([0.75, 4.5 ])
    """
    if x.dtype == np.float16:
        wide = np.empty(out.shape, np.float32)
        interpolate(x.astype(np.float32), places, wide)
        out[...] = wide
        return
    here = Between(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1))
    z, y, x_ = [here] * (3 - x.ndim) + list(places)
    lead = (1,) * (3 - x.ndim)
    source = np.ascontiguousarray(x).reshape(lead + x.shape)
    line = np.empty(source.shape[2], np.float64)
    _mix(source, *z, *y, *x_, line, out.dtype.kind in "iu", out.reshape(lead + out.shape))


def pick(x: Array, places: Sequence[NDArray[np.int64]], out: Array) -> None:
    """The voxels of x at the places given for each axis.

    >>> new = np.empty(2, int)
    >>> pick(np.array([5, 6, 7, 8]), [np.array([1, 3])], new)
    >>> new
    array([6, 8])
    """
    for axis, index in enumerate(places[:-1]):
        x = np.take(x, index, axis)
    np.take(x, places[-1], x.ndim - 1, out, mode="clip")  # the mode that does not copy the result


@njit(nogil=True, cache=True)
def _mix(x, z0, z1, zw, y0, y1, yw, x0, x1, xw, line, whole, out):  # type: ignore[no-untyped-def]
    for k in range(z0.size):
        for j in range(y0.size):
            a, b = x[z0[k], y0[j]], x[z0[k], y1[j]]
            c, d = x[z1[k], y0[j]], x[z1[k], y1[j]]
            for i in range(line.size):
                p, q = np.float64(a[i]), np.float64(c[i])
                p = p + yw[j] * (np.float64(b[i]) - p)
                q = q + yw[j] * (np.float64(d[i]) - q)
                line[i] = p + zw[k] * (q - p)
            for i in range(x0.size):
                p = line[x0[i]]
                v = p + xw[i] * (line[x1[i]] - p)
                if whole:
                    v = np.floor(v + 0.5)
                out[k, j, i] = v
