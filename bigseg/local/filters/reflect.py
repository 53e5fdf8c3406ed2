"""Which voxels a filter reads, and what stands in for those beyond the volume's edge.

A filter of radius r reads r voxels to either side of each voxel that is wanted (``keep``). Where that leaves
the array it has reached a true edge of the volume, and the image is mirrored there, edge voxels twice (the
mode 'reflect' of scipy.ndimage), over and over where the radius exceeds the axis::

    an axis of 6 voxels         0 1 2 3 4 5
    keep = slice(1, 6)            1 2 3 4 5
    read with radius 2        0 0 1 2 3 4 5 5 4       Reach.voxels
                              └ before = 1  └─┴ mirrored too

Arrays are read where they lie, row by row: any view whose last axis is contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.components.bitmask import readable_rows

Array = NDArray[Any]
Indices = NDArray[np.int64]


class Reach(NamedTuple):
    """What a filter reads along one axis.

    voxels: what is read for each position from ``keep.start - radius`` to ``keep.stop + radius``;
    start, stop: the stretch of voxels that are read at all; before: mirrored positions that precede it.
    """

    voxels: Indices
    start: int
    stop: int
    before: int


class Rows(NamedTuple):
    """An array of three axes as rows in flat memory: voxel (z, y, x) is ``flat[z * plane + y * row + x]``."""

    flat: Array
    plane: int
    row: int


def reach(keep: slice, radius: int, n: int) -> Reach:
    """What a filter of a radius reads along an axis of n voxels to compute those in ``keep``.

    >>> reach(slice(0, 2), 3, 4)
    Reach(voxels=array([2, 1, 0, 0, 1, 2, 3, 3]), start=0, stop=4, before=3)
    """
    positions = np.arange(keep.start - radius, keep.stop + radius)
    folded = positions % (2 * n)
    start, stop = max(0, keep.start - radius), min(n, keep.stop + radius)
    return Reach(np.minimum(folded, 2 * n - 1 - folded), start, stop, max(0, radius - keep.start))


def working_bytes(inner: Sequence[int], size: Sequence[int], then: int) -> int:
    """Most bytes held by the reaches of a filter of a size, and by ``then`` bytes once they are made.

    >>> working_bytes((256, 256, 256), (3, 3, 3), 21588)
    37020
    """
    positions = [n + s - 1 for n, s in zip(inner, size, strict=True)]
    # An index takes 24 bytes more a position while it is made, a kernel 4 a tap, Python's objects 6 KiB.
    return 12 * sum(positions) + max(24 * max(positions), then) + 6144


def three_axes(x: Array, keep: Sequence[slice]) -> tuple[Array, tuple[slice, slice, slice]]:
    """An array and its ``keep`` with axes of one voxel put before them.

    Raises
    ------
    ParameterError : not 1 to 3 axes, or a ``keep`` that does not lie in the array.
    """
    if not 1 <= x.ndim <= 3:
        raise ParameterError(f"a filter takes arrays of 1 to 3 axes, found shape {x.shape}")
    inside = [0 <= k.start <= k.stop <= n for k, n in zip(keep, x.shape, strict=False)]
    if len(keep) != x.ndim or not all(inside):
        raise ParameterError(f"keep {tuple(keep)} does not lie in an array of shape {x.shape}")
    more = 3 - x.ndim
    z, y, x_ = (slice(0, 1),) * more + tuple(keep)
    return x.reshape((1,) * more + x.shape), (z, y, x_)


def shape_of(keep: Sequence[slice]) -> tuple[int, ...]:
    """Voxels along each axis of ``keep``.

    >>> shape_of((slice(2, 5), slice(0, 9)))
    (3, 9)
    """
    return tuple(k.stop - k.start for k in keep)


def rows_of(x: Array) -> Rows:
    """Rows of an array of three axes, without a copy if its last axis is contiguous and its bytes native."""
    flat, (plane, row) = readable_rows(x)
    return Rows(flat, plane, row)


@njit(nogil=True, cache=True)
def mirror_row(line, x):  # type: ignore[no-untyped-def]
    """Fill what lies beyond the edge of a row that holds what a `Reach` reads, from its position ``before`` on."""
    for i in range(x.before):
        line[i] = line[x.before + x.voxels[i] - x.start]
    for i in range(x.before + x.stop - x.start, line.size):
        line[i] = line[x.before + x.voxels[i] - x.start]
