"""Nearest labels where voxels are 1 apart along every axis: one unsigned integer a voxel, not a float and a label.

A key is the square of the distance, a whole number, above the bits of the label. The least key is the nearest label,
of several the smaller, so a comparison is one ``min`` of 16, 32 or 64 bits, which is five times faster. Where no label
is near enough the square is one more than the greatest that counts.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
from numba import njit

from bigseg.local.filters.reflect import Array

_WIDER: dict[int, tuple[type[np.unsignedinteger[Any]], ...]] = {
    1: (np.uint16, np.uint32),
    2: (np.uint32, np.uint64),
    4: (np.uint64,),
}
"""Dtypes that keys may have, by bytes of a label."""


def key_dtype(dtype: np.dtype[Any], reach: tuple[int, ...], distance: float) -> type[np.unsignedinteger[Any]] | None:
    """What holds the keys of labels of a dtype; None where nothing does, or labels may be negative.

    >>> key_dtype(np.dtype("u1"), (4, 4, 4), 4.0).__name__, key_dtype(np.dtype("i4"), (4, 4, 4), 4.0)
    ('uint16', None)
    """
    most = _greatest_square(distance) + 1 + 3 * max(reach) ** 2
    for kind in _WIDER.get(dtype.itemsize, ()) if dtype.kind == "u" else ():
        if most < 1 << 8 * (np.dtype(kind).itemsize - dtype.itemsize):
            return kind
    return None


def nearest_by_keys(
    volume: Array, places: tuple[int, ...], reach: tuple[int, ...], distance: float, kind: Any, out: Array
) -> None:
    """Fill ``out`` with the nearest label of each voxel, 0 where none is within a distance.

    Parameters
    ----------
    volume : unsigned labels of three axes.
    places, reach : where in it ``out`` begins, and how many voxels a label may be away along each axis.
    distance : greatest distance, in voxels.
    kind : from `key_dtype`.
    out : of volume's dtype.
    """
    bits = 8 * volume.dtype.itemsize
    _, height, width = out.shape
    rows = min(height + 2 * reach[1], volume.shape[1])
    ring = np.empty((min(2 * reach[0] + 1, volume.shape[0]), height, width), kind)
    lines, best, padded = np.empty((rows, width), kind), np.empty(width, kind), np.empty(width + 2 * reach[2], kind)
    squares = np.array([d * d << bits for d in range(max(reach) + 1)], kind)
    greatest = _greatest_square(distance)
    ends = np.array([(greatest + 1) << bits], kind)
    _nearest(volume, places, reach, squares, ends, ring, lines, best, padded, out)


def _greatest_square(distance: float) -> int:
    """The greatest square of a distance that is no further, by the root that is compared with it.

    >>> _greatest_square(2.0), _greatest_square(1.5)
    (4, 2)
    """
    found = isqrt(int(distance)) ** 2 if distance < 1 else int(distance * distance) + 2
    while np.sqrt(float(found)) > distance:
        found -= 1
    return found


@njit(nogil=True, cache=True)
def _nearest(volume, start, reach, squares, ends, ring, lines, best, padded, out):  # type: ignore[no-untyped-def]
    nz = volume.shape[0]
    slots = ring.shape[0]
    depth, height, width = out.shape
    nothing = ends[0]
    following = max(0, start[0] - reach[0])
    for k in range(depth):
        z = start[0] + k
        while following < min(nz, z + reach[0] + 1):
            _plane(volume[following], start, reach, squares, nothing, lines, padded, ring[following % slots])
            following += 1
        for j in range(height):
            middle = ring[z % slots, j]
            for i in range(width):
                best[i] = middle[i]
            for d in range(1, reach[0] + 1):
                if z - d >= 0:
                    _closer(best, ring[(z - d) % slots, j], squares[d])
                if z + d < nz:
                    _closer(best, ring[(z + d) % slots, j], squares[d])
            chosen = out[k, j]
            for i in range(width):
                chosen[i] = best[i] if best[i] < nothing else 0  # its lower bits


@njit(nogil=True, cache=True)
def _plane(plane, start, reach, squares, nothing, lines, padded, found):  # type: ignore[no-untyped-def]
    """The least key within a plane for each voxel that is wanted."""
    ny, nx = plane.shape
    height, width = found.shape
    first, last = max(0, start[1] - reach[1]), min(ny, start[1] + height + reach[1])
    begin, end = max(0, start[2] - reach[2]), min(nx, start[2] + width + reach[2])
    shift = start[2] - reach[2]
    padded[:] = nothing
    for y in range(first, last):
        row, line = plane[y], lines[y - first]
        for x in range(begin, end):
            padded[x - shift] = row[x] if row[x] else nothing
        for i in range(width):
            line[i] = padded[i + reach[2]]
        for d in range(1, reach[2] + 1):
            _closer(line, padded[reach[2] - d :], squares[d])
            _closer(line, padded[reach[2] + d :], squares[d])
    for j in range(height):
        y, best = start[1] + j, found[j]
        line = lines[y - first]
        for i in range(width):
            best[i] = line[i]
        for d in range(1, reach[1] + 1):
            if y - d >= first:
                _closer(best, lines[y - d - first], squares[d])
            if y + d < last:
                _closer(best, lines[y + d - first], squares[d])


@njit(nogil=True, cache=True)
def _closer(best, keys, more):  # type: ignore[no-untyped-def]
    for i in range(best.size):
        away = best.dtype.type(keys[i] + more)
        best[i] = away if away < best[i] else best[i]
