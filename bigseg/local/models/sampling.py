"""Samples of voxels that do not depend on how a volume was cut: a voxel is chosen by the hash of its index.

The hash of a voxel is a function of a seed and of its index in the whole volume, in raster order. The n voxels with
the smallest hashes are a sample without bias, the same from any blocks, and in the order of (hash, index) any
beginning of it is one too. (In the order of position, estimators that learn in batches forget what they saw first.)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.phantom.hashing import GOLDEN, mix

Numbers = NDArray[np.uint64]
_ALL = 1 << 64


def hashes(seed: int, index: Numbers) -> Numbers:
    """The hash of each voxel.

    Parameters
    ----------
    seed : 0 or more.
    index : uint64, places in the whole volume in raster order.

    Returns
    -------
    uint64 array, evenly spread; 2 ns a voxel on one core. Source: splitmix64 (Steele, Lea, Flood 2014).

    Examples
    --------
    >>> hashes(0, np.arange(2, dtype="uint64")) >> np.uint64(60)
    array([14,  6], dtype=uint64)
    """
    out = np.empty(index.size, np.uint64)
    _fill(_key(seed), np.ascontiguousarray(index, np.uint64).reshape(-1), out)
    return out


def smallest(seed: int, index: Numbers, count: int) -> NDArray[np.int64]:
    """Which voxels are the sample: the places in ``index`` of the smallest hashes, in order of (hash, index).

    Parameters
    ----------
    seed, index : as in `hashes`.
    count : how many; of fewer voxels all.

    Examples
    --------
    >>> smallest(0, np.arange(100, dtype="uint64"), 3)
    array([53, 33, 94])
    """
    if count < 0:
        raise ParameterError(f"a sample of {count} voxels: expected 0 or more")
    found = np.arange(index.size)
    if count < index.size:
        below = hashes(seed, index) <= np.uint64(limit_of(count, index.size))  # the shorter list is sorted
        if below.sum() >= count:
            found = np.flatnonzero(below)
    chosen = np.asarray(index, np.uint64)[found]
    order = np.lexsort((chosen, hashes(seed, chosen)))
    return found[order[:count]]


class Chosen(NamedTuple):
    """Voxels of a box: place in the box in raster order, and hash."""

    places: NDArray[np.int64]
    hashes: Numbers


def limit_of(count: int, voxels: int) -> int:
    """The greatest hash of a sample's candidates: more voxels than are wanted by twelve standard deviations.

    Parameters
    ----------
    count : how many are wanted.
    voxels : how many there are.

    >>> limit_of(100, 50) == 2**64 - 1, round(limit_of(100, 10**6) / 2**64, 9)
    (True, 0.000232)
    """
    return max(min(int(_ALL * min(surely(count) / max(voxels, 1), 1.0)), _ALL) - 1, 0)


def surely(expected: float) -> float:
    """A number that a count by chance never exceeds: twelve standard deviations above the expected one.

    >>> surely(100.0)
    232.0
    """
    return expected + 12 * (sqrt(expected) + 1)


def chosen_in(
    seed: int,
    limit: int,
    start: Sequence[int],
    shape: Sequence[int],
    volume: Sequence[int],
    inside: NDArray[np.bool_] | None = None,
) -> Chosen:
    """The voxels of a box whose hash is not above a limit.

    Parameters
    ----------
    seed, limit : see `hashes` and `limit_of`.
    start, shape : of the box, in a volume of shape ``volume``; up to three axes.
    inside : bool of the box's shape: only these.

    Notes
    -----
    2 ns a voxel on one core; no array of the box's size.

    Examples
    --------
    >>> found = chosen_in(0, 1 << 60, (0, 2), (10, 6), (10, 10))
    >>> index = found.places // 6 * 10 + found.places % 6 + 2
    >>> np.array_equal(found.hashes, hashes(0, index.astype("uint64"))), index
    (True, array([ 2, 32, 33, 42, 53, 94]))
    """
    more = (0,) * (3 - len(shape))
    axes = (1,) * len(more)
    places = [np.array((*fill, *given), np.int64) for fill, given in ((more, start), (axes, shape), (axes, volume))]
    which = np.zeros(0, np.bool_) if inside is None else np.ascontiguousarray(inside).reshape(-1)
    room = min(prod(shape), int(surely(prod(shape) * (limit / _ALL))))
    while True:
        found = Chosen(np.empty(room, np.int64), np.empty(room, np.uint64))
        count = _choose(_key(seed), np.uint64(limit), *places, which, found.places, found.hashes)
        if count <= room:
            return Chosen(found.places[:count], found.hashes[:count])
        room = count


def _key(seed: int) -> np.uint64:
    if not 0 <= seed < _ALL:
        raise ParameterError(f"seed {seed}: expected 0 to {_ALL - 1}")
    return np.uint64(mix(np.uint64(seed)))


@njit(nogil=True, cache=True)
def _fill(key, index, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = mix(key + GOLDEN * (index[i] + np.uint64(1)))


@njit(nogil=True, cache=True)
def _choose(key, limit, start, shape, volume, inside, places, found):  # type: ignore[no-untyped-def]
    """Fill places and hashes, as far as there is room; gives back how many there are."""
    count = 0
    place = 0
    for z in range(shape[0]):
        for y in range(shape[1]):
            first = ((start[0] + z) * volume[1] + start[1] + y) * volume[2] + start[2]
            for x in range(shape[2]):
                if inside.size == 0 or inside[place]:
                    value = mix(key + GOLDEN * (np.uint64(first + x) + np.uint64(1)))
                    if value <= limit:
                        if count < places.size:
                            places[count] = place
                            found[count] = value
                        count += 1
                place += 1
    return count
