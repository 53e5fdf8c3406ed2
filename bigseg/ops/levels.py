"""Histograms, and thresholds found from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from pydantic import Field as Parameter
from pydantic import field_validator

from bigseg.engine.field import Array, Field, Reduction, Values, Workspace
from bigseg.errors import ValuesError
from bigseg.grid import Grid
from bigseg.local.histogram import COUNTED
from bigseg.local.thresholds import METHODS, moments_from_counts, multi_otsu, percentiles_from_counts
from bigseg.ops.base import Op, Site
from bigseg.ops.statistics import Counts, counts_of
from bigseg.storage.tables import write_table

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class FromCounts:
    """The last task of a histogram: the table of counts, and the values that ``find`` takes from it."""

    name: str
    counts: Counts
    find: Callable[[Array, Array], Mapping[str, Any]]

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """Tables of 65536 counts at most."""
        return 16 << 20

    def bind(self, values: Values) -> FromCounts:
        """Take over the range."""
        return replace(self, counts=self.counts.bound(values))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Write the table, find the values."""
        counts, centers = self.counts.read(space)
        filled = np.flatnonzero(counts)
        used = slice(filled[0], filled[-1] + 1)
        try:
            values = {**self.counts.extremes(), **self.find(counts, centers)}
        except ValuesError as error:
            raise ValuesError(f"step {self.name!r}: {error}") from error
        write_table(space.folder / "tables" / f"{self.name}.parquet", {"value": centers[used], "count": counts[used]})
        return values


class Histogram(Op):
    """Exact histogram and statistics of a volume.

    8 and 16-bit integers: every value, with mean, std and percentiles; others: 256 bins between the exact
    extremes. Gives ``min``, ``max``, for 8 and 16 bits also ``mean``, ``std``, ``p1 p5 p25 p50 p75 p95 p99``, and
    the table ``value, count``. Cost: one pass (two where the range is not known), about 1 ns a voxel a core.

    >>> import numpy as np, bigseg
    >>> bigseg.histogram(np.array([[1, 2], [2, 9]], "uint8"))["max"]
    9
    """

    op: ClassVar[str] = "histogram"
    oracle: ClassVar[str] = "numpy.bincount, numpy.histogram(bins=256), numpy.percentile, exactly"
    example: ClassVar[str] = "{id: stats, op: histogram}"

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """Counts, folded."""
        (field,) = inputs
        fold, counts = counts_of(field, site.name)
        exact = counts.dtype in COUNTED
        keys = ("min", "max", "mean", "std", *(f"p{q}" for q in PERCENTILES)) if exact else ("min", "max")
        find = _every_value if exact else _no_more
        return Reduction(site.name, (fold,), FromCounts(site.name, counts, find), keys=keys)


def _no_more(counts: Array, centers: Array) -> Mapping[str, Any]:
    """Binned values say nothing more than their range."""
    return {}


def _every_value(counts: Array, centers: Array) -> Mapping[str, Any]:
    moments = moments_from_counts(counts, centers)
    percentiles = percentiles_from_counts(counts, centers, PERCENTILES)
    return {
        "min": moments.minimum,
        "max": moments.maximum,
        "mean": moments.mean,
        "std": moments.std,
        **{f"p{q}": float(value) for q, value in zip(PERCENTILES, percentiles, strict=True)},
    }


class AutoThreshold(Op):
    """Thresholds from the histogram of the whole volume, never of a block.

    Methods: otsu, isodata, triangle, multi_otsu. Each value is used as ``${step.method}``; multi_otsu gives
    ``multi_otsu_1`` (lowest) to ``multi_otsu_n``. 8 and 16-bit integers: from every value (multi_otsu from 256
    bins); others: from 256 bins between the exact extremes. Cost: one pass, two where the range is not known.

    >>> import numpy as np, bigseg
    >>> bigseg.auto_threshold(np.array([[1, 2, 8, 9]], "uint8"), method="otsu")
    {'otsu': 2}
    """

    op: ClassVar[str] = "auto_threshold"
    oracle: ClassVar[str] = "skimage.filters.threshold_* on the whole array, exactly"
    example: ClassVar[str] = "{id: levels, op: auto_threshold, method: otsu}"

    method: str | tuple[str, ...] = Parameter("otsu", description="one method or a list of methods")
    classes: int = Parameter(3, ge=2, le=5, description="classes of multi_otsu")

    @field_validator("method")
    @classmethod
    def _known(cls, method: str | tuple[str, ...]) -> str | tuple[str, ...]:
        known = (*METHODS, "multi_otsu")
        for name in (method,) if isinstance(method, str) else method:
            if name not in known:
                raise ValueError(f"unknown method {name!r}, expected of {', '.join(known)}")
        if not method:
            raise ValueError(f"expected at least one method of {', '.join(known)}")
        return method

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods asked for."""
        return (self.method,) if isinstance(self.method, str) else self.method

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """Counts, folded, then every method on them."""
        (field,) = inputs
        fold, counts = counts_of(field, site.name)
        keys = ["min", "max"] if counts.range_of else []
        for name in self.methods:
            keys += [f"multi_otsu_{k}" for k in range(1, self.classes)] if name == "multi_otsu" else [name]
        find = FindThresholds(self.methods, self.classes)
        return Reduction(site.name, (fold,), FromCounts(site.name, counts, find), keys=tuple(keys))


@dataclass(frozen=True)
class FindThresholds:
    """Every method on one histogram."""

    methods: tuple[str, ...]
    classes: int

    def __call__(self, counts: Array, centers: Array) -> Mapping[str, Any]:
        """Threshold by name."""
        found: dict[str, Any] = {}
        for name in self.methods:
            if name == "multi_otsu":
                several = multi_otsu(counts, centers, self.classes)
                found |= {f"multi_otsu_{k}": value for k, value in enumerate(several, start=1)}
            else:
                found[name] = METHODS[name](counts, centers)
        return found
