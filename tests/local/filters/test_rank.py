"""Rank filters against scipy, by the 0-1 principle, and against themselves in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.grid import Box
from bigseg.local.filters.rank import median, median_working_bytes, rank_filter
from tests.memory import bytes_held

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
Keep = tuple[slice, ...]


def noise(shape: Sequence[int], dtype: str = "uint16", seed: int = 0) -> NDArray[Any]:
    """Few values for half of the voxels, so that there are ties, and the whole range for the others."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        wide = rng.normal(0, 1, shape) * 10.0 ** rng.integers(-30, 30, shape)
    else:
        info = np.iinfo(dtype)
        wide = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    few = rng.integers(0, 5, shape) - (np.dtype(dtype).kind != "u") * 2
    return np.where(rng.random(shape) < 0.5, few.astype(dtype), wide.astype(dtype))


def whole(shape: Sequence[int]) -> Keep:
    """All of an array."""
    return tuple(slice(0, n) for n in shape)


def windows(x: NDArray[Any], size: Sequence[int]) -> NDArray[Any]:
    """All voxels of the box around each voxel, along one last axis."""
    padded = np.pad(x, [(s // 2, s // 2) for s in size], mode="symmetric")
    return np.lib.stride_tricks.sliding_window_view(padded, tuple(size)).reshape(*x.shape, -1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "keep", "size"),
    [
        ((9, 10, 45), (slice(2, 9), slice(0, 10), slice(3, 38)), (3, 3, 3)),
        ((9, 10, 45), (slice(0, 9), slice(3, 4), slice(0, 45)), (1, 3, 3)),
        ((30, 41), (slice(0, 30), slice(5, 41)), (3, 3)),
        ((9, 10, 45), (slice(0, 7), slice(2, 10), slice(0, 44)), (5, 3, 7)),
        ((30, 41), (slice(4, 30), slice(0, 41)), (7, 5)),
        ((60,), (slice(1, 60),), (9,)),
        ((60,), (slice(0, 60),), (3,)),
    ],
)
def test_median_is_that_of_scipy(dtype: str, shape: Any, keep: Keep, size: Any) -> None:
    """Any dtype, one to three axes, any part, any odd size: scipy's median, with the dtype kept."""
    x = noise(shape, dtype)
    found = median(x, size, keep)
    assert found.dtype == x.dtype
    assert np.array_equal(found, ndi.median_filter(x, size=size, mode="reflect")[keep])


def test_27_voxels_are_ranked_right_for_all_zeros_and_ones() -> None:
    """Every way to put zeros and ones into triples that are sorted along z gives the majority of 27."""
    triples = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1]], np.uint8)
    cubes = triples[np.array(list(product(range(4), repeat=9)))].reshape(-1, 3, 3, 3)
    x = np.ascontiguousarray(cubes.transpose(3, 2, 0, 1)).reshape(3, 3, -1)
    found = median(x, (3, 3, 3), (slice(1, 2), slice(1, 2), slice(0, x.shape[2])))[0, 0, 1::3]
    assert np.array_equal(found, cubes.sum((1, 2, 3)) > 13)


def test_3_voxels_along_z_may_lie_in_any_order() -> None:
    """Triples in any order, which the test above leaves out, give the same median."""
    rng = np.random.default_rng(0)
    x = noise((3, 3, 400))
    expected = median(x, (3, 3, 3), (slice(1, 2), slice(1, 2), slice(1, 399)))
    for _ in range(20):
        mixed = rng.permuted(x, axis=0)
        found = median(mixed, (3, 3, 3), (slice(1, 2), slice(1, 2), slice(1, 399)))
        assert np.array_equal(found, expected)


def test_9_pixels_are_ranked_right_for_all_zeros_and_ones() -> None:
    """All 512 images of 3 x 3 zeros and ones give their majority."""
    squares = np.array(list(product((0, 1), repeat=9)), np.uint8).reshape(-1, 3, 3)
    x = np.ascontiguousarray(squares.transpose(1, 0, 2)).reshape(3, -1)
    found = median(x, (3, 3), (slice(1, 2), slice(0, x.shape[1])))[0, 1::3]
    assert np.array_equal(found, squares.sum((1, 2)) > 4)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 3), (2, 1, 40), (3, 5, 1), (1, 6), (7, 1), (2,)])
