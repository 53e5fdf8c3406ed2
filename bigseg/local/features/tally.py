"""Exact means, deviations, ranges and quantiles of features, from counts that add up over tiles and blocks.

A float32 is ``m * 2**e`` with 24 binary digits, so for each sign and exponent the number of voxels, the sum of their
m and of m * m are integers, and the sums of a feature and of its squares follow without rounding. Quantiles are found
in three reads, along the ordered bit pattern (`bigseg.local.keys`)::

    key      upper 16 bits | 8 bits | 8 bits
    read 1   how often each upper half occurs, and the sums          512 KiB and 16 KiB a feature
    read 2   within those that hold a wanted rank, the next 8 bits     2 KiB a rank
    read 3   within those, the last 8: the voxels of these ranks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.filters.linear import Float32
from bigseg.local.keys import in_order, key_order

Tables = Mapping[str, NDArray[Any]]
Integers = NDArray[np.int64]

UPPER, STEP, POWERS = 1 << 16, 1 << 8, 1 << 9
"""Upper halves, what 8 bits count, signs and exponents."""
_LOWER = (1 << 24) - 1  # squares are summed in halves of 24 bits: room for 2^39 voxels
_KEYS = key_order(np.dtype(np.float32), np.dtype(np.uint32))


@dataclass(frozen=True)
class Counting:
    """What one read counts.

    Parameters
    ----------
    features : how many there are.
    ranked : in the first read, whether quantiles will be wanted.
    prefixes : in later reads, for each feature the first bits of the keys that are looked at, rising.
    bits : how many bits these are: 16 or 24; 0 in the first read.
    """

    features: int
    ranked: bool = False
    prefixes: tuple[tuple[int, ...], ...] = ()
    bits: int = 0

    def empty(self) -> dict[str, NDArray[Any]]:
        """Tables of no voxels: outline, least, greatest and counts of the first read, refined of the others."""
        if self.bits:
            most = max(map(len, self.prefixes))
            return {"refined": np.zeros((self.features, most, STEP), np.int64)}
        found: dict[str, NDArray[Any]] = {
            "outline": np.zeros((self.features, POWERS, 4), np.int64),
            "least": np.full(self.features, np.inf, np.float32),
            "greatest": np.full(self.features, -np.inf, np.float32),
        }
        return found | ({"counts": np.zeros((self.features, UPPER), np.int64)} if self.ranked else {})

    def add(self, tables: Tables, planes: Float32) -> None:
        """Count a table (features, voxels); the tables of parts add up, least and greatest by minimum and maximum.

        Raises
        ------
        ParameterError : another number of features. ValuesError : NaN or infinite values.
        """
        if len(planes) != self.features:
            raise ParameterError(f"scaling of {self.features} features: found a table of {len(planes)}")
        if not planes.shape[1]:
            return
        bits = np.ascontiguousarray(planes).view(np.uint32)
        if self.bits:
            for feature, known in enumerate(self.prefixes):
                slots = self._slots(known)
                _count_next(bits[feature], _KEYS, *slots, 24 - self.bits, tables["refined"][feature])
            return
        low, high = planes.min(axis=1), planes.max(axis=1)
        finite = np.isfinite(low) & np.isfinite(high)
        if not finite.all():
            bad = int(np.flatnonzero(~finite)[0])
            raise ValuesError(f"feature {bad} has NaN or infinite values: expected finite ones; check the images")
        np.minimum(tables["least"], low, out=tables["least"])
        np.maximum(tables["greatest"], high, out=tables["greatest"])
        for feature, row in enumerate(bits):
            _add_powers(row, tables["outline"][feature])
            if self.ranked:
                _count_upper(row, _KEYS, tables["counts"][feature])

    def _slots(self, known: Sequence[int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """For each upper half its row of the second table, or -1; there, for each next 8 bits, its place in known."""
        prefixes = np.array(known, np.int64)
        uppers = prefixes >> (self.bits - 16)
        each = np.unique(uppers)
        first, second = np.full(UPPER, -1, np.int32), np.full((each.size, STEP), -1, np.int32)
        first[each] = np.arange(each.size)
        if self.bits == 16:
            second[:] = np.arange(each.size)[:, np.newaxis]
        else:
            second[first[uppers], prefixes & 0xFF] = np.arange(prefixes.size)
        return first, second


@dataclass(frozen=True)
class Search:
    """Where the voxels of wanted ranks lie: for each feature prefixes of keys, and the voxels below each."""

    bits: int
    prefixes: tuple[tuple[int, ...], ...]
    below: tuple[tuple[int, ...], ...]

    @classmethod
    def begin(cls, features: int) -> Search:
        """Anywhere."""
        return cls(0, ((0,),) * features, ((0,),) * features)

    def narrowed(self, counts: Integers, ranks: Integers) -> Search:
        """Longer prefixes from the counts (features, prefixes, next bits) below these."""
        radix = counts.shape[-1]
        prefixes, below = [], []
        for known, under, table in zip(self.prefixes, self.below, counts, strict=True):
            rows = np.searchsorted(under, ranks, side="right") - 1
            upto = np.cumsum(table, axis=1)
            found = {}
            for row, rank in zip(rows.tolist(), ranks.tolist(), strict=True):
                child = int(np.searchsorted(upto[row], rank - under[row], side="right"))
                found[known[row] * radix + child] = int(under[row] + upto[row, child] - table[row, child])
            prefixes.append(tuple(sorted(found)))
            below.append(tuple(found[key] for key in sorted(found)))
        return Search(self.bits + int(radix).bit_length() - 1, tuple(prefixes), tuple(below))

    def values(self, ranks: Integers) -> NDArray[np.float64]:
        """The voxels of the ranks, (features, ranks), once prefixes are whole keys."""
        found = np.empty((len(self.prefixes), ranks.size))
        for row, known, under in zip(found, self.prefixes, self.below, strict=True):
            keys = np.array(known, np.uint32)[np.searchsorted(under, ranks, side="right") - 1]
            row[:] = in_order(keys, _KEYS.back).view(np.float32) + 0.0  # -0.0 and 0.0 have two keys but are one value
        return found


def moments(outline: Integers) -> tuple[int, float, float]:
    """Number of voxels, mean and standard deviation of one feature; sums are exact, rounded once and twice.

    >>> counting = Counting(1)
    >>> tables = counting.empty()
    >>> counting.add(tables, np.array([[0.5, 1.5, 4.0]], np.float32))
    >>> moments(tables["outline"][0])
    (3, 2.0, 1.4719601443879744)

    Raises
    ------
    ValuesError : no voxel.
    """
    voxels = first = second = 0
    for power in np.flatnonzero(outline[:, 0]).tolist():
        count, digits, high, low = map(int, outline[power])
        shift = max(power & 0xFF, 1) - 1  # in units of 2**-149
        voxels += count
        first += (-digits if power > 0xFF else digits) << shift
        second += ((high << 24) + low) << 2 * shift
    if not voxels:
        raise ValuesError("scaling: no voxel was read: expected one at least; check the mask")
    variance = (voxels * second - first * first) / (voxels * voxels << 298)
    return voxels, first / (voxels << 149), sqrt(variance)


@njit(nogil=True, cache=True)
def _add_powers(row, table):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        power = np.int64(row[i] >> np.uint32(23))
        digits = np.int64(row[i] & np.uint32(0x7FFFFF))
        if power & 0xFF:
            digits += 1 << 23
        square = digits * digits
        found = table[power]
        found[0] += 1
        found[1] += digits
        found[2] += square >> 24
        found[3] += square & _LOWER


@njit(nogil=True, cache=True)
def _count_upper(row, order, counts):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        key = row[i] ^ (order.high if row[i] >= order.top else order.low)
        counts[key >> np.uint32(16)] += 1


@njit(nogil=True, cache=True)
def _count_next(row, order, first, second, shift, counts):  # type: ignore[no-untyped-def]
    """Of keys whose first bits are looked at, count the 8 bits that end ``shift`` bits before the last."""
    for i in range(row.size):
        key = np.int64(row[i] ^ (order.high if row[i] >= order.top else order.low))
        upper = first[key >> 16]
        if upper >= 0:
            slot = second[upper, (key >> 8) & 0xFF]
            if slot >= 0:
                counts[slot, (key >> shift) & 0xFF] += 1
