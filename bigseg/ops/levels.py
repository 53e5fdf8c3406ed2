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
from bigseg.local.thresholds.automatic import METHODS, multi_otsu
from bigseg.local.thresholds.counted import moments_from_counts, percentiles_from_counts
from bigseg.local.thresholds.entropies import li
from bigseg.local.thresholds.histogram import COUNTED
from bigseg.local.thresholds.ordered import KEYED
from bigseg.ops.base import Masking, Op, Site
from bigseg.ops.counting.fine import Fine, FineTable, fine_counts
from bigseg.ops.counting.quantiles import summary
from bigseg.ops.counting.statistics import Counts, counts_of, value_range
from bigseg.storage.tables import write_table

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
MANY = "multi_otsu"
ALL = (*METHODS, MANY)
FINELY = ("li", "mean")
"""Methods that compare means, which 256 bins do not give."""


@dataclass(frozen=True)
class FromCounts:
    """The last task of a histogram: the table of counts, and the values that ``find`` takes from it."""

    name: str
    counts: Counts
    find: Callable[..., Mapping[str, Any]]
    """Takes counts and values, and the fine counts where there are any."""
    summary: str = ""
    """A reduction that found the statistics of binned values."""
    known: Mapping[str, Any] | None = None
    fine: Fine | None = None

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """Tables of 65536 counts at most."""
        return 16 << 20

    def bind(self, values: Values) -> FromCounts:
        """Take over the range and the statistics."""
        known = _statistics(values[self.summary]) if self.summary else None
        fine = self.fine.bound(values) if self.fine else None
        return replace(self, counts=self.counts.bound(values), known=known, fine=fine)

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Write the table, find the values."""
        counts, centers = self.counts.read(space)
        filled = np.flatnonzero(counts)
        if not filled.size:
            raise ValuesError(f"step {self.name!r}: there is no voxel to count: check the mask")
        used = slice(filled[0], filled[-1] + 1)
        more = (self.fine.read(space),) if self.fine else ()
        try:
            values = {**self.counts.extremes(), **(self.known or {}), **self.find(counts, centers, *more)}
        except ValuesError as error:
            raise ValuesError(f"step {self.name!r}: {error}") from error
        write_table(space.folder / "tables" / f"{self.name}.parquet", {"value": centers[used], "count": counts[used]})
        return values


@dataclass(frozen=True)
class TellRange:
    """The range of a volume whose values are not counted, as the values of a histogram."""

    range_of: str
    found: Mapping[str, Any] | None = None
    light = True

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """Two numbers."""
        return 1 << 20

    def bind(self, values: Values) -> TellRange:
        """Take over the range."""
        return replace(self, found=dict(values[self.range_of]))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Under the histogram's names."""
        assert self.found is not None
        return {"min": self.found["least"], "max": self.found["greatest"]}


class Histogram(Op):
    """Exact histogram and statistics of a volume.

    8 and 16-bit integers: every value; others: 256 bins between the exact extremes. Gives ``min``, ``max``,
    ``mean``, ``std``, ``p1 p5 p25 p50 p75 p95 p99`` and the table ``value, count``; percentiles are those of all
    voxels, not of the bins; of 64 bits ``min`` and ``max`` alone, of integers of 64 bits without the table. Cost: one
    pass of about 1 ns a voxel a core for 8 and 16 bits, two of 2 to 4 ns for others.

    >>> import numpy as np, bigseg
    >>> bigseg.histogram(np.array([[1, 2], [2, 9]], "uint8"))["max"]
    9
    """

    op: ClassVar[str] = "histogram"
    oracle: ClassVar[str] = "numpy.bincount, numpy.histogram(bins=256), numpy.percentile of float64, exactly"
    example: ClassVar[str] = "{id: stats, op: histogram}"
    masked: ClassVar[Masking] = "voxels"

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """Counts, folded; of wide values the statistics in the same two passes."""
        (field,) = inputs
        keys = ("min", "max", "mean", "std", *(f"p{q}" for q in PERCENTILES))
        if field.spec.dtype.kind in "iu" and field.spec.dtype.itemsize == 8:
            found = value_range(field, site.name)
            return Reduction(site.name, (found,), TellRange(found.name), keys=keys[:2])
        if field.spec.dtype.name not in (*KEYED, "float16"):
            fold, counts = counts_of(field, site.name)
            exact = counts.dtype in COUNTED
            find = _every_value if exact else _no_more
            return Reduction(site.name, (fold,), FromCounts(site.name, counts, find), keys=keys if exact else keys[:2])
        known, first = summary(field, site.name, PERCENTILES)
        fold, counts = counts_of(field, site.name, first)
        kernel = FromCounts(site.name, counts, _no_more, known.name)
        return Reduction(site.name, (fold,), kernel, [known], keys)


