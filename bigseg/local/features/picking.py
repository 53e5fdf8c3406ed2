"""Features of a few voxels: where they lie far apart, each is computed by itself, from no more than its halo."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from bigseg.grid import Box
from bigseg.local.features.stack import Stack
from bigseg.local.filters.linear import Float32
from bigseg.local.filters.reflect import Array, shape_of

CALL = 20_000
"""Voxels whose features cost as much time as beginning with a window of one, for one filter: 0.2 ms."""


def features_at(
    stack: Stack,
    arrays: Sequence[Array],
    keep: Sequence[slice],
    places: NDArray[np.int64],
    start: Sequence[int] = (),
    alone: bool | None = None,
) -> Float32:
    """The features of some voxels.

    Parameters
    ----------
    stack, arrays, keep, start : as of `Stack.tiles`.
    places : of the voxels in keep, in raster order; each once.
    alone : whether each voxel's features are computed by themselves; by default where that costs less. They have the
        same bits either way.

    Returns
    -------
    float32 (features, voxels), in the order of ``places``.

    Notes
    -----
    Costs the features of the smallest box that holds the voxels, or those of a box of the halo's size a voxel: for one
    voxel in 100,000 and 15 features of sigmas to 2 a tenth.

    Examples
    --------
    >>> from bigseg.local.features.filters import Filter
    >>> stack = Stack((Filter("intensity", name="intensity"),), 2)
    >>> features_at(stack, [np.arange(12).reshape(3, 4)], (slice(1, 3), slice(0, 4)), np.array([6, 1]))
    array([[10.,  5.]], dtype=float32)
    """
    out: Float32 = np.empty((len(stack.names), places.size), np.float32)
    if not places.size:
        return out
    where = np.unravel_index(places, shape_of(keep))
    low, high = tuple(int(axis.min()) for axis in where), tuple(int(axis.max()) + 1 for axis in where)
    inner = Box(*(tuple(k.start + p for k, p in zip(keep, end, strict=True)) for end in (low, high)))
    first = tuple(s + p for s, p in zip(tuple(start) or (0,) * stack.ndim, low, strict=True))
    index = np.ravel_multi_index([axis - p for axis, p in zip(where, low, strict=True)], inner.shape)
    del where
    if alone is None:
        alone = places.size * (CALL + prod(2 * d + 1 for d in stack.depth())) < inner.size
    if alone:
        for column, place in enumerate(index):
            at = tuple(int(p) for p in np.unravel_index(place, inner.shape))
            voxel = Box(*(tuple(a + p + n for a, p in zip(inner.start, at, strict=True)) for n in (0, 1)))
            outer = voxel.grow(stack.depth(), arrays[0].shape)
            origin = tuple(a + p for a, p in zip(first, at, strict=True))
            for tile in stack.tiles([array[outer.slices] for array in arrays], voxel.within(outer), origin):
                out[:, column] = tile.planes[:, 0]
        return out
    for tile in stack.tiles(arrays, inner.slices, first):
        here, beside = _in_tile(index, tile.part, inner.shape)
        out[:, here] = tile.planes[:, beside]
    return out


def picking_bytes(stack: Stack, outer: Sequence[int], inner: Sequence[int], dtypes: Sequence[str], voxels: int) -> int:
    """Bytes that `features_at` holds at most for so many voxels, its result included."""
    return stack.memory(outer, inner, dtypes) + (8 * len(stack.names) + 64) * voxels


def _in_tile(
    index: NDArray[np.int64], part: tuple[slice, ...], shape: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which voxels of a box lie in a tile, planes of the box or strips of their rows, and their places in it."""
    planes, rows = (slice(0, 1), *part)[-3:-1]
    width, plane = shape[-1], shape[-2] * shape[-1]
    here = np.flatnonzero((index >= planes.start * plane) & (index < planes.stop * plane))
    z, rest = np.divmod(index[here], plane)
    inside = (rest >= rows.start * width) & (rest < rows.stop * width)
    beside = (z - planes.start) * ((rows.stop - rows.start) * width) + rest - rows.start * width
    return here[inside], beside[inside]
