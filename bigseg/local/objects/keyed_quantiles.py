"""Quantiles of every object from how often each value occurs in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bigseg.local.objects.keyed_rows import Rows
from bigseg.local.objects.pairs import values_of
from bigseg.local.thresholds.ordered import between, places


def quantiles(rows: Rows, dtype: np.dtype[Any], percentages: Sequence[float]) -> Rows:
    """One row an object, from rows of (label, value, count).

    Parameters
    ----------
    rows : sorted by label and value, all values of a label among them.
    dtype : of the values.
    percentages : 0 to 100.

    Returns
    -------
    uint64 of shape (3 + percentages, labels): key of the label, 0, voxels, then the bits of each quantile as float64:
    linear between the two voxels next to it, as numpy.percentile has it (Hyndman and Fan 1996, type 7), to the bit.

    >>> rows = np.array([[3, 3, 7], [10, 20, 5], [1, 2, 1]], "uint64")
    >>> quantiles(rows, np.dtype("uint8"), (25.0,))[3].view("f8").tolist()
    [15.0, 5.0]
    """
    new = np.ones(rows.shape[1], bool)
    new[1:] = rows[0, 1:] != rows[0, :-1]
    starts = np.flatnonzero(new)
    values = values_of(rows[1], dtype).astype(np.float64)
    ends = np.cumsum(rows[2].astype(np.int64))
    before = np.concatenate([[0], ends])[starts]
    size = np.diff(np.concatenate([before, ends[-1:]]))
    found = [rows[0, starts], np.zeros(len(starts), np.uint64), size.astype(np.uint64)]
    for percentage in percentages:
        *ranks, weight = places(size, percentage)
        low, high = (values[np.searchsorted(ends, before + rank, side="right")] for rank in ranks)
        found.append(between(low, high, weight).view(np.uint64))
    return np.stack(found)
