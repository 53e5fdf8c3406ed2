"""Exponentials for loops over voxels, made of additions, multiplications and shifts alone.

The exponential of a vector library may differ in the last bit from the one it uses for the rest of a row, and
from one kind of CPU to the next. These give the same bits in every lane of every machine.
"""

from __future__ import annotations

from math import factorial, log

import numpy as np
from numba import njit

LARGEST = np.float32(126)
"""The greatest argument of `power_of_half`: its result is the least normal float32."""
FURTHEST = np.float32(80)
"""The greatest argument of `rough_exponential`."""

_LOWEST = -708.0  # what lies below gives less than the least normal float64
_TURNS, _HIGH, _LOW = 1 / log(2), 0.693147180369123816490, 1.90821492927058770002e-10  # log 2 in two parts
_TERMS = tuple(1 / factorial(k) for k in range(13, -1, -1))

_HALF, _BIAS = np.float32(0.5), np.int32(127)
_C0, _C1, _C2, _C3, _C4, _C5, _C6 = (np.float32((-log(2)) ** k / factorial(k)) for k in range(7))
_SLOPE = np.float32((1 << 23) / log(2))
_BASE = np.int32((127 << 23) - 8 * 60801)  # the shift for the least root mean square error


@njit(nogil=True, cache=True)
def power_of_half(u: np.float32) -> np.float32:
    """``2 ** -u`` for a float32 u from 0 to `LARGEST`, within 3e-7 of itself.

    The exponent is u rounded, the rest, at most a half, goes through Taylor's polynomial of degree 6.

    >>> round(power_of_half(np.float32(1.5)), 6)
    0.353553
    """
    whole = np.int32(u + _HALF)
    rest = u - np.float32(whole)
    value = _C6 * rest + _C5
    value = value * rest + _C4
    value = value * rest + _C3
    value = value * rest + _C2
    value = value * rest + _C1
    value = value * rest + _C0
    return value * np.int32((_BIAS - whole) << 23).view(np.float32)


@njit(nogil=True, cache=True)
def rough_exponential(d: np.float32) -> np.float32:
    """``exp(-d)`` for a float32 d from 0 to `FURTHEST`, within 4 % of itself and 2 % on the whole.

    The bits of a real number are nearly the logarithm of its value, so a line in d gives the bits (N. N.
    Schraudolph, A fast, compact approximation of the exponential function, Neural Computation 11, 1999).

    >>> round(rough_exponential(np.float32(0)), 4)
    0.971
    """
    return np.int32(_BASE - np.int32(_SLOPE * d)).view(np.float32)


@njit(nogil=True, cache=True)
def exponential(x: float) -> float:
    """``exp(x)`` for a float64 x up to 0, within 1e-15 of itself; 0 below -708.

    The exponent is x in units of log 2, rounded; the rest goes through Taylor's polynomial of degree 13.

    >>> exponential(-1.0), exponential(0.0), exponential(-800.0)
    (0.36787944117144233, 1.0, 0.0)
    """
    if not x >= _LOWEST:
        return 0.0
    whole = np.floor(x * _TURNS + 0.5)
    rest = (x - whole * _HIGH) - whole * _LOW
    value = 0.0
    for term in _TERMS:
        value = value * rest + term
    return value * np.int64((1023 + np.int64(whole)) << 52).view(np.float64)
