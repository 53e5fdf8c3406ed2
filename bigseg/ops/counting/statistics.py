"""Counting the values of a volume: the machinery below histograms and thresholds.

1. pass (floats and wide integers only): extremes of every block, folded to the exact range;
2. pass: counts of every block, every value for 8 and 16-bit integers, else 256 bins in the exact range;
3. fold: blocks in groups of about the square root of their number, then the groups, so that no task reads
   the whole volume's counts and none grows with it faster than that root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

import numpy as np

from bigseg.engine.field import Array, Collect, Field, Reduction, Values, Visit, Workspace
from bigseg.errors import PipelineError, ValuesError
from bigseg.grid import Grid, Shape
from bigseg.local.thresholds.histogram import (
    BINNED,
    COUNTED,
    bin_centers,
    bin_counts,
    count_values,
    extremes,
    values_of,
)
from bigseg.storage.scratch import Arrays

BINS = 256
JOIN = {
    "counts": np.add,
    "sums": np.add,
    "outline": np.add,
    "refined": np.add,
    "least": np.minimum,
    "greatest": np.maximum,
}
"""How partial results of each kind add up; integers and extremes only, so any order gives the same bits."""


@dataclass(frozen=True)
class CollectExtremes:
    """Least and greatest value of a block."""

    def memory(self, inner: Shape) -> int:
        """No temporaries."""
        return 0

    def bind(self, values: Values) -> CollectExtremes:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """Two numbers; of no voxels those that change nothing."""
        dtype = arrays[0].dtype
        if not arrays[0].size:
            info = None if dtype.kind == "f" else np.iinfo(dtype)
            ends = (np.inf, -np.inf) if info is None else (info.max, info.min)
            return {"least": np.array(ends[:1], dtype), "greatest": np.array(ends[1:], dtype)}
        found = extremes(arrays[0])
        if found.nans or found.infs:
            raise ValuesError(
                f"{found.nans} NaN and {found.infs} infinite values arose in block {visit.block.number}: expected "
                "finite values; check the steps before"
            )
        return {"least": np.array([found.minimum], dtype), "greatest": np.array([found.maximum], dtype)}


@dataclass(frozen=True)
class CollectCounts:
    """Counts of a block: of every value, or in bins between the extremes that ``range_of`` found."""

    dtype: str
    range_of: str = ""
    low: float = 0.0
    high: float = 0.0

    def memory(self, inner: Shape) -> int:
        """Tables of 65536 counts at most."""
        return 4 << 20

    def bind(self, values: Values) -> CollectCounts:
        """Take over the range."""
        if not self.range_of:
            return self
        found = values[self.range_of]
        return replace(self, low=found["least"], high=found["greatest"])

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """One table of counts."""
        array = arrays[0].view(np.uint8) if arrays[0].dtype.kind == "b" else arrays[0]
        if not self.range_of:
            return {"counts": count_values(array)}
        return {"counts": bin_counts(array, self.low, self.high, BINS)}


@dataclass(frozen=True)
class Fold:
    """Adds up the partial results of groups of blocks."""

    name: str
    source: str
    size: int = 1 << 20
    """Bytes of a partial result, at most."""

    def units(self, grid: Grid) -> int:
        """One task a group."""
        return -(-len(grid) // fan(grid))

    def memory(self, grid: Grid) -> int:
        """The sum, the result that is added, and one of them packed."""
        return 3 * self.size + (1 << 20)

    def bind(self, values: Values) -> Fold:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Fold one group into one partial result."""
        first = unit * fan(space.grid)
        numbers = range(first, min(first + fan(space.grid), len(space.grid)))
        space.scratch.write(self.name, unit, joined(space, self.source, numbers))
        return {}


