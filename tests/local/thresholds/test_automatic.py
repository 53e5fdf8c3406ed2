"""Thresholds and statistics from counts against scikit-image and numpy on the whole image."""

from __future__ import annotations

import statistics
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from skimage import data, filters

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.thresholds.automatic import METHODS, multi_otsu
from bigseg.local.thresholds.counted import Histogram, moments_from_counts, percentiles_from_counts, rebin
from bigseg.local.thresholds.entropies import li
from bigseg.local.thresholds.fine import fine_sums, means_of
from bigseg.local.thresholds.histogram import bin_centers, bin_counts, count_values, extremes, values_of
from tests.local import imagej

FINE = ("li", "mean")
"""Methods that take means of fine bins, where the image is real."""
ORACLES = {name: getattr(filters, f"threshold_{name}") for name in ("otsu", "isodata", "minimum", "yen", "triangle")}
EXACT = {name: getattr(filters, f"threshold_{name}") for name in FINE} | ORACLES
IMAGEJ = {"intermodes": imagej.intermodes, "kapur": imagej.max_entropy, "moments": imagej.moments}
FAILS = "take another method"


def mixture(dtype: str, seed: int = 0) -> NDArray[Any]:
    """Three phases of unlike size and spread, over 200 values of small dtypes and thousands of large ones."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(m, s, n) for m, s, n in ((-40, 8, 9000), (10, 12, 4000), (70, 6, 2000))]
    image = rng.permutation(np.concatenate(parts)).reshape(30, 20, 25)
    if np.dtype(dtype).kind == "f":
        return (image / 50).astype(dtype)
    scale = 1 if np.dtype(dtype).itemsize == 1 else 40
    offset = 0 if np.dtype(dtype).kind == "i" else 90 * scale
    info = np.iinfo(dtype)
    whole: NDArray[Any] = np.clip(np.rint(image * scale) + offset, info.min, info.max).astype(dtype)
    return whole


def counted(x: NDArray[Any]) -> Histogram:
    """The histogram that the engine gathers: every value of integers, else 256 bins between the extremes."""
    if x.dtype.kind in "iu":
        return count_values(x), values_of(x.dtype)
    lo, hi, _, _ = extremes(x)
    return bin_counts(x, lo, hi), bin_centers(lo, hi, dtype=x.dtype)


def seeded(dtype: str) -> list[NDArray[Any]]:
    """Mixtures, bright and dark turned over in every other one."""
    found = []
    for seed in range(4):
        x = mixture(dtype, seed)
        if seed % 2:
            x = x.max() - x if x.dtype.kind != "i" else (-1 - x).astype(dtype)
        found.append(x)
    return found


def oracle(method: str, x: NDArray[Any]) -> float | None:
    """scikit-image's threshold, None where it finds none."""
    try:
        with np.errstate(divide="ignore"):
            return float(EXACT[method](x))
    except (IndexError, RuntimeError):
        return None


def same_as_oracle(method: str, x: NDArray[Any]) -> None:
    """Equal to scikit-image, or failing where it does."""
    expected = oracle(method, x)
    if expected is None:
        with pytest.raises(ValuesError, match=FAILS):
            METHODS[method](*counted(x))
    else:
        found = METHODS[method](*counted(x))
        assert found == expected
        assert isinstance(found, (int, float))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("method", list(ORACLES))
