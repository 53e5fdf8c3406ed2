"""Ids: objects are judged and ranked interval by interval, the ids handed down from super-blocks to blocks.

1. `Rank`: a task an interval of the volume; objects that begin there are judged, and ranked by their first voxels
   without sorting (`bigseg.local.components.ranks`): memory for the interval's voxels and objects, 64 million voxels or
   one plane.
2. `Total`: how many there are in the intervals before each: what its ranks begin at.
3. `HandDown`: level by level, the ids of the components that are open in the children of a super-block.

`block_ids` then has the ids of a block's own components.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from bigseg.engine.field import Array, Values, Workspace
from bigseg.errors import ValuesError
from bigseg.grid import Grid
from bigseg.local.components.ranks import Ranks
from bigseg.ops.components.choosing import FindLimits, Shelves, View, holds
from bigseg.ops.components.merging import FACE_VOXELS, face_voxels
from bigseg.ops.components.rows import Rows, counts, done_rows
from bigseg.ops.components.superblocks import INTERVAL, Intervals, Node, Tree
from bigseg.storage.scratch import Scratch


@dataclass(frozen=True)
class Rank:
    """Which objects of an interval are shown, and their ranks among those counted there.

    Stored an interval: ``NODE-VIEW``, for the objects of a node that begin there 0 or the rank (of label images the
    label itself); where a view is only shown as a mask, 0 or 1.
    """

    name: str
    shelves: Shelves
    limits: FindLimits
    views: tuple[View, ...]
    numbered: tuple[bool, ...]
    """For each view, whether its ids are needed."""
    bare: bool
    """Whether nothing is known of the objects but how many there are."""
    light = True

    def units(self, grid: Grid) -> int:
        """One task an interval."""
        return self.shelves.intervals(grid)

    def memory(self, grid: Grid) -> int:
        """The interval's bits, and 60 bytes an object; one in 200 voxels is expected."""
        voxels = min(INTERVAL, prod(grid.shape))
        return (8 << 20) + voxels // 64 * 16 + 60 * voxels // 200

    def bind(self, values: Values) -> Rank:
        """With computed thresholds, and the limits that were found."""
        bound = self.limits.bind(values)
        limits = bound.limits(values)
        return replace(self, views=tuple(view.bind(values).limited(limits) for view in self.views))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Judge and rank the objects of an interval."""
        if self.bare:
            count = self._count(unit, space)
            return {f"{what}-{k}@{unit}": count for k in range(len(self.views)) for what in ("shown", "counted")}
        chains = [chain for view in self.views for chain in (view.shown, view.counted)]
        columns = self.shelves.columns(space, chains) | {"first", "value"}
        nodes: dict[str, Rows] = {}
        for name, stage, number in self.shelves.nodes(space.grid, unit):
            rows = done_rows(space.scratch, stage, number, unit, columns)
            if rows:
                nodes[name] = self._judged(rows)
        kept: Rows = {}
        told: dict[str, int] = {}
        for k, numbered in enumerate(self.numbered):
            ranked = self.shelves.identity != "equal" and numbered
            told[f"shown-{k}@{unit}"] = sum(int(np.count_nonzero(rows[f"shown-{k}"])) for rows in nodes.values())
            ranks = self._ranks(unit, space, nodes, k) if ranked else None
            told[f"counted-{k}@{unit}"] = ranks.count() if ranks is not None else told[f"shown-{k}@{unit}"]
            for name, rows in nodes.items():
                shown = rows[f"shown-{k}"]
                if ranks is not None:
                    ids = np.zeros(len(shown), np.uint32)
                    ids[shown] = ranks.of(rows["first"][shown])
                elif numbered:
                    ids = np.where(shown, rows["value"], np.uint64(0))
                else:
                    ids = shown.view(np.uint8)
                kept[f"{name}-{k}"] = ids
        space.scratch.write(self.name, unit, kept)
        return told

    def _judged(self, rows: Rows) -> Rows:
        """For every view, which objects are shown, and which are counted."""
        count = len(next(iter(rows.values())))
        found: Rows = {name: rows[name] for name in ("first", "value") if name in rows}
        for k, view in enumerate(self.views):
            counted = holds(view.counted, rows, count)
            same = view.shown == view.counted
            found[f"counted-{k}"] = counted
            found[f"shown-{k}"] = counted if same else counted & holds(view.shown, rows, count)
        return found

    def _ranks(self, unit: int, space: Workspace, nodes: Mapping[str, Rows], view: int) -> Ranks:
        start, stop = Intervals(space.grid).voxels(unit)
        ranks = Ranks(start, stop - start)
        for rows in nodes.values():
            ranks.mark(rows["first"][rows[f"counted-{view}"]])
        return ranks

    def _count(self, unit: int, space: Workspace) -> int:
        """Objects of the nodes that begin in an interval, where nothing but their number is kept."""
        tree, total = Tree(space.grid, self.shelves.periodic), 0
        if self.shelves.identity == "equal":
            places = self.shelves.nodes(space.grid, unit)
            return sum(counts(space.scratch, stage, number)[1] for _, stage, number in places)
        for node in Intervals(space.grid).nodes(tree, unit):
            if Intervals(space.grid).of(tree, node).start == unit:
                total += counts(space.scratch, *self.shelves.node(tree, node)[1:])[1]
        return total


@dataclass(frozen=True)
class Total:
    """How many objects each view shows, and the ranks at which the intervals begin.

    Values: ``objects-VIEW``. Stored: ``VIEW``, the number of objects counted before each interval.
    """

    name: str
    rank: Rank
    most: tuple[int, ...]
    """For each view the greatest id that its labels can hold."""
    found: Mapping[str, Any] | None = None
    light = True

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """A few numbers an interval."""
        return 4 << 20

    def bind(self, values: Values) -> Total:
        """With the numbers of all intervals."""
        return replace(self, found=dict(values.get(self.rank.name, {})))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Add up.

        Raises
        ------
        ValuesError
            When there are more objects than the labels' dtype can number.
        """
        assert self.found is not None
        told, kept = {}, {}
        intervals = range(self.rank.units(space.grid))
        for k, most in enumerate(self.most):
            counted, shown = (
                np.array([self.found[f"{what}-{k}@{i}"] for i in intervals], np.int64) for what in ("counted", "shown")
            )
            if counted.sum() > most:
                raise ValuesError(
                    f"{self.name}: {counted.sum()} objects are more than uint32 labels can number: give the label "
                    "step `dtype: uint64`, or remove small objects first"
                )
            kept[str(k)] = np.cumsum(counted) - counted
            told[f"objects-{k}"] = int(shown.sum())
        space.scratch.write(self.name, 0, kept)
        return told


