"""Thresholds from the mean and the standard deviation of the window around each voxel.

With m and s of the window, ``m - k s`` (W. Niblack, An introduction to digital image processing, 1986) or
``m (1 + k (s / r - 1))`` (J. Sauvola and M. Pietikainen, Pattern Recognition 33, 2000); m alone for k = 0.
The sums behind them: `bigseg.local.thresholds.window_levels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import numpy as np

from bigseg.errors import ParameterError
from bigseg.local.filters.margins import mirror_reach, planes_first, spread
from bigseg.local.filters.reflect import Array, reach, rows_of, shape_of, working_bytes
from bigseg.local.thresholds.window_levels import Rule, integer_levels, integer_room, real_levels, real_room

Gives = Literal["above", "below", "threshold"]
Edge = Literal["mirror", "reflect"]
_SIGN = {"above": 1, "below": -1, "threshold": 0}


def window_threshold(
    x: Array,
    window: Sequence[int],
    rule: Rule,
    keep: Sequence[slice],
    gives: Gives = "above",
    edge: Edge = "mirror",
) -> Array:
    """Compare voxels with a threshold from the mean and standard deviation of the window around them.

    Parameters
    ----------
    x : array of 1 to 3 axes, any integer, bool or float dtype.
    window : odd width of the window along each axis.
    rule : the threshold.
    keep : the part of x that is wanted. Where a voxel of the window is not in x, x must end at the edge of the
        volume.
    gives : a mask of the voxels strictly ``above`` or ``below``, or the ``threshold`` itself.
    edge : how the image goes on beyond the edge of the volume (`bigseg.local.filters.margins`).

    Returns
    -------
    bool array of the shape of keep, or float32 for the threshold. It is compared in float64.

    Raises
    ------
    ParameterError : windows that are not odd, not one an axis or of 2^31 voxels and more; a keep not in x.

    Notes
    -----
    Mean and standard deviation are rounded as in skimage.filters.threshold_niblack: for integers of up to 16
    bits, ``edge='mirror'`` and no offset the results are equal to the last bit.

    Examples
    --------
    >>> page = np.array([[9, 9, 2, 9, 5, 5, 1, 5]], "uint8")
    >>> from bigseg.local.thresholds.window_levels import Rule
    >>> window_threshold(page, (1, 5), Rule(k=0.5), (slice(0, 1), slice(0, 8)), "below").astype(int)
    array([[0, 0, 1, 0, 0, 0, 1, 0]])
    """
    if len(window) != x.ndim or any(w < 1 or w % 2 == 0 for w in window) or prod(window) >= 1 << 31:
        raise ParameterError(
            f"window {tuple(window)}: expected {x.ndim} odd widths of 1 or more, one an axis, of less than 2^31 voxels"
        )
    volume, keep3 = planes_first(x, keep)
    size = spread(window, 1)
    find = mirror_reach if edge == "mirror" else reach
    z, y, w = (find(k, n // 2, m) for k, n, m in zip(keep3, size, volume.shape, strict=True))
    shape = shape_of(keep3)
    mask = np.empty((0, 0, 0) if gives == "threshold" else shape, bool)
    levels = np.empty(shape if gives == "threshold" else (0, 0, 0), np.float32)
    if prod(shape):
        rows, level = rows_of(volume), np.empty(shape[2])
        at = tuple(k.start for k in keep3)
        rule = Rule(*(float(number) for number in rule))
        if _exact(volume.dtype):
            sums = integer_room(y.stop - y.start, w.stop - w.start, w.voxels.size)
            integer_levels(rows, z, y, w, size, rule, _SIGN[gives], at, sums, level, mask, levels)
        else:
            room = real_room(shape[1], y.voxels.size, w.stop - w.start, w.voxels.size)
            real_levels(rows, z, y, w, size, rule, _SIGN[gives], at, room, level, mask, levels)
    return (levels if gives == "threshold" else mask).reshape(shape_of(keep))


def window_threshold_working_bytes(
    outer: Sequence[int], inner: Sequence[int], window: Sequence[int], dtype: np.dtype[Any]
) -> int:
    """Most bytes that `window_threshold` holds beside an input of shape ``outer`` and the result.

    >>> window_threshold_working_bytes((270, 270, 270), (256, 256, 256), (15, 15, 15), np.dtype("uint8")) // 1024
    1165
    """
    (_, ky, kx), (_, ny, nx), (_, wy, wx) = spread(inner, 1), spread(outer, 1), spread(window, 1)
    ny, nx = min(ny, ky + wy - 1), min(nx, kx + wx - 1)
    if _exact(dtype):
        held = 16 * (ny * nx + nx + kx + wx)
    else:
        held = 16 * ((ky + wy - 1) * nx + ky * nx + 3 * (kx + wx))
    copied = 4 * prod(outer) if dtype == np.float16 else 0
    return copied + working_bytes(inner, window, held + 8 * kx)


def compare_levels(x: Array, levels: Array, offset: float, gives: Gives) -> Array:
    """Compare voxels with thresholds of their own, in float64.

    Parameters
    ----------
    x : array of any shape and real dtype.
    levels : array of the same shape; the thresholds are ``levels - offset``.
    gives : as `window_threshold`.

    Returns
    -------
    bool array of the shape of x, or float32 for the threshold. Beside it, 24 bytes a voxel of a plane are held.

    >>> compare_levels(np.array([[5, 6]], "uint8"), np.array([[5.5, 5.5]], "float32"), 0.5, "above")
    array([[False,  True]])
    """
    out = np.empty(x.shape, np.float32 if gives == "threshold" else bool)
    for k in range(len(x)):
        level = levels[k].astype(np.float64) - offset
        if gives == "threshold":
            out[k] = level
        else:
            (np.greater if gives == "above" else np.less)(x[k].astype(np.float64), level, out=out[k])
    return out


def _exact(dtype: np.dtype[Any]) -> bool:
    """Whether sums of squares over any window fit 64 bits."""
    return dtype.kind in "biu" and dtype.itemsize <= 2
