"""Filters: gaussian and median."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field as Parameter
from pydantic import field_validator

from bigseg.engine.field import Array
from bigseg.errors import ParameterError
from bigseg.grid import Shape
from bigseg.local import linear, rank
from bigseg.ops.base import Lengths, LocalOp, in_voxels
from bigseg.storage.spec import Spec


class Gaussian(LocalOp):
    """Gaussian smoothing, computed and given back in float32.

    The input is converted to float32 first; mode reflect, cut off at 4 sigma. Depth: ``4 sigma`` rounded.
    Cost: 3 to 5 ns a voxel a core at sigma 1 to 2, growing with sigma.

    >>> import numpy as np, bigseg
    >>> bigseg.gaussian(np.eye(3), sigma=1.0).dtype
    dtype('float32')
    """

    op: ClassVar[str] = "gaussian"
    oracle: ClassVar[str] = "scipy.ndimage.gaussian_filter on float32, within 1e-5 of the value range"
    example: ClassVar[str] = "{id: smooth, op: gaussian, sigma: 1.0}"

    sigma: Lengths = Parameter(
        description='standard deviation in voxels, or with a unit ("2.5 um"); one or one per axis'
    )

    def depth(self, spec: Spec) -> Shape:
        """Radius of the cut-off kernel."""
        return tuple(linear.gaussian_radius(s) for s in in_voxels(self.sigma, spec, "sigma"))

    def cost(self, spec: Spec) -> float:
        """Grows with the radius."""
        return 2.0 + sum(self.depth(spec)) / 8

    def output(self, spec: Spec) -> Spec:
        """float32 within the bounds of the input: it is a mean."""
        return spec.but(dtype=np.dtype("float32"), kind="image", bounds=spec.bounds)

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """Intermediate axes."""
        return linear.gaussian_working_bytes(outer, inner, in_voxels(self.sigma, spec, "sigma"), dtype=spec.dtype)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Smooth one block."""
        return linear.gaussian(array, in_voxels(self.sigma, spec, "sigma"), keep)


class Median(LocalOp):
    """Median over a box; keeps the dtype, exact.

    Mode reflect. Depth: half the size. Cost: 3 to 5 ns a voxel a core for 3^3 of 8 and
    16 bits, 60 to 300 for larger boxes.

    >>> import numpy as np, bigseg
    >>> bigseg.median(np.array([[9, 1, 1]]), size=(1, 3))
    array([[9, 1, 1]])
    """

    op: ClassVar[str] = "median"
    oracle: ClassVar[str] = "scipy.ndimage.median_filter, exactly"
    example: ClassVar[str] = "{id: clean, op: median, size: 3}"

    size: int | tuple[int, ...] = Parameter(3, description="odd width of the box in voxels; one or one per axis")

    @field_validator("size")
    @classmethod
    def _odd(cls, size: int | tuple[int, ...]) -> int | tuple[int, ...]:
        for item in size if isinstance(size, tuple) else (size,):
            if item < 1 or item % 2 == 0:
                raise ValueError(f"expected odd widths of 1 or more, found {item}")
        return size

    def _sizes(self, spec: Spec) -> tuple[int, ...]:
        sizes = self.size if isinstance(self.size, tuple) else (self.size,) * spec.ndim
        if len(sizes) != spec.ndim:
            raise ParameterError(
                f"size {self.size}: expected one value or {spec.ndim} ({', '.join(spec.axes)}), found {len(sizes)}"
            )
        return sizes

    def depth(self, spec: Spec) -> Shape:
        """Half the box."""
        return tuple(size // 2 for size in self._sizes(spec))

    def cost(self, spec: Spec) -> float:
        """Networks for boxes of 3, counting for larger ones."""
        return 4.0 if max(self._sizes(spec)) <= 3 else 100.0

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """Sorted columns."""
        return rank.median_working_bytes(outer, inner, self._sizes(spec), spec.dtype)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        return rank.median(array, self._sizes(spec), keep)