@dataclass(frozen=True)
class TellCount:
    """How many objects a view shows, as the value of a step."""

    total: str
    view: int
    found: int = 0
    light = True

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """A number."""
        return 1 << 20

    def bind(self, values: Values) -> TellCount:
        """With the count."""
        return replace(self, found=values[self.total][f"objects-{self.view}"])

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """That number."""
        return {"objects": self.found}


@dataclass(frozen=True)
class Ids:
    """Where ids lie when all is ranked: of the done objects of a node, and of the components of a block."""

    shelves: Shelves
    rank: str
    total: str
    down: str

    def done(self, scratch: Scratch, tree: Tree, node: Node, view: int) -> Array:
        """The ids of the objects that a node has done, in the order of their rows; 0 where they are not shown."""
        name = self.shelves.node(tree, node)[0]
        found = [self.begun(scratch, name, i, view) for i in Intervals(tree.grid).of(tree, node)]
        return np.concatenate(found)

    def begun(self, scratch: Scratch, name: str, interval: int, view: int) -> Array:
        """Of these, those that begin in an interval (of a label image: in a range of values)."""
        return self.of_interval(scratch, interval, view)(name)

    def of_interval(self, scratch: Scratch, interval: int, view: int) -> Callable[[str], Array]:
        """The ids of the objects of an interval, by the name of the node that has them."""
        part = scratch.open(self.rank, interval)
        before = scratch.read(self.total, 0, [str(view)])[str(view)][interval]

        def ids(name: str) -> Array:
            found = part.read([f"{name}-{view}"]).get(f"{name}-{view}")
            if found is None:
                return np.zeros(0, np.int64)
            return np.where(found > 0, found + before, 0) if found.dtype == np.uint32 else found

        return ids

    def of_block(self, scratch: Scratch, tree: Tree, block: int, view: int) -> Array:
        """The id of each component of a block, in the order of the components; 0 where it is not shown."""
        node = Node(0, block)
        done = self.done(scratch, tree, node, view)
        still = scratch.read(self.shelves.source, block, ["open"])["open"].astype(np.int64) - 1
        ids = np.zeros(len(done) + len(still), np.int64)
        reach = np.zeros(len(ids), bool)
        reach[still] = True
        ids[~reach] = done
        if len(still):
            ids[still] = self._handed(scratch, tree, node, view)
        return ids

    def _handed(self, scratch: Scratch, tree: Tree, node: Node, view: int) -> Array:
        """The ids of the components that are open in a node, which its parent was told."""
        parent, place = tree.parent(node)
        return scratch.read(self.down, tree.unit(parent), [f"{place}-{view}"])[f"{place}-{view}"]

    def of_super_block(self, scratch: Scratch, tree: Tree, node: Node, view: int) -> Iterator[tuple[int, Array]]:
        """For each child of a super-block its place, and the ids of the components that are open in it."""
        done = self.done(scratch, tree, node, view)
        still = self._handed(scratch, tree, node, view) if node.level < tree.levels else np.zeros(0, np.int64)
        ids = np.concatenate([done[::-1], [0], still])  # minus the place in done, and the place in still
        unit = tree.unit(node)
        for place in range(len(tree.children(node))):
            fate = scratch.read(self.shelves.join, unit, [f"child-{place}"])[f"child-{place}"]
            yield place, ids[fate + len(done)]

    def of_values(self, scratch: Scratch, grid: Grid, values: Array, view: int) -> Array:
        """Of a label image: the id of each value, 0 where it is not shown; both uint64."""
        bounds = scratch.read(self.shelves.join, 0, ["bounds"])["bounds"]
        where = np.searchsorted(bounds, values) - 1
        ids = np.zeros(len(values), np.uint64)
        for interval in np.unique(where).tolist():
            known = done_rows(scratch, self.shelves.join, 1 + interval, interval, ["value"])["value"]
            mine = where == interval
            ids[mine] = self.begun(scratch, "values", interval, view)[np.searchsorted(known, values[mine])]
        return ids


