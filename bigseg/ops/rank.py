"""Filters over a window: the median and other ranks, least, greatest, and the mean."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
from pydantic import Field as Parameter

from bigseg.engine.field import Array
from bigseg.grid import Shape
from bigseg.local.filters import extremes, linear, rank
from bigseg.local.filters.footprints import Footprint
from bigseg.ops.footprint import Boxed, Windowed
from bigseg.storage.spec import Spec


class Ranked(Windowed):
    """Base of the filters that take the voxel of a rank."""

    def rank(self, window: Footprint) -> int:
        """0 for the least voxel of the window, one less than its voxels for the greatest."""
        raise NotImplementedError

    def cost(self, spec: Spec) -> float:
        """Networks for boxes of 3, runs for the extremes, counting for the others."""
        window = self.window(spec)
        taps = int(np.count_nonzero(window))
        if self.rank(window) in (0, taps - 1):
            return extremes.cost(window, spec.dtype)
        if max(window.shape) <= 3 and window.all() and self.rank(window) == taps // 2:
            return 2.0 * spec.dtype.itemsize
        return 0.35 * taps * spec.dtype.itemsize

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """Keys of the rows around the voxels in work."""
        window = self.window(spec)
        wanted = self.rank(window)
        if wanted in (0, np.count_nonzero(window) - 1):
            return extremes.extreme_working_bytes(outer, inner, window, spec.dtype)
        return rank.rank_working_bytes(outer, inner, window, wanted, spec.dtype)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        window = self.window(spec)
        wanted = self.rank(window)
        if wanted == 0:
            return extremes.minimum(array, window, keep)
        if wanted == np.count_nonzero(window) - 1:
            return extremes.maximum(array, window, keep)
        return rank.rank_filter(array, window, wanted, keep)


class Median(Ranked):
    """Median of a box or another footprint around each voxel; keeps the dtype, exact.

    Of an even number of voxels the upper of the two in the middle. Mode reflect. Depth: half the footprint.
    Cost a voxel a core, for 8 and 16 bits: 3 to 5 ns for 3^3; 50 and 80 ns for 5^3, 150 and 220 ns for 7^3, 540
    and 950 ns for 11^3, a fifteenth or less of scipy's.

    >>> import numpy as np, bigseg
    >>> bigseg.median(np.array([[9, 1, 1]]), size=(1, 3))
    array([[9, 1, 1]])
    """

    op: ClassVar[str] = "median"
    oracle: ClassVar[str] = "scipy.ndimage.median_filter, exactly"
    example: ClassVar[str] = "{id: clean, op: median, size: 3}"

    def rank(self, window: Footprint) -> int:
        """Half of the voxels lie below."""
        return int(np.count_nonzero(window)) // 2


class Percentile(Ranked):
    """The value below which a percentage of the voxels around each voxel lie; keeps the dtype, exact.

    Of n voxels in order, the one of rank ``n * percentile / 100``, rounded down; 0 is the least and 100 the
    greatest. Nothing is interpolated. Mode reflect. Depth: half the footprint. Cost: as median, for any size.

    >>> import numpy as np, bigseg
    >>> bigseg.percentile(np.array([[9, 1, 5]]), percentile=50, size=(1, 3))
    array([[9, 5, 5]])
    """

    op: ClassVar[str] = "percentile"
    oracle: ClassVar[str] = "scipy.ndimage.percentile_filter, exactly"
    example: ClassVar[str] = "{id: floor, op: percentile, percentile: 10, size: 5}"

    percentile: float = Parameter(ge=0, le=100, description="percentage of the voxels around that lie below")

    def rank(self, window: Footprint) -> int:
        """As scipy rounds it."""
        taps = int(np.count_nonzero(window))
        return min(int(float(taps) * self.percentile / 100.0), taps - 1)


class Minimum(Ranked):
    """Least voxel of a box or another footprint around each voxel; keeps the dtype, exact.

    Mode reflect, of masks too (`erosion` takes what lies beyond their edge as not there). Depth: half the
    footprint. Cost: as erosion, 1 to 4 ns a voxel a core for 8 and 16 bits.

    >>> import numpy as np, bigseg
    >>> bigseg.minimum(np.array([[5, 3, 4, 9, 8]]), size=(1, 3))
    array([[3, 3, 3, 4, 8]])
    """

    op: ClassVar[str] = "minimum"
    oracle: ClassVar[str] = "scipy.ndimage.minimum_filter, exactly"
    example: ClassVar[str] = "{id: low, op: minimum, size: 5}"

    def rank(self, window: Footprint) -> int:
        """The least."""
        return 0


class Maximum(Ranked):
    """Greatest voxel of a box or another footprint around each voxel; keeps the dtype, exact.

    Mode reflect, of masks too (`dilation` takes what lies beyond their edge as not there). The footprint is
    used as it stands, not turned round. Depth: half the footprint. Cost: as minimum.

    >>> import numpy as np, bigseg
    >>> bigseg.maximum(np.array([[5, 3, 4, 9, 8]]), size=(1, 3))
    array([[5, 5, 9, 9, 9]])
    """

    op: ClassVar[str] = "maximum"
    oracle: ClassVar[str] = "scipy.ndimage.maximum_filter, exactly"
    example: ClassVar[str] = "{id: high, op: maximum, size: 5}"

    def rank(self, window: Footprint) -> int:
        """The greatest."""
        return int(np.count_nonzero(window)) - 1


class Mean(Boxed):
    """Mean of the box around each voxel, computed and given back in float32.

    The input is converted to float32 first; sums of integers are exact up to 2^24. Each voxel adds its own
    box, axis by axis: there is no running sum whose rounding would depend on where a block starts. Mode
    reflect. Depth: half the box. Cost: 2 ns a voxel a core for a box of 3^3, 3 ns for 11^3.

    >>> import numpy as np, bigseg
    >>> bigseg.mean(np.array([[9, 0, 3]]), size=(1, 3))
    array([[6., 4., 2.]], dtype=float32)
    """

    op: ClassVar[str] = "mean"
    oracle: ClassVar[str] = "scipy.ndimage.uniform_filter on float32, within 1e-5 of the value range"
    example: ClassVar[str] = "{id: smooth, op: mean, size: 5}"

    def cost(self, spec: Spec) -> float:
        """Grows with the width."""
        return 2.0 + sum(self.depth(spec)) / 8

    def output(self, spec: Spec) -> Spec:
        """float32 within the bounds of the input."""
        return spec.but(dtype=np.dtype("float32"), kind="image", bounds=spec.bounds)

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """Intermediate axes."""
        return linear.separable_working_bytes(outer, inner, self.depth(spec), spec.dtype)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Filter one block."""
        sizes = self.sizes(spec)
        total = linear.separable(array, [np.ones(n, np.float32) for n in sizes], keep)
        total /= np.float32(prod(sizes))
        return total
