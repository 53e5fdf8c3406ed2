"""Packed touching grains: ellipsoids around the jittered points of a lattice that overlap, each voxel being
that of the grain it lies deepest in.

Where grains overlap their border is the surface on which both are equally deep: a flat contact with a neck around
it, as of sintered grains. Planes and rows of the lattice are moved by chance, so that none are seen.
A grain reaches at most into the cells around its own.
"""

from __future__ import annotations

from math import floor, sqrt

import numpy as np
from numba import njit

from bigseg.local.phantom.hashing import cell_key, either, uniform
from bigseg.local.phantom.shapes import row_ends, row_terms, span

SHIFT = 0.25  # most that a plane and a row of cells are moved, in cells
SPREAD = 0.15  # most that the size of a grain differs from the mean, as a share of it
LAYER = 0.8  # height of a plane of cells, in cells
OFFSET = 0.3  # of a plane of cells that lies before the volume: its first plane of voxels is like any other


@njit(nogil=True, cache=True)
def _grain(seed, cell, fill, jitter, stretch, z, y, x):  # type: ignore[no-untyped-def]
    """Body of a cell's grain as in `shapes.row_terms`."""
    key = cell_key(seed, 0, z, y, x)
    plane, row = cell_key(seed, 2, z, 0, 0), cell_key(seed, 3, z, y, 0)
    cz = (z + 0.5 - OFFSET + LAYER * jitter * either(key, 0)) * LAYER * cell
    cy = (y + 0.5 + SHIFT * either(plane, 0) + jitter * either(key, 1)) * cell
    cx = (x + 0.5 + SHIFT * either(row, 0) + jitter * either(key, 2)) * cell
    ratio = 1.0 + (stretch - 1.0) * uniform(key, 3)
    mean = fill * cell * (1.0 + SPREAD * either(key, 4))
    uz, uy, ux = either(key, 5), either(key, 6), either(key, 7)
    length = sqrt(uz * uz + uy * uy + ux * ux) + 1e-9
    long = mean * ratio
    across, along = 1.0 / (mean * mean), 1.0 / (long * long)
    return cz, cy, cx, long, uz / length, uy / length, ux / length, across, along - across


@njit(nogil=True, cache=True)
def paint_grains(out, start, seed, cell, fill, jitter, stretch, phases, counts):  # type: ignore[no-untyped-def]
    """Fill grains into out (zeros): a class from 1 to phases, or ids where phases is 0.

    counts: cells of the volume along y and x, for ids; the cell before its first one counts too.
    """
    planes, rows, columns = out.shape
    depth = np.ones((planes, rows, columns), np.float32)
    high = LAYER * cell
    z0, z1 = floor(start[0] / high + OFFSET), floor((start[0] + planes - 1) / high + OFFSET)
    for z in range(z0 - 1, z1 + 2):
        for y in range(start[1] // cell - 1, (start[1] + rows - 1) // cell + 2):
            for x in range(start[2] // cell - 1, (start[2] + columns - 1) // cell + 2):
                body = _grain(seed, cell, fill, jitter, stretch, z, y, x)
                if phases:
                    value = np.uint64(1 + int(phases * uniform(cell_key(seed, 1, z, y, x), 0)))
                else:
                    value = np.uint64(((z + 1) * counts[0] + y + 1) * counts[1] + x + 2)
                _paint(out, depth, start, body, value)


@njit(nogil=True, cache=True)
def _paint(out, depth, start, body, value):  # type: ignore[no-untyped-def]
    """Take the voxels that lie deeper in a grain than in those painted before."""
    cz, cy, cx, reach = body[:4]
    whole = int(np.floor(cx))
    part = np.float32(cx - whole)
    new = out.dtype.type(value)
    k0, k1 = span(cz, reach, start[0], out.shape[0])
    j0, j1 = span(cy, reach, start[1], out.shape[1])
    for k in range(k0, k1):
        for j in range(j0, j1):
            a, b, c = row_terms(body, k + start[0] - cz, j + start[1] - cy)
            first, last = row_ends(a, b, c, cx, start[2], out.shape[2])
            if first < last:
                p, q, r = np.float32(a), np.float32(2.0 * b), np.float32(c)
                line, best = out[k, j, first:last], depth[k, j, first:last]
                begin = start[2] + first - whole
                for i in range(line.size):
                    dx = np.float32(begin + i) - part
                    here = (p * dx + q) * dx + r
                    deeper = here < best[i]
                    best[i] = here if deeper else best[i]
                    line[i] = new if deeper else line[i]


def grain_counts(cell: int, shape: tuple[int, int, int]) -> tuple[tuple[int, int], int]:
    """Cells along y and x that grains of a volume can come from, and the greatest id.

    >>> grain_counts(10, (16, 20, 30))
    ((4, 5), 100)
    """
    z, y, x = floor((shape[0] - 1) / (LAYER * cell) + OFFSET) + 3, *(-(-n // cell) + 2 for n in shape[1:])
    return (y, x), z * y * x
