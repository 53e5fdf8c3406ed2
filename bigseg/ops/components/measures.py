"""What is taken from each block of every object: whole numbers and extremes, so that blocks add up to the same bits.

Float intensities are scaled by a power of two that their bounds decide and rounded to 31 bits; sums that 64 bits may
not hold travel in parts of 32 bits (`bigseg.local.objects.wide`). What a row column is called decides how blocks are
joined: the least of ``first``, ``low-`` and ``-min``, the greatest of ``value``, ``high-`` and ``-max``, the sum of all
others. What the sums amount to in the table stands in `bigseg.ops.components.columns`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bigseg.engine.field import Array, Values
from bigseg.grid import Box, Shape
from bigseg.local.components.block import Components
from bigseg.local.components.raster import in_volume
from bigseg.local.components.table import PRODUCTS, first_voxels, measure, measure_products
from bigseg.local.components.unionfind import split_wide
from bigseg.local.components.values import extrema, measure_values, measure_values_and_places, shift_of
from bigseg.local.objects.exposed_sums import KINDS, sum_exposed
from bigseg.local.objects.wide import times, total
from bigseg.ops.components.rows import Rows

AXES = ("z", "y", "x")
GROUPS = frozenset({"first", "size", "box", "centre"})
"""What blocks keep unless told otherwise: first voxel, number of voxels, bounding box, sums of coordinates."""
EVERY = GROUPS | {"second", "surface"}
"""Also the sums of products of coordinates, and crossings with the surface together with the Euler number."""


@dataclass(frozen=True)
class Measure:
    """What is taken from one field over every object.

    Parameters
    ----------
    index : which of the collect's fields.
    what : of an image "min", "max", "sum" (the sum and the sum of squares; brings min and max) and, with it,
        "centre" (sums of values times coordinates); of the objects' own field "second" (sums of products of
        coordinates); of its field of exposed voxels (`bigseg.ops.components.surface`) "surface", and "closed" or "open"
        for the Euler number.
    dtype, bounds : of the field, for the scale of exact sums.
    range_of : the reduction that finds the bounds where they are not known.
    spacing, origin : of the volume, for physical weighted centroids in a table; without, there are none.
    """

    index: int
    what: tuple[str, ...]
    dtype: str
    bounds: tuple[float, float] | None = None
    range_of: str = ""
    spacing: tuple[float, ...] = ()
    origin: tuple[float, ...] = ()

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


def groups_of(groups: Collection[str], measures: Sequence[Measure]) -> frozenset[str]:
    """The groups of columns that a block keeps: those wanted, those its measures ask for, and what these build on.

    >>> sorted(groups_of((), [Measure(0, ("second",), "uint8")]))
    ['centre', 'second', 'size']
    """
    found = set(groups) | {name for item in measures for name in item.what if name in ("second", "surface")}
    if "second" in found:
        found |= {"centre"}
    if "centre" in found or any("sum" in item.what for item in measures):
        found |= {"size"}
    return frozenset(found)


def row_bytes(ndim: int, groups: Collection[str] = GROUPS, measures: Sequence[Measure] = ()) -> int:
    """Bytes that a block keeps of each of its components.

    >>> row_bytes(3), row_bytes(3, EVERY), row_bytes(3, ("first",))
    (88, 248, 8)
    """
    each = {"first": 8, "size": 8, "box": 16 * ndim, "centre": 8 * ndim}
    each |= {"second": 8 * ndim * (ndim + 1), "surface": 8 << ndim}
    found = sum(each[name] for name in groups_of(groups, measures))
    for item in measures:
        found += len(item.extremes) * np.dtype(item.dtype).itemsize
        found += 40 * ("sum" in item.what) + 16 * ndim * ("centre" in item.what)
    return found


def rows_of(
    found: Components,
    inner: Box,
    shape: Shape,
    measures: Sequence[Measure],
    arrays: Sequence[Array],
    groups: Collection[str] = GROUPS,
) -> Rows:
    """One row a local component: geometry in coordinates of the whole volume, and the measures.

    Parameters
    ----------
    found : the components of a block.
    inner, shape : where the block lies in which volume.
    measures, arrays : what is taken from which of the arrays, each of the block's shape.
    groups : the columns wanted of `EVERY`; what the measures build on is added.
    """
    wanted = groups_of(groups, measures) - {"surface"}
    rows: Rows = {}
    if wanted == {"first"}:
        rows["first"] = in_volume(first_voxels(found), inner, shape)
    elif wanted:
        table = measure(found)
        size = table["voxels"].astype(np.int64)
        if "first" in wanted:
            rows["first"] = in_volume(table["first"], inner, shape)
        if "size" in wanted:
            rows["size"] = size
        for axis, (name, start) in enumerate(zip(AXES[-len(shape) :], inner.start, strict=True)):
            if "box" in wanted:
                rows[f"low-{axis}"] = table[f"start_{name}"].astype(np.int64) + start
                rows[f"high-{axis}"] = table[f"stop_{name}"].astype(np.int64) + start
            if "centre" in wanted:
                rows[f"sum-{axis}"] = table[f"sum_{name}"] + size * start
        if "second" in wanted:
            rows |= _second_rows(found, table, inner)
    for item in measures:
        rows |= _measured_rows(found, arrays[item.index], item, inner)
    return rows


def _second_rows(found: Components, table: Array, inner: Box) -> Rows:
    """Sums of products of coordinates, moved from the block's corner to the volume's in exact integers."""
    products = dict(zip(PRODUCTS, measure_products(found).T, strict=True))
    names = AXES[-len(inner.start) :]
    size = table["voxels"].astype(np.int64)
    rows: Rows = {}
    for a, (one, start) in enumerate(zip(names, inner.start, strict=True)):
        for b in range(a, len(names)):
            other, begin = names[b], inner.start[b]
            moved = times(table[f"sum_{other}"], start), times(table[f"sum_{one}"], begin), times(size * start, begin)
            whole = total(split_wide(products[one + other]), *moved)
            rows[f"second-{a}-{b}-high"], rows[f"second-{a}-{b}-low"] = whole
    return rows


def _measured_rows(found: Components, array: Array, item: Measure, inner: Box) -> Rows:
    """What one measure takes from a block."""
    if "surface" in item.what:
        return _surface_rows(found, array, item, len(inner.start))
    if "sum" not in item.what:
        extremes = {name: extrema(found, array, "min" if name == "min" else "max") for name in item.extremes}
        return {f"{item.prefix}{name}": column for name, column in extremes.items()}
    rows: Rows = {}
    if "centre" in item.what:
        values, places = measure_values_and_places(found, array, item.shift)
    else:
        values = measure_values(found, array, item.shift)
    rows["min"], rows["max"] = values["minimum"], values["maximum"]
    rows["sum-high"], rows["sum-low"] = split_wide(values["sum"])
    # 2**31 voxels of a block have squares of 2**93 in all, those of the largest objects of 2**104
    rows["square-top"], rows["square-high"] = split_wide(values["square_high"])
    rows["square-low"] = values["square_low"]
    if "centre" in item.what:
        for axis, start in enumerate(inner.start):
            column = 2 * (3 - len(inner.start) + axis)
            whole = total((places[:, column], places[:, column + 1]), times(values["sum"], start))
            rows[f"centre-{axis}-high"], rows[f"centre-{axis}-low"] = whole
    return {f"{item.prefix}{name}": column for name, column in rows.items()}


def _surface_rows(found: Components, codes: Array, item: Measure, ndim: int) -> Rows:
    """Crossings of each kind of direction, entries and exits; and the share of the Euler number."""
    sums = sum_exposed(found, codes, "open" if "open" in item.what else "closed")
    sides = 1 if codes.dtype == np.uint32 else 2
    kinds = [name for name in KINDS if set(name) <= set(AXES[-ndim:])]
    rows = {f"crossings-{name}": sides * sums[:, 1 + KINDS.index(name)] for name in kinds}
    if {"open", "closed"} & set(item.what):
        rows["euler"] = np.ascontiguousarray(sums[:, 0])
    return rows
