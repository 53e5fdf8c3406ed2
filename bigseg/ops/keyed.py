"""Tables of sums under a key of two numbers, of any length: overlaps, contacts, neighbours, counts of values.

Passes leave sorted rows (`bigseg.local.objects.keyed_rows`) in scratch, a part a block. Six small reductions make one
sorted table of them, of which no task holds more than about 16 blocks' rows, whatever the volume::

    bounds     samples of all parts -> keys that cut the table into ranges, one for 16 blocks
    scatter    16 blocks' rows, added up, cut into ranges
    exchange   (above 256 blocks) ranges of ranges: each task reads and writes about the root of all
    gather     all rows of one range, added up; their number
    write      up to 100,000 rows in one Parquet file, more in a folder with a part a range

Where a part's rows lie in few ranges (labels in raster order) or parts differ (labels in any order), ranges come out
within a few per cent of each other; rows under one key are never cut, as they are one row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt, prod
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from bigseg.engine.field import Array, Collect, Reduction, Values, Workspace
from bigseg.grid import Grid
from bigseg.local.objects.keyed_rows import Rows, bounds_of, cut, sampled, summed
from bigseg.ops.base import Op
from bigseg.storage.partitions import write_part
from bigseg.storage.tables import write_table

TOGETHER = 16
"""Blocks whose rows one task holds."""
ONE_ROUND = 16
"""Ranges up to which rows are exchanged at once: 16 x 16 reads; more in two rounds."""
ONE_FILE = 100_000
"""Rows up to which a table is one file."""


class TableOp(Op):
    """Base of the operations that make a table: the function on arrays gives it as a DataFrame."""

    tabular: ClassVar[bool] = True


@dataclass(frozen=True)
class Source:
    """Where rows come from: the stage's name, how many blocks a part of it is of (1 or 16)."""

    name: str
    blocks: int = 1

    def parts(self, first: int, last: int, grid: Grid) -> range:
        """Numbers of the parts of blocks ``first`` to ``last - 1``."""
        return range(first // self.blocks, -(-min(last, len(grid)) // self.blocks))


def part_of(rows: Rows, number: int) -> dict[str, Array]:
    """A part as it stands in scratch: the rows of a run, and samples of their keys."""
    return {"rows": rows, "sample": sampled(rows, number)}


@dataclass(frozen=True)
class Share:
    """How many blocks' rows a task holds, and how many rows a voxel are expected, for the plan."""

    blocks: int
    density: float = 1 / 500

    def groups(self, grid: Grid) -> int:
        """Tasks that hold so many blocks each."""
        return -(-len(grid) // self.blocks)

    def memory(self, grid: Grid, columns: int) -> int:
        """Bytes that a task needs for its rows: four times their size while they are sorted."""
        rows = self.blocks * max(1000, int(prod(grid.block) * self.density))
        return (32 << 20) + 4 * 8 * (2 + columns) * rows


@dataclass(frozen=True)
class Ranges:
    """How many ranges of keys there are: ``coarse`` of ``fine`` each; coarse ones alone where one round does."""

    coarse: int
    fine: int

    @classmethod
    def of(cls, grid: Grid, share: Share) -> Ranges:
        """One for each task's blocks, or a few more."""
        wanted = share.groups(grid)
        if wanted <= ONE_ROUND:
            return cls(wanted, 1)
        side = isqrt(wanted - 1) + 1
        return cls(side, side)

    @property
    def number(self) -> int:
        """Of all ranges."""
        return self.coarse * self.fine


@dataclass(frozen=True)
class KeyedStep:
    """What the reductions have in common: the table's name, where rows come from, how many sums a row has."""

    name: str
    sources: tuple[Source, ...]
    columns: int
    share: Share

    def units(self, grid: Grid) -> int:
        """A task for so many blocks."""
        return self.share.groups(grid)

    def memory(self, grid: Grid) -> int:
        """About so many blocks' rows."""
        return self.share.memory(grid, self.columns)

    def ranges(self, grid: Grid) -> Ranges:
        """Into which the table is cut."""
        return Ranges.of(grid, self.share)

    def bind(self, values: Values) -> Self:
        """Nothing to bind."""
        return self

    def none(self) -> Rows:
        """No row."""
        return np.zeros((2 + self.columns, 0), np.uint64)

    def bounds(self, space: Workspace) -> Rows:
        """The keys that cut the table."""
        return space.scratch.read(f"{self.name}.bounds", 0)["bounds"]

    def store(self, stage: str, unit: int, parts: Sequence[Rows], space: Workspace) -> None:
        """Keep parts of rows under their numbers."""
        space.scratch.write(f"{self.name}.{stage}", unit, {str(k): part for k, part in enumerate(parts)})

    def load(self, stage: str, unit: int, part: int, space: Workspace) -> Rows:
        """A part of rows."""
        return space.scratch.read(f"{self.name}.{stage}", unit, [str(part)])[str(part)]


@dataclass(frozen=True)
class Bounds(KeyedStep):
    """Where ranges begin; ``whole``: only where the first key changes. Holds 384 bytes a block, twice."""

    whole: bool = False

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """The samples of all blocks."""
        return (16 << 20) + 1600 * len(grid)

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Read all samples, choose."""
        grid = space.grid
        samples = [
            space.scratch.read(source.name, number, ["sample"])["sample"]
            for source in self.sources
            for number in source.parts(0, len(grid), grid)
        ]
        bounds = bounds_of(samples, self.ranges(grid).number)
        if self.whole:
            bounds[1] = 0
        space.scratch.write(f"{self.name}.bounds", 0, {"bounds": bounds})
        return {}


@dataclass(frozen=True)
class Scatter(KeyedStep):
    """16 blocks' rows, added up, cut into coarse ranges."""

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Read, add up, cut."""
        first = unit * self.share.blocks
        rows = [
            space.scratch.read(source.name, number, ["rows"])["rows"]
            for source in self.sources
            for number in source.parts(first, first + self.share.blocks, space.grid)
        ]
        fine = self.ranges(space.grid).fine
        parts = cut(summed([self.none(), *rows]), self.bounds(space)[:, fine - 1 :: fine])
        self.store("scatter", unit, parts, space)
        return {}


@dataclass(frozen=True)
class Exchange(KeyedStep):
    """The rows of one coarse range from some tasks before, cut into fine ranges; nothing where one round does."""

    def units(self, grid: Grid) -> int:
        """A task for each coarse range and group of tasks before."""
        ranges = self.ranges(grid)
        return 1 if ranges.fine == 1 else ranges.coarse * self.senders(grid)

    def senders(self, grid: Grid) -> int:
        """Groups of tasks before."""
        return -(-self.share.groups(grid) // self.ranges(grid).fine)

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Read, add up, cut."""
        ranges = self.ranges(space.grid)
        if ranges.fine == 1:
            return {}
        coarse, sender = divmod(unit, self.senders(space.grid))
        before = range(sender, self.share.groups(space.grid), self.senders(space.grid))  # neighbours share their ranges
        rows = summed([self.none(), *(self.load("scatter", number, coarse, space) for number in before)])
        start = coarse * ranges.fine
        self.store("exchange", unit, cut(rows, self.bounds(space)[:, start : start + ranges.fine - 1]), space)
        return {}


@dataclass(frozen=True)
class Gather(KeyedStep):
    """All rows of a range, added up, and what ``finish`` makes of them; gives the number of rows."""

    finish: Callable[[Rows], Rows] | None = None

    def units(self, grid: Grid) -> int:
        """A task a range."""
        return self.ranges(grid).number

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Read, add up, keep."""
        grid = space.grid
        ranges = self.ranges(grid)
        if ranges.fine == 1:
            parts = [self.load("scatter", number, unit, space) for number in range(self.share.groups(grid))]
        else:
            coarse, fine = divmod(unit, ranges.fine)
            senders = Exchange(self.name, self.sources, self.columns, self.share).senders(grid)
            parts = [self.load("exchange", coarse * senders + k, fine, space) for k in range(senders)]
        rows = summed([self.none(), *parts])
        if self.finish is not None:
            rows = self.finish(rows)
        self.store("gather", unit, [rows], space)
        return {str(unit): rows.shape[1]}


class Layout(Protocol):
    """What a table's columns are."""

    def columns(self, rows: Rows) -> Mapping[str, Array]:
        """Columns of rows that are sorted by key."""

    def notes(self) -> Mapping[str, str]:
        """What stands in the files beside them."""


@dataclass(frozen=True)
class WriteTable(KeyedStep):
    """The table: one file by the first task, or a part a range by each; gives the number of rows."""

    layout: Layout
    key: str
    counts: Mapping[str, int] | None = None

    def units(self, grid: Grid) -> int:
        """A task a range."""
        return self.ranges(grid).number

    def memory(self, grid: Grid) -> int:
        """A part, or the whole of a small table; encoding takes as much again."""
        return super().memory(grid) + 4 * 8 * (2 + self.columns) * ONE_FILE

    def bind(self, values: Values) -> Self:
        """With the numbers of rows."""
        return replace(self, counts=dict(values[f"{self.name}.gather"]))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Write one part, or all."""
        assert self.counts is not None
        total = sum(self.counts.values())
        path = space.folder / "tables" / f"{self.name}.parquet"
        if total > ONE_FILE:
            rows = self.load("gather", unit, 0, space)
            if rows.shape[1]:
                write_part(path, unit, self.layout.columns(rows), self.layout.notes())
        elif unit == 0:
            parts = [self.load("gather", number, 0, space) for number in range(len(self.counts))]
            write_table(path, self.layout.columns(np.concatenate(parts, axis=1)), self.layout.notes())
        return {self.key: total} if unit == 0 else {}


def keyed_table(
    name: str,
    sources: Sequence[Source],
    inputs: Sequence[Collect | Reduction],
    columns: int,
    layout: Layout,
    key: str = "pairs",
    share: Share | None = None,
    finish: Callable[[Rows], Rows] | None = None,
) -> Reduction:
    """The reductions that make a table of rows under keys.

    Parameters
    ----------
    name : of the table and of the last reduction.
    sources : the stages that keep rows in scratch, each part as `part_of` makes it.
    inputs : the nodes of these stages.
    columns : sums in a row.
    layout : what the table's columns are.
    key : the name of the value that tells the number of rows.
    share : the blocks of a task, a multiple of those of every source's parts; by default 16.
    finish : what becomes of the rows of a range, all rows of a first key among them; by default they stay.
    """
    shared = name, tuple(sources), columns, share or Share(TOGETHER)
    gather = gathered(inputs, Gather(*shared, finish))
    return Reduction(name, (gather,), WriteTable(*shared, layout, key), keys=(key,))


def gathered(inputs: Sequence[Collect | Reduction], gather: Gather) -> Reduction:
    """The reductions that bring rows into ranges by key: ``NAME.gather``, whose values are the rows of each.

    Parameters
    ----------
    inputs : the nodes of the stages that keep the rows.
    gather : the last reduction: it knows the table's name, the sources, the sums of a row, and the share.
    """
    name, shared = gather.name, (gather.name, gather.sources, gather.columns, gather.share)
    bounds = Reduction(f"{name}.bounds", tuple(inputs), Bounds(*shared, whole=gather.finish is not None))
    scatter = Reduction(f"{name}.scatter", (bounds,), Scatter(*shared))
    exchange = Reduction(f"{name}.exchange", (scatter,), Exchange(*shared))
    return Reduction(f"{name}.gather", (exchange,), gather)
