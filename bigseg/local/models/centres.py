"""Clusters by their centres: the nearest centre of every voxel, and the exact means of the voxels of each.

Squared distances are added feature by feature, in the same order for every voxel, so neither the cut of a volume nor
what stands beside a voxel changes a bit; in float32 to find the nearest centre, in float64 where distances are wanted.
Means are found from whole numbers: a value becomes a multiple of 2**-power, 24 binary digits below the greatest of a
sample, and sums of these add up in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import frexp
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.filters.linear import Float32

MOST = 255
"""Clusters at most: labels are uint8, and one value is left for what belongs to none."""
NONE = 255
"""The place of a voxel that counts nowhere."""
DIGITS, ROOM = 24, 14
"""Binary digits of the greatest value of a sample; how many more a value may have before it is taken as that many."""
_LOW = (1 << 32) - 1
_PIECE, _CENTRES = 1024, 8  # voxels and centres whose distances stay in the first cache while the features pass


class Near(NamedTuple):
    """For every voxel the place of the nearest centre, and the squared distance to it."""

    places: NDArray[np.uint8]
    squares: Float32


def nearest_centre(planes: Float32, centres: Float32) -> Near:
    """The nearest centre of every voxel, of several at one distance the first.

    Parameters
    ----------
    planes : float32 (features, voxels).
    centres : float32 (clusters, features).

    Returns
    -------
    Near : places uint8, from 0 on, and squared distances float32, within 1e-7 times the number of features.

    Raises
    ------
    ParameterError : arrays that do not fit each other, or more than 255 centres.
    ValuesError : NaN or infinite distances.

    Notes
    -----
    0.25 ns a voxel and feature, and 0.06 to 0.09 for each cluster, on one core. Places are scikit-learn's ``predict``
    wherever two centres are not as near as the rounding of its ``c * c - 2 * c * x`` in float32.

    Examples
    --------
    >>> nearest_centre(np.float32([[0, 1, 5]]), np.float32([[0], [2], [4]]))
    Near(places=array([0, 0, 2], dtype=uint8), squares=array([0., 1., 1.], dtype=float32))
    """
    if planes.ndim != 2 or centres.ndim != 2 or planes.shape[0] != centres.shape[1] or not 0 < len(centres) <= MOST:
        raise ParameterError(
            f"features of shape {planes.shape} and centres of shape {centres.shape}: expected a row of features each "
            f"for 1 to {MOST} centres; compute the features that the clusters were found with"
        )
    found = Near(np.empty(planes.shape[1], np.uint8), np.empty(planes.shape[1], np.float32))
    _nearest(np.ascontiguousarray(planes), np.ascontiguousarray(centres, np.float32), *found)
    if not np.isfinite(found.squares).all():
        raise ValuesError("NaN, infinite or too large values among the features: check the volume and the steps before")
    return found


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
    _all(np.ascontiguousarray(planes), np.ascontiguousarray(centres, np.float64), out)
    if not np.isfinite(out).all():
        raise ValuesError("NaN or infinite values among the features: check the volume and the steps before")
    return out


def powers_of(planes: Float32) -> tuple[int, ...]:
    """For each feature the power of two by which its values are multiplied before they become whole numbers.

    >>> powers_of(np.float32([[0.5, -3], [0, 0]]))
    (22, 24)
    """
    return tuple(DIGITS - frexp(float(np.abs(row).max(initial=0.0)))[1] for row in planes)


def empty_members(clusters: int, features: int) -> dict[str, NDArray[np.int64]]:
    """Sums over no voxel: counts (clusters), and sums in two parts (clusters, features, 2)."""
    return {"counts": np.zeros(clusters, np.int64), "sums": np.zeros((clusters, features, 2), np.int64)}


def add_members(
    found: dict[str, NDArray[np.int64]], planes: Float32, places: NDArray[np.uint8], powers: Sequence[int]
) -> None:
    """Add voxels to the sums of their clusters; the sums of parts of a volume add up.

    Parameters
    ----------
    found : from `empty_members`.
    planes : float32 (features, voxels), at most 2**25 voxels.
    places : of each voxel's cluster; `NONE`: not counted.
    powers : from `powers_of`. Greater values than 2**14 times the sample's greatest count as that.

    Notes
    -----
    1.3 ns a voxel and feature on one core.
    """
    clusters, features, _ = found["sums"].shape
    sums = np.zeros((clusters, features), np.int64)
    scales = np.array([2.0**power for power in powers])
    _add(np.ascontiguousarray(planes), places, scales, float(1 << DIGITS + ROOM), sums)
    found["counts"] += np.bincount(places, minlength=NONE + 1)[:clusters]
    found["sums"][..., 0] += sums >> 32
    found["sums"][..., 1] += sums & _LOW


def means_of(found: dict[str, NDArray[np.int64]], powers: Sequence[int], before: Float32) -> Float32:
    """The means of the clusters, rounded once; a cluster without a voxel stays where it was.

    Parameters
    ----------
    found : sums over all voxels.
    powers : those the sums were made with.
    before : float32 (clusters, features), the centres until now.

    Examples
    --------
    >>> sums = empty_members(2, 1)
    >>> add_members(sums, np.float32([[1, 2, 4, 9]]), np.uint8([0, 0, 0, NONE]), (20,))
    >>> means_of(sums, (20,), np.float32([[0], [7]])).tolist()
    [[2.3333332538604736], [7.0]]
    """
    out = before.copy()
    for cluster, count in enumerate(found["counts"].tolist()):
        for feature, power in enumerate(powers if count else ()):
            high, low = (int(part) for part in found["sums"][cluster, feature])
            total = (high << 32) + low
            out[cluster, feature] = total / (count << power) if power >= 0 else (total << -power) / count
    return out


@njit(nogil=True, cache=True)
def _nearest(planes, centres, places, squares):  # type: ignore[no-untyped-def]
    work = np.empty((_CENTRES, _PIECE), np.float32)
    for start in range(0, squares.size, _PIECE):
        stop = min(start + _PIECE, squares.size)
        best, place = squares[start:stop], places[start:stop]
        best[:] = np.inf  # what nothing is nearer than is refused: NaN, infinite
        place[:] = 0
        for first in range(0, centres.shape[0], _CENTRES):
            count = min(_CENTRES, centres.shape[0] - first)
            _distances(planes, start, best.size, centres[first : first + count], work)
            for k in range(count):
                other = work[k, : best.size]
                for v in range(best.size):
                    nearer = other[v] < best[v]
                    place[v] = np.uint8(first + k) if nearer else place[v]
                    best[v] = other[v] if nearer else best[v]


@njit(nogil=True, cache=True)
def _all(planes, centres, out):  # type: ignore[no-untyped-def]
    work = np.empty((_CENTRES, _PIECE), np.float64)
    for start in range(0, out.shape[1], _PIECE):
        voxels = min(_PIECE, out.shape[1] - start)
        for first in range(0, centres.shape[0], _CENTRES):
            count = min(_CENTRES, centres.shape[0] - first)
            _distances(planes, start, voxels, centres[first : first + count], work)
            for k in range(count):
                row, total = out[first + k, start : start + voxels], work[k, :voxels]
                for v in range(voxels):
                    row[v] = np.sqrt(total[v])


@njit(nogil=True, cache=True)
def _distances(planes, start, voxels, centres, out):  # type: ignore[no-untyped-def]
    """Squared distances to some centres, in the dtype of out: four features at a time stay in the first cache."""
    features = planes.shape[0]
    whole = features - features % 4
    stop = start + voxels
    for k in range(centres.shape[0]):
        out[k, :voxels] = 0
    for f in range(0, whole, 4):
        p0, p1, p2, p3 = (
            planes[f, start:stop],
            planes[f + 1, start:stop],
            planes[f + 2, start:stop],
            planes[f + 3, start:stop],
        )
        for k in range(centres.shape[0]):
            c0, c1, c2, c3 = centres[k, f], centres[k, f + 1], centres[k, f + 2], centres[k, f + 3]
            row = out[k, :voxels]
            for v in range(voxels):
                d0, d1, d2, d3 = p0[v] - c0, p1[v] - c1, p2[v] - c2, p3[v] - c3
                row[v] = (((row[v] + d0 * d0) + d1 * d1) + d2 * d2) + d3 * d3
    for f in range(whole, features):
        p0 = planes[f, start:stop]
        for k in range(centres.shape[0]):
            c0, row = centres[k, f], out[k, :voxels]
            for v in range(voxels):
                d0 = p0[v] - c0
                row[v] = row[v] + d0 * d0


@njit(nogil=True, cache=True)
def _add(planes, places, scales, most, sums):  # type: ignore[no-untyped-def]
    for f in range(planes.shape[0]):
        plane, scale = planes[f], scales[f]
        for v in range(plane.size):
            place = places[v]
            if place != NONE:
                value = np.rint(np.float64(plane[v]) * scale)
                sums[place, f] += np.int64(min(max(value, -most), most))
