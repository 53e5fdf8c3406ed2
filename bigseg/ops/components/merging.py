"""Merging components by their surfaces, as a tree of super-blocks.

A task joins the blocks that meet at one super-block: which open components of its children touch, face by face, edge
by edge, corner by corner. What no longer reaches a face behind which there are other blocks is done, and its row is
stored for good; what does goes on to the next level. So a task holds the components on the faces of its children, and
of the planes a few at a time; how many components there are in all it never knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from bigseg.engine.field import Array, Values, Workspace
from bigseg.grid import Grid, Shape
from bigseg.local.components.faces import join_planes
from bigseg.local.components.unionfind import number_groups, roots, unite_pairs
from bigseg.ops.components.labelling import plane_name, value_name
from bigseg.ops.components.rows import merged, order_of_done, packed
from bigseg.ops.components.superblocks import Intervals, Node, Tree

PLANES = 64
"""Planes that a task keeps at hand: a block meets up to 26 others on six of its planes."""
PARTS = 64
"""Headers of partial results that a task keeps at hand, about 10 KiB each; 512 made no join faster."""
FACE_VOXELS = 100
"""One open component is expected in so many voxels of the faces; in dense noise it is one in six."""


@dataclass(frozen=True)
class Join:
    """What touches across blocks, level by level.

    A task's memory: `PLANES` planes of a block, and for each open component of its children about 30 bytes and its row
    three times. Stored a super-block: what `bigseg.ops.components.rows` says; ``child-K``, what became of the open
    components of its K-th child: the place (1, 2, ...) among the open ones, or minus the place among those done;
    ``map-B``, the same for the open components of each block B that lies at an open face, 0 where they are done.
    """

    name: str
    source: str
    connectivity: int
    periodic: tuple[bool, ...] = ()
    valued: bool = False
    prefix: str = ""
    """Of the names of the arrays that pass 1 kept."""
    light = True

    def units(self, grid: Grid) -> tuple[int, ...]:
        """One task a super-block."""
        return Tree(grid, self.periodic).rounds

    def memory(self, grid: Grid) -> int:
        """Planes, and the components that are expected on the faces of the children of one super-block."""
        planes = PLANES * 8 * max(prod(grid.block) // side for side in grid.block)
        return (16 << 20) + planes + 400 * face_voxels(Tree(grid, self.periodic)) // FACE_VOXELS

    def bind(self, values: Values) -> Join:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Join the children of one super-block."""
        space.scratch.write(self.name, unit, self.joined(unit, space))
        return {}

    def joined(self, unit: int, space: Workspace) -> dict[str, Array]:
        """What is stored of one super-block."""
        tree = Tree(space.grid, self.periodic)
        node = tree.at(unit)
        below = Below(self, space, tree, node)
        open_of = lru_cache(PLANES)(below.open_of)
        parent = np.arange(below.ends[-1], dtype=np.int64)
        for pairs in self._touching(below, open_of):
            unite_pairs(parent, pairs)
        group, count = number_groups(roots(parent))
        still = np.zeros(count, bool)
        for block, sides in tree.surface(node):
            mine = open_of(block)
            still[group[mine[(below.faces(block) & np.uint8(sides)) != 0]]] = True
        rows = {name: merged(name, column, group, count) for name, column in below.rows()}
        done = order_of_done(rows, still)
        fate = fates(still, done)[group]
        kept = {f"child-{k}": fate[below.ends[k] : below.ends[k + 1]] for k in range(len(below.children))}
        for block, _ in tree.surface(node):
            kept[f"map-{block}"] = onward(open_of(block), fate)
        return packed(rows, still, done, Intervals(space.grid)) | kept

    def _touching(self, below: Below, open_of: Callable[[int], Array]) -> Iterator[Array]:
        """Pairs of open components of the children, one array for two blocks that meet."""
        directions = forward(len(below.tree.grid.shape), self.connectivity)
        plane = lru_cache(PLANES)(below.plane)
        for block, other, direction in below.tree.meetings(below.node, directions):
            pairs = join_planes(*self._facing(plane, block, other, direction))
            mine, theirs = open_of(block), open_of(other)
            yield np.column_stack([mine[pairs[:, 0].astype(np.int64) - 1], theirs[pairs[:, 1].astype(np.int64) - 1]])

    def _facing(self, plane: Any, block: int, other: int, direction: Shape) -> tuple[Any, ...]:
        """The voxels of two blocks that meet across a face, an edge or a corner, for `join_planes`.

        They lie on one plane of each block, on the first axis along which the blocks differ; on further such axes
        they are that plane's last or first line.
        """
        axis = next(axis for axis, step in enumerate(direction) if step)
        mine: list[slice] = []
        theirs: list[slice] = []
        for place, step in enumerate(direction):
            if place != axis:
                mine.append(slice(None) if step == 0 else (slice(-1, None) if step > 0 else slice(0, 1)))
                theirs.append(slice(None) if step == 0 else (slice(0, 1) if step > 0 else slice(-1, None)))
        sides = int(direction[axis] > 0), int(direction[axis] < 0)
        reach = self.connectivity - sum(map(abs, direction))

        def cut(name: Any) -> tuple[Array, Array]:
            one = plane(block, name(axis, sides[0]))[tuple(mine)]
            return np.atleast_2d(one), np.atleast_2d(plane(other, name(axis, sides[1]))[tuple(theirs)])

        values = cut(value_name) if self.valued else None
        return (*cut(plane_name), reach, values)


