"""Morphology against scipy and scikit-image, and against itself in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import morphology as peer

from bigseg.grid import Box
from bigseg.local.filters import morphology
from bigseg.local.filters.extremes import extreme_working_bytes
from bigseg.local.filters.footprints import ball, box, cross
from bigseg.local.filters.morphology import twice_working_bytes
from tests.memory import bytes_held

ONCE = ("erosion", "dilation")
TWICE = ("opening", "closing", "white_tophat", "black_tophat")
GREY = {
    "erosion": ndi.grey_erosion,
    "dilation": ndi.grey_dilation,
    "opening": ndi.grey_opening,
    "closing": ndi.grey_closing,
    "white_tophat": ndi.white_tophat,
    "black_tophat": ndi.black_tophat,
}
SYMMETRIC = {"box": box((3, 5, 3)), "ball": ball((2, 2, 3)), "cross": cross((2, 1, 2)), "disk": ball((0, 1.8, 1.8))}
TURNED = np.random.default_rng(8).random((3, 5, 3)) < 0.5


def volume(dtype: str = "uint16", shape: Sequence[int] = (11, 14, 37)) -> np.ndarray:
    """Blobs and noise, with objects at every edge."""
    rng = np.random.default_rng(2)
    x = ndi.gaussian_filter(rng.normal(size=shape), 1.5)
    x = 128 + 40 * x / x.std() + 8 * rng.normal(size=shape)
    return x.clip(0, 255).astype(dtype)


def run(name: str, x: np.ndarray, footprint: np.ndarray, keep: Any = None) -> np.ndarray:
    keep = tuple(slice(0, n) for n in x.shape) if keep is None else keep
    return getattr(morphology, name)(x, footprint, keep)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("name", GREY)
def test_images_are_those_of_scipy(name: str, dtype: str) -> None:
    """Every operation and footprint, symmetric or not, is scipy's with mode reflect, dtype kept."""
    x = volume(dtype)
    for footprint in (*SYMMETRIC.values(), TURNED):
        found = run(name, x, footprint)
        assert found.dtype == x.dtype
        assert np.array_equal(found, GREY[name](x, footprint=footprint, mode="reflect"))


@pytest.mark.parametrize("name", GREY)
@pytest.mark.parametrize("footprint", SYMMETRIC)
def test_masks_are_those_of_scikit_image(name: str, footprint: str) -> None:
    """Of masks, what lies beyond the edge does not count, as scikit-image's mode ignore; they stay bool."""
    for level in (100, 128, 150):
        mask = volume() > level
        found = run(name, mask, SYMMETRIC[footprint])
        assert found.dtype == bool
        assert np.array_equal(found, getattr(peer, name)(mask, SYMMETRIC[footprint], mode="ignore"))


def test_masks_and_footprints_that_are_not_symmetric() -> None:
    """Scipy's binary operations turn the footprint round for dilations, and so do ours."""
    mask = volume() > 128
    eroded = ndi.binary_erosion(mask, TURNED, border_value=1)
    dilated = ndi.binary_dilation(mask, TURNED)
    assert np.array_equal(run("erosion", mask, TURNED), eroded)
    assert np.array_equal(run("dilation", mask, TURNED), dilated)
    assert np.array_equal(run("opening", mask, TURNED), ndi.binary_dilation(eroded, TURNED))
    assert np.array_equal(run("closing", mask, TURNED), ndi.binary_erosion(dilated, TURNED, border_value=1))


@pytest.mark.parametrize("binary", [False, True])
def test_laws(binary: bool) -> None:
    """Openings take away, closings add, and both change nothing the second time."""
    x = volume() > 120 if binary else volume()
    for footprint in SYMMETRIC.values():
        opened, closed = run("opening", x, footprint), run("closing", x, footprint)
        assert (opened <= x).all()
        assert (closed >= x).all()
        assert np.array_equal(run("opening", opened, footprint), opened)
        assert np.array_equal(run("closing", closed, footprint), closed)
        turned = ~x if binary else 255 - x
        assert np.array_equal(run("dilation", turned, footprint), ~run("erosion", x, footprint)
                              if binary else 255 - run("erosion", x, footprint))  # fmt: skip


@given(st.data())
@settings(max_examples=60)
def test_any_block_gives_the_whole(data: st.DataObject) -> None:
    """Any box of a volume, read with its halo clipped at the edges, has the whole volume's result."""
    x = volume(data.draw(st.sampled_from(["uint8", "float32"])))
    x = x > 128 if data.draw(st.booleans()) else x
    footprint = data.draw(st.sampled_from([*SYMMETRIC.values(), TURNED]))
    name = data.draw(st.sampled_from(sorted(GREY)))
    start = tuple(data.draw(st.integers(0, n - 1)) for n in x.shape)
    inner = Box(start, tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, x.shape, strict=True)))
    times = 2 if name in TWICE else 1
    outer = inner.grow([times * (n // 2) for n in footprint.shape], x.shape)
    found = run(name, x[outer.slices], footprint, inner.within(outer))
    assert found.tobytes() == run(name, x, footprint)[inner.slices].tobytes()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", range(1, 18))
def test_shifted_crops_give_the_same_bits(axis: int, shift: int) -> None:
    """An opening of a crop that starts 1 to 17 voxels on, along any axis, has the bits of the whole."""
    shape = [6, 7, 8]
    shape[axis] = 60
    x = volume("float32", shape)
    footprint = SYMMETRIC["ball"]
    inner = Box(tuple(shift if a == axis else 0 for a in range(3)), tuple(shape))
    outer = inner.grow([2 * (n // 2) for n in footprint.shape], shape)
    found = run("opening", x[outer.slices], footprint, inner.within(outer))
    assert found.tobytes() == run("opening", x, footprint)[inner.slices].tobytes()


@pytest.mark.parametrize("name", ["erosion", "opening", "black_tophat"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bool"])
def test_working_bytes_are_what_is_held(name: str, dtype: str) -> None:
    """The peak beside input and result is below what is declared, and not by much."""
    x = volume("uint8", (30, 60, 150)).astype(dtype)
    keep = (slice(8, 22), slice(8, 60), slice(0, 142))
    footprint = ball((4, 4, 4))
    result, most = bytes_held(run, name, x, footprint, keep)
    peak = most - result.nbytes
    declare = extreme_working_bytes if name in ONCE else twice_working_bytes
    declared = declare(x.shape, result.shape, footprint, x.dtype)
    assert 0.75 * declared <= peak <= declared
