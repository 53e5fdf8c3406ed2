"""Total variation against scikit-image's Chambolle, and against itself in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.restoration import denoise_tv_chambolle

from bigseg.errors import ParameterError
from bigseg.local.filters.total_variation import total_variation, total_variation_working_bytes
from tests.local.crops import assert_blocks_do_not_show, assert_shifts_do_not_show, textured, whole
from tests.memory import bytes_held


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("iterations", [1, 2, 3, 25])
@pytest.mark.parametrize("shape", [(9, 10, 23), (21, 34), (1, 5, 6), (4, 1), (2, 2, 2)])
def test_is_that_of_scikit_image(dtype: str, iterations: int, shape: Any) -> None:
    """Any dtype, two and three axes, axes of one voxel, any number of iterations: scikit-image with eps=0."""
    x = textured(shape, dtype)
    found = total_variation(x, 12.0, iterations, whole(shape))
    wanted = denoise_tv_chambolle(x.astype(np.float64), weight=12.0, eps=0, max_num_iter=iterations)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * max(1.0, float(np.ptp(x.astype(float)))))


def test_one_iteration_gives_the_image() -> None:
    """The first iteration only prepares the second."""
    x = textured((5, 6, 7), "uint16")
    assert np.array_equal(total_variation(x, 5.0, 1, whole(x.shape)), x.astype(np.float32))


def test_variation_falls_with_weight_and_the_mean_stays() -> None:
    """More weight leaves less variation; what a voxel loses its neighbours gain."""
    x = textured((30, 40))
    results = [total_variation(x, weight, 40, whole(x.shape)) for weight in (2.0, 8.0, 32.0)]
    variations = [float(np.abs(np.diff(r, axis=1)).sum()) for r in (x, *results)]
    assert variations == sorted(variations, reverse=True)
    for result in results:
        assert result.mean(dtype=np.float64) == pytest.approx(x.mean(dtype=np.float64), rel=1e-6)


@pytest.mark.parametrize("shape", [(12, 11, 39), (26, 55)])
def test_crops_have_the_bits_of_the_whole(shape: Any) -> None:
    """Crops shifted by 1 to 17 voxels, and blocks of odd sizes, give the same bits."""
    x = textured(shape)

    def run(part: NDArray[Any], keep: Any) -> NDArray[Any]:
        return total_variation(part, 12.0, 6, keep)

    assert_shifts_do_not_show(run, x, [5] * len(shape))
    assert_blocks_do_not_show(run, x, [5] * len(shape), (3, 7, 11)[-len(shape) :])


@pytest.mark.parametrize(("less", "same"), [(4, True), (3, False)])
def test_the_depth_is_needed_and_enough(less: int, same: bool) -> None:
    """After 5 iterations a voxel depends on those within 4, and on some of them."""
    x = textured((41, 41))
    changed = x.copy()
    changed[:, : 20 - less] += 50
    changed[:, 20 + less + 1 :] -= 50
    keep = (slice(20, 21), slice(20, 21))
    assert np.array_equal(total_variation(x, 9.0, 5, keep), total_variation(changed, 9.0, 5, keep)) == same


def test_a_keep_without_voxels_gives_none() -> None:
    """An empty part is an empty array."""
    assert total_variation(np.zeros((4, 5)), 1.0, 3, (slice(0, 4), slice(2, 2))).shape == (4, 0)


@pytest.mark.parametrize("outer", [(40, 60, 70), (300, 200)])
def test_working_bytes_are_what_is_held(outer: Any) -> None:
    """The peak beside input and result is below what is declared, and not by much."""
    x = np.ones(outer, np.uint16)
    keep = tuple(slice(4, n - 4) for n in outer)
    result, most = bytes_held(total_variation, x, 5.0, 5, keep)
    peak = most - result.nbytes
    declared = total_variation_working_bytes(outer)
    assert 0.75 * declared <= peak <= declared


def test_parameters_that_cannot_be_are_refused() -> None:
    """A weight of 0 and no iteration are refused."""
    x = np.zeros((5, 5))
    for weight, iterations in ((0.0, 3), (float("nan"), 3), (1.0, 0)):
        with pytest.raises(ParameterError, match="above 0"):
            total_variation(x, weight, iterations, whole(x.shape))
