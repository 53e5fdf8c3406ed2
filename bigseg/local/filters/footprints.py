"""Flat footprints: which neighbours of a voxel count; and the runs of voxels along x that they are made of.

A footprint is a bool array of odd lengths, the voxel itself in the middle. Balls and disks hold the voxels at
a distance up to the radius, so radii need not be whole numbers::

    disk 1   . # .    disk 1.8   # # #    disk 2   . . # . .    cross 2   . . # . .
             # # #               # # #             . # # # .              . . # . .
             . # .               # # #             # # # # #              # # # # #
                                                   . # # # .              . . # . .
                                                   . . # . .              . . # . .

A ball of radius 5 has 515 voxels, but only 81 rows of them, in 5 different planes. `runs_of` finds what is
shared, so that `bigseg.local.filters.extremes` takes 44 rows and 11 planes in place of the 515 voxels, and for a ball
of radius 20 436 rows in place of 33,401 voxels (after E. R. Urbach and M. H. F. Wilkinson, Efficient 2-D
grayscale morphological transformations with arbitrary flat structuring elements, IEEE Trans. Image Processing
17, 2008, who share rows; that planes contain each other is our addition).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import ParameterError

Footprint = NDArray[np.bool_]
Indices = NDArray[np.int64]
Run = tuple[int, int, int]

_SLACK = 1e-9  # radii are often quotients, as 0.3 um / 0.1 um: a billionth of them is no distance


MOST = 1 << 27
"""Voxels of a footprint's box: 512 along each of three axes."""


def within_limit(lengths: Sequence[int]) -> tuple[int, ...]:
    """Lengths of a footprint that can be held in memory."""
    if prod(lengths) > MOST:
        shown = " x ".join(f"{n:.6g}" for n in lengths)
        raise ParameterError(f"a footprint of {shown} voxels: expected {MOST} at most; shrink the volume first")
    return tuple(lengths)


def box(size: Sequence[int]) -> Footprint:
    """All voxels of a box of odd widths.

    >>> box((1, 3)).astype(int)
    array([[1, 1, 1]])
    """
    if any(n < 1 or n % 2 == 0 for n in size):
        raise ParameterError(f"size {tuple(size)}: expected odd widths of 1 or more")
    return np.ones(within_limit(size), bool)


def reaches(radii: Sequence[float]) -> tuple[int, ...]:
    """Whole voxels within a radius along each axis.

    >>> reaches((1.8, 5, 0.3 / 0.1))
    (1, 5, 3)
    """
    if not all(0 <= r < np.inf for r in radii):
        raise ParameterError(f"radius {tuple(radii)}: expected finite values of 0 or more")
    halves = whole(radii)
    within_limit([2 * half + 1 for half in halves])
    return halves


def whole(lengths: Sequence[float]) -> tuple[int, ...]:
    """Whole voxels in lengths, of any size.

    >>> whole((1.8, 5000, 0.3 / 0.1))
    (1, 5000, 3)
    """
    return tuple(int(length * (1 + _SLACK)) for length in lengths)


def ball(radii: Sequence[float]) -> Footprint:
    """The voxels of an ellipsoid with a radius along each axis, in voxels: ``sum of (d / radius) ** 2 <= 1``.

    Of two axes it is a disk. A radius of 0 leaves one voxel along its axis.

    >>> ball((1, 2)).astype(int)
    array([[0, 0, 1, 0, 0],
           [1, 1, 1, 1, 1],
           [0, 0, 1, 0, 0]])
    """
    total = np.zeros((1,) * len(radii))
    for axis, (half, radius) in enumerate(zip(reaches(radii), radii, strict=True)):
        distance = np.arange(-half, half + 1) / radius if half else np.zeros(1)
        total = total + (distance**2).reshape([-1 if a == axis else 1 for a in range(len(radii))])
    return np.asarray(total <= 1 + _SLACK)


