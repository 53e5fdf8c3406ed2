"""Union-find and reductions by group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bigseg.errors import ParameterError
from bigseg.local.components.unionfind import (
    max_by_group,
    min_by_group,
    number_groups,
    split_wide,
    sum_by_group,
    sum_wide_by_group,
    union_pairs,
)


@given(st.integers(1, 60), st.data())
def test_sets_are_scipys(n, data):
    """The sets equal scipy's connected components, and each root is the smallest node of its set."""
    edge = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))
    pairs = np.array(data.draw(st.lists(edge, max_size=80)), np.int64).reshape(-1, 2)
    root = union_pairs(n, pairs)
    _, label = connected_components(coo_array((np.ones(len(pairs)), pairs.T), shape=(n, n)), directed=False)
    smallest = np.full(n, n)
    np.minimum.at(smallest, label, np.arange(n))
    assert np.array_equal(root, smallest[label])
    order = np.random.default_rng(0).permutation(len(pairs))
    assert np.array_equal(union_pairs(n, pairs[order][:, ::-1].astype(np.uint32)), root)
    group, groups = number_groups(root)
    assert groups == len(np.unique(root))
    assert np.array_equal(np.unique(root)[group], root)


def test_long_chains():
    """Chains joined in the worst orders end at their smallest node."""
    n = 50_000
    chain = np.stack((np.arange(n - 1), np.arange(1, n)), 1)
    for pairs in (chain, chain[::-1], chain[:, ::-1], np.random.default_rng(1).permutation(chain)):
        assert not union_pairs(n, pairs).any()


@pytest.mark.parametrize("columns", [(), (3,)])
def test_reductions_are_numpys(columns):
    """Sums, minima and maxima by group equal numpy's, whatever the order of the rows."""
    rng = np.random.default_rng(2)
    values = rng.integers(-(2**40), 2**40, (500, *columns))
    group = np.concatenate((np.arange(40), rng.integers(0, 40, 460)))
    real = rng.normal(size=(500, *columns)).astype(np.float32)
    order = rng.permutation(500)
    for rows in (slice(None), order):
        v, g, f = values[rows], group[rows], real[rows]
        sums = sum_by_group(v, g, 40)
        lows, highs = min_by_group(f, g, 40), max_by_group(v.astype(np.int64), g, 40)
        for i in range(40):
            assert np.array_equal(sums[i], v[g == i].sum(0))
            assert np.array_equal(lows[i], f[g == i].min(0))
            assert np.array_equal(highs[i], v[g == i].max(0))


def test_wide_sums_do_not_overflow():
    """Sums beyond 64 bits are those of unbounded integers, and equal sums have equal bits."""
    rng = np.random.default_rng(3)
    values = rng.integers(-(2**62), 2**63 - 1, 1000)
    values[:500] = 2**63 - 1
    group = rng.integers(0, 3, 1000)
    high, low = sum_wide_by_group(*split_wide(values), group, 3)
    for i in range(3):
        assert int(high[i]) * 2**32 + int(low[i]) == sum(int(v) for v in values[group == i])
        assert 0 <= low[i] < 2**32


def test_zeros_have_one_sign():
    """A zero comes back as +0.0 whichever came first."""
    for values in ([0.0, -0.0], [-0.0, 0.0]):
        assert not np.signbit(min_by_group(np.array(values), np.zeros(2, int), 1))[0]
        assert not np.signbit(max_by_group(np.array(values), np.zeros(2, int), 1))[0]


def test_refusals():
    """Nodes and groups that do not exist are refused."""
    with pytest.raises(ParameterError, match="expected 0 to 2"):
        union_pairs(3, np.array([[0, 3]]))
    with pytest.raises(ParameterError, match="integers"):
        union_pairs(3, np.array([0, 1]))
    with pytest.raises(ParameterError, match="expected 0 to 1"):
        sum_by_group(np.ones(2, int), np.array([0, 2]), 2)
    with pytest.raises(ParameterError, match="one group for each row"):
        min_by_group(np.ones(2), np.zeros(3, int), 1)
