"""Footprints against their definitions, and runs against the footprints that they stand for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import morphology

from bigseg.errors import ParameterError
from bigseg.local.filters.footprints import Runs, ball, box, checked, cross, doubling, reaches, runs_of


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 5, 8])
def test_whole_radii_give_the_balls_and_disks_of_scikit_image(radius: int) -> None:
    """Balls, disks, boxes and crosses of whole radii are those of scikit-image."""
    assert np.array_equal(ball((radius,) * 3), morphology.ball(radius))
    assert np.array_equal(ball((radius,) * 2), morphology.disk(radius))
    assert np.array_equal(ball((0, radius, radius)), morphology.disk(radius)[np.newaxis])
    assert np.array_equal(box((5, 2 * radius + 1)), morphology.footprint_rectangle((5, 2 * radius + 1)))
    assert np.array_equal(cross((1, 1, 1)), morphology.octahedron(1))


@pytest.mark.parametrize("radii", [(1.8, 1.8), (0.5, 2.2, 3.7), (2.9, 0, 1), (1, 1.4143, 1.7321)])
def test_balls_hold_what_is_within_the_radius(radii: Any) -> None:
    """Radii that are no whole numbers, that differ or are 0: the voxels of the ellipsoid and no other."""
    found = ball(radii)
    assert found.shape == tuple(2 * int(r) + 1 for r in radii)
    for place in np.ndindex(found.shape):
        away = [abs(p - n // 2) for p, n in zip(place, found.shape, strict=True)]
        inside = sum((d / r) ** 2 for d, r in zip(away, radii, strict=True) if d) <= 1
        assert found[place] == inside


def test_rounding_of_a_quotient_is_no_distance() -> None:
    """0.3 um / 0.1 um is 2.9999999999999996 in float64, and three voxels."""
    assert 0.3 / 0.1 < 3
    assert reaches((0.3 / 0.1,)) == (3,)
    assert np.array_equal(ball((0.3 / 0.1,) * 3), ball((3,) * 3))


def test_a_disk_of_1_8_is_a_square() -> None:
    """The course's disk(1.8) holds all eight neighbours."""
    assert ball((1.8, 1.8)).shape == (3, 3)
    assert ball((1.8, 1.8)).all()


def rebuilt(runs: Runs, shape: tuple[int, ...]) -> np.ndarray:
    """The footprint that runs stand for."""
    planes: list[np.ndarray] = []
    for number, base in enumerate(runs.base):
        plane = planes[base].copy() if base >= 0 else np.zeros(shape[1:], bool)
        for y, x, width in runs.lines[runs.first[number] : runs.first[number + 1]]:
            plane[y, x : x + runs.widths[width]] = True
        planes.append(plane)
    found = np.zeros(shape, bool)
    for z, plane in runs.planes:
        found[z] = planes[plane]
    return found


@given(hnp.arrays(bool, st.tuples(*(st.sampled_from([1, 3, 5, 7]),) * 3)))
@settings(max_examples=80)
def test_runs_stand_for_their_footprint(footprint: np.ndarray) -> None:
    """Planes built from runs, and from the planes within them, are the footprint's."""
    if footprint.any():
        assert np.array_equal(rebuilt(runs_of(footprint), footprint.shape), footprint)


@pytest.mark.parametrize("radius", [1, 2, 5, 9])
def test_runs_of_balls_are_shared(radius: int) -> None:
    """Balls are rebuilt too, from fewer lines than they have rows, of widths at most twice the one before."""
    footprint = ball((radius,) * 3)
    runs = runs_of(footprint)
    assert np.array_equal(rebuilt(runs, footprint.shape), footprint)
    assert (runs.widths[1:] <= 2 * runs.widths[:-1]).all()
    if radius > 2:
        assert len(runs.lines) < 0.7 * footprint.any(axis=2).sum()


@given(st.lists(st.integers(1, 200), min_size=1))
def test_doubling_reaches_every_width(widths: list[int]) -> None:
    """Every width asked for is there, ascending, and none is more than twice the one before."""
    chain = doubling(widths)
    assert set(widths) <= set(chain)
    assert chain[0] == 1
    assert all(a < b <= 2 * a for a, b in pairwise(chain))


def test_footprints_that_cannot_be_are_refused() -> None:
    """Even lengths, too few axes, no voxel, negative and infinite radii are refused."""
    for wrong in (np.ones((3, 2)), np.ones(3), np.zeros((3, 3))):
        with pytest.raises(ParameterError, match="expected 2 odd lengths"):
            checked(wrong, 2)
    with pytest.raises(ParameterError, match="odd widths"):
        box((3, 4))
    for radius in (-1.0, np.inf, np.nan):
        with pytest.raises(ParameterError, match="0 or more"):
            ball((radius, 1.0))
