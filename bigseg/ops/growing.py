"""Growing: labels and classes into the voxels around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
from pydantic import Field as Parameter

from bigseg.engine.field import Array, Field, Values, Visit
from bigseg.errors import ParameterError
from bigseg.grid import Box, Shape
from bigseg.local.basins import growing
from bigseg.ops.base import Length, Lengths, LocalOp, Op, Site
from bigseg.ops.footprint import Neighbours, Windowed
from bigseg.ops.morphology import Dilation
from bigseg.storage.spec import Spec
from bigseg.storage.units import convert, parse_length, unit_name


class ExpandLabels(LocalOp):
    """Give every background voxel the label of the nearest object within a distance.

    Euclidean distance between centres of voxels: a number counts voxels along every axis; with a unit ("5 um") it is
    physical, so voxels of unequal sides count as they are. Of labels at the same distance the smaller wins. Labels,
    classes and masks keep their dtype. Depth: the distance. Cost: 11 to 25 ns a voxel a core
    for distances of 2 to 10.

    >>> import numpy as np, bigseg
    >>> bigseg.expand_labels(np.array([[1, 0, 0, 0, 2, 0, 0]], "uint8"), distance=2)
    array([[1, 1, 1, 2, 2, 2, 2]], dtype=uint8)
    """

    op: ClassVar[str] = "expand_labels"
    oracle: ClassVar[str] = (
        "skimage.segmentation.expand_labels, exactly; at one distance of several labels the smallest"
    )
    example: ClassVar[str] = '{id: cells, op: expand_labels, distance: "5 um"}'

    distance: Length = Parameter(1, description='greatest distance, in voxels or with a unit ("5 um")')

    def depth(self, spec: Spec) -> Shape:
        """Voxels within the distance."""
        return growing.nearest_reach(*distance_of(self.distance, spec, "distance"))

    def cost(self, spec: Spec) -> float:
        """Comparisons along two axes."""
        return 9.0 + sum(self.depth(spec)[:-1])

    def output(self, spec: Spec) -> Spec:
        """Labels stay labels."""
        return integers(spec, self.op)

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """A ring of planes."""
        return growing.nearest_working_bytes(outer, inner, spec.dtype, *distance_of(self.distance, spec, "distance"))

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Expand in one block."""
        return growing.nearest(integers_in(array, self.op), *distance_of(self.distance, spec, "distance"), keep)


class Grow(Op):
    """Let labels, classes or a mask grow step by step into the free voxels of a mask.

    In each of ``iterations`` steps every free voxel of the mask with a labelled voxel in its footprint takes the
    smallest label there; the footprint is used as it stands, not turned round as in ``dilation``. Growth follows the
    mask around corners and does not jump gaps; what is labelled stays, within the mask or not. Without a mask all
    voxels are free. Depth: iterations times the footprint's. Cost: about 0.5 ns a
    voxel and iteration a core, and 3 to 4 ns for each voxel that is taken and voxel of the footprint.

    >>> import numpy as np, bigseg
    >>> seeds, free = np.array([[3, 0, 0, 0, 0]], "uint8"), np.array([[1, 1, 1, 0, 1]], bool)
    >>> bigseg.grow(seeds, iterations=4, mask=free)
    array([[3, 3, 3, 0, 0]], dtype=uint8)
    """

    op: ClassVar[str] = "grow"
    oracle: ClassVar[str] = (
        "iterated scipy.ndimage.minimum_filter of labels; of masks skimage.morphology.dilation(mode='ignore') & mask; "
        "exactly"
    )
    example: ClassVar[str] = "{id: whole, op: grow, from: seeds, mask: weak, iterations: 10}"
    refers: ClassVar[tuple[str, ...]] = ("mask",)
    local: ClassVar[bool] = True

    iterations: int = Parameter(1, ge=1, le=1000, description="number of steps")
    mask: str | None = Parameter(None, description="the input or step whose voxels that are not 0 may be taken")
    footprint: Neighbours = Parameter(
        None, description="cross (default), ball (of 2-D images a disk), disk (in each plane), box, or lists of 0 and 1"
    )
    radius: Lengths | None = Parameter(
        None, description='of the footprint, in voxels, or with a unit ("2.5 um"); one or one per axis; default 1'
    )

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """A field on top of one or two."""
        (field,) = inputs
        integers(field.spec, f"step {site.name!r}: grow")
        around = Dilation(footprint=self.footprint or "cross", radius=self.radius)
        mask = None
        if self.mask is not None:
            mask = site.volume(self.mask, "mask")
            integers(mask.spec, f"step {site.name!r}: the mask of grow")
        return grown_field(site.name, field, mask, around, self.iterations)


