"""Medians of 3 x 3 and 3 x 3 x 3 voxels by exchanges of least and greatest: no branch, whole rows at a time.

The 27 voxels are sorted axis by axis, and what neighbours share is sorted once. Letters are voxels, digits ranks:

1. `_sort_three`: the three voxels along z, once for the 9 windows that hold them;
2. `_sort_column`: the three sorted triples along y to one sorted column of nine, once for three windows;
3. `_median_of_columns`: the median of three sorted columns. Sort each rank across them; of 27 voxels only 13 can
   still be the median, since the others have 14 voxels on one side (K. E. Batcher's merge does the rest)::

       rank in column   0  1  2  3  4  5  6  7  8
       least of three   .  .  .  .  .  p  p  p  p       . below the median
       middle           .  .  q  q  q  q  q  '  '       ' above the median
       greatest         r  r  r  r  '  '  '  '  '       median = 7th of p, q and r

98 exchanges of one kind or the other a voxel, 16 to 64 voxels an instruction. Since only least and greatest are
taken, it is right for all values if it is right for zeros and ones (D. E. Knuth, The Art of Computer Programming,
volume 3, 5.3.4), and the tests try all of these.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numba import njit

from bigseg.local.keys import KeyOrder, load_keys, store_keys
from bigseg.local.reflect import Array, Reach, Rows

_STRIP = 512  # voxels along x in work at once: rows of keys stay in L1, or L2 for 64 bits
# Rows lie at fixed distances in one array, so that the compiler sees that they do not overlap.
_1 = _STRIP + 2
_2, _3, _4, _5, _6, _7, _8 = (_1 * k for k in range(2, 9))

SIZES = ((1, 3, 3), (3, 3, 3))
_ROWS = {(1, 3, 3): 6, (3, 3, 3): 21}


def working_bytes(size: tuple[int, ...], itemsize: int) -> int:
    """Bytes of keys held at once."""
    return _ROWS[size] * _1 * itemsize


def median3(rows: Rows, reaches: tuple[Reach, Reach, Reach], order: KeyOrder, size: tuple[int, ...], out: Array) -> None:
    """Fill out, an array of bits, with the medians of boxes of a size in `SIZES`."""
    keys = np.empty(working_bytes(size, out.itemsize) // out.itemsize, out.dtype)
    if prod(size) == 9:
        _median_9(rows, *reaches, order, order.back, keys[:_3], keys[_3:], out)
    else:
        _median_27(rows, *reaches, order, order.back, keys[:_3], keys[_3 : 12 * _1], keys[12 * _1 :], out)
