"""Morphology: erosion, dilation, opening, closing and top-hats."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field as Parameter

from bigseg.engine.field import Array
from bigseg.errors import ParameterError
from bigseg.grid import Shape
from bigseg.local.filters import extremes, morphology
from bigseg.ops.base import Lengths
from bigseg.ops.footprint import Neighbours, Windowed
from bigseg.storage.spec import Spec


class Morphology(Windowed):
    """Base of the operations with a flat footprint, on images and masks."""

    usual: ClassVar[str] = "ball"

    footprint: Neighbours = Parameter(
        None,
        description="ball (as without; of 2-D images a disk), disk (in each plane), box, cross, or lists of 0 and 1",
    )
    size: int | tuple[int, ...] | None = Parameter(
        None, description="odd width of a box in voxels, in place of radius; one or one per axis"
    )
    radius: Lengths | None = Parameter(
        None,
        description='radius in voxels, or with a unit ("2.5 um"), 1 where nothing is given; one or one per axis, '
        "fractions allowed",
    )

    def output(self, spec: Spec) -> Spec:
        """Of the same kind and dtype: masks stay masks, images images."""
        if spec.kind in ("labels", "classes"):
            raise ParameterError(
                f"{self.op} of {spec.kind}: expected an image or a mask, as the least of several {spec.kind} has no "
                "meaning; take a mask first (threshold, above: 0), or `minimum` or `maximum` to rank the numbers"
            )
        return spec


class Once(Morphology):
    """Base of erosion and dilation."""

    def cost(self, spec: Spec) -> float:
        """Grows with the rows of the footprint."""
        return extremes.cost(self.window(spec), spec.dtype)

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """Strips of planes."""
        return extremes.extreme_working_bytes(outer, inner, self.window(spec), spec.dtype)


class Twice(Morphology):
    """Base of the operations that are an erosion and a dilation, one after the other."""

    def depth(self, spec: Spec) -> Shape:
        """The whole footprint: half for each of the two."""
        return tuple(2 * d for d in super().depth(spec))

    def cost(self, spec: Spec) -> float:
        """Twice that of an erosion."""
        return 2 * extremes.cost(self.window(spec), spec.dtype)

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """The first of the two, and strips of planes."""
        return morphology.twice_working_bytes(outer, inner, self.window(spec), spec.dtype)


class Tophat(Twice):
    """Base of the top-hats."""

    def output(self, spec: Spec) -> Spec:
        """A difference within the dtype."""
        spec = super().output(spec)
        if spec.dtype.kind != "f" or spec.bounds is None:
            return spec.but(bounds=None)
        span = spec.bounds[1] - spec.bounds[0]
        return spec.but(bounds=(-span, span))


class Erosion(Once):
    """Least voxel of a footprint around each voxel: bright things shrink; of a mask, objects shrink.

    Keeps the dtype, exact. Images: mode reflect. Masks: what lies beyond the edge of the volume does not
    count. Depth: half the footprint. Cost a voxel a core, for 8 and 16 bits: 1.0 and 1.5 ns for a box of any
    usual size, 1.5 and 3.7 ns for a ball of radius 5, 12 and 25 ns for one of radius 20.
    Source: boxes after van Herk and Gil and Werman, other footprints after Urbach and Wilkinson.

    >>> import numpy as np, bigseg
    >>> bigseg.erosion(np.array([[5, 3, 4, 9, 8]]), size=(1, 3))
    array([[3, 3, 3, 4, 8]])
    """

    op: ClassVar[str] = "erosion"
    oracle: ClassVar[str] = "scipy.ndimage.grey_erosion (reflect); masks: binary_erosion with border_value=1; exactly"
    example: ClassVar[str] = "{id: eroded, op: erosion, radius: 2}"

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Erode one block."""
        return morphology.erosion(array, self.window(spec), keep)