@dataclass(frozen=True)
class FindRange:
    """The exact range of a volume, from folded extremes."""

    source: str

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """A few numbers."""
        return 1 << 20

    def bind(self, values: Values) -> FindRange:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Least and greatest value."""
        found = folded(space, self.source)
        if found["least"][0] > found["greatest"][0]:
            raise ValuesError(f"{self.source}: there is no voxel to look at: check the mask")
        return {"least": found["least"][0].item(), "greatest": found["greatest"][0].item()}


def fan(grid: Grid) -> int:
    """Blocks a fold takes together."""
    return max(64, isqrt(len(grid)))


def joined(space: Workspace, source: str, numbers: Sequence[int]) -> Arrays:
    """Partial results added up, read one after the other."""
    total = {name: array.copy() for name, array in space.scratch.read(source, numbers[0]).items()}
    for number in numbers[1:]:
        for name, array in space.scratch.read(source, number).items():
            JOIN[name](total[name], array, out=total[name])
    return total


def folded(space: Workspace, source: str) -> Arrays:
    """The whole volume's result from a fold's groups."""
    return joined(space, source, range(-(-len(space.grid) // fan(space.grid))))


def value_range(field: Field, name: str) -> Reduction:
    """Adds a pass that finds a field's exact range, once for all steps that ask; values ``least`` and ``greatest``."""
    if "range" not in field.shared:
        collect = Collect(f"{name}.extremes", [field], CollectExtremes())
        fold = Reduction(f"{name}.extremes-fold", (collect,), Fold(f"{name}.extremes-fold", collect.name))
        field.shared["range"] = Reduction(f"{name}.range", (fold,), FindRange(fold.name), keys=("least", "greatest"))
    shared: Reduction = field.shared["range"]
    return shared


def counting(field: Field, name: str, found: Reduction | None = None) -> tuple[Reduction, str]:
    """Adds what counts a field's values; gives back the fold of the counts, and the name of the range's reduction.

    ``found`` is a reduction that knows the range already: values ``least`` and ``greatest``. Steps that count the
    same field share the first one's counts: its range is the same numbers, whichever reduction found them.

    Raises
    ------
    PipelineError
        When the values are integers of 64 bits, which the float64 of bins cannot tell apart.
    """
    if field.spec.dtype.name not in (*BINNED, "bool"):
        raise PipelineError(
            f"step {name!r}: {field.name!r} is {field.spec.dtype}, which has no histogram: expected bool, "
            f"{', '.join(BINNED)}; put a rescale step before it"
        )
    if found is not None:
        field.shared.setdefault("range", found)
    if "counts" not in field.shared:
        field.shared["counts"] = _counting(field, name, found)
    shared: tuple[Reduction, str] = field.shared["counts"]
    return shared


def _counting(field: Field, name: str, found: Reduction | None) -> tuple[Reduction, str]:
    dtype = "uint8" if field.spec.dtype.kind == "b" else str(field.spec.dtype)
    if dtype in COUNTED:
        collect = Collect(f"{name}.counts", [field], CollectCounts(dtype))
        range_of = ""
    else:
        found = found or value_range(field, name)
        range_of = found.name
        collect = Collect(f"{name}.counts", [field], CollectCounts(dtype, range_of), after=[found])
    fold = Reduction(f"{name}.counts-fold", (collect,), Fold(f"{name}.counts-fold", collect.name))
    return fold, range_of


@dataclass(frozen=True)
class Counts:
    """Where a reduction finds a volume's counts, and what values they belong to."""

    source: str
    dtype: str
    range_of: str = ""
    low: float = 0.0
    high: float = 0.0

    def bound(self, values: Values) -> Counts:
        """With the range that was found."""
        if not self.range_of:
            return self
        found = values[self.range_of]
        return replace(self, low=found["least"], high=found["greatest"])

    def extremes(self) -> dict[str, float]:
        """The range that was found for binned values."""
        return {"min": self.low, "max": self.high} if self.range_of else {}

    def read(self, space: Workspace) -> tuple[Array, Array]:
        """Counts, and the value or bin centre of each."""
        counts = folded(space, self.source)["counts"]
        if self.range_of:
            return counts, bin_centers(self.low, self.high, BINS, self.dtype)
        return counts, values_of(self.dtype)


def counts_of(field: Field, name: str, found: Reduction | None = None) -> tuple[Reduction, Counts]:
    """The fold of a field's counts, and how a reduction after it reads them; ``found`` as in `counting`."""
    fold, range_of = counting(field, name, found)
    dtype = "uint8" if field.spec.dtype.kind == "b" else str(field.spec.dtype)
    return fold, Counts(fold.name, dtype, range_of)
