"""Strict comparison of voxels with thresholds, at the image's own precision."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def between(x: Array, above: float | None = None, below: float | None = None) -> Array:
    """Mask of the voxels ``> above`` and ``< below``; either may be None.

    Thresholds of float images are cast to the image's dtype first. For integer images the comparison is that
    of real numbers (``x > 70.5`` is ``x >= 71``), whatever the dtype can hold.

    Parameters
    ----------
    x : array of any shape, integer, float or bool.

    Returns
    -------
    bool array of the same shape. Cost: one comparison a voxel and bound, at the speed of memory.

    >>> between(np.array([69, 70, 71, 72], "uint8"), above=69.5, below=72)
    array([False,  True,  True, False])
    """
    if x.dtype.kind == "b":
        x = x.view(np.uint8)
    if x.dtype.kind == "f":
        least = None if above is None else x.dtype.type(above)
        most = None if below is None else x.dtype.type(below)
        return _both(None if least is None else x > least, None if most is None else x < most, x.shape)
    info = np.iinfo(x.dtype)
    first = info.min if above is None else floor(above) + 1
    last = info.max if below is None else ceil(below) - 1
    if first > info.max or last < info.min:
        return np.zeros(x.shape, bool)
    return _both(
        x >= x.dtype.type(first) if first > info.min else None,
        x <= x.dtype.type(last) if last < info.max else None,
        x.shape,
    )


def classes_of(x: Array, values: Sequence[float]) -> Array:
    """How many of some values each voxel reaches (``x >= value``): classes 0 to n.

    Parameters
    ----------
    x : array of any shape, integer, float or bool.
    values : at most 255, in any order; compared as in `between`.

    Returns
    -------
    uint8 array of the same shape: numpy.digitize(x, sorted(values)). Beside it, a byte a voxel is held.

    >>> classes_of(np.array([0, 5, 7, 9], "uint8"), (5, 7.5))
    array([0, 1, 1, 2], dtype=uint8)
    """
    if x.dtype.kind == "b":
        x = x.view(np.uint8)
    classes = np.zeros(x.shape, np.uint8)
    reached = np.empty(x.shape, bool)
    for value in values:
        if x.dtype.kind == "f":
            np.greater_equal(x, x.dtype.type(value), out=reached)
        else:
            info, least = np.iinfo(x.dtype), ceil(value)
            if least > info.max:
                continue
            np.greater_equal(x, x.dtype.type(max(least, info.min)), out=reached)
        np.add(classes, reached.view(np.uint8), out=classes)
    return classes


def _both(lower: Array | None, upper: Array | None, shape: tuple[int, ...]) -> Array:
    if lower is None:
        return np.ones(shape, bool) if upper is None else upper
    if upper is not None:
        np.logical_and(lower, upper, out=lower)
    return lower
