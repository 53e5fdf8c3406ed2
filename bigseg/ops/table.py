"""The rows that describe objects: taken from a block, added up over blocks, judged, written as a table.

Sums are exact integers, so that the table does not depend on the blocks: float intensities are scaled by a
power of two that their bounds decide and rounded to 31 bits; sums travel as pairs (high, low) of 32 bits each
and are put together as Python integers at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np

from bigseg.engine.field import Array, Values
from bigseg.grid import Box, Shape
from bigseg.local.component_table import measure
from bigseg.local.component_values import extrema, measure_values, shift_of
from bigseg.local.components import Components
from bigseg.ops.base import REFERENCE
from bigseg.storage.spec import Spec
from bigseg.storage.tables import write_table

Rows = dict[str, Array]
LOW = (1 << 32) - 1


@dataclass(frozen=True)
class Measure:
    """What is taken from one field over every object.

    Parameters
    ----------
    index : which of the collect's fields.
    what : of "min", "max", "sum" (the sum and the sum of squares).
    dtype, bounds : of the field, for the scale of exact sums.
    range_of : the reduction that finds the bounds where they are not known.
    """

    index: int
    what: tuple[str, ...]
    dtype: str
    bounds: tuple[float, float] | None = None
    range_of: str = ""

    @property
    def prefix(self) -> str:
        """Of its columns."""
        return f"m{self.index}-"

    @property
    def shift(self) -> int:
        """Power of two that brings a float field to 2**30 at most; integers are exact as they are."""
        if np.dtype(self.dtype).kind != "f" or self.bounds is None:
            return 0
        return shift_of(max(abs(self.bounds[0]), abs(self.bounds[1])))

    def bind(self, values: Values) -> Measure:
        """With the bounds that were found."""
        if not self.range_of:
            return self
        found = values[self.range_of]
        return replace(self, bounds=(found["least"], found["greatest"]))


def rows_of(
    found: Components, inner: Box, shape: Shape, measures: Sequence[Measure], arrays: Sequence[Array]
) -> Rows:
    """One row a local component: geometry in coordinates of the whole volume, and the measures."""
    table = measure(found)
    axes = ("z", "y", "x")[-len(shape) :]
    start = np.array(inner.start, np.int64)
    size = table["voxels"].astype(np.int64)
    rows: Rows = {
        "first": first_voxels(table["first"], inner, shape),
        "size": size,
        "low": np.stack([table[f"start_{a}"] for a in axes], axis=1) + start,
        "high": np.stack([table[f"stop_{a}"] for a in axes], axis=1) + start,
        "sums": np.stack([table[f"sum_{a}"] for a in axes], axis=1) + size[:, None] * start,
    }
    for item in measures:
        array = arrays[item.index]
        if "sum" in item.what:
            values = measure_values(found, array, item.shift)
            rows[f"{item.prefix}min"], rows[f"{item.prefix}max"] = values["minimum"], values["maximum"]
            rows[f"{item.prefix}sum"] = pairs_of(values["sum"])
            rows[f"{item.prefix}square"] = np.stack([values["square_high"], values["square_low"]], axis=1)
        else:
            for which in item.what:
                rows[f"{item.prefix}{which}"] = extrema(found, array, "min" if which == "min" else "max")
    return rows


def first_voxels(local: Array, inner: Box, shape: Shape) -> Array:
    """Raster indices within a block as raster indices within the volume.

    >>> first_voxels(np.array([0, 3]), Box((2, 4), (4, 7)), (10, 10))
    array([24, 34])
    """
    places = np.unravel_index(local.astype(np.int64), inner.shape)
    return np.ravel_multi_index(tuple(p + a for p, a in zip(places, inner.start, strict=True)), shape).astype(np.int64)


def merge_rows(
    parts: Iterable[Mapping[str, Array]], group: Array, ends: Array, count: int, measures: Sequence[Measure]
) -> Rows:
    """Rows of all blocks added up by object; integers and extremes only, so any order gives the same bits.

    Parameters
    ----------
    parts : the rows of every block, in the order of the blocks.
    group : object of each local component, all blocks one after the other.
    ends : where each block's components end in ``group``, with a 0 in front.
    count : number of objects.
    """
    total: Rows = {}
    for number, part in enumerate(parts):
        mine = group[ends[number] : ends[number + 1]]
        for name, column in part.items():
            if name in ("check",) or name.startswith("plane-"):
                continue
            if name not in total:
                total[name] = _empty(name, column, count)
            _joiner(name).at(total[name], mine, column)
    return total


def _joiner(name: str) -> np.ufunc:
    if name in ("first", "low") or name.endswith("-min"):
        return np.minimum
    if name in ("high", "value") or name.endswith("-max"):
        return np.maximum
    return np.add


def _empty(name: str, column: Array, count: int) -> Array:
    shape, dtype = (count, *column.shape[1:]), column.dtype
    joiner = _joiner(name)
    if joiner is np.add:
        return np.zeros(shape, dtype)
    lowest, highest = (
        (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    )
    return np.full(shape, highest if joiner is np.minimum else lowest, dtype)


@dataclass(frozen=True)
class Condition:
    """A condition on a column: at least, above or below a value, which an earlier step may compute."""

    column: str
    relation: Literal["at least", "above", "below"]
    value: float | str

    def bind(self, values: Values) -> Condition:
        """With the computed value."""
        if isinstance(self.value, str) and (match := REFERENCE.match(self.value)):
            return replace(self, value=values[match[1]][match[2]])
        return self

    def holds(self, rows: Rows) -> Array:
        """For which rows it holds; strict but for "at least", floats at the column's precision."""
        column = rows[self.column]
        value = column.dtype.type(self.value) if column.dtype.kind == "f" else self.value
        if self.relation == "at least":
            return np.asarray(column >= value)
        return np.asarray(column > value if self.relation == "above" else column < value)


