"""How well found objects agree with true ones, from how many voxels each two share.

Objects are labels, 0 is background. The table of pairs is sparse: true label, found label, voxels; background too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigseg.errors import ValuesError

Array = NDArray[Any]
OVERLAPS = tuple(k / 100 for k in range(50, 100, 5))
"""Intersections over union at which objects are matched: 0.5, 0.55 … 0.95."""
_PIECE = 1 << 16


class Partition(NamedTuple):
    """How two ways of parting the same voxels agree.

    rand_error, rand_precision, rand_recall: skimage.metrics.adapted_rand_error; split, merge: the two parts of
    skimage.metrics.variation_of_information, in bits. Where the truth is background nothing counts.
    """

    rand_error: float
    rand_precision: float
    rand_recall: float
    split: float
    merge: float


class Matches(NamedTuple):
    """Objects matched at each of `OVERLAPS`: found and true, found only, true only; and the mean overlap of matches."""

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]
    overlap: NDArray[np.float64]


def partition(true: ArrayLike, found: ArrayLike, voxels: ArrayLike) -> Partition:
    """Adapted Rand error and variation of information.

    Parameters
    ----------
    true, found : the labels of each pair that shares voxels, each pair once, in any order.
    voxels : how many each shares.

    Returns
    -------
    See `Partition`; NaN for what is not defined, where no two voxels share a label.

    Raises
    ------
    ValuesError : no voxel of a true object.

    Notes
    -----
    I. Arganda-Carreras et al., Front. Neuroanat. 9 (2015) 142; M. Meila, J. Multivar. Anal. 98 (2007) 873. Squares
    are summed as Python's integers. About 1 us a pair; 100 bytes a pair.

    Examples
    --------
    >>> found = partition([1, 1, 2], [1, 2, 2], [4, 1, 3])
    >>> [round(value, 4) for value in found]
    [0.28, 0.6923, 0.75, 0.4512, 0.4056]
    """
    rows, columns, counts = _sorted(true, found, voxels)
    inside = rows != 0
    rows, columns, counts = rows[inside], columns[inside], counts[inside]
    if not counts.size:
        raise ValuesError("the truth has no object: expected labels above 0; check the truth and the mask")
    total = int(counts.sum())
    row_of, row_sizes = _sizes(rows, counts)
    column_of, column_sizes = _sizes(columns, counts)
    both, one, two = (_squares(part) - total for part in (counts, row_sizes, column_sizes))
    nan = float("nan")
    logs = np.log2(counts)
    return Partition(
        1 - 2 * both / (one + two) if one + two else nan,
        both / one if one else nan,
        both / two if two else nan,
        float(np.sum(counts * (np.log2(row_sizes)[row_of] - logs))) / total,
        float(np.sum(counts * (np.log2(column_sizes)[column_of] - logs))) / total,
    )


def matches(true: ArrayLike, found: ArrayLike, voxels: ArrayLike) -> Matches:
    """Objects of the truth that are found, for each of `OVERLAPS`.

    Parameters
    ----------
    true, found, voxels : as in `partition`, background included.

    Returns
    -------
    See `Matches`. Two objects match where their intersection is more than that share of their union: above one half
    an object has one match at most, so there is nothing to choose. Overlaps are compared as whole numbers.

    Notes
    -----
    A. Kirillov et al., CVPR 2019, 9404 (panoptic quality); J. C. Caicedo et al., Nat. Methods 16 (2019) 1247 (AP).

    Examples
    --------
    >>> found = matches([0, 1, 1, 2], [0, 1, 0, 0], [50, 9, 1, 5])
    >>> found.tp.tolist(), found.fp[0], found.fn[0]
    ([1, 1, 1, 1, 1, 1, 1, 1, 0, 0], np.int64(0), np.int64(1))
    """
    rows, columns, counts = _sorted(true, found, voxels)
    row_of, row_sizes = _sizes(rows, counts)
    column_of, column_sizes = _sizes(columns, counts)
    inside = (rows != 0) & (columns != 0)
    shared = counts[inside]
    union = row_sizes[row_of[inside]] + column_sizes[column_of[inside]] - shared
    # 100 * shared may pass 63 bits from 9e16 voxels on, which no object has
    above = [shared * 100 > union * round(100 * level) for level in OVERLAPS]
    tp = np.array([np.count_nonzero(match) for match in above], np.int64)
    shares = shared / union
    mean = [float(np.mean(shares[match])) if match.any() else 0.0 for match in above]
    return Matches(tp, _objects(columns) - tp, _objects(rows) - tp, np.array(mean))


def _sorted(true: ArrayLike, found: ArrayLike, voxels: ArrayLike) -> tuple[Array, Array, Array]:
    """The pairs in one order, so that sums of real numbers do not depend on how they came."""
    rows, columns, counts = np.asarray(true), np.asarray(found), np.asarray(voxels, np.int64)
    order = np.lexsort((columns, rows))
    return rows[order], columns[order], counts[order]


def _sizes(labels: Array, counts: Array) -> tuple[Array, Array]:
    """Which object each pair belongs to, and the voxels of each."""
    names, which = np.unique(labels, return_inverse=True)
    sizes = np.zeros(names.size, np.int64)
    np.add.at(sizes, which, counts)
    return which, sizes


def _squares(counts: Array) -> int:
    """Sum of squares, as a Python integer."""
    total = 0
    for start in range(0, counts.size, _PIECE):
        part = counts[start : start + _PIECE].astype(object)
        total += int(np.dot(part, part))
    return total


def _objects(labels: Array) -> int:
    return int(np.unique(labels[labels != 0]).size)
