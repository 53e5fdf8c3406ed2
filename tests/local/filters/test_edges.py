"""Edge filters and convolution against scipy, and against themselves in blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.grid import Box
from bigseg.local.filters import convolve as convolving
from bigseg.local.filters import derivatives
from bigseg.local.filters.convolve import convolve, convolve_working_bytes
from bigseg.local.filters.derivatives import (
    derivative_kernel,
    derivative_working_bytes,
    difference_of_gaussians,
    gaussian_gradient_magnitude,
    laplacian_of_gaussian,
)
from bigseg.local.filters.edges import PREWITT, SOBEL, edge_working_bytes, gradient, laplace
from bigseg.local.filters.linear import gaussian_radius
from tests.local.filters.test_linear import noise, whole
from tests.memory import bytes_held

Keep = tuple[slice, ...]
KERNEL = np.random.default_rng(1).normal(size=(3, 4, 7)).astype(np.float32)
KERNEL[1, 1] = 0


def magnitude(derivative: Callable[..., Any], x: NDArray[Any]) -> NDArray[np.float32]:
    return np.sqrt(sum(derivative(x, axis) ** 2 for axis in range(x.ndim)))


def of_axes(values: Sequence[float], ndim: int) -> tuple[float, ...]:
    return tuple(values[-ndim:])


SIGMA = (0.6, 1.5, 1.0)
FILTERS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Sequence[int]]] = {
    "sobel": (lambda x, keep: gradient(x, keep), lambda x: magnitude(ndi.sobel, x), (1, 1, 1)),
    "prewitt": (lambda x, keep: gradient(x, keep, PREWITT), lambda x: magnitude(ndi.prewitt, x), (1, 1, 1)),
    "sobel of axis 0": (lambda x, keep: gradient(x, keep, SOBEL, 0), lambda x: ndi.sobel(x, 0), (1, 1, 1)),
    "prewitt of the last axis": (
        lambda x, keep: gradient(x, keep, PREWITT, x.ndim - 1),
        lambda x: ndi.prewitt(x, -1),
        (1, 1, 1),
    ),
    "laplace": (laplace, ndi.laplace, (1, 1, 1)),
    "gradient of gaussian": (
        lambda x, keep: gaussian_gradient_magnitude(x, of_axes(SIGMA, x.ndim), keep),
        lambda x: ndi.gaussian_gradient_magnitude(x, of_axes(SIGMA, x.ndim)),
        [gaussian_radius(s) for s in SIGMA],
    ),
    "laplacian of gaussian": (
        lambda x, keep: laplacian_of_gaussian(x, of_axes(SIGMA, x.ndim), keep),
        lambda x: ndi.gaussian_laplace(x, of_axes(SIGMA, x.ndim)),
        [gaussian_radius(s) for s in SIGMA],
    ),
    "difference of gaussians": (
        lambda x, keep: difference_of_gaussians(x, (0.5,) * x.ndim, (0.5, 1.5, 2.5)[-x.ndim :], keep),
        lambda x: ndi.gaussian_filter(x, 0.5) - ndi.gaussian_filter(x, (0.5, 1.5, 2.5)[-x.ndim :]),
        [gaussian_radius(s) for s in (0.5, 1.5, 2.5)],
    ),
    "convolve": (
        lambda x, keep: convolve(x, (KERNEL, KERNEL[0], KERNEL[0, 0])[3 - x.ndim], keep),
        lambda x: ndi.convolve(x, (KERNEL, KERNEL[0], KERNEL[0, 0])[3 - x.ndim]),
        (1, 2, 3),
    ),
}
NOT_FLAT = ("convolve", "laplacian of gaussian", "difference of gaussians")
"""Those whose weights do not add up to 0 in float32."""
each_filter = pytest.mark.parametrize("name", FILTERS)


def assert_near(found: NDArray[Any], expected: NDArray[Any], x: NDArray[Any]) -> None:
    """Within 2e-6 of the range of values, or of the image's where the result is nearly flat."""
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    span = max(float(np.ptp(expected)) if expected.size else 0, float(np.abs(x.astype(np.float64)).max()))
    assert np.abs(found - expected).max(initial=0) <= 2e-6 * span


@each_filter
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    ("shape", "keep"),
    [
        ((13, 22, 41), (slice(3, 13), slice(0, 22), slice(9, 40))),
        ((12, 33), (slice(0, 12), slice(1, 30))),
        ((50,), (slice(13, 50),)),
    ],
)
def test_filters_are_those_of_scipy(name: str, dtype: str, shape: Any, keep: Keep) -> None:
    """Any dtype, one to three axes, any part: scipy's filter of the image as float32."""
    ours, theirs, _ = FILTERS[name]
    x = noise(shape, dtype)
    assert_near(ours(x, keep), theirs(x.astype(np.float32))[keep], x)


@each_filter
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (2, 1, 9), (3, 5, 1), (1, 6), (7, 1), (1,)])
def test_axes_of_one_voxel(name: str, shape: Any) -> None:
    """Axes of one or a few voxels are mirrored as scipy does."""
    ours, theirs, _ = FILTERS[name]
    x = noise(shape, "uint8")
    assert_near(ours(x, whole(shape)), theirs(x.astype(np.float32)), x)


@each_filter
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shifted_crops_give_the_same_bits(name: str, axis: int) -> None:
    """Crops that start 1 to 17 voxels on have the bits of the whole, in whatever lane their voxels come."""
    ours, _, radii = FILTERS[name]
    shape = [9, 10, 11]
    shape[axis] = 53
    x = noise(shape, "float32")
    expected = ours(x, whole(shape))
    for shift in range(1, 18):
        inner = Box(tuple(shift if a == axis else 0 for a in range(3)), tuple(shape))
        outer = inner.grow(radii, shape)
        assert ours(x[outer.slices], inner.within(outer)).tobytes() == expected[inner.slices].tobytes()


