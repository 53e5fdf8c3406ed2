"""Voxels of any dtype as unsigned integers of the same order, so that one kernel ranks them all.

The key of a voxel is its bits with some of them inverted: none for unsigned integers, the sign for signed
ones, the sign of positive and all bits of negative real numbers, whose magnitude falls as the key rises. Real
numbers so get a total order, in which -0.0 lies below 0.0 and NaN beyond the infinities.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ParameterError


class KeyOrder(NamedTuple):
    """How bits become keys: ``key = bits ^ (high if bits >= top else low)``.

    top is the highest bit of a voxel; all three have the dtype of the keys.
    """

    top: Any
    high: Any
    low: Any

    @property
    def back(self) -> KeyOrder:
        """The way from keys to bits."""
        return KeyOrder(self.top, self.low, self.high)


def bits_of(dtype: np.dtype[Any]) -> np.dtype[np.unsignedinteger[Any]]:
    """The unsigned integers that hold the bits of a dtype.

    Raises
    ------
    ParameterError : neither bool nor integers nor real numbers of at most 64 bits.

    >>> bits_of(np.dtype("float32"))
    dtype('uint32')
    """
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ParameterError(f"a filter takes masks, integers or real numbers of up to 64 bits, found dtype {dtype}")
    return np.dtype(f"u{dtype.itemsize}")


def key_order(dtype: np.dtype[Any], keys: np.dtype[Any]) -> KeyOrder:
    """The order of a dtype in keys of at least as many bits.

    >>> order = key_order(np.dtype("int8"), np.dtype("uint8"))
    >>> [int(bits ^ (order.high if bits >= order.top else order.low)) for bits in (0x80, 0xFF, 0x00, 0x7F)]
    [0, 127, 128, 255]
    """
    bits = 8 * dtype.itemsize
    top, every, none = (keys.type(n) for n in (1 << (bits - 1), (1 << bits) - 1, 0))
    high, low = {"i": (top, top), "f": (every, top)}.get(dtype.kind, (none, none))
    return KeyOrder(top, high, low)


def in_order(bits: NDArray[Any], order: KeyOrder) -> NDArray[Any]:
    """The keys of bits or, in the order ``back``, the bits of keys: what the kernels compute voxel by voxel.

    >>> order = key_order(np.dtype("float32"), np.dtype("uint32"))
    >>> keys = in_order(np.float32([1, -1, 0]).view("u4"), order)
    >>> np.argsort(keys), in_order(keys, order.back).view("f4")
    (array([1, 2, 0]), array([ 1., -1.,  0.], dtype=float32))
    """
    keys: NDArray[Any] = bits ^ np.where(bits >= order.top, order.high, order.low)
    return keys


@njit(nogil=True, cache=True)
def load_keys(dst, rows, base, x, first, order):  # type: ignore[no-untyped-def]
    """Fill dst with the keys at the positions first, first + 1 ... of x (a Reach), from the row at base."""
    mirrored = min(max(x.before - first, 0), dst.size)
    true = min(max(x.before + x.stop - x.start - first, mirrored), dst.size)
    for i in range(mirrored):
        bits = rows.flat[base + x.voxels[first + i]]
        dst[i] = bits ^ (order.high if bits >= order.top else order.low)
    if true > mirrored:
        start = base + x.voxels[first + mirrored]
        src = rows.flat[start : start + true - mirrored]
        part = dst[mirrored:true]
        for i in range(part.size):
            bits = src[i]
            part[i] = bits ^ (order.high if bits >= order.top else order.low)
    for i in range(true, dst.size):
        bits = rows.flat[base + x.voxels[first + i]]
        dst[i] = bits ^ (order.high if bits >= order.top else order.low)


@njit(nogil=True, cache=True)
def store_keys(dst, keys, back):  # type: ignore[no-untyped-def]
    """Turn keys back into bits."""
    for i in range(dst.size):
        key = keys[i]
        dst[i] = key ^ (back.high if key >= back.top else back.low)
