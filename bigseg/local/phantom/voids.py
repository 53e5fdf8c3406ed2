"""Voids of all sizes that keep apart, and the thin winding tubes that join the largest of them.

Each cell may hold the centre of one void. Cells come in levels of sizes, each half as wide as the one before. A
void is left out where it would come near one of a coarser level, or one of its own level that was drawn a higher
rank (a Matern process of the second kind): no two touch, not even at corners, and each is one component and one
instance. Which voids there are in a box depends on the cells around it only, the farther the coarser::

    level 0   ├───────────────┼───────────────┤    a void reaches half a cell at most: neighbours of its
    level 1   ├───────┼───────┼───────┼───────┤    level lie in the 26 cells around its own

Tubes (canaliculi) run from the centre of a void of level 0 towards those of the 26 cells around it, along cubic
Bezier curves whose inner points are moved by chance by at most ``BEND`` cells: a tube stays within the cells
around the one it is drawn from.
"""

from __future__ import annotations

from math import ceil, floor, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.grid import Box, Shape
from bigseg.local.phantom.hashing import cell_key, draw, either, uniform
from bigseg.local.phantom.shapes import paint_rod, paint_spheroid

BEND = 0.3
PIECES = 14  # straight rods that stand for a curve: 5 voxels each at a cell of 50
APART = 2.0  # voids keep two voxels between their surfaces: more than the diagonal of one
_TUBES = 64  # streams of hashes: levels of voids before, tubes from here on

Array = NDArray[np.int64]


class Cells(NamedTuple):
    """The cells that decide what is in a box, one row a level.

    sides: of a cell; low: first cell along z, y, x; counts: cells along them; first: place of a level's first cell
    in a list of all. The outermost ring of cells is there to be compared with.
    """

    sides: Array
    low: Array
    counts: Array
    first: Array


@njit(nogil=True, cache=True)
def _fill_void(body, seed, level, cell, density, stretch, z, y, x):  # type: ignore[no-untyped-def]
    """The void drawn for a cell, as in `shapes.row_terms`; its rank, 0 where there is none."""
    key = cell_key(seed, level, z, y, x)
    if uniform(key, 0) >= density:
        return np.uint64(0)
    reach = (0.5 * cell - 1.0) * (0.5 + 0.5 * uniform(key, 1))
    uz, uy, ux = either(key, 5), either(key, 6), either(key, 7)
    length = sqrt(uz * uz + uy * uy + ux * ux) + 1e-9
    ratio = 1.0 + (stretch - 1.0) * uniform(key, 8)
    short = max(reach / ratio, min(reach, 1.0))
    thin, wide = 1.0 / (short * short), 1.0 / (reach * reach)
    egg = uniform(key, 9) < 0.7  # the others are like lenses
    body[0] = (z + uniform(key, 2)) * cell
    body[1] = (y + uniform(key, 3)) * cell
    body[2] = (x + uniform(key, 4)) * cell
    body[3] = reach
    body[4], body[5], body[6] = uz / length, uy / length, ux / length
    body[7] = thin if egg else wide
    body[8] = wide - thin if egg else thin - wide
    return draw(key, 10) | np.uint64(1)


@njit(nogil=True, cache=True)
def _near(a, b):  # type: ignore[no-untyped-def]
    """Whether two voids come too near to each other, seen as balls."""
    dz, dy, dx = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    least = a[3] + b[3] + APART
    return dz * dz + dy * dy + dx * dx < least * least


@njit(nogil=True, cache=True)
def _highest(bodies, ranks, place, row, plane):  # type: ignore[no-untyped-def]
    """Whether a void outranks all of its level that are near."""
    for dz in range(-1, 2):
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                other = place + dz * plane + dy * row + dx
                if ranks[other] > ranks[place] and _near(bodies[place], bodies[other]):
                    return False
    return True


