"""Morphology with flat footprints: erosion, dilation, opening, closing and top-hats of images and masks.

All are least and greatest voxels (`bigseg.local.filters.extremes`). With a footprint B, an erosion at p is the least
of ``x[p + b]``, a dilation the greatest of ``x[p - b]`` for b in B: the footprint is turned round, so that an
opening (the dilation of the erosion) stays where the image is, whatever the footprint.

At the edge of the volume images are mirrored; beyond the edge of a mask nothing counts, so objects are
neither eaten from there nor kept from touching it. An opening applies the rule twice: once to the image,
once to the erosion, as whole-array libraries do. So it first computes the erosion on ``keep`` grown by the
footprint and clipped at the array, which ends there only if the volume does::

    x        |..........................|       grown by twice the footprint
    erosion       |................|            grown by it once
    opening            |......|                 keep
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from numpy.typing import DTypeLike

from bigseg.local.filters.extremes import extreme_working_bytes, maximum, minimum
from bigseg.local.filters.footprints import Footprint, checked
from bigseg.local.filters.reflect import Array, three_axes

Step = Callable[[Array, Footprint, Sequence[slice]], Array]


def erosion(x: Array, footprint: Footprint, keep: Sequence[slice]) -> Array:
    """Least voxel of the footprint around each voxel.

    Parameters
    ----------
    x : array of 1 to 3 axes; bool (a mask), any integer, or real numbers without NaN.
    footprint : bool array of as many axes, of odd lengths, the voxel itself in the middle.
    keep : the part of x that is wanted. Where a voxel of the footprint is not in x, x must end at the edge of
        the volume.

    Returns
    -------
    array of x's dtype and keep's shape: scipy.ndimage.grey_erosion with mode 'reflect'; of masks
    scipy.ndimage.binary_erosion with border_value 1; exactly.

    Raises
    ------
    ParameterError : an empty footprint, even or missing lengths, a keep that is not in x, or a dtype without
        an order.

    Examples
    --------
    >>> erosion(np.array([5, 3, 4, 9, 8]), np.ones(3, bool), (slice(1, 5),))
    array([3, 3, 4, 8])
    >>> erosion(np.array([True, True, False, True]), np.ones(3, bool), (slice(0, 4),))
    array([ True, False, False, False])
    """
    return minimum(x, footprint, keep, mirror=x.dtype.kind != "b")


def dilation(x: Array, footprint: Footprint, keep: Sequence[slice]) -> Array:
    """Greatest voxel of the footprint, turned round, around each voxel.

    Parameters and errors as `erosion`; scipy.ndimage.grey_dilation, of masks scipy.ndimage.binary_dilation.

    >>> dilation(np.array([0, 7, 0, 0]), np.array([False, True, True]), (slice(0, 4),))
    array([0, 7, 7, 0])
    """
    turned = np.flip(np.asarray(footprint, bool))
    return maximum(x, turned, keep, mirror=x.dtype.kind != "b")


def opening(x: Array, footprint: Footprint, keep: Sequence[slice]) -> Array:
    """Dilation of the erosion: what of the image is wider than the footprint.

    Parameters and errors as `erosion`, but twice the footprint's reach around keep is read.

    >>> opening(np.array([0, 7, 0, 7, 7, 7, 0]), np.ones(3, bool), (slice(0, 7),))
    array([0, 0, 0, 7, 7, 7, 0])
    """
    return _one_after_other(erosion, dilation, x, footprint, keep)


def closing(x: Array, footprint: Footprint, keep: Sequence[slice]) -> Array:
    """Erosion of the dilation: gaps narrower than the footprint are filled.

    >>> closing(np.array([9, 9, 0, 9, 9, 0, 0, 0]), np.ones(3, bool), (slice(0, 8),))
    array([9, 9, 9, 9, 9, 0, 0, 0])
    """
    return _one_after_other(dilation, erosion, x, footprint, keep)


def white_tophat(x: Array, footprint: Footprint, keep: Sequence[slice]) -> Array:
    """The image minus its opening: bright details narrower than the footprint.

    Of integers the difference is taken in their dtype, as NumPy does; of masks it is what was opened away.

    >>> white_tophat(np.array([0, 7, 0, 7, 7, 7, 0]), np.ones(3, bool), (slice(0, 7),))
    array([0, 7, 0, 0, 0, 0, 0])
    """
    opened = opening(x, footprint, keep)
    return _minus(x[tuple(keep)], opened, opened)


def black_tophat(x: Array, footprint: Footprint, keep: Sequence[slice]) -> Array:
    """The closing minus the image: dark details narrower than the footprint.

    >>> black_tophat(np.array([9, 9, 0, 9, 9, 0, 0, 0]), np.ones(3, bool), (slice(0, 8),))
    array([0, 0, 9, 0, 0, 0, 0, 0])
    """
    closed = closing(x, footprint, keep)
    return _minus(closed, x[tuple(keep)], closed)


def twice_working_bytes(
    outer: Sequence[int], inner: Sequence[int], footprint: Footprint, dtype: DTypeLike = np.uint16
) -> int:
    """Most bytes that openings, closings and top-hats hold beside their input and result.

    >>> twice_working_bytes((266, 266), (246, 246), np.ones((11, 11), bool), np.uint8) // 1024
    327
    """
    between = [min(o, i + n - 1) for o, i, n in zip(outer, inner, footprint.shape, strict=True)]
    first = extreme_working_bytes(outer, between, footprint, dtype)
    second = extreme_working_bytes(between, inner, footprint, dtype) + 2 * footprint.size
    result = prod(inner) * np.dtype(dtype).itemsize
    # While the first runs, the result is not there yet.
    return int(prod(between) * np.dtype(dtype).itemsize + max(first - result, second))


def _one_after_other(first: Step, second: Step, x: Array, footprint: Footprint, keep: Sequence[slice]) -> Array:
    footprint = checked(footprint, x.ndim)
    three_axes(x, keep)
    halves = [n // 2 for n in footprint.shape]
    between = [slice(max(0, k.start - h), min(n, k.stop + h)) for k, h, n in zip(keep, halves, x.shape, strict=True)]
    done = first(x, footprint, between)
    within = [slice(k.start - b.start, k.stop - b.start) for k, b in zip(keep, between, strict=True)]
    return second(done, footprint, within)


def _minus(a: Array, b: Array, out: Array) -> Array:
    """a - b into out; of masks, where they differ."""
    if out.dtype.kind == "b":
        return np.logical_xor(a, b, out=out)
    return np.subtract(a, b, out=out)
