"""The bilateral filter against its definition, scikit-image, and itself in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray
from skimage.restoration import denoise_bilateral

from bigseg.errors import ParameterError
from bigseg.local.filters.bilateral import bilateral, bilateral_window, bilateral_working_bytes
from bigseg.local.filters.exponential import FURTHEST, LARGEST, power_of_half, rough_exponential
from tests.local.crops import assert_blocks_do_not_show, assert_shifts_do_not_show, textured, whole
from tests.memory import bytes_held


def defined(x: NDArray[Any], color: float, spatial: Sequence[float], window: Sequence[int]) -> NDArray[np.float64]:
    """The definition in float64, neighbour by neighbour."""
    x = x.astype(np.float32).astype(np.float64)
    radii = [w // 2 for w in window]
    padded = np.pad(x, [(r, r) for r in radii], mode="symmetric")
    total, moved = np.zeros(x.shape), np.zeros(x.shape)
    for place in np.ndindex(*window):
        there = padded[tuple(slice(p, p + n) for p, n in zip(place, x.shape, strict=True))]
        far = sum(((p - r) / s) ** 2 for p, r, s in zip(place, radii, spatial, strict=True) if p != r)
        weights = np.exp(-0.5 * far - 0.5 * ((there - x) / color) ** 2)
        total += weights
        moved += weights * there
    return moved / total


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "spatial", "window"),
    [((12, 13, 40), (1.0, 0.8, 2.0), (3, 5, 7)), ((25, 40), (1.0, 1.0), (7, 7)), ((3, 2), (2.0, 2.0), (9, 9))],
)
def test_is_the_definition(dtype: str, shape: Any, spatial: Any, window: Any) -> None:
    """Any dtype, two and three axes, windows larger than the image: the sum as defined, in float64."""
    x = textured(shape, dtype)
    found = bilateral(x, 15.0, spatial, window, whole(shape))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, defined(x, 15.0, spatial, window), rtol=0, atol=1e-6 * np.ptp(x.astype(float)))


def test_is_that_of_scikit_image_where_distance_does_not_count() -> None:
    """In 2-D, with many bins and weights of distance that are all 1, the result is scikit-image's."""
    x = textured((31, 44))
    wanted = denoise_bilateral(
        x.astype(np.float64), win_size=5, sigma_color=12.0, sigma_spatial=1e4, bins=1_000_000, mode="symmetric"
    )
    found = bilateral(x, 12.0, (1e4, 1e4), (5, 5), whole(x.shape))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.ptp(x))


def test_edges_stay_and_flat_parts_do_not_change() -> None:
    """A step of many sigma stays where it is, and a flat image keeps its bits."""
    flat = np.full((5, 6, 20), 12345.678, np.float32)
    assert np.array_equal(bilateral(flat, 3.0, (1, 1, 1), (5, 5, 5), whole(flat.shape)), flat)
    step = np.where(np.arange(40) < 20, 50, 150) * np.ones((4, 5, 1))
    assert np.array_equal(bilateral(step, 5.0, (1, 1, 1), (5, 5, 5), whole(step.shape)), step)


def test_values_that_are_far_apart_have_no_weight_and_no_overflow() -> None:
    """Differences of any size, infinite when squared, give the voxel itself."""
    x = np.array([[0, 1e38, -1e38, 1e30, 5]], np.float32)
    assert np.array_equal(bilateral(x, 1.0, (1, 1), (1, 5), whole(x.shape)), x)


def test_sigma_of_zero_reads_nothing_along_an_axis() -> None:
    """Planes are filtered one by one where the spatial sigma along z is 0."""
    x = textured((4, 15, 16))
    found = bilateral(x, 9.0, (0, 1, 1), (3, 5, 5), whole(x.shape))
    planes = [bilateral(plane, 9.0, (1, 1), (5, 5), whole(plane.shape)) for plane in x]
    assert np.array_equal(found, np.stack(planes))
    assert bilateral_window(0) == 1


@pytest.mark.parametrize("shape", [(9, 10, 41), (24, 55)])
def test_crops_have_the_bits_of_the_whole(shape: Any) -> None:
    """Crops shifted by 1 to 17 voxels, and blocks of odd sizes, give the same bits."""
    x = textured(shape)
    window = (3, 5, 7)[-len(shape) :]
    depth = [w // 2 for w in window]

    def run(part: NDArray[Any], keep: Any) -> NDArray[Any]:
        return bilateral(part, 8.0, (1.0,) * part.ndim, window, keep)

    assert_shifts_do_not_show(run, x, depth)
    assert_blocks_do_not_show(run, x, depth, (4, 7, 13)[-len(shape) :])


@njit
def every(function: Any, values: Any, out: Any) -> None:
    """A function of a float32 for all values, in a loop that can be made of vectors."""
    for i in range(values.size):
        out[i] = function(values[i])


def test_exponentials_are_as_near_as_said_and_the_same_in_every_lane() -> None:
    """Within 3e-7 and 4 % of the exponential; crops of the loop give the same bits."""
    for function, base, end, near in ((power_of_half, 2.0, LARGEST, 3e-7), (rough_exponential, exp(1), FURTHEST, 0.04)):
        values = np.linspace(0, end, 200_001).astype(np.float32)
        found = np.empty_like(values)
        every(function, values, found)
        assert np.abs(found / base ** -values.astype(np.float64) - 1).max() < near
        for shift in range(1, 18):
            again = np.empty(1001 - shift, np.float32)
            every(function, values[shift:1001], again)
            assert again.tobytes() == found[shift:1001].tobytes()


@pytest.mark.parametrize("outer", [(40, 60, 70), (300, 200)])
def test_working_bytes_are_what_is_held(outer: Any) -> None:
    """The peak beside input and result is below what is declared, and not by much."""
    x = np.ones(outer, np.uint16)
    keep = tuple(slice(2, n) for n in outer)
    inner = tuple(n - 2 for n in outer)
    args = (5.0, (1.0,) * len(outer), (5,) * len(outer), keep)
    result, most = bytes_held(bilateral, x, *args)
    peak = most - result.nbytes
    declared = bilateral_working_bytes(outer, inner, (5,) * len(outer))
    assert 0.75 * declared <= peak <= declared


def test_parameters_that_cannot_be_are_refused() -> None:
    """Sigmas and windows that mean nothing are refused."""
    x = np.zeros((5, 5))
    for color, spatial, window, said in (
        (0.0, (1, 1), (3, 3), "sigma_color"),
        (1.0, (1,), (3, 3), "2 finite"),
        (1.0, (1, 1), (3, 4), "odd widths"),
    ):
        with pytest.raises(ParameterError, match=said):
            bilateral(x, color, spatial, window, whole(x.shape))
