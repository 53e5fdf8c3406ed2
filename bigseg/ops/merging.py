"""Merging components: which touch across blocks, what they add up to, what each block's map is.

Memory of ``join``: the planes of one block and one plane of each neighbour. Memory of ``merge``: about 200 bytes
a local component, all in one task; merging as a tree of super-blocks will bound it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

import numpy as np

from bigseg.engine.field import Array, Values, Workspace
from bigseg.errors import ValuesError
from bigseg.grid import Block, Grid, Shape
from bigseg.local.faces import join_planes
from bigseg.local.unionfind import union_pairs
from bigseg.ops.labelling import Identity, plane_name
from bigseg.ops.table import Measure, Predicate, Rows, TableRequest, merge_rows, write_objects
from bigseg.storage.spec import Spec

JOINED_TOGETHER = 16
"""Blocks whose joins travel in one task: a join takes about 2 ms a neighbour."""


@dataclass(frozen=True)
class Join:
    """Which local components of each block touch components of its neighbours."""

    name: str
    source: str
    connectivity: int

    def units(self, grid: Grid) -> int:
        """Blocks in groups."""
        return -(-len(grid) // JOINED_TOGETHER)

    def memory(self, grid: Grid) -> int:
        """Six planes of a block and one of a neighbour, with room for their pairs."""
        planes = sum(prod(grid.block) // side for side in grid.block)
        return 8 * 4 * planes

    def bind(self, values: Values) -> Join:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Rows of (block, its component, neighbour, its component)."""
        grid = space.grid
        first = unit * JOINED_TOGETHER
        found = [np.zeros((0, 4), np.int64)]
        for number in range(first, min(first + JOINED_TOGETHER, len(grid))):
            block = grid[number]
            for direction in forward(len(grid.shape), self.connectivity):
                neighbour = grid.neighbour(block, direction)
                if neighbour is not None:
                    pairs = self._touching(block, neighbour, direction, space)
                    ends = np.broadcast_to([block.number, neighbour.number], (len(pairs), 2))
                    found.append(np.column_stack([ends[:, 0], pairs[:, 0], ends[:, 1], pairs[:, 1]]))
        space.scratch.write(self.name, unit, {"pairs": np.concatenate(found).astype(np.int64)})
        return {}

    def _touching(self, block: Block, other: Block, direction: Shape, space: Workspace) -> Array:
        """Pairs of local components across a face, an edge or a corner.

        The voxels that meet lie on one plane of each block, on the first axis along which the blocks differ; on
        further such axes they are that plane's last or first line.
        """
        axis = next(axis for axis, step in enumerate(direction) if step)
        sides = [1 if step > 0 else 0 for step in direction]
        mine = self._plane(space, block.number, axis, sides[axis])
        theirs = self._plane(space, other.number, axis, 1 - sides[axis])
        cut_mine, cut_theirs = [], []
        for other_axis, step in enumerate(direction):
            if other_axis == axis:
                continue
            cut_mine.append(slice(None) if step == 0 else (slice(-1, None) if step > 0 else slice(0, 1)))
            cut_theirs.append(slice(None) if step == 0 else (slice(0, 1) if step > 0 else slice(-1, None)))
        reach = self.connectivity - sum(map(abs, direction))
        mine, theirs = mine[tuple(cut_mine)], theirs[tuple(cut_theirs)]
        return join_planes(np.atleast_2d(mine), np.atleast_2d(theirs), reach)

    def _plane(self, space: Workspace, number: int, axis: int, side: int) -> Array:
        name = plane_name(axis, side)
        return space.scratch.read(self.source, number, [name])[name]


def forward(ndim: int, connectivity: int) -> list[Shape]:
    """Half of the directions to neighbouring blocks that the connectivity reaches: 3, 9 or 13 in 3-D.

    >>> [len(forward(3, c)) for c in (1, 2, 3)]
    [3, 9, 13]
    """
    every = [d for d in product((-1, 0, 1), repeat=ndim) if 0 < sum(map(abs, d)) <= connectivity]
    return [d for d in every if d > (0,) * ndim]


@dataclass(frozen=True)
class View:
    """Objects chosen from a set of components: which are shown, and among which the ids are counted.

    Each condition sees the objects that those before it have left.
    """

    shown: tuple[Predicate, ...] = ()
    counted: tuple[Predicate, ...] = ()

    def bind(self, values: Values) -> View:
        """With computed thresholds."""
        return View(tuple(item.bind(values) for item in self.shown), tuple(item.bind(values) for item in self.counted))


