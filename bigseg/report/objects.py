"""What a table of objects says of their sizes, read in pieces: exact, whatever the number of objects.

Sizes are whole numbers of voxels, so the table of how many objects have each size is small: k different sizes
need k^2 / 2 voxels in all, and a volume of 10^12 voxels has at most 1.4 million.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bigseg.storage.partitions import files_of

ROWS = 1 << 18
"""Rows read at a time: a few MiB for each column."""
BUFFER = 1 << 20
"""Bytes of the file held for each column that is read."""
SHOWN = 10
SIZE = "num_pixels"


@dataclass(frozen=True)
class Objects:
    """The objects of one table.

    Parameters
    ----------
    step : that made the table.
    sizes, counts : every size in voxels that occurs, and how many objects have it.
    voxel : physical size of a voxel, in ``unit`` cubed (squared in 2-D).
    unit : spelled out; ``""`` where unknown.
    ndim : number of axes.
    voxels : of the whole volume.
    columns, rows : the largest objects as they stand in the table.
    """

    step: str
    sizes: NDArray[Any]
    counts: NDArray[Any]
    voxel: float
    unit: str
    ndim: int
    voxels: int
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def number(self) -> int:
        """How many objects."""
        return int(self.counts.sum())

    @property
    def total(self) -> int:
        """Voxels of all objects."""
        return int(self.sizes @ self.counts)

    @property
    def median(self) -> float:
        """Voxels of the object in the middle; between two, their mean."""
        ends = np.cumsum(self.counts)
        places = (self.number - 1) // 2, self.number // 2
        return float(np.mean(self.sizes[np.searchsorted(ends, places, side="right")]))

    @property
    def largest(self) -> int:
        """Voxels of the largest object."""
        return int(self.sizes[-1])


def objects_of(folder: Path, record: Mapping[str, Any]) -> list[Objects]:
    """The tables of objects of a run; those of other steps are passed over."""
    volume = record["volume"]
    found = []
    for step in record["pipeline"]["steps"]:
        path = folder / "tables" / f"{step['id']}.parquet"
        if not path.exists():
            continue
        files = [pq.ParquetFile(part, buffer_size=BUFFER, pre_buffer=False) for part in files_of(path)]
        if not {"label", SIZE} <= set(files[0].schema_arrow.names):
            continue
        sizes, counts, places = _sizes(files)
        columns, rows = _rows(files, places)
        found.append(
            Objects(
                str(step["id"]),
                sizes,
                counts,
                prod(volume["spacing"]),
                volume.get("unit") or "",
                len(volume["shape"]),
                prod(volume["shape"]),
                columns,
                rows,
            )
        )
    return found


def _batches(files: Sequence[Any], column: str) -> Iterator[tuple[int, Any]]:
    """One column of a table, batch by batch, numbered."""
    yield from enumerate(
        batch.column(0)
        for file in files
        for batch in file.iter_batches(batch_size=ROWS, columns=[column], use_threads=False)
    )


def _sizes(files: Sequence[Any]) -> tuple[NDArray[Any], NDArray[Any], list[tuple[int, int]]]:
    """Sizes and how often each occurs, and where the largest objects stand: batch, row in it."""
    sizes, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    best: list[tuple[int, int, int]] = []
    for number, batch in _batches(files, SIZE):
        column = batch.to_numpy(zero_copy_only=False).astype(np.int64)
        own, times = np.unique(column, return_counts=True)
        merged, inverse = np.unique(np.concatenate([sizes, own]), return_inverse=True)
        added = np.zeros(len(merged), np.int64)
        np.add.at(added, inverse, np.concatenate([counts, times]))
        sizes, counts = merged, added
        largest = np.argsort(-column, kind="stable")[:SHOWN]
        best = sorted(best + [(-int(column[row]), number, int(row)) for row in largest])[:SHOWN]
    return sizes, counts, [(number, row) for _, number, row in best]


def _rows(files: Sequence[Any], places: list[tuple[int, int]]) -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
    """Whole rows of the table, in the order of ``places``; one column at a time, so that none piles up."""
    names = tuple(files[0].schema_arrow.names)
    wanted = {number for number, _ in places}
    columns = []
    for name in names:
        found: dict[tuple[int, int], Any] = {}
        for number, column in _batches(files, name):
            if number in wanted:
                found |= {place: column[place[1]].as_py() for place in places if place[0] == number}
            if number >= max(wanted, default=0):
                break
        columns.append([found[place] for place in places])
    return names, tuple(zip(*columns, strict=True))
