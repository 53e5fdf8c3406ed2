"""Union-find over numbered nodes, and reductions of rows by group: how components of blocks are merged.

1. `union_pairs`: pairs of nodes become trees, the smallest node of a tree is its root;
2. `number_groups`: roots become groups 0, 1, 2, ... in the order of their smallest node;
3. `sum_by_group`, `sum_wide_by_group`, `min_by_group`, `max_by_group`: rows of one group become one row.

Everything is integers, or minima and maxima: the result does not depend on the order of pairs or rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.components.words import inlined, kernel

Array = NDArray[Any]
Group = NDArray[np.int64]


def union_pairs(n: int, pairs: Array) -> Group:
    """Unite nodes 0..n-1 that are joined by pairs, directly or through others.

    Parameters
    ----------
    n : number of nodes.
    pairs : integers of shape (pairs, 2), nodes that belong together, in any order, repeated or not.

    Returns
    -------
    int64 of shape (n,): for each node the smallest node of its set.

    Raises
    ------
    ParameterError : pairs have another shape or name a node that does not exist.

    Notes
    -----
    M. Rem's algorithm (E. W. Dijkstra, A Discipline of Programming, 1976, chapter 23), which Patwary, Blair
    and Manne (2010, Experiments on union-find algorithms) found the fastest of 55 forms. 5 to 30 ns a pair,
    8 bytes a node.

    Examples
    --------
    >>> union_pairs(5, np.array([[3, 1], [4, 3]])).tolist()
    [0, 1, 2, 1, 1]
    """
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise ParameterError(f"pairs of shape {pairs.shape} and dtype {pairs.dtype}: expected integers, (pairs, 2)")
    if pairs.size and not (int(pairs.min()) >= 0 and int(pairs.max()) < n):
        raise ParameterError(f"pairs name nodes {pairs.min()} to {pairs.max()}: expected 0 to {n - 1}")
    root = np.arange(n, dtype=np.int64)
    unite_pairs(root, pairs)
    return roots(root)


def unite_pairs(parent: Group, pairs: Array) -> None:
    """One more piece of `union_pairs`, in place: trees over all pieces, of which `roots` finds the sets.

    Parameters
    ----------
    parent : int64 of shape (n,), ``arange(n)`` before the first piece.
    pairs : integers of shape (pairs, 2) in 0..n-1; nobody checks them.
    """
    _unite(parent, np.ascontiguousarray(pairs, np.int64).view(np.uint64))


def roots(parent: Group) -> Group:
    """The smallest node of the set of each node, in place, after the last `unite_pairs`.

    >>> parent = np.arange(4)
    >>> unite_pairs(parent, np.array([[3, 2]]))
    >>> unite_pairs(parent, np.array([[2, 0]]))
    >>> roots(parent).tolist()
    [0, 1, 0, 0]
    """
    _flatten(parent)
    return parent


def number_groups(root: Group) -> tuple[Group, int]:
    """Number the sets of `union_pairs` 0, 1, 2, ... in the order of their smallest node.

    Returns the group of each node and the number of groups.

    >>> number_groups(np.array([0, 1, 0, 3, 1]))
    (array([0, 1, 0, 2, 1]), 3)
    """
    group = np.empty(root.size, np.int64)
    return group, _number_groups(np.ascontiguousarray(root, np.int64), group)


def sum_by_group(values: Array, group: Group, groups: int) -> NDArray[np.int64]:
    """Add integer rows of the same group.

    Parameters
    ----------
    values : integers of shape (rows,) or (rows, columns).
    group : for each row its group, 0..groups-1.
    groups : number of groups.

    Returns
    -------
    int64 of shape (groups,) or (groups, columns). The caller knows that the sums fit 64 bits; else
    `sum_wide_by_group`.

    >>> sum_by_group(np.array([5, 7, 1]), np.array([1, 0, 1]), 2).tolist()
    [7, 6]
    """
    _check(values, group, groups, "iu")
    table = np.ascontiguousarray(values.reshape(values.shape[0], -1), np.int64)
    sums = np.zeros((groups, table.shape[1]), np.int64)
    _sum(table, np.ascontiguousarray(group, np.int64), sums)
    return sums.reshape(groups, *values.shape[1:])


def split_wide(values: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split int64 values into (high, low) with ``value = high * 2**32 + low`` and 0 <= low < 2**32.

    >>> [part.tolist() for part in split_wide(np.array([-1, 2**32 + 3]))]
    [[-1, 1], [4294967295, 3]]
    """
    whole = np.asarray(values, np.int64)
    return whole >> 32, whole & 0xFFFFFFFF


