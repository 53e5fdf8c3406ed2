"""Nearest neighbours among points with labels, exact to the last bit, ties to the smaller label.

A k-d tree (J. L. Bentley 1975; `scipy.spatial.cKDTree`) proposes candidates; squares of distances are computed anew
from the coordinates, axis after axis, so that they depend on the two points alone, and are ordered with the
labels. Where the last candidate is as near as the last one kept, more are asked for: no tie is missed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint64]
Floats = NDArray[np.float64]
SLACK = 1e-9
"""Relative error of a distance, far above what rounding makes."""
CANDIDATES = 1 << 18
"""Looked at at once: 10 MB."""
NOBODY = np.uint64(np.iinfo(np.uint64).max)


class Neighbours(NamedTuple):
    """The k nearest of each point: labels and squares of distances, (points, k), by distance, then label.

    Where there are fewer, the square is infinite, and the label 2**64 - 1, which may be one, too.
    """

    labels: Labels
    squares: Floats

    @classmethod
    def none(cls, points: int, k: int) -> Neighbours:
        """Nothing found yet."""
        return cls(np.full((points, k), NOBODY), np.full((points, k), np.inf))

    def best(self, other: Neighbours) -> Neighbours:
        """The nearest of both.

        >>> a = Neighbours(np.array([[3, 5]], "uint64"), np.array([[1.0, 4.0]]))
        >>> b = Neighbours(np.array([[2, 9]], "uint64"), np.array([[4.0, 9.0]]))
        >>> a.best(b).labels.tolist()
        [[3, 2]]
        """
        joined = np.concatenate([self.labels, other.labels], 1), np.concatenate([self.squares, other.squares], 1)
        return _first(*joined, self.labels.shape[1])


class Cloud:
    """Points with labels, each label once.

    Parameters
    ----------
    labels : uint64, (points,).
    places : float64, (points, axes).

    Notes
    -----
    About 100 bytes a point; 1 to 4 us a point to build and ask for a few neighbours.

    >>> cloud = Cloud(np.array([7, 5, 6], "uint64"), np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
    >>> found = cloud.nearest(cloud.labels, cloud.places, 1)
    >>> found.labels.ravel().tolist(), found.squares.ravel().tolist()
    ([5, 7, 7], [1.0, 1.0, 1.0])
    """

    def __init__(self, labels: Labels, places: Floats) -> None:
        self.labels, self.places = labels, places
        from scipy.spatial import cKDTree  # which takes 0.2 s to load

        self.tree = cKDTree(places)

    def nearest(self, labels: Labels, places: Floats, k: int, limit: float = np.inf) -> Neighbours:
        """The k points nearest to others, never those of the same label.

        Parameters
        ----------
        labels, places : of the points that are asked for.
        limit : points further away need not be found.
        """
        found = Neighbours.none(len(labels), k)
        active = np.arange(len(labels))
        many = min(len(self.labels), k + 2)  # the point itself, and one more to see whether there is a tie
        while active.size:
            left = []
            step = max(1, CANDIDATES // many)
            for start in range(0, active.size, step):
                mine = active[start : start + step]
                part, done = self._ask(labels[mine], places[mine], k, many, limit)
                found.labels[mine], found.squares[mine] = part
                left.append(mine[~done])
            active = np.concatenate(left)
            many = min(len(self.labels), 2 * many)
        return found

    def _ask(self, labels: Labels, places: Floats, k: int, many: int, limit: float) -> tuple[Neighbours, Any]:
        """The nearest of ``many`` candidates, and for which points no other candidate could be as near."""
        reach, index = self.tree.query(places, np.arange(1, many + 1), distance_upper_bound=limit * (1 + SLACK))
        missing = index == len(self.labels)
        index[missing] = 0
        squares = np.zeros(index.shape)
        for axis in range(places.shape[1]):
            away = self.places[index, axis] - places[:, axis, np.newaxis]
            squares += away * away
        names = self.labels[index]
        nothing = missing | (names == labels[:, np.newaxis])
        names[nothing], squares[nothing] = NOBODY, np.inf
        found = _first(names, squares, k)
        last = reach[:, -1]
        done = np.isinf(last) | (last * last > found.squares[:, -1] * (1 + SLACK))
        return found, done | (many == len(self.labels))


def _first(labels: Labels, squares: Floats, k: int) -> Neighbours:
    """The first k of each line, by square, then label; filled up where there are fewer."""
    if labels.shape[1] < k:
        more = ((0, 0), (0, k - labels.shape[1]))
        labels = np.pad(labels, more, constant_values=NOBODY)
        squares = np.pad(squares, more, constant_values=np.inf)
    order = np.lexsort((labels, squares), axis=1)[:, :k]
    return Neighbours(np.take_along_axis(labels, order, 1), np.take_along_axis(squares, order, 1))
