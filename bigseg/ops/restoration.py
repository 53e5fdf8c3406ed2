"""Noise reduction that keeps edges: bilateral, non-local means and total variation."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np
from pydantic import Field as Parameter
from pydantic import field_validator

from bigseg.engine.field import Array
from bigseg.errors import ParameterError
from bigseg.grid import Shape
from bigseg.local.filters import bilateral, nonlocal_means, total_variation
from bigseg.local.filters.footprints import within_limit
from bigseg.ops.base import Lengths, LocalOp, Number, in_voxels
from bigseg.storage.spec import Spec

Whole = int | tuple[int, ...]


class Restoration(LocalOp):
    """Base of the filters that take any image and give float32."""

    def output(self, spec: Spec) -> Spec:
        """float32 within the bounds of the input: it is a mean."""
        return spec.but(dtype=np.dtype("float32"), kind="image", bounds=spec.bounds)

    def number(self, name: str) -> float:
        """A parameter whose reference, if it was one, has been computed.

        Raises
        ------
        ParameterError
            When it is not computed yet, or not above 0 (sigma: not 0 or more).
        """
        value = getattr(self, name)
        if isinstance(value, str):
            raise ParameterError(f"{self.op}, {name} {value}: the value is not computed yet")
        return float(check_positive(value, name, ParameterError))


class Bilateral(Restoration):
    """Mean of the neighbours that are alike: smooths noise, keeps edges; float32.

    A neighbour weighs ``exp(-distance^2 / 2 sigma_spatial^2) * exp(-difference^2 / 2 sigma_color^2)``, the exponential
    to the precision of float32. (scikit-image reads it from a table over the range of the whole image; in 0.26 it also
    reads the weights of distance from a table of six by six for a window of five, so they belong to other neighbours.)
    Mode reflect. Depth: half the window. Cost: about 0.5 ns a core for each voxel of the window. C. Tomasi and
    R. Manduchi, ICCV 1998.

    >>> import numpy as np, bigseg
    >>> bigseg.bilateral(np.array([[10, 11, 10, 90, 91, 90]], "uint8"), sigma_color=5, window=(1, 3)).round(1)
    array([[10.3, 10.5, 10.4, 90.4, 90.5, 90.3]], dtype=float32)
    """

    op: ClassVar[str] = "bilateral"
    oracle: ClassVar[str] = (
        "the definition in float64, within 1e-6 of the value range; skimage.restoration.denoise_bilateral "
        "(2-D, mode='symmetric', many bins, a large sigma_spatial) within 1e-4"
    )
    example: ClassVar[str] = "{id: calm, op: bilateral, sigma_color: 12, sigma_spatial: 1.5}"

    sigma_color: Number = Parameter(
        description="standard deviation of the difference between voxels, in units of their values: about the noise's"
    )
    sigma_spatial: Lengths = Parameter(
        1.0, description='standard deviation of the distance in voxels, or with a unit ("2.5 um"); one or one per axis'
    )
    window: Whole | None = Parameter(
        None, description="odd width of the window in voxels; default: 3 sigma_spatial to either side, 5 at least"
    )

    @field_validator("sigma_color")
    @classmethod
    def _positive(cls, value: Number) -> Number:
        return check_positive(value, "sigma_color")

    @field_validator("window")
    @classmethod
    def _odd(cls, window: Whole | None) -> Whole | None:
        return check_odd(window) if window is not None else None

    def _window(self, spec: Spec) -> tuple[int, ...]:
        if self.window is None:
            sigmas = in_voxels(self.sigma_spatial, spec, "sigma_spatial")
            return within_limit([bilateral.bilateral_window(s) for s in sigmas])
        return within_limit(per_axis(self.window, spec, "window"))

    def depth(self, spec: Spec) -> Shape:
        """Half the window."""
        return tuple(width // 2 for width in self._window(spec))

    def cost(self, spec: Spec) -> float:
        """Grows with the window."""
        return 2.0 + 0.5 * prod(self._window(spec))

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """The input as float32."""
        return halved(spec, outer) + bilateral.bilateral_working_bytes(outer, inner, self._window(spec))

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        sigmas = in_voxels(self.sigma_spatial, spec, "sigma_spatial")
        return bilateral.bilateral(array, self.number("sigma_color"), sigmas, self._window(spec), keep)


class NonLocalMeans(Restoration):
    """Mean of the voxels around which the image looks alike: strong on noise, keeps texture and edges; float32.

    A voxel of the search window weighs ``exp(-d)``, d the squared difference of the patches around both, weighted by a
    Gaussian of ``(patch_size - 1) / 4`` and divided by ``h^2``; with ``sigma``, 2 sigma^2 is taken off. As scikit-image
    does it, exp is the rough one of Schraudolph (within 4 %), and weights are 0 where the sum exceeds 5 before the
    last plane of the patch. The search ends at the edge of the volume, patches are mirrored there (edge voxels once).
    Depth: ``patch_distance`` and half the patch. Cost: 2 to 4 ns a core for each voxel of the search window, of which
    there are many in 3-D: begin with a small one. A. Buades, B. Coll and J.-M. Morel, CVPR 2005.

    >>> import numpy as np, bigseg
    >>> noisy = np.array([[1, 3, 2, 9, 8, 9], [2, 2, 1, 8, 9, 9]], "uint8")
    >>> bigseg.non_local_means(noisy, h=2, patch_size=(1, 3), patch_distance=(1, 4)).round(1)[0]
    array([1.7, 2.1, 1.7, 8.7, 8.7, 8.8], dtype=float32)
    """

    op: ClassVar[str] = "non_local_means"
    oracle: ClassVar[str] = (
        "skimage.restoration.denoise_nl_means(fast_mode=False, preserve_range=True) on float64, within 1e-5 of the "
        "value range (1e-3 where a sum of differences is 5 to within rounding)"
    )
    example: ClassVar[str] = "{id: calm, op: non_local_means, h: 9, sigma: 12, patch_size: 3, patch_distance: 4}"

    h: Number = Parameter(
        description="how alike patches must be, in units of the values: about the noise's standard deviation"
    )
    sigma: Number = Parameter(0.0, description="standard deviation of the noise, in units of the values; 0: unknown")
    patch_size: Whole = Parameter(5, description="odd width of the patches in voxels; one or one per axis")
    patch_distance: Whole = Parameter(4, description="how far to search to either side, in voxels; one or one per axis")

    @field_validator("h", "sigma")
    @classmethod
    def _positive(cls, value: Number, info: Any) -> Number:
        return check_positive(value, info.field_name)

    @field_validator("patch_size")
    @classmethod
    def _odd(cls, patch: Whole) -> Whole:
        return check_odd(patch)

    @field_validator("patch_distance")
    @classmethod
    def _not_negative(cls, distance: Whole) -> Whole:
        for item in distance if isinstance(distance, tuple) else (distance,):
            if item < 0:
                raise ValueError(f"expected distances of 0 or more, found {item}")
        return distance

    def _patch(self, spec: Spec) -> tuple[int, ...]:
        return within_limit(per_axis(self.patch_size, spec, "patch_size"))

    def _distance(self, spec: Spec) -> tuple[int, ...]:
        distance = per_axis(self.patch_distance, spec, "patch_distance")
        within_limit([2 * d + 1 for d in distance])
        return distance

    def depth(self, spec: Spec) -> Shape:
        """The search, and half a patch around its end."""
        return tuple(d + p // 2 for d, p in zip(self._distance(spec), self._patch(spec), strict=True))

    def cost(self, spec: Spec) -> float:
        """Grows with the search window."""
        return 2.0 + 3.0 * prod(2 * d + 1 for d in self._distance(spec))

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """The input as float32, and a tile's sums."""
        return halved(spec, outer) + nonlocal_means.non_local_means_working_bytes(outer, inner, self._patch(spec))

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        return nonlocal_means.non_local_means(
            array, self._patch(spec), self._distance(spec), self.number("h"), keep, self.number("sigma")
        )


