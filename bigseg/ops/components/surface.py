"""Surfaces of objects: a field that says of every voxel which neighbours are not of its object.

It looks one voxel beyond the block, and what is taken from it are whole numbers (`bigseg.local.objects.exposed`): so
surface area and Euler number add up over blocks, and come out of the pass that labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from bigseg.engine.field import Array, Field, Values, Visit
from bigseg.errors import ParameterError
from bigseg.grid import Box, Shape
from bigseg.local.objects.crofton import weights
from bigseg.local.objects.exposed import exposed_labels, exposed_mask
from bigseg.ops.components.labelling import Labelling
from bigseg.ops.components.volume import Objects


@dataclass(frozen=True)
class Exposed:
    """The codes of `bigseg.local.objects.exposed`, from what objects are made of.

    Where objects touch without being one (connectivity below ndim), the neighbours that count are background alone, of
    objects of one value each those of other values: whether two voxels are of one object is not known within a block.
    """

    labelling: Labelling
    ndim: int
    haloed: ClassVar[bool] = True

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel where one in ten is at a surface."""
        return 1.0 if self.labelling.identity == "touching" else 2.6

    @property
    def both(self) -> bool:
        """Whether all neighbours are needed: an object may have other entries than exits."""
        return self.labelling.identity != "equal" and self.labelling.connectivity < self.ndim

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Of the codes."""
        return np.dtype(np.uint32 if self.both else np.uint16)

    @property
    def what(self) -> tuple[str, ...]:
        """What is measured: the surface, and the Euler number where objects hold together in a way that has one."""
        if not self.both:
            return "surface", "closed"
        return ("surface", "open") if self.labelling.connectivity == 1 else ("surface",)

    def depth(self) -> Shape:
        """The next voxel."""
        return (1,) * self.ndim

    def memory(self, outer: Shape, inner: Shape) -> int:
        """A bit a voxel for the mask and its inner voxels; of labels also for what equals its neighbours."""
        return int((0.3 if self.labelling.identity == "touching" else 0.7) * prod(outer)) + (1 << 20)

    def bind(self, values: Values) -> Exposed:
        """With computed thresholds."""
        return replace(self, labelling=self.labelling.bind(values))

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """Codes of one block."""
        if self.labelling.identity == "touching":
            return exposed_mask(self.labelling.foreground.mask(arrays[0]), keep, self.both)
        return exposed_labels(arrays[0], keep, self.both, self.labelling.foreground.background)


def measure_surface(objects: Objects) -> None:
    """Have surface and Euler number measured on every object.

    Raises
    ------
    ParameterError : the spacings differ too much for an estimate, or axes are periodic: a block does not see across.
    """
    if any(objects.labelling.periodic):
        raise ParameterError(
            f"{objects.name}: no surface is measured while labels are made with periodic; save the labels, and measure "
            "these in a run of their own, where the volume's ends are ends of objects"
        )
    source = objects.collect.fields[0]
    weights(source.spec.spacing)
    kernel = Exposed(objects.labelling, source.spec.ndim)
    known = [field for field in objects.collect.fields if isinstance(field.kernel, Exposed)]
    spec = source.spec.but(dtype=kernel.dtype, kind="image")
    field = (
        known[0] if known else Field(f"{objects.name}.exposed", spec, kernel, (source,), tuple(objects.collect.after))
    )
    objects.measure(field, kernel.what)
