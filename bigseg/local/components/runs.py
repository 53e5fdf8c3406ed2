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

from bigseg.local.components.bitmask import Array, BitMask, different, readable_rows
from bigseg.local.components.words import NONE, ONE, TOP, WORD, equal, kernel, popcount

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
    Runs of the mask ``values != background``, cut where the value changes. Costs two reads of the values.

    >>> find_equal_runs(np.array([[3, 3, 4, 0, 4]])).start[0].tolist()
    [21]
    """
    mask = different(values, background)
    flat, strides = comparable_rows(values)
    shape = mask.rows.shape[0] - 1, mask.rows.shape[1]
    start, before = np.empty(shape, np.uint64), np.empty(shape, np.uint32)
    room = np.zeros(WORD + 1, flat.dtype)
    count = _find_equal(mask.rows, mask.shape, flat, strides, start, before, room)
    return Runs(mask, (1, 1), start, before, count)


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
def _find_equal(rows: Any, shape: Any, flat: Any, strides: Any, start: Any, before: Any, room: Any) -> int:
    nz, ny, _ = shape
    words = rows.shape[1]
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
                else:
                    for i in range(flat.size - at):
                        room[i] = flat[at + i]
                    same = equal(room, 0, 1)
                starts = rows[row, w] & (~same << ONE | last)
                start[row, w] = starts
                before[row, w] = count
                count += popcount(starts)
                last = ~same >> TOP
    return int(count)
