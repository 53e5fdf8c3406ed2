"""Rows that describe components while they grow into objects: how they are added up, and how they are stored.

A partial result of a block or a super-block holds, in arrays of its own each:

    n                 how many of its components are open, and how many are done
    open-COLUMN       rows of those that reach a face behind which there are other blocks
    done-first@I      first voxels of those that can grow no more, rising, cut at the ends of the intervals I by
                      which objects are numbered
    done-DTYPE@I      all other columns of a dtype, a row each: one array where 50 would take 50 times as long to find
    columns           their names, by dtype (JSON)
    done-COLUMN       instead of these, where first voxels are not kept
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

import numpy as np

from bigseg.engine.field import Array
from bigseg.ops.components.superblocks import Intervals
from bigseg.storage.scratch import Part, Scratch

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
        cuts = intervals.cut(rows["first"][done])
        found |= pages(rows, ((interval, done[part]) for interval, part in cuts))
    return found


def pages(rows: Rows, cuts: Iterable[tuple[int, Array]]) -> Rows:
    """The arrays under which the rows of objects that are done are stored, interval by interval."""
    kinds = _kinds({name: column for name, column in rows.items() if name != "first"})
    found: Rows = {"columns": np.frombuffer(json.dumps(kinds).encode(), np.uint8)}
    for interval, chosen in cuts:
        if "first" in rows:
            found[f"done-first@{interval}"] = rows["first"][chosen]
        for kind, names in kinds.items():
            found[f"done-{kind}@{interval}"] = np.stack([rows[name][chosen] for name in names])
    return found


def _kinds(rows: Rows) -> dict[str, list[str]]:
    """The names of columns, by dtype."""
    kinds: dict[str, list[str]] = {}
    for name, column in rows.items():
        kinds.setdefault(column.dtype.str, []).append(name)
    return kinds


def page(rows: Rows) -> Rows:
    """The arrays under which rows are stored that no interval cuts: `unpaged` reads them."""
    kinds = _kinds(rows)
    found: Rows = {"columns": np.frombuffer(json.dumps(kinds).encode(), np.uint8)}
    return found | {f"rows-{kind}": np.stack([rows[name] for name in names]) for kind, names in kinds.items()}


def unpaged(part: Part, rows: slice) -> Rows:
    """Some rows that `page` made ready to be stored.

    >>> stored = page({"size": np.array([5, 7]), "low": np.array([0, 1])})
    >>> sorted(stored), stored["rows-<i8"].tolist()
    (['columns', 'rows-<i8'], [[5, 7], [0, 1]])
    """
    kinds = json.loads(part.read(["columns"])["columns"].tobytes())
    stored = part.read([f"rows-{kind}" for kind in kinds])
    return {name: stored[f"rows-{kind}"][row, rows] for kind, names in kinds.items() for row, name in enumerate(names)}


def counts(scratch: Scratch, stage: str, number: int) -> tuple[int, int]:
    """How many components of a node are open, and how many are done."""
    still, done = scratch.read(stage, number, ["n"])["n"].tolist()
    return still, done


def done_rows(scratch: Scratch, stage: str, number: int, interval: int, columns: Collection[str]) -> Rows:
    """Rows of a node's objects that begin in an interval; no column at all where there is none."""
    part, rows = scratch.open(stage, number), Rows()
    kinds = json.loads(part.read(["columns"])["columns"].tobytes())
    if "first" in columns:
        for page in part.read([f"done-first@{interval}"]).values():
            rows["first"] = page
    for kind, names in kinds.items():
        if any(name in columns for name in names):
            for page in part.read([f"done-{kind}@{interval}"]).values():
                rows |= {name: column for name, column in zip(names, page, strict=True) if name in columns}
    return rows


def stacked(parts: Iterable[Rows]) -> Rows:
    """Rows of several nodes, one below the other."""
    items = [part for part in parts if part]
    return {name: np.concatenate([part[name] for part in items]) for name in items[0]} if items else {}