@dataclass(frozen=True)
class TableRequest:
    """A table of the objects of a view: its name, and the intensity volumes measured on them."""

    name: str
    view: int
    intensities: tuple[tuple[str, Measure], ...] = ()

    def bind(self, values: Values) -> TableRequest:
        """With the bounds that were found."""
        return replace(self, intensities=tuple((name, item.bind(values)) for name, item in self.intensities))


def write_objects(path: Path, request: TableRequest, rows: Rows, ids: Array, spec: Spec) -> None:
    """Write the table of the objects shown, one row each, in the order of their ids.

    Columns are named as skimage.regionprops_table names them; areas and centroids are physical where the
    spacing is known.
    """
    shown = np.flatnonzero(ids)
    shown = shown[np.argsort(ids[shown], kind="stable")]
    size = rows["size"][shown]
    columns: dict[str, Array] = {
        "label": ids[shown],
        "num_pixels": size,
        "area": size * float(prod(spec.spacing)),
    }
    for axis in range(spec.ndim):
        columns[f"bbox-{axis}"] = rows["low"][shown, axis]
    for axis in range(spec.ndim):
        columns[f"bbox-{axis + spec.ndim}"] = rows["high"][shown, axis]
    for axis, (step, origin) in enumerate(zip(spec.spacing, spec.origin, strict=True)):
        columns[f"centroid-{axis}"] = rows["sums"][shown, axis] / size * step + origin
    for name, item in request.intensities:
        tail = "" if len(request.intensities) == 1 else f"-{name}"
        columns[f"intensity_min{tail}"] = rows[f"{item.prefix}min"][shown]
        columns[f"intensity_max{tail}"] = rows[f"{item.prefix}max"][shown]
        mean, std = moments(rows[f"{item.prefix}sum"][shown], rows[f"{item.prefix}square"][shown], size, item.shift)
        columns[f"intensity_mean{tail}"], columns[f"intensity_std{tail}"] = mean, std
    notes = {"spacing": ",".join(map(repr, spec.spacing)), "unit": spec.unit, "axes": ",".join(spec.axes)}
    write_table(path, columns, notes)


def moments(total: Array, square: Array, size: Array, shift: int) -> tuple[Array, Array]:
    """Mean and standard deviation from exact sums; one division, and one division and root.

    With sum = q n + r, the sum of (v - q)^2 is square - q (sum + r): a difference of integers, so that a small
    spread around a large mean is not lost.

    >>> moments(np.array([[0, 6]]), np.array([[0, 14]]), np.array([3]), 0)
    (array([2.]), array([0.81649658]))
    """
    if not size.size:
        return np.zeros(0), np.zeros(0)
    n, one, two = size.astype(object), _whole(total), _whole(square)
    q, r = one // n, one % n
    scale = 2.0**-shift
    mean = (q + (r / n)).astype(np.float64) * scale
    spread = two - q * (one + r)
    variance = (n * spread - r * r).astype(object) / (n * n)
    return mean, np.sqrt(np.maximum(variance.astype(np.float64), 0.0)) * scale


def _whole(pairs: Array) -> Array:
    """Sums as Python integers."""
    high, low = pairs[:, 0].astype(object), pairs[:, 1].astype(object)
    return high * (1 << 32) + low


def pairs_of(total: Array) -> Array:
    """int64 sums as (high, low) pairs with 0 <= low < 2**32.

    >>> pairs_of(np.array([-1, 5]))
    array([[        -1, 4294967295],
           [         0,          5]])
    """
    return np.stack([total >> 32, total & LOW], axis=1)
