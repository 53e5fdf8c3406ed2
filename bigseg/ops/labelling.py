"""Pass 1 of components: what is labelled, and what is kept of each block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np

from bigseg.engine.field import Array, Values, Visit
from bigseg.grid import Box, Shape
from bigseg.local import bitmask
from bigseg.local.component_paint import shell
from bigseg.local.component_table import first_voxels
from bigseg.local.components import Components, label, label_equal
from bigseg.local.digest import digest
from bigseg.ops.base import value_of
from bigseg.ops.table import Measure, rows_of

Identity = Literal["touching", "equal"]
"""What makes two voxels of one object: that they touch, or that they hold the same value (label images)."""


@dataclass(frozen=True)
class Foreground:
    """Which voxels of a field belong to components: strictly above, strictly below, or not zero."""

    above: float | str | None = None
    below: float | str | None = None

    def bind(self, values: Values) -> Foreground:
        """With computed thresholds."""
        return Foreground(value_of(self.above, values), value_of(self.below, values))

    def mask(self, array: Array) -> bitmask.BitMask:
        """One bit a voxel."""
        if self.above is None and self.below is None:
            return bitmask.different(array, 0)
        assert not isinstance(self.above, str)
        assert not isinstance(self.below, str)
        return bitmask.between(array, self.above, self.below)


@dataclass(frozen=True)
class Labelling:
    """How a block is labelled: what pass 1 and the passes that paint share."""

    foreground: Foreground
    connectivity: int
    identity: Identity

    def bind(self, values: Values) -> Labelling:
        """With computed thresholds."""
        return replace(self, foreground=self.foreground.bind(values))

    def label(self, array: Array) -> Components:
        """The components of one block."""
        if self.identity == "equal":
            return label_equal(array, connectivity=1)
        return label(self.foreground.mask(array), self.connectivity)

    def memory(self, voxels: int) -> int:
        """Bytes: one bit a voxel and its runs; 0.6 bytes a voxel covers foregrounds up to dense noise."""
        return int(0.6 * voxels)


@dataclass(frozen=True)
class CollectComponents:
    """Pass 1 on one block: rows of the local components, and the planes that neighbours will be joined by."""

    labelling: Labelling
    shape: Shape
    measures: tuple[Measure, ...]

    def memory(self, inner: Shape) -> int:
        """Runs, rows and planes."""
        return self.labelling.memory(prod(inner)) + (8 << 20)

    def bind(self, values: Values) -> CollectComponents:
        """With computed thresholds and ranges."""
        return replace(
            self,
            labelling=self.labelling.bind(values),
            measures=tuple(item.bind(values) for item in self.measures),
        )

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """One row a component, and up to six planes."""
        found = self.labelling.label(arrays[0])
        inner = visit.block.inner
        rows = rows_of(found, inner, self.shape, self.measures, arrays)
        rows["check"] = check_of(rows["first"])
        if self.labelling.identity == "equal":
            rows["value"] = arrays[0].reshape(-1)[first_voxels(found)].astype(np.uint64)
        else:
            planes = shell(found)[-len(self.shape) :]
            for axis, side in inner_faces(inner, self.shape):
                rows[plane_name(axis, side)] = planes[axis][side].reshape(plane_shape(inner, axis))
        return rows


def plane_shape(inner: Box, axis: int) -> Shape:
    """Shape of a block's plane across an axis."""
    return inner.shape[:axis] + inner.shape[axis + 1 :]


def inner_faces(inner: Box, shape: Shape) -> list[tuple[int, int]]:
    """The faces of a block that meet other blocks: axis and side (0 low, 1 high)."""
    low = [(axis, 0) for axis, start in enumerate(inner.start) if start > 0]
    return low + [(axis, 1) for axis, stop in enumerate(inner.stop) if stop < shape[axis]]


def plane_name(axis: int, side: int) -> str:
    """Name of a face's array in a block's partial result."""
    return f"plane-{axis}-{'high' if side else 'low'}"


def check_of(first: Array) -> Array:
    """Count and digest of the first voxels: two passes that find other components differ here."""
    return np.array([first.size, int(digest(first), 16) & (2**63 - 1)], np.int64)
