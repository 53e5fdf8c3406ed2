"""Decision trees and forests as plain arrays, and what they say of voxels.

A forest is the mean of its trees. Trees lie one after the other, each level by level, so that the right child is the
one after the left child. A leaf has no left child (0) and names a row of ``values``::

    tree      0              1
    node      0 1 2 | 3 4 |  0 1 2
    left      1 0 3 | 0 0 |  1 0 0          voxel[feature] <= threshold: left, else left + 1
    row       . 0 . | 1 2 |  . 3 4          values[row]: the class shares, or the value, of a leaf

A threshold of a fitted tree is a float64 and a feature a float32: ``x <= t`` exactly where ``x`` is not more than the
greatest float32 that is not above ``t``, which is what is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.models.forest_walk import LANES, MOST_ROWS, SLACK, Packed, labels_of, means_of, packed_nodes

Array = NDArray[Any]
MOST_CLASSES = 255
_CACHE = 512 << 10  # bytes of tiles and sums that pass through all trees together
_EARLY = 0.9  # of the depth of an even tree: where half of the voxels have reached their leaves, or more
_EVERY = 4  # trees between two looks at what is decided


class Tree(NamedTuple):
    """A fitted binary tree in any order of nodes.

    left, right: the children's places, -1 of a leaf; feature, threshold: what an inner node asks; value: (nodes,
    outputs), the class shares or the value of a leaf. The root is node 0.
    """

    left: Array
    right: Array
    feature: Array
    threshold: Array
    value: Array


@dataclass(frozen=True)
class Forest:
    """A forest of any size; see the module for the order of nodes.

    Parameters
    ----------
    feature : int32, of every node the feature it asks for; 0 of leaves.
    threshold : float32, finite or infinite.
    left : int64, place of the left child in its tree; 0 of leaves.
    row : int64, row of ``values`` of a leaf; 0 of inner nodes.
    values : float64 (rows, outputs).
    starts : int64 (trees + 1), where each tree begins.
    features : how many features a voxel has.

    Raises
    ------
    ParameterError
        When the arrays are no forest: a kernel that walked through them would leave them.
    """

    feature: Array
    threshold: Array
    left: Array
    row: Array
    values: Array
    starts: Array
    features: int

    def __post_init__(self) -> None:
        wrong = self._wrong()
        if wrong:
            raise ParameterError(f"this is no forest: {wrong}; make the model again")

    @property
    def trees(self) -> int:
        """How many trees."""
        return int(self.starts.size) - 1

    @property
    def outputs(self) -> int:
        """How many classes, or 1 of a regression."""
        return int(self.values.shape[1])

    @property
    def nodes(self) -> int:
        """How many nodes all trees have."""
        return int(self.left.size)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, with those that the kernels read."""
        return self.values.nbytes + self.nodes * (4 + 4 + 8 + 8 + 8)

    @cached_property
    def packed(self) -> Packed:
        """The arrays that the kernels read."""
        sizes = np.diff(self.starts)
        own = np.arange(self.nodes) - np.repeat(self.starts[:-1], sizes)
        leaf = self.left == 0
        left = np.where(leaf, own, self.left)
        bits = feature_bits(self.features)
        rows = self._first_rows()
        row = np.where(leaf, self.row - np.repeat(rows, sizes), -1)
        spread = np.ptp(self.values, axis=1)[self.row]
        reach = np.maximum.reduceat(np.where(leaf, spread, 0), self.starts[:-1])
        rest = np.append(np.cumsum(reach[::-1])[::-1], 0.0)
        done = rest[0] - rest
        return Packed(
            packed_nodes(self.feature, self.threshold, left, row, bits),
            np.ascontiguousarray(self.values),
            self.starts.astype(np.int64),
            rows,
            np.maximum(1, _EARLY * np.log2((sizes + 1) / 2)).astype(np.int64),
            bits,
            rest,
            int(np.argmax(done > rest + SLACK)) if (done > rest + SLACK).any() else self.trees,
        )

    def _first_rows(self) -> NDArray[np.int64]:
        """The least row of each tree's leaves."""
        rows = np.where(self.left == 0, self.row, self.values.shape[0])
        return np.minimum.reduceat(rows, self.starts[:-1]).astype(np.int64)

    def __getstate__(self) -> dict[str, Any]:
        """Without what can be made again: forests travel to workers."""
        return {name: value for name, value in vars(self).items() if name != "packed"}

    def _wrong(self) -> str:
        """What is wrong with the arrays, in words."""
        count, starts, values = self.left.size, self.starts, self.values
        columns = (self.feature, self.threshold, self.row)
        if values.ndim != 2 or not values.size or any(x.shape != (count,) for x in (self.left, *columns)):
            return "its arrays do not fit each other"
        if starts.ndim != 1 or starts.size < 2 or starts[0] != 0 or starts[-1] != count or (np.diff(starts) < 1).any():
            return "its trees do not cover its nodes"
        sizes = np.diff(starts)
        own = np.arange(count) - np.repeat(starts[:-1], sizes)
        leaf = self.left == 0
        if ((self.left <= own) & ~leaf).any() or (self.left + 1 >= np.repeat(sizes, sizes))[~leaf].any():
            return "a node's children lie outside of its tree"
        if (self.feature < 0).any() or (self.feature >= max(1, self.features)).any():
            return f"it asks for other features than its {self.features}"
        if (self.row < 0).any() or (self.row >= values.shape[0]).any():
            return "a leaf has no value"
        rows = self.row - np.repeat(self._first_rows(), sizes)
        if (rows[leaf] >= MOST_ROWS).any():
            return f"the leaves of a tree spread over more than {MOST_ROWS} values"
        if np.isnan(self.threshold).any() or not np.isfinite(values).all():
            return "it holds NaN"
        if int(sizes.max()) >= 1 << (32 - feature_bits(self.features)):
            most = (1 << (32 - feature_bits(self.features))) - 1
            return f"a tree has {sizes.max()} nodes, and with {self.features} features {most} are possible"
        return ""


