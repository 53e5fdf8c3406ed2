"""Mapping grey values one by one: limits, and straight lines.

Every map is a subtraction, a division, a multiplication and an addition, each rounded by itself and in this
order, so a voxel's result depends on its value alone, in a vector as among the last few of a row.
"""

from __future__ import annotations

from math import ceil, floor, inf
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray

from bigseg.errors import ParameterError
from bigseg.local.filters.reflect import rows_of, three_axes

Array = NDArray[Any]


class LinearMap(NamedTuple):
    """``(v - shift) / span * gain + offset``, where v is the voxel moved into ``low`` .. ``high``.

    >>> LinearMap(shift=10, span=5)
    LinearMap(shift=10, span=5, gain=1.0, offset=0.0, low=-inf, high=inf)
    """

    shift: float = 0.0
    span: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    low: float = -inf
    high: float = inf


def linear_map(x: Array, line: LinearMap, dtype: DTypeLike = np.float32) -> Array:
    """Map every voxel by a straight line.

    Parameters
    ----------
    x : array of 1 to 3 axes of integers, masks or real numbers.
    line : its numbers; rounded to the precision of the arithmetic first.
    dtype : of the result: float32, or integers of 8 or 16 bits, which are rounded half up and limited to what the
        dtype holds.

    Returns
    -------
    array of x's shape. Voxels of 8 and 16 bits and float32 are mapped in float32, wider ones in float64.

    Raises
    ------
    ParameterError : a span of 0, or a dtype that is none of these.

    Notes
    -----
    One read and one write. An infinite limit is no limit.

    Examples
    --------
    >>> linear_map(np.array([0, 10, 15, 40], "uint8"), LinearMap(shift=10, span=10, gain=255, low=10, high=20), "uint8")
    array([  0,   0, 128, 255], dtype=uint8)
    """
    target = np.dtype(dtype)
    if target.name not in ("float32", "uint8", "int8", "uint16", "int16"):
        raise ParameterError(f"a map to {target}: expected float32, uint8, int8, uint16 or int16")
    if line.span == 0:
        raise ParameterError(f"a map whose span is 0 ({line}): the two values it is made from must differ")
    source = _plain(x)
    volume, _ = three_axes(source, tuple(slice(0, n) for n in source.shape))
    real = real_of(source.dtype).type
    out = np.empty(volume.shape, target)
    if out.size:
        with np.errstate(over="ignore"):
            numbers = tuple(real(number) for number in line)
        rows = rows_of(volume)
        if target.kind == "f":
            _map(rows, *numbers, out)
        else:
            info = np.iinfo(target)
            _map_rounded(rows, *numbers, float(info.min), float(info.max), out)
    return out.reshape(x.shape)


def clip(x: Array, low: float | None, high: float | None) -> Array:
    """Move every voxel into ``low`` .. ``high``; keeps the dtype.

    Parameters
    ----------
    x : array of 1 to 3 axes of integers or real numbers.
    low, high : least and greatest value of the result, None for no limit. They are rounded to the dtype of real
        images; for integers, ``low`` goes up and ``high`` down to a whole number, so that no voxel lies outside.

    Returns
    -------
    array of x's shape and dtype.

    Raises
    ------
    ParameterError : limits between which the dtype has no value.

    Examples
    --------
    >>> clip(np.array([0, 10, 11, 40], "uint8"), 10.5, 20)
    array([11, 11, 11, 20], dtype=uint8)
    """
    source = _plain(x)
    least, most = limits(source.dtype, low, high)
    volume, _ = three_axes(source, tuple(slice(0, n) for n in source.shape))
    rows = rows_of(volume)
    out = np.empty(volume.shape, rows.flat.dtype)
    if out.size:
        _clip(rows, out.dtype.type(least), out.dtype.type(most), out)
    return out.reshape(x.shape)


def subtracted(x: Array, y: Array) -> NDArray[np.float32]:
    """``x - y``, both converted to float32 first; into y, if that is a float32 array of its own.

    >>> subtracted(np.array([5], "uint8"), np.array([6.5], "float32"))
    array([-1.5], dtype=float32)
    """
    out = y if y.dtype == np.float32 else None
    return np.subtract(x, y, out=out, dtype=np.float32, casting="unsafe")


def divided(x: Array, y: Array) -> NDArray[np.float32]:
    """``x / y``, both converted to float32 first, 0 where y is 0; into y, if that is a float32 array of its own.

    >>> divided(np.array([5, 5], "uint8"), np.array([2, 0], "uint8"))
    array([2.5, 0. ], dtype=float32)
    """
    nothing = y == 0
    out = y if y.dtype == np.float32 else None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = np.divide(x, y, out=out, dtype=np.float32, casting="unsafe")
    if nothing.any():
        found[nothing] = 0
    return found


def limits(dtype: np.dtype[Any], low: float | None, high: float | None) -> tuple[float, float]:
    """Limits as `clip` uses them: values that the dtype has.

    >>> limits(np.dtype("uint8"), -3, 9.7), limits(np.dtype("float32"), None, 0.5)
    ((0, 9), (-inf, 0.5))
    """
    if dtype.kind == "f":
        least = -inf if low is None else float(dtype.type(low))
        most = inf if high is None else float(dtype.type(high))
    else:
        info = np.iinfo(dtype)
        least = info.min if low is None else max(info.min, ceil(low))
        most = info.max if high is None else min(info.max, floor(high))
    if least > most:
        raise ParameterError(f"limits {low} to {high}: {dtype} has no value between them")
    return least, most


def real_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The precision in which voxels of a dtype are mapped."""
    return np.dtype(np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64)


def _plain(x: Array) -> Array:
    """Masks as integers, half precision as float32: what Numba knows."""
    if x.dtype.kind not in "biuf" or x.dtype.itemsize > 8:
        raise ParameterError(f"expected integers, real numbers of up to 64 bits or masks, found dtype {x.dtype}")
    if x.dtype.kind == "b":
        return x.view(np.uint8)
    return x.astype(np.float32) if x.dtype == np.float16 else x


@njit(nogil=True, cache=True)
def _clip(rows, low, high, out):  # type: ignore[no-untyped-def]
    planes, height, width = out.shape
    for z in range(planes):
        for y in range(height):
            start = z * rows.plane + y * rows.row
            src, dst = rows.flat[start : start + width], out[z, y]
            for i in range(width):
                v = src[i]
                v = low if v < low else v
                dst[i] = high if v > high else v


@njit(nogil=True, cache=True, error_model="numpy")
def _map(rows, shift, span, gain, offset, low, high, out):  # type: ignore[no-untyped-def]
    planes, height, width = out.shape
    for z in range(planes):
        for y in range(height):
            start = z * rows.plane + y * rows.row
            src, dst = rows.flat[start : start + width], out[z, y]
            for i in range(width):
                v = type(low)(src[i])
                v = low if v < low else v
                v = high if v > high else v
                dst[i] = (v - shift) / span * gain + offset


@njit(nogil=True, cache=True, error_model="numpy")
def _map_rounded(rows, shift, span, gain, offset, low, high, least, most, out):  # type: ignore[no-untyped-def]
    planes, height, width = out.shape
    for z in range(planes):
        for y in range(height):
            start = z * rows.plane + y * rows.row
            src, dst = rows.flat[start : start + width], out[z, y]
            for i in range(width):
                v = type(low)(src[i])
                v = low if v < low else v
                v = high if v > high else v
                # In float64, adding a half to a float32 is exact.
                v = np.floor(np.float64((v - shift) / span * gain + offset) + 0.5)
                v = least if v < least else v
                dst[i] = np.int32(most if v > most else v)
