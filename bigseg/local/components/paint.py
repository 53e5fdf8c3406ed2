"""Labels and masks from components: every voxel written once, straight from the runs through a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from bigseg.errors import ParameterError
from bigseg.local.components.bitmask import Array, writable_rows
from bigseg.local.components.block import Components
from bigseg.local.components.faces import Shell
from bigseg.local.components.words import (
    CHUNK,
    NONE,
    ONE,
    WORD,
    bundle_of,
    inlined,
    kernel,
    lowest,
    runs_of,
    starts_up_to,
    store_chunk,
    store_word,
    take,
)


def paint(components: Components, table: Array, out: Array) -> None:
    """Write ``table[component]`` to every voxel.

    Parameters
    ----------
    components : from `bigseg.local.components.block.label` or `label_equal`.
    table : one item for each component and for the background: table[0] is what background voxels get. Final
        labels, or 0 and 1 to keep some components as a mask. Its dtype is out's.
    out : array of the block's shape, any integer, bool or float dtype, whose last axis is contiguous. All of
        it is overwritten.

    Raises
    ------
    ParameterError : the table or out do not fit the components.

    Notes
    -----
    Costs the writing of out: 5 Gvox/s of uint32 for smooth blobs, 1 to 3 for white noise on one core of the test
    machine.

    Examples
    --------
    >>> from bigseg.local.components.bitmask import different
    >>> from bigseg.local.components.block import label
    >>> out = np.empty((2, 3), np.uint32)
    >>> paint(label(different(np.array([[1, 0, 1], [0, 0, 1]]))), np.array([0, 7, 9], np.uint32), out)
    >>> out.tolist()
    [[7, 0, 9], [0, 0, 9]]
    """
    if (1, *out.shape)[-3:] != components.shape:
        raise ParameterError(f"cannot paint a block of shape {components.shape} into an array of shape {out.shape}")
    if table.shape != (components.n + 1,) or table.dtype != out.dtype:
        raise ParameterError(
            f"a table of shape {table.shape} and dtype {table.dtype}: expected {components.n + 1} items "
            f"(background and {components.n} components) of dtype {out.dtype}"
        )
    if out.dtype.kind == "b":
        table, out = table.view(np.uint8), out.view(np.uint8)
    flat, strides = writable_rows(out)
    nz, ny, _ = components.shape
    image = flat, strides, np.empty(WORD, flat.dtype)
    _paint(
        components.words,
        components.shape,
        components.runs.bundle,
        (0, nz, 0, ny),
        np.ascontiguousarray(table),
        image,
    )


def shell(components: Components) -> Shell:
    """Component numbers on the six faces of the block: what neighbours are joined by.

    Parameters
    ----------
    components : from `bigseg.local.components.block.label` or `label_equal`.

    Returns
    -------
    Shell of uint32 planes, 4 bytes for each voxel of the faces. Costs about 1 ns for each, 8 in white noise.

    >>> from bigseg.local.components.bitmask import different
    >>> from bigseg.local.components.block import label
    >>> shell(label(different(np.array([[1, 0, 1], [0, 0, 1]])))).x[1].tolist()
    [[2, 2]]
    """
    nz, ny, nx = components.shape
    z, y, x = (np.empty((2, *plane), np.uint32) for plane in ((ny, nx), (nz, nx), (nz, ny)))
    block = components.words, components.shape, components.runs.bundle
    table, room = np.arange(components.n + 1, dtype=np.uint32), np.empty(WORD, np.uint32)
    for side in range(2):
        first, row = side * (nz - 1), side * (ny - 1)
        _paint(*block, (first, first + 1, 0, ny), table, (z[side].reshape(-1), (0, nx), room))
        _paint(*block, (0, nz, row, row + 1), table, (y[side].reshape(-1), (nx, 0), room))
    _paint_ends(*block, x)
    return Shell((z[0], z[1]), (y[0], y[1]), (x[0], x[1]))


@inlined
def _paint_word(bits: Any, starts: Any, first: Any, component: Any, table: Any, flat: Any, at: int) -> None:
    """Write the 64 voxels of one word."""
    if bits == NONE:
        store_word(flat, at, NONE, table[0], table[0])
        return
    mine = component[first + starts_up_to(starts, bits)]
    group, bits, following = take(component, first, starts, bits, mine)
    store_word(flat, at, group, table[mine], table[0])
    while bits:
        mine = following
        group, bits, following = take(component, first, starts, bits, mine)
        # Most of these are short: touch only the 16 voxels that they lie in.
        skip = lowest(group) & ~(CHUNK - ONE)
        group >>= skip
        place = at + np.int64(skip)
        while group:
            store_chunk(flat, place, group, table[mine])
            group >>= CHUNK
            place += 16


@kernel
def _paint(words: Any, shape: Any, bundle: Any, rows_of: Any, table: Any, out: Any) -> None:
    """Paint planes rows_of[0] to rows_of[1], rows rows_of[2] to rows_of[3]."""
    rows, component = words[0], words[3]
    image, strides, room = out
    _, ny, nx = shape
    for z in range(rows_of[0], rows_of[1]):
        for y in range(rows_of[2], rows_of[3]):
            row = z * ny + y
            number = bundle_of(z, y, ny, bundle)
            line = (z - rows_of[0]) * strides[0] + (y - rows_of[2]) * strides[1]
            for w in range(rows.shape[1]):
                rest = nx - WORD * w
                flat, at = image, line + WORD * w
                if rest < WORD:  # a whole word would overwrite what lies behind: paint it aside
                    flat, at = room, 0
                starts, first = runs_of(words, number, w)
                _paint_word(rows[row, w], starts, first, component, table, flat, at)
                if rest < WORD:
                    for i in range(rest):
                        image[line + WORD * w + i] = room[i]


@kernel
def _paint_ends(words: Any, shape: Any, bundle: Any, planes: Any) -> None:
    """Component numbers of the first and the last voxel of each row."""
    rows, before, component = words[0], words[2], words[3]
    nz, ny, nx = shape
    last = rows.shape[1] - 1
    end = ONE << np.uint64((nx - 1) % WORD)
    for z in range(nz):
        for y in range(ny):
            row = z * ny + y
            number = bundle_of(z, y, ny, bundle)
            planes[0, z, y] = component[before[number, 0]] if rows[row, 0] & ONE else 0
            planes[1, z, y] = 0
            if rows[row, last] & end:
                starts, first = runs_of(words, number, last)
                planes[1, z, y] = component[first + starts_up_to(starts, end)]
