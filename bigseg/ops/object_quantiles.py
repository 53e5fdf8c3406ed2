"""Quantiles of the values within each object, exact, from counts of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field as Parameter
from pydantic import field_validator

from bigseg.engine.field import Array, Collect, Field, Reduction, Values, Visit
from bigseg.errors import PipelineError
from bigseg.grid import Shape
from bigseg.local.objects.keyed_quantiles import quantiles
from bigseg.local.objects.keyed_rows import Rows
from bigseg.local.objects.pairs import count_pairs, keys_of, values_of
from bigseg.local.thresholds.histogram import COUNTED
from bigseg.ops.base import Site
from bigseg.ops.keyed import Share, Source, TableOp, keyed_table, part_of
from bigseg.ops.objects import refuse_masks

SHARES = {1: Share(16, 1 / 20), 2: Share(2, 1 / 2)}
"""By bytes of a value: 16 bits of noise give a row for every other voxel, so that a task takes fewer blocks."""
Percentage = Annotated[float, Parameter(ge=0, le=100)]


@dataclass(frozen=True)
class CollectValues:
    """How often each value occurs in each object of a block."""

    labels: str
    density: float

    def memory(self, inner: Shape) -> int:
        """A hash table while it grows, then its rows while they are sorted."""
        return (8 << 20) + int(100 * prod(inner) * self.density)

    def bind(self, values: Values) -> CollectValues:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """Sorted rows of label, value, count; without background."""
        rows = count_pairs(arrays[0], arrays[1])
        background = keys_of(np.zeros(1, self.labels))[0]
        return part_of(rows[:, rows[0] != background], visit.block.number)


@dataclass(frozen=True)
class Finish:
    """All values of some objects become one row each."""

    dtype: str
    percentages: tuple[float, ...]

    def __call__(self, rows: Rows) -> Rows:
        """Rows of label, 0, size, quantiles."""
        return quantiles(rows, np.dtype(self.dtype), self.percentages)


@dataclass(frozen=True)
class QuantileColumns:
    """The table's columns: label, size, and each quantile."""

    labels: str
    names: tuple[str, ...]

    def columns(self, rows: Rows) -> Mapping[str, Array]:
        """label, num_pixels, intensity_p5 …."""
        found = {"label": values_of(rows[0], np.dtype(self.labels)), "num_pixels": rows[2].view(np.int64)}
        quantile = (np.ascontiguousarray(line).view(np.float64) for line in rows[3:])
        return found | dict(zip(self.names, quantile, strict=True))

    def notes(self) -> Mapping[str, str]:
        """None."""
        return {}


class ObjectQuantiles(TableOp):
    """Exact quantiles of an image's values within each object: median, 5th and 95th percentile, or any.

    A table with one row a label, sorted: label, num_pixels, and intensity_p50 … for each of ``percentages``, linear
    between voxels as numpy.percentile. Images of 8 and 16 bits: every value is counted, label by label, so nothing is
    binned and nothing depends on blocks. Gives ``objects``, their number. Cost: one pass of 5 to 100 ns a voxel a core
    for 8 bits; of 16 bits with noise up to 300 ns, and as much scratch as the image: most voxels of an object differ.

    >>> import numpy as np, bigseg
    >>> labels, image = np.array([[1, 1, 0, 2]], "uint8"), np.array([[10, 20, 99, 7]], "uint16")
    >>> bigseg.object_quantiles(labels, image, percentages=(50,))["intensity_p50"].tolist()
    [15.0, 7.0]
    """

    op: ClassVar[str] = "object_quantiles"
    oracle: ClassVar[str] = "numpy.percentile of the voxels of each label as float64, exactly"
    example: ClassVar[str] = (
        "{id: spread, op: object_quantiles, from: grains, intensity: input, percentages: [5, 50, 95]}"
    )
    refers: ClassVar[tuple[str, ...]] = ("intensity",)

    intensity: str = Parameter(description="the input or step whose values are looked at; 8 or 16-bit integers")
    percentages: tuple[Percentage, ...] = Parameter(
        (5.0, 25.0, 50.0, 75.0, 95.0), description="0 to 100, 50 the median"
    )

    @field_validator("percentages")
    @classmethod
    def _some(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError(f"expected one or more different percentages, found {value}")
        return value

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """Values of every block, added up, label by label."""
        (field,) = inputs
        refuse_masks(field, site, self.op)
        image = site.volume(self.intensity, "intensity")
        dtype = "uint8" if image.spec.dtype.kind == "b" else str(image.spec.dtype)
        if dtype not in COUNTED:
            raise PipelineError(
                f"step {site.name!r}: intensity {image.name!r} is {dtype}: expected 8 or 16-bit integers; put a "
                "rescale step with such a dtype before it"
            )
        share = SHARES[np.dtype(dtype).itemsize]
        labels = str(field.spec.dtype)
        collect = Collect(f"{site.name}.values", [field, image], CollectValues(labels, share.density))
        layout = QuantileColumns(labels, tuple(f"intensity_p{q:g}" for q in self.percentages))
        finish = Finish(dtype, self.percentages)
        return keyed_table(site.name, [Source(collect.name)], [collect], 1, layout, "objects", share, finish)
