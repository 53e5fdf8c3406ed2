"""Flow over heights: to which of its neighbours every voxel leads, and where it joins what leads elsewhere.

Foreground voxels are ordered by (height, then the smaller index in the volume is the higher): there are no
plateaus. Every voxel points to the highest of its neighbours that are higher than itself; voxels that lead to the
same peak are a basin (`bigseg.local.basins.drainage`). What is said of a voxel depends on the 26 voxels around it
alone.

A voxel m joins basins where the voxels around it that are higher than m fall apart: two higher neighbours that are
joined by higher voxels around m lead, above m, to basins that are joined already. So a code holds, beside the
pointer, one neighbour of every group of higher voxels but the pointer's own: in smooth heights very few voxels have
any, and no other pair of neighbours matters for which basins meet above which height::

    5 4 3     the higher voxels around 2 fall into {5 4 3} and {7}: it points to 7,
    1 2 1     and joins the basin of 5 to that of 7
    1 7 1

Code of a voxel: 0 in the background, else ``saddles << 5 | pointer + 1``, where neighbours are numbered in raster
order from 0, 13 being the voxel itself, and ``saddles`` has a bit for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.local.filters.reflect import Array, shape_of, three_axes

TOP = 65535
"""The greatest height."""
SELF = 13
"""Number of the voxel itself among those around it."""


def heights(mask: Array, distance: NDArray[np.float32], greatest: float) -> NDArray[np.uint16]:
    """Distances as 16-bit heights: 0 in the background, 1 to 65535 in the foreground.

    Parameters
    ----------
    mask : bool or integers; what is not 0 is foreground.
    distance : float32 of the same shape.
    greatest : the distance that becomes 65535; steps of a 65535th of it are told apart.

    >>> heights(np.array([0, 1, 1, 1]), np.array([1, 0, 2, 4], "float32"), 4.0)
    array([    0,     1, 32767, 65535], dtype=uint16)
    """
    out = np.empty(mask.shape, np.uint16)
    inside = np.ascontiguousarray(mask if mask.dtype.kind == "b" else mask != 0)
    flat = np.ascontiguousarray(distance, np.float32).reshape(-1)
    _heights(inside.view(np.uint8).reshape(-1), flat, np.float32(TOP / greatest), out.reshape(-1))
    return out


def flow(heights: NDArray[np.uint16], keep: Sequence[slice], connectivity: int) -> NDArray[np.uint32]:
    """The code of every voxel: where it points, and which basins it joins.

    Parameters
    ----------
    heights : uint16 array of 1 to 3 axes, 0 in the background.
    keep : the part that is wanted; around it lies one voxel, or the volume ends.
    connectivity : 1 to ndim, what neighbours are.

    Returns
    -------
    uint32 array of keep's shape, codes as above.

    Notes
    -----
    26 comparisons a voxel in vectors, the highest neighbour and the higher ones at once: 8 ns a voxel on one core.

    Examples
    --------
    >>> code = flow(np.array([0, 3, 2, 2, 5], "uint16"), (slice(0, 5),), 1)
    >>> pointers(code).astype(int) - 1 - SELF  # steps along x
    array([-14,   0,  -1,   1,   0])
    >>> code >> 5 == 1 << SELF - 1  # the voxel that joins the basins, by its neighbour to the left
    array([False, False, False,  True, False])
    """
    volume, (z, y, x) = three_axes(heights, keep)
    volume = np.ascontiguousarray(volume)
    out = np.empty(shape_of((z, y, x)), np.uint32)
    if out.size:
        lines = np.zeros((9, out.shape[2] + 2), np.uint32)
        work = np.zeros((2, out.shape[2]), np.uint32)
        _flow(volume, (z.start, y.start, x.start), connectivity, _allowed(connectivity), lines, work, out)
    return out.reshape(shape_of(keep))


def pointers(code: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The pointers alone: number of the neighbour that each voxel leads to, plus 1; 0 in the background.

    They are all that labels need, in a byte a voxel.

    >>> pointers(np.array([0, 14, 1 << 20 | 13], "uint32"))
    array([ 0, 14, 13], dtype=uint8)
    """
    return (code & np.uint32(31)).astype(np.uint8)


def _allowed(connectivity: int) -> NDArray[np.uint32]:
    """1 for each of the 27 that is a neighbour, or the voxel itself."""
    return np.array([sum(map(abs, d)) <= connectivity for d in product((-1, 0, 1), repeat=3)], np.uint32)


