"""Contingency: how often each label of one volume lies at the same voxel as each label of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
from pydantic import Field as Parameter

from bigseg.engine.field import Array, Collect, Field, Reduction, Values, Visit
from bigseg.errors import PipelineError
from bigseg.grid import Shape
from bigseg.local.objects.keyed_rows import Rows
from bigseg.local.objects.pairs import count_pairs, values_of
from bigseg.ops.base import Site
from bigseg.ops.keyed import Source, TableOp, keyed_table, part_of


@dataclass(frozen=True)
class CollectPairs:
    """The pairs of values of a block."""

    ignore_zero: bool

    def memory(self, inner: Shape) -> int:
        """A hash table with room for one pair in 100 voxels, twice while it grows."""
        return (8 << 20) + 2 * 64 * (prod(inner) // 100)

    def bind(self, values: Values) -> CollectPairs:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """Sorted rows of a, b, count."""
        return part_of(count_pairs(arrays[0], arrays[1], self.ignore_zero), visit.block.number)


@dataclass(frozen=True)
class PairColumns:
    """The table's columns: the labels in the dtypes of their volumes, and the count."""

    dtypes: tuple[str, str]

    def columns(self, rows: Rows) -> Mapping[str, Array]:
        """label_a, label_b, num_pixels."""
        first, second = (values_of(keys, np.dtype(name)) for keys, name in zip(rows[:2], self.dtypes, strict=True))
        return {"label_a": first, "label_b": second, "num_pixels": rows[2].view(np.int64)}

    def notes(self) -> Mapping[str, str]:
        """None."""
        return {}


class Contingency(TableOp):
    """Co-occurrence of two label volumes: every pair of labels that share voxels, and how many.

    A table with one row a pair, sorted: label_a (of the step's input), label_b (of ``other``), num_pixels; labels,
    classes, masks (0 and 1) or any integers. Gives ``pairs``, the number of rows. Overlaps of segmentations, scores
    against a truth and tracking from volume to volume are sums over it. Above 100,000 rows the table is a folder of
    Parquet files, which pandas.read_parquet reads. Cost: one pass of 0.6 to 1.5 ns a voxel a core for objects, 15 to
    300 ns where one volume is noise; a task after it holds about 16 blocks' rows.

    >>> import numpy as np, bigseg
    >>> bigseg.contingency(np.array([[1, 1, 2]], "uint8"), np.array([[0, 3, 3]], "uint8")).values.tolist()
    [[1, 0, 1], [1, 3, 1], [2, 3, 1]]
    """

    op: ClassVar[str] = "contingency"
    oracle: ClassVar[str] = "numpy.unique of the pairs; skimage.metrics.contingency_table, exactly"
    example: ClassVar[str] = "{id: overlap, op: contingency, from: objects, other: truth}"
    refers: ClassVar[tuple[str, ...]] = ("other",)

    other: str = Parameter(description="the input or step that is compared with")
    ignore_zero: bool = Parameter(False, description="leave out voxels that are 0 in either volume")

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """Pairs of every block, added up."""
        (field,) = inputs
        second = site.volume(self.other, "other")
        for volume in (field, second):
            if volume.spec.dtype.kind == "f":
                raise PipelineError(
                    f"step {site.name!r}: contingency counts pairs of integers, {volume.name!r} is "
                    f"{volume.spec.dtype}: put a threshold, multi_threshold or label step before it"
                )
        collect = Collect(f"{site.name}.pairs", [field, second], CollectPairs(self.ignore_zero))
        layout = PairColumns((str(field.spec.dtype), str(second.spec.dtype)))
        return keyed_table(site.name, [Source(collect.name)], [collect], 1, layout)
