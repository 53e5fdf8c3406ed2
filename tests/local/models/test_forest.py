"""Trees as arrays: what is kept, and what is refused before a kernel walks through it."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigseg.errors import ParameterError
from bigseg.local.models.forest import Forest, Tree, flatten, labels, means, rounded_down, working_memory
from bigseg.local.models.forest_walk import ordered


def grown(seed: int, features: int = 3, nodes: int = 41) -> Tree:
    """A random tree, its nodes in no order."""
    rng = np.random.default_rng(seed)
    left, right = np.full(nodes, -1), np.full(nodes, -1)
    names = np.append(0, 1 + rng.permutation(nodes - 1))
    leaves = [0]
    for k in range(1, nodes - 1, 2):
        place = names[leaves.pop(rng.integers(len(leaves)))] if k > 1 else leaves.pop()
        left[place], right[place] = names[k], names[k + 1]
        leaves += [k, k + 1]
    value = rng.random((nodes, 2))
    return Tree(left, right, rng.integers(0, features, nodes), rng.normal(size=nodes), value)


def walked(tree: Tree, voxel: np.ndarray) -> np.ndarray:
    """A voxel's leaf, step by step."""
    node = 0
    while tree.left[node] >= 0:
        node = tree.left[node] if voxel[tree.feature[node]] <= tree.threshold[node] else tree.right[node]
    return np.asarray(tree.value[node])


@given(st.integers(0, 1000), st.integers(1, 6))
def test_equals_walking_step_by_step(seed: int, trees: int) -> None:
    """Random trees in any order of nodes give the mean of the leaves that a loop finds."""
    members = [grown(seed + k, nodes=1 + 2 * ((seed + 7 * k) % 30)) for k in range(trees)]
    planes = np.random.default_rng(seed).normal(size=(3, 29)).astype(np.float32)
    wanted = sum(np.stack([walked(tree, voxel) for voxel in planes.T]) for tree in members) / trees
    forest = flatten(members, 3)
    np.testing.assert_array_equal(means(forest, planes), np.float32(wanted.T))
    np.testing.assert_array_equal(labels(forest, planes), wanted.argmax(1))


@pytest.mark.parametrize(("threshold", "wanted"), [(np.inf, [0, 0, 0]), (-np.inf, [1, 1, 1]), (0.0, [0, 0, 1])])
def test_infinite_thresholds_part_nothing(threshold: float, wanted: list[int]) -> None:
    """Below an infinite threshold lie all finite values, and it is not taken for a leaf."""
    tree = Tree([1, -1, -1], [2, -1, -1], [0, 0, 0], [threshold, 0, 0], [[0.5, 0.5], [1, 0], [0, 1]])
    most = np.finfo(np.float32).max
    assert labels(flatten([tree], 1), np.array([[-most, -0.0, most]], np.float32)).tolist() == wanted


