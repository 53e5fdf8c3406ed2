"""Counts and extremes against numpy and scikit-image, to the last voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from skimage.exposure import histogram

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.thresholds.histogram import (
    Extremes,
    bin_centers,
    bin_counts,
    bin_edges,
    count_values,
    extremes,
    first_not_finite,
    values_of,
)

REAL = ["float32", "float64"]
BINNED = [*REAL, "int32", "uint32", "int16", "uint8"]


def layouts(x: NDArray[Any]) -> list[NDArray[Any]]:
    """The same values in other memory orders, as a crop, reversed, byte-swapped and read-only."""
    locked = x.copy()
    locked.flags.writeable = False
    wide = np.zeros([n + 3 for n in x.shape], x.dtype)
    crop = wide[tuple(slice(2, 2 + n) for n in x.shape)]
    crop[...] = x
    return [
        x,
        np.asfortranarray(x),
        np.moveaxis(x, 0, 1).copy(),
        crop,
        x[..., ::-1],
        x.astype(x.dtype.newbyteorder()),
        locked,
    ]


def cuts(x: NDArray[Any]) -> list[NDArray[Any]]:
    """The image in six parts."""
    return [part for half in np.array_split(x, 3) for part in np.array_split(half, 2, axis=-1)]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("shape", [(1,), (3,), (1, 1, 7), (40, 50), (9, 8, 7), (2, 3, 4, 5)])
def test_every_value_is_counted(dtype: str, shape: tuple[int, ...]) -> None:
    """count_values equals numpy's bincount over the whole range of the dtype, for any shape."""
    info = np.iinfo(dtype)
    rng = np.random.default_rng(len(shape))
    for x in (
        rng.integers(info.min, info.max, shape, dtype, endpoint=True),
        np.full(shape, info.min, dtype),
        np.full(shape, info.max, dtype),
    ):
        counts = count_values(x)
        assert counts.dtype == np.int64
        np.testing.assert_array_equal(
            counts, np.bincount(x.ravel().astype(np.int64) - info.min, minlength=info.max - info.min + 1)
        )
        np.testing.assert_array_equal(np.repeat(values_of(dtype), counts), np.sort(x, axis=None))


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_counts_do_not_depend_on_layout_or_cut(dtype: str) -> None:
    """Counts are the same for every memory layout and add up over parts."""
    x = np.random.default_rng(0).integers(0, 100, (7, 8, 9)).astype(dtype)
    counts = count_values(x)
    for same in layouts(x):
        np.testing.assert_array_equal(count_values(same), counts)
    np.testing.assert_array_equal(sum(count_values(part) for part in cuts(x)), counts)


def test_counts_leave_their_small_tables_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer images are counted piece by piece, without a voxel lost between pieces."""
    monkeypatch.setattr("bigseg.local.thresholds.histogram._PIECE", 10)
    x = np.random.default_rng(0).integers(0, 5, 1234).astype(np.uint8)
    np.testing.assert_array_equal(count_values(x), np.bincount(x, minlength=256))
    real = x.astype(np.float32)
    np.testing.assert_array_equal(bin_counts(real, 0, 4, 7), np.histogram(real, 7, (0, 4))[0])
    assert extremes(x) == (0, 4, 0, 0)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int32", "uint64", "int64", "float16", "float32", "float64"]
)
def test_extremes_are_those_of_numpy(dtype: str) -> None:
    """Least and greatest value equal numpy's for every dtype, at the ends of its range, in any layout."""
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        top = float(np.finfo(dtype).max)
        images = [
            rng.normal(size=(5, 6, 7)),
            rng.uniform(1, 2, (30, 40, 3)),
            -rng.uniform(1, 2, (30, 3)),
            np.full((2, 2), -top),
        ]
    else:
        info = np.iinfo(dtype)
        images = [
            rng.integers(info.min, info.max, (5, 6, 7), dtype, endpoint=True),
            np.array([[info.max, info.min]], dtype),
        ]
    for image in images:
        x = image.astype(dtype)
        for same in layouts(x):
            found = extremes(same)
            assert found == (x.min().item(), x.max().item(), 0, 0)
            assert type(found[0]) is type(x.min().item())


@pytest.mark.parametrize("dtype", ["float16", *REAL])
@pytest.mark.parametrize("size", [1, 5, 1024, 3000])
def test_nan_and_inf_are_counted_apart(dtype: str, size: int) -> None:
    """NaN of either sign and infinities are counted, and the extremes are those of the finite voxels."""
    rng = np.random.default_rng(size)
    x = rng.normal(size=size).astype(dtype)
    for values, share in (
        ([np.nan, -np.nan], 0.1),
        ([np.inf, -np.inf], 0.1),
        ([np.nan, np.inf, -np.inf], 0.6),
    ):
        y = np.where(rng.random(size) < share, rng.choice(np.array(values), size), x).astype(dtype)
        finite = y[np.isfinite(y)]
        lo, hi = (finite.min(), finite.max()) if finite.size else (np.inf, -np.inf)
        assert extremes(y) == (lo, hi, np.isnan(y).sum(), np.isinf(y).sum())


