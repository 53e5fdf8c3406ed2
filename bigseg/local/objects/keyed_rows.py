"""Rows of sums under a key of two numbers: added up, cut into ranges of keys of about equal length.

Rows are one uint64 array of shape (2 + columns, n): two lines of keys, then a line for each sum. Sorted by
key, each key once, they are a run; runs of blocks add up to the run of the volume in any order, since sums are
of integers.

1. `sampled`: some keys of a run, with how many rows each stands for;
2. `bounds_of`: from the samples of all runs, the keys that cut the whole into ranges of equal length;
3. `cut`: where these bounds lie in a run;
4. `summed`: what several runs, or parts of them in one range, add up to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = NDArray[np.uint64]
SAMPLES = 16
"""Keys that are kept of a run: 384 bytes a block."""


def summed(parts: Sequence[Rows]) -> Rows:
    """Rows with each key once, sorted, their sums added.

    Parameters
    ----------
    parts : rows in any order, all of one number of columns.

    Returns
    -------
    A run. Takes about four times the memory of the rows; sums beyond 2**64 wrap.

    >>> summed([np.array([[1, 4], [2, 5], [10, 1]], "uint64"), np.array([[1], [2], [7]], "uint64")]).tolist()
    [[1, 4], [2, 5], [17, 1]]
    """
    rows = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
    if not rows.shape[1]:
        return rows
    first, second = rows[0], rows[1]
    if int(first.max()) < 1 << 32 and int(second.max()) < 1 << 32:
        order = np.argsort(first << np.uint64(32) | second, kind="stable")  # finds the sorted runs, and merges them
    else:
        order = np.lexsort((second, first))
    rows = rows[:, order]
    new = np.ones(rows.shape[1], bool)
    new[1:] = (rows[0, 1:] != rows[0, :-1]) | (rows[1, 1:] != rows[1, :-1])
    if new.all():
        return rows
    starts = np.flatnonzero(new)
    return np.concatenate([rows[:2, starts], np.add.reduceat(rows[2:], starts, axis=1)])


def sampled(rows: Rows, number: int) -> Rows:
    """Some keys of a run, evenly spread, with the number of rows that each stands for.

    ``number`` of the run shifts the places, so that equal runs do not all give the same keys.

    >>> sampled(np.arange(120).reshape(3, 40).astype("uint64"), 0)[:, 1].tolist()
    [2, 42, 3]
    """
    count = rows.shape[1]
    many = min(count, SAMPLES)
    ends = np.arange(many + 1) * count // max(many, 1)
    shift = number * 0.6180339887498949 % 1.0
    places = ends[:-1] + (np.diff(ends) * shift).astype(np.int64)
    return np.concatenate([rows[:2, places], np.diff(ends)[np.newaxis].astype(np.uint64)])


def bounds_of(samples: Sequence[Rows], ranges: int) -> Rows:
    """The first keys of all ranges but the first, so that each holds about as many rows.

    >>> bounds_of([np.array([[1, 2, 3, 4], [0, 0, 0, 0], [5, 5, 5, 5]], "uint64")], 2).tolist()
    [[3], [0]]
    """
    every = summed(samples)
    if not every.shape[1]:
        return np.full((2, ranges - 1), np.iinfo(np.uint64).max, np.uint64)
    before = np.cumsum(every[2].astype(np.int64))
    wanted = np.arange(1, ranges) * int(before[-1]) / ranges
    place = np.minimum(np.searchsorted(before, wanted, side="right"), every.shape[1] - 1)
    return every[:2, place]


def cut(rows: Rows, bounds: Rows) -> list[Rows]:
    """A run cut into ranges, one more than there are bounds; a range begins with its bound.

    >>> [part.tolist() for part in cut(np.array([[1, 1, 2], [5, 6, 0]], "uint64"), np.array([[1], [6]], "uint64"))]
    [[[1], [5]], [[1, 2], [6, 0]]]
    """
    low = np.searchsorted(rows[0], bounds[0], side="left")
    high = np.searchsorted(rows[0], bounds[0], side="right")
    ends = [
        int(a + np.searchsorted(rows[1, a:b], second, side="left"))
        for a, b, second in zip(low, high, bounds[1], strict=True)
    ]
    return [rows[:, a:b] for a, b in zip([0, *ends], [*ends, rows.shape[1]], strict=True)]
