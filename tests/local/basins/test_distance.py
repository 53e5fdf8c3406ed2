"""Distances against scipy, for sides of every kind; any crop gives the same bits; memory as said."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from bigseg.errors import ParameterError
from bigseg.local.basins.distance import distance_transform, distance_working_bytes, squares_of
from bigseg.local.basins.growing import nearest_reach
from tests.local.crops import assert_blocks_do_not_show, assert_shifts_do_not_show, whole
from tests.memory import bytes_held

SHAPES = ((60,), (33, 41), (19, 24, 31))
SIDES = (((2.0, 1.0, 0.5), "uint16"), ((3.0, 0.8, 0.8), "uint16"), ((1.37, 0.91, 1.13), "float64"))


def holes(shape: tuple[int, ...], share: float, seed: int = 0) -> NDArray[np.bool_]:
    """Foreground with background voxels here and there."""
    return np.random.default_rng(seed).random(shape) >= share


def oracle(mask: NDArray, most: float, sides: tuple[float, ...]) -> NDArray[np.float32]:
    """scipy, capped; of a mask without background the cap."""
    if mask.all():
        return np.full(mask.shape, most, np.float32)
    return np.minimum(ndimage.distance_transform_edt(mask, sides), most).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("most", [0.5, 1.0, 1.5, 2.0, 5.3, 12.0, 300.0])
def test_equals_scipy_to_the_last_bit_for_cubic_voxels(shape: tuple[int, ...], most: float) -> None:
    """Distances in voxels are scipy's, up to the cap, from dense noise to no background at all."""
    for share in (0.5, 0.03, 0.001, 0.0):
        mask = holes(shape, share)
        found = distance_transform(mask, most, (1.0,) * mask.ndim, whole(shape))
        np.testing.assert_array_equal(found, oracle(mask, most, (1.0,) * mask.ndim), err_msg=f"{share}")


@pytest.mark.parametrize(("three", "dtype"), SIDES)
def test_equals_scipy_for_voxels_of_unequal_sides(three: tuple[float, ...], dtype: str) -> None:
    """With physical sides distances are scipy's within the last bit, as integers and as real numbers."""
    for shape in SHAPES[1:]:
        sides = three[-len(shape) :]
        for most in (0.4, 3.0, 9.0):
            assert squares_of(most, three).dtype == dtype
            for share in (0.1, 0.002):
                mask = holes(shape, share)
                found = distance_transform(mask, most, sides, whole(shape))
                wanted = oracle(mask, most, sides)
                assert np.abs(found.view(np.int32) - wanted.view(np.int32)).max() <= 1, (shape, most)


def test_labels_of_any_dtype_are_one_foreground() -> None:
    """What is not 0 is foreground, whatever its value."""
    labels = np.random.default_rng(1).integers(-2, 3, (20, 30)).astype(np.int16)
    expected = oracle(labels != 0, 4.0, (1.0, 1.0))
    for dtype in ("int16", "int64", "bool"):
        found = distance_transform(labels.astype(dtype), 4.0, (1.0, 1.0), whole(labels.shape))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("sides", [(1.0, 1.0, 1.0), (1.37, 0.91, 1.13)])
def test_crops_give_the_bits_of_the_whole(sides: tuple[float, ...]) -> None:
    """A part grown by the reach has the same bits, wherever it lies."""
    for shape in SHAPES:
        mask, own = holes(shape, 0.01, 3), sides[-len(shape) :]
        reach = nearest_reach(4.6, own)

        def run(x: NDArray, keep: tuple[slice, ...], own: tuple[float, ...] = own) -> NDArray:
            return distance_transform(x, 4.6, own, keep)

        assert_shifts_do_not_show(run, mask, reach)
        assert_blocks_do_not_show(run, mask, reach, (7,) * mask.ndim)
        assert_blocks_do_not_show(run, mask, reach, (1, 50, 3)[-mask.ndim :])


@pytest.mark.parametrize(("most", "dtype"), [(6.0, "bool"), (6.0, "int32"), (200.0, "bool")])
def test_memory_is_what_is_said(most: float, dtype: str) -> None:
    """Beside input and result it holds what distance_working_bytes says."""
    mask = holes((60, 70, 80), 0.01).astype(dtype)
    keep = (slice(6, 54), slice(6, 64), slice(6, 74))
    found, held = bytes_held(lambda: distance_transform(mask, most, (1.0,) * 3, keep))
    said = distance_working_bytes(mask.shape, found.shape, most, (1.0,) * 3, mask.dtype)
    assert said / 1.3 <= held - found.nbytes <= said + 16384


def test_bad_parameters_are_refused() -> None:
    """Floats, a cap of 0 and sides that do not fit say what was expected."""
    mask = np.ones((4, 4), bool)
    for array, most, sides in ((mask.astype(float), 1, (1, 1)), (mask, 0, (1, 1)), (mask, 1, (1,)), (mask, 1, (1, 0))):
        with pytest.raises(ParameterError, match=r"expected|threshold"):
            distance_transform(array, most, sides, whole(mask.shape))
