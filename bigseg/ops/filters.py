"""Filters: gaussian."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field as Parameter

from bigseg.engine.field import Array
from bigseg.grid import Shape
from bigseg.local.filters import linear
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
