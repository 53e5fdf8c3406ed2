"""The distance of every voxel to each of some centres in the space of its features."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.linear import Float32

_PIECE = 1024  # voxels whose sums stay in the first cache while the features pass


def centre_distances(planes: Float32, centres: NDArray[np.float64]) -> Float32:
    """Distances to all centres, sums of squares in float64 in the order of the features.

    Parameters
    ----------
    planes : float32 (features, voxels).
    centres : float64 (clusters, features).

    Returns
    -------
    float32 (clusters, voxels); the same bits whatever voxels stand beside each other.

    Raises
    ------
    ParameterError : arrays that do not fit each other.
    ValuesError : NaN or infinite distances.

    Notes
    -----
    About 0.3 ns a voxel, feature and cluster on one core.

    Examples
    --------
    >>> centre_distances(np.float32([[0, 3], [0, 4]]), np.array([[0.0, 0.0], [3.0, 0.0]]))
    array([[0., 5.],
           [3., 4.]], dtype=float32)
    """
    if centres.ndim != 2 or planes.ndim != 2 or centres.shape[1] != planes.shape[0]:
        raise ParameterError(f"centres of shape {centres.shape}: found features of shape {planes.shape}")
    out = np.empty((centres.shape[0], planes.shape[1]), np.float32)
    _fill(np.ascontiguousarray(planes), np.ascontiguousarray(centres, np.float64), out)
    if not np.isfinite(out).all():
        raise ValuesError("NaN or infinite values among the features: check the volume and the steps before")
    return out


@njit(nogil=True, cache=True)
def _fill(planes, centres, out):  # type: ignore[no-untyped-def]
    features, n = planes.shape
    total = np.empty(_PIECE, np.float64)
    for first in range(0, n, _PIECE):
        count = min(_PIECE, n - first)
        for k in range(centres.shape[0]):
            total[:count] = 0.0
            for feature in range(features):
                centre = centres[k, feature]
                plane = planes[feature, first : first + count]
                for v in range(count):
                    away = np.float64(plane[v]) - centre
                    total[v] += away * away
            row = out[k, first : first + count]
            for v in range(count):
                row[v] = np.sqrt(total[v])
