"""Which objects are shown: conditions on their rows, judged where the rows lie.

A condition on one row needs nothing else. `Largest` asks for the size of the k-th largest object: that is found
before, by one look at the rows it needs, and makes it a condition like the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bigseg.engine.field import Array, Values, Workspace
from bigseg.grid import Grid
from bigseg.ops.components.conditions import Largest
from bigseg.ops.components.judging import Predicate
from bigseg.ops.components.labelling import Identity
from bigseg.ops.components.rows import Rows, done_rows, unpaged
from bigseg.ops.components.superblocks import Intervals, Node, Tree
from bigseg.ops.components.values import ranges

Chain = tuple[Predicate, ...]
"""Conditions that hold one after the other: each sees the objects that those before it have left."""


@dataclass(frozen=True)
class View:
    """Objects chosen from a set of components: which are shown, and among which the ids are counted."""

    shown: Chain = ()
    counted: Chain = ()

    def bind(self, values: Values) -> View:
        """With computed thresholds."""
        return View(tuple(item.bind(values) for item in self.shown), tuple(item.bind(values) for item in self.counted))

    def limited(self, limits: Mapping[Chain, Any]) -> View:
        """With the sizes that `Largest` asks for."""
        return View(limited(self.shown, limits), limited(self.counted, limits))


def limited(chain: Chain, limits: Mapping[Chain, Any]) -> Chain:
    """A chain with the limits of its `Largest`, found under the chain up to each."""
    found = []
    for place, item in enumerate(chain):
        limit = limits.get(chain[: place + 1])
        found.append(replace(item, limit=tuple(limit)) if isinstance(item, Largest) and limit is not None else item)
    return tuple(found)


def holds(chain: Chain, rows: Rows, count: int) -> Array:
    """For which rows all conditions hold."""
    found = np.ones(count, bool)
    for condition in chain:
        found &= condition.holds(rows, found)
    return found


def wanted(chains: Sequence[Chain], columns: Sequence[str]) -> set[str]:
    """The columns that conditions look at."""
    return {name for name in columns if any(item.wants(name) for chain in chains for item in chain)}


@dataclass(frozen=True)
class Shelves:
    """Where the rows of objects lie when all is merged: interval by interval, of every node that has some there.

    The intervals of a label image are its ranges of values.
    """

    source: str
    join: str
    periodic: tuple[bool, ...]
    identity: Identity

    def intervals(self, grid: Grid) -> int:
        """How many there are."""
        return ranges(grid) if self.identity == "equal" else len(Intervals(grid))

    def nodes(self, grid: Grid, interval: int) -> Iterator[tuple[str, str, int]]:
        """Each node of an interval: its name, and stage and number of its partial result."""
        if self.identity == "equal":
            yield "values", self.join, 1 + interval
            return
        tree = Tree(grid, self.periodic)
        for node in Intervals(grid).nodes(tree, interval):
            yield self.node(tree, node)

    def node(self, tree: Tree, node: Node) -> tuple[str, str, int]:
        """Of one super-block or block."""
        name = f"{node.level}-{node.number}"
        return (name, self.join, tree.unit(node)) if node.level else (name, self.source, node.number)

    def rows(self, space: Workspace, chains: Sequence[Chain], also: Sequence[str] = ()) -> Iterator[Rows]:
        """The rows of all nodes, with the columns that the chains look at and others."""
        for interval in range(self.intervals(space.grid)):
            for _, stage, number in self.nodes(space.grid, interval):
                yield done_rows(space.scratch, stage, number, interval, self.columns(space, chains) | set(also))

    def columns(self, space: Workspace, chains: Sequence[Chain]) -> set[str]:
        """The columns that chains look at."""
        return wanted(chains, sorted(self.known(space)))

    def known(self, space: Workspace) -> set[str]:
        """Every column of the rows."""
        part = space.scratch.open(self.source, 0)
        if self.identity == "equal":
            return {*unpaged(part, slice(0)), "value"}
        return {name.removeprefix("open-") for name in part.index if name.startswith("open-")}

    def no_rows(self, space: Workspace) -> Rows:
        """Every column, without a row."""
        part = space.scratch.open(self.source, 0)
        if self.identity == "equal":
            return unpaged(part, slice(0))
        return {name: part.read([f"open-{name}"])[f"open-{name}"][:0] for name in self.known(space)}


@dataclass(frozen=True)
class FindLimits:
    """The sizes that `Largest` asks for: one look at the sizes for each, with the k largest at hand."""

    name: str
    shelves: Shelves
    views: tuple[View, ...]
    light = True

    def units(self, grid: Grid) -> int | tuple[int, ...]:
        """One task, if anything is asked."""
        return 1 if self.asked() else ()

    def memory(self, grid: Grid) -> int:
        """The k largest, twice, and the rows of one node."""
        counts = [item.count for chain in self.asked() for item in chain if isinstance(item, Largest)]
        return (32 << 20) + 64 * max(counts, default=0)

    def bind(self, values: Values) -> FindLimits:
        """With computed thresholds."""
        return replace(self, views=tuple(view.bind(values) for view in self.views))

    def asked(self) -> list[Chain]:
        """The beginnings of chains that end with a `Largest`, shorter ones before longer ones."""
        whole = [chain for view in self.views for chain in (view.shown, view.counted)]
        begun = {chain[: i + 1] for chain in whole for i, item in enumerate(chain) if isinstance(item, Largest)}
        return sorted(begun, key=lambda chain: (len(chain), repr(chain)))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Size and first voxel of the last object that is among the k largest; nothing where all are."""
        limits: dict[Chain, Any] = {}
        for chain in self.asked():
            *before, last = limited(chain, limits)
            assert isinstance(last, Largest)
            limits[chain] = self._last(space, tuple(before), last.count)
        return {str(number): limits[chain] for number, chain in enumerate(self.asked())}

    def limits(self, values: Values) -> dict[Chain, Any]:
        """What was found, by chain."""
        found = values.get(self.name, {})
        return {chain: found[str(number)] for number, chain in enumerate(self.asked())}

    def _last(self, space: Workspace, before: Chain, count: int) -> list[int]:
        size, first = np.zeros(0, np.int64), np.zeros(0, np.int64)
        for rows in self.shelves.rows(space, [before], ["size", "first"]):
            if rows:
                left = holds(before, rows, len(rows["size"]))
                size = np.concatenate([size, rows["size"][left]])
                first = np.concatenate([first, rows["first"][left]])
                best = np.lexsort((first, -size))[:count]
                size, first = size[best], first[best]
        return [int(size[-1]), int(first[-1])] if len(size) == count else [0, 0]
