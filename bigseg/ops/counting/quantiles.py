"""Exact range, mean, deviation and percentiles of a volume: the machinery below histogram and normalise.

8 and 16 bits: one pass that counts every value. 32 bits, two passes of 16 bits (`bigseg.local.thresholds.ordered`):

1. pass: the upper halves of the ordered bit patterns counted, with the sums of the lower halves;
2. reduction: range, mean and deviation, without rounding; the few upper halves in which the wanted ranks fall;
3. pass, for percentiles only: within these, the lower halves counted;
4. reduction: the voxels of the wanted ranks.

Voxels of 16 and 64-bit floats and 64-bit integers are converted to float32 first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from bigseg.engine.field import Array, Collect, Field, Reduction, Values, Visit, Workspace
from bigseg.errors import ValuesError
from bigseg.grid import Box, Grid, Shape
from bigseg.local.thresholds.counted import moments_from_counts, percentiles_from_counts
from bigseg.local.thresholds.histogram import COUNTED, count_values, extremes, values_of
from bigseg.local.thresholds.ordered import HALF, KEYED, Ranks, moments, outline, percentiles, places, ranks_in, refine
from bigseg.ops.counting.statistics import Fold, folded

KEYS = ("least", "greatest", "mean", "std", "voxels", "percentiles")


def summary(
    field: Field, name: str, wanted: Sequence[float] = (), region: Box | None = None
) -> tuple[Reduction, Reduction]:
    """Add what finds a field's range, mean, standard deviation and percentiles, exactly.

    Parameters
    ----------
    field : of any dtype.
    name : of the reductions.
    wanted : percentages, 0 to 100.
    region : only the voxels of this box are looked at.

    Returns
    -------
    The reduction with the values of `KEYS` (``percentiles`` a list, in the order of ``wanted``), and the one, an
    earlier pass or the same, that knows ``least`` and ``greatest`` already. Equal to numpy.percentile of the voxels
    as float64, exactly; mean and std are rounded once and twice.
    """
    dtype = counted_as(field.spec.dtype)
    counted, ends = dtype in COUNTED, tuple(float(q) for q in wanted)
    size = 8 * (1 << 8 * np.dtype(dtype).itemsize) if counted else 32 * HALF
    collect = Collect(f"{name}.outline", [field], CollectOutline(dtype, field.spec.dtype.itemsize, region))
    fold = Reduction(f"{name}.outline-fold", (collect,), Fold(f"{name}.outline-fold", collect.name, size))
    first = Reduction(f"{name}.summary", (fold,), FindOutline(fold.name, dtype, ends), keys=KEYS)
    if counted or not ends:
        return first, first
    rows = 2 * len(ends)
    look = CollectRanks(dtype, field.spec.dtype.itemsize, first.name, rows, region=region)
    narrow = Collect(f"{name}.ranks", [field], look, [first])
    size = 8 * HALF * rows
    fold = Reduction(f"{name}.ranks-fold", (narrow,), Fold(f"{name}.ranks-fold", narrow.name, size))
    find = FindRanks(fold.name, first.name, dtype, ends, size)
    return Reduction(f"{name}.percentiles", (fold,), find, [first], KEYS), first


def counted_as(dtype: np.dtype[Any]) -> str:
    """The dtype in which the voxels of a dtype are looked at.

    >>> [counted_as(np.dtype(name)) for name in ("bool", "uint16", "int32", "float64")]
    ['uint8', 'uint16', 'int32', 'float32']
    """
    if dtype.kind == "b":
        return "uint8"
    return dtype.name if dtype.name in (*COUNTED, *KEYED) else "float32"


@dataclass(frozen=True)
class CollectOutline:
    """Counts of a block: of every value for 8 and 16 bits, else the outline."""

    dtype: str
    itemsize: int
    region: Box | None = None

    def memory(self, inner: Shape) -> int:
        """A converted copy, and the tables."""
        return _copied(self.dtype, self.itemsize, inner) + (5 << 20)

    def bind(self, values: Values) -> CollectOutline:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """Tables that add up."""
        part = _looked_at(arrays[0], visit.block.inner, self.region, self.dtype)
        if self.dtype in COUNTED:
            return {"counts": count_values(part)}
        least, greatest = _neutral(part.dtype)
        if part.size:
            found = extremes(part)
            if found.nans or found.infs:
                raise ValuesError(
                    f"{found.nans} NaN and {found.infs} infinite values in float32 in block {visit.block.number}: "
                    "expected finite values; check the steps before"
                )
            least, greatest = found.minimum, found.maximum
        ends = {"least": np.array([least], part.dtype), "greatest": np.array([greatest], part.dtype)}
        return {"outline": outline(part), **ends}


@dataclass(frozen=True)
class FindOutline:
    """Range and moments; for 8 and 16 bits the percentiles too, else where to look for them."""

    source: str
    dtype: str
    wanted: tuple[float, ...]

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """A few tables."""
        return 16 << 20

    def bind(self, values: Values) -> FindOutline:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """The values."""
        found = folded(space, self.source)
        if self.dtype in COUNTED:
            counts, values = found["counts"], values_of(self.dtype)
            known = moments_from_counts(counts, values)
            ends = percentiles_from_counts(counts, values, self.wanted).tolist()
            return _values(known.voxels, known.minimum, known.maximum, known.mean, known.std, ends)
        table = found["outline"]
        voxels, mean, std = moments(table, np.dtype(self.dtype))
        least, greatest = found["least"][0].item(), found["greatest"][0].item()
        given = _values(voxels, least, greatest, mean, std, [])
        if self.wanted:
            before, after, _ = places(voxels, self.wanted)
            given |= ranks_in(table, np.concatenate([before, after]))._asdict()
        return given


@dataclass(frozen=True)
class CollectRanks:
    """The lower halves of a block's voxels whose upper half holds a wanted rank."""

    dtype: str
    itemsize: int
    outline: str
    rows: int
    bins: tuple[int, ...] = ()
    region: Box | None = None

    def memory(self, inner: Shape) -> int:
        """A converted copy, and the table in two forms."""
        return _copied(self.dtype, self.itemsize, inner) + 12 * HALF * self.rows + (1 << 20)

    def bind(self, values: Values) -> CollectRanks:
        """Take over the upper halves."""
        return replace(self, bins=tuple(values[self.outline]["bins"]))

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """One table that adds up."""
        part = _looked_at(arrays[0], visit.block.inner, self.region, self.dtype)
        return {"refined": refine(part, self.bins)}


