"""Runs: the units that components are made of, 10 to 1000 times fewer than voxels.

A run is a maximal stretch of foreground along the last axis. Where the connectivity allows it, a run spans a
bundle of rows, because all voxels in neighbouring columns of such a bundle touch each other anyway::

    connectivity 1 (4, 6)     one row             only the row itself
    connectivity 2 (8, 18)    rows y, y+1         (y, x) and (y+1, x+1) touch
    connectivity 3 (26)       rows y, y+1 of      (z, y, x) and (z+1, y+1, x+1) touch
                              planes z, z+1

    row y    ##...#....##          the OR of the rows     #######...##
    row y+1  ..####....##          has two runs           aaaaaaa...bb

The idea of labelling rows by runs is R. M. Haralick's and L. He's (He, Chao, Suzuki 2008, A run-based
two-scan labeling algorithm); that blocks of 2 x 2 are always connected for 8 neighbours is C. Grana's (2010,
block-based connected component labeling). Here both meet in 64-bit words: a run is a bit in the word where
it starts, and the run that covers a bit is found by counting the start bits below it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigseg.local.components.bitmask import Array, BitMask, integers_of, readable_rows
from bigseg.local.components.words import ALL, NONE, ONE, TOP, WORD, equal, inside, kernel, lowest, popcount

BUNDLES = {1: (1, 1), 2: (1, 2), 3: (2, 2)}  # planes and rows of a bundle, by connectivity


class Runs(NamedTuple):
    """All runs of a mask, in the order of their bundles and of x.

    mask: the voxels; bundle: planes and rows that a run spans; start: uint64 words, (bundles, words of a
    row), a bit where a run starts; before: uint32, runs that start before a word; n: number of runs. The run
    over bit x of word w is number before[w] - 1 + popcount(start[w] up to x).
    """

    mask: BitMask
    bundle: tuple[int, int]
    start: NDArray[np.uint64]
    before: NDArray[np.uint32]
    n: int


def find_runs(mask: BitMask, connectivity: int) -> Runs:
    """Find the runs of a mask.

    Parameters
    ----------
    mask : the voxels, from `between` or `different`.
    connectivity : 1, 2 or 3; decides how many rows a run spans.

    Returns
    -------
    Runs. Memory: 12 bytes for 64 voxels of a bundle, 0.19 bytes a voxel for connectivity 1 and 0.05 for 3,
    however many runs there are.

    Notes
    -----
    Costs one read of the mask, 20 Gvox/s and more on one core of the test machine.

    Examples
    --------
    >>> from bigseg.local.components.bitmask import different
    >>> mask = different(np.array([[1, 1, 0, 1], [0, 0, 1, 0]]))
    >>> find_runs(mask, 1).n, find_runs(mask, 2).n
    (3, 1)
    """
    planes, rows = BUNDLES[connectivity]
    nz, ny, _ = mask.shape
    shape = -(-nz // planes) * -(-ny // rows), mask.rows.shape[1]
    start, before = np.empty(shape, np.uint64), np.empty(shape, np.uint32)
    count = _find(mask.rows, mask.shape, (planes, rows), start, before)
    return Runs(mask, (planes, rows), start, before, count)


def find_equal_runs(values: Array, background: int = 0) -> Runs:
    """Find the runs of equal values other than ``background``, each in one row.

    Parameters
    ----------
    values : array of shape (y, x) or (z, y, x), any integer: classes or labels.
    background : the value that belongs to no run.

    Returns
    -------
    Runs of the mask ``values != background``, cut where the value changes. Costs one read of the values.

    >>> find_equal_runs(np.array([[3, 3, 4, 0, 4]])).start[0].tolist()
    [21]
    """
    return _equal_runs(values, background, False)[0]


def runs_and_values(values: Array, background: int = 0) -> tuple[Runs, Array]:
    """As `find_equal_runs`, and the value of every run, as an unsigned integer of the same bits.

    Memory: address space for a value a voxel, of which only what the runs take is ever touched.

    >>> runs_and_values(np.array([[3, 3, 4, 0, 4]], "uint8"))[1].tolist()
    [3, 4, 4]
    """
    return _equal_runs(values, background, True)


def _equal_runs(values: Array, background: int, wanted: bool) -> tuple[Runs, Array]:
    values = integers_of(values)
    flat, strides = comparable_rows(values)
    info = np.iinfo(values.dtype)
    known = bool(info.min <= background <= info.max)
    left_out = values.dtype.type(background if known else 0).view(flat.dtype)
    nz, ny, nx = (1, *values.shape)[-3:]
    shape, words = (nz, ny, nx), -(-nx // WORD)
    found = np.empty(values.size if wanted else 0, flat.dtype)
    rows = np.empty((nz * ny + 1, words), np.uint64)
    rows[-1] = 0
    start, before = np.empty((nz * ny, words), np.uint64), np.empty((nz * ny, words), np.uint32)
    room = np.zeros(WORD + 1, flat.dtype)
    count = _find_equal(flat, strides, shape, left_out, known, (rows, start, before), found, room)
    return Runs(BitMask(shape, rows), (1, 1), start, before, count), found[:count]


def comparable_rows(values: Array) -> tuple[Array, tuple[int, int]]:
    """As `readable_rows`, integers of one width as one dtype: only equality counts, so one kernel serves."""
    flat, strides = readable_rows(values)
    return flat.view(f"u{flat.itemsize}"), strides


@kernel
def _find(rows: Any, shape: Any, bundle: Any, start: Any, before: Any) -> int:
    nz, ny, _ = shape
    count = NONE
    number = 0
    for z in range(0, nz, bundle[0]):
        low = z * ny
        high = min(z + bundle[0], nz) * ny - ny
        for y in range(0, ny, bundle[1]):
            y1 = min(y + bundle[1], ny) - 1
            last = NONE
            for w in range(rows.shape[1]):
                word = rows[low + y, w] | rows[low + y1, w] | rows[high + y, w] | rows[high + y1, w]
                starts = word & ~(word << ONE | last >> TOP)
                start[number, w] = starts
                before[number, w] = count
                count += popcount(starts)
                last = word
            number += 1
    return int(count)


@kernel
def _find_equal(
    flat: Any, strides: Any, shape: Any, background: Any, known: bool, out: Any, found: Any, room: Any
) -> int:
    """Mask, starts and their counts in one read; and the values of runs, where ``found`` has room for them."""
    rows, start, before = out
    nz, ny, nx = shape
    words = rows.shape[1]
    wanted = found.size > 0
    count = NONE
    for z in range(nz):
        for y in range(ny):
            row = z * ny + y
            first = z * strides[0] + y * strides[1]
            last = ONE  # the first voxel of a row differs from what lies before it
            for w in range(words):
                at = first + WORD * w
                if at + WORD + 1 <= flat.size:
                    same = equal(flat, at, at + 1)
                    out_of_it = inside(flat, at, background, background)
                else:
                    for i in range(flat.size - at):
                        room[i] = flat[at + i]
                    same = equal(room, 0, 1)
                    out_of_it = inside(room, 0, background, background)
                word = ~out_of_it if known else ALL
                if w == words - 1:
                    word &= ALL >> np.uint64(WORD * words - nx)
                starts = word & (~same << ONE | last)
                rows[row, w] = word
                start[row, w] = starts
                before[row, w] = count
                if wanted:
                    run, left = np.int64(count), starts
                    while left:
                        found[run] = flat[at + np.int64(lowest(left))]
                        left &= left - ONE
                        run += 1
                count += popcount(starts)
                last = ~same >> TOP
    return int(count)
