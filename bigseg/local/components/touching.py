"""Which runs touch: the pairs of runs of neighbouring bundles, united as they are found.

What touches is read off two words: bits set in both, or in both after a shift by one voxel where the
connectivity reaches diagonally. Between two starts of either bundle every bit means the same pair of runs,
so one is enough. Most pairs across planes need no look at all, since a path through the row before joins
them already::

    plane z-1   D ── C        A: this row, B: row before, C and D: the same rows of the plane before.
                │    ┆        Where all four are set, A-B, B-D and D-C are joined elsewhere: A-C is left out.
    plane z     B ── A        A-D needs a look only where neither B nor C is set.

Trees of runs are united by `bigseg.local.components.unionfind.unite`; the smallest run of a tree is its root.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.local.components.bitmask import Array
from bigseg.local.components.runs import Runs, comparable_rows
from bigseg.local.components.unionfind import unite
from bigseg.local.components.words import (
    NONE,
    ONE,
    TOP,
    WORD,
    before_next,
    equal,
    inlined,
    kernel,
    lowest,
    popcount,
    starts_up_to,
)

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
    shape = nz, ny, rows.shape[1]
    if connectivity == 1:
        _unite_rows(words, shape)
    elif connectivity == 2:
        _unite_bundles(words, shape, 1, _SAME_ROW, _FACING)
    else:
        _unite_bundles(words, shape, 2, _ANY_ROW, _ANY_ROW)


def unite_equal_runs(runs: Runs, values: Array, parent: NDArray[np.uint32], connectivity: int) -> None:
    """Unite the runs of equal values that touch; as `unite_runs`, for runs from `find_equal_runs`."""
    flat, strides = comparable_rows(values)
    words = runs.mask.rows, runs.start, runs.before, parent, flat, np.zeros(2 * WORD, flat.dtype)
    wide = runs.start.shape[1]
    shapes: tuple[tuple[int, ...], ...] = (2, runs.mask.shape[1], wide), (2, wide), (wide,), (wide,)
    scratch = tuple(np.zeros(shape, np.uint64) for shape in shapes)
    _unite_equal(words, runs.mask.shape, strides, connectivity, scratch)


@inlined
def _join_touching(touch: Any, a: Any, b: Any, words: Any, pair: Any) -> Any:
    """Join the runs of words ``a`` and ``b`` at the bits of ``touch``; ``pair`` is the pair joined last."""
    _, start, before, parent = words
    starts_a, starts_b = start[a], start[b]
    either = starts_a | starts_b
    from_a, from_b = np.uint64(before[a]) - ONE, np.uint64(before[b]) - ONE
    last_a, last_b = pair
    while touch:
        run_a = from_a + starts_up_to(starts_a, touch)
        run_b = from_b + starts_up_to(starts_b, touch)
        if run_a != last_a or run_b != last_b:
            last_a, last_b = run_a, run_b
            unite(parent, run_a, run_b)
        touch ^= before_next(touch, either)
    return last_a, last_b


@kernel
def _unite_rows(words: Any, shape: Any) -> None:
    """Connectivity 1: facing voxels of the row before and of the plane before."""
    rows = words[0]
    nz, ny, wide = shape
    step, plane = np.uint64(wide), np.uint64(wide * ny)
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
                        pair = _join_touching(touch, b + w, a + w, words, pair)
            if z > 0:
                c = a - plane
                pair = _NOBODY, _NOBODY
                for w in range(step):
                    touch = rows[a + w] & rows[c + w] & ~(rows[b + w] & rows[d + w])
                    if touch:
                        pair = _join_touching(touch, c + w, a + w, words, pair)


@inlined
def _join_faces(words: Any, step: Any, a: Any, b: Any, reach: int, around: Any, near: Any) -> None:
    """Join the runs of two bundles across the faces that they turn to each other.

    words: rows, start, before and parent; a, b: offset of the bundle and of the two rows of its face;
    around: rows D, B, C, A of the module's drawing, all set where the pair is joined elsewhere; near: rows
    of bundles that touch both, set where the pair is joined through them.
    """
    rows = words[0]
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
            pair = _join_touching(touch, a[0] + w, b[0] + w, words, pair)


@kernel
def _unite_bundles(words: Any, shape: Any, planes: int, face: int, edge: int) -> None:
    """Connectivity 2 and 3: bundles of two rows of ``planes`` planes, their reach across faces and edges."""
    nz, ny, wide = shape
    step, plane = np.uint64(wide), np.uint64(wide * ny)
    empty = np.uint64(nz) * plane
    count = (ny + 1) // 2
    layer = np.uint64(count) * step
    for z in range(0, nz, planes):
        for n in range(count):
            bundle = np.uint64(z // planes * count + n) * step
            one = np.uint64(z) * plane + np.uint64(2 * n) * step
            two = one + step if 2 * n + 1 < ny else empty
            one_back = one - plane
            two_back = two - plane if two != empty else empty
            for side in range(4 if z > 0 else 1):
                around = empty, empty, empty, empty
                near = empty, empty
                if side == 0:  # the rows before, of the same planes
                    if n == 0:
                        continue
                    reach = _ANY_ROW
                    a, b = (bundle - step, one - step, one - step), (bundle, one, one)
                    if planes == 2:
                        ahead = one + plane
                        last = z + 1 == nz
                        a = bundle - step, one - step, empty if last else ahead - step
                        b = bundle, one, empty if last else ahead
                elif side == 1:  # the same rows, of the planes before
                    reach = face
                    a, b = (bundle - layer, one_back, two_back), (bundle, one, two)
                    if n > 0:
                        around = one_back - step, one - step, one_back, one
                elif side == 2:  # the rows before, of the planes before
                    if n == 0:
                        continue
                    reach = edge
                    a, b = (bundle - layer - step, one_back - step, one_back - step), (bundle, one, one)
                    near = one_back, one - step
                else:  # the rows after, of the planes before
                    if 2 * n + 2 >= ny:
                        continue
                    reach = edge
                    a, b = (bundle - layer + step, two_back + step, two_back + step), (bundle, two, two)
                    near = two_back, two + step
                _join_faces(words, step, a, b, reach, around, near)


@inlined
def _join_equal(
    words: Any, a: int, b: int, at_a: int, at_b: int, corners: bool, skip: Any, near: Any, alike: Any
) -> None:
    """Join the runs of row ``b`` to those of row ``a`` that have the same value.

    words: rows, start, before, parent, the values and room for the end of them; at_a, at_b: where the values
    of the rows begin; corners: also join runs of which one ends just before the other starts; skip: voxels
    of row b whose facing voxel is joined elsewhere; near: the same for corners; alike: receives the facing
    voxels of equal value, and may be skip.
    """
    rows, start, before, parent, flat, room = words
    pair = _NOBODY, _NOBODY
    last_a, last_b, last_near = NONE, NONE, NONE
    for w in range(rows.shape[1]):
        word_a, word_b = rows[a, w], rows[b, w]
        starts_a, starts_b = start[a, w], start[b, w]
        from_a, from_b = np.uint64(before[a, w]) - ONE, np.uint64(before[b, w]) - ONE
        x_a, x_b = at_a + WORD * w, at_b + WORD * w
        touch = word_a & word_b
        if touch:
            rest = flat.size - max(x_a, x_b)
            if rest >= WORD:
                touch &= equal(flat, x_a, x_b)
            else:
                for i in range(rest):
                    room[i], room[WORD + i] = flat[x_a + i], flat[x_b + i]
                touch &= equal(room, 0, WORD)
        joined = skip[w]
        alike[w] = touch
        touch &= ~joined
        while touch:
            run_a = from_a + starts_up_to(starts_a, touch)
            run_b = from_b + starts_up_to(starts_b, touch)
            if run_a != pair[0] or run_b != pair[1]:
                pair = run_a, run_b
                unite(parent, run_a, run_b)
            touch ^= before_next(touch, starts_a | starts_b)
        if not corners:
            continue
        corner = starts_a & (word_b << ONE | last_b) & (starts_b | ~word_b) & ~(near[w] << ONE | last_near)
        while corner:
            x = np.int64(lowest(corner))
            if flat[x_a + x] == flat[x_b + x - 1]:
                ended = popcount(starts_b & ((corner & (~corner + ONE)) - ONE))
                unite(parent, from_a + starts_up_to(starts_a, corner), from_b + ended)
            corner &= corner - ONE
        corner = starts_b & (word_a << ONE | last_a) & (starts_a | ~word_a) & ~near[w]
        while corner:
            x = np.int64(lowest(corner))
            if flat[x_b + x] == flat[x_a + x - 1]:
                ended = popcount(starts_a & ((corner & (~corner + ONE)) - ONE))
                unite(parent, from_a + ended, from_b + starts_up_to(starts_b, corner))
            corner &= corner - ONE
        last_a, last_b, last_near = word_a >> TOP, word_b >> TOP, near[w] >> TOP


@kernel
def _unite_equal(words: Any, shape: Any, strides: Any, connectivity: int, scratch: Any) -> None:
    """Unite the runs of equal values of all rows with those of the four neighbouring rows before."""
    # beside: for this plane and the one before (z % 2), the voxels equal to those of the row before;
    # below: for this row and the one before (y % 2), the voxels equal to those of the plane before.
    beside, below, skip, near = scratch
    nz, ny, _ = shape
    wide = skip.size
    for z in range(nz):
        for y in range(ny):
            row, at = z * ny + y, z * strides[0] + y * strides[1]
            now, past = beside[z % 2], beside[(z + 1) % 2]
            here, last = below[y % 2], below[(y + 1) % 2]
            now[y, :] = NONE
            for side in range(4):
                dz, dy = (0, -1) if side == 0 else (-1, 0 if side == 1 else 2 * side - 5)
                distance = abs(dz) + abs(dy)
                if z + dz < 0 or y + dy < 0 or y + dy >= ny or distance > connectivity:
                    continue
                alike = skip
                if side == 0:
                    alike = now[y]
                elif side == 1:
                    alike = here
                for w in range(wide):
                    skip[w] = near[w] = NONE
                    if side == 1 and y > 0:
                        skip[w] = now[y, w] & last[w] & past[y, w]
                    elif side == 2:
                        skip[w] = now[y, w] & last[w] | here[w] & past[y, w]
                        near[w] = now[y, w] | here[w]
                    elif side == 3:
                        skip[w] = here[w] & past[y + 1, w]
                        near[w] = here[w]
                other, other_at = row + dz * ny + dy, at + dz * strides[0] + dy * strides[1]
                _join_equal(words, other, row, other_at, at, distance < connectivity, skip, near, alike)
