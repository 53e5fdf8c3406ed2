"""Masks of one bit a voxel, made straight from the image: the input of the component kernels.

A threshold never becomes a volume of bytes. Sixty-four voxels are compared at once and leave one 64-bit
word::

    x:        0         63 64       127 ...
    row of    [  word 0  ][  word 1  ]         voxel x is bit x % 64 of word x // 64
    the mask  bits beyond the last voxel are 0

Rows run along the last axis and follow each other in raster order. 2-D images are volumes of one plane.
"""

from __future__ import annotations

from math import ceil, floor, isnan, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.components.words import ALL, NONE, ONE, WORD, inside, kernel, store_word

Array = NDArray[Any]
Volume = tuple[int, int, int]

MOST_VOXELS = (1 << 31) - 1  # runs are counted in 32 bits


class BitMask(NamedTuple):
    """A mask of one bit a voxel.

    shape: voxels along z, y and x; rows: uint64 words, (nz * ny + 1, ceil(nx / 64)), the last row empty so
    that a row beyond the edge can be read as background.
    """

    shape: Volume
    rows: NDArray[np.uint64]

    def invert(self) -> BitMask:
        """The mask of the other voxels."""
        rows = ~self.rows
        rows[:, -1] &= _last_word(self.shape[2])
        rows[-1] = 0
        return BitMask(self.shape, rows)

    def unpack(self) -> NDArray[np.bool_]:
        """The mask as a bool volume.

        >>> between(np.array([[3, 8, 5]]), above=4).unpack()
        array([[[False,  True,  True]]])
        """
        out = np.empty(self.shape, np.uint8)
        flat, strides = writable_rows(out)
        _unpack(self.rows, self.shape, flat, strides)
        return out.view(np.bool_)


def between(x: Array, above: float | None = None, below: float | None = None) -> BitMask:
    """Mask of the voxels ``> above`` and ``< below``; either may be None.

    Thresholds of float images are cast to the image's dtype first. For integer images the comparison is that
    of real numbers (``x > 70.5`` is ``x >= 71``), whatever the dtype can hold. NaN voxels are outside.

    Parameters
    ----------
    x : array of shape (y, x) or (z, y, x); bool, any integer, float32 or float64. Any view whose last axis is
        contiguous is read where it lies; others are copied first.

    Returns
    -------
    BitMask, one bit a voxel; each row padded to whole 8-byte words.

    Raises
    ------
    ParameterError : a shape or dtype that cannot be, or a threshold that is NaN.

    Notes
    -----
    Costs one read of the image at the speed of memory (15 Gvox/s for uint8 on one core of the test machine).

    Examples
    --------
    >>> mask = between(np.array([[3, 8, 5], [9, 1, 4]], "uint8"), above=4.5)
    >>> mask.rows[:-1, 0].tolist()
    [6, 1]
    """
    for threshold in (above, below):
        if threshold is not None and isnan(threshold):
            raise ParameterError("a threshold is NaN: expected a number")
    x = _bytes_of(x)
    low, high = _bounds(x.dtype, above, below)
    return _pack(x, low, high, False)


def different(x: Array, background: int = 0) -> BitMask:
    """Mask of the voxels that differ from ``background``.

    Parameters
    ----------
    x : array of shape (y, x) or (z, y, x), bool or any integer: a mask, classes or labels.
    background : value of the voxels to leave out.

    Returns
    -------
    BitMask, as of `between`, at the same cost.

    >>> different(np.array([[0, 2, 1]], "uint16")).rows[0].tolist()
    [6]
    """
    x = integers_of(x)
    info = np.iinfo(x.dtype)
    if not info.min <= background <= info.max:
        return _pack(x, x.dtype.type(info.max), x.dtype.type(info.min), True)
    return _pack(x, x.dtype.type(background), x.dtype.type(background), True)


def integers_of(x: Array) -> Array:
    """A mask, classes or labels as integers; raises ParameterError for what is none of them."""
    x = _bytes_of(x)
    if x.dtype.kind not in "iu":
        raise ParameterError(f"a mask or labels are bool or integers, not {x.dtype}: use a threshold on images")
    return x


def readable_rows(x: Array) -> tuple[Array, tuple[int, int]]:
    """Flat read-only view of a volume's memory, and the steps from plane to plane and row to row in it."""
    x = _as_volume(x)
    if not _has_rows(x) or not x.dtype.isnative:
        x = np.ascontiguousarray(x, x.dtype.newbyteorder("="))
    return _flat(x, False)


