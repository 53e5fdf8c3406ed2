"""Feature vectors of single voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.local.features.stack import Stack
from bigseg.local.linear import Float32


def rows_of(
    stack: Stack, arrays: Sequence[NDArray[Any]], keep: Sequence[slice], start: Sequence[int], place: NDArray[np.int64]
) -> Float32:
    """Features of some voxels.

    Parameters
    ----------
    arrays, keep, start : as of `Stack.tiles`.
    place : of the voxels in keep, in raster order.

    Returns
    -------
    float32 (features, voxels), in the order of ``place``.
    """
    shape = tuple(part.stop - part.start for part in keep)
    out = np.empty((len(stack.names), place.size), np.float32)
    if not place.size:
        return out
    places = np.unravel_index(place, shape)
    low = [int(item.min()) for item in places]
    high = [int(item.max()) + 1 for item in places]
    inner = tuple(slice(k.start + a, k.start + b) for k, a, b in zip(keep, low, high, strict=True))
    extent = tuple(b - a for a, b in zip(low, high, strict=True))
    row_of = np.full(extent, -1, np.int64)
    row_of[tuple(item - a for item, a in zip(places, low, strict=True))] = np.arange(place.size)
    for tile in stack.tiles(arrays, inner, tuple(s + a for s, a in zip(start, low, strict=True))):
        rows = row_of[tile.part].reshape(-1)
        here = np.flatnonzero(rows >= 0)
        out[:, rows[here]] = tile.planes[:, here]
    return out
