"""From the counts of a whole image to its threshold, its percentiles and its moments.

Counts come from `bigseg.local.histogram`, added over all blocks. Thresholds are those that scikit-image finds
on the whole image: on every value of 8 and 16-bit images, on 256 bins between the extremes of real ones.
`METHODS` lists the methods that give one threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.filters import threshold_isodata, threshold_multiotsu, threshold_otsu

from bigseg.errors import ParameterError, ValuesError

Histogram = tuple[NDArray[np.int64], NDArray[Any]]


class Moments(NamedTuple):
    """Number of voxels, least and greatest value, mean and standard deviation."""

    voxels: int
    minimum: int
    maximum: int
    mean: float
    std: float


def otsu(counts: NDArray[np.int64], centers: NDArray[Any]) -> int | float:
    """Otsu's threshold: the value that parts the image into two classes of greatest variance between them.

    Parameters
    ----------
    counts : int64 array, voxels in each bin
    centers : rising array of the same length: the values of the bins (`values_of`) or `bin_centers`

    Returns
    -------
    threshold : the centre of a bin; voxels above it are the bright class. Equal to
        `skimage.filters.threshold_otsu` on the whole image.

    Raises
    ------
    ValuesError : no voxel, or all in one bin (a constant image).
    ParameterError : counts and centers do not match.

    Examples
    --------
    >>> otsu(np.array([5, 1, 0, 1, 5]), np.arange(5))
    1
    """
    return _number(threshold_otsu(hist=_needs(2, "otsu", counts, centers)))


def isodata(counts: NDArray[np.int64], centers: NDArray[Any]) -> int | float:
    """Ridler and Calvard's threshold: the lowest value half-way between the means below and above it.

    Parameters, result and errors are those of `otsu`; equal to `skimage.filters.threshold_isodata`. A
    ValuesError is also raised where no bin meets the rule.

    >>> isodata(np.array([5, 1, 0, 1, 5]), np.arange(5))
    2
    """
    hist = _needs(2, "isodata", counts, centers)
    try:
        # scikit-image sums counts in float32: the tail of a huge image may vanish there, and divide by zero.
        with np.errstate(divide="ignore", invalid="ignore"):
            return _number(threshold_isodata(hist=hist))
    except IndexError as error:
        raise ValuesError(
            "isodata found no value half-way between the means below and above it; take another method"
        ) from error


def triangle(counts: NDArray[np.int64], centers: NDArray[Any]) -> int | float:
    """Zack's triangle threshold: the bin farthest below the line from the peak to the end of the longer tail.

    Parameters, result and errors are those of `otsu`; equal to `skimage.filters.threshold_triangle`, and
    still right where a peak of more than 3e9 voxels overflows that function.

    Source: Zack, Rogers and Latt 1977, doi:10.1177/25.7.70454.

    >>> triangle(np.array([90, 40, 10, 5, 4, 3, 2, 1]), np.arange(8))
    2
    """
    counts, centers = _needs(2, "triangle", counts, centers)
    peak = int(np.argmax(counts))
    tail_is_right = peak < counts.size - 1 - peak
    if tail_is_right:
        counts, centers = counts[::-1], centers[::-1]
        peak = counts.size - 1 - peak
    height = int(counts[peak])
    norm = math.sqrt(height**2 + peak**2)
    distance = (height / norm) * np.arange(peak) - (peak / norm) * counts[:peak]
    return _number(centers[np.argmax(distance)])


def multi_otsu(
    counts: NDArray[np.int64], centers: NDArray[Any], classes: int = 3, bins: int = 256
) -> tuple[int | float, ...]:
    """Otsu's thresholds for several classes.

    Parameters
    ----------
    counts, centers : as for `otsu`
    classes : 2 to 5
    bins : most bins searched. More values than that between the extremes are first put into so many bins.

    Returns
    -------
    thresholds : `classes` - 1 rising centres of bins. With 256 bins equal to
        `skimage.filters.threshold_multiotsu` on 8-bit and real images and on any that spans at most 256
        values, else to that function on the image as float64. (On integers scikit-image itself ignores
        `nbins` and searches every value.)

    Raises
    ------
    ValuesError : fewer filled bins than classes.
    ParameterError : classes outside 2..5, or counts and centers do not match.

    Notes
    -----
    Time grows as bins ** (classes - 1): on 256 bins 0.03 s for 4 classes and 2-3 s for 5, but 18 s for 2 and
    days for 4 on all 65536 values of a 16-bit image.

    Examples
    --------
    >>> multi_otsu(np.array([9, 1, 0, 9, 1, 0, 0, 9]), np.arange(8))
    (1, 4)
    """
    if not 2 <= classes <= 5:
        raise ParameterError(f"multi-otsu takes 2 to 5 classes; got {classes}")
    counts, centers = _needs(classes, "multi-otsu", counts, centers)
    if counts.size > bins:
        counts, centers = _needs(classes, "multi-otsu", *rebin(counts, centers, bins))
    found = threshold_multiotsu(classes=classes, hist=(counts / np.sum(counts), centers))
    return tuple(_number(value) for value in found)


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
    counts, values = _needs(1, "binning", counts, values)
    exact = values.astype(np.float64)
    binned, edges = np.histogram(exact, bins, (exact[0], exact[-1]), weights=counts)
    return binned.astype(np.int64), (edges[:-1] + edges[1:]) / 2.0


METHODS: dict[str, Callable[[NDArray[np.int64], NDArray[Any]], int | float]] = {
    "otsu": otsu,
    "isodata": isodata,
    "triangle": triangle,
}


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
    counts, values = _needs(1, "percentiles", counts, values)
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
    counts, values = _needs(1, "moments", counts, values)
    filled = np.flatnonzero(counts)
    many, value = counts[filled].astype(object), values[filled].astype(object)
    n, first, second = int(many.sum()), int(np.dot(many, value)), int(np.dot(many, value * value))
    return Moments(n, int(values[0]), int(values[-1]), first / n, math.sqrt((n * second - first * first) / (n * n)))


def _needs(filled: int, method: str, counts: NDArray[Any], centers: NDArray[Any]) -> Histogram:
    """The histogram from its first to its last filled bin, if it has enough filled bins for the method."""
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


def _number(value: Any) -> int | float:
    number: int | float = np.asarray(value).item()
    return number