class Dilation(Once):
    """Greatest voxel of a footprint around each voxel: bright things grow; of a mask, objects grow.

    The footprint is turned round, which shows where an array is not symmetric. Keeps the dtype, exact.
    Images: mode reflect. Masks: what lies beyond the edge of the volume does not count. Depth: half the
    footprint. Cost: as erosion.

    >>> import numpy as np, bigseg
    >>> bigseg.dilation(np.array([[0, 7, 0, 0]]), footprint=[0, 1, 1])
    array([[0, 7, 7, 0]])
    """

    op: ClassVar[str] = "dilation"
    oracle: ClassVar[str] = "scipy.ndimage.grey_dilation (reflect); masks: binary_dilation; exactly"
    example: ClassVar[str] = '{id: grown, op: dilation, radius: "5 um"}'

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Dilate one block."""
        return morphology.dilation(array, self.window(spec), keep)


class Opening(Twice):
    """Dilation of the erosion: bright things that the footprint does not fit into go, the others stay.

    Keeps the dtype, exact. Images: mode reflect, for the erosion and again for the dilation. Masks: what
    lies beyond the edge of the volume does not count. Depth: the whole footprint. Cost: twice an erosion.

    >>> import numpy as np, bigseg
    >>> bigseg.opening(np.array([[0, 7, 0, 7, 7, 7, 0]]), size=(1, 3))
    array([[0, 0, 0, 7, 7, 7, 0]])
    """

    op: ClassVar[str] = "opening"
    oracle: ClassVar[str] = "scipy.ndimage.grey_opening (reflect); masks: skimage.morphology.opening (ignore); exactly"
    example: ClassVar[str] = "{id: opened, op: opening, radius: 5}"

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Open one block."""
        return morphology.opening(array, self.window(spec), keep)


class Closing(Twice):
    """Erosion of the dilation: dark gaps that the footprint does not fit into are filled.

    Keeps the dtype, exact. Images: mode reflect, for the dilation and again for the erosion. Masks: what
    lies beyond the edge of the volume does not count. Depth: the whole footprint. Cost: twice an erosion.

    >>> import numpy as np, bigseg
    >>> bigseg.closing(np.array([[True, False, True, True]]), size=(1, 3))
    array([[ True,  True,  True,  True]])
    """

    op: ClassVar[str] = "closing"
    oracle: ClassVar[str] = "scipy.ndimage.grey_closing (reflect); masks: skimage.morphology.closing (ignore); exactly"
    example: ClassVar[str] = "{id: closed, op: closing, footprint: disk, radius: 1.8}"

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Close one block."""
        return morphology.closing(array, self.window(spec), keep)


class WhiteTophat(Tophat):
    """The image minus its opening: bright details that the footprint does not fit into.

    Keeps the dtype, exact; a difference that the dtype cannot hold wraps around, as NumPy's does (only with
    signed integers, or with arrays that are not symmetric). Of a mask: what the opening takes away.
    Edges as opening. Depth: the whole footprint. Cost: twice an erosion.

    >>> import numpy as np, bigseg
    >>> bigseg.white_tophat(np.array([[1, 7, 1, 7, 7, 7, 1]]), size=(1, 3))
    array([[0, 6, 0, 0, 0, 0, 0]])
    """

    op: ClassVar[str] = "white_tophat"
    oracle: ClassVar[str] = (
        "scipy.ndimage.white_tophat (reflect); masks: skimage.morphology.white_tophat (ignore); exactly"
    )
    example: ClassVar[str] = "{id: spots, op: white_tophat, radius: 4}"

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        return morphology.white_tophat(array, self.window(spec), keep)


class BlackTophat(Tophat):
    """The closing minus the image: dark details that the footprint does not fit into.

    Keeps the dtype, exact; a difference that the dtype cannot hold wraps around, as NumPy's does (only with
    signed integers, or with arrays that are not symmetric). Of a mask: what the closing adds.
    Edges as closing. Depth: the whole footprint. Cost: twice an erosion.

    >>> import numpy as np, bigseg
    >>> bigseg.black_tophat(np.array([[9, 9, 2, 9, 9, 2, 2, 2]]), size=(1, 3))
    array([[0, 0, 7, 0, 0, 0, 0, 0]])
    """

    op: ClassVar[str] = "black_tophat"
    oracle: ClassVar[str] = (
        "scipy.ndimage.black_tophat (reflect); masks: skimage.morphology.black_tophat (ignore); exactly"
    )
    example: ClassVar[str] = "{id: cracks, op: black_tophat, radius: 4}"

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        return morphology.black_tophat(array, self.window(spec), keep)
