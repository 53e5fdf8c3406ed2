"""Samples of voxels that do not depend on how a volume was cut: a voxel is chosen by the hash of its index.

The hash of a voxel is a function of a seed and of its index in the whole volume, in raster order. The n voxels with
the smallest hashes are a sample without bias, the same from any blocks, and in the order of (hash, index) any
beginning of it is one too. (In the order of position, estimators that learn in batches forget what they saw first.)
"""

from __future__ import annotations

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
        # Twelve standard deviations more than are wanted; the shorter list is sorted.
        wanted = count + 12 * (count**0.5 + 1)
        below = hashes(seed, index) < np.uint64(min(int(_ALL * min(wanted / index.size, 1.0)), _ALL - 1))
        if below.sum() >= count:
            found = np.flatnonzero(below)
    chosen = np.asarray(index, np.uint64)[found]
    order = np.lexsort((chosen, hashes(seed, chosen)))
    return found[order[:count]]


def _key(seed: int) -> np.uint64:
    if not 0 <= seed < _ALL:
        raise ParameterError(f"seed {seed}: expected 0 to {_ALL - 1}")
    return np.uint64(mix(np.uint64(seed)))


@njit(nogil=True, cache=True)
def _fill(key, index, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = mix(key + GOLDEN * (index[i] + np.uint64(1)))
