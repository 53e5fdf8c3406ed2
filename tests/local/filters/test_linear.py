"""Linear filters against scipy, against the same sums written in NumPy, and against themselves in blocks."""

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
from bigseg.local.filters import linear
from bigseg.local.filters.linear import (
    gaussian,
    gaussian_kernel,
    gaussian_radius,
    gaussian_working_bytes,
    separable,
    separable_working_bytes,
)
from tests.memory import bytes_held

DTYPES = ["uint8", "uint16", "int16", "float32", "float64"]
Keep = tuple[slice, ...]


def noise(shape: Sequence[int], dtype: str = "uint16", seed: int = 0) -> NDArray[Any]:
    """Values over the whole range of integers, or of some thousands."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 3000, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def whole(shape: Sequence[int]) -> Keep:
    """All of an array."""
    return tuple(slice(0, n) for n in shape)


def in_numpy(x: NDArray[Any], kernels: Sequence[Sequence[float] | None]) -> NDArray[np.float32]:
    """The filter as defined: axis by axis, each product and each sum rounded to float32, taps in order."""
    x = x.astype(np.float32)
    for axis, kernel in enumerate(kernels):
        if kernel is None:
            continue
        weights = np.asarray(kernel, np.float32)
        radius = weights.size // 2
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(x.ndim)]
        padded = np.moveaxis(np.pad(x, pad, mode="symmetric"), axis, 0)
        total = weights[0] * padded[: x.shape[axis]]
        for k in range(1, weights.size):
            total = total + weights[k] * padded[k : k + x.shape[axis]]
        x = np.moveaxis(total, 0, axis)
    return x


def assert_near_scipy(x: NDArray[Any], sigma: Sequence[float], keep: Keep) -> None:
    """Within 4e-7 of the greatest value, a tenth of what is promised."""
    reference = ndi.gaussian_filter(x.astype(np.float32), sigma, mode="reflect", truncate=4.0)[keep]
    found = gaussian(x, sigma, keep)
    assert found.dtype == np.float32
    assert found.shape == reference.shape
    assert np.abs(found - reference).max(initial=0) <= 4e-7 * np.abs(x.astype(np.float64)).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "keep", "sigma"),
    [
        ((19, 22, 41), (slice(3, 15), slice(0, 22), slice(9, 41)), (1.0, 2.0, 0.7)),
        ((12, 9, 33), (slice(0, 12), slice(4, 5), slice(0, 17)), (0.0, 1.5, 3.0)),
        ((37, 70), (slice(0, 37), slice(0, 70)), (2.0, 1.0)),
        ((37, 70), (slice(20, 31), slice(69, 70)), (0.3, 5.0)),
        ((90,), (slice(13, 80),), (1.3,)),
    ],
)
def test_gaussian_is_that_of_scipy(dtype: str, shape: Any, keep: Keep, sigma: Any) -> None:
    """Any dtype, one to three axes, any part, sigmas that differ: scipy's Gaussian."""
    assert_near_scipy(noise(shape, dtype), sigma, keep)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 3), (2, 1, 40), (3, 5, 1), (1, 6), (7, 1), (2,)])
@pytest.mark.parametrize("sigma", [0.4, 2.0, 6.0])
def test_axes_shorter_than_the_radius_are_mirrored_over_and_over(shape: Any, sigma: float) -> None:
    """Axes of one, two or a few voxels give scipy's Gaussian whatever the radius."""
    assert_near_scipy(noise(shape), (sigma,) * len(shape), whole(shape))


def test_sigma_of_zero_leaves_the_image() -> None:
    """Sigma 0 on every axis gives the input as float32, and an empty keep an empty array."""
    x = noise((4, 5, 6), "int16")
    assert np.array_equal(gaussian(x, (0, 0, 0), whole(x.shape)), x.astype(np.float32))
    assert gaussian(x, (1, 1, 1), (slice(0, 4), slice(2, 2), slice(0, 6))).shape == (4, 0, 6)


def test_kernel_and_radius_are_those_of_scipy() -> None:
    """Weights and radius for many sigmas equal those that scipy applies to a spike."""
    for sigma in np.linspace(0.05, 6, 60):
        for truncate in (3.0, 4.0):
            radius = gaussian_radius(sigma, truncate)
            spike = np.zeros(2 * radius + 9)
            spike[radius + 4] = 1
            applied = ndi.gaussian_filter1d(spike, sigma, truncate=truncate)
            kernel = gaussian_kernel(sigma, truncate)
            weights = np.ones(1, np.float32) if kernel is None else kernel
            assert np.array_equal(applied[4:-4].astype(np.float32), weights)
            assert not applied[:4].any()


@pytest.mark.parametrize("taps", [1, 3, 5, 7, 9, 11, 13])
def test_sums_are_rounded_as_defined(taps: int) -> None:
    """A kernel of any number of taps gives the bits of plain float32 sums: nothing fused or reordered."""
    rng = np.random.default_rng(taps)
    x = noise((7, 8, 83), "float32", taps)
    kernels = [rng.normal(size=taps), rng.normal(size=taps), rng.normal(size=taps)]
    for used in (kernels, [None, kernels[1], None], [kernels[0], None, kernels[2]]):
        found = separable(x, used, whole(x.shape))
        assert found.tobytes() == in_numpy(x, used).tobytes()


def test_kernels_are_not_turned_round() -> None:
    """A kernel that is not symmetric is correlated, as scipy.ndimage.correlate1d does."""
    x = noise((9, 31))
    found = separable(x, [None, [1.0, 0.0, -3.0]], whole(x.shape))
    assert np.array_equal(found, ndi.correlate1d(x.astype(np.float32), [1.0, 0.0, -3.0], axis=1))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", range(1, 18))