def test_extremes_of_parts_merge() -> None:
    """Extremes of parts merge to those of the whole, even without a finite voxel, and zero has no sign."""
    x = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    x[:2], x[3, 3] = np.nan, -np.inf
    whole = Extremes(np.inf, -np.inf, 0, 0)
    for part in cuts(x):
        whole = whole.merge(extremes(part))
    assert whole == extremes(x)
    for zeros in ([0.0, -0.0], [-0.0], [0.0]):
        assert str(extremes(np.array(zeros))[:2]) == "(0.0, 0.0)"
    assert extremes(np.array([True, False])) == (0, 1, 0, 0)


def equals_numpy(x: NDArray[Any], lo: Any, hi: Any, bins: int) -> None:
    """Counts and edges are those of numpy.histogram with limits of the image's own dtype."""
    kind = x.dtype.type if x.dtype.kind == "f" else np.float64
    counts, edges = np.histogram(x, bins, (kind(lo), kind(hi)))
    np.testing.assert_array_equal(bin_counts(x, lo, hi, bins), counts)
    mine = bin_edges(lo, hi, bins, x.dtype)
    assert mine.dtype == edges.dtype
    np.testing.assert_array_equal(mine, edges)


def finer_bins(x: NDArray[Any], bins: int = 256) -> None:
    """Bins in float64 that hold all values of an image, as numpy counts them; centres are finite."""
    edges, centers = (of(x.min(), x.max(), bins, x.dtype) for of in (bin_edges, bin_centers))
    assert edges.dtype == centers.dtype == np.float64
    assert np.isfinite(centers).all()
    assert (edges[:-1] < edges[1:]).all()
    counts = bin_counts(x, x.min(), x.max(), bins)
    np.testing.assert_array_equal(counts, np.histogram(x.astype(np.float64), edges)[0])
    assert counts.sum() == x.size
    if x.dtype == np.float32 and abs(x).max() < 2**40:
        np.testing.assert_array_equal(counts, np.histogram(x.astype(np.float64), bins)[0])


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float32", [1e9]),
        ("float32", [1e6, 1e6 + 1]),
        ("float32", [70000]),
        ("float32", [-3e38, 3e38]),
        ("float32", [3e38]),
        ("float64", [1e17]),
        ("float64", [1, 1 + 2**-52]),
        ("float64", [-1.7e308]),
        ("float64", [5e-324, 1e-323]),
    ],
)
def test_bins_that_a_dtype_has_not_are_made_in_float64(dtype: str, values: list[float]) -> None:
    """Where numpy finds too many bins for an image's dtype it is asked in float64, and where that has none, around."""
    finer_bins(np.repeat(np.array(values, dtype), 3))


