"""Drainage of a block: its voxels follow their pointers to peaks, or to where they leave the block.

Voxels that lead to the same place are a tree::

    pointers ──drain──► labels of trees, where each begins and ends
    codes, heights ───► which trees meet, and how high: saddles

A tree ends at a peak, or at the voxel outside of the block that its path steps on (`bigseg.local.basins.flow`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.local.basins.flow import SELF
from bigseg.local.components.words import popcount

_OUTSIDE = -100


class Basins(NamedTuple):
    """The trees of a block, in the raster order of their first voxels.

    Places are indices into the block grown by one voxel on all sides. A tree that holds no voxel of the block, but
    that a saddle of it names, has no first voxel (-1).
    """

    labels: NDArray[np.int32]
    """Number of each voxel's tree, from 1; 0 in the background."""
    first: NDArray[np.int64]
    """Place of each tree's first voxel."""
    end: NDArray[np.int64]
    """Place of its peak, or of the voxel outside of the block that it leads to."""
    height: NDArray[np.uint16]
    """Height of its peak; 0 where it leads out of the block."""
    pairs: NDArray[np.int32]
    """Pairs of trees that meet, numbered from 0."""
    places: NDArray[np.int64]
    """For each pair the voxel m, and the neighbour of m that is of the other tree."""
    saddles: NDArray[np.uint16]
    """Height of m."""


def drain(
    pointers: NDArray[np.uint8], code: NDArray[np.uint32] | None = None, heights: NDArray[np.uint16] | None = None
) -> Basins:
    """The trees of a block, and the saddles between them.

    Parameters
    ----------
    pointers : of the block's voxels, from `pointers`.
    code, heights : of the same voxels, from `flow` and `heights`; None where only labels and first voxels are wanted:
        then heights are 0 and there are no saddles.

    Returns
    -------
    basins : of 3 axes, whatever the axes of the block.

    Notes
    -----
    Each path is walked twice, up to the first voxel that has a label: 8 to 14 ns a voxel on one core, 15 to 18 with
    saddles. 4 bytes a voxel for the labels, 17 for every voxel of the block's surface and every peak, 30 a saddle.

    Examples
    --------
    >>> from bigseg.local.basins.flow import flow, pointers
    >>> high = np.array([0, 3, 2, 2, 5], "uint16")
    >>> code = flow(high, (slice(0, 5),), 1)
    >>> found = drain(pointers(code), code, high)
    >>> found.labels.ravel(), found.height, found.pairs.tolist(), found.saddles
    (array([0, 1, 1, 2, 2], dtype=int32), array([3, 5], dtype=uint16), [[1, 0]], array([2], dtype=uint16))
    """
    more = (1,) * (3 - pointers.ndim)
    block = pointers.reshape(more + pointers.shape)
    trees = np.full(tuple(n + 2 for n in block.shape), _OUTSIDE, np.int32)
    most = _prepare(block, trees) + trees.size - block.size
    first, end, peak = np.empty(most, np.int64), np.empty(most, np.int64), np.zeros(most, np.bool_)
    steps = _steps(trees.shape)
    n = _drain(trees, steps, first, end, peak)
    joints = 0 if code is None or heights is None else int(_joints(code.reshape(-1)))
    pairs, places, saddles = (
        np.empty((joints, 2), np.int32),
        np.empty((joints, 2), np.int64),
        np.empty(joints, np.uint16),
    )
    height = np.zeros(n, np.uint16)
    if code is not None and heights is not None:
        high = heights.reshape(block.shape)
        n, found = _join(code.reshape(block.shape), high, trees, steps, n, first, end, pairs, places, saddles)
        pairs, places, saddles = pairs[:found].copy(), places[:found].copy(), saddles[:found].copy()
        height = np.zeros(n, np.uint16)
        peaks = np.flatnonzero(peak[:n])
        height[peaks] = high[tuple(axis - 1 for axis in np.unravel_index(end[peaks], trees.shape))]
    inner = trees[1:-1, 1:-1, 1:-1]
    return Basins(inner, first[:n].copy(), end[:n].copy(), height, pairs, places, saddles)


