"""Least and greatest voxels against scipy, and against themselves in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.grid import Box
from bigseg.local.filters import extremes
from bigseg.local.filters.extremes import extreme_working_bytes, maximum, minimum
from bigseg.local.filters.footprints import ball, box, cross
from tests.memory import bytes_held

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32", "float64"]
Keep = tuple[slice, ...]

RNG = np.random.default_rng(5)
ODD = {
    "box": box((3, 5, 7)),
    "flat box": box((1, 1, 9)),
    "deep box": box((7, 1, 1)),
    "ball": ball((2.5, 3, 4)),
    "disk": ball((0, 3, 3)),
    "cross": cross((1, 3, 2)),
    "holes": RNG.random((5, 3, 7)) < 0.4,
    "one corner": np.pad(np.ones((1, 1, 1), bool), ((4, 0), (0, 2), (6, 0))),
}


def noise(shape: Sequence[int], dtype: str = "uint16", seed: int = 0) -> NDArray[Any]:
    """Values over the whole range of the dtype."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.normal(0, 1, shape) * 10.0 ** rng.integers(-30, 30, shape)).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def whole(shape: Sequence[int]) -> Keep:
    """All of an array."""
    return tuple(slice(0, n) for n in shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ODD)
def test_extremes_are_those_of_scipy(name: str, dtype: str) -> None:
    """Any dtype and footprint, mirrored at the edges: scipy's minimum and maximum, with the dtype kept."""
    footprint = ODD[name]
    x = noise((9, 12, 41), dtype)
    keep = (slice(2, 9), slice(0, 12), slice(3, 38))
    padded = np.pad(x, [(n // 2, n // 2) for n in footprint.shape], mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, footprint.shape)[..., footprint]
    for found, expected in (
        (minimum(x, footprint, keep), windows.min(-1)),
        (maximum(x, footprint, keep), windows.max(-1)),
    ):
        assert found.dtype == x.dtype
        assert np.array_equal(found, expected[keep])
    if dtype != "uint64":
        assert np.array_equal(minimum(x, footprint, keep), ndi.minimum_filter(x, footprint=footprint)[keep])


@pytest.mark.parametrize(
    ("shape", "footprint"),
    [
        ((31, 45), box((5, 11))),
        ((31, 45), ball((4.2, 6))),
        ((31, 45), RNG.random((7, 9)) < 0.5),
        ((70,), box((21,))),
        ((70,), np.array([1, 0, 1, 1, 0], bool)),
        ((1, 1, 1), box((3, 3, 3))),
        ((2, 1, 40), ball((3, 3, 3))),
        ((3, 5, 1), box((9, 9, 9))),
        ((1, 6), ball((5, 5))),
    ],
)
def test_fewer_axes_and_axes_shorter_than_the_footprint(shape: Any, footprint: Any) -> None:
    """One to three axes, and axes that are mirrored over and over, give scipy's result."""
    for dtype in ("uint8", "float32"):
        x = noise(shape, dtype)
        found = minimum(x, footprint, whole(shape)), maximum(x, footprint, whole(shape))
        assert np.array_equal(found[0], ndi.minimum_filter(x, footprint=footprint, mode="reflect"))
        assert np.array_equal(found[1], ndi.maximum_filter(x, footprint=footprint, mode="reflect"))


@pytest.mark.parametrize("name", ODD)
def test_beyond_the_edge_of_a_mask_nothing_counts(name: str) -> None:
    """Without mirroring, masks are filtered as if nothing lay beyond them."""
    footprint = ODD[name]
    for fill in (0.3, 0.95):
        x = np.random.default_rng(3).random((6, 9, 33)) < fill
        keep = (slice(0, 5), slice(2, 9), slice(0, 33))
        least = ndi.minimum_filter(x.astype(np.uint8), footprint=footprint, mode="constant", cval=1)
        most = ndi.maximum_filter(x.astype(np.uint8), footprint=footprint, mode="constant", cval=0)
        found = minimum(x, footprint, keep, mirror=False)
        assert found.dtype == bool
        assert np.array_equal(found.view(np.uint8), least[keep])
        assert np.array_equal(maximum(x, footprint, keep, mirror=False).view(np.uint8), most[keep])


def test_zeros_have_one_order() -> None:
    """-0.0 is less than 0.0 wherever it lies, so that no bit depends on the order of comparisons."""
    x = np.array([0.0, -0.0, 0.0, 0.0, -0.0], np.float32)
    assert np.signbit(minimum(x, np.ones(3, bool), whole((5,)))).tolist() == [True, True, True, True, True]
    assert np.signbit(maximum(x, np.ones(3, bool), whole((5,)))).tolist() == [False] * 4 + [False]
    assert np.signbit(maximum(x, np.array([1, 0, 0], bool), whole((5,)))).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("name", ["box", "ball", "holes"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", range(1, 18))
def test_shifted_crops_give_the_same_bits(name: str, axis: int, shift: int) -> None:
    """A crop that starts 1 to 17 voxels on, along any axis, has the bits of the whole, -0.0 included."""
    footprint = ODD[name]
    shape = [6, 7, 8]
    shape[axis] = 75
    x = np.random.default_rng(0).choice(np.array([-0.0, 0.0, 1.0, -1.0, 2.0], np.float32), shape)
    inner = Box(tuple(shift if a == axis else 0 for a in range(3)), tuple(shape))
    outer = inner.grow([n // 2 for n in footprint.shape], shape)
    found = minimum(x[outer.slices], footprint, inner.within(outer))
    assert found.tobytes() == minimum(x, footprint, whole(shape))[inner.slices].tobytes()


@given(st.data())
@settings(max_examples=60)
def test_any_block_gives_the_whole(data: st.DataObject) -> None:
    """Any box of a volume, read with its halo clipped at the edges, has the whole volume's result."""
    shape = (9, 11, 40)
    x = noise(shape, data.draw(st.sampled_from(["uint8", "uint16", "float32"])))
    footprint = ODD[data.draw(st.sampled_from(sorted(ODD)))]
    mirror = data.draw(st.booleans())
    x = x if mirror else x > np.median(x)
    inner = _inner(data, shape)
    outer = inner.grow([n // 2 for n in footprint.shape], shape)
    for kernel in (minimum, maximum):
        found = kernel(x[outer.slices], footprint, inner.within(outer), mirror)
        assert np.array_equal(found, kernel(x, footprint, whole(shape), mirror)[inner.slices])


def _inner(data: st.DataObject, shape: Sequence[int]) -> Box:
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    return Box(start, tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True)))


@pytest.mark.parametrize("work", [1, 1 << 12])
@pytest.mark.parametrize("columns", [1, 16])
@pytest.mark.parametrize("name", ["box", "ball"])
def test_tiles_do_not_show(name: str, work: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planes worked on in tiles of any size give the same result."""
    x = noise((6, 50, 131))
    keep = (slice(0, 6), slice(2, 49), slice(0, 130))
    expected = minimum(x, ODD[name], keep)
    monkeypatch.setattr(extremes, "_WORK", work)
    monkeypatch.setattr(extremes, "_COLUMNS", columns)
    assert np.array_equal(minimum(x, ODD[name], keep), expected)


def test_large_footprints() -> None:
    """A box of 61^3 and a ball of radius 20, larger than the volume, are exact."""
    x = noise((30, 33, 50))
    assert np.array_equal(minimum(x, box((61, 61, 61)), whole(x.shape)), ndi.minimum_filter(x, 61))
    keep = (slice(10, 12), slice(4, 6), slice(20, 24))
    footprint = ball((20, 20, 20))
    padded = np.pad(x, 20, mode="symmetric")
    expected = [padded[z : z + 41, y : y + 41, i : i + 41][footprint].max() for z, y, i in np.ndindex(x.shape)
                if 10 <= z < 12 and 4 <= y < 6 and 20 <= i < 24]  # fmt: skip
    assert maximum(x, footprint, keep).ravel().tolist() == expected


@pytest.mark.parametrize("name", ["box", "ball"])
def test_memory_layout_does_not_matter(name: str) -> None:
    """Views, locked arrays, other axis and byte orders, half precision and empty parts are taken."""
    x = noise((8, 9, 40), "uint16")
    keep = (slice(1, 7), slice(0, 9), slice(3, 30))
    expected = maximum(x, ODD[name], keep)
    wide = np.zeros((10, 12, 50), x.dtype)
    wide[1:9, 2:11, 7:47] = x
    locked = x.copy()
    locked.flags.writeable = False
    for same in (wide[1:9, 2:11, 7:47], locked, np.asfortranarray(x), x.astype(">u2")):
        assert np.array_equal(maximum(same, ODD[name], keep), expected)
    half = (x % 97).astype(np.float16)
    assert np.array_equal(maximum(half, ODD[name], keep), maximum((x % 97), ODD[name], keep))
    assert maximum(x, ODD[name], (slice(0, 8), slice(3, 3), slice(0, 40))).shape == (8, 0, 40)


@pytest.mark.parametrize(
    ("outer", "keep", "footprint", "dtype"),
    [
        ((10, 66, 258), (slice(1, 9), slice(1, 65), slice(1, 257)), box((3, 3, 3)), "uint16"),
        ((30, 90, 266), (slice(5, 25), slice(5, 85), slice(5, 261)), ball((5, 5, 5)), "uint16"),
        ((30, 90, 266), (slice(5, 25), slice(5, 85), slice(5, 261)), box((11, 11, 11)), "uint8"),
        ((66, 700), (slice(0, 66), slice(0, 700)), ball((12, 12)), "float32"),
        ((20, 40, 90), (slice(0, 20), slice(0, 40), slice(0, 90)), ball((9, 9, 9)), "float64"),
    ],
)
def test_working_bytes_are_what_is_held(outer: Any, keep: Keep, footprint: Any, dtype: str) -> None:
    """The peak beside input and result is below what is declared, and not by much."""
    x = np.ones(outer, dtype)
    inner = tuple(k.stop - k.start for k in keep)
    result, most = bytes_held(minimum, x, footprint, keep)
    peak = most - result.nbytes
    declared = extreme_working_bytes(outer, inner, footprint, dtype)
    assert 0.75 * declared <= peak <= declared


def test_what_has_no_order_is_refused() -> None:
    """Even footprints, a keep outside of the array, and dtypes without an order are refused."""
    x = np.zeros((5, 5))
    with pytest.raises(ParameterError, match=r"shape \(3, 2\)"):
        minimum(x, np.ones((3, 2), bool), whole(x.shape))
    with pytest.raises(ParameterError, match="does not lie"):
        minimum(x, box((3, 3)), (slice(0, 6), slice(0, 5)))
    with pytest.raises(ParameterError, match="complex64"):
        maximum(x.astype(np.complex64), box((3, 3)), whole(x.shape))
