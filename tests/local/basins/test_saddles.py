"""Settling basins: by h, from the highest saddle down, and only what a part of the volume can know."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bigseg.local.basins.saddles import Saddles, follow, keys, settle

Edge = tuple[int, int, int]


def merged(
    peaks: list[int], edges: list[Edge], least: float, sealed: list[bool] | None = None
) -> tuple[list[int], list[list[int]]]:
    """Groups and open saddles; trees' peaks and saddles are at voxels in the order given."""
    saddles = Saddles(
        np.array([edge[:2] for edge in edges], np.int32).reshape(-1, 2),
        np.array([edge[2] for edge in edges], np.uint16),
        np.array([[k, k] for k in range(len(edges))], np.int64).reshape(-1, 2),
    )
    height, voxel = np.array(peaks, np.uint16), np.arange(len(peaks))
    group, left = settle(height, voxel, np.array(sealed or [True] * len(peaks)), saddles, least)
    return group.tolist(), left.pairs.tolist()


def test_the_lower_peak_decides() -> None:
    """Peaks that rise less than h above the saddle to a higher one are merged into it; those that rise h stay."""
    assert merged([9, 7], [(0, 1, 5)], 2.0) == ([0, 1], [])
    assert merged([9, 7], [(0, 1, 5)], 2.5) == ([0, 0], [])
    assert merged([9, 9], [(0, 1, 5)], 5.0) == ([0, 0], [])  # of equal heights the first is the higher


def test_high_saddles_come_first() -> None:
    """A low peak between two goes to where its saddle is higher, and a group has its highest peak's height."""
    assert merged([9, 6, 8], [(0, 1, 4), (1, 2, 5)], 3.0)[0] == [0, 2, 2]
    assert merged([7, 6, 8], [(1, 2, 3), (0, 1, 5)], 4.5)[0] == [2, 2, 2]
    assert merged([7, 6, 8], [(1, 2, 3), (0, 1, 5)], 4.0)[0] == [0, 0, 2]


def test_only_what_is_known_is_decided() -> None:
    """A lower tree whose saddles are not all known stays open; the higher one need not be known at all."""
    assert merged([9, 7], [(0, 1, 5)], 3.0, [True, False]) == ([0, 1], [[0, 1]])
    assert merged([9, 7], [(0, 1, 5)], 3.0, [False, True]) == ([0, 0], [])
    assert merged([0, 7], [(0, 1, 5)], 3.0, [True, True]) == ([0, 1], [[0, 1]])  # 0: it leads out, who knows how high
    assert merged([9, 7, 4], [(0, 1, 5), (1, 2, 3)], 3.0, [True, False, True]) == ([0, 1, 1], [[0, 1]])
    assert merged([9, 4, 7], [(0, 1, 3), (1, 2, 4)], 3.0, [True, True, False])[0] == [0, 2, 2]


def test_a_saddle_between_what_is_joined_is_dropped() -> None:
    """Of a ring of saddles the lowest can merge nothing, whatever is known."""
    assert merged([9, 8, 7], [(0, 1, 5), (1, 2, 4), (0, 2, 3)], 9.0, [False] * 3) == ([0, 1, 2], [[0, 1], [1, 2]])


@given(st.data())
def test_settling_in_two_steps_is_settling_at_once(data: st.DataObject) -> None:
    """What a part decides for certain, and the whole afterwards, is what the whole decides."""
    n = data.draw(st.integers(2, 12))
    peaks = data.draw(st.lists(st.integers(10, 20), min_size=n, max_size=n))
    tree = st.integers(0, n - 1)
    edges = data.draw(st.lists(st.tuples(tree, tree, st.integers(1, 10)), max_size=30))
    edges = [edge for edge in edges if edge[0] != edge[1]]
    sealed = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    known = [k for k, (a, b, _) in enumerate(edges) if sealed[a] or sealed[b] or data.draw(st.booleans())]
    least = data.draw(st.sampled_from([0.0, 1.0, 2.5, 5.0, 20.0]))
    height, voxel = np.array(peaks, np.uint16), np.arange(n)
    places = np.array([[k, k] for k in range(len(edges))], np.int64).reshape(-1, 2)
    pairs = np.array([edge[:2] for edge in edges], np.int32).reshape(-1, 2)
    every = Saddles(pairs, np.array([edge[2] for edge in edges], np.uint16), places)
    wanted, _ = settle(height, voxel, np.ones(n, bool), every, least)
    first, left = settle(height, voxel, np.array(sealed), every.take(np.array(known, int)), least)
    rest = every.take(np.array([k for k in range(len(edges)) if k not in known], int))
    both = Saddles(*(np.concatenate(items) for items in zip(left, rest, strict=True)))
    both = both._replace(pairs=first[both.pairs].astype(np.int32))
    found, _ = settle(height, voxel, np.ones(n, bool), both.take(both.pairs[:, 0] != both.pairs[:, 1]), least)
    np.testing.assert_array_equal(found[first], wanted)


def test_order_and_following() -> None:
    """Higher first, then the smaller index; chains are followed to their ends."""
    height, voxel = np.array([3, 3, 4, 65535]), np.array([8, 2, 9, 2**48 - 1])
    assert np.argsort(keys(height, voxel)).tolist() == [0, 1, 2, 3]
    assert follow(np.array([1, 2, 3, 3, 0, 5])).tolist() == [3, 3, 3, 3, 3, 5]
