"""Nearest neighbours among points: all distances by the definition, ties to the smaller label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigseg.local.objects import neighbours
from bigseg.local.objects.neighbours import NOBODY, Cloud


def by_definition(labels: np.ndarray, places: np.ndarray, k: int, limit: float) -> list[list[int]]:
    """All squares, added axis after axis, sorted with the labels."""
    squares = np.zeros((len(labels), len(labels)))
    for axis in range(places.shape[1]):
        away = places[None, :, axis] - places[:, None, axis]
        squares += away * away
    found = []
    for i, own in enumerate(squares):
        order = [int(labels[j]) for j in np.lexsort((labels, own)) if j != i and np.sqrt(own[j]) <= limit][:k]
        found.append(order + [int(NOBODY)] * (k - len(order)))
    return found


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(2, 3), st.integers(1, 6), st.sampled_from([2.0, np.inf]), st.integers(0, 2**31))
def test_any_points(count: int, axes: int, k: int, limit: float, seed: int) -> None:
    """Points on a coarse lattice, with equal distances and equal places: no tie is missed."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 4, (count, axes)) * 0.7
    labels = rng.permutation(np.arange(1, count + 1)).astype(np.uint64)
    found = Cloud(labels, places).nearest(labels, places, k, limit)
    kept = np.where(np.sqrt(found.squares) <= limit, found.labels, NOBODY)
    assert kept.tolist() == by_definition(labels, places, k, limit)


@settings(max_examples=30)
@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 2**31))
def test_two_clouds_are_as_one(count: int, k: int, seed: int) -> None:
    """The best of what each half of the points gives is what the whole gives."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 5, (count, 3)).astype(float)
    labels = rng.permutation(np.arange(1, count + 1)).astype(np.uint64)
    halves = [Cloud(labels[part], places[part]) for part in (slice(0, count // 2), slice(count // 2, None))]
    one, two = (half.nearest(labels, places, k) for half in halves)
    whole = Cloud(labels, places).nearest(labels, places, k)
    np.testing.assert_array_equal(one.best(two).labels, whole.labels)
    np.testing.assert_array_equal(one.best(two).squares, whole.squares)


def test_many_points_at_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Concentric objects: the smallest labels of all, asked for piece by piece."""
    monkeypatch.setattr(neighbours, "CANDIDATES", 64)
    labels = np.arange(100, 0, -1).astype(np.uint64)
    found = Cloud(labels, np.zeros((100, 3))).nearest(labels, np.zeros((100, 3)), 2)
    assert found.labels[:98].tolist() == [[1, 2]] * 98
    assert found.labels[98:].tolist() == [[1, 3], [2, 3]]