@dataclass(frozen=True)
class FindRanks:
    """Percentiles from the refined counts; the other values are passed on."""

    source: str
    outline: str
    dtype: str
    wanted: tuple[float, ...]
    size: int
    found: Mapping[str, Any] | None = None

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """The table, and its sums."""
        return 3 * self.size + (1 << 20)

    def bind(self, values: Values) -> FindRanks:
        """Take over what the first pass found."""
        return replace(self, found=dict(values[self.outline]))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """The values."""
        assert self.found is not None
        ranks = Ranks(self.found["bins"], self.found["below"])
        refined = folded(space, self.source)["refined"]
        ends = percentiles(ranks, refined, self.found["voxels"], self.wanted, np.dtype(self.dtype))
        return {key: self.found[key] for key in KEYS} | {"percentiles": ends.tolist()}


def _values(
    voxels: int, least: float, greatest: float, mean: float, std: float, ends: Sequence[float]
) -> dict[str, Any]:
    return dict(zip(KEYS, (least, greatest, mean, std, voxels, list(ends)), strict=True))


def _looked_at(array: Array, inner: Box, region: Box | None, dtype: str) -> Array:
    """The part of a block that lies in the region, as a dtype that can be counted."""
    if region is not None:
        start = tuple(map(max, inner.start, region.start))
        part = Box(start, tuple(max(a, b) for a, b in zip(start, map(min, inner.stop, region.stop), strict=True)))
        array = array[part.within(inner)] if part.size else array[tuple(slice(0, 0) for _ in inner.start)]
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    with np.errstate(over="ignore"):  # what becomes infinite is refused with its number
        return array.astype(dtype, copy=False)


def _copied(dtype: str, itemsize: int, inner: Shape) -> int:
    """Bytes of a copy in another dtype; a copy of a plane where the dtype stays."""
    return prod(inner) * 4 if dtype == "float32" and itemsize != 4 else prod(inner[1:]) * itemsize


def _neutral(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    if dtype.kind == "f":
        return np.inf, -np.inf
    info = np.iinfo(dtype)
    return info.max, info.min
