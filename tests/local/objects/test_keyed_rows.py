"""Rows of sums under keys: the sum of parts is the sum of the whole, ranges are of about equal length."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigseg.local.objects.keyed_rows import SAMPLES, bounds_of, cut, sampled, summed


def rows_of(seed: int, count: int, most: int = 9, shift: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, most, (2, count)).astype(np.uint64) + np.uint64(shift)
    return np.concatenate([keys, rng.integers(0, 100, (2, count)).astype(np.uint64)])


@settings(max_examples=40)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.sampled_from([0, 2**33]), st.integers(0, 2**31))
def test_sums_are_those_of_a_dictionary(counts: list[int], shift: int, seed: int) -> None:
    """Any number of parts, empty ones too, keys of 32 bits and more: sorted keys, each once, with their sums."""
    parts = [rows_of(seed + k, count, shift=shift) for k, count in enumerate(counts)]
    wanted: Counter[tuple[int, int, int]] = Counter()
    for part in parts:
        for a, b, x, y in part.T.tolist():
            wanted[a, b, 0] += x
            wanted[a, b, 1] += y
    found = summed(parts)
    assert found.T.tolist() == [[a, b, wanted[a, b, 0], wanted[a, b, 1]] for a, b in sorted({k[:2] for k in wanted})]


@pytest.mark.parametrize("ranges", [1, 2, 7])
def test_a_run_is_cut_without_loss(ranges: int) -> None:
    """The parts follow each other in order and are the whole; a bound that occurs begins its range."""
    run = summed([rows_of(1, 300)])
    bounds = bounds_of([sampled(run, 3)], ranges)
    assert bounds.shape == (2, ranges - 1)
    parts = cut(run, bounds)
    assert len(parts) == ranges
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), run)
    for part, bound in zip(parts[1:], bounds.T, strict=True):
        assert part[:2, 0].tolist() >= bound.tolist()
    empty = summed([rows_of(1, 0)])
    assert [part.shape for part in cut(empty, bounds_of([sampled(empty, 0)], ranges))] == [(4, 0)] * ranges


@pytest.mark.parametrize("mixed", [False, True])
def test_ranges_hold_about_as_many_rows(mixed: bool) -> None:
    """Whether labels lie in the order of the blocks or anywhere: the fullest of 16 ranges holds < 1.3 of its share."""
    rng = np.random.default_rng(5)
    labels = np.arange(256 * 200, dtype=np.uint64)
    if mixed:
        rng.shuffle(labels)
    runs = [summed([np.stack([part, part % 7, part * 0 + 1])]) for part in np.split(labels, 256)]
    samples = [sampled(run, number) for number, run in enumerate(runs)]
    assert all(sample.shape[1] == SAMPLES and sample[2].sum() == 200 for sample in samples)
    bounds = bounds_of(samples, 16)
    counts = np.sum([[part.shape[1] for part in cut(run, bounds)] for run in runs], axis=0)
    assert counts.sum() == labels.size
    assert counts.max() < 1.3 * labels.size / 16
