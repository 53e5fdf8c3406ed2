"""Rows that describe components while they grow into objects: how they are added up, and how they are stored.

A partial result of a block or a super-block holds, in arrays of its own each:

    n                 how many of its components are open, and how many are done
    open-COLUMN       rows of those that reach a face behind which there are other blocks
    done-COLUMN@I     rows of those that can grow no more, in the order of their first voxels, cut at the ends of
                      the intervals I by which objects are numbered (done-COLUMN where first voxels are not kept)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from bigseg.engine.field import Array
from bigseg.ops.superblocks import Intervals
from bigseg.storage.scratch import Scratch

Rows = dict[str, Array]


def joiner(column: str) -> np.ufunc:
    """How a column of one object is put together from its parts: the order of parts never matters."""
    if column == "first" or column.startswith("low-") or column.endswith("-min"):
        return np.minimum
    if column == "value" or column.startswith("high-") or column.endswith("-max"):
        return np.maximum
    return np.add


def merged(name: str, column: Array, group: Array, count: int) -> Array:
    """A column with the rows of one group made one.

    >>> merged("size", np.array([1, 2, 3]), np.array([0, 1, 0]), 2).tolist()
    [4, 2]
    """
    join = joiner(name)
    if join is np.add:
        found = np.zeros(count, column.dtype)
    else:
        lowest, highest = (-np.inf, np.inf) if column.dtype.kind == "f" else _limits(column.dtype)
        found = np.full(count, highest if join is np.minimum else lowest, column.dtype)
    join.at(found, group, column)
    return found


def _limits(dtype: np.dtype) -> tuple[int, int]:
    return (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)


def order_of_done(rows: Rows, still: Array) -> Array:
    """Which rows are done, in the order in which they are stored: of first voxels, where these are kept."""
    done = np.flatnonzero(~still)
    return done[np.argsort(rows["first"][done], kind="stable")] if "first" in rows else done


def packed(rows: Rows, still: Array, done: Array, intervals: Intervals) -> Rows:
    """The arrays under which rows are stored; ``still`` says which are open, ``done`` is `order_of_done`."""
    found = {"n": np.array([np.count_nonzero(still), done.size], np.int64)}
    found |= {f"open-{name}": column[still] for name, column in rows.items()}
    if "first" not in rows:
        found |= {f"done-{name}": column[done] for name, column in rows.items()}
    else:
        for interval, part in intervals.cut(rows["first"][done]):
            found |= {f"done-{name}@{interval}": column[done[part]] for name, column in rows.items()}
    return found


def counts(scratch: Scratch, stage: str, number: int, prefix: str = "") -> tuple[int, int]:
    """How many components of a node are open, and how many are done."""
    still, done = scratch.read(stage, number, [f"{prefix}n"])[f"{prefix}n"].tolist()
    return still, done


def columns_of(scratch: Scratch, stage: str, number: int, prefix: str = "") -> list[str]:
    """The columns that are kept of open components."""
    start = f"{prefix}open-"
    return [name.removeprefix(start) for name in scratch.names(stage, number) if name.startswith(start)]


def done_rows(scratch: Scratch, stage: str, number: int, interval: int, columns: Collection[str]) -> Rows:
    """Rows of a node's objects that begin in an interval; no column at all where there is none."""
    found = scratch.read(stage, number, {f"done-{name}@{interval}" for name in columns})
    return {name[5:].partition("@")[0]: column for name, column in found.items()}


def stacked(parts: Iterable[Rows]) -> Rows:
    """Rows of several nodes, one below the other."""
    items = [part for part in parts if part]
    return {name: np.concatenate([part[name] for part in items]) for name in items[0]} if items else {}
