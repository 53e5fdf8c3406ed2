"""Pairs of integers and how often they occur: overlaps of two label volumes, faces between two labels.

Sixty-four voxels are compared at once (`bigseg.local.components.words`): `count_pairs` looks only at the ends of runs
in which neither volume changes, `count_contacts` only at voxels that differ from the next one along an axis. What
is found goes into a hash table with linear probing (D. E. Knuth, The Art of Computer Programming 3, 6.4, with
multiplicative hashing), that grows as it fills.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.components.words import NONE, ONE, WORD, equal, inlined, kernel, lowest
from bigseg.local.objects.keyed_rows import Rows, summed

Array = NDArray[Any]
SLOTS = 1 << 12
"""Of the first table: a block of large objects has some hundred pairs."""
_SCATTER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 by the golden ratio, odd
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
PLANES = 8
"""Planes of a block that are copied at a time where its voxels do not lie in one piece."""


def count_pairs(a: Array, b: Array, ignore_zero: bool = False) -> Rows:
    """Count how often each pair of values occurs at the same voxel of two volumes.

    Parameters
    ----------
    a, b : bool or integers, of one shape; any dtypes.
    ignore_zero : leave out voxels that are 0 in either.

    Returns
    -------
    uint64 of shape (3, pairs): key of a, key of b, count (see `bigseg.local.objects.keyed_rows`); `values_of` turns
    keys back into values.

    Raises
    ------
    ParameterError : the shapes differ, or the dtypes are no integers.

    Notes
    -----
    Costs a read of both volumes and 5 to 20 ns for each run in which neither changes (80 to 300 in noise). Memory: 32
    to 64 bytes a pair, half as much again while the table grows, 100 while rows are sorted; a copy of 8 planes where
    the voxels do not lie in one piece. Integers of 64 bits above 2**32 are first numbered, at 100 ns and 20 bytes a
    voxel.

    Examples
    --------
    >>> rows = count_pairs(np.array([[1, 1, 2]], "uint8"), np.array([[0, 3, 3]], "uint16"))
    >>> rows.tolist()
    [[1, 1, 2], [0, 3, 3], [1, 1, 1]]
    """
    if a.shape != b.shape or a.dtype.kind not in "biu" or b.dtype.kind not in "biu":
        raise ParameterError(
            f"arrays of shapes {a.shape} and {b.shape}, dtypes {a.dtype} and {b.dtype}: expected integers of one shape"
        )
    bits_a, values_a = _narrow(a)
    bits_b, values_b = _narrow(b)
    table = _Table(1)
    for piece in _pieces(a):
        flats = tuple(np.ascontiguousarray(bits[piece]).reshape(-1) for bits in (bits_a, bits_b))
        at = run = 0
        while at < flats[0].size:
            at, run, table.used = _count_pairs(*flats, at, run, table.slots, table.used, table.shift)
            table.make_room()
    first, second, counts = table.rows()
    if ignore_zero:
        kept = (_back(first, values_a) != 0) & (_back(second, values_b) != 0)
        first, second, counts = first[kept], second[kept], counts[kept]
    one = keys_of(_back(first, values_a).astype(bits_a.dtype).view(_integer(a.dtype)))
    two = keys_of(_back(second, values_b).astype(bits_b.dtype).view(_integer(b.dtype)))
    return summed([np.stack([one, two, counts[:, 0]])])


def count_contacts(labels: Array) -> Rows:
    """Count the voxel faces between every two labels, along each axis.

    Parameters
    ----------
    labels : integers of shape (y, x) or (z, y, x), 0 is background and touches nothing.

    Returns
    -------
    uint64 of shape (2 + ndim, pairs): keys of the smaller and the larger label, then the faces across each axis,
    in the order of the axes.

    Notes
    -----
    Costs a read of the labels for each axis and 5 to 20 ns for each voxel that differs from the next one. Memory as
    of `count_pairs`.

    Examples
    --------
    >>> count_contacts(np.array([[1, 1, 2], [0, 2, 2]], "uint8")).tolist()
    [[1], [2], [1], [1]]
    """
    bits, values = _narrow(labels)
    ndim = bits.ndim
    solid = bits.reshape((1,) * (3 - ndim) + bits.shape)
    table = _Table(1 + 3)
    for start in range(0, solid.shape[0], solid.shape[0] if solid.flags.c_contiguous else PLANES):
        stop = solid.shape[0] if solid.flags.c_contiguous else start + PLANES
        piece = np.ascontiguousarray(solid[start : stop + 1])  # with the plane that the last one touches
        own = min(stop, solid.shape[0]) - start
        _count_faces(piece, own, table)
    first, second, counts = table.rows()
    one, two = (
        keys_of(_back(part, values).astype(bits.dtype).view(_integer(labels.dtype))) for part in (first, second)
    )
    faces = counts[:, 4 - ndim :].T
    return summed([np.stack([np.minimum(one, two), np.maximum(one, two), *faces])])


def across(a: Array, b: Array, axis: int, ndim: int) -> Rows:
    """The faces between two planes of labels that meet across an axis: what `count_contacts` finds there.

    >>> across(np.array([3, 0, 1], "uint8"), np.array([2, 2, 1], "uint8"), 0, 2).tolist()
    [[2], [3], [1], [0]]
    """
    one, two, count = count_pairs(a, b, ignore_zero=True)
    kept = one != two
    rows = np.zeros((2 + ndim, int(np.count_nonzero(kept))), np.uint64)
    rows[0], rows[1] = np.minimum(one, two)[kept], np.maximum(one, two)[kept]
    rows[2 + axis] = count[kept]
    return summed([rows])


def keys_of(values: Array) -> NDArray[np.uint64]:
    """Integers as uint64 of the same order: negative ones lie below 2**63, all others of a signed dtype above.

    >>> keys_of(np.array([-1, 0], "int8")).tolist(), keys_of(np.array([7], "uint8")).tolist()
    ([9223372036854775807, 9223372036854775808], [7])
    """
    if values.dtype.kind == "i":
        return values.astype(np.int64).view(np.uint64) ^ np.uint64(1 << 63)
    return values.astype(np.uint64)


def values_of(keys: NDArray[np.uint64], dtype: np.dtype[Any]) -> Array:
    """The values of a dtype that keys stand for; of bool 0 and 1.

    >>> values_of(keys_of(np.array([-5, 5], "int16")), np.dtype("int16"))
    array([-5,  5], dtype=int16)
    """
    if dtype.kind == "i":
        return (keys ^ np.uint64(1 << 63)).view(np.int64).astype(dtype)
    return keys.astype(_integer(dtype))


class _Table:
    """A hash table: slots of a key of two 32-bit halves and its counts; a slot is empty where its first count is 0."""

    def __init__(self, columns: int) -> None:
        self.slots = np.zeros((SLOTS, 1 + columns), np.uint64)
        self.used = 0

    @property
    def shift(self) -> int:
        """How far a hash is moved down to be a slot."""
        return WORD + 1 - len(self.slots).bit_length()

    def make_room(self) -> None:
        """Twice the slots where half of them are taken."""
        if 2 * (self.used + WORD) > len(self.slots):
            slots = self.slots
            self.slots = np.zeros((2 * len(slots), slots.shape[1]), np.uint64)
            _move(slots, self.slots, self.shift)

    def rows(self) -> tuple[Array, Array, Array]:
        """Both halves of the keys, and the counts."""
        taken = self.slots[self.slots[:, 1] != 0]
        return (taken[:, 0] >> _HALF).astype(np.uint32), (taken[:, 0] & _LOW).astype(np.uint32), taken[:, 1:]


def _integer(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype


def _narrow(x: Array) -> tuple[Array, Array | None]:
    """Bits that a half of a key holds; where the values do not fit they are numbered, and given back in order."""
    bits = x.view(f"u{x.dtype.itemsize}")
    if x.dtype.itemsize == 8 and bits.size and int(bits.max()) >= 1 << 32:
        values, numbers = np.unique(bits, return_inverse=True)
        if values[0] != 0:  # 0 stays 0: it is background
            values, numbers = np.concatenate([values[:1] * 0, values]), numbers + 1
        return numbers.reshape(x.shape).astype(np.uint64), values
    return bits, None


def _back(halves: Array, values: Array | None) -> Array:
    """The bits that the halves of keys stand for."""
    return halves if values is None else values[halves]


def _pieces(x: Array) -> list[tuple[slice, ...]]:
    """The whole, or planes, so that only these are copied."""
    if x.flags.c_contiguous or x.ndim < 3:
        return [(slice(None),) * x.ndim]
    return [(slice(at, at + PLANES),) for at in range(0, x.shape[0], PLANES)]


def _count_faces(piece: Array, own: int, table: _Table) -> None:
    """The faces of the first ``own`` planes with each other, and with the plane behind the last."""
    nz, ny, nx = piece.shape
    flat = piece.reshape(-1)
    plane = ny * nx
    across_z = own if own < nz else own - 1
    for axis, (segments, length, step, offset) in enumerate(
        [(1, across_z * plane, 0, plane), (own, (ny - 1) * nx, plane, nx), (own * ny, nx - 1, nx, 1)]
    ):
        segment = at = 0
        while segment < segments:
            segment, at, table.used = _find_faces(
                flat, (segments, length, step, offset), segment, at, 2 + axis, table.slots, table.used,
                table.shift,
            )  # fmt: skip
            table.make_room()


@inlined
def _slot(slots: Any, key: Any, shift: Any) -> Any:
    """Where a key lies in the table, or the empty slot that it would take."""
    at = np.int64((key * _SCATTER) >> np.uint64(shift))
    while slots[at, 1] != NONE and slots[at, 0] != key:
        at = (at + 1) & (slots.shape[0] - 1)
    return at


@kernel
def _move(slots: Any, into: Any, shift: Any) -> None:
    for i in range(slots.shape[0]):
        if slots[i, 1] != NONE:
            at = _slot(into, slots[i, 0], shift)
            for k in range(slots.shape[1]):
                into[at, k] = slots[i, k]


@kernel
def _count_pairs(a: Any, b: Any, at: Any, run: Any, slots: Any, used: Any, shift: Any) -> Any:
    """Count from voxel ``at`` on, of whose pair ``run`` voxels are counted, until the end or a table too full."""
    while at < a.size and 2 * (used + WORD) <= slots.shape[0]:
        here = min(WORD, a.size - at)
        if at + WORD < a.size:
            ends = ~(equal(a, at, at + 1) & equal(b, at, at + 1))
        else:
            ends = ONE << np.uint64(here - 1)
            for i in range(here - 1):
                if a[at + i] != a[at + i + 1] or b[at + i] != b[at + i + 1]:
                    ends |= ONE << np.uint64(i)
        first = -run
        while ends != NONE:
            last = np.int64(lowest(ends))
            ends &= ends - ONE
            key = np.uint64(a[at + last]) << _HALF | np.uint64(b[at + last])
            slot = _slot(slots, key, shift)
            if slots[slot, 1] == NONE:
                slots[slot, 0] = key
                used += 1
            slots[slot, 1] += np.uint64(last + 1 - first)
            first = last + 1
        run = here - first
        at += here
    return at, run, used


@kernel
def _find_faces(flat: Any, lines: Any, segment: Any, at: Any, column: Any, slots: Any, used: Any, shift: Any) -> Any:
    """Count faces between voxels ``offset`` apart on lines of voxels, until the end or a table too full."""
    segments, length, step, offset = lines
    last_key, slot = NONE, 0  # no pair has this key
    while segment < segments:
        while at < length and 2 * (used + WORD) <= slots.shape[0]:
            here = min(WORD, length - at)
            place = segment * step + at
            if place + offset + WORD <= flat.size:
                differ = ~equal(flat, place, place + offset)
                if here < WORD:
                    differ &= (ONE << np.uint64(here)) - ONE
            else:
                differ = NONE
                for i in range(here):
                    if flat[place + i] != flat[place + offset + i]:
                        differ |= ONE << np.uint64(i)
            while differ != NONE:
                i = place + np.int64(lowest(differ))
                differ &= differ - ONE
                one, two = np.uint64(flat[i]), np.uint64(flat[i + offset])
                if one == NONE or two == NONE:
                    continue
                key = min(one, two) << _HALF | max(one, two)
                if key != last_key:
                    last_key, slot = key, _slot(slots, key, shift)
                    if slots[slot, 1] == NONE:
                        slots[slot, 0] = key
                        used += 1
                slots[slot, 1] += ONE
                slots[slot, column] += ONE
            at += here
        if at < length:
            break  # the table is too full
        segment += 1
        at = 0
    return segment, at, used