def flatten(trees: Sequence[Tree], features: int) -> Forest:
    """A forest from fitted trees.

    Parameters
    ----------
    trees : in the order in which their values are added.
    features : how many features a voxel has.

    Raises
    ------
    ParameterError
        Without a tree, or when the trees are none.

    Examples
    --------
    >>> stump = Tree([1, -1, -1], [2, -1, -1], [0, -2, -2], [0.5, 0, 0], [[.5, .5], [1, 0], [.25, .75]])
    >>> forest = flatten([stump], 1)
    >>> means(forest, np.array([[0.5, 0.6]], "float32"))
    array([[1.  , 0.25],
           [0.  , 0.75]], dtype=float32)
    """
    if not trees:
        raise ParameterError("a forest without trees: expected at least one; fit the model first")
    parts = []
    rows = 0
    for tree in trees:
        children, right, asked, limit, value = (np.asarray(column) for column in tree)
        order, place = _levels(children, right)
        leaf = children[order] < 0
        shares, which = np.unique(value[order][leaf], axis=0, return_inverse=True)
        row = np.zeros(order.size, np.int64)
        row[leaf] = which.reshape(-1) + rows
        rows += len(shares)
        parts.append(
            (
                np.where(leaf, 0, asked[order]).astype(np.int32),
                np.where(leaf, np.float32(0), rounded_down(limit[order])),
                np.where(leaf, 0, place[children[order]]),
                row,
                shares.astype(np.float64),
            )
        )
    feature, threshold, left, row, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    starts = np.cumsum([0, *(part[0].size for part in parts)])
    return Forest(feature, threshold, left, row, values, starts, features)


def means(forest: Forest, planes: Array) -> Array:
    """The mean of the trees: class probabilities, or the value of a regression.

    Parameters
    ----------
    forest : its outputs are the classes; a regression has one.
    planes : float32 (features, n), a plane a feature: other dtypes are converted, as scikit-learn does.

    Returns
    -------
    float32 (outputs, n). Summed in float64 in the order of the trees, so each is scikit-learn's ``predict_proba`` or
    ``predict``, rounded to float32.

    Raises
    ------
    ValuesError : NaN or infinite values among the features.
    ParameterError : another number of features.

    Notes
    -----
    1.0 us a voxel a core for 100 trees of 2,000 nodes; scikit-learn's speed beside it: tests/benchmarks/LEARNING.md.

    Examples
    --------
    See `flatten`.
    """
    bits = _checked(forest, planes)
    out = np.empty((forest.outputs, bits.shape[1]), np.float32)
    _refuse(means_of(bits, forest.packed, _together(forest), out))
    return out