def _statistics(found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a summary under the histogram's names."""
    named = {"min": found["least"], "max": found["greatest"], "mean": found["mean"], "std": found["std"]}
    return named | {f"p{q}": value for q, value in zip(PERCENTILES, found["percentiles"], strict=True)}


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


class Thresholds(Op):
    """Base of the operations that find thresholds from a histogram."""

    masked: ClassVar[Masking] = "voxels"

    method: str | tuple[str, ...] = Parameter("otsu", description="one method, a list of methods, or all")
    classes: int = Parameter(3, ge=2, le=5, description="classes of multi_otsu")

    @field_validator("method")
    @classmethod
    def _known(cls, method: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for name in (method,) if isinstance(method, str) else method:
            if name not in ALL and method != "all":
                raise ValueError(f"unknown method {name!r}, expected of {', '.join(ALL)}, or all")
        if not method:
            raise ValueError(f"expected at least one method of {', '.join(ALL)}, or all")
        return method

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods asked for."""
        if self.method == "all":
            return ALL
        return (self.method,) if isinstance(self.method, str) else self.method

    def names(self, method: str) -> tuple[str, ...]:
        """Under which names a method's thresholds are found: one each."""
        return tuple(f"{MANY}_{k}" for k in range(1, self.classes)) if method == MANY else (method,)

    def counting(
        self, field: Field, site: Site, find: FindThresholds, keys: tuple[str, ...], finely: bool
    ) -> Reduction:
        """Counts, folded, then every method on them; of real numbers also ``finely``."""
        if field.spec.dtype.name in (*COUNTED, "bool"):
            fold, counts = counts_of(field, site.name)
            return Reduction(site.name, (fold,), FromCounts(site.name, counts, find), keys=keys)
        found = value_range(field, site.name)
        fold, counts = counts_of(field, site.name, found)
        folds: tuple[Reduction, ...] = (fold,)
        fine = None
        if finely:
            more, fine = fine_counts(field, site.name, found)
            folds += (more,)
        kernel = FromCounts(site.name, counts, find, fine=fine)
        return Reduction(site.name, folds, kernel, keys=("min", "max", *keys))


class AutoThreshold(Thresholds):
    """Thresholds from the histogram of the whole volume, never of a block.

    Methods: otsu, isodata, intermodes, minimum, li, yen, triangle, mean, kapur (ImageJ's MaxEntropy), moments, and
    multi_otsu. Each value is used as ``${step.method}``; multi_otsu gives ``multi_otsu_1`` (lowest) to
    ``multi_otsu_n``. 8 and 16-bit integers: from every value (multi_otsu and intermodes from 256 bins); others: from
    256 bins between the exact extremes, but li and mean from sums in 65,536 bins. Every threshold parts the voxels
    strictly above it from the others. A method that finds nothing (minimum, intermodes: no two modes) ends the run;
    ``try_all`` goes on. Cost: one pass of about 1 ns a voxel a core for 8 and 16 bits, two of 1 to 4 ns for others.

    >>> import numpy as np, bigseg
    >>> bigseg.auto_threshold(np.array([[1, 2, 8, 9]], "uint8"), method="otsu")
    {'otsu': 2}
    """

    op: ClassVar[str] = "auto_threshold"
    oracle: ClassVar[str] = (
        "skimage.filters.threshold_*, exactly (mean, li of floats within 1e-6 of the range); ImageJ's others. Of int32 "
        "and uint32, whose every value skimage counts: of the image as float64"
    )
    example: ClassVar[str] = "{id: levels, op: auto_threshold, method: otsu}"

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """Counts, folded, then every method on them."""
        (field,) = inputs
        keys = tuple(name for method in self.methods for name in self.names(method))
        find = FindThresholds(self.methods, self.classes)
        return self.counting(field, site, find, keys, any(method in FINELY for method in self.methods))


class TryAll(Thresholds):
    """Every method of `auto_threshold`, with the share of voxels above each threshold.

    Gives what ``auto_threshold`` gives, ``fractions`` (by the same names: the voxels strictly above each threshold,
    of 1) and ``failed`` (the methods that found nothing, and why), so that one method's failure does not end the
    run. Fractions of 8 and 16-bit integers are exact, others to the voxels of one of 65,536 bins. ``bigseg threshold``
    shows the result as a table and a picture. Cost: as ``auto_threshold``; up to 3 s more for the methods that smooth.

    >>> import numpy as np, bigseg
    >>> found = bigseg.try_all(np.array([[1, 1, 2, 8, 9, 9]], "uint8"), method=("otsu", "minimum"))
    >>> found["otsu"], found["fractions"], list(found["failed"])
    (2, {'otsu': 0.5}, ['minimum'])
    """

    op: ClassVar[str] = "try_all"
    oracle: ClassVar[str] = "auto_threshold, and numpy.mean(x > threshold), exactly for 8 and 16 bits"
    example: ClassVar[str] = "{id: tries, op: try_all}"

    method: str | tuple[str, ...] = Parameter("all", description="all, one method, or a list of methods")

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """Counts, folded, then every method on them, failures noted."""
        (field,) = inputs
        keys = tuple(name for method in self.methods for name in self.names(method))
        return self.counting(field, site, FindThresholds(self.methods, self.classes, True), keys, True)


@dataclass(frozen=True)
class FindThresholds:
    """Every method on one histogram; ``trying``: failures are noted, and the share of voxels above is counted."""

    methods: tuple[str, ...]
    classes: int
    trying: bool = False

    def __call__(self, counts: Array, centers: Array, fine: FineTable | None = None) -> Mapping[str, Any]:
        """Threshold by name."""
        found: dict[str, Any] = {}
        failed: dict[str, str] = {}
        for method in self.methods:
            try:
                found |= self._one(method, counts, centers, fine)
            except ValuesError as error:
                if not self.trying:
                    raise
                failed[method] = str(error)
        if not self.trying:
            return found
        many, values = (counts, centers) if fine is None else (fine.counts, fine.values)
        total = int(many.sum())
        shares = {name: int(many[values > value].sum()) / total for name, value in found.items()}
        return {**found, "fractions": shares, "failed": failed}

    def _one(self, method: str, counts: Array, centers: Array, fine: FineTable | None) -> dict[str, Any]:
        if method == MANY:
            several = multi_otsu(counts, centers, self.classes)
            return {f"{MANY}_{k}": value for k, value in enumerate(several, start=1)}
        if fine is None or method not in FINELY:
            return {method: METHODS[method](counts, centers)}
        if method == "li":
            return {method: li(fine.counts, fine.values, fine.low, fine.step)}
        return {method: METHODS[method](fine.counts, fine.values)}
