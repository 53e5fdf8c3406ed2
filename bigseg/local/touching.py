"""Which runs touch: the pairs of runs of neighbouring bundles, united as they are found.

What touches is read off two words: bits set in both, or in both after a shift by one voxel where the connectivity
reaches diagonally. Between two starts of either bundle every bit means the same pair of runs, so one is enough.
Most pairs across planes need no look at all, since a path through the row before joins them already::

    plane z-1   D ── C        A: this row, B: row before, C and D: the same rows of the plane before.
                │    ┆        Where all four are set, A-B, B-D and D-C are joined elsewhere: A-C is left out.
    plane z     B ── A        A-D needs a look only where neither B nor C is set.

Trees are united as M. Rem did it (E. W. Dijkstra, A Discipline of Programming, 1976, chapter 23), which Patwary,
Blair and Manne (2010, Experiments on union-find algorithms) found the fastest of 55 forms. The smallest run of a
tree is its root.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.local.bitmask import Array, readable_rows
from bigseg.local.runs import Runs
from bigseg.local.words import NONE, ONE, TOP, WORD, before_next, equal, inlined, kernel, lowest, popcount, starts_up_to

_NOBODY = np.uint64(0xFFFFFFFF)
# How far a face reaches along x: facing columns; also the next column of the same row; or of any of its rows.
_FACING, _SAME_ROW, _ANY_ROW = 0, 1, 2


def unite_runs(runs: Runs, parent: NDArray[np.uint32], connectivity: int) -> None:
    """Unite the runs of a mask that touch.

    Parameters
    ----------
    runs : from `find_runs` with the same connectivity.
    parent : for each run a run of its tree with a smaller number, or itself; changed in place.
    connectivity : 1, 2 or 3.
    """
    nz, ny, _ = runs.mask.shape
    rows = runs.mask.rows
    words = rows.reshape(-1), runs.start.reshape(-1), runs.before.reshape(-1), parent
    if connectivity == 1:
        _unite_rows(*words, nz, ny, rows.shape[1])
    elif connectivity == 2:
        _unite_bundles(*words, nz, ny, rows.shape[1], 1, _SAME_ROW, _FACING)
    else:
        _unite_bundles(*words, nz, ny, rows.shape[1], 2, _ANY_ROW, _ANY_ROW)


def unite_equal_runs(runs: Runs, values: Array, parent: NDArray[np.uint32], connectivity: int) -> None:
    """Unite the runs of equal values that touch; as `unite_runs`, for runs from `find_equal_runs`."""
    flat, strides = readable_rows(values.view(np.uint8) if values.dtype.kind == "b" else values)
    words = runs.mask.rows, runs.start, runs.before, parent
    room = np.zeros(2 * WORD, flat.dtype)
    _unite_equal(*words, flat, strides, runs.mask.shape, connectivity, room)


@inlined
def _join(parent: Any, a: Any, b: Any) -> None:
    above, other = np.uint64(parent[a]), np.uint64(parent[b])
    while above != other:
        if above < other:
            parent[b] = above
            if b == other:
                break
            b = other
            other = np.uint64(parent[b])
        else:
            parent[a] = other
            if a == above:
                break
            a = above
            above = np.uint64(parent[a])


@inlined
def _join_touching(touch: Any, a: Any, b: Any, start: Any, before: Any, parent: Any, pair: Any) -> Any:
    """Join runs of words ``a`` and ``b`` at the bits of ``touch``; ``pair`` is the pair joined last."""
    starts_a, starts_b = start[a], start[b]
    either = starts_a | starts_b
    from_a, from_b = np.uint64(before[a]) - ONE, np.uint64(before[b]) - ONE
    last_a, last_b = pair
    while touch:
        run_a = from_a + starts_up_to(starts_a, touch)
        run_b = from_b + starts_up_to(starts_b, touch)
        if run_a != last_a or run_b != last_b:
            last_a, last_b = run_a, run_b
            _join(parent, run_a, run_b)
        touch ^= before_next(touch, either)
    return last_a, last_b


@kernel
def _unite_rows(rows: Any, start: Any, before: Any, parent: Any, nz: int, ny: int, words: int) -> None:
    """Connectivity 1: facing voxels of the row before and of the plane before."""
    step, plane = np.uint64(words), np.uint64(words * ny)
    empty = np.uint64(nz) * plane
    for z in range(nz):
        for y in range(ny):
            a = np.uint64(z) * plane + np.uint64(y) * step
            b = a - step if y > 0 else empty
            d = b - plane if y > 0 else empty
            if y > 0:
                pair = _NOBODY, _NOBODY
                for w in range(step):
                    touch = rows[a + w] & rows[b + w]
                    if touch:
                        pair = _join_touching(touch, b + w, a + w, start, before, parent, pair)
            if z > 0:
                c = a - plane
                pair = _NOBODY, _NOBODY
                for w in range(step):
                    touch = rows[a + w] & rows[c + w] & ~(rows[b + w] & rows[d + w])
                    if touch:
                        pair = _join_touching(touch, c + w, a + w, start, before, parent, pair)


@inlined
def _join_faces(words: Any, step: Any, a: Any, b: Any, reach: int, around: Any, near: Any) -> None:
    """Join the runs of two bundles across the faces that they turn to each other.

    words: rows, start, before and parent; a, b: offset of the bundle and of the two rows of its face; around: rows
    D, B, C, A of the module's drawing, all set where the pair is joined elsewhere; near: rows of bundles that
    touch both, set where the pair is joined through them.
    """
    rows, start, before, parent = words
    pair = _NOBODY, _NOBODY
    last_a0, last_a1, last_b0, last_b1 = NONE, NONE, NONE, NONE
    for w in range(step):
        a0, a1, b0, b1 = rows[a[1] + w], rows[a[2] + w], rows[b[1] + w], rows[b[2] + w]
        touch = (a0 | a1) & (b0 | b1)
        if reach == _SAME_ROW:
            touch |= (a0 << ONE | last_a0 >> TOP) & b0 | a0 & (b0 << ONE | last_b0 >> TOP)
            touch |= (a1 << ONE | last_a1 >> TOP) & b1 | a1 & (b1 << ONE | last_b1 >> TOP)
        elif reach == _ANY_ROW:
            touch |= ((a0 | a1) << ONE | (last_a0 | last_a1) >> TOP) & (b0 | b1)
            touch |= (a0 | a1) & ((b0 | b1) << ONE | (last_b0 | last_b1) >> TOP)
        last_a0, last_a1, last_b0, last_b1 = a0, a1, b0, b1
        touch &= ~(rows[around[0] + w] & rows[around[1] + w] & rows[around[2] + w] & rows[around[3] + w])
        touch &= ~(rows[near[0] + w] | rows[near[1] + w])
        if touch:
            pair = _join_touching(touch, a[0] + w, b[0] + w, start, before, parent, pair)


@kernel
def _unite_bundles(
    rows: Any, start: Any, before: Any, parent: Any, nz: int, ny: int, words: int, planes: int, face: int, edge: int
) -> None:
    """Connectivity 2 and 3: bundles of two rows of one plane or two; reach across their faces and edges."""
    arrays = rows, start, before, parent
    step, plane = np.uint64(words), np.uint64(words * ny)
    empty = np.uint64(nz) * plane
    count = (ny + 1) // 2
    nowhere = empty, empty, empty, empty
    alone = empty, empty
    for z in range(0, nz, planes):
        for n in range(count):
            bundle = np.uint64(z // planes * count + n) * step
            one = np.uint64(z) * plane + np.uint64(2 * n) * step
            two = one + step if 2 * n + 1 < ny else empty
            if n > 0:
                ahead = one, one - step
                if planes == 2:
                    ahead = (one + plane, one + plane - step) if z + 1 < nz else alone
                a = bundle - step, one - step, ahead[1]
                b = bundle, one, ahead[0]
                _join_faces(arrays, step, a, b, _ANY_ROW, nowhere, alone)
            if z == 0:
                continue
            back = bundle - np.uint64(count) * step
            one_back = one - plane
            two_back = two - plane if two != empty else empty
            around = (one_back - step, one - step, one_back, one) if n > 0 else nowhere
            _join_faces(arrays, step, (back, one_back, two_back), (bundle, one, two), face, around, alone)
            if n > 0:
                a = back - step, one_back - step, one_back - step
                near = one_back, one - step
                _join_faces(arrays, step, a, (bundle, one, one), edge, nowhere, near)
            if 2 * n + 2 < ny:
                a = back + step, two_back + step, two_back + step
                near = two_back, two + step
                _join_faces(arrays, step, a, (bundle, two, two), edge, nowhere, near)


@kernel
def _unite_equal(
    rows: Any, start: Any, before: Any, parent: Any, flat: Any, strides: Any, shape: Any, connectivity: int,
    room: Any, same: Any, back: Any,
) -> None:  # fmt: skip
    """Runs of equal values.

    same: for this plane and the plane before (z % 2), each row's words of voxels that equal those of the row
    before; back: for this row and the row before (y % 2), words of voxels that equal those of the plane before.
    They say which pairs a path through other rows joins, as in the module's drawing.
    """
    nz, ny, _ = shape
    arrays = rows, start, before, parent, flat, room
    for z in range(nz):
        for y in range(ny):
            row, line = z * ny + y, z * strides[0] + y * strides[1]
            now, then = z % 2, (z + 1) % 2
            this, last = y % 2, (y + 1) % 2
            nothing = rows.shape[0] - 1
            for w in range(rows.shape[1]):
                same[now, y, w], back[this, w] = NONE, NONE
            if y > 0:
                _join_rows(arrays, row - 1, row, line - strides[1], line, connectivity > 1, same[now, y])
            if z > 0:
                up, up_line = row - ny, line - strides[0]
                _join_rows(arrays, up, row, up_line, line, connectivity > 1, back[this])
