"""Growing of labels against brute force, scikit-image and iterated dilations; any crop gives the same."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology, segmentation

from bigseg.errors import ParameterError
from bigseg.local.basins.growing import grow, grow_working_bytes, nearest, nearest_reach, nearest_working_bytes
from bigseg.local.filters.footprints import ball, cross
from tests.memory import bytes_held

SHAPES = ((40,), (23, 31), (9, 14, 17))


def seeds(shape: tuple[int, ...], share: float = 0.03, dtype: str = "uint16", seed: int = 0) -> NDArray:
    """Few labelled voxels, several of each label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(1, 6, shape).astype(dtype)
    return np.where(rng.random(shape) < share, labels, 0).astype(dtype)


def whole(x: NDArray) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in x.shape)


def brute_force(labels: NDArray, distance: float, sampling: tuple[float, ...]) -> NDArray:
    """The least (square of distance, label) over all labelled voxels, for every voxel."""
    places, found = np.argwhere(labels), labels[labels > 0]
    out = np.zeros_like(labels)
    for voxel in np.ndindex(*labels.shape):
        if not len(places):
            continue
        away = (((places - voxel) * sampling) ** 2).sum(axis=1)
        best = np.lexsort((found, away))[0]
        out[voxel] = found[best] if sqrt(away[best]) <= distance else 0
    return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("distance", [0, 1, 1.5, sqrt(3), 4, 50])
def test_nearest_is_brute_force(shape: tuple[int, ...], distance: float) -> None:
    """Every voxel takes the label of the least (square of distance, label), within the distance and not beyond."""
    for seed in range(2):
        labels = seeds(shape, seed=seed)
        sampling = (1.0,) * labels.ndim
        np.testing.assert_array_equal(
            nearest(labels, distance, sampling, whole(labels)), brute_force(labels, distance, sampling)
        )


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_nearest_counts_the_sides_of_voxels(shape: tuple[int, ...]) -> None:
    """With voxels of unequal sides distances are physical."""
    labels = seeds(shape)
    sampling = (2.5, 1.25, 0.5)[-labels.ndim :]
    for distance in (2.5, 6.0):
        np.testing.assert_array_equal(
            nearest(labels, distance, sampling, whole(labels)), brute_force(labels, distance, sampling)
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("distance", [1, 3, 6.5])
def test_nearest_is_that_of_scikit_image_but_for_ties(shape: tuple[int, ...], distance: float) -> None:
    """scikit-image fills the same voxels, and where its label is another, that one is as near."""
    labels = seeds(shape, share=0.05)
    found = nearest(labels, distance, (1.0,) * labels.ndim, whole(labels))
    expected = segmentation.expand_labels(labels, distance)
    np.testing.assert_array_equal(found > 0, expected > 0)
    for voxel in np.argwhere(found != expected):
        mine, theirs = (
            min(((place - voxel) ** 2).sum() for place in np.argwhere(labels == item[tuple(voxel)]))
            for item in (found, expected)
        )
        assert mine == theirs
        assert found[tuple(voxel)] < expected[tuple(voxel)]


@pytest.mark.parametrize("shape", SHAPES)
def test_nearest_does_not_depend_on_the_crop(shape: tuple[int, ...]) -> None:
    """A part grown by the reach gives the bits of the whole, wherever it lies, of any dtype and memory order."""
    rng = np.random.default_rng(5)
    for dtype in ("uint8", "uint32", "int64"):
        labels = seeds(shape, dtype=dtype)
        sampling = (1.5, 1.0, 0.7)[-labels.ndim :]
        expected = nearest(labels, 3.2, sampling, whole(labels))
        reach = nearest_reach(3.2, sampling)
        for _ in range(8):
            start = [int(rng.integers(0, n)) for n in shape]
            stop = [int(rng.integers(a + 1, n + 1)) for a, n in zip(start, shape, strict=True)]
            outer = tuple(
                slice(max(0, a - r), min(n, b + r)) for a, b, r, n in zip(start, stop, reach, shape, strict=True)
            )
            keep = tuple(slice(a - o.start, b - o.start) for a, b, o in zip(start, stop, outer, strict=True))
            inner = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
            for part in (labels[outer], np.asfortranarray(labels[outer])):
                found = nearest(part, 3.2, sampling, keep)
                assert found.dtype == labels.dtype
                np.testing.assert_array_equal(found, expected[inner])


def test_nearest_of_a_mask_is_a_dilation_by_a_ball() -> None:
    """A mask grows by the voxels within the distance."""
    mask = seeds((9, 14, 17)) > 0
    found = nearest(mask, 2.5, (1.0,) * 3, whole(mask))
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, ndimage.binary_dilation(mask, ball((2.5, 2.5, 2.5))))