@dataclass(frozen=True)
class Merge:
    """The union of all pairs, the objects' rows, the ids, the maps of all blocks, the tables."""

    name: str
    source: str
    join: str
    spec: Spec
    identity: Identity
    views: tuple[View, ...]
    tables: tuple[TableRequest, ...]
    measures: tuple[Measure, ...]

    def units(self, grid: Grid) -> int:
        """One task: the flat form."""
        return 1

    def memory(self, grid: Grid) -> int:
        """About 200 bytes a local component; a thousand a block are expected, or one in 5,000 voxels."""
        return (32 << 20) + 200 * max(1000, prod(grid.block) // 5000) * len(grid)

    def bind(self, values: Values) -> Merge:
        """With computed thresholds and ranges."""
        return replace(
            self,
            views=tuple(view.bind(values) for view in self.views),
            tables=tuple(table.bind(values) for table in self.tables),
            measures=tuple(item.bind(values) for item in self.measures),
        )

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Merge everything."""
        numbers = range(len(space.grid))
        parts = [space.scratch.read(self.source, number, ["first", "check", "value"]) for number in numbers]
        ends = np.concatenate([[0], np.cumsum([len(part["first"]) for part in parts])])
        group, count = self._groups(parts, ends, space)
        del parts[:]
        rows = merge_rows(
            (space.scratch.read(self.source, number) for number in numbers), group, ends, count, self.measures
        )
        ids = [self._ids(view, rows) for view in self.views]
        for table in self.tables:
            write_objects(space.folder / "tables" / f"{table.name}.parquet", table, rows, ids[table.view], self.spec)
        for number in numbers:
            mine = group[ends[number] : ends[number + 1]]
            check = space.scratch.read(self.source, number, ["check"])["check"]
            maps = {f"map-{k}": np.concatenate([[0], found[mine]]).astype(found.dtype) for k, found in enumerate(ids)}
            space.scratch.write(self.name, number, {"check": check, **maps})
        return {f"objects-{k}": int(np.count_nonzero(found)) for k, found in enumerate(ids)}

    def _groups(self, parts: Sequence[Mapping[str, Array]], ends: Array, space: Workspace) -> tuple[Array, int]:
        """The object of every local component: 0..count-1 in the order of first voxels."""
        if self.identity == "equal":
            values = np.concatenate([part["value"] for part in parts])
            found, group = np.unique(values, return_inverse=True)
            return group.astype(np.int64), len(found)
        first = np.concatenate([part["first"] for part in parts])
        pairs = []
        for unit in range(Join(self.join, self.source, 1).units(space.grid)):
            four = space.scratch.read(self.join, unit)["pairs"]
            pairs.append(np.column_stack([ends[four[:, 0]] + four[:, 1] - 1, ends[four[:, 2]] + four[:, 3] - 1]))
        root = union_pairs(len(first), np.concatenate(pairs))
        least = np.full(len(first), np.iinfo(np.int64).max)
        np.minimum.at(least, root, first)
        roots = np.flatnonzero(root == np.arange(len(root)))
        rank = np.empty(len(first), np.int64)
        rank[roots[np.argsort(least[roots], kind="stable")]] = np.arange(len(roots))
        return rank[root], len(roots)

    def _ids(self, view: View, rows: Rows) -> Array:
        """The final id of every object, 0 where it is not shown."""
        shown = np.ones(len(rows["size"]), bool)
        for condition in view.shown:
            shown &= condition.holds(rows, shown)
        if self.identity == "equal":
            numbers = rows["value"]
            if numbers.size and int(numbers.max()) < 2**32:
                numbers = numbers.astype(np.uint32)
            return np.where(shown, numbers, numbers.dtype.type(0))
        counted = np.ones(len(shown), bool)
        for condition in view.counted:
            counted &= condition.holds(rows, counted)
        if np.count_nonzero(counted) >= 2**32:
            raise ValuesError(
                f"{self.name}: {np.count_nonzero(counted)} objects are more than uint32 labels can number; remove "
                "small objects first"
            )
        ids = np.cumsum(counted).astype(np.uint32)
        return np.where(shown & counted, ids, np.uint32(0))
