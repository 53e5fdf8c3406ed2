"""Basins of a part of a volume as a graph: trees that meet at saddles, settled from the highest saddle down.

What is merged is a function of the whole volume's saddles in their order. A part of the volume knows some of it for
certain: a basin is sealed when all its voxels and their neighbours lie in the part. What is decided about it in the
part is what the whole volume decides, so it is decided there and then, and only what is open goes on::

    peak 9 ┐      ┌ peak 7        saddle 6: 7 rises 1 above it. With h = 2, 7 is merged into 9, whatever else 9 meets;
           └──6───┘               with h = 1 both stay, and this saddle is forgotten.

The lower of both peaks decides. Where a tree leads out of the part its peak may be any, so saddles to it stay open.

A saddle between basins that higher saddles join already merges nothing in any order of things, and is dropped: on its
way every basin was refused once, so rises h above that higher saddle, and more above this one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

BITS = np.uint64(48)
"""Bits of a key that hold a voxel's index in the volume."""
LIMIT = 2**48
"""Most voxels of a volume."""
_LOW = np.uint64(LIMIT - 1)


class Saddles(NamedTuple):
    """Where trees meet: pairs of them (numbered from 0), the joining voxel's height and index, and the index of its
    neighbour that is of the other tree."""

    pairs: NDArray[np.int32]
    height: NDArray[np.uint16]
    voxels: NDArray[np.int64]

    def take(self, chosen: Array) -> Saddles:
        """Some of them."""
        return Saddles(self.pairs[chosen], self.height[chosen], self.voxels[chosen])


def keys(height: Array, voxel: Array) -> NDArray[np.uint64]:
    """Voxels in their order: the higher first, of equal heights the one of smaller index.

    >>> order = keys(np.array([3, 3, 4]), np.array([8, 2, 9]))
    >>> np.argsort(order)
    array([0, 1, 2])
    """
    low = _LOW - np.asarray(voxel).astype(np.uint64)
    return (np.asarray(height).astype(np.uint64) << BITS) | low


def follow(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each node leads in the end; a node that is its own parent leads nowhere.

    >>> follow(np.array([1, 3, 2, 3]))
    array([3, 3, 2, 3])
    """
    out = np.array(parent, np.int64)
    _follow(out)
    return out


def settle(
    height: NDArray[np.uint16], voxel: NDArray[np.int64], sealed: NDArray[np.bool_], saddles: Saddles, least: float
) -> tuple[NDArray[np.int64], Saddles]:
    """Merge basins whose peaks rise too little, as far as a part of the volume can tell.

    Parameters
    ----------
    height, voxel : of each tree's peak; height 0 for a tree that leads out of the part: its peak is not known, so what
        meets it is left open.
    sealed : whether all saddles of a tree are known.
    saddles : those between the trees, in any order.
    least : a peak must rise this much above a saddle to stay apart (h, in steps of the heights).

    Returns
    -------
    group : for each tree the tree of the highest peak that it is merged with so far.
    open saddles : those that must be seen again; between trees, not groups.

    Notes
    -----
    J. B. Kruskal's order (1956, On the shortest spanning subtree), from the highest saddle: sorting takes 150 ns a
    saddle, merging 50.

    Examples
    --------
    >>> saddles = Saddles(np.array([[0, 1]], "i4"), np.array([6], "u2"), np.array([[4, 5]]))
    >>> peaks, where = np.array([9, 7], "u2"), np.array([0, 9])
    >>> settle(peaks, where, np.ones(2, bool), saddles, 2.0)[0]
    array([0, 0])
    """
    order = np.lexsort((saddles.voxels[:, 1], ~keys(saddles.height, saddles.voxels[:, 0])))
    peak = np.where(height > 0, keys(height, voxel), 0)  # of a tree that leads out nothing is known: nothing decided
    group = np.arange(len(height), dtype=np.int64)
    known = np.ascontiguousarray(sealed, np.bool_) & (height > 0)
    still = np.zeros(len(order), np.bool_)
    clean = np.ones(len(height), np.bool_)
    _settle(order, saddles.pairs, saddles.height, peak, known, clean, float(least), group.copy(), group, still)
    _follow(group)
    return group, saddles.take(still)


@njit(nogil=True, cache=True)
def _follow(parent):  # type: ignore[no-untyped-def]
    for node in range(parent.size):
        end = node
        while parent[end] != end:
            end = parent[end]
        at = node
        while parent[at] != end:
            following = parent[at]
            parent[at] = end
            at = following


@njit(nogil=True, cache=True)
def _root(parent, node):  # type: ignore[no-untyped-def]
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(nogil=True, cache=True)
def _settle(order, pairs, height, peak, sealed, clean, least, forest, group, still):  # type: ignore[no-untyped-def]
    """clean: every saddle of the group up to here has been decided."""
    for e in order:
        a, b = np.int64(pairs[e, 0]), np.int64(pairs[e, 1])
        one, other = _root(forest, a), _root(forest, b)
        if one == other:
            continue
        forest[one] = other
        low, high = _root(group, a), _root(group, b)
        if peak[low] > peak[high]:
            low, high = high, low
        if sealed[low] and clean[low]:
            if (peak[low] >> BITS) - np.uint64(height[e]) < least:
                group[low] = high
        else:
            still[e] = True
            clean[low] = clean[high] = False