class Below:
    """What lies under a super-block: the open components of its children, numbered one child after the other."""

    def __init__(self, join: Join, space: Workspace, tree: Tree, node: Node) -> None:
        self.join, self.tree, self.node = join, tree, node
        self.open = lru_cache(PARTS)(space.scratch.open)
        self.children = [place_of(join.name, join.source, tree, child) for child in tree.children(node)]
        sizes = [int(self._read(stage, number, "n")[0]) for stage, number in self.children]
        self.ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._child_of = {child: k for k, child in enumerate(tree.children(node))}

    def _prefix(self, stage: str) -> str:
        return self.join.prefix if stage == self.join.source else ""

    def _read(self, stage: str, number: int, name: str) -> Array:
        name = self._prefix(stage) + name
        return self.open(stage, number).read([name])[name]

    def plane(self, block: int, name: str) -> Array:
        """A plane of a block, as pass 1 kept it."""
        return self._read(self.join.source, block, name)

    def faces(self, block: int) -> Array:
        """The faces that each open component of a block reaches."""
        return self._read(self.join.source, block, "faces")

    def rows(self) -> Iterator[tuple[str, Array]]:
        """Every column of the rows of all open components."""
        start = self._prefix(self.children[0][0]) + "open-"
        parts = [self.open(*child) for child in self.children]
        rows = [part.read([name for name in part.index if name.startswith(start)]) for part in parts]
        for name in list(rows[0]):
            yield name.removeprefix(start), np.concatenate([part.pop(name) for part in rows])

    def open_of(self, block: int) -> Array:
        """The number, under this super-block, of each component that was open in a block; -1 where it is done."""
        position = self.tree.grid[block].position
        level = self.node.level - 1
        counts = self.tree.counts(level)
        child = Node(level, int(np.ravel_multi_index(tuple(p >> level for p in position), counts)))
        k = self._child_of[child]
        if level == 0:
            return np.arange(self.ends[k], self.ends[k + 1])
        place = self._read(*self.children[k], f"map-{block}").astype(np.int64)
        return np.where(place > 0, place - 1 + self.ends[k], -1)


def onward(mine: Array, fate: Array) -> Array:
    """The places, among the open ones of a super-block, of components numbered under it as in `Below.open_of`; or 0.

    >>> onward(np.array([2, -1, 0]), np.array([-1, 1, 2])).tolist()
    [2, 0, 0]
    """
    known = mine >= 0
    found = np.zeros(len(mine), np.uint32)
    found[known] = np.maximum(fate[mine[known]], 0)
    return found


def fates(still: Array, done: Array) -> Array:
    """What becomes of components: the place (1, 2, ...) among the open ones, or minus the place among those done.

    >>> fates(np.array([True, False, True, False]), np.array([3, 1])).tolist()
    [1, -2, 2, -1]
    """
    fate = np.zeros(still.size, np.int64)
    fate[still] = np.arange(1, np.count_nonzero(still) + 1)
    fate[done] = -np.arange(1, done.size + 1)
    return fate


def place_of(join: str, source: str, tree: Tree, node: Node) -> tuple[str, int]:
    """Where the partial result of a node lies: stage and number; ``join`` has super-blocks, ``source`` blocks."""
    return (join, tree.unit(node)) if node.level else (source, node.number)


def forward(ndim: int, connectivity: int) -> list[Shape]:
    """Half of the directions to neighbouring blocks that the connectivity reaches: 3, 9 or 13 in 3-D.

    >>> [len(forward(3, c)) for c in (1, 2, 3)]
    [3, 9, 13]
    """
    every = [d for d in product((-1, 0, 1), repeat=ndim) if 0 < sum(map(abs, d)) <= connectivity]
    return [d for d in every if d > (0,) * ndim]


def face_voxels(tree: Tree) -> int:
    """Voxels on the open faces of the children of the super-block that has most of them.

    The first super-block of a level is its largest; its neighbours in the middle have all their faces open.
    """
    most = 0
    for level in range(tree.levels):
        blocks = tree.blocks(Node(level, 0))
        sides = [min(b * side, n) for b, side, n in zip(blocks, tree.grid.block, tree.grid.shape, strict=True)]
        faces = 0
        for axis, count in enumerate(tree.counts(level)):
            faces += min(count - 1, 2) * prod(sides) // sides[axis]
        most = max(most, faces * len(tree.children(Node(level + 1, 0))))
    return most