@njit(nogil=True, cache=True)
def _clear(bodies, kept, level, cells, body):  # type: ignore[no-untyped-def]
    """Whether a void keeps away from all of coarser levels."""
    for other in range(level):
        side = cells.sides[other]
        away = body[3] + APART + 0.5 * side
        low, counts = cells.low[other], cells.counts[other]
        z0, z1 = floor((body[0] - away) / side) - low[0], floor((body[0] + away) / side) - low[0]
        y0, y1 = floor((body[1] - away) / side) - low[1], floor((body[1] + away) / side) - low[1]
        x0, x1 = floor((body[2] - away) / side) - low[2], floor((body[2] + away) / side) - low[2]
        for z in range(max(z0, 0), min(z1 + 1, counts[0])):
            for y in range(max(y0, 0), min(y1 + 1, counts[1])):
                for x in range(max(x0, 0), min(x1 + 1, counts[2])):
                    place = cells.first[other] + (z * counts[1] + y) * counts[2] + x
                    if kept[place] and _near(body, bodies[place]):
                        return False
    return True


@njit(nogil=True, cache=True)
def find_voids(cells, seed, density, stretch):  # type: ignore[no-untyped-def]
    """The voids of all cells (one row of nine numbers each), and which of them are kept."""
    levels = cells.sides.size
    total = cells.first[levels - 1] + cells.counts[levels - 1].prod()
    bodies = np.zeros((total, 9))
    ranks = np.zeros(total, np.uint64)
    kept = np.zeros(total, np.bool_)
    for level in range(levels):
        low, counts = cells.low[level], cells.counts[level]
        side, place = cells.sides[level], cells.first[level]
        for z in range(low[0], low[0] + counts[0]):
            for y in range(low[1], low[1] + counts[1]):
                for x in range(low[2], low[2] + counts[2]):
                    ranks[place] = _fill_void(bodies[place], seed, level, side, density, stretch, z, y, x)
                    place += 1
        plane, row = counts[1] * counts[2], counts[2]
        for z in range(1, counts[0] - 1):
            for y in range(1, counts[1] - 1):
                for x in range(1, counts[2] - 1):
                    place = cells.first[level] + z * plane + y * row + x
                    if ranks[place] and _clear(bodies, kept, level, cells, bodies[place]):
                        kept[place] = _highest(bodies, ranks, place, row, plane)
    return bodies, kept


@njit(nogil=True, cache=True)
def paint_voids(out, start, cells, bodies, kept, numbers):  # type: ignore[no-untyped-def]
    """Fill voids into out (zeros): class 1, or ids where ``numbers`` has rows: cells along y, x and first id."""
    for level in range(cells.sides.size):
        low, counts = cells.low[level], cells.counts[level]
        place = cells.first[level]
        for z in range(counts[0]):
            for y in range(counts[1]):
                for x in range(counts[2]):
                    if kept[place]:
                        value = np.uint64(1)
                        if numbers.shape[0]:
                            row = (low[0] + z + 1) * numbers[level, 0] + low[1] + y + 1
                            value = np.uint64(numbers[level, 2] + row * numbers[level, 1] + low[2] + x + 1)
                        paint_spheroid(out, start, bodies[place], value)
                    place += 1


@njit(nogil=True, cache=True)
def paint_tubes(out, start, cells, bodies, kept, seed, share, radius, value):  # type: ignore[no-untyped-def]
    """Draw the tubes between voids of level 0 into out, where it is 0 still."""
    low, counts = cells.low[0], cells.counts[0]
    for z in range(1, counts[0] - 1):
        for y in range(1, counts[1] - 1):
            for x in range(1, counts[2] - 1):
                place = (z * counts[1] + y) * counts[2] + x
                if not kept[place]:
                    continue
                for side in range(14, 27):  # the 13 neighbours that follow in raster order
                    dz, dy, dx = side // 9 - 1, side // 3 % 3 - 1, side % 3 - 1
                    other = place + (dz * counts[1] + dy) * counts[2] + dx
                    if not kept[other]:
                        continue
                    key = cell_key(seed, _TUBES + side, low[0] + z, low[1] + y, low[2] + x)
                    if uniform(key, 0) < share:
                        _tube(out, start, key, cells.sides[0], bodies[place], bodies[other], radius, value)


