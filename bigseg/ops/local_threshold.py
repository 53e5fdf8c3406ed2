"""Thresholds that follow the image, and several thresholds at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Parameter
from pydantic import field_validator

from bigseg.engine.field import Array
from bigseg.errors import ParameterError
from bigseg.grid import Shape
from bigseg.local.filters import linear, rank
from bigseg.local.thresholds.compare import classes_of
from bigseg.local.thresholds.niblack import (
    Edge,
    Gives,
    compare_levels,
    window_threshold,
    window_threshold_working_bytes,
)
from bigseg.local.thresholds.window_levels import Rule
from bigseg.ops.base import LocalOp, Number
from bigseg.ops.restoration import Whole, check_odd, per_axis
from bigseg.storage.spec import Spec


class LocalThreshold(LocalOp):
    """Mask of the voxels above (or below) a threshold found in the window around each of them.

    ``niblack``: ``mean - k std``; ``sauvola``: ``mean (1 + k (std / r - 1))``, the image mirrored at the edge of the
    volume (edge voxels once); ``mean``, ``median`` and ``gaussian`` (sigma: a sixth of ``window - 1``): mode reflect.
    ``offset`` is taken off the threshold; where an image is flat the voxels equal their mean, so give one. Compared
    strictly, in float64. Depth: half the window (gaussian: 4 sigma). Cost: 4 to 5 ns a voxel a core for niblack,
    sauvola and mean of up to 16 bits whatever the window, 8 to 50 for others; gaussian and median as the filters.

    >>> import numpy as np, bigseg
    >>> page = np.array([[9, 9, 2, 9, 5, 5, 1, 5]], "uint8")
    >>> bigseg.local_threshold(page, method="mean", window=(1, 5), offset=1, polarity="below").astype(int)
    array([[0, 0, 1, 0, 0, 0, 1, 0]])
    """

    op: ClassVar[str] = "local_threshold"
    oracle: ClassVar[str] = (
        "skimage.filters.threshold_niblack, threshold_sauvola (of integers of up to 16 bits exactly), threshold_local "
        "(mean, median exactly but for ties, gaussian within 1e-5 of the value range), on float64"
    )
    example: ClassVar[str] = "{id: ink, op: local_threshold, method: sauvola, window: 25, k: 0.2, polarity: below}"

    method: Literal["niblack", "sauvola", "gaussian", "mean", "median"] = Parameter(
        description="how the threshold follows from the window"
    )
    window: Whole = Parameter(15, description="odd width of the window in voxels; one or one per axis")
    k: float = Parameter(0.2, description="weight of the standard deviation (niblack, sauvola)")
    r: Number | None = Parameter(
        None,
        description="greatest standard deviation to expect, in units of the values (sauvola); default: half the "
        "range of an integer dtype, or of the bounds known of real numbers",
    )
    offset: Number = Parameter(0.0, description="taken off the threshold, in units of the values")
    polarity: Literal["above", "below"] = Parameter("above", description="whether objects are bright or dark")
    gives: Literal["mask", "threshold"] = Parameter("mask", description="the mask, or the threshold itself in float32")

    @field_validator("window")
    @classmethod
    def _odd(cls, window: Whole) -> Whole:
        return check_odd(window)

    @field_validator("r")
    @classmethod
    def _positive(cls, r: Number | None) -> Number | None:
        if isinstance(r, (int, float)) and not r > 0:
            raise ValueError(f"expected r above 0, found {r}")
        return r

    def _window(self, spec: Spec) -> tuple[int, ...]:
        return per_axis(self.window, spec, "window")

    def _sigma(self, spec: Spec) -> tuple[float, ...]:
        return tuple((width - 1) / 6 for width in self._window(spec))

    def _range(self, spec: Spec) -> float:
        if isinstance(self.r, str):
            raise ParameterError(f"local_threshold, r {self.r}: the value is not computed yet")
        if self.r is not None:
            if not self.r > 0:
                raise ParameterError(f"local_threshold: expected r above 0, found {self.r}")
            return float(self.r)
        if spec.dtype.kind in "iu":
            return 0.5 * (float(np.iinfo(spec.dtype).max) - float(np.iinfo(spec.dtype).min))
        if spec.bounds is None or not spec.bounds[1] > spec.bounds[0]:
            raise ParameterError(
                f"local_threshold, sauvola: the range of a {spec.dtype} image is not known before it is read; "
                "give r, the greatest standard deviation to expect, such as half of max - min"
            )
        return 0.5 * (spec.bounds[1] - spec.bounds[0])

    def depth(self, spec: Spec) -> Shape:
        """Half the window, or where the Gaussian is cut off."""
        if self.method == "gaussian":
            return tuple(linear.gaussian_radius(s) for s in self._sigma(spec))
        return tuple(width // 2 for width in self._window(spec))

    def cost(self, spec: Spec) -> float:
        """Sums that run, a Gaussian, or a median."""
        if self.method == "gaussian":
            return 4.0 + sum(self.depth(spec)) / 8
        if self.method == "median":
            return 2.0 + 0.3 * spec.dtype.itemsize * prod(self._window(spec))
        return 4.5 if spec.dtype.itemsize <= 2 else 6.0 + 0.5 * self._window(spec)[0]

    def output(self, spec: Spec) -> Spec:
        """A mask, or the threshold."""
        if self.method == "sauvola" and not isinstance(self.r, str):
            self._range(spec)
        if self.gives == "threshold":
            return spec.but(dtype=np.dtype("float32"), kind="image")
        return spec.but(dtype=np.dtype(bool), kind="mask")

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """Sums over windows of a plane, or the filtered image."""
        plane = 24 * prod(inner[1:])
        if self.method == "gaussian":
            held = linear.gaussian_working_bytes(outer, inner, self._sigma(spec), dtype=spec.dtype)
            return max(held, plane) + 4 * prod(inner)
        if self.method == "median":
            held = rank.median_working_bytes(outer, inner, self._window(spec), spec.dtype)
            return max(held, plane) + spec.dtype.itemsize * prod(inner)
        return window_threshold_working_bytes(outer, inner, self._window(spec), spec.dtype)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Compare one block."""
        if isinstance(self.offset, str):
            raise ParameterError(f"local_threshold, offset {self.offset}: the value is not computed yet")
        gives: Gives = self.polarity if self.gives == "mask" else "threshold"
        if self.method in ("gaussian", "median"):
            if self.method == "gaussian":
                levels: Array = linear.gaussian(array, self._sigma(spec), keep)
            else:
                levels = rank.median(array, self._window(spec), keep)
            return compare_levels(array[keep], levels, self.offset, gives)
        rule = Rule(
            0.0 if self.method == "mean" else self.k,
            self._range(spec) if self.method == "sauvola" else 0.0,
            self.offset,
        )
        edge: Edge = "reflect" if self.method == "mean" else "mirror"
        return window_threshold(array, self._window(spec), rule, keep, gives, edge)