@given(st.data())
@settings(max_examples=60)
def test_any_block_gives_the_bits_of_the_whole(data: st.DataObject) -> None:
    """Any box of a volume, read with its halo clipped at the edges, has the bits of the whole's result."""
    shape = (9, 11, 30)
    x = noise(shape, "float32")
    ours, _, radii = FILTERS[data.draw(st.sampled_from(sorted(FILTERS)))]
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    inner = Box(start, tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True)))
    outer = inner.grow(radii, shape)
    assert ours(x[outer.slices], inner.within(outer)).tobytes() == ours(x, whole(shape))[inner.slices].tobytes()


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in NOT_FLAT])
def test_derivatives_of_a_flat_image_are_exactly_0(name: str) -> None:
    """First derivatives and neighbours' Laplacians of a flat image are 0 to the bit, whatever the value."""
    for value in (0.1, 3e4 / 7):
        for shape in ((5, 6, 40), (7, 33)):
            assert not FILTERS[name][0](np.full(shape, value, np.float32), whole(shape)).any()


@pytest.mark.parametrize("module", [derivatives, convolving])
@pytest.mark.parametrize("strip", [1, 5])
def test_strips_do_not_show(module: Any, strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planes worked on in strips of any height give the same bits."""
    x = noise((5, 30, 21), "uint8")
    keep = (slice(0, 5), slice(2, 29), slice(0, 20))
    names = ("laplacian of gaussian", "gradient of gaussian", "convolve")
    once = [FILTERS[name][0](x, keep).tobytes() for name in names]
    monkeypatch.setattr(module, "_STRIP", strip)
    assert [FILTERS[name][0](x, keep).tobytes() for name in names] == once


def test_kernels_are_those_of_scipy() -> None:
    """Weights of orders 0 to 2 equal those that scipy correlates, for many sigmas."""
    for sigma in (0.13, 0.3, 0.7, 1.0, 2.5, 6.0):
        for order in (0, 1, 2):
            kernel = derivative_kernel(sigma, order)
            spike = np.zeros(kernel.size + 8)
            spike[spike.size // 2] = 1
            applied = ndi.gaussian_filter1d(spike, sigma, order=order)[4:-4][::-1]
            np.testing.assert_allclose(kernel, applied, rtol=1e-6, atol=1e-7 * np.abs(applied).max())


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 2, 2), (1, 5, 1), (7, 1, 3), (5, 6, 9)])
def test_convolution_with_kernels_of_any_size(size: Any) -> None:
    """Even and odd lengths, also longer than the image, give scipy's convolution; so does a kernel of zeros."""
    x = noise((6, 7, 8), "uint8")
    kernel = np.random.default_rng(2).normal(size=size)
    for weights in (kernel, np.where(kernel > 0, kernel, 0), kernel * 0):
        found = convolve(x, weights, whole(x.shape))
        expected = ndi.convolve(x.astype(np.float64), weights)
        assert np.abs(found - expected).max() <= 1e-6 * np.abs(weights).sum() * 256


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
@pytest.mark.parametrize(
    ("outer", "keep"),
    [
        ((20, 90, 144), (slice(6, 14), slice(6, 84), slice(6, 138))),
        ((300, 700), (slice(0, 290), slice(10, 700))),
    ],
)
def test_working_bytes_are_what_is_held(outer: Any, keep: Keep, dtype: str) -> None:
    """The peak beside input and result is below what is declared, and not by much."""
    x = np.ones(outer, dtype)
    inner, n = tuple(k.stop - k.start for k in keep), len(outer)
    kernel = np.ones((5, 5, 5)[:n])
    for act, declared in (
        (lambda: gradient(x, keep), edge_working_bytes(outer, inner, dtype)),
        (
            lambda: gaussian_gradient_magnitude(x, (1.5,) * n, keep),
            derivative_working_bytes(outer, inner, (1.5,) * n, dtype),
        ),
        (lambda: laplacian_of_gaussian(x, (1.5,) * n, keep), derivative_working_bytes(outer, inner, (1.5,) * n, dtype)),
        (lambda: convolve(x, kernel, keep), convolve_working_bytes(outer, inner, kernel.shape, dtype)),
    ):
        result, most = bytes_held(act)
        peak = most - result.nbytes
        assert 0.6 * declared <= peak <= declared + 4096


def test_what_cannot_be_filtered_is_refused() -> None:
    """Sigmas without neighbours, scales in the wrong order, other axes and kernels are refused."""
    x = np.zeros((5, 5))
    keep = whole(x.shape)
    with pytest.raises(ParameterError, match=r"0\.125"):
        laplacian_of_gaussian(x, (1.0, 0.0), keep)
    with pytest.raises(ParameterError, match="2 finite"):
        gaussian_gradient_magnitude(x, (1.0,), keep)
    with pytest.raises(ParameterError, match="none of the first above"):
        difference_of_gaussians(x, (1.0, 2.0), (2.0, 1.0), keep)
    with pytest.raises(ParameterError, match="0 or more"):
        difference_of_gaussians(x, (-1.0, 2.0), (2.0, 2.0), keep)
    with pytest.raises(ParameterError, match="axis 2"):
        gradient(x, keep, axis=2)
    with pytest.raises(ParameterError, match="expected 2 axes"):
        convolve(x, [1, 2, 1], keep)
    with pytest.raises(ParameterError, match="complex128"):
        laplace(x.astype(complex), keep)
