"""Annotations that are single voxels: tables of points."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bigseg.errors import InputError, StorageError
from bigseg.grid import Box, Grid, Shape
from bigseg.learn.sampled import CLASSES, Known, Regions
from bigseg.storage.spec import Spec

MOST_POINTS = 10_000_000
CLASS_COLUMNS = ("class", "label", "truth")


@dataclass(frozen=True)
class Points:
    """Single voxels: their index in the volume, rising, and their class; ``names`` of classes given as text."""

    shape: Shape
    index: NDArray[np.uint64]
    truth: NDArray[np.uint8]
    names: Mapping[int, str] = field(default_factory=dict)
    dtype = np.dtype("uint8")

    def known(self, box: Box, regions: Regions) -> Iterator[Known]:
        """The points in a box."""
        # Points rise: those of the box lie between its first and its last plane.
        ends = np.array([box.start[0], box.stop[0]], np.uint64) * np.uint64(prod(self.shape[1:]))
        near = slice(*np.searchsorted(self.index, ends).tolist())
        places = np.unravel_index(self.index[near].astype(np.int64), self.shape)
        inside = np.ones(places[0].size, bool)
        for place, start, stop in zip(places, *box, strict=True):
            inside &= (place >= start) & (place < stop)
        own = [place[inside] - start for place, start in zip(places, box.start, strict=True)]
        place = np.ravel_multi_index(own, box.shape)
        part = regions.parts(box).reshape(-1)[place]
        kept = part != 255
        if kept.any():
            yield Known(place[kept], self.truth[near][inside][kept], part[kept])

    def blocks(self, grid: Grid) -> Iterable[int]:
        """Those with points."""
        places = np.unravel_index(self.index.astype(np.int64), self.shape)
        cells = [place // side for place, side in zip(places, grid.block, strict=True)]
        return np.unique(np.ravel_multi_index(cells, grid.counts)).tolist() if self.index.size else []


def read_points(path: str | Path, spec: Spec, classes: Mapping[int, str] | None = None) -> Points:
    """Points from a CSV or Parquet table.

    Parameters
    ----------
    path : columns z, y, x (or napari's axis-0, axis-1, axis-2), in voxels, rounded to the nearest; and class (or
        label), a whole number of 0 to 255 or a name.
    spec : of the volume.
    classes : names of classes; other names are numbered from 1 in alphabetical order where none are given.

    Raises
    ------
    InputError
        A table without these columns, points outside of the volume, or one voxel of two classes.
    StorageError
        When it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> spec = Spec((40, 50), np.dtype("uint8"), ("y", "x"), (1.0, 1.0))
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     _ = file.write("y,x,class\\n1,2,bone\\n3,4.4,air\\n")
    ...     file.flush()
    ...     found = read_points(file.name, spec)
    >>> found.index.tolist(), found.truth.tolist(), found.names
    ([52, 154], [2, 1], {1: 'air', 2: 'bone'})
    """
    frame = _frame(Path(path))
    if len(frame) > MOST_POINTS:
        raise InputError(f"{path}: {len(frame)} points, expected {MOST_POINTS} at most; paint a label volume instead")
    places = []
    for number, (axis, n) in enumerate(zip(spec.axes, spec.shape, strict=True)):
        column = _column(frame, (axis, f"axis-{number}"), path)
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
        if not np.isfinite(values).all():
            raise InputError(f"{path}: column {column.name!r} holds what is no number: expected voxels")
        place = np.floor(values + 0.5).astype(np.int64)
        if place.size and not 0 <= place.min() <= place.max() < n:
            raise InputError(f"{path}: points from {axis} = {place.min()} to {place.max()}, expected 0 to {n - 1}")
        places.append(place)
    truth, names = _classes(_column(frame, CLASS_COLUMNS, path), dict(classes or {}), path)
    index = np.ravel_multi_index(places, spec.shape).astype(np.uint64)
    pairs = np.unique(np.stack([index, truth.astype(np.uint64)]), axis=1)
    twice = pairs[0][1:][pairs[0][1:] == pairs[0][:-1]]
    if twice.size:
        where = tuple(int(i) for i in np.unravel_index(int(twice[0]), spec.shape))
        raise InputError(f"{path}: the voxel {where} is of two classes: expected one; remove one of the points")
    return Points(spec.shape, pairs[0], pairs[1].astype(np.uint8), names)


def _frame(path: Path) -> pd.DataFrame:
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a folder or a device: expected a table of points, CSV or Parquet")
    try:
        data = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise StorageError(f"cannot read the points {path}: {error.strerror}") from error
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(data)
        return pd.read_csv(data)
    except Exception as error:  # pandas and pyarrow fail in many ways on what is no table
        raise InputError(f"{path} cannot be read as a table of points ({error}): expected CSV or Parquet") from error


def _column(frame: pd.DataFrame, names: Sequence[str], path: str | Path) -> pd.Series:
    known = {str(name).strip().lower(): name for name in frame.columns}
    for name in names:
        if name in known:
            return frame[known[name]]
    raise InputError(f"{path}: expected a column {' or '.join(names)}, found {', '.join(map(str, frame.columns))}")


def _classes(column: pd.Series, names: dict[int, str], path: str | Path) -> tuple[NDArray[np.int64], dict[int, str]]:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(numbers).all():
        words = column.astype(str).str.strip()
        names = names or dict(enumerate(sorted(set(words)), start=1))
        by_name = {name: number for number, name in names.items()}
        missing = sorted(set(words) - set(by_name))
        if missing:
            raise InputError(f"{path}: unknown class {missing[0]!r}; the classes are {', '.join(by_name)}")
        numbers = words.map(by_name).to_numpy(np.float64)
    if numbers.size and ((numbers != np.floor(numbers)).any() or not 0 <= numbers.min() <= numbers.max() < CLASSES):
        raise InputError(
            f"{path}: classes from {numbers.min():g} to {numbers.max():g}: expected whole numbers, 0 to 255"
        )
    return numbers.astype(np.int64), names
