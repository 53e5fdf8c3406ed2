"""Masks of one bit a voxel."""

from __future__ import annotations

import numpy as np
import pytest

from bigseg.errors import ParameterError
from bigseg.local.components.bitmask import between, different
from bigseg.local.thresholds import compare

RNG = np.random.default_rng(3)
WIDTHS = (1, 7, 63, 64, 65, 128, 150)
DTYPES = ("uint8", "int8", "uint16", "int32", "uint64", "float32", "float64")


def image(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random values of the whole range of a dtype, its ends included."""
    if dtype.startswith("f"):
        values = RNG.normal(size=shape).astype(dtype)
        values.flat[:: max(values.size // 5, 1)] = np.inf
        values.flat[1 :: max(values.size // 5, 2)] = -np.inf
        values.flat[-1] = np.nan
        return values
    info = np.iinfo(dtype)
    values = RNG.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    values.flat[0], values.flat[-1] = info.max, info.min
    return values


@pytest.mark.parametrize("dtype", DTYPES)
def test_thresholds_are_numpys(dtype):
    """A threshold means the same as the whole-array comparison, beyond the dtype's range too."""
    ends = [-np.inf, np.inf, -0.5, 0, 0.5, 1e300, -1e300]
    if not dtype.startswith("f"):
        ends += [np.iinfo(dtype).min, np.iinfo(dtype).max, np.iinfo(dtype).max + 1]
    x = image(dtype, (2, 3, 70))
    if dtype.startswith("f"):
        ends += [float(x[0, 0, 5]), float(x[1, 2, 9])]
    for above in (None, *ends):
        for below in (None, *ends):
            with np.errstate(over="ignore"):
                if dtype.startswith("f"):
                    kind = x.dtype.type
                    expected = np.full(x.shape, True) if (above, below) != (None, None) else ~np.isnan(x)
                    expected &= True if above is None else x > kind(above)
                    expected &= True if below is None else x < kind(below)
                else:
                    low = -np.inf if above is None else above
                    high = np.inf if below is None else below
                    exact = x.astype(object)
                    expected = np.ones(x.shape, bool)
                    if above is not None:
                        expected &= np.array(exact > low, bool)
                    if below is not None:
                        expected &= np.array(exact < high, bool)
            assert np.array_equal(between(x, above, below).unpack(), expected), (above, below)


@pytest.mark.parametrize("width", WIDTHS)
def test_any_width_and_view(width):
    """Rows of any width, crops, transposes, Fortran and big-endian arrays give the voxels' own mask."""
    x = image("uint16", (5, 6, width + 4))
    views = [
        x[1:-1, 1:-1, 2:-2],
        x[-1:, -1:, 4:],
        x.transpose(1, 0, 2),
        x.transpose(2, 1, 0),
        np.asfortranarray(x),
        x[::-1, ::2, ::-1],
        x.astype(">u2"),
        np.broadcast_to(x[:1], x.shape),
    ]
    for view in views:
        expected = compare.between(view.astype("uint16"), above=20_000, below=50_000)
        mask = between(view, above=20_000, below=50_000)
        assert np.array_equal(mask.unpack(), expected)
        assert np.array_equal(mask.invert().unpack(), ~expected)
        assert not mask.rows[-1].any()
        assert not mask.invert().rows[-1].any()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint64"])
def test_different_from_background(dtype):
    """Every value but the background is inside, a background that the dtype cannot hold included."""
    x = RNG.integers(0, 2, (4, 5, 77)).astype(dtype)
    for background in (0, 1, 7, -1, 2**70):
        expected = x.astype(object) != background
        assert np.array_equal(different(x, background).unpack(), expected.astype(bool))
    assert np.array_equal(different(x[0]).unpack()[0], x[0] != 0)


def test_refusals():
    """Shapes, dtypes and thresholds that cannot be are refused by name."""
    with pytest.raises(ParameterError, match="2 axes"):
        between(np.zeros(5))
    with pytest.raises(ParameterError, match="1 to"):
        between(np.zeros((0, 4)))
    with pytest.raises(ParameterError, match="complex"):
        between(np.zeros((2, 2), complex))
    with pytest.raises(ParameterError, match="threshold"):
        different(np.zeros((2, 2)))
    with pytest.raises(ParameterError, match="NaN"):
        between(np.zeros((2, 2)), above=float("nan"))