def test_thresholds_are_those_of_scikit_image(method: str, dtype: str) -> None:
    """The threshold from the counts is exactly scikit-image's on the whole image, and is a Python number."""
    for x in seeded(dtype):
        same_as_oracle(method, x // 25 if method == "minimum" and "16" in dtype else x)  # it takes 40 s for all values


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_li_and_mean_of_integers_are_those_of_scikit_image(dtype: str) -> None:
    """Iterating on exact counts takes the very steps that scikit-image takes on the whole image."""
    for x in seeded(dtype):
        assert METHODS["li"](*counted(x)) == filters.threshold_li(x.astype(np.int64))
        assert METHODS["mean"](*counted(x)) == filters.threshold_mean(x)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint32"])
def test_li_and_mean_of_real_images_are_within_a_millionth_of_the_range(dtype: str) -> None:
    """Sums in 65,536 bins give scikit-image's Li and mean of the image as float64 to 1e-6 of the range."""
    for seed in range(4):
        x = mixture("float64", seed)
        x = ((x - x.min()) * 1e7).astype(dtype) if dtype == "uint32" else x.astype(dtype)
        if seed % 2:
            x[x < np.percentile(x, 60)] = x.min()  # most voxels at the least value: logarithms of small means
        low, high = float(x.min()), float(x.max())
        counts, values = means_of(fine_sums(x, low, high), low, high)
        span, exact = high - low, x.astype(np.float64)
        found = li(counts, values, low, span / 2**31)
        assert abs(found - filters.threshold_li(exact)) < 1e-6 * span
        assert abs(METHODS["mean"](counts, values) - exact.mean()) < 1e-9 * span


@pytest.mark.parametrize("method", list(IMAGEJ))
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float32"])
def test_thresholds_are_those_of_the_published_algorithms(method: str, dtype: str) -> None:
    """Intermodes, maximum entropy and moments are what the published loops find on the same bins."""
    for x in seeded(dtype):
        x = x // 25 if "16" in dtype else x
        counts, centers = counted(x)
        if method == "intermodes" and np.ptp(np.flatnonzero(counts)) >= 256:
            counts, centers = rebin(counts, centers)
        place = IMAGEJ[method](counts.tolist())
        if place is None:
            with pytest.raises(ValuesError, match=FAILS):
                METHODS[method](*counted(x))
        else:
            assert METHODS[method](*counted(x)) == centers[place]


@pytest.mark.parametrize("method", [*EXACT, *IMAGEJ])
def test_a_photograph_has_the_same_threshold(method: str) -> None:
    """On real pictures the threshold is scikit-image's, or that of the published algorithm."""
    for image in (data.camera(), data.coins(), data.page(), data.moon()):
        if method in IMAGEJ:
            counts, centers = counted(image)
            place = IMAGEJ[method](counts.tolist())
            assert place is not None
            assert METHODS[method](counts, centers) == centers[place]
            continue
        same_as_oracle(method, image)
        if method in ORACLES:
            same_as_oracle(method, (image / 255).astype(np.float32))
        if method != "minimum":  # whose oracle takes a minute for 65,000 values
            same_as_oracle(method, image.astype(np.uint16) * 257)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(list(EXACT)),
    hnp.arrays(st.sampled_from(["uint8", "int8"]), st.integers(2, 60)),
)
def test_thresholds_agree_on_any_few_values(method: str, x: NDArray[Any]) -> None:
    """On arbitrary images of a few voxels the threshold is scikit-image's."""
    assume(x.min() < x.max())
    same_as_oracle(method, x.astype(np.int16))  # where int8 overflows in scikit-image's Li


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([name for name in EXACT if name != "minimum"]),
    hnp.arrays(st.sampled_from(["uint16"]), st.integers(2, 60)),
)
def test_thresholds_agree_on_any_few_wide_values(method: str, x: NDArray[Any]) -> None:
    """On arbitrary 16-bit images of a few voxels the threshold is scikit-image's."""
    assume(x.min() < x.max())
    same_as_oracle(method, x)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(list(ORACLES)),
    hnp.arrays(np.float32, st.integers(2, 60), elements=st.floats(-100, 100, width=32)),
)
def test_thresholds_agree_on_any_few_real_values(method: str, x: NDArray[Any]) -> None:
    """On arbitrary real images the threshold is scikit-image's; where float32 has no 256 bins for it, in the range."""
    assume(x.min() < x.max())
    try:
        np.histogram_bin_edges(x, 256)
    except ValueError:
        if method != "minimum":  # which two values need not have
            assert x.min() <= METHODS[method](*counted(x)) <= x.max()
        return
    same_as_oracle(method, x)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["kapur", "moments"]), hnp.arrays(np.uint8, st.integers(2, 60)))
