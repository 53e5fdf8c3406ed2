"""Pyramid levels against a cell-by-cell oracle in exact arithmetic."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.downsample import mean2, mode2

SHAPES = [
    (1,),
    (7,),
    (1, 1),
    (6, 9),
    (5, 1),
    (1, 1, 1),
    (4, 6, 8),
    (5, 7, 9),
    (1, 5, 1),
    (3, 2, 1),
    (2, 3, 4, 5),
]


def by_cells(
    x: NDArray[Any], axes: tuple[int, ...], value: Callable[[list[Any]], Any], dtype: Any = None
) -> NDArray[Any]:
    """The level, each voxel by a function of the list of values in its cell."""
    factors = [2 if axis in axes else 1 for axis in range(x.ndim)]
    out = np.empty([-(-n // f) for n, f in zip(x.shape, factors, strict=True)], dtype or x.dtype)
    for place in np.ndindex(out.shape):
        cell = x[tuple(slice(f * p, f * p + f) for p, f in zip(place, factors, strict=True))]
        out[place] = value(cell.ravel().tolist())
    return out


def half_up(values: list[int]) -> int:
    """The mean in exact fractions, rounded half up."""
    return floor(Fraction(sum(values), len(values)) + Fraction(1, 2))


def in_order(values: list[float]) -> float:
    """The mean by adding in the order given."""
    total = 0.0
    for value in values:
        total = total + value
    return total / len(values)


def most(values: list[int]) -> int:
    """The smallest of the most frequent values."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def usual_axes(ndim: int) -> tuple[int, ...]:
    """The axes halved when none are given."""
    return tuple(range(ndim))[-3:]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"])
def test_integer_means_are_rounded_half_up_exactly(dtype: str) -> None:
    """mean2 is floor(mean + 0.5) of the voxels that exist, at the ends of every dtype and for odd sizes."""
    info = np.iinfo(dtype)
    rng = np.random.default_rng(1)
    for shape in SHAPES:
        full = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
        ends = rng.choice(np.array([info.min, info.max, info.max - 1], dtype), shape)
        small = rng.integers(0 if info.min == 0 else -3, 4, shape).astype(dtype)
        for x in (full, ends, small):
            level = mean2(x)
            assert level.dtype == x.dtype
            np.testing.assert_array_equal(level, by_cells(x, usual_axes(x.ndim), half_up))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_real_means_are_added_in_one_order(dtype: str) -> None:
    """mean2 of real numbers has the bits of a float64 sum in C order within the cell, NaN included."""
    rng = np.random.default_rng(2)
    for shape in SHAPES:
        x = (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape)).astype(dtype)
        if x.size > 20:
            x.flat[5], x.flat[11] = np.nan, np.inf
        level = mean2(x)
        assert level.dtype == x.dtype
        np.testing.assert_array_equal(level, by_cells(x, usual_axes(x.ndim), in_order))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("kinds", [2, 4, 100])
def test_modes_take_the_smallest_of_the_most_frequent(dtype: str, kinds: int) -> None:
    """mode2 is the most frequent value of each cell, ties to the smaller, for masks, classes and labels."""
    rng = np.random.default_rng(kinds)
    top = 1 if dtype == "bool" else np.iinfo(dtype).max
    choice = np.array([top - i // 2 if i % 2 else i // 2 for i in range(min(kinds, top + 1))], dtype)
    for shape in SHAPES:
        x = rng.choice(choice, shape)
        level = mode2(x)
        assert level.dtype == x.dtype
        np.testing.assert_array_equal(level, by_cells(x, usual_axes(x.ndim), most))


def test_smooth_labels_keep_their_inside() -> None:
    """On large objects, where nearly all cells hold one label, the mode is the same as cell by cell."""
    z, y, x = np.indices((17, 20, 23)) // 6
    labels = (1 + x + 5 * (y + 5 * z)).astype(np.uint32)
    np.testing.assert_array_equal(mode2(labels), by_cells(labels, (0, 1, 2), most))


@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 5), (2, 3, 5, 4)])
def test_only_the_given_axes_are_halved(shape: tuple[int, ...]) -> None:
    """Any choice of up to three axes is halved and the others are left as they are."""
    x = np.random.default_rng(3).integers(0, 3, shape).astype(np.uint8)
    for count in range(min(len(shape), 3) + 1):
        for axes in itertools.combinations(range(len(shape)), count):
            np.testing.assert_array_equal(mean2(x, axes), by_cells(x, axes, half_up))
            np.testing.assert_array_equal(mode2(x, axes), by_cells(x, axes, most))
    np.testing.assert_array_equal(mode2(x, (-1,)), mode2(x, (len(shape) - 1,)))


@pytest.mark.parametrize("start", [(0, 0, 0), (2, 4, 6), (8, 0, 16)])
@pytest.mark.parametrize("size", [(1, 2, 3), (8, 6, 4), (99, 99, 99)])
def test_a_block_at_even_indices_gives_the_crop(start: tuple[int, ...], size: tuple[int, ...]) -> None:
    """The level of a block from even indices, up to even ones or the edge, is the crop of the whole level."""
    rng = np.random.default_rng(4)
    real = rng.normal(size=(13, 15, 37)).astype(np.float32)
    labels = rng.integers(0, 3, real.shape).astype(np.uint32)
    stop = [min(s + 2 * n, edge) for s, n, edge in zip(start, size, real.shape, strict=True)]
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    halved = tuple(slice(a // 2, -(-b // 2)) for a, b in zip(start, stop, strict=True))
    np.testing.assert_array_equal(mean2(real[box]), mean2(real)[halved])
    np.testing.assert_array_equal(mode2(labels[box]), mode2(labels)[halved])


def test_memory_layout_does_not_matter() -> None:
    """Transposed, strided, read-only, byte-swapped and empty arrays give the level of their plain copy."""
    x = np.random.default_rng(5).integers(0, 60000, (6, 7, 8)).astype(np.uint16)
    locked = x.copy()
    locked.flags.writeable = False
    for view in (x.T, x[::2, 1:, ::-1], locked, x.astype(x.dtype.newbyteorder()), x[:, :0]):
        plain = np.ascontiguousarray(view, np.uint16)
        for halve in (mean2, mode2):
            assert halve(view).dtype == view.dtype
            np.testing.assert_array_equal(halve(view), halve(plain))


@pytest.mark.parametrize(
    ("halve", "x", "axes", "said"),
    [
        (mean2, np.zeros(3, bool), None, "use mode2"),
        (mean2, np.zeros(3, complex), None, "integers or real"),
        (mode2, np.zeros(3, np.float32), None, "labels or classes"),
        (mean2, np.zeros((1,) * 5), None, "1 to 4 axes"),
        (mean2, np.zeros((2, 2)), (2,), "axes must be"),
        (mean2, np.zeros((2, 2)), (0, -2), "axes must be"),
        (mode2, np.zeros((1,) * 4, int), (0, 1, 2, 3), "axes must be"),
    ],
)
def test_what_cannot_be_halved_is_refused(halve: Any, x: NDArray[Any], axes: Any, said: str) -> None:
    """Wrong dtypes and axes are refused with what would do."""
    with pytest.raises(ParameterError, match=said):
        halve(x, axes)