class TotalVariation(Restoration):
    """Nearest image of small total variation: flat regions with sharp edges; float32.

    Chambolle's iteration, a fixed number of times, on the values as they are (scikit-image scales integers to 0..1
    first, so its weight 0.1 is 25 for 8 bits). Gradients across the edge of the volume are 0. Depth: one
    less than the iterations, so few of them and large blocks: 20 take off most of the noise. Cost: 2 ns a voxel a core
    for each iteration. A. Chambolle, Journal of Mathematical Imaging and Vision 20, 2004.

    >>> import numpy as np, bigseg
    >>> bigseg.total_variation(np.array([[0, 1, 0, 1, 90, 91, 90]], "uint8"), weight=1, iterations=60).round(1)
    array([[ 0.7,  0.7,  0.7,  1. , 90. , 90. , 90. ]], dtype=float32)
    """

    op: ClassVar[str] = "total_variation"
    oracle: ClassVar[str] = (
        "skimage.restoration.denoise_tv_chambolle(eps=0, max_num_iter=iterations) on float64, "
        "within 1e-5 of the value range"
    )
    example: ClassVar[str] = "{id: flat, op: total_variation, weight: 15, iterations: 20}"

    weight: Number = Parameter(
        description="how much is smoothed, in units of the values: about the height of the steps that go"
    )
    iterations: int = Parameter(20, ge=1, description="number of iterations; each adds a voxel of halo")

    @field_validator("weight")
    @classmethod
    def _positive(cls, value: Number) -> Number:
        return check_positive(value, "weight")

    def depth(self, spec: Spec) -> Shape:
        """A voxel an iteration; the first only prepares."""
        return (self.iterations - 1,) * spec.ndim

    def cost(self, spec: Spec) -> float:
        """Grows with the iterations."""
        return 2.0 + 2.0 * self.iterations

    def output(self, spec: Spec) -> Spec:
        """float32; before it has converged the result may leave the bounds of the input."""
        return spec.but(dtype=np.dtype("float32"), kind="image")

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """The input as float32 and a component of the dual field for each axis."""
        return halved(spec, outer) + total_variation.total_variation_working_bytes(outer)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Iterate on one block."""
        return total_variation.total_variation(array, self.number("weight"), self.iterations, keep)


def check_positive(value: Number, name: str, error: type[Exception] = ValueError) -> Number:
    """A number that is above 0 (``sigma``: 0 or more), or a reference."""
    if isinstance(value, (int, float)) and not (value >= 0 if name == "sigma" else value > 0):
        raise error(f"expected {name} {'of 0 or more' if name == 'sigma' else 'above 0'}, found {value}")
    return value


def check_odd(sizes: Whole) -> Whole:
    """Widths with a voxel in the middle."""
    for item in sizes if isinstance(sizes, tuple) else (sizes,):
        if item < 1 or item % 2 == 0:
            raise ValueError(f"expected odd widths of 1 or more, found {item}")
    return sizes


def per_axis(items: Whole, spec: Spec, name: str) -> tuple[int, ...]:
    """One number for each axis.

    Raises
    ------
    ParameterError
        When their number does not fit the axes.
    """
    found = items if isinstance(items, tuple) else (items,) * spec.ndim
    if len(found) != spec.ndim:
        raise ParameterError(
            f"{name} {items}: expected one value or {spec.ndim} ({', '.join(spec.axes)}), found {len(found)}"
        )
    return found


def halved(spec: Spec, outer: Shape) -> int:
    """Bytes of the copy that half precision needs first."""
    return 4 * prod(outer) if spec.dtype == np.float16 else 0