class MultiThreshold(LocalOp):
    """Classes 0 to n between n values: the class of a voxel is how many of the values it reaches.

    A voxel equal to a value belongs to the class above it, as in numpy.digitize. Values of float32 images are cast
    to float32 first. Values that earlier steps compute may come in any order. Depth 0. Cost: about 0.1 ns a voxel and
    value.

    >>> import numpy as np, bigseg
    >>> bigseg.multi_threshold(np.array([[1, 5, 9]], "uint8"), values=[5, 8])
    array([[0, 1, 2]], dtype=uint8)
    """

    op: ClassVar[str] = "multi_threshold"
    oracle: ClassVar[str] = "numpy.digitize, exactly"
    example: ClassVar[str] = (
        "{id: phases, op: multi_threshold, values: ['${levels.multi_otsu_1}', '${levels.multi_otsu_2}']}"
    )

    values: tuple[Number, ...] = Parameter(
        min_length=1, max_length=255, description="the values between the classes, rising"
    )

    @field_validator("values")
    @classmethod
    def _rising(cls, values: tuple[Number, ...]) -> tuple[Number, ...]:
        known = [value for value in values if not isinstance(value, str)]
        if any(a >= b for a, b in pairwise(known)):
            raise ValueError(f"expected rising values, found {list(values)}")
        return values

    def cost(self, spec: Spec) -> float:
        """A comparison for each value."""
        return 0.2 + 0.1 * len(self.values)

    def output(self, spec: Spec) -> Spec:
        """Classes."""
        return spec.but(dtype=np.dtype("uint8"), kind="classes", bounds=(0.0, float(len(self.values))))

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """One comparison."""
        return prod(inner)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Count the values that each voxel of a block reaches."""
        return classes_of(array[keep], _known(self.values))


def _known(values: Sequence[Number]) -> list[float]:
    found: list[float] = []
    for value in values:
        if isinstance(value, str):
            raise ParameterError(f"multi_threshold {value}: the value is not computed yet")
        found.append(value)
    return found
