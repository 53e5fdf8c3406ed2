"""Fine counts of real volumes: for the thresholds that need means, not bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import numpy as np

from bigseg.engine.field import Array, Collect, Field, Reduction, Values, Visit, Workspace
from bigseg.grid import Shape
from bigseg.local.thresholds.fine import BINS, FineSums, fine_sums, means_of
from bigseg.ops.counting.statistics import Fold, folded


class FineTable(NamedTuple):
    """Voxels and mean value of every filled bin, and the range of the volume."""

    counts: Array
    values: Array
    low: float
    high: float

    @property
    def step(self) -> float:
        """How exact the mean values are."""
        return (self.high - self.low) / (1 << 31)


@dataclass(frozen=True)
class CollectFine:
    """Counts and sums of a block in 65,536 bins between the extremes that ``range_of`` found."""

    itemsize: int
    range_of: str
    low: float = 0.0
    high: float = 0.0

    def memory(self, inner: Shape) -> int:
        """Two tables, and a plane of a crop; half precision is converted."""
        return (2 << 20) + prod(inner if self.itemsize == 2 else inner[1:]) * 4

    def bind(self, values: Values) -> CollectFine:
        """Take over the range."""
        found = values[self.range_of]
        return replace(self, low=found["least"], high=found["greatest"])

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """Counts and sums, one above the other."""
        return {"counts": np.stack(fine_sums(arrays[0], self.low, self.high))}


@dataclass(frozen=True)
class Fine:
    """Where a reduction finds a volume's fine counts."""

    source: str
    range_of: str
    low: float = 0.0
    high: float = 0.0

    def bound(self, values: Values) -> Fine:
        """With the range that was found."""
        found = values[self.range_of]
        return replace(self, low=found["least"], high=found["greatest"])

    def read(self, space: Workspace) -> FineTable:
        """The table."""
        counts, rests = folded(space, self.source)["counts"]
        return FineTable(*means_of(FineSums(counts, rests), self.low, self.high), self.low, self.high)


def fine_counts(field: Field, name: str, found: Reduction) -> tuple[Reduction, Fine]:
    """Adds what counts a field finely, in the pass that counts it in bins, once; ``found`` knows its range."""
    if "fine" not in field.shared:
        field.shared["fine"] = _fine_counts(field, name, found)
    shared: tuple[Reduction, Fine] = field.shared["fine"]
    return shared


def _fine_counts(field: Field, name: str, found: Reduction) -> tuple[Reduction, Fine]:
    collect = Collect(f"{name}.fine", [field], CollectFine(field.spec.dtype.itemsize, found.name), [found])
    fold = Reduction(f"{name}.fine-fold", (collect,), Fold(f"{name}.fine-fold", collect.name, 16 * BINS))
    return fold, Fine(fold.name, found.name)