@dataclass(frozen=True)
class GrowKernel:
    """Steps of growing on one block: labels, and the mask where there is one.

    ``cut``: labels outside of the mask are dropped first.
    """

    spec: Spec
    around: Windowed
    iterations: int
    cut: bool
    haloed = True

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel."""
        return 5.0 + 0.5 * self.iterations

    def depth(self) -> Shape:
        """What the steps can reach."""
        return tuple(self.iterations * d for d in self.around.depth(self.spec))

    def memory(self, outer: Shape, inner: Shape) -> int:
        """The grown labels, the steps, and the mask as bool."""
        return growing.grow_working_bytes(outer, self.spec.dtype.itemsize, self.iterations) + prod(outer)

    def bind(self, values: Values) -> GrowKernel:
        """Nothing to bind."""
        return self

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """Grow in one block."""
        labels = arrays[0]
        mask = None
        if len(arrays) > 1:
            mask = arrays[1] if arrays[1].dtype == np.bool_ else arrays[1] != 0
            if self.cut:
                labels = np.where(mask, labels, labels.dtype.type(0))
        grown = growing.grow(labels, self.around.window(self.spec), self.iterations, mask)
        return np.ascontiguousarray(grown[keep])


def grown_field(
    name: str, labels: Field, mask: Field | None, around: Windowed, iterations: int, cut: bool = False
) -> Field:
    """A field of labels grown into a mask.

    Parameters
    ----------
    name : of the field.
    labels, mask : fields of integers or masks; without a mask all voxels are free.
    around : the footprint of a step.
    iterations : number of steps.
    cut : drop labels outside of the mask first.
    """
    inputs = (labels,) if mask is None else (labels, mask)
    return Field(name, labels.spec, GrowKernel(labels.spec, around, iterations, cut), inputs)


def distance_of(distance: Length, spec: Spec, name: str) -> tuple[float, tuple[float, ...]]:
    """A Euclidean distance, and the size of a voxel along each axis in its unit; 1 for distances in voxels.

    Raises
    ------
    ParameterError
        When it is negative, or a unit meets a volume without one.
    """
    length = parse_length(distance, name)
    if not length.value >= 0:
        raise ParameterError(f"{name} {distance}: expected 0 or more")
    if not length.unit:
        return length.value, (1.0,) * spec.ndim
    own = unit_name(spec.unit) if spec.unit else None
    if own is None:
        raise ParameterError(
            f"{name} {distance}: the volume's spacing has no unit; give voxels, or the volume a spacing like '0.5 um'"
        )
    return convert(length.value, length.unit, own), spec.spacing


def integers(spec: Spec, what: str) -> Spec:
    """Refuse floats.

    Raises
    ------
    ParameterError
    """
    if spec.dtype.kind == "f":
        raise ParameterError(f"{what} needs labels, classes or a mask, found {spec.dtype}: put a threshold before it")
    return spec


def integers_in(array: Array, what: str) -> Array:
    """Refuse an array of floats."""
    if array.dtype.kind == "f":
        raise ParameterError(f"{what} needs labels, classes or a mask, found {array.dtype}: put a threshold before it")
    return array
