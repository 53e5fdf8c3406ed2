"""Walking many voxels through many trees: the kernels below `bigseg.local.models.forest`.

Eight voxels walk through a tree in lock step, each a scalar of its own, so that their loads overlap. ::

    node    | left child | 8 * feature |   32 bits; threshold, ordered, 32 bits
    tile    | feature 0 of 8 voxels | feature 1 of 8 voxels | …          8 * feature + lane is a voxel's value

A voxel goes to ``left + (value > threshold)``. A leaf has itself as left child, and a threshold above all finite
values, whose lower 23 bits say which of the tree's values it gives: nothing but nodes, 8 bytes each, is looked up on
the way. All voxels of a block go down to where half of them have reached their leaves; those that have not are gathered
and go on, a few steps each time, so that nobody waits for the one whose way is longest (20 to 30 % less time than eight
voxels that wait for each other). How many steps are taken at once does not depend on the voxels: no branch is guessed
wrong. Blocks are as large as tiles and sums stay in the cache while every tree of the forest passes over them.
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
_ROW = np.uint32(MOST_ROWS - 1)
_ABOVE = np.uint32(0xFF800000)  # the bits of infinity, ordered
_ONE, _LANE = np.uint64(1), np.uint64(LANES - 1)
_SHIFT = np.uint64(3)  # LANES is 1 << 3


class Packed(NamedTuple):
    """A forest as the kernels read it.

    nodes: uint32 (2 * nodes), all trees one after the other; values: float64 (rows, outputs); starts: int64 (trees +
    1), where trees begin; rows: int64 (trees), the row of values from which a tree's leaves count; steps: int64
    (trees), how many all voxels take together; bits: how many of a node hold the feature;
    rest: float64 (trees + 1), how far the trees from each on can move two outputs against each other;
    first: after how many trees a voxel can be decided.
    """

    nodes: NDArray[np.uint32]
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
    n = planes.shape[1]
    trees = packed.starts.size - 1
    tiles, sums, walk = _room(planes, packed, voxels)
    bad = 0
    for first in range(0, n, voxels):
        count = min(voxels, n - first)
        bad += _pack(planes, first, count, tiles)
        sums[:] = 0.0
        for tree in range(trees):
            _add_tree(packed, tree, tiles, -(-count // LANES), walk, sums)
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
    n = planes.shape[1]
    trees = packed.starts.size - 1
    tiles, sums, walk = _room(planes, packed, voxels)
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
            _add_tree(packed, tree, tiles, -(-count // LANES), walk, sums)
            if tree + 1 == look and look < trees:
                count = _undecided(tiles, sums, places, count, trees, packed.rest[look] + SLACK, out)
                look += every
                if count == 0:
                    break
        for v in range(count):
            out[places[v]] = _greatest(sums[v], trees)
    return bad


@njit(nogil=True, cache=True)
def _room(planes, packed, voxels):  # type: ignore[no-untyped-def]
    """Tiles, and one more for what fills up eight voxels; sums; where each voxel is, and who has not arrived."""
    tiles = np.zeros((voxels // LANES + 1, planes.shape[0] * LANES), np.uint32)
    sums = np.empty((voxels, packed.values.shape[1]), np.float64)
    return tiles, sums, np.zeros((2, voxels + LANES), np.uint32)


@njit(nogil=True, cache=True)
def _step(nodes, tiles, lane, i, bits, mask):  # type: ignore[no-untyped-def]
    node = nodes[i + i]
    right = tiles[np.uint64(node & mask) + lane] > nodes[i + i + _ONE]
    return (np.uint64(node) >> bits) + np.uint64(right)


@njit(nogil=True, cache=True)
def _steps(nodes, tiles, lanes, at, steps, bits, mask):  # type: ignore[no-untyped-def]
    """Steps of eight voxels: scalars of their own, whose loads overlap."""
    a, b, c, d, e, f, g, h = at
    for _ in range(steps):
        a = _step(nodes, tiles, lanes[0], a, bits, mask)
        b = _step(nodes, tiles, lanes[1], b, bits, mask)
        c = _step(nodes, tiles, lanes[2], c, bits, mask)
        d = _step(nodes, tiles, lanes[3], d, bits, mask)
        e = _step(nodes, tiles, lanes[4], e, bits, mask)
        f = _step(nodes, tiles, lanes[5], f, bits, mask)
        g = _step(nodes, tiles, lanes[6], g, bits, mask)
        h = _step(nodes, tiles, lanes[7], h, bits, mask)
    return a, b, c, d, e, f, g, h


@njit(nogil=True, cache=True)
def _keep(nodes, walk, kept, voxel, i):  # type: ignore[no-untyped-def]
    """Where a voxel is; the voxel among those kept, unless it is a leaf's: the next one takes its place then."""
    walk[0, voxel] = i
    walk[1, kept] = voxel
    return kept + np.uint64(nodes[i + i + _ONE] < _ABOVE)


