"""The tree of super-blocks by which components are merged, and the intervals by which they are numbered.

A node of level 0 is a block; a node of level k holds 2 x 2 x 2 nodes of level k - 1, fewer at the volume's end.
Two blocks that touch meet at one node: the smallest that holds both. Integers only, no arrays of voxels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from bigseg.engine.field import Array
from bigseg.grid import Grid, Shape

INTERVAL = 1 << 26
"""Voxels in which one task numbers the objects: one bit and half a byte of rank each 64 voxels, 12 MiB."""


class Node(NamedTuple):
    """A super-block: its level, and its number in raster order among those of its level."""

    level: int
    number: int


@dataclass(frozen=True)
class Tree:
    """The super-blocks of a grid.

    Parameters
    ----------
    grid : the blocks.
    periodic : for each axis whether the first and the last block are neighbours; () for none.

    >>> tree = Tree(Grid((40, 30), (10, 10)))
    >>> tree.levels, tree.rounds, tree.children(Node(2, 0))
    (2, (4, 1), [Node(level=1, number=0), Node(level=1, number=1), Node(level=1, number=2), Node(level=1, number=3)])
    """

    grid: Grid
    periodic: tuple[bool, ...] = ()

    @property
    def levels(self) -> int:
        """Levels above the blocks: none for a single block that has no neighbours."""
        return max((max(self.grid.counts) - 1).bit_length(), int(any(self.periodic)))

    @property
    def rounds(self) -> tuple[int, ...]:
        """Nodes of level 1, 2, ...: each level can be joined when the one below is."""
        return tuple(prod(self.counts(level)) for level in range(1, self.levels + 1))

    def counts(self, level: int) -> Shape:
        """Nodes of a level per axis.

        >>> [Tree(Grid((50,), (10,))).counts(level) for level in range(4)]
        [(5,), (3,), (2,), (1,)]
        """
        return tuple((count - 1 >> level) + 1 for count in self.grid.counts)

    def unit(self, node: Node) -> int:
        """The number of a node above the blocks, counted from level 1 on."""
        return sum(self.rounds[: node.level - 1]) + node.number

    def at(self, unit: int) -> Node:
        """The node that `unit` numbers.

        >>> Tree(Grid((40, 30), (10, 10))).at(4)
        Node(level=2, number=0)
        """
        for level, count in enumerate(self.rounds, start=1):
            if unit < count:
                return Node(level, unit)
            unit -= count
        raise IndexError(unit)

    def position(self, node: Node) -> Shape:
        """Its place among the nodes of its level."""
        return tuple(map(int, np.unravel_index(node.number, self.counts(node.level))))

    def _node(self, level: int, position: Shape) -> Node:
        return Node(level, int(np.ravel_multi_index(position, self.counts(level))))

    def children(self, node: Node) -> list[Node]:
        """The nodes that it holds, in raster order."""
        below = self.counts(node.level - 1)
        ranges = (range(2 * p, min(2 * p + 2, n)) for p, n in zip(self.position(node), below, strict=True))
        return [self._node(node.level - 1, position) for position in product(*ranges)]

    def parent(self, node: Node) -> tuple[Node, int]:
        """The node that holds it, and its place among that node's children."""
        above = self._node(node.level + 1, tuple(p // 2 for p in self.position(node)))
        return above, self.children(above).index(node)

    def first_block(self, node: Node) -> Shape:
        """Position of its first block."""
        return tuple(p << node.level for p in self.position(node))

    def blocks(self, node: Node) -> Shape:
        """Its blocks per axis."""
        whole = 1 << node.level
        counts = self.grid.counts
        return tuple(min(whole, n - p) for p, n in zip(self.first_block(node), counts, strict=True))

    def planes(self, node: Node) -> tuple[int, int]:
        """The planes of the first axis that it covers."""
        first, blocks = self.first_block(node)[0], self.blocks(node)[0]
        return first * self.grid.block[0], min((first + blocks) * self.grid.block[0], self.grid.shape[0])

    def sides(self, node: Node) -> list[tuple[int, int]]:
        """The faces behind which there are other blocks: axis, and 0 (low) or 1 (high).

        On a periodic axis every face, until a node spans the axis.
        """
        found = []
        for axis, (first, blocks, count) in enumerate(
            zip(self.first_block(node), self.blocks(node), self.grid.counts, strict=True)
        ):
            around = self._wraps(axis) and (blocks < count or node.level == 0)
            if first > 0 or around:
                found.append((axis, 0))
            if first + blocks < count or around:
                found.append((axis, 1))
        return found

    def _wraps(self, axis: int) -> bool:
        return bool(self.periodic) and self.periodic[axis]

    def surface(self, node: Node) -> Iterator[tuple[int, int]]:
        """The blocks that lie at its open faces: number, and one bit (2 axis + side) for each such face."""
        places = self._places(node)
        bits = np.zeros(places[0].shape, np.uint8)
        first, blocks = self.first_block(node), self.blocks(node)
        for axis, side in self.sides(node):
            bits[places[axis] == first[axis] + side * (blocks[axis] - 1)] |= 1 << (2 * axis + side)
        numbers = np.ravel_multi_index(places, self.grid.counts)
        chosen = np.flatnonzero(bits)
        yield from zip(numbers[chosen].tolist(), bits[chosen].tolist(), strict=True)

    def meetings(self, node: Node, directions: list[Shape]) -> Iterator[tuple[int, int, Shape]]:
        """The neighbouring blocks that meet at a node: a block, its neighbour, and the direction to it."""
        places = np.stack(self._places(node))
        counts = np.array(self.grid.counts)[:, None]
        found = []
        for number, direction in enumerate(directions):
            there = places + np.array(direction)[:, None]
            inside = (there >= 0) & (there < counts)
            if any(self.periodic):
                inside |= np.array(self.periodic)[:, None]
                there %= counts
            meet = inside.all(0) & (there >> node.level == places >> node.level).all(0)
            if node.level > 1:  # a block that is its own neighbour on a periodic axis is joined at level 1
                meet &= (there >> (node.level - 1) != places >> (node.level - 1)).any(0)
            one = np.ravel_multi_index(tuple(places[:, meet]), self.grid.counts)
            two = np.ravel_multi_index(tuple(there[:, meet]), self.grid.counts)
            found.append(np.stack([one, two, np.full(len(one), number)]))
        rows = np.concatenate(found, axis=1)
        for one, two, number in rows[:, np.argsort(rows[0], kind="stable")].T.tolist():
            yield one, two, directions[number]

    def _places(self, node: Node) -> tuple[Array, ...]:
        """Positions of its blocks, flat, one array an axis."""
        start, blocks = self.first_block(node), self.blocks(node)
        grids = np.indices(blocks).reshape(len(blocks), -1)
        return tuple(grid + first for grid, first in zip(grids, start, strict=True))


@dataclass(frozen=True)
class Intervals:
    """The volume in raster order, cut into runs of whole planes of the first axis.

    Where planes are small an interval holds whole layers of blocks, where they are large a layer is cut: a task
    that numbers the objects of an interval needs memory for about `INTERVAL` voxels, or one plane.
    """

    grid: Grid

    @property
    def starts(self) -> Array:
        """The first plane of every interval, and the end.

        >>> Intervals(Grid((50, 100), (20, 20))).starts.tolist()
        [0, 50]
        """
        layer, planes = self.grid.block[0], max(1, INTERVAL // prod(self.grid.shape[1:]))
        if planes >= layer:
            first = np.arange(0, self.grid.shape[0], planes // layer * layer)
        else:
            layers = np.arange(0, self.grid.shape[0], layer)
            first = (layers[:, None] + np.arange(0, layer, planes)).reshape(-1)
        return np.append(first[first < self.grid.shape[0]], self.grid.shape[0]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def voxels(self, number: int) -> tuple[int, int]:
        """The raster indices of its first voxel and of its end."""
        starts, plane = self.starts, prod(self.grid.shape[1:])
        return int(starts[number]) * plane, int(starts[number + 1]) * plane

    def of(self, tree: Tree, node: Node) -> range:
        """The intervals in which objects of a node can begin."""
        low, high = tree.planes(node)
        starts = self.starts
        return range(int(np.searchsorted(starts, low, "right")) - 1, int(np.searchsorted(starts, high, "left")))

    def nodes(self, tree: Tree, number: int) -> Iterator[Node]:
        """The nodes of all levels whose objects can begin in an interval."""
        low, high = self.starts[number : number + 2]
        for level in range(tree.levels + 1):
            counts = tree.counts(level)
            thick = self.grid.block[0] << level
            for layer in range(int(low) // thick, min(-(-int(high) // thick), counts[0])):
                for place in range(prod(counts[1:])):
                    yield Node(level, layer * prod(counts[1:]) + place)

    def cut(self, first: Array) -> Iterator[tuple[int, slice]]:
        """Rising raster indices, cut at the ends of intervals: interval, and the part that lies in it."""
        if not first.size:
            return
        edges = self.starts * prod(self.grid.shape[1:])
        low = int(np.searchsorted(edges, first[0], "right")) - 1
        high = int(np.searchsorted(edges, first[-1], "right")) - 1
        places = np.searchsorted(first, edges[low : high + 2])
        for interval, (start, stop) in enumerate(zip(places[:-1].tolist(), places[1:].tolist(), strict=True), low):
            if stop > start:
                yield interval, slice(start, stop)
