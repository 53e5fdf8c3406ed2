"""Texture: eigenvalues of the Hessian and of the structure tensor."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field as Parameter

from bigseg.engine.field import Array
from bigseg.errors import ParameterError
from bigseg.grid import Shape
from bigseg.local.filters import tensors
from bigseg.local.filters.linear import gaussian_radius
from bigseg.ops.base import Lengths, LocalOp, in_voxels
from bigseg.storage.spec import Spec


class Eigenvalue(LocalOp):
    """Base of operations that give one eigenvalue of a matrix at each voxel."""

    beyond: ClassVar[int]
    """Voxels that derivatives read beyond the Gaussian."""

    sigma: Lengths = Parameter(
        description='standard deviation of the Gaussian in voxels, or with a unit ("2.5 um"); one or one per axis'
    )
    which: Annotated[int, Parameter(ge=1, le=3)] | Literal["largest", "smallest"] = Parameter(
        "largest",
        description="which eigenvalue: largest, smallest, or its number, 1 the largest; a step for each that is wanted",
    )

    def _which(self, spec: Spec) -> int:
        which = {"largest": 1, "smallest": spec.ndim}.get(str(self.which), self.which)
        assert isinstance(which, int)
        if which > spec.ndim:
            raise ParameterError(f"which {which}: a volume of {spec.ndim} axes has the eigenvalues 1 to {spec.ndim}")
        return which

    def _sigma(self, spec: Spec) -> tuple[float, ...]:
        return in_voxels(self.sigma, spec, "sigma")

    def depth(self, spec: Spec) -> Shape:
        """Radius of the cut-off Gaussian, and that of the derivatives."""
        self._which(spec)
        return tuple(gaussian_radius(s) + self.beyond for s in self._sigma(spec))

    def output(self, spec: Spec) -> Spec:
        """float32."""
        return spec.but(dtype=np.dtype("float32"), kind="image")


class HessianEigenvalues(Eigenvalue):
    """Ridges, sheets and spots at a scale: an eigenvalue of the matrix of second derivatives.

    The image smoothed by a Gaussian (cut off at 4 sigma, mode reflect), then differences of differences along
    every two axes, one-sided at the volume's edge (numpy.gradient): scikit-image's form without Gaussian
    derivatives. Bright lines have one eigenvalue near 0 and the others negative, bright sheets one negative, bright
    spots all. Ordered by value, the largest first. Grey values per voxel squared, whatever the spacing. float32.
    Depth: ``4 sigma`` rounded, and 2. Cost: 15 ns a voxel. Scikit-image's other form (use_gaussian_derivatives) is not
    offered: it reads 11 sigma beyond a block, and 141 sigma where sigma is 1 or less.

    >>> import numpy as np, bigseg
    >>> line = np.zeros((9, 9), "uint8"); line[:, 4] = 100
    >>> bigseg.hessian_eigenvalues(line, sigma=1.0, which="smallest")[4, 3:6].round(1)
    array([ -5.9, -17.2,  -5.9], dtype=float32)
    """

    op: ClassVar[str] = "hessian_eigenvalues"
    oracle: ClassVar[str] = (
        "skimage.feature.hessian_matrix_eigvals(hessian_matrix(x, sigma, mode='reflect', "
        "use_gaussian_derivatives=False))[which - 1] on float32, within 1e-5 of the value range, or 1e-6 of the "
        "image's greatest value where that is more"
    )
    example: ClassVar[str] = "{id: ridges, op: hessian_eigenvalues, sigma: 1.5, which: smallest}"
    beyond: ClassVar[int] = 2

    def cost(self, spec: Spec) -> float:
        """The eigenvalue, and a Gaussian."""
        return 12.0 + sum(self.depth(spec)) / 8

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """A slab of the smoothed image."""
        return tensors.hessian_working_bytes(outer, inner, self._sigma(spec), spec.dtype)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Compute one block."""
        return tensors.hessian_eigenvalue(array, self._sigma(spec), keep, self._which(spec))


class StructureTensorEigenvalues(Eigenvalue):
    """How strongly grey values change in the main direction of a neighbourhood, and across it.

    Products of every two Sobel derivatives, each smoothed by a Gaussian (cut off at 4 sigma, mode reflect): the
    matrix whose eigenvalues are the mean squared change along its directions. On an edge one is large, in a corner
    or in texture all are, in flat parts none is. Ordered by value, the largest first. Grey values squared, per
    voxel whatever the spacing, times 64 in 2-D and 1024 in 3-D as Sobel's weights give it. float32. Depth: ``4
    sigma`` rounded, and 1. Cost: 40 ns a voxel.

    >>> import numpy as np, bigseg
    >>> step = np.zeros((9, 9), "uint8"); step[:, 5:] = 1
    >>> bigseg.structure_tensor_eigenvalues(step, sigma=1.0)[4, 3:6].round(1)
    array([ 4.7, 10.3, 10.3], dtype=float32)
    """

    op: ClassVar[str] = "structure_tensor_eigenvalues"
    oracle: ClassVar[str] = (
        "skimage.feature.structure_tensor_eigenvalues(structure_tensor(x, sigma, mode='reflect'))[which - 1] on "
        "float32, within 1e-6 of the image's greatest eigenvalue, times its greatest grey value over its greatest "
        "difference of neighbours where that is above 1"
    )
    example: ClassVar[str] = "{id: texture, op: structure_tensor_eigenvalues, sigma: 2, which: 2}"
    beyond: ClassVar[int] = 1

    def cost(self, spec: Spec) -> float:
        """The eigenvalue, and three or six Gaussians."""
        return 15.0 + 0.75 * sum(self.depth(spec))

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """A slab of products."""
        return tensors.structure_tensor_working_bytes(outer, inner, self._sigma(spec), spec.dtype)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Compute one block."""
        return tensors.structure_tensor_eigenvalue(array, self._sigma(spec), keep, self._which(spec))
