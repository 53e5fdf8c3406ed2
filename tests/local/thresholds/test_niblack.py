"""Thresholds from windows against scikit-image, against sums in plain NumPy, and against themselves in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from skimage.filters import threshold_niblack, threshold_sauvola

from bigseg.errors import ParameterError
from bigseg.local.thresholds import niblack
from bigseg.local.thresholds.niblack import compare_levels, window_threshold, window_threshold_working_bytes
from bigseg.local.thresholds.window_levels import Rule
from tests.local.crops import assert_blocks_do_not_show, assert_shifts_do_not_show, textured, whole
from tests.memory import bytes_held


def library(x: NDArray[Any], window: Sequence[int], rule: Rule) -> NDArray[np.float64]:
    """The threshold of scikit-image, in float64."""
    x = x.astype(np.float64)
    found = threshold_sauvola(x, window, rule.k, rule.r) if rule.r else threshold_niblack(x, window, rule.k)
    return np.asarray(found) - rule.offset


def by_numpy(x: NDArray[Any], window: Sequence[int]) -> NDArray[np.float64]:
    """The mean of each window, mirrored with the edge voxel twice."""
    padded = np.pad(x.astype(np.float64), [(w // 2, w // 2) for w in window], mode="symmetric")
    views = sliding_window_view(padded, tuple(window))
    return np.asarray(views.sum(axis=tuple(range(x.ndim, 2 * x.ndim))) / np.prod(window))


RULES = [Rule(0.2), Rule(-0.7), Rule(0.3, 30.0), Rule(0.3, 30.0, 4.0)]
PLACES: list[Any] = [
    ((11, 12, 40), (3, 5, 7)),
    ((11, 12, 40), (9, 1, 15)),
    ((30, 41), (7, 7)),
    ((5, 4), (9, 11)),
    ((1, 30), (5, 5)),
]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize(("shape", "window"), PLACES)
def test_integers_give_the_masks_of_scikit_image(dtype: str, shape: Any, window: Any) -> None:
    """8 and 16 bits, two and three axes, windows larger than the image: Niblack's and Sauvola's masks exactly."""
    info = np.iinfo(dtype)
    x = np.random.default_rng(1).integers(info.min, info.max, shape, dtype, endpoint=True)
    x.flat[: x.size // 2] = 7
    for rule in RULES[:3]:
        level = library(x, window, rule)
        for gives, mask in (("above", x > level), ("below", x < level)):
            found = window_threshold(x, window, rule, whole(shape), gives)  # type: ignore[arg-type]
            assert np.array_equal(found, mask), f"{rule}, {gives}"
        assert np.array_equal(window_threshold(x, window, rule, whole(shape), "threshold"), level.astype(np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "int32"])
@pytest.mark.parametrize(("shape", "window"), PLACES)
def test_thresholds_are_those_of_scikit_image(dtype: str, shape: Any, window: Any) -> None:
    """Every dtype: the threshold within 1e-6 of the value range, with and without an offset."""
    x = textured(shape, dtype)
    for rule in RULES:
        found = window_threshold(x, window, rule, whole(shape), "threshold")
        near = 1e-6 * float(np.ptp(x.astype(np.float64)))
        np.testing.assert_allclose(found, library(x, window, rule), rtol=1e-7, atol=near)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize(("shape", "window"), PLACES)
def test_the_mean_is_mirrored_with_the_edge_twice(dtype: str, shape: Any, window: Any) -> None:
    """With k = 0 and edge 'reflect' the threshold is the mean filter's; ties are no members of the mask."""
    x = textured(shape, dtype)
    mean = by_numpy(x, window)
    found = window_threshold(x, window, Rule(0.0), whole(shape), "threshold", "reflect")
    np.testing.assert_allclose(found, mean, rtol=2e-7)
    if np.dtype(dtype).kind != "f":
        mask = window_threshold(x, window, Rule(0.0), whole(shape), "above", "reflect")
        assert np.array_equal(mask, x > mean)


@pytest.mark.parametrize("width", [1, 3, 5, 7, 9, 11, 13, 15, 17, 31, 33, 63])
def test_windows_of_any_width(width: int) -> None:
    """Sums put together from those of 1, 2, 4 … voxels hold each voxel of the window once."""
    x = np.random.default_rng(width).integers(0, 1 << 20, (6, 70, 70)).astype(np.float64)
    found = window_threshold(x, (1, width, width), Rule(0.0), whole(x.shape), "threshold", "reflect")
    assert np.array_equal(found, by_numpy(x, (1, width, width)).astype(np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("shape", [(12, 11, 40), (26, 55)])
def test_crops_have_the_bits_of_the_whole(dtype: str, shape: Any) -> None:
    """Crops shifted by 1 to 17 voxels, and blocks of odd sizes, give the same bits."""
    x = textured(shape, dtype)
    window = (3, 5, 9)[-len(shape) :]

    def run(part: NDArray[Any], keep: Any) -> NDArray[Any]:
        return window_threshold(part, window, Rule(0.3, 20.0), keep, "threshold")

    assert_shifts_do_not_show(run, x, [w // 2 for w in window])
    assert_blocks_do_not_show(run, x, [w // 2 for w in window], (4, 7, 13)[-len(shape) :])


def test_integers_do_not_drift_over_long_rows() -> None:
    """Running sums of the greatest values over many rows and planes stay exact."""
    x = np.full((40, 30, 3000), 65535, np.uint16)
    x[:, :, 1500:] = 0
    found = window_threshold(x, (9, 9, 9), Rule(1.0), whole(x.shape), "threshold")
    assert np.all(found[:, :, 1504:] == 0)
    assert np.all(found[:, :, :1496] == 65535)


def test_levels_are_compared_in_float64() -> None:
    """A level less an offset is compared strictly, or given in float32."""
    x = np.array([[10, 11, 12], [9, 200, 10]], np.uint8)
    levels = np.array([[11, 11, 11], [10, 10, 10]], np.uint8)
    assert np.array_equal(compare_levels(x, levels, 1.0, "above"), x > 1.0 * levels - 1)
    assert np.array_equal(compare_levels(x, levels, 1.0, "below"), x < 1.0 * levels - 1)
    given = compare_levels(x, levels, 0.5, "threshold")
    assert given.dtype == np.float32
    assert np.array_equal(given, levels - 0.5)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("outer", [(20, 160, 170), (600, 700)])
def test_working_bytes_are_what_is_held(dtype: str, outer: Any) -> None:
    """The peak beside input and result is below what is declared, and not by much."""
    x = np.ones(outer, dtype)
    window = (7,) * len(outer)
    keep = tuple(slice(3, n - 3) for n in outer)
    result, most = bytes_held(window_threshold, x, window, Rule(0.2), keep)
    peak = most - result.nbytes
    declared = window_threshold_working_bytes(outer, tuple(n - 6 for n in outer), window, np.dtype(dtype))
    assert 0.7 * declared <= peak <= declared


def test_what_cannot_be_is_refused() -> None:
    """Windows that are even, too few or too large, and dtypes that are not real numbers."""
    x = np.zeros((5, 5))
    for window, said in (((3,), "2 odd"), ((3, 4), "odd"), ((65537, 65537), "2\\^31")):
        with pytest.raises(ParameterError, match=said):
            window_threshold(x, window, Rule(0.2), whole(x.shape))
    with pytest.raises(ParameterError, match="complex"):
        window_threshold(x.astype(complex), (3, 3), Rule(0.2), whole(x.shape))
    assert not niblack._exact(np.dtype("int32"))