@pytest.mark.parametrize("voxels", [1, 7, 8, 9, 16383, 16384, 16385])
@pytest.mark.parametrize("nodes", [1, 3, 41, 301])
def test_any_number_of_voxels_and_leaves_of_any_depth(voxels: int, nodes: int) -> None:
    """Chains as deep as they have leaves, beside trees of one leaf: groups that fill up and groups that do not."""
    leaves = np.arange(nodes) % 2 == 1
    leaves[-1] = True
    left, right = np.where(leaves, -1, np.arange(nodes) + 1), np.where(leaves, -1, np.arange(nodes) + 2)
    shares = np.random.default_rng(nodes).random(nodes)
    chain = Tree(left, right, np.zeros(nodes, int), np.linspace(0, 1, nodes), np.stack([shares, 1 - shares], axis=1))
    stump = Tree([-1], [-1], [0], [0.0], [[0.25, 0.75]])
    x = np.random.default_rng(voxels).random(voxels).astype(np.float32)
    leaf = np.minimum(2 * np.searchsorted(chain.threshold[::2][: nodes // 2], x, "left") + 1, nodes - 1)
    wanted = (chain.value[leaf] + stump.value[0]) / 2
    forest = flatten([chain, stump], 1)
    np.testing.assert_array_equal(means(forest, x[np.newaxis]), np.float32(wanted.T))
    np.testing.assert_array_equal(labels(forest, x[np.newaxis]), wanted.argmax(1))


def test_nodes_lie_level_by_level() -> None:
    """Children follow each other, after their parent."""
    forest = flatten([grown(1), grown(2)], 3)
    inner = np.flatnonzero(forest.left[:41])
    assert (forest.left[inner] > inner).all()
    assert np.array_equal(np.sort(np.concatenate([forest.left[inner], forest.left[inner] + 1])), np.arange(1, 41))


@given(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_rounded_thresholds_part_float32_alike(threshold: float, x: float) -> None:
    """A float32 lies on the same side of a float64 threshold and of its float32."""
    kept = rounded_down(np.array([threshold]))[0]
    assert (np.float32(x) <= kept) == (float(np.float32(x)) <= threshold)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=20))
def test_bits_keep_the_order(values: list[float]) -> None:
    """Ordered bits rise where the values do."""
    x = np.array(values, np.float32)
    np.testing.assert_array_equal(x[:, None] < x, ordered(x + np.float32(0))[:, None] < ordered(x + np.float32(0)))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"left": 41}, "outside of its tree"),
        ({"left": 40}, "outside of its tree"),
        ({"left": -2}, "outside of its tree"),
        ({"feature": 3}, "other features"),
        ({"feature": -1}, "other features"),
        ({"row": 10**6}, "no value"),
        ({"row": -1}, "no value"),
        ({"threshold": np.nan}, "NaN"),
    ],
)
def test_refuses_arrays_that_are_no_forest(change: dict[str, float], why: str) -> None:
    """One wrong number in any array is refused, as a walk along it would leave the arrays."""
    forest = flatten([grown(1), grown(2)], 3)
    ((name, value),) = change.items()
    array = getattr(forest, name).copy()
    array[3 if name != "left" else np.flatnonzero(array)[-1]] = value
    with pytest.raises(ParameterError, match=why):
        replace(forest, **{name: array})


@pytest.mark.parametrize("starts", [[0], [0, 41], [1, 82], [0, 50, 40, 82], [[0, 82]]])
def test_refuses_trees_that_do_not_cover_the_nodes(starts: list[int]) -> None:
    """Trees that overlap, leave nodes out or are empty are refused."""
    with pytest.raises(ParameterError, match="no forest"):
        replace(flatten([grown(1), grown(2)], 3), starts=np.array(starts))


def test_refuses_what_is_no_tree() -> None:
    """No tree at all, or a node with two parents, is refused."""
    with pytest.raises(ParameterError, match="at least one"):
        flatten([], 3)
    loop = Tree([1, 0, -1], [2, 2, -1], [0, 0, 0], [0, 0, 0], [[1], [1], [1]])
    with pytest.raises(ParameterError, match="no tree"):
        flatten([loop], 1)


def test_a_forest_travels() -> None:
    """A pickled forest, as Dask sends it, holds the plain arrays only and gives the same."""
    forest = flatten([grown(1), grown(2)], 3)
    planes = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    before = labels(forest, planes)
    copy = pickle.loads(pickle.dumps(forest))
    assert isinstance(copy, Forest)
    assert "packed" not in vars(copy)
    np.testing.assert_array_equal(labels(copy, planes), before)


def test_working_memory_counts_the_block_and_the_result() -> None:
    """The stated bytes: 4 a feature, 8 an output and 16 of the voxels in the cache, and the result."""
    forest = flatten([grown(1)], 3)
    assert working_memory(forest, 10**6, classes=True) == 16384 * (12 + 16 + 16) + 10**6
    assert working_memory(forest, 10**6, classes=False) == 16384 * (12 + 16 + 16) + 8 * 10**6
