"""Bundles of curved fibres that run through the whole volume along one axis, without touching.

Across that axis (b, c) a lattice of cells holds a bundle each; a bundle holds fibres on a hexagonal lattice,
turned by an angle of its own. A bundle wanders as a whole along a smooth random curve and each of its fibres a
little on its own; both wander less than half of the gap to their neighbours. In each plane a fibre is a circle,
filled in runs::

    plane a   ┌───────┬───────┐
              │  o o  │       │    centre = cell + wander(bundle, a) + lattice + wander(fibre, a) + tilt * a
              │ o o o │  o o  │
              │  o o  │ o o o │
              └───────┴───────┘
"""

from __future__ import annotations

from math import floor, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit

from bigseg.local.phantom.hashing import cell_key, draw, either, wave
from bigseg.local.phantom.shapes import span

ROW = 0.8660254037844386  # rows of a hexagonal lattice of pitch 1


class Weave(NamedTuple):
    """How fibres lie, in voxels.

    cell: side of a bundle's cell; around: radius of the disk that its fibres' centres are in; sway: how far the
    bundle moves to either side; radius: of a fibre; pitch: between fibres; play: how far a fibre moves; length:
    between the knots of its curve; tilt: shift along b and c for one voxel along a.
    """

    cell: float
    around: float
    sway: float
    radius: float
    pitch: float
    play: float
    length: float
    tilt_b: float
    tilt_c: float

    @property
    def side(self) -> int:
        """Places of a bundle's lattice along b and along c that are numbered."""
        return 2 * int(self.around / (ROW * self.pitch) + 2.0) + 1


def weave(diameter: float, spacing: float, bundle: float, waviness: float, tilt: tuple[float, float]) -> Weave:
    """How fibres of a diameter lie whose centres are ``spacing`` diameters apart.

    Parameters
    ----------
    diameter : of a fibre, in voxels.
    spacing : distance of neighbouring fibres' centres, in diameters.
    bundle : side of a bundle's cell, in voxels.
    waviness : 0 straight, 1 as curved as there is room for.
    tilt : shift along b and c for one voxel along a.
    """
    pitch = spacing * diameter
    play = waviness * max(0.0, 0.5 * (pitch - diameter) - 1.0)
    sway = waviness * 0.06 * bundle
    around = max(0.0, 0.44 * bundle - 0.5 * diameter - play - 1.0)
    return Weave(bundle, around, sway, 0.5 * diameter, pitch, play, max(4.0 * diameter, 0.5 * bundle), *tilt)


@njit(nogil=True, cache=True)
def paint_fibres(out, start, seed, how, side, numbered, first_b, first_c, count_c):  # type: ignore[no-untyped-def]
    """Fill fibres into out (zeros), whose first axis is the one they run along: class 1, or ids.

    side: that of `Weave.side`. first_b, first_c, count_c: the cells of the volume, for ids.
    """
    half = side // 2
    for k in range(out.shape[0]):
        a = k + start[0]
        shift_b, shift_c = how.tilt_b * a, how.tilt_c * a
        low_b = floor((start[1] - shift_b) / how.cell)
        high_b = floor((start[1] + out.shape[1] - 1 - shift_b) / how.cell)
        low_c = floor((start[2] - shift_c) / how.cell)
        high_c = floor((start[2] + out.shape[2] - 1 - shift_c) / how.cell)
        for bundle_b in range(low_b, high_b + 1):
            for bundle_c in range(low_c, high_c + 1):
                key = cell_key(seed, 0, 0, bundle_b, bundle_c)
                mid_b = (bundle_b + 0.5) * how.cell + shift_b + how.sway * wave(draw(key, 0), a / how.length)
                mid_c = (bundle_c + 0.5) * how.cell + shift_c + how.sway * wave(draw(key, 1), a / how.length)
                moved = 0.5 * either(key, 2)
                turn_b, turn_c = either(key, 3), either(key, 4)
                length = sqrt(turn_b * turn_b + turn_c * turn_c) + 1e-9
                turn_b, turn_c = turn_b / length, turn_c / length
                for row in range(-half, half + 1):
                    off_b = (row + moved) * ROW * how.pitch
                    for column in range(-half, half + 1):
                        off_c = (column + 0.5 * (row % 2) + moved) * how.pitch
                        if off_b * off_b + off_c * off_c > how.around * how.around:
                            continue
                        place = (row + half) * side + column + half
                        own = draw(key, 8 + place)
                        cb = mid_b + turn_b * off_b - turn_c * off_c + how.play * wave(draw(own, 0), a / how.length)
                        cc = mid_c + turn_c * off_b + turn_b * off_c + how.play * wave(draw(own, 1), a / how.length)
                        value = np.uint64(1)
                        if numbered:
                            cell = (bundle_b - first_b) * count_c + bundle_c - first_c
                            value = np.uint64(cell * side * side + place + 1)
                        _disk(out[k], start[1], start[2], cb, cc, how.radius, value)


@njit(nogil=True, cache=True)
def _disk(plane, start_b, start_c, cb, cc, radius, value):  # type: ignore[no-untyped-def]
    """Fill a circle."""
    j0, j1 = span(cb, radius, start_b, plane.shape[0])
    for j in range(j0, j1):
        db = j + start_b - cb
        i0, i1 = span(cc, sqrt(max(0.0, radius * radius - db * db)), start_c, plane.shape[1])
        for i in range(i0, i1):
            plane[j, i] = value


def fibre_cells(how: Weave, shape: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """First cell along b and c that fibres of a volume can come from, cells along c, and the greatest id.

    >>> fibre_cells(weave(10, 1.3, 100, 1.0, (0.0, 0.0)), (50, 300, 200))
    (0, 0, 2, 726)
    """
    ranges = []
    for n, tilt in ((shape[1], how.tilt_b), (shape[2], how.tilt_c)):
        ends = [tilt * a for a in (0, shape[0] - 1)]
        ranges.append((floor((0 - max(ends)) / how.cell), floor((n - 1 - min(ends)) / how.cell) + 1))
    (b0, b1), (c0, c1) = ranges
    return b0, c0, c1 - c0, (b1 - b0) * (c1 - c0) * how.side**2