def test_entropy_and_moments_of_any_few_values(method: str, x: NDArray[Any]) -> None:
    """On arbitrary small images the choice is as good as that of the published loop, which rounding may move."""
    assume(x.min() < x.max())
    counts, values = counted(x)
    found, place = METHODS[method](counts, values), IMAGEJ[method](counts.tolist())
    assert place is not None
    if method == "kapur":
        assert imagej.entropy(counts.tolist(), int(found)) == pytest.approx(imagej.entropy(counts.tolist(), place))
        assert found <= place
    else:
        share = imagej.dark_share(counts.tolist())
        upto = np.cumsum(counts) / counts.sum()
        assert upto[found] >= share - 1e-9
        assert found == 0 or upto[found - 1] < share + 1e-9


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32", "float64"])
def test_multi_otsu_is_that_of_scikit_image(classes: int, dtype: str) -> None:
    """Thresholds for several classes are exactly scikit-image's on 8-bit and real images."""
    x = mixture(dtype)
    assert multi_otsu(*counted(x), classes) == tuple(filters.threshold_multiotsu(x, classes))


@settings(max_examples=100, deadline=None)
@given(hnp.arrays("uint8", st.integers(5, 60), elements=st.integers(0, 40)), st.sampled_from([2, 3, 4]))
def test_multi_otsu_agrees_on_any_few_values(x: NDArray[Any], classes: int) -> None:
    """On arbitrary small images, where equally good thresholds are common, the choice is scikit-image's."""
    assume(len(np.unique(x)) >= classes)
    assert multi_otsu(*counted(x), classes) == tuple(filters.threshold_multiotsu(x, classes))


@pytest.mark.parametrize("seed", [2, 857, 1133])
def test_multi_otsu_rounds_as_scikit_image(seed: int) -> None:
    """Where float32 sums of counts and of shares prefer neighbouring bins, the choice is scikit-image's."""
    rng = np.random.default_rng(seed)
    rng.integers(30, 256)
    spread = rng.uniform(5, 40)
    x = np.clip(rng.normal(100, spread, int(rng.integers(50, 3000))), 0, 255).astype(np.uint8)
    found = [multi_otsu(*counted(x), classes) for classes in (2, 3)]
    assert found == [tuple(filters.threshold_multiotsu(x, classes)) for classes in (2, 3)]


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_multi_otsu_of_16_bits_takes_256_bins(dtype: str) -> None:
    """16-bit images get 256 bins, as scikit-image on float64; up to 256 values are all kept."""
    x = mixture(dtype)
    assert int(x.max()) - int(x.min()) > 256
    for classes in (2, 3, 4):
        assert multi_otsu(*counted(x), classes) == tuple(filters.threshold_multiotsu(x.astype(float), classes))
    narrow = (x // 40).astype(dtype)
    assert multi_otsu(*counted(narrow), 3) == tuple(filters.threshold_multiotsu(narrow, 3))


def test_multi_otsu_can_search_every_value() -> None:
    """With as many bins as values the thresholds of a 16-bit image are scikit-image's on the integers."""
    x = (mixture("uint16") // 8).astype(np.uint16)
    assert len(np.unique(x)) > 256
    assert multi_otsu(*counted(x), 3, bins=65536) == tuple(filters.threshold_multiotsu(x, 3))


def test_five_classes_of_five_values() -> None:
    """As many values as classes are parted one by one; fewer are refused."""
    x = np.array([3, 3, 7, 9, 9, 200, 201], np.uint8)
    assert multi_otsu(*counted(x), 5) == tuple(filters.threshold_multiotsu(x, 5)) == (3, 7, 9, 200)
    with pytest.raises(ValuesError, match="at least 4 different values"):
        multi_otsu(*counted(x[:5]), 4)
    with pytest.raises(ParameterError, match="2 to 5 classes"):
        multi_otsu(*counted(x), 6)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(st.sampled_from(["uint8", "int8", "uint16", "int16"]), st.integers(1, 60)),
    st.sampled_from([1, 5, 256]),
)
def test_rebinned_counts_are_numpys(x: NDArray[Any], bins: int) -> None:
    """Counts of values put into bins equal numpy.histogram of the image as float64."""
    counts, centers = rebin(*counted(x), bins)
    expected, edges = np.histogram(x.astype(float), bins)
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(centers, (edges[1:] + edges[:-1]) / 2)
    assert counts.dtype == np.int64


@pytest.mark.parametrize("method", list(METHODS))
def test_constant_and_empty_images_are_refused(method: str) -> None:
    """An image of one value, or of none, has no threshold, and the message names the value."""
    with pytest.raises(ValuesError, match=f"{method} needs at least 2 different values.*all 8 voxels have 7"):
        METHODS[method](*counted(np.full((2, 2, 2), 7, np.uint8)))
    with pytest.raises(ValuesError, match="different values"):
        METHODS[method](*counted(np.full(4, 0.25, np.float32)))
    with pytest.raises(ValuesError, match="all zero"):
        METHODS[method](np.zeros(256, np.int64), np.arange(256))
    with pytest.raises(ParameterError, match="one common length"):
        METHODS[method](np.ones(4, np.int64), np.arange(5))


@pytest.mark.parametrize("method", list(METHODS))
def test_counts_of_a_huge_volume_are_taken(method: str) -> None:
    """Counts of a volume of 1.6e13 voxels give the threshold of the same shares in a small one."""
    counts, values = counted(mixture("uint8"))
    assert METHODS[method](counts * 2**30, values) == pytest.approx(METHODS[method](counts, values), rel=1e-14)


@pytest.mark.parametrize("method", ["minimum", "intermodes"])
def test_one_mode_is_refused(method: str) -> None:
    """A histogram with one maximum has no threshold between two, and the message says what to do."""
    with pytest.raises(ValuesError, match=FAILS):
        METHODS[method](np.array([1, 4, 9, 12, 8, 3, 1]), np.arange(7))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_percentiles_are_those_of_numpy(dtype: str) -> None:
    """Percentiles equal numpy.percentile's, linear, bit for bit, for any number of voxels."""
    q = np.concatenate([[0, 100, 50, 99.9, 0.1, 1 / 3], np.random.default_rng(0).uniform(0, 100, 200)])
    for n in (1, 2, 3, 10, 101, 15000):
        x = mixture(dtype).ravel()[:n]
        np.testing.assert_array_equal(percentiles_from_counts(*counted(x), q), np.percentile(x.astype(int), q))
    assert percentiles_from_counts(*counted(x), 25.0) == np.percentile(x, 25.0)
    assert percentiles_from_counts(*counted(x), [[1, 2], [3, 4]]).shape == (2, 2)


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(st.sampled_from(["uint8", "int16"]), st.integers(1, 30)), st.floats(0, 100))
def test_any_percentile_is_numpys(x: NDArray[Any], q: float) -> None:
    """Arbitrary images and percentages agree with numpy."""
    assert percentiles_from_counts(*counted(x), q) == np.percentile(x.astype(int), q)


