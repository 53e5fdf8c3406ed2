"""Places in raster order: of a box, and of the volume that it lies in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.grid import Box, Shape


def in_volume(places: NDArray[Any], box: Box, shape: Shape) -> NDArray[np.int64]:
    """Raster indices within a box as raster indices within the volume.

    Parameters
    ----------
    places : integers, 0 to the voxels of the box less 1.
    box : of voxels of the volume.
    shape : of the volume.

    >>> in_volume(np.array([0, 3]), Box((2, 4), (4, 7)), (10, 10))
    array([24, 34])
    """
    own = np.unravel_index(np.asarray(places, np.int64), box.shape)
    moved = tuple(place + start for place, start in zip(own, box.start, strict=True))
    return np.asarray(np.ravel_multi_index(moved, shape), np.int64)
