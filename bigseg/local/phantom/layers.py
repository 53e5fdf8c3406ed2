"""A stack of wavy layers: below each boundary, a smooth random surface, lies the next layer.

Boundary k is at ``z = k * thickness + jitter(k) + swell(y, x) + ripple(k, y, x)``. The swell is common to all, the
others are small enough that boundaries never meet. Surfaces are B-splines through drawn values on a square
lattice: a box needs the knots around it.
"""

from __future__ import annotations

from math import floor

import numpy as np
from numba import njit

from bigseg.local.phantom.hashing import cell_key, either, weights

JITTER, RIPPLE = 0.2, 0.2  # of the thickness: two boundaries come no nearer than 0.2 of it
_SWELL, _EDGE = 0, 1  # streams of hashes


@njit(nogil=True, cache=True)
def _surface(out, seed, stream, number, y0, x0, length, height):  # type: ignore[no-untyped-def]
    """Add ``height`` times a smooth random surface to out (float64, y and x)."""
    rows, columns = out.shape
    left = floor(x0 / length) - 1
    knots = np.empty(floor((x0 + columns - 1) / length) + 3 - left)
    values = np.empty((4, knots.size))
    known = np.int64(0)
    for j in range(rows):
        place = (y0 + j) / length
        below = floor(place)
        if j == 0 or below != known:
            known = below
            for r in range(4):
                for k in range(knots.size):
                    key = cell_key(seed, stream, number, below - 1 + r, left + k)
                    values[r, k] = height * either(key, 0)
        a, b, c, d = weights(place - below)
        for k in range(knots.size):
            knots[k] = a * values[0, k] + b * values[1, k] + c * values[2, k] + d * values[3, k]
        for i in range(columns):
            place = (x0 + i) / length
            below_x = floor(place)
            a, b, c, d = weights(place - below_x)
            k = int(below_x) - 1 - left
            out[j, i] += a * knots[k] + b * knots[k + 1] + c * knots[k + 2] + d * knots[k + 3]


@njit(nogil=True, cache=True)
def paint_layers(out, start, seed, thickness, swell, length, classes, base):  # type: ignore[no-untyped-def]
    """Fill out with the class of each voxel's layer, or its number from base on where classes is 0."""
    planes, rows, columns = out.shape
    common = np.zeros((rows, columns))
    _surface(common, seed, _SWELL, 0, start[1], start[2], length, swell)
    spread = (JITTER + RIPPLE) * thickness
    first = floor((start[0] - common.max() - spread) / thickness) - 1
    last = floor((start[0] + planes - 1 - common.min() + spread) / thickness) + 1
    height = np.empty((rows, columns))
    top = np.empty((rows, columns), np.int32)
    for number in range(first, last + 1):
        for j in range(rows):
            for i in range(columns):
                height[j, i] = common[j, i]
        _surface(height, seed, _EDGE, number, start[1], start[2], length, RIPPLE * thickness)
        jitter = JITTER * thickness * either(cell_key(seed, _EDGE, number, 0, 0), 1)
        for j in range(rows):
            for i in range(columns):
                top[j, i] = np.int32(np.int64(np.ceil(number * thickness + jitter + height[j, i])) - start[0])
        value = np.uint64(number % classes) if classes else np.uint64(number - base)
        _cover(out, top, int(np.ceil(thickness + 2.0 * spread)), value)


@njit(nogil=True, cache=True)
def _cover(out, top, reach, value):  # type: ignore[no-untyped-def]
    """Fill from the top down as far as the next boundary may be away: what lies below it is filled over."""
    planes, rows, columns = out.shape
    highest, lowest = top.min(), top.max()
    new = out.dtype.type(value)
    for k in range(max(0, highest), min(planes, lowest + reach + 1)):
        for j in range(rows):
            line, edge = out[k, j], top[j]
            for i in range(columns):
                line[i] = new if k >= edge[i] else line[i]


def layer_range(shape: tuple[int, int, int], thickness: float, swell: float) -> tuple[int, int]:
    """Before the first number of a layer that a volume can hold, and how many it can hold.

    >>> layer_range((100, 50, 50), 20.0, 10.0)
    (-3, 9)
    """
    spread = (JITTER + RIPPLE) * thickness + swell
    first = floor(-spread / thickness) - 1
    last = floor((shape[0] - 1 + spread) / thickness) + 1
    return first - 1, last - first + 1
