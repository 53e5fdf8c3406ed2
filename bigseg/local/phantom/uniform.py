"""Random voxels: each one an independent hash of the seed and its place. No object, no scale, no correlation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.local.phantom.hashing import fill_bits, row_keys

_VOXELS = 104  # a stream of hashes


def random_voxels(start: tuple[int, int, int], seed: int, out: NDArray[Any]) -> None:
    """Fill a box with evenly distributed values: all of those of uint8 and uint16, float32 from 0 to below 1.

    Parameters
    ----------
    start : the box's first voxel (z, y, x).
    seed : of the volume.
    out : uint8, uint16 or float32, to be filled.

    >>> out = np.empty((1, 1, 4), np.uint8)
    >>> random_voxels((0, 0, 0), 1, out)
    """
    real = out.dtype.kind == "f"
    shift = np.uint32(8 if real else 32 - 8 * out.dtype.itemsize)
    _fill(out, np.array(start), seed, shift, real, np.float32(2.0**-24))


@njit(nogil=True, cache=True)
def _fill(out, start, seed, shift, real, scale):  # type: ignore[no-untyped-def]
    bits = np.empty(out.shape[2], np.uint32)
    for k in range(out.shape[0]):
        for j in range(out.shape[1]):
            high, low = row_keys(seed, _VOXELS, start[0] + k, start[1] + j)
            fill_bits(bits, start[2], high, low)
            target = out[k, j]
            if real:
                for i in range(bits.size):
                    target[i] = np.float32(np.int32(bits[i] >> shift)) * scale
            else:
                for i in range(bits.size):
                    target[i] = bits[i] >> shift
