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
from typing import Literal, Protocol

import numpy as np

from bigseg.engine.field import Array, Values
from bigseg.grid import Box, Shape
from bigseg.local.component_table import measure
from bigseg.local.component_values import extrema, measure_values, shift_of
from bigseg.local.components import Components
from bigseg.local.unionfind import split_wide
from bigseg.ops.base import value_of
from bigseg.storage.spec import Spec
from bigseg.storage.tables import write_table

Rows = dict[str, Array]
AXES = ("z", "y", "x")


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
    def extremes(self) -> tuple[str, ...]:
        """Which of min and max are taken; sums bring both."""
        return tuple(name for name in ("min", "max") if name in self.what or "sum" in self.what)

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


def rows_of(found: Components, inner: Box, shape: Shape, measures: Sequence[Measure], arrays: Sequence[Array]) -> Rows:
    """One row a local component: geometry in coordinates of the whole volume, and the measures."""
    table = measure(found)
    size = table["voxels"].astype(np.int64)
    rows: Rows = {"first": in_volume(table["first"], inner, shape), "size": size}
    for axis, (name, start) in enumerate(zip(AXES[-len(shape) :], inner.start, strict=True)):
        rows[f"low-{axis}"] = table[f"start_{name}"].astype(np.int64) + start
        rows[f"high-{axis}"] = table[f"stop_{name}"].astype(np.int64) + start
        rows[f"sum-{axis}"] = table[f"sum_{name}"] + size * start
    for item in measures:
        array = arrays[item.index]
        if "sum" in item.what:
            values = measure_values(found, array, item.shift)
            rows[f"{item.prefix}min"], rows[f"{item.prefix}max"] = values["minimum"], values["maximum"]
            rows[f"{item.prefix}sum-high"], rows[f"{item.prefix}sum-low"] = split_wide(values["sum"])
            rows[f"{item.prefix}square-high"] = values["square_high"]
            rows[f"{item.prefix}square-low"] = values["square_low"]
        else:
            for which in item.what:
                rows[f"{item.prefix}{which}"] = extrema(found, array, "min" if which == "min" else "max")
    return rows


def in_volume(local: Array, inner: Box, shape: Shape) -> Array:
    """Raster indices within a block as raster indices within the volume.

    >>> in_volume(np.array([0, 3]), Box((2, 4), (4, 7)), (10, 10))
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
            if name == "check" or name.startswith("plane-"):
                continue
            if name not in total:
                total[name] = _empty(name, column.dtype, count)
            _joiner(name).at(total[name], mine, column)
    return total


def _joiner(name: str) -> np.ufunc:
    if name == "first" or name.startswith("low-") or name.endswith("-min"):
        return np.minimum
    if name == "value" or name.startswith("high-") or name.endswith("-max"):
        return np.maximum
    return np.add


def _empty(name: str, dtype: np.dtype, count: int) -> Array:
    """What adding up begins with."""
    joiner = _joiner(name)
    if joiner is np.add:
        return np.zeros(count, dtype)
    lowest, highest = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.full(count, highest if joiner is np.minimum else lowest, dtype)


class Predicate(Protocol):
    """What chooses objects by their rows."""

    def bind(self, values: Values) -> Predicate:
        """With computed values."""

    def holds(self, rows: Rows, among: Array) -> Array:
        """Which rows it chooses; ``among`` says which are left by the predicates before it."""


@dataclass(frozen=True)
class Condition:
    """A condition on a column: at least, at most, above or below a value, which an earlier step may compute."""

    column: str
    relation: Literal["at least", "at most", "above", "below"]
    value: float | str

    def bind(self, values: Values) -> Condition:
        """With the computed value."""
        return replace(self, value=value_of(self.value, values))

    def holds(self, rows: Rows, among: Array) -> Array:
        """For which rows it holds; above and below are strict, floats at the column's precision."""
        column = rows[self.column]
        value = column.dtype.type(self.value) if column.dtype.kind == "f" else self.value
        compare = {"at least": np.greater_equal, "at most": np.less_equal, "above": np.greater, "below": np.less}
        return np.asarray(compare[self.relation](column, value))


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
    columns = {"label": ids[shown], **geometry(rows, shown, spec)}
    for name, item in request.intensities:
        tail = "" if len(request.intensities) == 1 else f"-{name}"
        columns |= {f"{key}{tail}": column for key, column in intensities(rows, shown, item).items()}
    notes = {"spacing": ",".join(map(repr, spec.spacing)), "unit": spec.unit, "axes": ",".join(spec.axes)}
    write_table(path, columns, notes)


def geometry(rows: Rows, shown: Array, spec: Spec) -> Rows:
    """Columns on the size and the place of objects: counts and boxes in voxels, areas and centroids physical."""
    size = rows["size"][shown]
    columns: Rows = {"num_pixels": size, "area": size * float(prod(spec.spacing))}
    for axis in range(spec.ndim):
        columns[f"bbox-{axis}"] = rows[f"low-{axis}"][shown]
    for axis in range(spec.ndim):
        columns[f"bbox-{axis + spec.ndim}"] = rows[f"high-{axis}"][shown]
    for axis, (step, origin) in enumerate(zip(spec.spacing, spec.origin, strict=True)):
        columns[f"centroid-{axis}"] = rows[f"sum-{axis}"][shown] / size * step + origin
    return columns


def intensities(rows: Rows, shown: Array, item: Measure) -> Rows:
    """Columns on the values of one volume: min and max, and where sums were taken mean and std."""
    columns = {f"intensity_{what}": rows[f"{item.prefix}{what}"][shown] for what in item.extremes}
    if "sum" in item.what:
        total, square = (_whole(rows, f"{item.prefix}{what}", shown) for what in ("sum", "square"))
        mean, std = moments(total, square, rows["size"][shown], item.shift)
        columns |= {"intensity_mean": mean, "intensity_std": std}
    return columns


def moments(total: Array, square: Array, size: Array, shift: int) -> tuple[Array, Array]:
    """Mean and standard deviation from exact sums; one division, and one division and root.

    With sum = q n + r, the sum of (v - q)^2 is square - q (sum + r): a difference of integers, so that a small
    spread around a large mean is not lost.

    >>> moments(np.array([6]), np.array([14]), np.array([3]), 0)
    (array([2.]), array([0.81649658]))
    """
    if not size.size:
        return np.zeros(0), np.zeros(0)
    n, one, two = (item.astype(object) for item in (size, total, square))
    q, r = one // n, one % n
    scale = 2.0**-shift
    mean = (q + (r / n)).astype(np.float64) * scale
    spread = two - q * (one + r)
    variance = (n * spread - r * r) / (n * n)
    return mean, np.sqrt(np.maximum(variance.astype(np.float64), 0.0)) * scale


def _whole(rows: Rows, name: str, shown: Array) -> Array:
    """Sums as Python integers."""
    high, low = rows[f"{name}-high"][shown].astype(object), rows[f"{name}-low"][shown].astype(object)
    return np.asarray(high * (1 << 32) + low)
