"""Which neighbours of a voxel are not of its object: one code a voxel, from which surfaces and topology add up.

Of the 26 neighbours, those later in raster order have bits 0 to 12 of the code, the others mirrored in bits 13 to 25::

    plane z     (y, x+1) 0      (y+1, x-1 .. x+1) 1 2 3
    plane z+1   (y-1, x-1 .. x+1) 4 5 6      (y, ..) 7 8 9      (y+1, ..) 10 11 12

A code is 0 inside an object and outside of all. Images of two axes are volumes of one plane.

`exposed_mask` and `exposed_labels` make the codes of a block, from an array with one voxel more around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bigseg.errors import ParameterError
from bigseg.local.components.bitmask import Array, BitMask, different, writable_rows
from bigseg.local.components.runs import comparable_rows
from bigseg.local.components.words import NONE, ONE, TOP, WORD, equal, inlined, kernel, lowest

LATER = (
    (0, 0, 1),
    *((0, 1, x) for x in (-1, 0, 1)),
    *((1, y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)),
)
"""Steps (z, y, x) of bits 0 to 12."""
CODES = 1 << len(LATER)
"""Number of codes of the later neighbours."""

_ABSENT = np.uint64(CODES - 1)
_SEVEN = np.uint64(7)


def exposed_mask(mask: BitMask, keep: Sequence[slice], both: bool = False) -> Array:
    """Codes of the voxels of a mask: which neighbours are background.

    Parameters
    ----------
    mask : of the block grown by one voxel; its ends are ends of the volume, behind which is background.
    keep : where the block lies in it, two or three slices.
    both : all 26 neighbours, not only the later ones.

    Returns
    -------
    Array of the block's shape: uint16, or uint32 with ``both``.

    Notes
    -----
    Words of 64 voxels that lie inside are passed over: 0.4 ns a voxel, and 6 ns for each voxel at a surface.

    Examples
    --------
    >>> mask = different(np.array([[1, 1, 0]]))
    >>> exposed_mask(mask, (slice(0, 1), slice(0, 3))).tolist()
    [[8190, 8191, 0]]
    """
    corner, shape = _place(keep, mask.shape)
    out = np.zeros(shape, np.uint32 if both else np.uint16)
    inner = np.zeros_like(mask.rows)
    _erode_rows(mask.rows, inner)
    flat, strides = writable_rows(out)
    box = mask.shape, corner, (1, *shape)[-3:]
    _mask_codes(mask.rows, inner, box, both, flat, strides)
    return out


def exposed_labels(labels: Array, keep: Sequence[slice], both: bool = False, background: int = 0) -> Array:
    """Codes of the voxels of labels: which neighbours have another value.

    Parameters
    ----------
    labels : integers of the block grown by one voxel; its ends are ends of the volume.
    keep, both : as of `exposed_mask`.
    background : the value whose voxels are of no object.

    Returns
    -------
    Array of the block's shape: uint16, or uint32 with ``both``. Costs 1 ns a voxel (of uint32 labels), and 17 ns for
    each voxel at a surface.

    >>> exposed_labels(np.array([[3, 3, 5, 0]]), (slice(0, 1), slice(0, 4))).tolist()
    [[8190, 8191, 8191, 0]]
    """
    mask = different(labels, background)
    corner, shape = _place(keep, mask.shape)
    out = np.zeros(shape, np.uint32 if both else np.uint16)
    values, steps = comparable_rows(labels)
    same = np.zeros((4, *mask.rows.shape), np.uint64)
    room = np.zeros(2 * WORD, values.dtype)
    _compare_rows(mask.rows, mask.shape, values, steps, same, room)
    flat, strides = writable_rows(out)
    box = mask.shape, corner, (1, *shape)[-3:]
    _label_codes(mask.rows, same, box, both, values, steps, flat, strides)
    return out


def _place(keep: Sequence[slice], shape: tuple[int, int, int]) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """First voxel and shape of what is kept."""
    within = (slice(0, 1), *keep)[-3:]
    z, y, x = (part.start for part in within)
    kept = tuple(part.stop - part.start for part in keep)
    if any(part.start < 0 or part.stop > n or part.stop <= part.start for part, n in zip(within, shape, strict=True)):
        raise ParameterError(f"cannot keep {tuple(keep)} of a block of {shape}: expected slices within it")
    return (z, y, x), kept


@inlined
def _rows_around(z: Any, y: Any, nz: Any, ny: Any, way: Any) -> Any:
    """Of the eight rows around one the four later ones or, with a way of -1, their mirror images.

    What lies beyond the block is the row after its last, which is empty.
    """
    empty, after, ahead = nz * ny, z * ny + y + way, (z + way) * ny + y
    plane, last, following = 0 <= z + way < nz, 0 <= y - way < ny, 0 <= y + way < ny
    return (
        after if following else empty,
        ahead - way if plane and last else empty,
        ahead if plane else empty,
        ahead + way if plane and following else empty,
    )


@inlined
def _three(rows: Any, row: int, w: int, at: Any) -> Any:
    """The bits of a row at x - 1, x and x + 1."""
    word = rows[row, w]
    if at == NONE:
        found = word << ONE
        if w > 0:
            found |= rows[row, w - 1] >> TOP
    elif at == TOP:
        found = word >> (TOP - ONE)
        if w + 1 < rows.shape[1]:
            found |= rows[row, w + 1] << np.uint64(2)
    else:
        found = word >> (at - ONE)
    return found & _SEVEN


@kernel
def _erode_rows(rows: Any, out: Any) -> None:
    """Voxels whose two neighbours in the row are set, too."""
    wide = rows.shape[1]
    for row in range(rows.shape[0]):
        last = NONE
        for w in range(wide):
            word = rows[row, w]
            following = rows[row, w + 1] if w + 1 < wide else NONE
            out[row, w] = word & (word << ONE | last >> TOP) & (word >> ONE | following << TOP)
            last = word


@kernel
def _mask_codes(rows: Any, inner: Any, box: Any, both: bool, flat: Any, strides: Any) -> None:
    shape, corner, kept = box
    nz, ny, _ = shape
    first, last = corner[2], corner[2] + kept[2]
    for z in range(corner[0], corner[0] + kept[0]):
        for y in range(corner[1], corner[1] + kept[1]):
            row = z * ny + y
            after, ahead_before, ahead, ahead_after = _rows_around(z, y, nz, ny, 1)
            before, behind_after, behind, behind_before = _rows_around(z, y, nz, ny, -1)
            line = (z - corner[0]) * strides[0] + (y - corner[1]) * strides[1] - first
            for w in range(first // WORD, (last + WORD - 1) // WORD):
                bits = rows[row, w]
                if bits == NONE:
                    continue
                within = inner[row, w] & inner[after, w] & inner[ahead, w]
                within &= inner[ahead_before, w] & inner[ahead_after, w]
                if both:
                    within &= inner[before, w] & inner[behind, w] & inner[behind_before, w] & inner[behind_after, w]
                bits &= ~within
                while bits:
                    at = lowest(bits)
                    bits &= bits - ONE
                    x = WORD * w + np.int64(at)
                    if x < first or x >= last:
                        continue
                    own = _three(rows, row, w, at)
                    code = own >> np.uint64(2)
                    code |= _three(rows, after, w, at) << ONE
                    code |= _three(rows, ahead_before, w, at) << np.uint64(4)
                    code |= _three(rows, ahead, w, at) << np.uint64(7)
                    code |= _three(rows, ahead_after, w, at) << np.uint64(10)
                    code ^= _ABSENT
                    if both:
                        other = own & ONE
                        other |= _three(rows, before, w, at) << ONE
                        other |= _three(rows, behind_after, w, at) << np.uint64(4)
                        other |= _three(rows, behind, w, at) << np.uint64(7)
                        other |= _three(rows, behind_before, w, at) << np.uint64(10)
                        code |= (other ^ _ABSENT) << np.uint64(13)
                    flat[line + x] = code


@kernel
def _compare_rows(rows: Any, shape: Any, values: Any, steps: Any, same: Any, room: Any) -> None:
    """Bits where a voxel equals the next in its row; both in its row; that of the next row; of the next plane."""
    nz, ny, nx = shape
    wide = rows.shape[1]
    for z in range(nz):
        for y in range(ny):
            row = z * ny + y
            start = z * steps[0] + y * steps[1]
            last = NONE
            for w in range(wide):
                bits = rows[row, w]
                if bits == NONE:
                    last = NONE
                    continue
                at = start + WORD * w
                for side in range(3):
                    if (side == 1 and y + 1 == ny) or (side == 2 and z + 1 == nz):
                        continue
                    other = at + (1 if side == 0 else steps[1] if side == 1 else steps[0])
                    rest = values.size - other
                    if rest >= WORD:
                        found = equal(values, at, other)
                    else:
                        for i in range(max(rest, 0)):
                            room[i], room[WORD + i] = values[at + i], values[other + i]
                        found = equal(room, 0, WORD)
                    found &= bits
                    if side == 0:
                        if w + 1 == wide:
                            found &= ~(ONE << np.uint64((nx - 1) % WORD))
                        same[0, row, w] = found
                        same[1, row, w] = found & (found << ONE | last >> TOP)
                        last = found
                    else:
                        same[side + 1, row, w] = found


@inlined
def _differ(around: Any, step: Any) -> Any:
    """Which of three voxels of another row differ. Branches on voxels would cost three times as much."""
    values, left, place, right, mine, ends = around
    gone = np.uint64(values[left + step] != mine) | ends
    gone |= np.uint64(values[place + step] != mine) << ONE
    return gone | np.uint64(values[right + step] != mine) << np.uint64(2)


@kernel
def _label_codes(rows: Any, same: Any, box: Any, both: bool, values: Any, steps: Any, flat: Any, strides: Any) -> None:
    shape, corner, kept = box
    nz, ny, nx = shape
    empty = nz * ny
    first, last = corner[2], corner[2] + kept[2]
    following, beside, next_row, next_plane = same[0], same[1], same[2], same[3]
    plane_step, row_step = np.uint64(steps[0]), np.uint64(steps[1])
    for z in range(corner[0], corner[0] + kept[0]):
        for y in range(corner[1], corner[1] + kept[1]):
            row = z * ny + y
            after, ahead_before, ahead, ahead_after = _rows_around(z, y, nz, ny, 1)
            before, behind_after, behind, behind_before = _rows_around(z, y, nz, ny, -1)
            start = z * steps[0] + y * steps[1]
            line = (z - corner[0]) * strides[0] + (y - corner[1]) * strides[1] - first
            for w in range(first // WORD, (last + WORD - 1) // WORD):
                bits = rows[row, w]
                if bits == NONE:
                    continue
                within = following[row, w] & next_row[row, w] & beside[after, w]
                within &= next_plane[row, w] & beside[ahead, w]
                within &= next_row[ahead, w] & beside[ahead_after, w]
                within &= next_row[ahead_before, w] & beside[ahead_before, w]
                if both:
                    within &= beside[row, w] & next_row[before, w] & beside[before, w]
                    within &= next_plane[behind, w] & beside[behind, w]
                    within &= next_row[behind, w] & beside[behind_after, w]
                    within &= next_row[behind_before, w] & beside[behind_before, w]
                bits &= ~within
                while bits:
                    at = lowest(bits)
                    bits &= bits - ONE
                    x = WORD * w + np.int64(at)
                    if x < first or x >= last:
                        continue
                    place = np.uint64(start + x)
                    mine = values[place]
                    left = place - ONE if x > 0 else place  # at the ends of a row: the voxel itself, and below its bit
                    right = place + ONE if x + 1 < nx else place
                    ends = (ONE if x == 0 else NONE) | (np.uint64(4) if x + 1 == nx else NONE)
                    around = values, left, place, right, mine, ends
                    code = np.uint64(values[right] != mine) | ends >> np.uint64(2)
                    gone = _differ(around, row_step) if after != empty else _SEVEN
                    code |= gone << ONE
                    gone = _differ(around, plane_step - row_step) if ahead_before != empty else _SEVEN
                    code |= gone << np.uint64(4)
                    gone = _differ(around, plane_step) if ahead != empty else _SEVEN
                    code |= gone << np.uint64(7)
                    gone = _differ(around, plane_step + row_step) if ahead_after != empty else _SEVEN
                    code |= gone << np.uint64(10)
                    if both:
                        other = np.uint64(values[left] != mine) | ends & ONE
                        gone = _differ(around, NONE - row_step) if before != empty else _SEVEN
                        other |= gone << ONE
                        gone = _differ(around, row_step - plane_step) if behind_after != empty else _SEVEN
                        other |= gone << np.uint64(4)
                        gone = _differ(around, NONE - plane_step) if behind != empty else _SEVEN
                        other |= gone << np.uint64(7)
                        gone = _differ(around, NONE - plane_step - row_step) if behind_before != empty else _SEVEN
                        other |= gone << np.uint64(10)
                        code |= other << np.uint64(13)
                    flat[line + x] = code
