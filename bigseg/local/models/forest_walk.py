"""Walking many voxels through many trees: the kernels below `bigseg.local.models.forest`.

Eight voxels walk through a tree in lock step, each a scalar of its own, so that their loads overlap; a voxel that has
reached its leaf stays there until the last one has. ::

    node    | threshold, ordered, 32 bits | left child | 8 * feature |
    tile    | feature 0 of 8 voxels | feature 1 of 8 voxels | …          8 * feature + lane is a voxel's value

A voxel goes to ``left + (value > threshold)``. A leaf has itself as left child, and a threshold above all finite
values, whose lower 23 bits say which of the tree's values it gives: nothing but nodes, 8 bytes each, is looked up on
the way. Voxels are taken in blocks whose tiles and sums stay in the cache while every tree of the forest passes over
them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.local.keys import in_order, key_order

LANES = 8
MOST_ROWS = 1 << 23
SLACK = 1e-6  # far above what rounding moves a sum of shares, far below any lead that counts
WORTH = 16  # one voxel in this many must be decided before the others are moved together

_KEYS = key_order(np.dtype(np.float32), np.dtype(np.uint32))
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROW = np.uint64(MOST_ROWS - 1)
_ABOVE = np.uint64(0xFF800000)  # the bits of infinity, ordered


class Packed(NamedTuple):
    """A forest as the kernels read it.

    nodes: uint64, all trees one after the other; values: float64 (rows, outputs); starts: int64 (trees + 1), where
    trees begin; rows: int64 (trees), the row of values from which a tree's leaves count; steps: int64 (trees), down to
    where few leaves lie, so that nobody looks whether all voxels have arrived; bits: how many of a node hold the
    feature;
    rest: float64 (trees + 1), how far the trees from each on can move two outputs against each other;
    first: after how many trees a voxel can be decided.
    """

    nodes: NDArray[np.uint64]
    values: NDArray[np.float64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    steps: NDArray[np.int64]
    bits: int
    rest: NDArray[np.float64]
    first: int


@njit(nogil=True, cache=True)
def means_of(planes, packed, voxels, out):  # type: ignore[no-untyped-def]
    """Mean of all trees for every voxel and output; gives back how many values are NaN or infinite.

    planes: uint32 (features, n), the bits of float32 values; voxels: how many to take together, a multiple of LANES;
    out: float32 (outputs, n).
    """
    features, n = planes.shape
    trees = packed.starts.size - 1
    tiles = np.empty((voxels // LANES, features * LANES), np.uint32)
    sums = np.empty((voxels, packed.values.shape[1]), np.float64)
    bad = 0
    for first in range(0, n, voxels):
        count = min(voxels, n - first)
        bad += _pack(planes, first, count, tiles)
        sums[:] = 0.0
        for tree in range(trees):
            _add_tree(packed, tree, tiles[: -(-count // LANES)], sums)
        for c in range(out.shape[0]):
            for v in range(count):
                out[c, first + v] = sums[v, c] / trees
    return bad


@njit(nogil=True, cache=True)
def labels_of(planes, packed, voxels, every, out):  # type: ignore[no-untyped-def]
    """The output with the greatest mean for every voxel, the first of equal ones; the same count as `means_of`.

    A voxel is decided when its lead is more than what the trees left can turn. Whether it is, is looked at after
    ``every`` trees; when enough are, the others are moved together.
    """
    features, n = planes.shape
    trees = packed.starts.size - 1
    tiles = np.empty((voxels // LANES, features * LANES), np.uint32)
    sums = np.empty((voxels, packed.values.shape[1]), np.float64)
    places = np.empty(voxels, np.int64)
    bad = 0
    for first in range(0, n, voxels):
        count = min(voxels, n - first)
        bad += _pack(planes, first, count, tiles)
        sums[:] = 0.0
        for v in range(count):
            places[v] = first + v
        look = packed.first
        for tree in range(trees):
            _add_tree(packed, tree, tiles[: -(-count // LANES)], sums)
            if tree + 1 == look and look < trees:
                count = _undecided(tiles, sums, places, count, trees, packed.rest[look] + SLACK, out)
                look += every
                if count == 0:
                    break
        for v in range(count):
            out[places[v]] = _greatest(sums[v], trees)
    return bad


@njit(nogil=True, cache=True)
def _step(nodes, tile, lane, i, bits, mask):  # type: ignore[no-untyped-def]
    node = nodes[i]
    right = tile[(node & mask) + np.uint64(lane)] > np.uint32(node >> _HALF)
    return ((node & _LOW) >> bits) + np.uint64(right)


@njit(nogil=True, cache=True)
def _step_all(nodes, tile, at, bits, mask):  # type: ignore[no-untyped-def]
    """One step of all lanes: scalars of their own, whose loads overlap."""
    a, b, c, d, e, f, g, h = at
    return (
        _step(nodes, tile, 0, a, bits, mask),
        _step(nodes, tile, 1, b, bits, mask),
        _step(nodes, tile, 2, c, bits, mask),
        _step(nodes, tile, 3, d, bits, mask),
        _step(nodes, tile, 4, e, bits, mask),
        _step(nodes, tile, 5, f, bits, mask),
        _step(nodes, tile, 6, g, bits, mask),
        _step(nodes, tile, 7, h, bits, mask),
    )


@njit(nogil=True, cache=True)
def _add_tree(packed, tree, tiles, sums):  # type: ignore[no-untyped-def]
    nodes, values = packed.nodes[packed.starts[tree] : packed.starts[tree + 1]], packed.values
    first, steps = np.uint64(packed.rows[tree]), packed.steps[tree]
    bits = np.uint64(packed.bits)
    mask = (np.uint64(1) << bits) - np.uint64(1)
    root = np.uint64(0)
    roots = root, root, root, root, root, root, root, root
    leaves = np.empty(LANES, np.uint64)
    outputs = values.shape[1]
    for place in range(tiles.shape[0]):
        tile = tiles[place]
        at = roots
        for _ in range(steps):
            at = _step_all(nodes, tile, at, bits, mask)
        while True:
            at = before = _step_all(nodes, tile, at, bits, mask)
            at = _step_all(nodes, tile, at, bits, mask)
            if at == before:
                break
        for lane in range(LANES):
            leaves[lane] = nodes[at[lane]]
        start = np.uint64(place * LANES)
        if outputs == 2:  # by far the most common: no inner loop
            for lane in range(LANES):
                v, row = start + np.uint64(lane), first + ((leaves[lane] >> _HALF) & _ROW)
                sums[v, 0] += values[row, 0]
                sums[v, 1] += values[row, 1]
        else:
            for lane in range(LANES):
                v, row = start + np.uint64(lane), first + ((leaves[lane] >> _HALF) & _ROW)
                for k in range(outputs):
                    sums[v, k] += values[row, k]


@njit(nogil=True, cache=True)
def _pack(planes, first, count, tiles):  # type: ignore[no-untyped-def]
    """Voxels as tiles of ordered integers; the last tile is filled up with its last voxel."""
    magnitude = np.uint32(0x7FFFFFFF)
    infinite = np.uint32(0x7F800000)
    bad = 0
    for feature in range(planes.shape[0]):
        plane = planes[feature, first : first + count]
        for place in range(-(-count // LANES)):
            start = place * LANES
            tile = tiles[place, feature * LANES : (feature + 1) * LANES]
            for lane in range(LANES):
                bits = plane[min(start + lane, count - 1)]
                if (bits & magnitude) >= infinite:  # it must not pass the threshold of a leaf
                    bad += 1
                    bits = np.uint32(0)
                tile[lane] = ~bits if bits > magnitude else bits | ~magnitude
    return bad


@njit(nogil=True, cache=True)
def _undecided(tiles, sums, places, count, trees, rest, out):  # type: ignore[no-untyped-def]
    """Label the decided voxels and move the others together, if that is worth it; how many are left."""
    decided = 0
    for v in range(count):
        decided += _lead(sums[v]) > rest
    if decided * WORTH < count:
        return count
    kept = 0
    features = tiles.shape[1] // LANES
    for v in range(count):
        if _lead(sums[v]) > rest:
            out[places[v]] = _greatest(sums[v], trees)
            continue
        if kept < v:
            places[kept] = places[v]
            for c in range(sums.shape[1]):
                sums[kept, c] = sums[v, c]
            source, target = tiles[v // LANES], tiles[kept // LANES]
            for feature in range(features):
                target[feature * LANES + kept % LANES] = source[feature * LANES + v % LANES]
        kept += 1
    return kept


@njit(nogil=True, cache=True)
def _lead(row):  # type: ignore[no-untyped-def]
    """How far the greatest sum is ahead of the second."""
    if row.size == 2:
        return abs(row[0] - row[1])
    best = second = -np.inf
    for value in row:
        if value > best:
            best, second = value, best
        elif value > second:
            second = value
    return best - second


@njit(nogil=True, cache=True)
def _greatest(row, trees):  # type: ignore[no-untyped-def]
    """Place of the greatest mean; divided first, as a division may make two sums equal."""
    place = 0
    best = row[0] / trees
    for c in range(1, row.size):
        mean = row[c] / trees
        if mean > best:
            place, best = c, mean
    return place


def packed_nodes(
    feature: NDArray[Any], threshold: NDArray[np.float32], left: NDArray[Any], row: NDArray[Any], bits: int
) -> NDArray[np.uint64]:
    """Nodes as `_step` reads them.

    left : counts from the tree's first node; row : of a leaf, counts from the tree's first row, -1 of an inner node.
    """
    leaf = row >= 0
    # No threshold stays -0.0: then -0.0 and 0.0 fall on the same side of every one, though their keys differ.
    key = np.where(leaf, _ABOVE + row.astype(np.uint64), ordered(threshold + np.float32(0)).astype(np.uint64))
    wanted = np.where(leaf, 0, feature).astype(np.uint64) * np.uint64(LANES)
    nodes: NDArray[np.uint64] = (key << np.uint64(32)) | (left.astype(np.uint64) << np.uint64(bits)) | wanted
    return nodes


def ordered(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """The bits of float32 values as integers of the same order.

    >>> ordered(np.array([-np.inf, -1, 0, 1, np.inf], "float32")).tolist()
    [8388607, 1082130431, 2147483648, 3212836864, 4286578688]
    """
    return in_order(values.view(np.uint32), _KEYS)
