"""Edges from the nearest neighbours, and convolution with a kernel of one's own."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field as Parameter
from pydantic import field_validator

from bigseg.engine.field import Array
from bigseg.errors import ParameterError
from bigseg.grid import Shape
from bigseg.local.filters import convolve, edges
from bigseg.ops.base import LocalOp
from bigseg.storage.spec import Spec

RowOfWeights = tuple[float, ...]
PlaneOfWeights = tuple[RowOfWeights, ...]


class Linear(LocalOp):
    """Base of operations that compute in float32 and whose values have no bounds known beforehand."""

    def output(self, spec: Spec) -> Spec:
        """float32."""
        return spec.but(dtype=np.dtype("float32"), kind="image")


class Neighbours(Linear):
    """Base of operations that read the nearest voxels alone."""

    def depth(self, spec: Spec) -> Shape:
        """One voxel."""
        return (1,) * spec.ndim

    def cost(self, spec: Spec) -> float:
        """A few passes over rows in cache."""
        return 2.5

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """A few rows."""
        return edges.edge_working_bytes(outer, inner, spec.dtype)


class Gradient(Neighbours):
    """Base of Sobel and Prewitt."""

    middle: ClassVar[float]

    axis: Literal["z", "y", "x"] | None = Parameter(
        None, description="derivative along this axis, with its sign; none for the magnitude over all axes"
    )

    def _axis(self, spec: Spec) -> int | None:
        if self.axis is None:
            return None
        if self.axis not in spec.axes:
            raise ParameterError(f"axis {self.axis}: the volume has the axes {', '.join(spec.axes)}; name one of them")
        return spec.axes.index(self.axis)

    def depth(self, spec: Spec) -> Shape:
        """One voxel."""
        self._axis(spec)
        return super().depth(spec)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        return edges.gradient(array, keep, self.middle, self._axis(spec))


class Sobel(Gradient):
    """Edges by Sobel's filter: how steeply grey values change, from the nearest neighbours.

    The difference of the two neighbours along an axis, summed over the neighbours along the others with the
    weights 1 2 1; the magnitude is the root of the sum of squares over all axes, or one axis with its sign.
    Not normalised, as scipy: a ramp of 1 grey value a voxel gives 8 in 2-D and 32 in 3-D (scikit-image divides the
    magnitude by 5.7 and 27.7). Per voxel, whatever the spacing. float32, mode reflect. Depth: 1. Cost: 2 ns a
    voxel. Source: I. Sobel and G. Feldman, 1968.

    >>> import numpy as np, bigseg
    >>> bigseg.sobel(np.array([[0, 0, 5, 5]] * 3, "uint8"))[1]
    array([ 0., 20., 20.,  0.], dtype=float32)
    """

    op: ClassVar[str] = "sobel"
    oracle: ClassVar[str] = (
        "numpy.sqrt of the sum of scipy.ndimage.sobel(x, axis) ** 2, or that of one axis, on float32, within 1e-5 of "
        "the value range"
    )
    example: ClassVar[str] = "{id: edges, op: sobel}"
    middle: ClassVar[float] = edges.SOBEL


class Prewitt(Gradient):
    """Edges by Prewitt's filter: as sobel, the neighbours across the edge weighed alike.

    The difference of the two neighbours along an axis, summed over the neighbours along the others with the
    weights 1 1 1; the magnitude is the root of the sum of squares over all axes, or one axis with its sign.
    Not normalised, as scipy: a ramp of 1 grey value a voxel gives 6 in 2-D and 18 in 3-D. Per voxel, whatever the
    spacing. float32, mode reflect. Depth: 1. Cost: 2 ns a voxel. Source: J. M. S. Prewitt, 1970.

    >>> import numpy as np, bigseg
    >>> bigseg.prewitt(np.array([[0, 0, 5, 5]] * 3, "uint8"), axis="x")[1]
    array([ 0., 15., 15.,  0.], dtype=float32)
    """

    op: ClassVar[str] = "prewitt"
    oracle: ClassVar[str] = (
        "numpy.sqrt of the sum of scipy.ndimage.prewitt(x, axis) ** 2, or that of one axis, on float32, within 1e-5 "
        "of the value range"
    )
    example: ClassVar[str] = "{id: slope, op: prewitt, axis: z}"
    middle: ClassVar[float] = edges.PREWITT


class Laplace(Neighbours):
    """Laplacian from the nearest neighbours: negative on bright spots, positive on dark ones, 0 on ramps.

    Sum over all axes of ``x[i-1] - 2 x[i] + x[i+1]``, per voxel whatever the spacing (the sign of scipy;
    scikit-image's is the opposite). float32, mode reflect. Depth: 1. Cost: 2 ns a voxel.

    >>> import numpy as np, bigseg
    >>> bigseg.laplace(np.array([[0, 4, 0, 0]], "uint8"))
    array([[ 4., -8.,  4.,  0.]], dtype=float32)
    """

    op: ClassVar[str] = "laplace"
    oracle: ClassVar[str] = "scipy.ndimage.laplace on float32, within 1e-5 of the value range"
    example: ClassVar[str] = "{id: spots, op: laplace}"

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        return edges.laplace(array, keep)


class Convolve(Linear):
    """Convolution with a kernel of weights: any linear filter of neighbours.

    ``out[i] = sum of kernel[k] * x[i + n // 2 - k]`` along every axis, n weights long: the kernel is turned round, as
    in scipy. Weights apply to voxels, whatever the spacing. float32, mode reflect. Depth: half the kernel's
    lengths. Cost: 1 ns a voxel and 0.1 for each weight that is not 0.

    >>> import numpy as np, bigseg
    >>> bigseg.convolve(np.array([[0, 0, 4, 0, 0]], "uint8"), kernel=[[1, 0, -1]])
    array([[ 0.,  4.,  0., -4.,  0.]], dtype=float32)
    """

    op: ClassVar[str] = "convolve"
    oracle: ClassVar[str] = "scipy.ndimage.convolve on float32, within 1e-5 of the value range"
    example: ClassVar[str] = "{id: sharp, op: convolve, kernel: [[[0, -1, 0], [-1, 5, -1], [0, -1, 0]]]}"

    kernel: PlaneOfWeights | tuple[PlaneOfWeights, ...] = Parameter(
        description="weights as a nested list: rows of a plane in 2-D, planes of rows in 3-D"
    )

    @field_validator("kernel")
    @classmethod
    def _full(cls, kernel: Any) -> Any:
        try:
            weights = np.array(kernel, np.float64)
        except ValueError:
            raise ValueError(
                "expected a kernel whose rows all have the same length, and planes the same rows"
            ) from None
        if not weights.size:
            raise ValueError("expected a kernel of one weight or more")
        return kernel

    def _weights(self, spec: Spec) -> Array:
        weights = np.array(self.kernel, np.float32)
        if weights.ndim != spec.ndim:
            raise ParameterError(
                f"kernel of shape {weights.shape}: the volume has the axes {', '.join(spec.axes)}; nest the list "
                f"{spec.ndim} deep ([[[1, 1, 1]]] is one plane of one row)"
            )
        return weights

    def depth(self, spec: Spec) -> Shape:
        """Half the kernel's lengths."""
        return tuple(n // 2 for n in self._weights(spec).shape)

    def cost(self, spec: Spec) -> float:
        """Grows with the weights that are not 0."""
        return 1.0 + 0.1 * float(np.count_nonzero(self._weights(spec)))

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """Mirrored float32 rows of the planes that one plane needs."""
        return convolve.convolve_working_bytes(outer, inner, self._weights(spec).shape, spec.dtype)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        return convolve.convolve(array, self._weights(spec), keep)
