"""Sums of float64 values without any rounding, in any order: one row of whole numbers an exponent.

A value that is not negative is ``digits * 2**(exponent - 1075)`` with 53 binary digits. The digits are added by
exponent, in three parts of 18 binary digits each, so that 2**44 values fit into int64. Tables of parts of a volume
add up, and the sum is rounded once, at the end.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ValuesError

Array = NDArray[Any]
EXPONENTS = 2047
PARTS = 3
_DIGITS = 18


def empty_sums(count: int) -> NDArray[np.int64]:
    """Tables of some sums of nothing: int64 (count, exponents, parts)."""
    return np.zeros((count, EXPONENTS, PARTS), np.int64)


def add_errors(table: Array, found: Array, wanted: Array, scale: float = 1.0) -> None:
    """Add the absolute and squared differences of two volumes to two sums.

    Parameters
    ----------
    table : from ``empty_sums(2)``: absolute, squared.
    found, wanted : any dtypes, one shape; subtracted in float64.
    scale : ``found`` is divided by it first.

    Raises
    ------
    ValuesError : a difference that is NaN or infinite.

    Notes
    -----
    4 ns a voxel on one core; copies of 65,536 voxels.

    Examples
    --------
    >>> table = empty_sums(2)
    >>> add_errors(table, np.array([0.1, 0.2]), np.array([0, 1]))
    >>> [float(exact_sum(row)) for row in table]
    [0.9, 0.6500000000000001]
    """
    one, two = found.reshape(-1), wanted.reshape(-1)
    size = 1 << 16
    for start in range(0, one.size, size):
        part = one[start : start + size].astype(np.float64)
        if scale != 1.0:
            part /= scale
        part -= two[start : start + size].astype(np.float64)
        np.abs(part, out=part)
        bad = _add(part.view(np.uint64), table[0])
        with np.errstate(over="ignore"):
            np.multiply(part, part, out=part)
        bad += _add(part.view(np.uint64), table[1])
        if bad:
            raise ValuesError(f"{bad} differences or their squares are NaN or infinite: expected finite values")


def add_values(table: Array, values: Array) -> None:
    """Add float64 values that are not negative to one sum, in place; 3 ns each.

    Parameters
    ----------
    table : a row of `empty_sums`.
    values : any shape.

    Raises
    ------
    ValuesError : one that is NaN or infinite.

    Examples
    --------
    >>> table = empty_sums(1)
    >>> add_values(table[0], np.array([0.1, 0.2]))
    >>> float(exact_sum(table[0]))
    0.30000000000000004
    """
    bad = _add(np.ascontiguousarray(values, np.float64).reshape(-1).view(np.uint64), table)
    if bad:
        raise ValuesError(f"{bad} values are NaN or infinite: expected finite ones")


def exact_sum(table: Array) -> Fraction:
    """A sum from its table.

    >>> table = empty_sums(2)
    >>> add_errors(table, np.array([1e100, 1.0, 2.0**-1074]), np.zeros(3))
    >>> exact_sum(table[0]) == Fraction(1e100) + 1 + Fraction(2.0**-1074)
    True
    """
    total = 0
    for exponent in np.flatnonzero(table.any(axis=1)):
        low, middle, high = (int(part) for part in table[exponent])
        digits = low + (middle << _DIGITS) + (high << 2 * _DIGITS)
        total += digits << max(int(exponent), 1) - 1
    return Fraction(total, 1 << 1074)


@njit(nogil=True, cache=True)
def _add(bits, table):  # type: ignore[no-untyped-def]
    bad = 0
    mask = np.uint64((1 << _DIGITS) - 1)
    for value in bits:
        exponent = np.int64(value >> np.uint64(52)) & 0x7FF
        if exponent == 0x7FF:
            bad += 1
            continue
        digits = value & np.uint64((1 << 52) - 1)
        if exponent > 0:
            digits |= np.uint64(1 << 52)
        table[exponent, 0] += np.int64(digits & mask)
        table[exponent, 1] += np.int64((digits >> np.uint64(_DIGITS)) & mask)
        table[exponent, 2] += np.int64(digits >> np.uint64(2 * _DIGITS))
    return bad