def drain_working_bytes(inner: Sequence[int]) -> int:
    """Bytes that `drain` holds: labels of all voxels, and ends on the surface; saddles come on top.

    >>> drain_working_bytes((128, 128, 128)) // 2**20
    11
    """
    grown = prod(n + 2 for n in inner) if len(inner) == 3 else 3 * prod(n + 2 for n in inner)
    return 4 * grown + 30 * (grown - prod(inner))


def _steps(shape: Sequence[int]) -> NDArray[np.int64]:
    """Distance in memory to each of the 27 voxels around one."""
    _, rows, columns = shape
    return np.array([(z * rows + y) * columns + x for z, y, x in product((-1, 0, 1), repeat=3)], np.int64)


@njit(nogil=True, cache=True)
def _prepare(pointers, trees):  # type: ignore[no-untyped-def]
    """Pointers as -1 to -27 into the middle of trees; counts the peaks."""
    peaks = 0
    for z in range(pointers.shape[0]):
        for y in range(pointers.shape[1]):
            row, into = pointers[z, y], trees[z + 1, y + 1, 1:-1]
            for x in range(row.size):
                into[x] = -np.int32(row[x])
                peaks += row[x] == SELF + 1
    return peaks


@njit(nogil=True, cache=True)
def _joints(code):  # type: ignore[no-untyped-def]
    """Saddles in all voxels."""
    count = np.uint64(0)
    for i in range(code.size):
        count += popcount(np.uint64(code[i] >> np.uint32(5)))
    return count


@njit(nogil=True, cache=True)
def _drain(trees, steps, first, end, peak):  # type: ignore[no-untyped-def]
    """Number the trees; the voxel outside that a tree leads to gets its number, for all that lead there."""
    flat = trees.reshape(-1)
    depth, rows, columns = trees.shape
    n = 0
    for z in range(1, depth - 1):
        for y in range(1, rows - 1):
            begin = (z * rows + y) * columns + 1
            for place in range(begin, begin + columns - 2):
                if flat[place] >= 0:
                    continue
                at = place
                while True:
                    following = at + steps[-flat[at] - 1]
                    found = flat[following]
                    if following == at or found == _OUTSIDE:
                        n += 1
                        first[n - 1], end[n - 1], peak[n - 1] = place, following, following == at
                        if found == _OUTSIDE:
                            flat[following] = n
                        found = n
                    if found > 0:
                        break
                    at = following
                number = np.int32(found)
                at = place
                while flat[at] < 0:
                    following = at + steps[-flat[at] - 1]
                    flat[at] = number
                    at = following
    return n


@njit(nogil=True, cache=True)
def _join(code, heights, trees, steps, n, first, end, pairs, places, saddles):  # type: ignore[no-untyped-def]
    """Pairs of trees at the voxels that join them; a voxel outside that no tree leads to becomes one without voxels."""
    flat = trees.reshape(-1)
    rows, columns = trees.shape[1:]
    found = 0
    for z in range(code.shape[0]):
        for y in range(code.shape[1]):
            row = code[z, y]
            begin = ((z + 1) * rows + y + 1) * columns + 1
            for x in range(row.size):
                bits = row[x] >> np.uint32(5)
                k = 0
                while bits != np.uint32(0):
                    if bits & np.uint32(1):
                        place = begin + x
                        other = place + steps[k]
                        if flat[other] == _OUTSIDE:
                            first[n], end[n] = -1, other
                            n += 1
                            flat[other] = n
                        if flat[other] != flat[place]:
                            pairs[found, 0], pairs[found, 1] = flat[place] - 1, flat[other] - 1
                            places[found, 0], places[found, 1] = place, other
                            saddles[found] = heights[z, y, x]
                            found += 1
                    bits >>= np.uint32(1)
                    k += 1
    return n, found