def writable_rows(out: Array) -> tuple[Array, tuple[int, int]]:
    """As `readable_rows`, for an array that a kernel fills where it lies."""
    volume = _as_volume(out)
    if not _has_rows(volume) or not out.dtype.isnative or not out.flags.writeable:
        raise ParameterError(
            f"cannot write into an array of strides {out.strides} and dtype {out.dtype}: expected a writable "
            "array in native byte order whose last axis is contiguous"
        )
    return _flat(volume, True)


def _flat(x: Array, write: bool) -> tuple[Array, tuple[int, int]]:
    planes, rows = x.strides[0] // x.itemsize, x.strides[1] // x.itemsize
    length = (x.shape[0] - 1) * planes + (x.shape[1] - 1) * rows + x.shape[2]
    return as_strided(x, (length,), (x.itemsize,), writeable=write), (planes, rows)


def _as_volume(x: Array) -> Array:
    if x.ndim not in (2, 3):
        raise ParameterError(f"expected an image of 2 axes or a volume of 3, found shape {x.shape}")
    if not 0 < prod(x.shape) <= MOST_VOXELS:
        raise ParameterError(f"a block of shape {x.shape}: expected 1 to {MOST_VOXELS} voxels; use smaller blocks")
    return x if x.ndim == 3 else x[np.newaxis]


def _has_rows(x: Array) -> bool:
    steps = [step for step, n in zip(x.strides[:2], x.shape[:2], strict=True) if n > 1]
    whole = all(step >= 0 and step % x.itemsize == 0 for step in x.strides[:2])
    return whole and all(step > 0 for step in steps) and (x.strides[2] == x.itemsize or x.shape[2] == 1)


def _bytes_of(x: Array) -> Array:
    if x.dtype.kind == "b":
        return x.view(np.uint8)
    if x.dtype.kind not in "iu" and x.dtype not in (np.float32, np.float64):
        raise ParameterError(f"cannot make a mask of dtype {x.dtype}: expected integers, float32 or float64")
    return x


def _bounds(dtype: np.dtype[Any], above: float | None, below: float | None) -> tuple[Any, Any]:
    """First and last value inside; the first beyond the last when no value is."""
    kind = dtype.type
    if dtype.kind == "f":
        low, high = kind(-np.inf), kind(np.inf)
        with np.errstate(over="ignore"):
            if above is not None:
                low = np.nextafter(kind(above), high)
            if below is not None:
                high = np.nextafter(kind(below), kind(-np.inf))
            nothing = (above is not None and kind(above) == np.inf) or (below is not None and kind(below) == -np.inf)
        return (kind(1), kind(0)) if nothing else (low, high)
    info = np.iinfo(dtype)
    first = info.min if above is None else floor(min(max(above, info.min - 1), info.max)) + 1
    last = info.max if below is None else ceil(max(min(below, info.max + 1), info.min)) - 1
    if first > last:
        return kind(1), kind(0)
    return kind(first), kind(last)


def _last_word(nx: int) -> np.uint64:
    return ALL >> np.uint64(-nx % WORD)


def _pack(x: Array, low: Any, high: Any, invert: bool) -> BitMask:
    flat, strides = readable_rows(x)
    nz, ny, nx = (1, *x.shape)[-3:]
    rows = np.empty((nz * ny + 1, -(-nx // WORD)), np.uint64)
    rows[-1] = 0
    flip = ALL if invert else NONE
    room = np.zeros(WORD, flat.dtype)
    _compare(flat, strides, (nz, ny, nx), low, high, flip, _last_word(nx), rows, room)
    return BitMask((nz, ny, nx), rows)


@kernel
def _compare(
    flat: Array, strides: Any, shape: Any, low: Any, high: Any, flip: Any, last: Any, rows: Any, room: Any
) -> None:
    """Compare word by word; room stands in where a whole word would reach beyond the array."""
    nz, ny, _ = shape
    words = rows.shape[1]
    for z in range(nz):
        for y in range(ny):
            row = z * ny + y
            start = z * strides[0] + y * strides[1]
            for w in range(words - 1):
                rows[row, w] = inside(flat, start + WORD * w, low, high) ^ flip
            start += WORD * (words - 1)
            if start + WORD <= flat.size:
                word = inside(flat, start, low, high)
            else:
                for i in range(flat.size - start):
                    room[i] = flat[start + i]
                word = inside(room, 0, low, high)
            rows[row, words - 1] = (word ^ flip) & last


@kernel
def _unpack(rows: Any, shape: Any, flat: Any, strides: Any) -> None:
    nz, ny, nx = shape
    whole = nx // WORD
    for z in range(nz):
        for y in range(ny):
            row = z * ny + y
            start = z * strides[0] + y * strides[1]
            for w in range(whole):
                store_word(flat, start + WORD * w, rows[row, w], 1, 0)
            for i in range(nx - WORD * whole):
                flat[start + WORD * whole + i] = rows[row, whole] >> np.uint64(i) & ONE