def cross(radii: Sequence[float]) -> Footprint:
    """The voxel and its neighbours along each axis.

    >>> cross((0, 1, 2)).astype(int)
    array([[[0, 0, 1, 0, 0],
            [1, 1, 1, 1, 1],
            [0, 0, 1, 0, 0]]])
    """
    halves = reaches(radii)
    out = np.zeros([2 * half + 1 for half in halves], bool)
    for axis in range(len(halves)):
        out[tuple(slice(None) if a == axis else half for a, half in enumerate(halves))] = True
    return out


def checked(footprint: Footprint, ndim: int) -> Footprint:
    """A footprint as a bool array in C order.

    Raises
    ------
    ParameterError : not one odd length an axis, or no voxel in it.
    """
    found = np.asarray(footprint)
    if found.ndim != ndim or any(n % 2 == 0 for n in found.shape) or not found.any():
        raise ParameterError(
            f"a footprint of shape {found.shape} with {np.count_nonzero(found)} voxels: expected {ndim} odd lengths, "
            f"one an axis, the voxel itself in the middle, and at least one voxel"
        )
    return np.ascontiguousarray(found, bool)


class Runs(NamedTuple):
    """A footprint of three axes as runs along x.

    widths: of runs, ascending from 1, each at most twice the one before, so that the least of a run follows
    from two runs of the width before; lines: (y, x, place in widths) of the runs of each different plane;
    first: where its lines begin, and the end; base: a plane within it whose voxels need not be visited
    again, or -1; planes: (z, plane) for each z of the footprint that holds voxels.
    """

    widths: Indices
    lines: Indices
    first: Indices
    base: Indices
    planes: Indices


def doubling(widths: Iterable[int]) -> list[int]:
    """Ascending widths from 1 that include those given, none more than twice the one before.

    >>> doubling([3, 11])
    [1, 2, 3, 6, 11]
    """
    chain = [1]
    for width in sorted(widths):
        while width > 2 * chain[-1]:
            chain.append(2 * chain[-1])
        if width > chain[-1]:
            chain.append(width)
    return chain


def runs_of(footprint: Footprint) -> Runs:
    """The runs of a footprint of three axes that holds a voxel.

    >>> disk = runs_of(ball((0, 2, 2)))
    >>> disk.widths.tolist(), len(disk.lines) // 4
    ([1, 2, 3, 5], 2)
    """
    return _runs(footprint.shape, footprint.tobytes())


@lru_cache(maxsize=16)
def _runs(shape: tuple[int, ...], data: bytes) -> Runs:
    footprint = np.frombuffer(data, np.bool_).reshape(shape)
    held = {plane.tobytes(): plane for plane in footprint if plane.any()}
    planes = sorted(held.values(), key=np.count_nonzero)
    place = {plane.tobytes(): number for number, plane in enumerate(planes)}
    runs = [set(_along_x(plane)) for plane in planes]
    base = [_base(number, planes, runs) for number in range(len(planes))]
    widths = doubling({width for own in runs for _, _, width in own})
    lines: list[Run] = []
    first = [0]
    for own, below in zip(runs, base, strict=True):
        new = sorted(own - runs[below] if below >= 0 else own)
        # The kernel takes four lines a turn; the least does not change when one is taken twice.
        new += new[-1:] * (-len(new) % 4)
        lines += [(y, x, widths.index(width)) for y, x, width in new]
        first.append(len(lines))
    used = [(z, place[plane.tobytes()]) for z, plane in enumerate(footprint) if plane.any()]
    return Runs(*(np.array(item, np.int64) for item in (widths, lines, first, base, used)))


def _along_x(plane: Footprint) -> Iterable[Run]:
    """(y, first x, width) of every run of a plane."""
    steps = np.diff(np.pad(plane, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    y, start = np.nonzero(steps == 1)
    stop = np.nonzero(steps == -1)[1]
    return zip(y.tolist(), start.tolist(), (stop - start).tolist(), strict=True)


def _base(number: int, planes: Sequence[Footprint], runs: Sequence[set[Run]]) -> int:
    """The smaller plane within a plane that shares most runs with it, -1 when sharing would save nothing."""
    best, saved = -1, 1
    for other in range(number):
        shared = len(runs[other] & runs[number])
        if shared > saved and not (planes[other] & ~planes[number]).any():
            best, saved = other, shared
    return best
