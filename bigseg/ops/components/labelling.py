"""Pass 1 of components: what is labelled, and what is kept of each block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np

from bigseg.engine.field import Array, Values, Visit
from bigseg.grid import Box, Shape
from bigseg.local.components import bitmask
from bigseg.local.components.block import Components, label, label_equal, label_values
from bigseg.local.components.faces import shell_of
from bigseg.local.components.paint import shell
from bigseg.local.components.table import first_voxels
from bigseg.local.digest import digest
from bigseg.ops.base import value_of
from bigseg.ops.components.measures import Measure, row_bytes, rows_of
from bigseg.ops.components.rows import Rows, order_of_done, packed
from bigseg.ops.components.superblocks import Intervals, Node, Tree
from bigseg.ops.components.values import by_value

Identity = Literal["touching", "valued", "equal"]
"""What makes two voxels of one object: that they touch; that they touch and hold the same value; or the value alone,
wherever they lie (label images)."""

EXPECTED = 200
"""Voxels of a block for each of its components, where the plan asks; smoothed noise has one in 120."""


@dataclass(frozen=True)
class Foreground:
    """Which voxels of a field belong to components: strictly above, strictly below, or not of the background."""

    above: float | str | None = None
    below: float | str | None = None
    background: int = 0

    def bind(self, values: Values) -> Foreground:
        """With computed thresholds."""
        return replace(self, above=value_of(self.above, values), below=value_of(self.below, values))

    def mask(self, array: Array) -> bitmask.BitMask:
        """One bit a voxel."""
        if self.above is None and self.below is None:
            return bitmask.different(array, self.background)
        assert not isinstance(self.above, str)
        assert not isinstance(self.below, str)
        return bitmask.between(array, self.above, self.below)


@dataclass(frozen=True)
class Labelling:
    """How a block is labelled: what pass 1 and the passes that paint share."""

    foreground: Foreground
    connectivity: int
    identity: Identity
    periodic: tuple[bool, ...] = ()
    """On which axes the last voxel touches the first; () for none."""

    def bind(self, values: Values) -> Labelling:
        """With computed thresholds."""
        return replace(self, foreground=self.foreground.bind(values))

    def label(self, array: Array) -> Components:
        """The components of one block."""
        if self.identity == "equal":
            return label_values(array)
        if self.identity == "valued":
            return label_equal(array, self.connectivity, self.foreground.background)
        return label(self.foreground.mask(array), self.connectivity)

    def memory(self, voxels: int) -> int:
        """Bytes: one bit a voxel and its runs; 0.6 bytes a voxel covers foregrounds up to dense noise."""
        return int(0.6 * voxels)


@dataclass(frozen=True)
class CollectComponents:
    """Pass 1 on one block: rows of the local components, and the planes that neighbours will be joined by.

    Stored: what `bigseg.ops.components.rows` says; ``open``, the numbers of the open components in the block;
    ``faces``, one bit (2 axis + side) for each face that one of them reaches; and a plane a face, of places among the
    open ones (1, 2, ...; 0 for all else). Of label images (identity "equal") one row a value, and nothing is open.
    """

    labelling: Labelling
    shape: Shape
    measures: tuple[Measure, ...]
    groups: tuple[str, ...]
    """Of which columns rows are made; none: objects are only counted."""

    def memory(self, inner: Shape) -> int:
        """Runs; rows as they are measured, chosen and stored (measured: four times their size); planes."""
        rows = row_bytes(len(self.shape), self.groups, self.measures) * (prod(inner) // EXPECTED)
        return self.labelling.memory(prod(inner)) + 4 * rows + (8 << 20)

    def bind(self, values: Values) -> CollectComponents:
        """With computed thresholds and ranges."""
        return replace(
            self,
            labelling=self.labelling.bind(values),
            measures=tuple(item.bind(values) for item in self.measures),
        )

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """Rows and planes of one block."""
        found = self.labelling.label(arrays[0])
        inner = visit.block.inner
        counted = not (self.groups or self.measures)
        rows = {} if counted else rows_of(found, inner, self.shape, self.measures, arrays, self.groups)
        kept = {"check": check_of(rows["first"])} if "first" in rows else {}
        if self.labelling.identity == "equal":
            places = self._begins(found, rows, inner)  # flattening may copy the block
            return kept | by_value(rows, arrays[0][places])
        return kept | surface(found, rows, self.labelling, visit, arrays[0])

    def _begins(self, found: Components, rows: Rows, inner: Box) -> tuple[Array, ...]:
        """Places in the block of the first voxels of its components."""
        if "first" not in rows:
            return np.unravel_index(first_voxels(found), inner.shape)
        places = np.unravel_index(rows["first"], self.shape)
        return tuple(place - start for place, start in zip(places, inner.start, strict=True))


def surface(found: Components, rows: Rows, labelling: Labelling, visit: Visit, array: Array) -> Rows:
    """What is kept of the components of a block: rows, which are open, the faces they reach, and planes."""
    ndim = len(visit.grid.shape)
    planes, values = shell(found)[-ndim:], shell_of(array)[-ndim:]
    faces = np.zeros(found.n + 1, np.uint8)
    sides = Tree(visit.grid, labelling.periodic).sides(Node(0, visit.block.number))
    for axis, side in sides:
        faces[planes[axis][side]] |= np.uint8(1 << (2 * axis + side))
    still = faces[1:] != 0
    place = np.zeros(found.n + 1, np.uint32)
    place[1:][still] = np.arange(1, np.count_nonzero(still) + 1, dtype=np.uint32)
    kept: Rows = {"open": np.flatnonzero(still).astype(np.uint32) + 1, "faces": faces[1:][still]}
    for axis, side in sides:
        shape = plane_shape(visit.block.inner, axis)
        kept[plane_name(axis, side)] = place[planes[axis][side].reshape(shape)]
        if labelling.identity == "valued":
            kept[value_name(axis, side)] = values[axis][side].reshape(shape)
    return kept | packed(rows, still, order_of_done(rows, still), Intervals(visit.grid))


def plane_shape(inner: Box, axis: int) -> Shape:
    """Shape of a block's plane across an axis."""
    return inner.shape[:axis] + inner.shape[axis + 1 :]


def plane_name(axis: int, side: int) -> str:
    """Name of a face's array in a block's partial result."""
    return f"plane-{axis}-{'high' if side else 'low'}"


def value_name(axis: int, side: int) -> str:
    """Name of the array of the values there, of objects that are told apart by them."""
    return f"values-{axis}-{'high' if side else 'low'}"


def check_of(first: Array) -> Array:
    """Count and digest of the first voxels: two passes that find other components differ here."""
    return np.array([first.size, int(digest(first), 16) & (2**63 - 1)], np.int64)