@njit(nogil=True, cache=True)
def _tube(out, start, key, cell, body, other, radius, value):  # type: ignore[no-untyped-def]
    """One winding tube from centre to centre."""
    away = BEND * cell
    a = (body[0], body[1], body[2])
    d = (other[0], other[1], other[2])
    b = (
        (2.0 * a[0] + d[0]) / 3.0 + away * either(key, 1),
        (2.0 * a[1] + d[1]) / 3.0 + away * either(key, 2),
        (2.0 * a[2] + d[2]) / 3.0 + away * either(key, 3),
    )
    c = (
        (a[0] + 2.0 * d[0]) / 3.0 + away * either(key, 4),
        (a[1] + 2.0 * d[1]) / 3.0 + away * either(key, 5),
        (a[2] + 2.0 * d[2]) / 3.0 + away * either(key, 6),
    )
    for axis in range(3):  # a curve lies within its four points
        if max(max(a[axis], b[axis]), max(c[axis], d[axis])) + radius < start[axis]:
            return
        if min(min(a[axis], b[axis]), min(c[axis], d[axis])) - radius > start[axis] + out.shape[axis] - 1:
            return
    p = a
    for piece in range(1, PIECES + 1):
        t = piece / PIECES
        s = 1.0 - t
        wa, wb, wc, wd = s * s * s, 3.0 * s * s * t, 3.0 * s * t * t, t * t * t
        q = (
            wa * a[0] + wb * b[0] + wc * c[0] + wd * d[0],
            wa * a[1] + wb * b[1] + wc * c[1] + wd * d[1],
            wa * a[2] + wb * b[2] + wc * c[2] + wd * d[2],
        )
        paint_rod(out, start, p, q, radius, value)
        p = q


def level_sides(largest: float, smallest: float) -> Array:
    """Sides of the cells of each level, for voids of diameters from about ``smallest`` to ``largest`` voxels.

    >>> level_sides(40, 5)
    array([42, 22, 12])
    """
    sides = [ceil(largest) + 2]
    while 0.75 * (wide := largest / 2 ** len(sides)) >= smallest:
        sides.append(ceil(wide) + 2)
    return np.array(sides, np.int64)


def cells_around(box: Box, sides: Array, tubes: bool) -> Cells:
    """The cells that decide what is in a box.

    A void reaches half a cell into the box; the next coarser level is needed as far as it may push such a void away,
    and so on; two cells of level 0 where there are tubes.

    >>> cells_around(Box((0, 0, 0), (9, 9, 20)), np.array([10]), False)
    Cells(sides=array([10]), low=array([[-2, -2, -2]]), counts=array([[5, 5, 6]]), first=array([0]))
    """
    low, counts = np.empty((len(sides), 3), np.int64), np.empty((len(sides), 3), np.int64)
    reach = 0.0
    for level in range(len(sides) - 1, -1, -1):
        side = int(sides[level])
        reach += 0.5 * side + APART
        margin = max(reach, 2.0 * side) if tubes and level == 0 else reach
        for axis, (a, b) in enumerate(zip(*box, strict=True)):
            low[level, axis] = floor((a - margin) / side) - 1
            counts[level, axis] = floor((b - 1 + margin) / side) + 2 - low[level, axis]
        reach += 0.5 * side
    sizes = counts.prod(1)
    return Cells(sides, low, counts, np.cumsum(sizes) - sizes)


def void_numbers(sides: Array, shape: Shape) -> tuple[Array, int]:
    """How the voids of a volume are numbered: cells along y and x, first id of each level; and the greatest id.

    Cells are counted from the one before the volume's first to the one behind its last.

    >>> void_numbers(np.array([8, 4]), (8, 8, 9))
    (array([[ 3,  4,  1],
           [ 4,  5, 37]]), 116)
    """
    rows, most = [], 0
    for side in sides.tolist():
        planes, lines, columns = (-(-n // side) + 2 for n in shape)
        rows.append([lines, columns, most + 1])
        most += planes * lines * columns
    return np.array(rows, np.int64), most
