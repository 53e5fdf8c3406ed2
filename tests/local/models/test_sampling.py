"""Samples of voxels: independent of blocks, without bias."""

from __future__ import annotations

import numpy as np
import pytest

from bigseg.errors import ParameterError
from bigseg.local.models.sampling import hashes, smallest


def test_hashes_depend_on_the_index_alone() -> None:
    """The hash of a voxel is the same in whatever part of the volume it is asked for."""
    index = np.arange(1000, dtype=np.uint64)
    whole = hashes(4, index)
    for start in range(1, 18):
        assert np.array_equal(hashes(4, index[start:]), whole[start:])
    assert not np.isin(hashes(5, index), whole).any()


def test_hashes_are_even() -> None:
    """Sixteen equal ranges of hashes hold the same share of voxels, to what chance allows (chi squared)."""
    found = np.bincount((hashes(1, np.arange(1 << 16, dtype=np.uint64)) >> np.uint64(60)).astype(int), minlength=16)
    assert ((found - 4096.0) ** 2 / 4096).sum() < 40


@pytest.mark.parametrize("count", [0, 1, 10, 999, 1000, 5000])
def test_a_sample_is_the_smallest_hashes_in_order(count: int) -> None:
    """The first of all voxels sorted by (hash, index), in whatever order they are given."""
    index = np.random.default_rng(2).permutation(1000).astype(np.uint64) + np.uint64(1 << 40)
    wanted = np.sort(hashes(9, index))[:count]
    assert np.array_equal(hashes(9, index[smallest(9, index, count)]), wanted)
    turned = index[::-1]
    assert np.array_equal(turned[smallest(9, turned, count)], index[smallest(9, index, count)])


def test_bad_numbers() -> None:
    """Negative seeds and counts are refused."""
    with pytest.raises(ParameterError, match="seed -1"):
        hashes(-1, np.arange(3, dtype=np.uint64))
    with pytest.raises(ParameterError, match="0 or more"):
        smallest(0, np.arange(3, dtype=np.uint64), -2)
