"""Integers of 128 bits, as two or three int64 arrays: exact sums over objects, and the moments that they give.

A wide integer is ``high * 2**32 + low``, or ``top * 2**64 + high * 2**32 + low`` where 95 bits are not enough; only
the first part has a sign, and the others may exceed 2^32, as adding up the parts of many blocks leaves them.

Every moment is computed about a whole number near the mean, in integers, so that a small spread around a large mean
is not lost; only the last steps, on numbers that are small by then, are float64 operations, which IEEE 754 defines to
the bit. So rows give the same bits in any order and on any machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.components.unionfind import split_wide
from bigseg.local.components.words import NONE, ONE, inlined, kernel

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Wide = tuple[Integers, ...]
"""Parts of integers, the highest first: (high, low) or (top, high, low), arrays of one shape (rows,)."""

_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_SIGN = np.uint64(1 << 63)
_TWO_64 = 2.0**64


def times(values: NDArray[Any], factor: int) -> Wide:
    """Products of int64 integers and one factor of less than 2^31 in magnitude.

    >>> high, low = times(np.array([2**62]), -10)
    >>> int(high[0]) * 2**32 + int(low[0]) == -10 * 2**62
    True
    """
    if not abs(factor) < 1 << 31:
        raise ParameterError(f"factor {factor}: expected less than 2^31 in magnitude")
    high, low = split_wide(np.asarray(values))
    low = low * factor
    return high * factor + (low >> 32), low & 0xFFFFFFFF


def total(*parts: Wide) -> Wide:
    """Sum of wide integers; low again below 2^32.

    >>> [int(part[0]) for part in total(split_wide(np.array([2**32 - 1])), split_wide(np.array([2])))]
    [1, 1]
    """
    high, low = parts[0]
    for more in parts[1:]:
        high, low = high + more[0], low + more[1]
    return high + (low >> 32), low & 0xFFFFFFFF


def as_floats(wide: Wide) -> Floats:
    """Wide integers as float64: exact up to 2^53, the nearest up to 2^64, within 2e-16 above.

    >>> as_floats(split_wide(np.array([-5, 2**40]))).tolist()
    [-5.0, 1099511627776.0]
    """
    out = np.empty(len(wide[0]))
    _as_floats(*_halves(wide), out)
    return out


def means(sums: Wide, count: NDArray[Any]) -> Floats:
    """Sums divided by counts, within 2e-16.

    Parameters
    ----------
    sums : of integers; the means have magnitude below 2^62.
    count : of at least 1.

    >>> means(split_wide(np.array([7, -9])), np.array([2, 3])).tolist()
    [3.5, -3.0]
    """
    out = np.empty(len(sums[0]))
    _means(*_halves(sums), np.ascontiguousarray(count, np.int64), out)
    return out


def covariances(sums: Wide, others: Wide, products: Wide, count: NDArray[Any]) -> Floats:
    """Population covariance of two integer quantities over the voxels of each object; with itself, its variance.

    Parameters
    ----------
    sums, others : sums of the two quantities, whose means have magnitude below 2^62.
    products : sums of their products.
    count : of voxels, at least 1.

    Returns
    -------
    float64. A variance is within 1e-15 of itself, however small beside the mean, and 0 for equal values; a
    covariance within 1e-15 of the geometric mean of the variances.

    Notes
    -----
    With whole numbers q and p near the means, and remainders r = sum - q n, the sum of (v - q)(w - p) is
    ``products - q others - p r``, exact in 128 bits; rounding q to the nearest leaves at most half of it to be
    subtracted. About 15 ns a row.

    Examples
    --------
    >>> one, two = split_wide(np.array([6])), split_wide(np.array([14]))
    >>> covariances(one, one, two, np.array([3])).tolist()
    [0.6666666666666666]
    """
    out = np.empty(len(sums[0]))
    _covariances(*_halves(sums), *_halves(others), *_halves(products), np.ascontiguousarray(count, np.int64), out)
    return out


def _halves(wide: Wide) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Left and right 64 of 128 bits, two's complement."""
    *top, high, low = (np.ascontiguousarray(part, np.int64) for part in wide)
    above = high.view(np.uint64) << _HALF
    right = above + low.view(np.uint64)
    left = (high >> 32).view(np.uint64) + (right < above)
    return (left + top[0].view(np.uint64) if top else left), right


@inlined
def _times(left: Any, right: Any, factor: Any) -> Any:
    """128 bits times int64, modulo 2^128."""
    f = np.uint64(factor)
    f0, f1 = f & _LOW, f >> _HALF
    r0, r1 = right & _LOW, right >> _HALF
    low, one, other = r0 * f0, r0 * f1, r1 * f0
    middle = (low >> _HALF) + (one & _LOW) + (other & _LOW)
    high = r1 * f1 + (one >> _HALF) + (other >> _HALF) + (middle >> _HALF)
    high += left * f
    if factor < 0:
        high -= right
    return high, (low & _LOW) | (middle << _HALF)


@inlined
def _minus(left: Any, right: Any, other_left: Any, other_right: Any) -> Any:
    borrow = ONE if right < other_right else NONE
    return left - other_left - borrow, right - other_right


@inlined
def _float(left: Any, right: Any) -> Any:
    """The float64 nearest to 128 bits (twice rounded above 2^64)."""
    sign = 1.0
    if left & _SIGN:
        left, right = _minus(NONE, NONE, left, right)
        sign = -1.0
    if left == NONE:
        return sign * np.float64(right)
    return sign * (np.float64(left) * _TWO_64 + np.float64(right))


@inlined
def _near(left: Any, right: Any, count: Any) -> Any:
    """A whole number q within 1 of the mean, and the remainder ``sum - q count``."""
    q = np.int64(np.rint(_float(left, right) / np.float64(count)))
    product = _times(NONE, np.uint64(count), q)
    rest = _minus(left, right, product[0], product[1])
    return q, np.int64(rest[1])


@kernel
def _as_floats(left: Any, right: Any, out: Any) -> None:
    for i in range(out.size):
        out[i] = _float(left[i], right[i])


@kernel
def _means(left: Any, right: Any, count: Any, out: Any) -> None:
    for i in range(out.size):
        q, rest = _near(left[i], right[i], count[i])
        out[i] = np.float64(q) + np.float64(rest) / np.float64(count[i])


@kernel
def _covariances(
    left: Any, right: Any, other_left: Any, other_right: Any, both_left: Any, both_right: Any, count: Any, out: Any
) -> None:
    for i in range(out.size):
        q, rest = _near(left[i], right[i], count[i])
        p, other_rest = _near(other_left[i], other_right[i], count[i])
        first = _times(other_left[i], other_right[i], q)
        second = _times(NONE, np.uint64(abs(rest)), p if rest >= 0 else -p)
        high, low = _minus(both_left[i], both_right[i], first[0], first[1])
        high, low = _minus(high, low, second[0], second[1])
        n = np.float64(count[i])
        out[i] = (_float(high, low) - np.float64(rest) / n * np.float64(other_rest)) / n