def sum_wide_by_group(
    high: Array, low: Array, group: Group, groups: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Add wide integers, ``high * 2**32 + low``, of the same group.

    Parameters
    ----------
    high, low : int64 of shape (rows,) or (rows, columns); 0 <= low < 2**32, as `split_wide` leaves them.
    group, groups : as of `sum_by_group`; up to 2**31 rows a group.

    Returns
    -------
    high, low : of the groups, low in the same range, so equal sums have equal bits. They hold 95 bits.

    >>> high, low = split_wide(np.array([2**62, 2**62, 2**62]))
    >>> high, low = sum_wide_by_group(high, low, np.zeros(3, int), 1)
    >>> int(high[0]) * 2**32 + int(low[0]) == 3 * 2**62
    True
    """
    lows = sum_by_group(low, group, groups)
    highs = sum_by_group(high, group, groups)
    return highs + (lows >> 32), lows & 0xFFFFFFFF


def min_by_group(values: Array, group: Group, groups: int) -> Array:
    """Smallest value of each group; every group must have a row.

    Values are integers or floats that are not NaN, (rows,) or (rows, columns). A zero comes back as +0.0.

    >>> min_by_group(np.array([5, 7, 1]), np.array([1, 0, 1]), 2).tolist()
    [7, 1]
    """
    return _extreme_by_group(values, group, groups, True)


def max_by_group(values: Array, group: Group, groups: int) -> Array:
    """Largest value of each group; as `min_by_group`.

    >>> max_by_group(np.array([5, 7, 1]), np.array([1, 0, 1]), 2).tolist()
    [7, 5]
    """
    return _extreme_by_group(values, group, groups, False)


def _extreme_by_group(values: Array, group: Group, groups: int, smallest: bool) -> Array:
    _check(values, group, groups, "iuf")
    table = np.ascontiguousarray(values.reshape(values.shape[0], -1))
    if table.dtype.kind == "f":
        worst = np.inf if smallest else -np.inf
    else:
        worst = np.iinfo(table.dtype).max if smallest else np.iinfo(table.dtype).min
    found = np.full((groups, table.shape[1]), worst, table.dtype)
    _extreme(table, np.ascontiguousarray(group, np.int64), smallest, found)
    found += table.dtype.type(0)
    return found.reshape(groups, *values.shape[1:])


def _check(values: Array, group: Group, groups: int, kinds: str) -> None:
    if values.ndim not in (1, 2) or values.dtype.kind not in kinds or group.shape != values.shape[:1]:
        raise ParameterError(
            f"values of shape {values.shape} and dtype {values.dtype} with groups of shape {group.shape}: "
            "expected one group for each row of numbers"
        )
    if group.size and not (int(group.min()) >= 0 and int(group.max()) < groups):
        raise ParameterError(f"groups {group.min()} to {group.max()}: expected 0 to {groups - 1}")


@inlined
def unite(parent: Any, a: Any, b: Any) -> None:
    """Unite the sets of two nodes (uint64). A parent is smaller than its node; a root is its own parent."""
    above, other = np.uint64(parent[a]), np.uint64(parent[b])
    while above != other:
        if above < other:
            parent[b] = above
            if b == other:
                break
            b = other
            other = np.uint64(parent[b])
        else:
            parent[a] = other
            if a == above:
                break
            a = above
            above = np.uint64(parent[a])


@kernel
def _unite(parent: Any, pairs: Any) -> None:
    for i in range(pairs.shape[0]):
        unite(parent, pairs[i, 0], pairs[i, 1])


@kernel
def _flatten(parent: Any) -> None:
    for node in range(parent.size):
        parent[node] = parent[parent[node]]  # parents come first and already hold their root


@kernel
def _number_groups(root: Any, group: Any) -> int:
    count = 0
    for node in range(root.size):
        if root[node] == node:
            group[node] = count
            count += 1
        else:
            group[node] = group[root[node]]
    return count


@kernel
def _sum(values: Any, group: Any, sums: Any) -> None:
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            sums[group[row], column] += values[row, column]


@kernel
def _extreme(values: Any, group: Any, smallest: bool, found: Any) -> None:
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            value = values[row, column]
            best = found[group[row], column]
            if (value < best) if smallest else (value > best):
                found[group[row], column] = value