@pytest.mark.parametrize("width", [3, 5, 9])
def test_axes_shorter_than_the_box_are_mirrored_over_and_over(shape: Any, width: int) -> None:
    """Axes of one, two or a few voxels give scipy's median whatever the size."""
    x = noise(shape)
    size = (width,) * len(shape)
    reference = ndi.median_filter(x, size=size, mode="reflect")
    assert np.array_equal(median(x, size, whole(shape)), reference)


@pytest.mark.parametrize("dtype", ["uint64", "int64"])
@pytest.mark.parametrize("size", [(3, 3, 3), (1, 3, 3), (3, 3, 5)])
def test_integers_of_64_bits_are_exact(dtype: str, size: Any) -> None:
    """Integers that float64 cannot tell apart are, which scipy does not do."""
    x = noise((4, 5, 30), dtype)
    expected = np.sort(windows(x, size))[..., np.prod(size) // 2]
    assert np.array_equal(median(x, size, whole(x.shape)), expected)


@pytest.mark.parametrize("size", [(3, 3), (1, 5), (5, 5)])
@given(data=st.data())
@settings(max_examples=30)
def test_median_of_any_real_numbers(size: Any, data: st.DataObject) -> None:
    """Infinities, subnormals, both zeros and huge values: the middle of the sorted window."""
    values = hnp.from_dtype(np.dtype("float32"), allow_nan=False)
    x = data.draw(hnp.arrays(np.float32, (4, 6), elements=values))
    expected = np.sort(windows(x, size))[..., np.prod(size) // 2]
    assert np.array_equal(median(x, size, whole(x.shape)), expected)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_any_rank_of_any_footprint_is_that_of_scipy(dtype: str) -> None:
    """Least, greatest and ranks between, of a ball, a disk and one with holes: scipy's rank filter."""
    x = noise((6, 9, 31), dtype)
    z, y, x_ = np.ogrid[-1:2, -2:3, -2:3]
    ball = z * z * 4 + y * y + x_ * x_ <= 4
    disk = (y * y + x_ * x_ <= 5).reshape(1, 5, 5)
    holes = np.random.default_rng(1).random((3, 1, 7)) < 0.5
    for footprint in (ball, disk, holes):
        taps = int(footprint.sum())
        for rank in {0, taps // 3, taps // 2, taps - 1}:
            reference = ndi.rank_filter(x, rank, footprint=footprint, mode="reflect")
            assert np.array_equal(rank_filter(x, footprint, rank, whole(x.shape)), reference)


def test_windows_of_more_than_65535_voxels() -> None:
    """A window of more voxels than 16 bits can count is ranked right."""
    x = noise((5, 6, 7), "uint8")
    footprint = np.ones((41, 41, 41), bool)
    for rank in (0, 35000, footprint.size - 1):
        reference = np.sort(windows(x, footprint.shape)[2, 3, 4])[rank]
        assert rank_filter(x, footprint, rank, (slice(2, 3), slice(3, 4), slice(4, 5))).item() == reference


@pytest.mark.parametrize("size", [(3, 3), (1, 5)])
def test_rows_longer_than_a_strip(size: Any) -> None:
    """Rows of a few thousand voxels, worked on in strips, give scipy's median."""
    x = noise((4, 1600))
    for stop in (1600, 1030, 513):
        keep = (slice(0, 4), slice(2, stop))
        assert np.array_equal(median(x, size, keep), ndi.median_filter(x, size=size, mode="reflect")[keep])


@pytest.mark.parametrize("size", [(3, 3, 3), (3, 5, 3)])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", range(1, 18))
def test_shifted_crops_give_the_same_bits(size: Any, axis: int, shift: int) -> None:
    """A crop that starts 1 to 17 voxels on, along any axis, has the bits of the whole, -0.0 included."""
    shape = [6, 7, 8]
    shape[axis] = 75
    x = np.random.default_rng(0).choice(np.array([-0.0, 0.0, 1.0, -1.0], np.float32), shape)
    inner = Box(tuple(shift if a == axis else 0 for a in range(3)), tuple(shape))
    outer = inner.grow([s // 2 for s in size], shape)
    found = median(x[outer.slices], size, inner.within(outer))
    assert found.tobytes() == median(x, size, whole(shape))[inner.slices].tobytes()


@given(st.data())
@settings(max_examples=60)
def test_any_block_gives_the_whole(data: st.DataObject) -> None:
    """Any box of a volume, read with its halo clipped at the edges, has the whole volume's result."""
    shape = (9, 11, 40)
    x = noise(shape, data.draw(st.sampled_from(["uint8", "uint16", "float32"])))
    size = data.draw(st.sampled_from([(3, 3, 3), (1, 3, 3), (3, 1, 5), (5, 3, 3)]))
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
    inner = Box(start, stop)
    outer = inner.grow([s // 2 for s in size], shape)
    found = median(x[outer.slices], size, inner.within(outer))
    assert np.array_equal(found, median(x, size, whole(shape))[inner.slices])


@pytest.mark.parametrize("size", [(3, 3, 3), (3, 1, 5)])
def test_memory_layout_does_not_matter(size: Any) -> None:
    """Views, locked arrays, other axis and byte orders, masks, half precision and empty parts are taken."""
    x = noise((8, 9, 40), "uint16")
    keep = (slice(1, 7), slice(0, 9), slice(3, 30))
    expected = median(x, size, keep)
    wide = np.zeros((10, 12, 50), x.dtype)
    wide[1:9, 2:11, 7:47] = x
    locked = x.copy()
    locked.flags.writeable = False
    for same in (wide[1:9, 2:11, 7:47], locked, np.asfortranarray(x), x.astype(">u2")):
        assert np.array_equal(median(same, size, keep), expected)
    mask = x > 9000
    expected = median(mask.astype(np.uint8), size, keep).astype(bool)
    assert np.array_equal(median(mask, size, keep), expected)
    assert np.array_equal(median(mask.astype(np.float16), size, keep), expected.astype(np.float16))
    assert median(x, size, (slice(0, 8), slice(3, 3), slice(0, 40))).shape == (8, 0, 40)


@pytest.mark.parametrize(
    ("outer", "keep", "size", "dtype"),
    [
        ((10, 66, 258), (slice(1, 9), slice(1, 65), slice(1, 257)), (3, 3, 3), "uint16"),
        ((66, 700), (slice(0, 66), slice(0, 700)), (3, 3), "float32"),
        ((10, 66, 258), (slice(2, 8), slice(2, 64), slice(2, 256)), (5, 5, 5), "uint16"),
        ((10, 20, 258), (slice(0, 10), slice(0, 20), slice(0, 258)), (9, 9, 9), "float64"),
        ((40, 90), (slice(0, 40), slice(0, 90)), (21, 21), "uint8"),
    ],
)
def test_working_bytes_are_what_is_held(outer: Any, keep: Keep, size: Any, dtype: str) -> None:
    """The peak beside input and result is below what is declared, and not by much."""
    x = np.ones(outer, dtype)
    inner = tuple(k.stop - k.start for k in keep)
    result, most = bytes_held(median, x, size, keep)
    peak = most - result.nbytes
    declared = median_working_bytes(outer, inner, size, np.dtype(dtype))
    assert 0.75 * declared <= peak <= declared


@pytest.mark.parametrize("size", [(3,), (3, 4), (3, 0), (3, -1)])
def test_sizes_that_cannot_be_are_refused(size: Any) -> None:
    """Too few, even and empty sizes are refused."""
    with pytest.raises(ParameterError, match="2 odd widths"):
        median(np.zeros((5, 5)), size, whole((5, 5)))


def test_what_cannot_be_ranked_is_refused() -> None:
    """Ranks beyond the footprint, even footprints, and dtypes without an order are refused."""
    x = np.zeros((5, 5))
    with pytest.raises(ParameterError, match="rank 9 of 9"):
        rank_filter(x, np.ones((3, 3), bool), 9, whole(x.shape))
    with pytest.raises(ParameterError, match=r"shape \(3, 2\)"):
        rank_filter(x, np.ones((3, 2), bool), 0, whole(x.shape))
    with pytest.raises(ParameterError, match="complex64"):
        median(x.astype(np.complex64), (3, 3), whole(x.shape))