@njit(nogil=True, cache=True)
def _keep_all(nodes, walk, kept, voxels, at):  # type: ignore[no-untyped-def]
    kept = _keep(nodes, walk, kept, voxels[0], at[0])
    kept = _keep(nodes, walk, kept, voxels[1], at[1])
    kept = _keep(nodes, walk, kept, voxels[2], at[2])
    kept = _keep(nodes, walk, kept, voxels[3], at[3])
    kept = _keep(nodes, walk, kept, voxels[4], at[4])
    kept = _keep(nodes, walk, kept, voxels[5], at[5])
    kept = _keep(nodes, walk, kept, voxels[6], at[6])
    return _keep(nodes, walk, kept, voxels[7], at[7])


@njit(nogil=True, cache=True)
def _eight(start):  # type: ignore[no-untyped-def]
    """Eight numbers from one on."""
    a = np.uint64(start)
    b, c, d = a + _ONE, a + np.uint64(2), a + np.uint64(3)
    return a, b, c, d, a + np.uint64(4), a + np.uint64(5), a + np.uint64(6), a + np.uint64(7)


@njit(nogil=True, cache=True)
def _taken(row, places):  # type: ignore[no-untyped-def]
    """Eight values of a row of uint32."""
    a, b, c, d, e, f, g, h = places
    return (
        np.uint64(row[a]),
        np.uint64(row[b]),
        np.uint64(row[c]),
        np.uint64(row[d]),
        np.uint64(row[e]),
        np.uint64(row[f]),
        np.uint64(row[g]),
        np.uint64(row[h]),
    )


@njit(nogil=True, cache=True)
def _lane(voxel, width):  # type: ignore[no-untyped-def]
    """Where the first feature of a voxel lies among all tiles."""
    return (voxel >> _SHIFT) * width + (voxel & _LANE)


@njit(nogil=True, cache=True)
def _lanes(voxels, width):  # type: ignore[no-untyped-def]
    a, b, c, d, e, f, g, h = voxels
    return (
        _lane(a, width),
        _lane(b, width),
        _lane(c, width),
        _lane(d, width),
        _lane(e, width),
        _lane(f, width),
        _lane(g, width),
        _lane(h, width),
    )


@njit(nogil=True, cache=True)
def _add_tree(packed, tree, tiles, used, walk, sums):  # type: ignore[no-untyped-def]
    """The tree's values to the sums of the voxels of the first ``used`` tiles."""
    nodes, values = packed.nodes[2 * packed.starts[tree] : 2 * packed.starts[tree + 1]], packed.values
    first, steps = np.uint64(packed.rows[tree]), packed.steps[tree]
    bits = np.uint64(packed.bits)
    mask = np.uint32((_ONE << bits) - _ONE)
    root = kept = np.uint64(0)
    roots = root, root, root, root, root, root, root, root
    lanes = _eight(0)
    for place in range(used):
        at = _steps(nodes, tiles[place], lanes, roots, steps, bits, mask)
        kept = _keep_all(nodes, walk, kept, _eight(place * LANES), at)
    beyond = np.uint64(used * LANES)  # a voxel that nobody asks for
    flat, width = tiles.reshape(-1), np.uint64(tiles.shape[1])
    more = max(2, steps // 2)
    while kept > root:
        groups = (kept + _LANE) >> _SHIFT
        walk[0, beyond] = root
        for k in range(kept, groups << _SHIFT):
            walk[1, k] = beyond
        kept = root
        for group in range(groups):
            voxels = _taken(walk[1], _eight(group << _SHIFT))
            at = _steps(nodes, flat, _lanes(voxels, width), _taken(walk[0], voxels), more, bits, mask)
            kept = _keep_all(nodes, walk, kept, voxels, at)
        while kept > root and walk[1, kept - _ONE] == beyond:
            kept -= _ONE
    if values.shape[1] == 2:  # by far the most common: no inner loop
        for v in range(beyond):
            i = np.uint64(walk[0, v])
            row = first + np.uint64(nodes[i + i + _ONE] & _ROW)
            sums[v, 0] += values[row, 0]
            sums[v, 1] += values[row, 1]
    else:
        for v in range(beyond):
            i = np.uint64(walk[0, v])
            row = first + np.uint64(nodes[i + i + _ONE] & _ROW)
            for c in range(values.shape[1]):
                sums[v, c] += values[row, c]


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
) -> NDArray[np.uint32]:
    """Nodes as `_step` reads them, two numbers each.

    left : counts from the tree's first node; row : of a leaf, counts from the tree's first row, -1 of an inner node.
    """
    leaf = row >= 0
    # No threshold stays -0.0: then -0.0 and 0.0 fall on the same side of every one, though their keys differ. None
    # stays infinite: above all finite values lie leaves.
    inner = np.minimum(ordered(threshold + np.float32(0)), _ABOVE - np.uint32(1))
    wanted = np.where(leaf, 0, feature).astype(np.uint32) * np.uint32(LANES)
    nodes = np.empty((leaf.size, 2), np.uint32)
    nodes[:, 0] = (left.astype(np.uint32) << np.uint32(bits)) | wanted
    nodes[:, 1] = np.where(leaf, _ABOVE + np.where(leaf, row, 0).astype(np.uint32), inner)
    return nodes.reshape(-1)


def ordered(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """The bits of float32 values as integers of the same order.

    >>> ordered(np.array([-np.inf, -1, 0, 1, np.inf], "float32")).tolist()
    [8388607, 1082130431, 2147483648, 3212836864, 4286578688]
    """
    return in_order(values.view(np.uint32), _KEYS)
