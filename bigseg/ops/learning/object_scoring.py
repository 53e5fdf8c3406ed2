"""Figures of objects from pairs of labels, of any number: sums by ranges of keys (`bigseg.ops.keyed`).

A match needs three numbers: the voxels that two objects share and the size of each. Pairs are gathered by true label,
which gives one size, and carry it to where they are gathered by found label, which gives the other::

    collect   block        -> (true, found)  voxels, 0           true object
                              (found, 0)     0, voxels           true background: size of the found object alone
    gather    ranges by true label; `Ends`: objects that lie across ranges get their whole size
    true      a range      -> (found, true)  voxels, size of the true object;  a tally
    gather    ranges by found label; `Ends` again
    found     a range      -> a tally
    figures   all tallies

No task holds more than about 32 blocks' pairs, whatever one object touches: background is nobody's key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.engine.field import Array, Collect, Field, Reduction, Values, Visit, Workspace
from bigseg.grid import Grid, Shape
from bigseg.local.models.agreement import share as share_of
from bigseg.local.objects.keyed_rows import Rows, summed
from bigseg.local.objects.overlaps import OVERLAPS, Tally, add_found, add_true, matches_of, partition_of
from bigseg.local.objects.pairs import count_pairs, keys_of
from bigseg.ops import keyed
from bigseg.ops.keyed import Gather, KeyedStep, Ranges, Share, Source, gathered, part_of
from bigseg.ops.learning.scoring import MATCH_KEYS, Compared, Figures, finished

Ints = NDArray[np.int64]
_ALONE = Share(1)


def object_reductions(
    name: str, found: Field, true: Field, compared: Compared, itemsize: int, keys: tuple[str, ...]
) -> Reduction:
    """The reductions that end in the figures of objects.

    Parameters
    ----------
    name : of the step.
    found, true : fields of integers.
    compared, itemsize : as of `CollectObjects`.
    keys : names of the values.
    """
    zeros = _zero(true), _zero(found)
    share = Share(keyed.TOGETHER)
    collect = Collect(f"{name}.pairs", [found, true], CollectObjects(compared, itemsize, zeros))
    by_true, first = _gathered(f"{name}.true", Source(collect.name), collect, share)
    sums = Reduction(f"{name}.sums-true", (first,), SumTrue(*by_true, zeros=zeros))
    twice = Share(share.blocks, 2 * share.density)  # a group of blocks may get two ranges
    by_found, second = _gathered(f"{name}.found", RangeSource(sums.name, share.blocks, share), sums, twice)
    tallied = Reduction(f"{name}.sums-found", (second,), SumFound(*by_found))
    kernel = ObjectFigures(name, (sums.name, tallied.name), share)
    return Reduction(name, (tallied,), kernel, keys=keys)


def _zero(labels: Field) -> int:
    """The key of background."""
    return int(keys_of(np.zeros(1, labels.spec.dtype))[0])


def _gathered(
    name: str, source: Source, before: Collect | Reduction, share: Share
) -> tuple[tuple[str, tuple[Source, ...], int, Share], Reduction]:
    """The reductions that bring rows of two sums into ranges by key, and see what lies across them."""
    shared = name, (source,), 2, share
    return shared, Reduction(f"{name}.ends", (gathered([before], GatherEnds(*shared)),), Ends(*shared))


@dataclass(frozen=True)
class RangeSource(Source):
    """Rows that stand in a part a range, dealt to groups of blocks: one or two a group."""

    share: Share = _ALONE

    def parts(self, first: int, last: int, grid: Grid) -> range:
        """Numbers of the ranges of a group, or of all groups."""
        ranges, groups = Ranges.of(grid, self.share).number, self.share.groups(grid)
        start, stop = first // self.blocks, -(-min(last, len(grid)) // self.blocks)
        return range(start * ranges // groups, stop * ranges // groups)


@dataclass(frozen=True)
class CollectObjects:
    """Pairs of true and found labels of a block, in the two forms of the module's drawing."""

    compared: Compared
    itemsize: int
    zeros: tuple[int, int]

    def memory(self, inner: Shape) -> int:
        """A hash table with room for one pair in 100 voxels, twice while it grows, and rows of two sums."""
        return (8 << 20) + 200 * (prod(inner) // 100) + self.compared.memory(inner, self.itemsize)

    def bind(self, values: Values) -> CollectObjects:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """Sorted rows of two keys and two sums."""
        found, true = self.compared.of(arrays)
        pairs = count_pairs(true, found)
        zero_true, zero_found = map(np.uint64, self.zeros)
        inside = pairs[0] != zero_true
        rest = pairs[1:, ~inside & (pairs[1] != zero_found)]  # neither: background in both, of which nothing is said
        none = np.zeros(rest.shape[1], np.uint64)
        objects = np.concatenate([pairs[:, inside], np.zeros((1, int(inside.sum())), np.uint64)])
        beside = np.stack([rest[0], none + zero_found, none, rest[1]])
        return part_of(summed([objects, beside]), visit.block.number)


@dataclass(frozen=True)
class GatherEnds(Gather):
    """All rows of a range, and the sums under its first and its last key, which other ranges may share."""

    def store(self, stage: str, unit: int, parts: Sequence[Rows], space: Workspace) -> None:
        """Rows as 0, ends as 1."""
        super().store(stage, unit, [parts[0], ends_of(parts[0])], space)


@dataclass(frozen=True)
class Ends(KeyedStep):
    """The whole sums under keys at which ranges begin or end, and the first range of each."""

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """Two keys a range."""
        return (16 << 20) + 1600 * self.ranges(grid).number

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Add up what ranges share."""
        parts = []
        for number in range(self.ranges(space.grid).number):
            ends = self.load("gather", number, 1, space)
            parts.append(np.concatenate([ends, np.full((1, ends.shape[1]), number, np.uint64)]))
        space.scratch.write(f"{self.name}.ends", 0, {"ends": joined(parts)})
        return {}


@dataclass(frozen=True)
class ByRange(KeyedStep):
    """What has a task a range, and knows the whole sums under each first key."""

    def units(self, grid: Grid) -> int:
        """A task a range."""
        return self.ranges(grid).number

    def memory(self, grid: Grid) -> int:
        """Rows, their sums, and rows that are made of them."""
        return 2 * self.share.memory(grid, self.columns + 6) + 400 * self.ranges(grid).number + (1 << 20)

    def grouped(self, unit: int, space: Workspace) -> tuple[Rows, Groups]:
        """The rows of a range and the whole sums of their groups."""
        rows = self.load("gather", unit, 0, space)
        return rows, Groups.of(rows, space.scratch.read(f"{self.name}.ends", 0)["ends"], unit)


@dataclass(frozen=True)
class SumTrue(ByRange):
    """Sizes of true objects: their tally, and rows by found label that carry them."""

    zeros: tuple[int, int] = (0, 0)

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Read a range, add up, turn keys round."""
        rows, groups = self.grouped(unit, space)
        zero_true, zero_found = map(np.uint64, self.zeros)
        voxels, beside = rows[2], rows[3]
        inside = voxels > 0
        sizes = groups.sums[0][groups.which]
        seen = inside & (rows[1] != zero_found)
        tally = Tally()
        counted = groups.sums[0][groups.own]
        add_true(tally, seen[inside], voxels[inside].view(np.int64), counted[counted > 0])
        alone = beside > 0
        none = np.zeros(int(alone.sum()), np.uint64)
        turned = np.stack([rows[1, seen], rows[0, seen], voxels[seen], sizes[seen].view(np.uint64)])
        rest = np.stack([rows[0, alone], none + zero_true, beside[alone], none])
        part = part_of(summed([turned, rest]), unit)
        space.scratch.write(f"{self.name.removesuffix('.true')}.sums-true", unit, {**part, **tally.arrays()})
        return {}


@dataclass(frozen=True)
class SumFound(ByRange):
    """Sizes of found objects, and matches: their tally."""

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Read a range, add up."""
        rows, groups = self.grouped(unit, space)
        both = rows[3] > 0
        which = groups.which[both]
        tally = Tally()
        add_found(
            tally,
            rows[2, both].view(np.int64),
            rows[3, both].view(np.int64),
            groups.sums[0][which],
            groups.sums[2][groups.own],
            int(np.count_nonzero(groups.own)),
        )
        space.scratch.write(f"{self.name.removesuffix('.found')}.sums-found", unit, tally.arrays())
        return {}


@dataclass(frozen=True)
class ObjectFigures:
    """The figures, from the tallies of all ranges."""

    name: str
    stages: tuple[str, str]
    share: Share

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """Two tallies of 0.7 MiB."""
        return 8 << 20

    def bind(self, values: Values) -> ObjectFigures:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Add up, compute."""
        tally = Tally()
        for stage in self.stages:
            for number in range(Ranges.of(space.grid, self.share).number):
                tally.add(Tally.of(space.scratch.read(stage, number, ["whole", "hits", "sums"])))
        return finished(self.name, space, lambda: object_figures(tally))


@dataclass(frozen=True)
class Groups:
    """Rows under one first key each, in a range.

    Parameters
    ----------
    which : the group of each row.
    own : groups that this range counts: those that do not begin in a range before (bool).
    sums : of each group, in all ranges: both sums of its rows, and the first one where the second is not 0.
    """

    which: Ints
    own: NDArray[np.bool_]
    sums: Ints

    @classmethod
    def of(cls, rows: Rows, ends: Array, unit: int) -> Groups:
        """The groups of a range, those at its ends with what other ranges hold of them."""
        keys, which, sums = group_sums(rows)
        own = np.ones(keys.size, bool)
        place = np.searchsorted(ends[0], keys)
        known = np.flatnonzero(ends[0, np.minimum(place, ends.shape[1] - 1)] == keys) if ends.shape[1] else place[:0]
        sums[:, known] = ends[1:4, place[known]].view(np.int64)
        own[known] = ends[4, place[known]] == unit
        return cls(which, own, sums)


def group_sums(rows: Rows) -> tuple[Array, Ints, Ints]:
    """First keys of sorted rows, the group of each row, and the sums of each group (see `Groups`).

    >>> rows = np.array([[1, 1, 2], [5, 6, 5], [3, 4, 9], [0, 7, 7]], "uint64")
    >>> [part.tolist() for part in group_sums(rows)]
    [[1, 2], [0, 0, 1], [[7, 9], [7, 7], [4, 9]]]
    """
    if not rows.shape[1]:
        return rows[0], np.zeros(0, np.int64), np.zeros((3, 0), np.int64)
    new = np.ones(rows.shape[1], bool)
    new[1:] = rows[0, 1:] != rows[0, :-1]
    starts = np.flatnonzero(new)
    both = np.where(rows[3] > 0, rows[2], np.uint64(0))
    sums = np.stack([np.add.reduceat(line, starts) for line in (rows[2], rows[3], both)])
    return rows[0, starts], np.cumsum(new) - 1, sums.view(np.int64)


def ends_of(rows: Rows) -> Rows:
    """The first and the last key of sorted rows with the sums of their groups, once where they are one.

    >>> ends_of(np.array([[1, 1, 2, 3], [5, 6, 5, 5], [3, 4, 9, 1], [0, 0, 7, 1]], "uint64")).tolist()
    [[1, 3], [7, 1], [0, 1], [0, 1]]
    """
    keys, _, sums = group_sums(rows)
    places = np.unique([0, keys.size - 1]) if keys.size else np.zeros(0, np.int64)
    return np.concatenate([keys[np.newaxis, places], sums[:, places].view(np.uint64)])


def joined(parts: Sequence[Rows]) -> Rows:
    """Ends of all ranges: each key once, its sums added, the least range.

    >>> one, two = np.array([[1, 3], [7, 1], [0, 1], [0, 1], [0, 0]]), np.array([[3], [5], [1], [2], [1]])
    >>> joined([one.astype("uint64"), two.astype("uint64")]).tolist()
    [[1, 3], [7, 6], [0, 2], [0, 3], [0, 0]]
    """
    rows = np.concatenate(parts, axis=1)
    rows = rows[:, np.lexsort((rows[4], rows[0]))]
    keys, _, _ = group_sums(rows)
    starts = np.searchsorted(rows[0], keys)
    if not keys.size:
        return rows
    sums = [np.add.reduceat(line, starts) for line in rows[1:4]]
    return np.stack([keys, *sums, rows[4, starts]])


def object_figures(tally: Tally) -> tuple[Figures, Mapping[str, Array]]:
    """Figures of objects from the tally of all pairs; one row an overlap at which objects are matched."""
    agreed, at = partition_of(tally), matches_of(tally)
    quality = share_of(2 * at.tp, 2 * at.tp + at.fp + at.fn)
    table = {
        "overlap": np.array(OVERLAPS),
        "tp": at.tp,
        "fp": at.fp,
        "fn": at.fn,
        "precision": share_of(at.tp, at.tp + at.fp),
        "recall": share_of(at.tp, at.tp + at.fn),
        "f1": quality,
        "ap": share_of(at.tp, at.tp + at.fp + at.fn),
        "panoptic_quality": quality * at.overlap,
    }
    known: Figures = {
        "objects": int(at.tp[0] + at.fp[0]),
        "objects_true": int(at.tp[0] + at.fn[0]),
        "rand_error": agreed.rand_error,
        "rand_precision": agreed.rand_precision,
        "rand_recall": agreed.rand_recall,
        "vi": agreed.split + agreed.merge,
        "vi_split": agreed.split,
        "vi_merge": agreed.merge,
        "ap_mean": float(np.mean(table["ap"])),
    }
    return known | {name: table[name][0].item() for name in MATCH_KEYS}, table
