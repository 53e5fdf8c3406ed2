"""A block with what a filter reads around it, as float32: margins beyond the volume's edge are mirrored.

Two rules are in use. ``reflect`` repeats the voxel at the edge (mode 'reflect' of scipy.ndimage, 'symmetric' of
numpy.pad), ``mirror`` does not (mode 'mirror' of scipy.ndimage, 'reflect' of numpy.pad)::

    reflect   c b a a b c d d c b
    mirror    d c b a b c d c b a

Images of two axes become stacks of rows: what streams plane by plane through a volume streams row by row there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.filters.linear import as_real
from bigseg.local.filters.reflect import Array, Indices, Reach, reach, rows_of

Float32 = NDArray[np.float32]
Three = tuple[int, int, int]


def mirror_reach(keep: slice, radius: int, n: int) -> Reach:
    """As `bigseg.local.filters.reflect.reach`, but the voxel at the edge is not repeated.

    >>> mirror_reach(slice(0, 2), 3, 4).voxels
    array([3, 2, 1, 0, 1, 2, 3, 2])
    """
    period = max(1, 2 * (n - 1))
    folded = np.arange(keep.start - radius, keep.stop + radius) % period
    return reach(keep, radius, n)._replace(voxels=np.minimum(folded, period - folded))


def planes_first(x: Array, keep: Sequence[slice]) -> tuple[Array, tuple[slice, slice, slice]]:
    """A volume as it is, an image as a stack of rows: three axes, the first and the last those of x.

    Raises
    ------
    ParameterError : not 1 to 3 axes, a ``keep`` that does not lie in the array, or a dtype that is not a number.

    >>> planes_first(np.zeros((4, 5)), (slice(1, 3), slice(0, 5)))[0].shape
    (4, 1, 5)
    """
    inside = [0 <= k.start <= k.stop <= n for k, n in zip(keep, x.shape, strict=False)]
    if not 1 <= x.ndim <= 3 or len(keep) != x.ndim or not all(inside):
        raise ParameterError(f"keep {tuple(keep)} does not lie in an array of 1 to 3 axes and shape {x.shape}")
    x = as_real(x)
    first, second, last = spread(keep, slice(0, 1))
    return x.reshape(spread(x.shape, 1)), (first, second, last)


def spread(items: Sequence[Any], one: Any) -> tuple[Any, Any, Any]:
    """Items of one to three axes for the axes of `planes_first`; ``one`` stands for the axis put in.

    >>> spread((5, 7), 1)
    (5, 1, 7)
    """
    if len(items) == 1:
        return one, one, items[0]
    first, *between, last = items
    return first, (between[0] if between else one), last


def padded(x: Array, reaches: tuple[Reach, Reach, Reach]) -> Float32:
    """The voxels that a filter reads, as float32.

    Parameters
    ----------
    x : array of three axes, any integer dtype, float32 or float64.
    reaches : along each axis the positions read, by `reflect.reach` or `mirror_reach`.

    Returns
    -------
    contiguous float32 array, a voxel for each position. Cost: about 1 ns a voxel.
    """
    out = np.empty(tuple(r.voxels.size for r in reaches), np.float32)
    rows = rows_of(x)
    z, y, last = (r.voxels for r in reaches)
    _read(rows.flat, rows.plane, rows.row, z, y, last, out)
    return out


@njit(nogil=True, cache=True)
def _read(flat: Array, plane: int, row: int, z: Indices, y: Indices, x: Indices, out: Float32) -> None:
    for k in range(z.size):
        for j in range(y.size):
            base = z[k] * plane + y[j] * row
            for i in range(x.size):
                out[k, j, i] = np.float32(flat[base + x[i]])
