"""Growing labels: to every voxel whose nearest label is near enough, or step by step within a mask.

`nearest` is exact for Euclidean distances: the best label of a voxel is the least (square of the distance,
label) along x, then the least of these along y with the squares of dy added, then along z. Planes are held only
as long as a voxel of the plane being written can reach them::

    labels ──x──► line ──y──► plane, in a ring of 2 rz + 1 ──z──► out

`grow` takes steps: in each, every free voxel with a labelled voxel in its footprint takes the least label there.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numba import njit

from bigseg.errors import ParameterError
from bigseg.local.basins.nearest_keys import key_dtype, nearest_by_keys
from bigseg.local.filters.reflect import Array, shape_of, three_axes

_SLACK = 1e-12
_BLOCKED = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}


def nearest_reach(distance: float, sampling: Sequence[float]) -> tuple[int, ...]:
    """Voxels along each axis that lie within a distance.

    >>> nearest_reach(5.0, (2.0, 1.0))
    (2, 5)
    """
    return tuple(int(distance / step * (1 + _SLACK)) for step in sampling)


def nearest(labels: Array, distance: float, sampling: Sequence[float], keep: Sequence[slice]) -> Array:
    """Give every voxel of 0 the nearest label within a distance.

    Parameters
    ----------
    labels : bool or integer array of 1 to 3 axes; 0 is nobody's.
    distance : greatest distance between centres of voxels that is bridged, in units of ``sampling``.
    sampling : size of a voxel along each axis; 1 for distances in voxels.
    keep : the part of the array that is wanted; around it lie `nearest_reach` voxels, or the volume ends.

    Returns
    -------
    array of labels' dtype and keep's shape. Of labels at the same distance the smaller wins;
    skimage.segmentation.expand_labels is equal but at such voxels, where it depends on its order of search.

    Raises
    ------
    ParameterError : labels of another dtype, a negative distance, or not one sampling for each axis.

    Notes
    -----
    For each voxel 2 r + 1 comparisons along y and z, 4 along x: 11, 18 and 25 ns a voxel of a volume on one core for a
    distance of 2, 5 and 10 (scikit-image: 200). 12 bytes for each voxel of 2 r + 1 planes. Unsigned labels of at most
    32 bits 1 apart along every axis take less (`bigseg.local.basins.nearest_keys`): 4 ns for bytes and a distance of 4.

    Examples
    --------
    >>> nearest(np.array([2, 0, 0, 0, 1, 0, 0, 0]), 2.0, (1.0,), (slice(0, 8),))
    array([2, 2, 1, 1, 1, 1, 1, 0])
    """
    if labels.dtype.kind not in "biu":
        raise ParameterError(f"labels are bool or integers, not {labels.dtype}: put a threshold before it")
    if not 0 <= distance < np.inf or len(sampling) != labels.ndim or not all(step > 0 for step in sampling):
        raise ParameterError(
            f"distance {distance} with sampling {tuple(sampling)}: expected 0 or more and {labels.ndim} sizes above 0"
        )
    volume, (z, y, x) = three_axes(labels, keep)
    volume = np.ascontiguousarray(volume.view(np.uint8) if volume.dtype.kind == "b" else volume)
    steps = (*(1.0,) * (3 - labels.ndim), *(float(step) for step in sampling))
    reach = (*(0,) * (3 - labels.ndim), *nearest_reach(distance, sampling))
    out = np.empty(shape_of((z, y, x)), volume.dtype)
    places = (z.start, y.start, x.start)
    kind = _keys(volume.dtype, distance, sampling)
    if out.size and kind is not None:
        nearest_by_keys(volume, places, reach, distance, kind, out)
    elif out.size:
        slots = min(2 * reach[0] + 1, volume.shape[0])
        rows = min(out.shape[1] + 2 * reach[1], volume.shape[1])
        far, label = np.empty((slots, *out.shape[1:])), np.empty((slots, *out.shape[1:]), volume.dtype)
        line, own = np.empty((rows, out.shape[2])), np.empty((rows, out.shape[2]), volume.dtype)
        _nearest(volume, places, steps, reach, float(distance), line, own, far, label, np.empty(out.shape[2]), out)
    return out.reshape(shape_of(keep)).view(labels.dtype)


def nearest_working_bytes(
    outer: Sequence[int], inner: Sequence[int], dtype: np.dtype[Any], distance: float, sampling: Sequence[float]
) -> int:
    """Bytes that `nearest` holds beside its input of a dtype, and its result.

    >>> nearest_working_bytes((74, 74, 74), (64, 64, 64), np.dtype("u4"), 10.0, (2.0,) * 3)
    598608
    """
    more = 3 - len(outer)
    (depth, rows, _), (_, height, width) = ((1,) * more + tuple(n) for n in (outer, inner))
    reach = nearest_reach(distance, sampling)
    planes = min(2 * reach[0] + 1, depth) if not more else 1
    kind = _keys(dtype, distance, sampling)
    each = 8 + dtype.itemsize if kind is None else np.dtype(kind).itemsize
    return (planes * height * width + rows * width) * each + 16 * (width + max(reach))


def _keys(dtype: np.dtype[Any], distance: float, sampling: Sequence[float]) -> Any:
    """Dtype of the keys by which labels are found, None where they have none."""
    bare = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    apart = all(step == 1 for step in sampling)
    return key_dtype(bare, nearest_reach(distance, sampling), distance) if apart else None


def grow(labels: Array, footprint: Array, iterations: int, mask: Array | None = None) -> Array:
    """Let labels grow into the free voxels of a mask, one footprint a step.

    Parameters
    ----------
    labels : bool or integer array of 1 to 3 axes; 0 is free. What is labelled stays, within the mask or not.
    footprint : bool array of as many axes, of odd lengths, the voxel itself in the middle.
    iterations : number of steps.
    mask : bool array of the same shape: the voxels that may be taken; None for all.

    Returns
    -------
    array of the same shape and dtype. A voxel with several labels in its footprint takes the smallest. Of masks:
    iterated conditional dilations, ``x = skimage.morphology.dilation(x, footprint) & mask``, where x lies within the
    mask; the footprint is used as it stands, while `bigseg.dilation` turns it round.

    Raises
    ------
    ParameterError : labels of another dtype, shapes that do not fit, or fewer than 0 or more than 65,533 steps.

    Notes
    -----
    Each step visits the voxels that the step before took, and scans the rest at the speed of memory: 10 steps by a
    ball of 1.8, which fill half a volume, take 40 ns a voxel on one core. One byte a voxel (two for more than 253
    steps) beside input and result.

    Examples
    --------
    >>> free = np.array([True, True, True, True, False, True])
    >>> grow(np.array([3, 0, 0, 0, 0, 0]), np.ones(3, bool), 9, free)
    array([3, 3, 3, 3, 0, 0])
    """
    if labels.dtype.kind not in "biu":
        raise ParameterError(f"labels are bool or integers, not {labels.dtype}: put a threshold before it")
    footprint = np.asarray(footprint, bool)
    if footprint.ndim != labels.ndim or any(n % 2 == 0 for n in footprint.shape):
        raise ParameterError(f"footprint of shape {footprint.shape}: expected {labels.ndim} odd lengths")
    if mask is not None and mask.shape != labels.shape:
        raise ParameterError(f"a mask of shape {mask.shape} for labels of {labels.shape}")
    if not 0 <= iterations <= 65533:
        raise ParameterError(f"iterations {iterations}: expected 0 to 65,533")
    volume, _ = three_axes(labels, tuple(slice(0, n) for n in labels.shape))
    out = np.array(volume.view(np.uint8) if volume.dtype.kind == "b" else volume, order="C", copy=True)
    if not out.size:
        return labels.copy()
    step = step_dtype(iterations)
    taken = np.zeros(out.shape, step)
    if mask is not None:
        taken[~mask.reshape(out.shape)] = _BLOCKED[step]
    taken[out != 0] = 1
    around = footprint.reshape((1,) * (3 - labels.ndim) + footprint.shape)
    offsets = np.array(around.shape) // 2 - np.argwhere(around)  # from a label to the voxels that look at it
    _grow(out, taken, offsets[np.any(offsets != 0, axis=1)], iterations)
    return out.reshape(labels.shape).view(labels.dtype)


def step_dtype(iterations: int) -> np.dtype[Any]:
    """What holds in which step a voxel was taken.

    >>> step_dtype(10), step_dtype(300)
    (dtype('uint8'), dtype('uint16'))
    """
    return np.dtype(np.uint8) if iterations <= 253 else np.dtype(np.uint16)


def grow_working_bytes(outer: Sequence[int], itemsize: int, iterations: int) -> int:
    """Bytes that `grow` holds beside its inputs, the result's own copy of them included.

    >>> grow_working_bytes((64, 64, 64), 4, 10)
    1572864
    """
    return prod(outer) * (itemsize + step_dtype(iterations).itemsize + 1)


@njit(nogil=True, cache=True)
def _grow(out, taken, offsets, iterations):  # type: ignore[no-untyped-def]
    nz, ny, nx = out.shape
    labels, when = out.reshape(-1), taken.reshape(-1)
    away = np.empty(len(offsets), np.int64)
    rz = ry = rx = 0
    for k in range(len(offsets)):
        away[k] = (offsets[k, 0] * ny + offsets[k, 1]) * nx + offsets[k, 2]
        rz, ry, rx = max(rz, abs(offsets[k, 0])), max(ry, abs(offsets[k, 1])), max(rx, abs(offsets[k, 2]))
    for step in range(1, iterations + 1):
        here = taken.dtype.type(step)
        following = taken.dtype.type(step + 1)
        more = False
        for z in range(nz):
            for y in range(ny):
                row = taken[z, y]
                some = False
                for x in range(nx):
                    some |= row[x] == here
                if not some:
                    continue
                inside = rz <= z < nz - rz and ry <= y < ny - ry
                for x in range(nx):
                    if row[x] != here:
                        continue
                    at = (z * ny + y) * nx + x
                    label = labels[at]
                    free = inside and rx <= x < nx - rx
                    for k in range(len(offsets)):
                        if not free:
                            c, b, a = z + offsets[k, 0], y + offsets[k, 1], x + offsets[k, 2]
                            if not (0 <= c < nz and 0 <= b < ny and 0 <= a < nx):
                                continue
                        there = at + away[k]
                        if when[there] == 0:
                            when[there] = following
                            labels[there] = label
                            more = True
                        elif when[there] == following and label < labels[there]:
                            labels[there] = label
        if not more:
            break


@njit(nogil=True, cache=True)
def _nearest(volume, start, steps, reach, distance, line, own, far, label, best, out):  # type: ignore[no-untyped-def]
    nz = volume.shape[0]
    slots = far.shape[0]
    depth, height, width = out.shape
    following = max(0, start[0] - reach[0])
    for k in range(depth):
        z = start[0] + k
        while following < min(nz, z + reach[0] + 1):
            slot = following % slots
            _plane(volume[following], start, steps, reach, line, own, far[slot], label[slot])
            following += 1
        for j in range(height):
            chosen = out[k, j]
            for i in range(width):
                best[i] = far[z % slots, j, i]
                chosen[i] = label[z % slots, j, i]
            for d in range(1, reach[0] + 1):
                away = d * steps[0]
                if z - d >= 0:
                    _closer(best, chosen, far[(z - d) % slots, j], label[(z - d) % slots, j], away * away)
                if z + d < nz:
                    _closer(best, chosen, far[(z + d) % slots, j], label[(z + d) % slots, j], away * away)
            for i in range(width):
                if np.sqrt(best[i]) > distance:
                    chosen[i] = 0


@njit(nogil=True, cache=True)
def _plane(plane, start, steps, reach, line, own, far, label):  # type: ignore[no-untyped-def]
    """The least (square of distance, label) within a plane for each voxel that is wanted."""
    ny = plane.shape[0]
    height, width = far.shape
    first = max(0, start[1] - reach[1])
    last = min(ny, start[1] + height + reach[1])
    for y in range(first, last):
        _row(plane[y], start[2], steps[2], reach[2], line[y - first], own[y - first])
    for j in range(height):
        y = start[1] + j
        best, chosen = far[j], label[j]
        for i in range(width):
            best[i] = line[y - first, i]
            chosen[i] = own[y - first, i]
        for d in range(1, reach[1] + 1):
            away = d * steps[1]
            if y - d >= first:
                _closer(best, chosen, line[y - d - first], own[y - d - first], away * away)
            if y + d < last:
                _closer(best, chosen, line[y + d - first], own[y + d - first], away * away)


@njit(nogil=True, cache=True)
def _row(row, start, step, reach, line, own):  # type: ignore[no-untyped-def]
    """The nearest labels to the left and right along a row."""
    nothing = row.dtype.type(0)
    width = line.size
    at, found = 0, nothing
    for x in range(max(0, start - reach), start + width):
        if row[x] != nothing:
            at, found = x, row[x]
        if x >= start:
            away = (x - at) * step
            line[x - start] = away * away if found != nothing else np.inf
            own[x - start] = found
    at, found = 0, nothing
    for x in range(min(row.size, start + width + reach) - 1, start - 1, -1):
        if row[x] != nothing:
            at, found = x, row[x]
        if x < start + width and found != nothing:
            away = (at - x) * step
            away *= away
            i = x - start
            if away < line[i] or (away == line[i] and found < own[i]):
                line[i] = away
                own[i] = found


@njit(nogil=True, cache=True)
def _closer(best, chosen, line, own, more):  # type: ignore[no-untyped-def]
    for i in range(best.size):
        away = line[i] + more
        take = (away < best[i]) | ((away == best[i]) & (own[i] < chosen[i]))
        best[i] = away if take else best[i]
        chosen[i] = own[i] if take else chosen[i]