@pytest.mark.parametrize("dtype", BINNED)
@pytest.mark.parametrize("bins", [1, 2, 10, 255, 256, 1000])
def test_bins_are_those_of_numpy(dtype: str, bins: int) -> None:
    """Counts equal numpy.histogram's, for values outside the range too."""
    rng = np.random.default_rng(bins)
    info = np.iinfo(dtype) if np.dtype(dtype).kind != "f" else None
    scale, offset = (1000.0, 0.0) if info is None else ((info.max - info.min) / 8, (info.max + info.min) / 2)
    x = rng.normal(offset, scale, (11, 13, 17))
    x = (x if info is None else np.clip(x, info.min, info.max)).astype(dtype)
    equals_numpy(x, x.min(), x.max(), bins)
    equals_numpy(x, x.min().item(), x.max().item(), bins)
    equals_numpy(x, offset - scale / 3, offset + scale, bins)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize(
    ("lo", "hi"), [(0, 1), (-1e-3, 7e5), (0.1, 0.7), (1e6, 1e6 + 100), (-3e-40, 5e-39), (-2e37, 1e38)]
)
def test_values_on_the_edges_fall_as_in_numpy(dtype: str, lo: float, hi: float) -> None:
    """On every edge, and one step of the dtype to either side of it, the bin is numpy's."""
    for bins in (3, 10, 49, 256):
        edges = bin_edges(lo, hi, bins, dtype)
        x = np.concatenate(
            [edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), (edges[1:] + edges[:-1]) / 2]
        )
        assert x.dtype == dtype
        equals_numpy(x, lo, hi, bins)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_bins_are_those_of_numpy_whatever_the_numbers(data: st.DataObject) -> None:
    """For arbitrary real values, tiny and huge, counts and centres equal numpy's and scikit-image's."""
    dtype = data.draw(st.sampled_from(REAL))
    width: Any = np.dtype(dtype).itemsize * 8
    top = 1e38 if width == 32 else 1e300
    limit = float(np.dtype(dtype).type(data.draw(st.sampled_from([1.0, 300.0, top]))))
    real = st.floats(-limit, limit, width=width)
    some = data.draw(hnp.arrays(dtype, st.integers(2, 40), elements=real))
    bins = data.draw(st.sampled_from([1, 2, 7, 256]))
    lo, hi = some.min(), some.max()
    assume(lo < hi)
    try:
        edges = np.histogram_bin_edges(some, bins)
    except ValueError:
        finer_bins(some, bins)
        return
    x = np.concatenate([some, data.draw(st.permutations(edges.tolist()).map(lambda e: np.array(e, dtype)))])
    equals_numpy(x, lo, hi, bins)
    counts, centers = histogram(x, bins)
    np.testing.assert_array_equal(bin_counts(x, lo, hi, bins), counts)
    np.testing.assert_array_equal(bin_centers(lo, hi, bins, dtype), centers)
    assert bin_centers(lo, hi, bins, dtype).dtype == centers.dtype


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(st.sampled_from(["int32", "uint32"]), st.integers(1, 40)), st.sampled_from([1, 3, 256]))
def test_integer_bins_are_those_of_numpy_whatever_the_numbers(x: NDArray[Any], bins: int) -> None:
    """For arbitrary 32-bit integers counts equal numpy's between the extremes, constant images included."""
    np.testing.assert_array_equal(bin_counts(x, x.min(), x.max(), bins), np.histogram(x, bins)[0])
    np.testing.assert_array_equal(bin_counts(x, int(x.min()), int(x.max()), bins), np.histogram(x, bins)[0])


@pytest.mark.parametrize("dtype", REAL)
def test_bins_do_not_depend_on_layout_or_cut(dtype: str) -> None:
    """Counts are the same for every memory layout and add up over parts; NaN and Inf are left out."""
    x = np.random.default_rng(0).normal(size=(7, 8, 200)).astype(dtype)
    x[0, 0, :9] = [np.nan, np.inf, -np.inf] * 3
    found = extremes(x)
    counts = bin_counts(x, *found[:2])
    for same in layouts(x):
        np.testing.assert_array_equal(bin_counts(same, *found[:2]), counts)
    np.testing.assert_array_equal(sum(bin_counts(part, *found[:2]) for part in cuts(x)), counts)
    assert counts.sum() == x.size - found.nans - found.infs


def test_half_precision_is_binned_as_single() -> None:
    """float16 images are binned as their exact float32 values."""
    x = np.random.default_rng(0).normal(size=500).astype(np.float16)
    equals_numpy(x.astype(np.float32), x.min(), x.max(), 256)
    np.testing.assert_array_equal(bin_counts(x, x.min(), x.max()), bin_counts(x.astype(np.float32), x.min(), x.max()))


def test_what_cannot_be_counted_is_refused() -> None:
    """Wrong dtypes, empty images, and ranges that leave no bins are refused with what would do."""
    with pytest.raises(ParameterError, match="uint16, int16; got float32"):
        count_values(np.zeros(3, np.float32))
    with pytest.raises(ParameterError, match="at least one voxel"):
        extremes(np.zeros((0, 3)))
    with pytest.raises(ParameterError, match="got complex128"):
        extremes(np.zeros(3, complex))
    with pytest.raises(ParameterError, match="got int64"):
        bin_counts(np.zeros(3, np.int64), 0, 1)
    for lo, hi, bins in ((1, 0, 256), (0, 1, 0), (np.nan, 1, 256), (0, np.inf, 256)):
        with pytest.raises(ParameterError, match="finite lo <= hi"):
            bin_counts(np.zeros(3), lo, hi, bins)
    with pytest.raises(ValuesError, match="overflows float64"):
        bin_edges(-1e308, 1e308, dtype="float64")


@pytest.mark.parametrize("shape", [(7, 9), (5, 7, 9)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_value_that_is_not_finite_is_found(shape: tuple[int, ...], bad: float) -> None:
    """In raster order, wherever it is."""
    array = np.zeros(shape, np.float32)
    for flat in (array.size - 1, 40, 0):
        array.ravel()[flat] = bad
        assert first_not_finite(array) == np.unravel_index(flat, shape)
