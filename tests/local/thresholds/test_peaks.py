"""The modes of histograms."""

from __future__ import annotations

import numpy as np
import pytest

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.thresholds.peaks import modes, peaks


def test_modes_of_two_classes_are_their_values() -> None:
    """The peaks of two noisy classes lie within a bin of their means."""
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(60, 8, 40_000), rng.normal(170, 12, 60_000)]).round().astype(int)
    low, high = modes(np.bincount(values, minlength=256), np.arange(256))
    assert low == pytest.approx(60, abs=1.5)
    assert high == pytest.approx(170, abs=2.5)


def test_modes_move_with_the_image() -> None:
    """Empty bins around the histogram, and an offset of the values, change nothing but the offset."""
    counts = np.array([1, 5, 20, 6, 2, 2, 9, 30, 11, 2])
    low, high = modes(counts, np.arange(10))
    shifted = modes(np.pad(counts, (7, 3)), np.arange(20) * 0.5 + 100)
    assert shifted == pytest.approx((103.5 + 0.5 * low, 103.5 + 0.5 * high))


def test_a_peak_at_the_end_is_not_moved() -> None:
    """A class of one value at the end of the range stays where it is: beyond there are no voxels."""
    low, high = modes(np.array([50, 0, 0, 0, 0, 0, 0, 0, 40]), np.arange(9))
    assert (low, high) == (0.0, 8.0)


def test_flat_peaks_count_once() -> None:
    """A run of equal bins is one peak; a step is none."""
    first, last = peaks(np.array([0.0, 2.0, 2.0, 1.0, 1.0, 3.0]))
    assert list(zip(first, last, strict=True)) == [(1, 2), (5, 5)]


def test_histograms_without_two_modes_are_refused() -> None:
    """One class, no voxel or other lengths are errors."""
    with pytest.raises(ValuesError, match="no 2 clear modes"):
        modes(np.array([1, 4, 9, 4, 1]), np.arange(5))
    with pytest.raises(ValuesError, match="all zero"):
        modes(np.zeros(4, int), np.arange(4))
    with pytest.raises(ParameterError):
        modes(np.ones(4, int), np.arange(5))
