"""Maps of grey values against NumPy and scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import exposure

from bigseg.errors import ParameterError
from bigseg.local.filters.intensity import LinearMap, clip, divided, limits, linear_map, subtracted

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float16", "float32", "float64"]


def noise(dtype: str, shape: tuple[int, ...] = (3, 5, 37)) -> np.ndarray:
    rng = np.random.default_rng(3)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 100, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_is_numpys(dtype: str) -> None:
    """Limits that the dtype has give numpy.clip, views and odd sizes included."""
    x = noise(dtype)
    for part in (x, x[:, 1:4, 2:36], x[0], x[0, 0]):
        np.testing.assert_array_equal(clip(part, 10, 100), np.clip(part, 10, 100))
        assert clip(part, 10, 100).dtype == (x.dtype if dtype != "float16" else np.float32)


def test_limits_of_integers_move_inwards() -> None:
    """No voxel lies outside of limits that are no whole numbers, and limits beyond the dtype are none."""
    x = np.arange(256, dtype=np.uint8)
    found = clip(x, 10.2, 99.9)
    assert found.min() == 11
    assert found.max() == 99
    np.testing.assert_array_equal(clip(x, -5.0, 1e9), x)
    assert limits(np.dtype("int8"), None, None) == (-128, 127)


@pytest.mark.parametrize("ends", [(10.2, 10.8), (300, 400), (-9, -1)])
def test_limits_without_a_value_are_refused(ends: tuple[float, float]) -> None:
    """Limits between which uint8 has no value are an error, not a wrong image."""
    with pytest.raises(ParameterError, match="no value between"):
        clip(np.zeros(3, np.uint8), *ends)


@given(st.floats(-50, 50, width=32), st.floats(0.125, 300, width=32), st.sampled_from(["uint8", "int16", "float32"]))
def test_a_map_is_rescale_intensity(low: float, span: float, dtype: str) -> None:
    """With limits the map is skimage.exposure.rescale_intensity in float32, bit for bit."""
    x = noise(dtype, (4, 19))
    high = low + span
    line = LinearMap(low, high - low, 7.0, -3.0, low, high)
    wanted = exposure.rescale_intensity(x.astype(np.float32), (low, high), (-3.0, 4.0))
    assert linear_map(x, line).tobytes() == (wanted + np.float32(0)).tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_integer_results_are_rounded_half_up_and_limited(dtype: str) -> None:
    """Halves go up, also the float32 just below a half stays down, and what is beyond the dtype becomes its end."""
    info = np.iinfo(dtype)
    x = np.array([0.5, 1.5, np.nextafter(np.float32(0.5), np.float32(0)), -0.5, 1e9, -1e9], np.float32)
    wanted = [1, 2, 0, 0, info.max, info.min]
    assert linear_map(x, LinearMap(), dtype).tolist() == wanted


def test_a_map_is_the_same_bits_under_any_crop() -> None:
    """A row's last voxels, beyond the last whole vector, get the same bits as in the middle of a row."""
    x = noise("float32", (2, 3, 100))
    line = LinearMap(1.7, 3.3, 1.9, -0.4)
    whole = linear_map(x, line)
    for start in range(18):
        for stop in (start + 1, start + 17, 100):
            assert linear_map(x[:, :, start:stop], line).tobytes() == whole[:, :, start:stop].tobytes()


def test_wide_integers_keep_their_digits() -> None:
    """32-bit integers are mapped in float64, in which a large offset does not swallow small differences."""
    x = np.array([2_000_000_001, 2_000_000_003], np.int32)
    assert linear_map(x, LinearMap(shift=2_000_000_000)).tolist() == [1.0, 3.0]


@pytest.mark.parametrize(("line", "dtype"), [(LinearMap(span=0), "float32"), (LinearMap(), "int32")])
def test_impossible_maps_are_refused(line: LinearMap, dtype: str) -> None:
    """A span of 0 and a dtype that is no target are errors."""
    with pytest.raises(ParameterError):
        linear_map(np.zeros(2, np.uint8), line, dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
def test_differences_and_quotients_are_those_of_float32(dtype: str) -> None:
    """Both are numpy's on float32, without the wrap of unsigned integers; a quotient by 0 is 0."""
    x, y = noise(dtype), noise(dtype)[::-1].copy()
    y.ravel()[::3] = 0
    a, b = x.astype(np.float32), y.astype(np.float32)
    wanted: Any = np.divide(a, b, out=np.zeros_like(a), where=b != 0)
    np.testing.assert_array_equal(divided(x, y.copy()), wanted)
    np.testing.assert_array_equal(subtracted(x, y.copy()), a - b)
