"""Uneven backgrounds: subtracted, or divided out."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field as Parameter
from pydantic import model_validator

from bigseg.engine.field import Array
from bigseg.errors import ParameterError
from bigseg.grid import Shape
from bigseg.local.filters import linear, morphology
from bigseg.local.filters.intensity import divided, subtracted
from bigseg.ops.base import Lengths, in_voxels
from bigseg.ops.footprint import Neighbours, Windowed
from bigseg.ops.intensity import refuse_names
from bigseg.storage.spec import Spec

BUFFERS = 256 << 10
"""Bytes in which NumPy converts voxels while it divides."""


class SubtractBackground(Windowed):
    """Take away what varies slowly: the image minus its background, or divided by it.

    The background is a wide ``gaussian``; or an ``opening``, what is left when all bright things have gone that the
    footprint does not fit into (for bright objects on dark ground); or a ``closing`` (for dark objects on bright
    ground, where the difference is closing minus image, so that objects come out bright). Subtracting a gaussian
    gives float32; an opening or closing keeps the dtype (these are white_tophat and black_tophat). Dividing gives
    float32, in which the background is 1; where the background is 0, the result is 0. Mode reflect. Depth: 4 sigma,
    or the whole footprint. Cost: that of the background filter and 1 ns a voxel a core; a sigma of 20 takes 40 ns,
    and blocks much larger than its halo of 80 voxels. To subtract the background of another image (a smoothed one,
    say), make it by a step of its own and ``combine`` the two.

    >>> import numpy as np, bigseg
    >>> image = np.array([[1, 2, 9, 4, 5, 6]], "uint8")
    >>> bigseg.subtract_background(image, method="opening", size=(1, 3))
    array([[0, 0, 5, 0, 0, 1]], dtype=uint8)
    """

    op: ClassVar[str] = "subtract_background"
    oracle: ClassVar[str] = (
        "scipy.ndimage: x - gaussian_filter(x) in float32, within 1e-5 of the value range; white_tophat, black_tophat "
        "and x / grey_opening(x), x / grey_closing(x), exactly"
    )
    example: ClassVar[str] = "{id: flat, op: subtract_background, method: gaussian, sigma: 20}"
    usual: ClassVar[str] = "ball"

    method: Literal["gaussian", "opening", "closing"] = Parameter("gaussian", description="what the background is")
    mode: Literal["subtract", "divide"] = Parameter("subtract", description="how it is taken away")
    sigma: Lengths | None = Parameter(
        None, description='for gaussian: standard deviation in voxels, or with a unit ("50 um"); one or one per axis'
    )
    size: int | tuple[int, ...] | None = Parameter(
        None, description="for opening and closing: odd width of a box in voxels; one or one per axis"
    )
    radius: Lengths | None = Parameter(
        None, description='for opening and closing: radius in voxels, or with a unit ("50 um"); one or one per axis'
    )
    footprint: Neighbours = Parameter(
        None,
        description="of the radius: ball (as without; in 2-D a disk), disk, box, cross; or lists of 0 and 1",
    )

    @model_validator(mode="after")
    def _fitting(self) -> SubtractBackground:
        window = any(item is not None for item in (self.size, self.radius, self.footprint))
        if self.method == "gaussian" and (self.sigma is None or window):
            raise ValueError("method gaussian: expected `sigma`, and neither size, radius nor footprint")
        if self.method != "gaussian" and (self.sigma is not None or not window):
            raise ValueError(f"method {self.method}: expected `radius`, `size` or a footprint, and no sigma")
        return self

    def _sigma(self, spec: Spec) -> tuple[float, ...]:
        assert self.sigma is not None
        return in_voxels(self.sigma, spec, "sigma")

    @property
    def keeps(self) -> bool:
        """Whether the result has the dtype of the image."""
        return self.method != "gaussian" and self.mode == "subtract"

    def depth(self, spec: Spec) -> Shape:
        """Of the background filter."""
        if self.method == "gaussian":
            return tuple(linear.gaussian_radius(sigma) for sigma in self._sigma(spec))
        return tuple(2 * d for d in super().depth(spec))

    def cost(self, spec: Spec) -> float:
        """Mostly that of the background filter."""
        if self.method == "gaussian":
            return 3.0 + sum(self.depth(spec)) / 8
        window = self.window(spec)
        lines = 0 if window.all() else int(np.count_nonzero(window.any(axis=-1)))
        return 1.0 + 2 * (1.0 + 0.015 * lines) * spec.dtype.itemsize

    def output(self, spec: Spec) -> Spec:
        """An image."""
        refuse_names(self.op, spec)
        if spec.dtype.kind == "b":
            raise ParameterError("subtract_background of a mask: expected an image")
        if not self.keeps:
            bounds = None
            if spec.bounds is not None and self.mode == "subtract":
                span = (spec.bounds[1] - spec.bounds[0]) * (1 + 1e-6) + 1e-6 * max(map(abs, spec.bounds))
                bounds = (-span, span)
            return spec.but(dtype=np.dtype(np.float32), kind="image", bounds=bounds)
        return spec.but(kind="image", bounds=None)

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """That of the background filter; or the background beside the quotient, and where it is 0."""
        voxels = prod(inner)
        if self.method == "gaussian":
            filtering = linear.gaussian_working_bytes(outer, inner, self._sigma(spec), dtype=spec.dtype)
            return filtering if self.mode == "subtract" else max(filtering, voxels + BUFFERS)
        filtering = morphology.twice_working_bytes(outer, inner, self.window(spec), spec.dtype)
        if self.keeps:
            return filtering
        size = spec.dtype.itemsize
        # While the background is filtered, the quotient of 4 bytes is not there yet.
        return max(filtering + (size - 4) * voxels, (size + 1) * voxels + BUFFERS)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Flatten one block."""
        if self.method == "gaussian":
            background: Any = linear.gaussian(array, self._sigma(spec), keep)
        elif self.keeps:
            tophat = morphology.white_tophat if self.method == "opening" else morphology.black_tophat
            return tophat(array, self.window(spec), keep)
        else:
            filtered = morphology.opening if self.method == "opening" else morphology.closing
            background = filtered(array, self.window(spec), keep)
        return (subtracted if self.mode == "subtract" else divided)(array[keep], background)
