"""How well found objects agree with true ones, from how many voxels each two share.

Objects are labels, 0 is background. The table of pairs is sparse: true label, found label, voxels; background too. It
may have any length: `add_true` and `add_found` look at a part of it, sorted by one label or by the other, and tallies
of parts add up, in any order, to the tally of the whole, as every sum is exact. `partition` and `matches` are of a
table in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigseg.errors import ValuesError
from bigseg.local.exact_sums import add_values, empty_sums, exact_sum

Array = NDArray[Any]
OVERLAPS = tuple(k / 100 for k in range(50, 100, 5))
"""Intersections over union at which objects are matched: 0.5, 0.55 … 0.95."""
LIMBS = 8
"""Of 32 binary digits, for sums of squares."""
_PIECE = 1 << 16
_LEVELS = len(OVERLAPS)


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


@dataclass
class Tally:
    """What figures of objects are made of; tallies of parts add up.

    Parameters
    ----------
    voxels, beside : voxels of true objects; those of them that are found as background.
    true, found : objects.
    pair_squares, true_squares, found_squares : sums of squares of the voxels of pairs, true and found objects, where
        the truth is no background.
    hits : matched objects at each of `OVERLAPS`.
    sums : exact sums of x log2 x of the same three, then of the overlaps of the matches at each level.
    """

    voxels: int = 0
    beside: int = 0
    true: int = 0
    found: int = 0
    pair_squares: int = 0
    true_squares: int = 0
    found_squares: int = 0
    hits: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_LEVELS, np.int64))
    sums: NDArray[np.int64] = field(default_factory=lambda: empty_sums(3 + _LEVELS))

    def add(self, other: Tally) -> None:
        """With what another part holds."""
        for name in _WHOLE:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.hits += other.hits
        self.sums += other.sums

    def arrays(self) -> dict[str, Array]:
        """As it is stored."""
        whole = [getattr(self, name).to_bytes(4 * LIMBS, "little") for name in _WHOLE]
        return {"whole": np.frombuffer(b"".join(whole), np.uint32).copy(), "hits": self.hits, "sums": self.sums}

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Tally:
        """From how it was stored."""
        limbs = np.asarray(arrays["whole"], np.uint32).reshape(len(_WHOLE), LIMBS)
        found = cls(hits=np.array(arrays["hits"]), sums=np.array(arrays["sums"]))
        for name, line in zip(_WHOLE, limbs, strict=True):
            setattr(found, name, int.from_bytes(line.tobytes(), "little"))
        return found


_WHOLE = ("voxels", "beside", "true", "found", "pair_squares", "true_squares", "found_squares")


def add_true(tally: Tally, found: Array, voxels: Array, sizes: Array) -> None:
    """Pairs of true objects, and the objects among them that are counted here.

    Parameters
    ----------
    tally : gets them added.
    found : whether the found label of each pair is an object (bool).
    voxels : how many each pair shares, int64.
    sizes : voxels of the true objects that are counted here, one each, int64.

    Notes
    -----
    About 0.1 us a pair.
    """
    tally.voxels += int(voxels.sum())
    tally.beside += int(voxels[~found].sum())
    tally.true += sizes.size
    tally.pair_squares += _squares(voxels)
    tally.true_squares += _squares(sizes)
    add_values(tally.sums[0], _entropies(voxels))
    add_values(tally.sums[1], _entropies(sizes))


def add_found(tally: Tally, voxels: Array, sizes_true: Array, sizes_found: Array, inside: Array, objects: int) -> None:
    """Pairs of a true and a found object, and the found objects that are counted here.

    Parameters
    ----------
    tally : gets them added.
    voxels : how many each pair shares, int64; sizes_true, sizes_found : voxels of the two objects.
    inside : of the found objects that are counted here, the voxels where the truth is no background; one each.
    objects : found objects that are counted here.
    """
    tally.found += objects
    tally.found_squares += _squares(inside)
    add_values(tally.sums[2], _entropies(inside))
    union = sizes_true + sizes_found - voxels
    near = 2 * voxels > union
    shared, union = voxels[near], union[near]
    shares = shared / union
    for place, level in enumerate(OVERLAPS):
        # 100 * shared may pass 63 bits from 9e16 voxels on, which no object has
        match = shared * 100 > union * round(100 * level)
        tally.hits[place] += np.count_nonzero(match)
        add_values(tally.sums[3 + place], shares[match])


def partition_of(tally: Tally) -> Partition:
    """Adapted Rand error and variation of information, from the tally of a whole table.

    Raises
    ------
    ValuesError : no voxel of a true object.
    """
    if not tally.voxels:
        raise ValuesError("the truth has no object: expected labels above 0; check the truth and the mask")
    total = tally.voxels
    both = tally.pair_squares - total
    one = tally.true_squares - total
    two = tally.found_squares + tally.beside**2 - total
    nan = float("nan")
    pairs, true, found = (exact_sum(table) for table in tally.sums[:3])
    found += Fraction(float(_entropies(np.array([tally.beside]))[0]))
    return Partition(
        1 - 2 * both / (one + two) if one + two else nan,
        both / one if one else nan,
        both / two if two else nan,
        float((true - pairs) / total),
        float((found - pairs) / total),
    )


def matches_of(tally: Tally) -> Matches:
    """Matched objects, from the tally of a whole table."""
    hits = tally.hits
    sums = [exact_sum(table) for table in tally.sums[3:]]
    mean = [float(part / int(count)) if count else 0.0 for part, count in zip(sums, hits, strict=True)]
    return Matches(hits, tally.found - hits, tally.true - hits, np.array(mean))


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
    are summed as Python's integers, entropies without rounding. About 1 us a pair; 100 bytes a pair.

    Examples
    --------
    >>> found = partition([1, 1, 2], [1, 2, 2], [4, 1, 3])
    >>> [round(value, 4) for value in found]
    [0.28, 0.6923, 0.75, 0.4512, 0.4056]
    """
    return partition_of(_tally(true, found, voxels))


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
    return matches_of(_tally(true, found, voxels))


def _tally(true: ArrayLike, found: ArrayLike, voxels: ArrayLike) -> Tally:
    """Of a whole table."""
    rows, columns, counts = np.asarray(true), np.asarray(found), np.asarray(voxels, np.int64)
    tally = Tally()
    inside, seen = rows != 0, columns != 0
    row_of, row_sizes = _sizes(rows, np.where(inside, counts, 0))
    column_of, column_sizes = _sizes(columns, counts)
    _, column_inside = _sizes(columns, np.where(inside, counts, 0))
    column_names = np.unique(columns)
    add_true(tally, seen[inside], counts[inside], row_sizes[row_sizes > 0])
    both = inside & seen
    objects = column_names != 0
    add_found(
        tally,
        counts[both],
        row_sizes[row_of[both]],
        column_sizes[column_of[both]],
        column_inside[objects],
        int(np.count_nonzero(objects)),
    )
    return tally


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


def _entropies(counts: Array) -> NDArray[np.float64]:
    """x log2 x, 0 of 0."""
    real = counts.astype(np.float64)
    return np.asarray(real * np.log2(np.maximum(real, 1.0)))