def steps(labels: NDArray, footprint: NDArray, count: int, mask: NDArray) -> NDArray:
    """The least label around each free voxel, over and over."""
    top = np.iinfo(labels.dtype).max
    for _ in range(count):
        around = ndimage.minimum_filter(
            np.where(labels == 0, top, labels), footprint=footprint, mode="constant", cval=top
        )
        labels = np.where((labels == 0) & mask & (around != top), around, labels)
    return labels


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [0, 1, 4, 30, 300])
def test_grow_is_iterated_least_labels(shape: tuple[int, ...], count: int) -> None:
    """In every step a free voxel takes the smallest label around it; labels outside of the mask stay and grow."""
    rng = np.random.default_rng(2)
    mask = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) > -0.05
    for around in (ball, cross):
        labels = seeds(shape, seed=1)
        footprint = around((1.5,) * labels.ndim)
        np.testing.assert_array_equal(grow(labels, footprint, count, mask), steps(labels, footprint, count, mask))
        np.testing.assert_array_equal(
            grow(labels, footprint, min(count, 9)), steps(labels, footprint, min(count, 9), np.ones(shape, bool))
        )


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_grow_of_a_mask_is_iterated_conditional_dilation(shape: tuple[int, ...]) -> None:
    """Two dilations by a disk of 1.8, each cut to the mask; and ten."""
    rng = np.random.default_rng(4)
    mask = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) > 0
    seed = mask & (rng.random(shape) < 0.02)
    footprint = ball((1.8,) * len(shape))
    for count in (2, 10):
        expected = seed
        for _ in range(count):
            expected = morphology.dilation(expected, footprint) & mask
        found = grow(seed, footprint, count, mask)
        assert found.dtype == np.bool_
        np.testing.assert_array_equal(found, expected)
    assert seed.sum() < grow(seed, footprint, 2, mask).sum() < mask.sum()


@pytest.mark.parametrize("footprint", [[[0, 1, 1]], [[1, 1, 0], [0, 1, 0], [0, 0, 0]]])
def test_a_voxel_looks_for_labels_in_its_footprint_as_it_stands(footprint: list[list[int]]) -> None:
    """One that is not symmetric is not turned round: the oracles of labels and of masks say the same."""
    around = np.array(footprint, bool)
    labels = seeds((20, 30), seed=1)
    mask = np.random.default_rng(5).random(labels.shape) < 0.8
    np.testing.assert_array_equal(grow(labels, around, 3, mask), steps(labels, around, 3, mask))
    expected = seed = (labels != 0) & mask
    for _ in range(3):
        expected = morphology.dilation(expected, around, mode="ignore") & mask
    np.testing.assert_array_equal(grow(seed, around, 3, mask), expected)


def test_wrong_arguments_are_refused() -> None:
    """Floats, negative distances, even footprints and masks of another shape are refused with what was found."""
    labels = seeds((5, 6))
    with pytest.raises(ParameterError, match="not float32"):
        nearest(labels.astype("float32"), 1, (1, 1), whole(labels))
    with pytest.raises(ParameterError, match="distance -1"):
        nearest(labels, -1, (1, 1), whole(labels))
    with pytest.raises(ParameterError, match="odd lengths"):
        grow(labels, np.ones((2, 3), bool), 1)
    with pytest.raises(ParameterError, match=r"mask of shape \(6, 5\)"):
        grow(labels, np.ones((3, 3), bool), 1, np.ones((6, 5), bool))
    with pytest.raises(ParameterError, match="iterations -1"):
        grow(labels, np.ones((3, 3), bool), -1)


def test_working_bytes_cover_what_is_held() -> None:
    """The memory said before is at least what NumPy then holds, and not more than 1.3 times that."""
    labels = seeds((70, 80, 90), dtype="uint32")
    keep = (slice(5, 65), slice(5, 75), slice(5, 85))
    footprint = ball((1.8,) * 3)
    mask = np.ones(labels.shape, bool)
    for call, held, said in (
        (
            lambda: nearest(labels, 5, (1.0,) * 3, keep),
            4 * 60 * 70 * 80,
            nearest_working_bytes(labels.shape, (60, 70, 80), labels.dtype, 5, (1.0,) * 3),
        ),
        (
            lambda: nearest(labels, 5, (1.0, 1.0, 1.25), keep),
            4 * 60 * 70 * 80,
            nearest_working_bytes(labels.shape, (60, 70, 80), labels.dtype, 5, (1.0, 1.0, 1.25)),
        ),
        (lambda: grow(labels, footprint, 3, mask), 0, grow_working_bytes(labels.shape, 4, 3)),
    ):
        _, most = bytes_held(call)
        peak = most - held
        assert said / 1.3 <= peak <= said + 65536


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "bool"])
@pytest.mark.parametrize("distance", [0.0, 0.9, 1.0, 2.5, 4.0, 9.0, 9.5, 30.0])
def test_keys_give_what_distances_give(dtype: str, distance: float) -> None:
    """One integer a voxel, where voxels are 1 apart, gives the labels that distances and labels apart give."""
    for shape in ((13, 21, 34), (21, 40), (70,), (1, 5, 3)):
        labels = seeds(shape, dtype=dtype)
        keep = tuple(slice(min(2, n // 3), n - n // 4) for n in shape)
        apart = nearest(labels.astype("int64"), distance, (1.0,) * len(shape), keep)  # labels with a sign have no keys
        found = nearest(labels, distance, (1.0,) * len(shape), keep)
        assert found.dtype == labels.dtype
        np.testing.assert_array_equal(found.astype("int64"), apart)
