"""Feature vectors of annotated voxels, taken block by block: the passes below a train step.

1. pass: labels; how many voxels of each region and class are known;
2. reduction: how many of the whole volume, from which follows below which hash a voxel is taken;
3. pass: blocks that hold any; the features of those that are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from bigseg.engine.field import Array, Values, Visit, Workspace
from bigseg.errors import ParameterError
from bigseg.grid import Box, Grid, Shape
from bigseg.learn.sampled import PARTS, PIECE_BYTES, Kind, Regions, Sampling, known_pieces
from bigseg.local.features.picking import features_at
from bigseg.local.features.stack import Stack
from bigseg.ops.counting.statistics import folded


@dataclass(frozen=True)
class Annotation:
    """What labels mean, where, and how many are taken."""

    kind: Kind
    regions: Regions
    sampling: Sampling


@dataclass(frozen=True)
class CountKnown:
    """How many voxels of a block are known, by part and class."""

    known: Annotation

    def memory(self, inner: Shape) -> int:
        """Parts, and pieces of the voxels that are known."""
        return prod(inner) + PIECE_BYTES

    def bind(self, values: Values) -> CountKnown:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """One table of counts."""
        parts = self.known.regions.parts(visit.block.inner)
        return {"counts": self.known.sampling.count(known_pieces(arrays[0], self.known.kind, parts))}


@dataclass(frozen=True)
class FindCounts:
    """How many voxels of the whole volume are known."""

    name: str
    fold: str

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """A few tables."""
        return 1 << 20

    def bind(self, values: Values) -> FindCounts:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Add up.

        Raises
        ------
        ParameterError
            When nothing is known where it is for training.
        """
        counts = folded(space, self.fold)["counts"]
        if not counts[0].any():
            raise ParameterError(
                f"step {self.name!r}: no voxel for training is labelled: paint classes of 1 and more, say kind: mask "
                "for a mask, or give other regions"
            )
        return {"counts": counts.tolist()}


@dataclass(frozen=True)
class TakeRows:
    """Features of the voxels of a block that are taken; the field itself is empty. A gate: labels come first."""

    stack: Stack
    dtypes: tuple[str, ...]
    key: str
    known: Annotation
    source: str
    counts: tuple[tuple[int, ...], ...] = ()
    haloed = True

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel: the features."""
        return self.stack.cost()

    def depth(self) -> Shape:
        """Halo of the features."""
        return self.stack.depth()

    def memory(self, outer: Shape, inner: Shape) -> int:
        """A tile and what lies below it; labels without their halo, parts and a row's place of every voxel; rows."""
        return self.stack.memory(outer, inner, self.dtypes) + 17 * prod(inner) + PIECE_BYTES + self._rows(inner)

    def _rows(self, inner: Shape) -> int:
        return row_bytes(len(self.stack.names), self.known.sampling.voxels, prod(inner))

    def bind(self, values: Values) -> TakeRows:
        """Take over the counts."""
        return replace(self, counts=tuple(tuple(row) for row in values[self.source]["counts"]))

    def idle(self, first: Array) -> bool:
        """Whether nothing is known in the block."""
        return self.known.kind == "sparse" and not first.any()

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """Take rows of one block."""
        shape = visit.grid.shape
        labels = np.ascontiguousarray(arrays[0][keep])
        bounds = self.known.sampling.bounds(np.array(self.counts, np.int64))
        pieces = known_pieces(labels, self.known.kind, self.known.regions.parts(box))
        taken = self.known.sampling.pick(pieces, box, shape, bounds)
        planes = np.empty((len(self.stack.names), 0), np.float32)
        if taken.place.size:
            planes = features_at(self.stack, arrays[1:], keep, taken.place, box.start)
        visit.shared[self.key] = {"index": taken.voxel, "truth": taken.truth, "part": taken.part, "planes": planes}
        return np.broadcast_to(np.zeros((), np.uint8), box.shape)


@dataclass(frozen=True)
class CollectRows:
    """What `TakeRows` left."""

    key: str
    features: int
    voxels: int | None

    def memory(self, inner: Shape) -> int:
        """The rows, packed."""
        return row_bytes(self.features, self.voxels, prod(inner))

    def bind(self, values: Values) -> CollectRows:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """Rows of the block."""
        found: Mapping[str, Array] = visit.shared.pop(self.key)
        return found


def row_bytes(features: int, voxels: int | None, most: int) -> int:
    """Bytes of the rows of a block, at most."""
    return rows_wanted(voxels, most) * (4 * features + 10)


def rows_wanted(voxels: int | None, most: int) -> int:
    """Rows of so many voxels, at most: those wanted of each part, if there are so many in it."""
    return most if voxels is None else min(most, len(PARTS) * int(1.05 * voxels + 12 * voxels**0.5 + 12))
