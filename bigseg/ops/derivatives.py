"""Edges and spots at a scale: derivatives and differences of Gaussians."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field as Parameter

from bigseg.engine.field import Array
from bigseg.errors import ParameterError
from bigseg.grid import Shape
from bigseg.local.filters import derivatives
from bigseg.local.filters.linear import gaussian_radius
from bigseg.ops.base import Lengths, in_voxels
from bigseg.ops.edges import Linear
from bigseg.storage.spec import Spec


class GaussianDerivative(Linear):
    """Base of derivatives of a smoothed image."""

    passes: ClassVar[int]

    sigma: Lengths = Parameter(
        description='standard deviation in voxels (0.125 or more), or with a unit ("2.5 um"); one or one per axis'
    )

    def _sigma(self, spec: Spec) -> tuple[float, ...]:
        sigma = in_voxels(self.sigma, spec, "sigma")
        if any(s < 0.125 for s in sigma):
            raise ParameterError(
                f"sigma {self.sigma}: expected at least 0.125 voxels along every axis, found "
                f"{', '.join(f'{s:g}' for s in sigma)}; a derivative reads one neighbour or more"
            )
        return sigma

    def depth(self, spec: Spec) -> Shape:
        """Radius of the cut-off kernel."""
        return tuple(gaussian_radius(s) for s in self._sigma(spec))

    def cost(self, spec: Spec) -> float:
        """Grows with the radius."""
        return 2.0 + 0.05 * self.passes * sum(self.depth(spec))

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """Two planes and a few rows."""
        return derivatives.derivative_working_bytes(outer, inner, self._sigma(spec), spec.dtype)


class GaussianGradientMagnitude(GaussianDerivative):
    """Edges at a scale: the length of the gradient of the image smoothed by a Gaussian.

    Derivatives of a Gaussian along each axis, root of the sum of squares; grey values per voxel, whatever the
    spacing. float32, mode reflect, cut off at 4 sigma. Depth: ``4 sigma`` rounded. Cost: 6 ns a voxel at sigma
    1, 9 at 2.

    >>> import numpy as np, bigseg
    >>> ramp = np.tile(2 * np.arange(15, dtype="uint8"), (15, 1))
    >>> round(float(bigseg.gaussian_gradient_magnitude(ramp, sigma=1.0)[7, 7]), 2)
    2.0
    """

    op: ClassVar[str] = "gaussian_gradient_magnitude"
    oracle: ClassVar[str] = "scipy.ndimage.gaussian_gradient_magnitude on float32, within 1e-5 of the value range"
    example: ClassVar[str] = "{id: edges, op: gaussian_gradient_magnitude, sigma: 1.5}"
    passes: ClassVar[int] = 8

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        return derivatives.gaussian_gradient_magnitude(array, self._sigma(spec), keep)


class LaplacianOfGaussian(GaussianDerivative):
    """Spots of a size: the Laplacian of the image smoothed by a Gaussian, negative on bright ones.

    Second derivatives of a Gaussian along each axis, summed; strongest for balls of radius ``sqrt(3) sigma`` (disks:
    ``sqrt(2) sigma``). Grey values per voxel squared, whatever the spacing. float32, mode reflect, cut off at 4
    sigma. Depth: ``4 sigma`` rounded. Cost: 5 ns a voxel at sigma 1, 8 at 2. Source: D. Marr and E. Hildreth, 1980.

    >>> import numpy as np, bigseg
    >>> spot = np.zeros((9, 9), "uint8"); spot[4, 4] = 100
    >>> round(float(bigseg.laplacian_of_gaussian(spot, sigma=1.0)[4, 4]), 1)
    -31.8
    """

    op: ClassVar[str] = "laplacian_of_gaussian"
    oracle: ClassVar[str] = "scipy.ndimage.gaussian_laplace on float32, within 1e-5 of the value range"
    example: ClassVar[str] = '{id: spots, op: laplacian_of_gaussian, sigma: "5 um"}'
    passes: ClassVar[int] = 7

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        return derivatives.laplacian_of_gaussian(array, self._sigma(spec), keep)


class DifferenceOfGaussians(Linear):
    """What lies between two scales: the image smoothed a little, minus itself smoothed more.

    Takes away noise finer than the first sigma and slow changes of the background coarser than the second.
    float32, mode reflect, cut off at 4 sigma. Depth: 4 times the second sigma, rounded. Cost: 5 ns a voxel for
    sigmas of 1 and 1.6.

    >>> import numpy as np, bigseg
    >>> float(bigseg.difference_of_gaussians(np.eye(9, dtype="uint8"), low_sigma=0.5, high_sigma=2.0).max()) > 0
    True
    """

    op: ClassVar[str] = "difference_of_gaussians"
    oracle: ClassVar[str] = (
        "scipy.ndimage.gaussian_filter with low_sigma minus that with high_sigma (skimage.filters."
        "difference_of_gaussians, mode reflect), on float32, within 1e-5 of the value range"
    )
    example: ClassVar[str] = "{id: band, op: difference_of_gaussians, low_sigma: 1, high_sigma: 5}"

    low_sigma: Lengths = Parameter(
        description='the smaller standard deviation, in voxels or with a unit ("2.5 um"); one or one per axis'
    )
    high_sigma: Lengths | None = Parameter(
        None, description="the greater one, likewise; 1.6 times low_sigma unless given"
    )

    def _sigmas(self, spec: Spec) -> tuple[tuple[float, ...], tuple[float, ...]]:
        low = in_voxels(self.low_sigma, spec, "low_sigma")
        if self.high_sigma is None:
            return low, tuple(1.6 * s for s in low)
        high = in_voxels(self.high_sigma, spec, "high_sigma")
        if any(a > b for a, b in zip(low, high, strict=True)) or low == high:
            raise ParameterError(
                f"low_sigma {self.low_sigma} and high_sigma {self.high_sigma}: expected the second to be the greater "
                f"one; in voxels they are {low} and {high}"
            )
        return low, high

    def depth(self, spec: Spec) -> Shape:
        """Radius of the wider kernel."""
        return tuple(gaussian_radius(s) for s in self._sigmas(spec)[1])

    def cost(self, spec: Spec) -> float:
        """Grows with the radius."""
        return 2.0 + 0.25 * sum(self.depth(spec))

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """Two planes and a few rows."""
        return derivatives.derivative_working_bytes(outer, inner, self._sigmas(spec)[1], spec.dtype)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        return derivatives.difference_of_gaussians(array, *self._sigmas(spec), keep)
