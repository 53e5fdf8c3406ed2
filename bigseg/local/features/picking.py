"""Features of a few voxels: where they lie far apart, each is computed by itself, from no more than its halo."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from bigseg.local.features.stack import Stack
from bigseg.local.linear import Float32
from bigseg.local.reflect import Array

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
    Costs the features of all of keep, or those of a box of the halo's size a voxel: for one voxel in 100,000 and 15
    features of sigmas to 2 a tenth.

    Examples
    --------
    >>> from bigseg.local.features.filters import Filter
    >>> stack = Stack((Filter("intensity", name="intensity"),), 2)
    >>> features_at(stack, [np.arange(12).reshape(3, 4)], (slice(1, 3), slice(0, 4)), np.array([6, 1]))
    array([[10.,  5.]], dtype=float32)
    """
    shape = tuple(part.stop - part.start for part in keep)
    first = tuple(start) or (0,) * stack.ndim
    out: Float32 = np.empty((len(stack.names), places.size), np.float32)
    if not places.size:
        return out
    if alone is None:
        alone = places.size * (CALL + prod(2 * d + 1 for d in stack.depth())) < prod(shape)
    if alone:
        for column, place in enumerate(np.stack(np.unravel_index(places, shape), axis=1).tolist()):
            alone_at = tuple(slice(k.start + p, k.start + p + 1) for k, p in zip(keep, place, strict=True))
            box, voxel = _around(alone_at, stack.depth(), arrays[0].shape)
            origin = tuple(a + p for a, p in zip(first, place, strict=True))
            for tile in stack.tiles([array[box] for array in arrays], voxel, origin):
                out[:, column] = tile.planes[:, 0]
        return out
    where = np.unravel_index(places, shape)
    for tile in stack.tiles(arrays, keep, first):
        inside = np.ones(places.size, np.bool_)
        for axis, part in zip(where, tile.part, strict=True):
            inside &= (axis >= part.start) & (axis < part.stop)
        here = np.flatnonzero(inside)
        beside = [axis[here] - part.start for axis, part in zip(where, tile.part, strict=True)]
        out[:, here] = tile.planes[:, np.ravel_multi_index(beside, [p.stop - p.start for p in tile.part])]
    return out


def picking_bytes(stack: Stack, outer: Sequence[int], inner: Sequence[int], dtypes: Sequence[str], voxels: int) -> int:
    """Bytes that `features_at` holds at most for so many voxels, its result included."""
    return stack.memory(outer, inner, dtypes) + (8 * len(stack.names) + 64) * voxels


def _around(
    part: tuple[slice, ...], depth: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """A part with its halo, as far as the arrays reach, and where the part lies in that."""
    low = [max(0, p.start - d) for p, d in zip(part, depth, strict=True)]
    high = [min(n, p.stop + d) for p, d, n in zip(part, depth, shape, strict=True)]
    voxel = tuple(slice(p.start - a, p.stop - a) for p, a in zip(part, low, strict=True))
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), voxel
