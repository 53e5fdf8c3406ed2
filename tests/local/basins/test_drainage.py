"""Drainage against brute force: pointers, trees, and saddles enough for every merging."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from bigseg.local.basins.drainage import drain, drain_working_bytes
from bigseg.local.basins.flow import SELF, flow, heights, pointers
from bigseg.local.basins.saddles import Saddles, settle
from tests.local.crops import assert_blocks_do_not_show, assert_shifts_do_not_show, whole
from tests.memory import bytes_held
from tests.ops.cases.split import drained

SHAPES = ((40,), (13, 17), (7, 9, 11))


def bumps(shape: tuple[int, ...], levels: int, seed: int = 0, sigma: float = 0.0) -> NDArray[np.uint16]:
    """Random heights of a few levels with holes: plateaus of every form."""
    rng = np.random.default_rng(seed)
    values = rng.random(shape)
    if sigma:
        values = ndimage.gaussian_filter(values, sigma)
        values = (values - values.min()) / np.ptp(values)
    return np.minimum(values * (levels + 1), levels).astype(np.uint16)


def pointer(high: NDArray, voxel: tuple[int, ...], connectivity: int) -> int:
    """Number of the highest neighbour, of equal ones the first."""
    best, number = (int(high[voxel]), -SELF), SELF
    for k, step in enumerate(product((-1, 0, 1), repeat=3)):
        step, fixed = step[3 - high.ndim :], step[: 3 - high.ndim]
        other = tuple(a + b for a, b in zip(voxel, step, strict=True))
        inside = all(0 <= a < n for a, n in zip(other, high.shape, strict=True))
        if not any(fixed) and inside and sum(map(abs, step)) <= connectivity and (int(high[other]), -k) > best:
            best, number = (int(high[other]), -k), k
    return number


@pytest.mark.parametrize("shape", SHAPES)
def test_every_voxel_points_to_its_highest_neighbour(shape: tuple[int, ...]) -> None:
    """The pointer is the highest neighbour, of equal ones the first in raster order; a peak points to itself."""
    for connectivity in range(1, len(shape) + 1):
        high = bumps(shape, 4)
        found = pointers(flow(high, whole(shape), connectivity))
        for voxel in np.ndindex(*shape):
            expected = pointer(high, voxel, connectivity) + 1 if high[voxel] else 0
            assert found[voxel] == expected, (connectivity, voxel)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("levels", [1, 3, 60000])
def test_saddles_suffice_for_every_merging(shape: tuple[int, ...], levels: int) -> None:
    """Basins merged at the saddles found are those of the whole flood, for any h, with plateaus and without."""
    for connectivity in range(1, len(shape) + 1):
        for seed, sigma in ((1, 0.0), (2, 0.7), (3, 1.3)):
            high = bumps(shape, levels, seed, sigma)
            code = flow(high, whole(shape), connectivity)
            found = drain(pointers(code), code, high)
            for least in (0.0, 0.5, 1.5, levels / 10, levels / 3, 2.0 * levels):
                saddles = Saddles(found.pairs, found.saddles, found.places)
                group, left = settle(found.height, found.end, np.ones(len(found.end), bool), saddles, least)
                assert not len(left.pairs)
                ids = np.concatenate([[0], np.unique(group, return_inverse=True)[1] + 1])
                _, first = np.unique(group, return_index=True)
                ids[1:] = (np.argsort(np.argsort(first)) + 1)[ids[1:] - 1]
                np.testing.assert_array_equal(
                    ids[found.labels].reshape(shape),
                    drained(high, least, connectivity),
                    err_msg=f"{connectivity} {least}",
                )


def test_smooth_heights_have_few_saddles() -> None:
    """One saddle or so for each pair of basins that meet: what makes merging cheap."""
    high = bumps((40, 40, 40), 60000, 5, 2.5)
    for connectivity in (1, 2, 3):
        code = flow(high, whole(high.shape), connectivity)
        found = drain(pointers(code), code, high)
        assert len(found.pairs) < 8 * len(found.height) < high.size / 50


@pytest.mark.parametrize("shape", SHAPES)
def test_flow_does_not_depend_on_the_crop(shape: tuple[int, ...]) -> None:
    """Codes need one voxel around them and nothing else."""
    high = bumps(shape, 50, 4, 0.8)
    for connectivity in range(1, len(shape) + 1):

        def run(x: NDArray, keep: tuple[slice, ...], connectivity: int = connectivity) -> NDArray:
            return flow(x, keep, connectivity)

        assert_shifts_do_not_show(run, high, (1,) * high.ndim)
        assert_blocks_do_not_show(run, high, (1,) * high.ndim, (5, 6, 4)[-high.ndim :])


def test_trees_are_in_the_order_of_their_first_voxels() -> None:
    """Tree k + 1 begins after tree k; its first voxel is the first that has its label."""
    high = bumps((9, 10, 11), 30, 6)
    labels, first, *_ = drain(pointers(flow(high, whole(high.shape), 2)))
    assert np.all(np.diff(first) > 0)
    flat = np.pad(labels, 1).ravel()
    assert [int(np.flatnonzero(flat == k + 1)[0]) for k in range(len(first))] == first.tolist()


def test_heights_keep_the_foreground_above_0() -> None:
    """The foreground is 1 to 65535 whatever its distance, the background 0."""
    mask = np.array([True, False, True, True, True])
    distance = np.array([0, 3, 1e-9, 2, 9], np.float32)
    assert heights(mask, distance, 4.0).tolist() == [1, 0, 1, 32767, 65535]
    assert heights(mask.astype(np.int32) * 7, distance, 4.0).tolist() == [1, 0, 1, 32767, 65535]


def test_memory_is_what_is_said() -> None:
    """Draining holds what drain_working_bytes says, and little more than the labels at a real block's size."""
    high = bumps((64, 64, 64), 60000, 7, 2.0)
    code = flow(high, whole(high.shape), 2)
    lead = pointers(code)
    _, held = bytes_held(lambda: drain(lead, code, high))
    said = drain_working_bytes(high.shape)
    assert said / 1.3 <= held <= said + 65536