def test_shifted_crops_give_the_same_bits(axis: int, shift: int) -> None:
    """A crop that starts 1 to 17 voxels on has the bits of the whole, in whatever lane its voxels come."""
    shape = [11, 12, 13]
    shape[axis] = 75
    x = noise(shape, "float32")
    sigma = (0.7, 1.0, 1.6)
    start = tuple(shift if a == axis else 0 for a in range(3))
    inner = Box(start, tuple(shape))
    outer = inner.grow([gaussian_radius(s) for s in sigma], shape)
    found = gaussian(x[outer.slices], sigma, inner.within(outer))
    assert found.tobytes() == gaussian(x, sigma, whole(shape))[inner.slices].tobytes()


@given(st.data())
@settings(max_examples=60)
def test_any_block_gives_the_bits_of_the_whole(data: st.DataObject) -> None:
    """Any box of a volume, read with its halo clipped at the edges, has the bits of the whole's result."""
    shape = (14, 17, 40)
    x = noise(shape, data.draw(st.sampled_from(["uint16", "float32"])))
    sigma = data.draw(st.tuples(*(st.sampled_from([0, 0.3, 0.5, 1, 1.7, 2.5]) for _ in shape)))
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
    inner = Box(start, stop)
    outer = inner.grow([gaussian_radius(s) for s in sigma], shape)
    found = gaussian(x[outer.slices], sigma, inner.within(outer))
    assert found.tobytes() == gaussian(x, sigma, whole(shape))[inner.slices].tobytes()


@pytest.mark.parametrize("strip", [1, 3, 8])
def test_strips_do_not_show(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plane worked on in strips of any height gives the same bits."""
    x = noise((5, 30, 21))
    keep = (slice(0, 5), slice(2, 29), slice(0, 20))
    once = gaussian(x, (1, 2, 1), keep)
    monkeypatch.setattr(linear, "_STRIP", strip)
    assert gaussian(x, (1, 2, 1), keep).tobytes() == once.tobytes()


def test_memory_layout_does_not_matter() -> None:
    """Views, read-only arrays, other axis orders and byte orders, masks and half precision are all taken."""
    x = noise((8, 9, 40), "uint16")
    keep = (slice(1, 7), slice(0, 9), slice(3, 30))
    expected = gaussian(x, (1, 1, 1), keep).tobytes()
    wide = np.zeros((10, 12, 50), x.dtype)
    wide[1:9, 2:11, 7:47] = x
    locked = x.copy()
    locked.flags.writeable = False
    for same in (wide[1:9, 2:11, 7:47], locked, np.asfortranarray(x), x.astype(">u2")):
        assert gaussian(same, (1, 1, 1), keep).tobytes() == expected
    half = (x > 9000).astype(np.float16)
    expected = gaussian(half.astype(np.float32), (1, 1, 1), keep).tobytes()
    assert gaussian(half, (1, 1, 1), keep).tobytes() == expected
    assert gaussian(x > 9000, (1, 1, 1), keep).tobytes() == expected


@pytest.mark.parametrize(
    ("outer", "keep", "sigma", "dtype"),
    [
        ((40, 144, 144), (slice(8, 32), slice(8, 136), slice(8, 136)), (2, 2, 2), "uint16"),
        ((4, 700, 300), (slice(0, 4), slice(0, 700), slice(0, 292)), (0.5, 3, 2), "uint16"),
        ((300, 900), (slice(20, 280), slice(0, 880)), (5, 5), "float32"),
        ((20, 90, 90), (slice(0, 20), slice(0, 90), slice(0, 90)), (1, 1, 1), "float16"),
    ],
)
def test_working_bytes_are_what_is_held(outer: Any, keep: Keep, sigma: Any, dtype: str) -> None:
    """The peak beside input and result is below what is declared, and not by much."""
    x = np.ones(outer, dtype)
    inner = tuple(k.stop - k.start for k in keep)
    result, most = bytes_held(gaussian, x, sigma, keep)
    peak = most - result.nbytes
    declared = gaussian_working_bytes(outer, inner, sigma, dtype=dtype)
    assert 0.75 * declared <= peak <= declared


def test_working_bytes_do_not_depend_on_the_number_of_planes() -> None:
    """A hundred times as many planes need only a longer list of planes."""
    one, many = (separable_working_bytes((n, 80, 80), (n, 64, 64), (1, 8, 8)) for n in (10, 1000))
    assert many - one < 40 * 1000


@pytest.mark.parametrize(
    ("sigma", "said"), [((1.0,), "2 finite"), ((1.0, -0.5), "0 or more"), ((1.0, float("nan")), "finite")]
)
def test_sigmas_that_cannot_be_are_refused(sigma: Any, said: str) -> None:
    """Too few, negative and undefined sigmas are refused."""
    with pytest.raises(ParameterError, match=said):
        gaussian(np.zeros((5, 5)), sigma, whole((5, 5)))


def test_what_cannot_be_filtered_is_refused() -> None:
    """Even or missing kernels and dtypes that are not real numbers are refused."""
    x = np.zeros((5, 5))
    with pytest.raises(ParameterError, match="odd length"):
        separable(x, [[1, 1], None], whole(x.shape))
    with pytest.raises(ParameterError, match="expected 2 kernels"):
        separable(x, [[1]], whole(x.shape))
    with pytest.raises(ParameterError, match="complex128"):
        separable(x.astype(complex), [None, None], whole(x.shape))
