"""Tables of objects, written interval by interval in the order of their ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from bigseg.engine.field import Array, Values, Workspace
from bigseg.grid import Grid
from bigseg.ops.components.columns import geometry, intensities, notes_of
from bigseg.ops.components.measures import Measure
from bigseg.ops.components.numbering import Ids
from bigseg.ops.components.rows import Rows, done_rows, stacked
from bigseg.ops.components.superblocks import INTERVAL
from bigseg.storage.spec import Spec
from bigseg.storage.tables import write_table

ONE_FILE = 100_000
"""Rows up to which a table is one file; larger ones are a folder of ``part-N.parquet``."""
NOTHING = np.zeros(0, np.int64)
GROUP = 50_000
"""Rows whose columns are made and written at a time: up to 60 columns, a few copies of each."""


@dataclass(frozen=True)
class TableRequest:
    """A table of the objects of a view: its name, and the intensity volumes measured on them."""

    name: str
    view: int
    intensities: tuple[tuple[str, Measure], ...] = ()

    def bind(self, values: Values) -> TableRequest:
        """With the bounds that were found."""
        return replace(self, intensities=tuple((name, item.bind(values)) for name, item in self.intensities))


@dataclass(frozen=True)
class WriteTables:
    """The tables of a set of objects: a file each, or a part for every interval where there are many objects."""

    ids: Ids
    spec: Spec
    requests: tuple[TableRequest, ...]
    label: str
    """Dtype of the labels."""
    found: Mapping[str, Any] | None = None
    light = True

    def units(self, grid: Grid) -> int:
        """One task an interval; where all is one file, the first writes it."""
        return self.ids.shelves.intervals(grid)

    def memory(self, grid: Grid) -> int:
        """A file's columns, compressed, and the rows of an interval: one in a thousand voxels is expected."""
        rows = prod(grid.shape) // 1000
        return 200 * min(ONE_FILE, rows) + 1000 * min(GROUP, INTERVAL // 1000, rows)

    def bind(self, values: Values) -> WriteTables:
        """With the bounds and numbers that were found."""
        requests = tuple(item.bind(values) for item in self.requests)
        return replace(self, requests=requests, found=dict(values.get(self.ids.total, {})))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Write what one interval is responsible for."""
        assert self.found is not None
        for request in self.requests:
            path = space.folder / "tables" / f"{request.name}.parquet"
            if self.found[f"objects-{request.view}"] <= ONE_FILE:
                if unit == 0:
                    self._write(path, request, space, range(self.units(space.grid)))
            else:
                self._write(path / f"part-{unit:05d}.parquet", request, space, range(unit, unit + 1))
        return {}

    def _write(self, path: Path, request: TableRequest, space: Workspace, intervals: range) -> None:
        """One file: the rows of some intervals, one after the other, each in the order of its ids."""
        groups = self._groups(request, space, intervals)
        first = next(groups, None)
        if first is None and len(intervals) < self.units(space.grid):
            return  # a part without a row
        if first is None:
            first = self._columns(request, {**self.ids.shelves.no_rows(space), "id": NOTHING}, NOTHING)
        write_table(path, chain([first], groups), notes_of(self.spec))

    def _groups(self, request: TableRequest, space: Workspace, intervals: range) -> Iterator[Rows]:
        """Columns, at most `GROUP` rows at a time."""
        for interval in intervals:
            rows = self._rows(request, space, interval)
            order = np.argsort(rows["id"], kind="stable") if rows else NOTHING
            for start in range(0, len(order), GROUP):
                yield self._columns(request, rows, order[start : start + GROUP])

    def _rows(self, request: TableRequest, space: Workspace, interval: int) -> Rows:
        """The rows of the objects shown that begin in an interval, with their ids."""
        shelves, parts = self.ids.shelves, []
        known = shelves.known(space)
        ids_of = self.ids.of_interval(space.scratch, interval, request.view)
        for name, stage, number in shelves.nodes(space.grid, interval):
            ids = ids_of(name)
            rows = done_rows(space.scratch, stage, number, interval, known) if ids.any() else {}
            if rows:
                parts.append({key: column[ids != 0] for key, column in rows.items()} | {"id": ids[ids != 0]})
        return stacked(parts)

    def _columns(self, request: TableRequest, rows: Rows, chosen: Array) -> Rows:
        """The columns of a row group, named as skimage.measure.regionprops_table names them."""
        ids = rows["id"][chosen]
        columns = {"label": ids.astype(self.label), **geometry(rows, chosen, self.spec)}
        for name, item in request.intensities:
            tail = "" if len(request.intensities) == 1 else f"-{name}"
            columns |= {f"{key}{tail}": column for key, column in intensities(rows, chosen, item).items()}
        return columns