def labels(forest: Forest, planes: Array) -> NDArray[np.uint8]:
    """The class with the greatest mean probability.

    Parameters
    ----------
    forest : of at most 255 classes.
    planes : as in `means`.

    Returns
    -------
    uint8 (n): the place of the class among the outputs, of equal ones the first; exactly the argmax of
    scikit-learn's ``predict_proba``. A voxel is left out of the trees that cannot change its class any more.

    Raises
    ------
    ValuesError, ParameterError : as in `means`.

    Notes
    -----
    0.7 us a voxel a core for 100 trees of 2,000 nodes, of which 55 are walked.

    Examples
    --------
    >>> stump = Tree([1, -1, -1], [2, -1, -1], [0, -2, -2], [0.5, 0, 0], [[.5, .5], [1, 0], [.25, .75]])
    >>> labels(flatten([stump], 1), np.array([[0.5, 0.6]], "float32"))
    array([0, 1], dtype=uint8)
    """
    if forest.outputs > MOST_CLASSES:
        raise ParameterError(f"{forest.outputs} classes: expected {MOST_CLASSES} at most")
    bits = _checked(forest, planes)
    out = np.empty(bits.shape[1], np.uint8)
    _refuse(labels_of(bits, forest.packed, _together(forest), _EVERY, out))
    return out


def working_memory(forest: Forest, voxels: int, *, classes: bool) -> int:
    """Bytes that `means` or, with ``classes``, `labels` needs for n voxels, result included, features not."""
    block = _together(forest) * (4 * forest.features + 8 * forest.outputs + 16)
    return block + voxels * (1 if classes else 4 * forest.outputs)


def rounded_down(thresholds: Array) -> NDArray[np.float32]:
    """The greatest float32 that is not above each threshold.

    >>> rounded_down(np.array([0.1, 0.3, 1e300])).astype(str).tolist()
    ['0.099999994', '0.29999998', '3.4028235e+38']
    """
    exact = np.asarray(thresholds, np.float64)
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
        return np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)


def feature_bits(features: int) -> int:
    """Bits of a node that hold its feature."""
    return max(1, (max(1, features) * LANES - 1).bit_length())


def _levels(left: Array, right: Array) -> tuple[Array, Array]:
    """The nodes of a tree level by level, and the new place of each."""
    place = np.zeros(left.size, np.int64)
    level = np.zeros(1, np.int64)
    order = [level]
    count = 1
    while level.size:
        inner = level[left[level] >= 0]
        level = np.stack([left[inner], right[inner]], axis=1).reshape(-1)
        place[level] = count + np.arange(level.size)
        count += level.size
        if count > left.size:
            raise ParameterError("this is no tree: a node is the child of two; fit the model again")
        order.append(level)
    return np.concatenate(order), place


def _together(forest: Forest) -> int:
    """Voxels that pass through all trees together: as many as the cache holds, 256 to 16,384."""
    voxels = _CACHE // (4 * forest.features + 8 * forest.outputs)
    return min(max(voxels, 256), 16384) // LANES * LANES


def _checked(forest: Forest, planes: Array) -> NDArray[np.uint32]:
    if planes.ndim != 2 or planes.shape[0] != forest.features:
        raise ParameterError(
            f"features of shape {planes.shape}: expected {forest.features} planes of one value a voxel; "
            "compute the features that the model was trained on"
        )
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(planes, np.float32).view(np.uint32)


def _refuse(bad: int) -> None:
    if bad:
        raise ValuesError(
            f"{bad} NaN or infinite values among the features: expected finite values, as a forest cannot say on "
            "which side of a threshold they lie; check the volume and the steps before"
        )
