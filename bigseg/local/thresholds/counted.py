"""What the counts of a whole image say of its values: percentiles, moments, coarser bins.

Counts come from `bigseg.local.thresholds.histogram`, added over all blocks; thresholds are found from them in
`bigseg.local.thresholds.automatic`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigseg.errors import ParameterError, ValuesError

Histogram = tuple[NDArray[np.int64], NDArray[Any]]


class Moments(NamedTuple):
    """Number of voxels, least and greatest value, mean and standard deviation."""

    voxels: int
    minimum: int
    maximum: int
    mean: float
    std: float


def rebin(counts: NDArray[np.int64], values: NDArray[Any], bins: int = 256) -> Histogram:
    """Put counts of single values into equal bins between the least and the greatest value met.

    Parameters
    ----------
    counts, values : voxels of each value, and the values, rising
    bins : number of equal bins

    Returns
    -------
    counts, centers : int64 and float64; those of `numpy.histogram` and `skimage.exposure.histogram` on the
        image as float64. Exact up to 2**53 voxels.

    Raises
    ------
    ValuesError : no voxel.

    Examples
    --------
    >>> rebin(np.array([0, 3, 1, 0, 2, 4]), np.arange(6), bins=2)
    (array([4, 6]), array([2., 4.]))
    """
    counts, values = trimmed(1, "binning", counts, values)
    exact = values.astype(np.float64)
    binned, edges = np.histogram(exact, bins, (exact[0], exact[-1]), weights=counts)
    return binned.astype(np.int64), (edges[:-1] + edges[1:]) / 2.0


def percentiles_from_counts(counts: NDArray[np.int64], values: NDArray[Any], q: ArrayLike) -> NDArray[np.float64]:
    """Percentiles of an integer image from the counts of its values.

    Parameters
    ----------
    counts, values : voxels of each value, and the integer values, rising
    q : percentages, 0 to 100, of any shape

    Returns
    -------
    percentiles : float64 of q's shape, equal to `numpy.percentile(image, q)`, whose method is linear. (On
        int8 and int16 numpy's own difference of neighbours can overflow; the result is that on int64.)

    Raises
    ------
    ParameterError : q outside 0..100, or counts and values do not match.
    ValuesError : no voxel.

    Examples
    --------
    >>> percentiles_from_counts(np.array([1, 2, 1]), np.array([10, 20, 40]), [0, 50, 75])
    array([10., 20., 25.])
    """
    counts, values = trimmed(1, "percentiles", counts, values)
    share = np.asarray(q, np.float64) / 100
    if not np.all((share >= 0) & (share <= 1)):
        raise ParameterError(f"percentiles are between 0 and 100; got {q!r}")
    upto = np.cumsum(counts)
    place = (int(upto[-1]) - 1) * share
    before = np.floor(place).astype(np.int64)
    weight = place - before
    low = values[np.searchsorted(upto, before, side="right")]
    high = values[np.searchsorted(upto, np.minimum(before + 1, upto[-1] - 1), side="right")]
    # Starting from the nearer neighbour, as numpy does, keeps the last bit.
    gap = high - low
    return np.asarray(np.where(weight < 0.5, low + gap * weight, high - gap * (1 - weight)), np.float64)


def moments_from_counts(counts: NDArray[np.int64], values: NDArray[Any]) -> Moments:
    """Mean, standard deviation and extremes of an integer image from the counts of its values.

    Parameters
    ----------
    counts, values : voxels of each value, and the integer values

    Returns
    -------
    Moments : (voxels, minimum, maximum, mean, std). Sums are Python integers: nothing overflows, nothing is
        rounded before the one division (for std, the division and the root). std divides by the count.

    Raises
    ------
    ValuesError : no voxel. ParameterError : counts and values do not match.

    Examples
    --------
    >>> moments_from_counts(np.array([1, 2, 1]), np.array([10, 20, 30]))
    Moments(voxels=4, minimum=10, maximum=30, mean=20.0, std=7.0710678118654755)
    """
    counts, values = trimmed(1, "moments", counts, values)
    filled = np.flatnonzero(counts)
    many, value = counts[filled].astype(object), values[filled].astype(object)
    n, first, second = int(many.sum()), int(np.dot(many, value)), int(np.dot(many, value * value))
    return Moments(n, int(values[0]), int(values[-1]), first / n, math.sqrt((n * second - first * first) / (n * n)))


def trimmed(filled: int, method: str, counts: NDArray[Any], centers: NDArray[Any]) -> Histogram:
    """The histogram from its first to its last filled bin, if it has enough filled bins for a method.

    >>> trimmed(2, "otsu", np.array([0, 3, 0, 1]), np.arange(4))
    (array([3, 0, 1]), array([1, 2, 3]))
    """
    counts, centers = np.asarray(counts), np.asarray(centers)
    if counts.ndim != 1 or counts.shape != centers.shape:
        raise ParameterError(
            f"{method} takes counts and centers of one common length; got shapes {counts.shape} and {centers.shape}"
        )
    found = np.flatnonzero(counts)
    if found.size == 0:
        raise ValuesError(f"{method} needs voxels; the counts are all zero. Check the mask and the range")
    if found.size < filled:
        shown = ", ".join(str(value) for value in centers[found].tolist())
        raise ValuesError(
            f"{method} needs at least {filled} different values (or filled bins); all {int(counts.sum())} "
            f"voxels have {shown}. Give a threshold by number, or check the input and its range"
        )
    return counts[found[0] : found[-1] + 1], centers[found[0] : found[-1] + 1]


def number(value: Any) -> int | float:
    """A NumPy scalar as a Python number.

    >>> number(np.uint8(7))
    7
    """
    number: int | float = np.asarray(value).item()
    return number