@njit(nogil=True, cache=True)
def _heights(mask, distance, scale, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        value = np.int32(distance[i] * scale)
        value = value if value < TOP else np.int32(TOP)
        value = value if value > 1 else np.int32(1)
        out[i] = np.uint16(value) if mask[i] != 0 else np.uint16(0)


@njit(nogil=True, cache=True)
def _flow(volume, start, connectivity, allowed, lines, work, out):  # type: ignore[no-untyped-def]
    planes, rows, columns = volume.shape
    depth, height, width = out.shape
    best, higher = work[0], work[1]
    x0 = start[2]
    low, high = min(1, x0), min(1, columns - x0 - width)
    wanted = np.uint32(0)
    for k in range(27):
        wanted |= allowed[k] << np.uint32(k)
    for k in range(depth):
        for j in range(height):
            for r in range(9):
                z, y = start[0] + k + r // 3 - 1, start[1] + j + r % 3 - 1
                line = lines[r]
                if 0 <= z < planes and 0 <= y < rows:
                    row = volume[z, y, x0 - low : x0 + width + high]
                    into = line[1 - low : 1 + width + high]
                    for i in range(row.size):
                        into[i] = np.uint32(np.uint32(row[i]) << np.uint32(5))
                else:
                    line[:] = np.uint32(0)
            centre = lines[4, 1 : 1 + width]
            for i in range(width):
                best[i] = centre[i] | np.uint32(SELF)
                higher[i] = np.uint32(0)
            for r in range(9):
                _look(lines[r], centre, np.uint32(3 * r), allowed, best, higher)
            _code(centre, best, higher, connectivity, wanted, out[k, j])


@njit(nogil=True, cache=True)
def _look(line, centre, first, allowed, best, higher):  # type: ignore[no-untyped-def]
    """Three voxels of the 27: ``height << 5 | 26 - number`` orders them, so the highest is the greatest."""
    n = best.size
    a, b, c = line[:n], line[1 : 1 + n], line[2 : 2 + n]
    la, lb, lc = np.uint32(26 - first), np.uint32(25 - first), np.uint32(24 - first)
    none, every = np.uint32(0), np.uint32(0xFFFFFFFF)
    ma = every if allowed[first] else none
    mb = every if allowed[first + 1] else none
    mc = every if allowed[first + 2] else none
    ba, bb, bc = np.uint32(1) << first, np.uint32(2) << first, np.uint32(4) << first
    for i in range(n):
        own = centre[i] | np.uint32(SELF)
        va, vb, vc = a[i] | la, b[i] | lb, c[i] | lc
        found = (ba if va > own else none) | (bb if vb > own else none) | (bc if vc > own else none)
        higher[i] |= found
        va, vb, vc = va & ma, vb & mb, vc & mc
        va = va if va > vb else vb
        vc = vc if vc > best[i] else best[i]
        best[i] = va if va > vc else vc


@njit(nogil=True, cache=True, inline="always")
def _along_x(bits):  # type: ignore[no-untyped-def]
    up = np.uint32(bits << np.uint32(1)) & np.uint32(0x6DB6DB6)
    return bits | up | (np.uint32(bits >> np.uint32(1)) & np.uint32(0x36DB6DB))


@njit(nogil=True, cache=True, inline="always")
def _along_y(bits):  # type: ignore[no-untyped-def]
    up = np.uint32(bits << np.uint32(3)) & np.uint32(0x7E3F1F8)
    return bits | up | (np.uint32(bits >> np.uint32(3)) & np.uint32(0x0FC7E3F))


@njit(nogil=True, cache=True, inline="always")
def _along_z(bits):  # type: ignore[no-untyped-def]
    up = np.uint32(bits << np.uint32(9)) & np.uint32(0x7FFFFFF)
    return bits | up | np.uint32(bits >> np.uint32(9))


@njit(nogil=True, cache=True, inline="always")
def _spread(bits, connectivity):  # type: ignore[no-untyped-def]
    """A group of the 27 and its neighbours among them."""
    if connectivity == 1:
        return _along_x(bits) | _along_y(bits) | _along_z(bits)
    if connectivity == 2:
        x, z = _along_x(bits), _along_z(bits)
        return _along_y(x | z) | _along_z(x)
    return _along_x(_along_y(_along_z(bits)))


@njit(nogil=True, cache=True)
def _code(centre, best, higher, connectivity, wanted, out):  # type: ignore[no-untyped-def]
    none = np.uint32(0)
    for i in range(out.size):  # three steps from the pointer's voxel reach most groups whole
        pointer = np.uint32(26) - (best[i] & np.uint32(31))
        group = np.uint32(np.uint32(1) << pointer)
        group = _spread(group, connectivity) & higher[i]
        group = _spread(group, connectivity) & higher[i]
        group = _spread(group, connectivity) & higher[i]
        rest = higher[i] & wanted & ~group
        higher[i] = higher[i] if rest != none else none
        out[i] = pointer + np.uint32(1) if centre[i] != none else none
    for i in range(out.size):
        if higher[i] != none and out[i] != none:
            out[i] |= np.uint32(_saddles(higher[i], out[i] - np.uint32(1), connectivity, wanted) << np.uint32(5))


@njit(nogil=True, cache=True)
def _saddles(higher, pointer, connectivity, wanted):  # type: ignore[no-untyped-def]
    """The first neighbour of every group of higher voxels but the pointer's."""
    none, one = np.uint32(0), np.uint32(1)
    found = none
    seed = np.uint32(one << pointer)
    rest = higher & wanted
    while seed != none:
        group = seed
        while True:
            more = _spread(group, connectivity) & higher
            if more == group:
                break
            group = more
        rest &= ~group
        seed = rest & np.uint32(~rest + one)
        found |= seed
    return found