def test_percentiles_outside_the_scale_are_refused() -> None:
    """Percentages outside 0 to 100 and empty counts are refused."""
    for q in (-1, 100.1, [50, np.nan]):
        with pytest.raises(ParameterError, match="between 0 and 100"):
            percentiles_from_counts(np.ones(3, np.int64), np.arange(3), q)
    with pytest.raises(ValuesError, match="all zero"):
        percentiles_from_counts(np.zeros(3, np.int64), np.arange(3), 50)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_moments_are_exact(dtype: str) -> None:
    """Mean and standard deviation are those of exact fractions, and numpy's to 1e-12."""
    x = mixture(dtype).ravel()[:3000]
    found = moments_from_counts(*counted(x))
    assert found[:3] == (x.size, x.min(), x.max())
    exact = [Fraction(int(value)) for value in x]
    assert found.mean == float(statistics.mean(exact))
    assert found.std == float(statistics.pvariance(exact)) ** 0.5
    np.testing.assert_allclose(found[3:], (x.mean(), x.std()), rtol=1e-12)


def test_moments_of_a_huge_volume_do_not_overflow() -> None:
    """Sums of squares far beyond 64 bits are exact: a volume of 2e18 voxels at full scale."""
    found = moments_from_counts(np.array([10**18, 0, 10**18]), np.array([65533, 65534, 65535]))
    assert found == (2 * 10**18, 65533, 65535, 65534.0, 1.0)
    assert moments_from_counts(np.array([10**18]), np.array([-32768])) == (
        10**18,
        -32768,
        -32768,
        -32768.0,
        0.0,
    )
