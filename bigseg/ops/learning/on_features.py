"""Fields computed from features: the stack and what looks at it, fused in the block.

A block's features never exist as a whole: they come tile by tile (`bigseg.local.features.stack`), are scaled where they
lie, and what is found for their voxels is written into the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from bigseg.engine.field import Array, Field, Values, Visit
from bigseg.grid import Box, Shape
from bigseg.local.features.scaling import Scaling
from bigseg.local.features.stack import Stack
from bigseg.local.filters.linear import Float32


class Finder(Protocol):
    """What looks at feature vectors: a classifier, a regression, the nearest of some centres."""

    @property
    def dtype(self) -> str:
        """Of what it finds."""

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel on one core."""

    def memory(self, voxels: int) -> int:
        """Bytes of temporaries for so many voxels, the result included."""

    def bind(self, values: Values) -> Finder:
        """The same with computed values in place of references."""

    def find(self, planes: Float32) -> Array:
        """One value a voxel, of planes (features, voxels)."""


@dataclass(frozen=True)
class OnFeatures:
    """A finder on a stack of features as the kernel of a field.

    Parameters
    ----------
    stack : for the images below.
    finder : what looks at it; the same values for the same features, whatever comes together.
    dtypes : of the images.
    scaling : what features are scaled by first.
    """

    stack: Stack
    finder: Finder
    dtypes: tuple[str, ...]
    scaling: Scaling | None = None
    haloed = True

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel."""
        return self.stack.cost() + self.finder.cost

    def depth(self) -> Shape:
        """Halo of the features."""
        return self.stack.depth()

    def memory(self, outer: Shape, inner: Shape) -> int:
        """A tile, the rings below it, and what the finder takes for a tile."""
        return self.stack.memory(outer, inner, self.dtypes) + self.finder.memory(self.stack.tile_voxels(outer, inner))

    def bind(self, values: Values) -> OnFeatures:
        """With computed values in place of references."""
        return replace(self, finder=self.finder.bind(values))

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """Compute one block."""
        out = np.empty(box.shape, self.finder.dtype)
        for tile in self.stack.tiles(arrays, keep, box.start):
            if self.scaling:
                self.scaling.apply(tile.planes)
            shape = tuple(part.stop - part.start for part in tile.part)
            out[tile.part] = self.finder.find(tile.planes).reshape(shape)
        return out


def on_features(name: str, inputs: Sequence[Field], kernel: OnFeatures) -> Field:
    """The field of a kernel: an image of the finder's dtype in the place of the first input."""
    spec = inputs[0].spec.but(dtype=np.dtype(kernel.finder.dtype), kind="image")
    return Field(name, spec, kernel, tuple(inputs))
