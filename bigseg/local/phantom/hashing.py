"""Chance without a generator: every number is a hash of a seed and of what it is drawn for.

So it is the same wherever a block begins, and in whatever order blocks are computed. Three kinds of draws:

1. for an object, from its cell: 64 bits and ever more of them (`cell_key`, `draw`, `uniform`);
2. for a voxel, from its place: 32 bits, a row at a time (`row_keys`, `fill_bits`);
3. for a place on a smooth curve or surface: B-splines through drawn values (`wave`, `spline`).

The 64-bit mixer is the finaliser of splitmix64 (Steele, Lea, Flood 2014). The row's mixer is a 32-bit
multiply-shift hash in two rounds (multipliers of C. Wellons, lowbias32), with half of the row's key before
each: rows are independent of each other, not the same sequence shifted. 32-bit products fill vectors twice
as wide as 64-bit ones.
"""

from __future__ import annotations

from math import floor

import numpy as np
from numba import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_A = np.uint64(0xBF58476D1CE4E5B9)
_B = np.uint64(0x94D049BB133111EB)
_C = np.uint64(0xD6E8FEB86659FD93)
_D = np.uint64(0xA0761D6478BD642F)
_HALF = np.uint64(32)
_MULTIPLY_FIRST = np.uint32(0x7FEB352D)
_MULTIPLY_SECOND = np.uint32(0x846CA68B)


@njit(nogil=True, cache=True)
def mix(h):  # type: ignore[no-untyped-def]
    """Mix 64 bits so that each depends on all."""
    h = np.uint64(h)
    h = (h ^ (h >> np.uint64(30))) * _A
    h = (h ^ (h >> np.uint64(27))) * _B
    return h ^ (h >> np.uint64(31))


@njit(nogil=True, cache=True)
def cell_key(seed, stream, z, y, x):  # type: ignore[no-untyped-def]
    """The key of a cell; a stream is what is drawn for. Coordinates may be negative."""
    h = mix(np.uint64(seed) + GOLDEN * (np.uint64(stream) + np.uint64(1)))
    h = mix(h ^ (np.uint64(z) * _C))
    h = mix(h ^ (np.uint64(y) * _D))
    return mix(h ^ (np.uint64(x) * GOLDEN))


@njit(nogil=True, cache=True)
def draw(key, number):  # type: ignore[no-untyped-def]
    """The number-th 64 bits of a key."""
    return mix(np.uint64(key) + GOLDEN * (np.uint64(number) + np.uint64(1)))


@njit(nogil=True, cache=True)
def uniform(key, number):  # type: ignore[no-untyped-def]
    """The number-th real number of a key, 0 <= u < 1."""
    return np.float64(draw(key, number) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(nogil=True, cache=True)
def either(key, number):  # type: ignore[no-untyped-def]
    """The number-th real number of a key, -1 <= u < 1."""
    return 2.0 * uniform(key, number) - 1.0


@njit(nogil=True, cache=True)
def row_keys(seed, stream, z, y):  # type: ignore[no-untyped-def]
    """Two 32-bit keys of a row of voxels."""
    h = cell_key(seed, stream, z, y, 0)
    return np.uint32(h >> _HALF), np.uint32(h)


@njit(nogil=True, cache=True)
def fill_bits(bits, first, high, low):  # type: ignore[no-untyped-def]
    """Fill bits (uint32) with the hashes of the voxels from x = first on of the row with these keys."""
    start = np.uint32(first)
    for i in range(bits.size):
        h = np.uint32(np.uint32(start + np.uint32(i)) + high)
        h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(16))) * _MULTIPLY_FIRST)
        h = np.uint32(h ^ low)
        h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(15))) * _MULTIPLY_SECOND)
        bits[i] = np.uint32(h ^ np.uint32(h >> np.uint32(16)))


@njit(nogil=True, cache=True)
def weights(t):  # type: ignore[no-untyped-def]
    """The four weights of a uniform cubic B-spline at 0 <= t < 1 between the middle two knots."""
    s = 1.0 - t
    a = s * s * s / 6.0
    d = t * t * t / 6.0
    b = (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0
    return a, b, 1.0 - a - b - d, d


@njit(nogil=True, cache=True)
def wave(key, place):  # type: ignore[no-untyped-def]
    """A smooth random function of a real place: a B-spline through a drawn value at every integer, within +-1."""
    knot = floor(place)
    a, b, c, d = weights(place - knot)
    whole = np.int64(knot)
    return (
        a * either(key, np.uint64(whole - 1))
        + b * either(key, np.uint64(whole))
        + c * either(key, np.uint64(whole + 1))
        + d * either(key, np.uint64(whole + 2))
    )
