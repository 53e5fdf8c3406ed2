"""Surface from crossings: Crofton's formula over the directions of a lattice, for any spacing.

A random line meets a surface as often as it is large: averaged over all directions, the number of crossings with
the parallel lines of one direction, times the area that each line stands for, is half of the surface (in 2-D, times
the distance of the lines, 2 / pi of the perimeter). On a lattice there are 13 directions (in 2-D 4), and each
stands for the part of the sphere that is nearest to it, its Voronoi cell. G. Lehmann and D. Legland (2012),
Efficient N-dimensional surface estimation using Crofton formula and run-length encoding, Insight Journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from math import atan2, hypot, pi, prod

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.objects.exposed import LATER
from bigseg.local.objects.exposed_sums import KINDS


def surface(crossings: NDArray[np.int64], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Surface area (3-D) or perimeter (2-D) of objects.

    Parameters
    ----------
    crossings : integers of shape (rows, 7): how often lattice lines along each of `KINDS` of directions cross the
        surface, entries and exits counted.
    spacing : of voxels, two or three lengths.

    Returns
    -------
    float64 of shape (rows,), in squared lengths (2-D: lengths). Within 1 % for balls of radius 5 and more.

    >>> exits = np.array([[1, 1, 2, 0, 0, 0, 0]])  # of one pixel
    >>> surface(2 * exits, (1.0, 1.0)).round(4).tolist()
    [2.6815]
    """
    found = np.zeros(len(crossings))
    for column, weight in enumerate(weights(tuple(float(step) for step in spacing))):
        if weight:
            found += crossings[:, column] * weight
    return found


@cache
def weights(spacing: tuple[float, ...]) -> tuple[float, ...]:
    """What one crossing along each of `KINDS` adds to the surface.

    Raises
    ------
    ParameterError : neither two nor three axes, or one spacing a million times another.

    >>> [round(weight, 4) for weight in weights((1.0, 1.0, 1.0))[:3]]
    [0.1831, 0.1831, 0.1046]
    """
    if len(spacing) not in (2, 3):
        raise ParameterError(f"spacing {spacing}: expected that of two or three axes")
    if not 0 < max(spacing) < 1e6 * min(spacing):
        raise ParameterError(f"spacing {spacing}: expected positive lengths that differ by less than a factor of 1e6")
    shares = _shares_of_sphere(spacing) if len(spacing) == 3 else _shares_of_circle(spacing)
    factor = 2.0 if len(spacing) == 3 else pi / 2
    found = []
    for kind in KINDS:
        steps = [step for step in shares if _kind(step) == kind]
        share = sum(shares[step] for step in steps) / max(1, len(steps))  # alike but for rounding
        length = hypot(*(a * b for a, b in zip(steps[0], spacing, strict=True))) if steps else 1.0
        found.append(factor * share * prod(spacing) / length)
    return tuple(found)


def _kind(step: tuple[int, ...]) -> str:
    return "".join(axis for axis, along in zip("zyx"[-len(step) :], step, strict=True) if along)


def _shares_of_sphere(spacing: tuple[float, ...]) -> dict[tuple[int, ...], float]:
    steps = [step for step in product((-1, 0, 1), repeat=3) if any(step)]
    places = np.array(steps) * np.array(spacing)
    places /= np.linalg.norm(places, axis=1)[:, None]
    from scipy.spatial import SphericalVoronoi  # which takes 0.2 s to load

    areas = SphericalVoronoi(places, threshold=1e-9).calculate_areas() / (4 * pi)
    both = dict(zip(steps, areas.tolist(), strict=True))
    return {(z, y, x): both[z, y, x] + both[-z, -y, -x] for z, y, x in LATER}


def _shares_of_circle(spacing: tuple[float, ...]) -> dict[tuple[int, ...], float]:
    steps = [(0, 1), (1, 1), (1, 0), (1, -1)]  # by their angle, from 0 to pi
    angles = [atan2(y * spacing[0], x * spacing[1]) for y, x in steps]
    ends = [angles[-1] - pi, *angles, pi]
    return {step: (ends[k + 2] - ends[k]) / (2 * pi) for k, step in enumerate(steps)}
