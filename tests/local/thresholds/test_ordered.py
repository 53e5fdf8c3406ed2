"""Exact percentiles, mean and deviation of 32-bit images against NumPy and fractions."""

from __future__ import annotations

from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.thresholds.ordered import KEYED, MOST_BINS, moments, outline, percentiles, places, ranks_in, refine

SHARES = [0, 0.1, 1, 5, 25, 50, 63.7, 99, 100]
ELEMENTS = {
    "float32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "uint32": st.integers(0, 2**32 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
}


def noise(dtype: str, shape: tuple[int, ...] = (5, 11, 31)) -> np.ndarray:
    rng = np.random.default_rng(5)
    if dtype == "float32":
        wide = rng.normal(0, 1, shape) * 10.0 ** rng.integers(-40, 30, shape)
        return np.where(rng.random(shape) < 0.6, rng.normal(3, 1, shape), wide).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def found(parts: list[np.ndarray], shares: list[float]) -> tuple[int, float, float, list[float]]:
    """All that is found of an image in parts."""
    dtype = parts[0].dtype
    table = sum(outline(part) for part in parts)
    voxels, mean, std = moments(table, dtype)
    before, after, _ = places(voxels, shares)
    ranks = ranks_in(table, np.concatenate([before, after]))
    refined = sum(refine(part, ranks.bins) for part in parts)
    return voxels, mean, std, percentiles(ranks, refined, voxels, shares, dtype).tolist()


def exact(image: np.ndarray) -> tuple[int, float, float]:
    """Voxels, mean and standard deviation in fractions."""
    values = [Fraction(value) for value in image.ravel().tolist()]
    mean = sum(values) / len(values)
    return len(values), float(mean), sqrt(sum(v * v for v in values) / len(values) - mean * mean)


@pytest.mark.parametrize("dtype", KEYED)
def test_percentiles_are_numpys_and_moments_are_exact(dtype: str) -> None:
    """Percentiles are numpy.percentile of float64, exactly; mean and std are those of fractions."""
    image = noise(dtype)
    voxels, mean, std, ends = found([image], SHARES)
    assert (voxels, mean, std) == exact(image)
    assert ends == np.percentile(image.astype(np.float64), SHARES).tolist()


@given(st.data(), st.sampled_from(KEYED))
def test_any_image_in_any_parts(data: st.DataObject, dtype: str) -> None:
    """Whatever the values, signs, ties and zeros, and wherever the image is cut."""
    image = data.draw(hnp.arrays(dtype, st.integers(1, 30), elements=ELEMENTS[dtype]))
    cut = data.draw(st.integers(0, image.size))
    voxels, mean, std, ends = found([image[:cut], image[cut:]], [0, 33.3, 50, 100])
    assert (voxels, mean) == exact(image)[:2]
    assert std == pytest.approx(exact(image)[2], rel=1e-15)
    with np.errstate(over="ignore", invalid="ignore"):
        assert ends == np.percentile(image.astype(np.float64), [0, 33.3, 50, 100]).tolist()


def test_views_are_read_where_they_lie() -> None:
    """A crop gives what its copy gives."""
    part = noise("float32")[1:4, 2:9, 3:30]
    assert np.array_equal(outline(part), outline(part.copy()))
    assert np.array_equal(refine(part, [16000, 16448]), refine(part.copy(), [16000, 16448]))


def test_sums_of_trillions_of_voxels_do_not_overflow() -> None:
    """Tables that stand for 2^42 voxels of one value still give it back."""
    table = outline(np.full(1 << 10, -3.1415927, np.float32)) * (1 << 32)
    voxels, mean, std = moments(table, np.dtype("float32"))
    assert (voxels, mean, std) == (1 << 42, float(np.float32(-3.1415927)), 0.0)


def test_what_cannot_be_is_refused() -> None:
    """Other dtypes, too many ranges and no voxel at all are errors that say so."""
    with pytest.raises(ParameterError, match="float64"):
        outline(np.zeros(3))
    with pytest.raises(ParameterError, match="at most"):
        refine(np.zeros(3, np.float32), np.arange(MOST_BINS + 1))
    with pytest.raises(ValuesError, match="no voxel"):
        moments(outline(np.zeros((0, 4), np.float32)), np.dtype("float32"))