@dataclass(frozen=True)
class HandDown:
    """The ids of the components that are open in the children of a super-block, from the top level to the first.

    Stored a super-block: ``K-VIEW``, ids of the open components of its K-th child. Memory: 24 bytes for each of them.
    """

    ids: Ids
    views: int
    light = True

    def units(self, grid: Grid) -> tuple[int, ...]:
        """One task a super-block; none where ids are those of a label image."""
        return () if self.ids.shelves.identity == "equal" else self._tree(grid).rounds[::-1]

    def _tree(self, grid: Grid) -> Tree:
        return Tree(grid, self.ids.shelves.periodic)

    def memory(self, grid: Grid) -> int:
        """The components expected on the faces of the children of one super-block."""
        return (16 << 20) + 40 * face_voxels(self._tree(grid)) // FACE_VOXELS

    def bind(self, values: Values) -> HandDown:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """One super-block."""
        tree = self._tree(space.grid)
        level = tree.levels
        while unit >= tree.rounds[level - 1]:
            unit -= tree.rounds[level - 1]
            level -= 1
        node = Node(level, unit)
        kept = {
            f"{place}-{view}": ids
            for view in range(self.views)
            for place, ids in self.ids.of_super_block(space.scratch, tree, node, view)
        }
        space.scratch.write(self.ids.down, tree.unit(node), kept)
        return {}
