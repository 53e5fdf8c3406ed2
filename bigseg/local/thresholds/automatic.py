"""From the counts of a whole image to its threshold.

Counts come from `bigseg.local.thresholds.histogram`, added over all blocks. Thresholds are those that scikit-image
finds on the whole image, where it has the method: on every value of 8 and 16-bit images, on 256 bins between the
extremes of real ones. `METHODS` lists the methods that give one threshold; those that measure entropy stand in
`bigseg.local.thresholds.entropies`, those that look for two maxima in `bigseg.local.thresholds.bimodal`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_isodata, threshold_multiotsu, threshold_otsu

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.thresholds.bimodal import intermodes, minimum
from bigseg.local.thresholds.counted import number, rebin, trimmed
from bigseg.local.thresholds.entropies import kapur, li, yen


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
    return number(threshold_otsu(hist=trimmed(2, "otsu", counts, centers)))


def isodata(counts: NDArray[np.int64], centers: NDArray[Any]) -> int | float:
    """Ridler and Calvard's threshold: the lowest value half-way between the means below and above it.

    Parameters, result and errors are those of `otsu`; equal to `skimage.filters.threshold_isodata`. A
    ValuesError is also raised where no bin meets the rule.

    >>> isodata(np.array([5, 1, 0, 1, 5]), np.arange(5))
    2
    """
    hist = trimmed(2, "isodata", counts, centers)
    try:
        # scikit-image sums counts in float32: the tail of a huge image may vanish there, and divide by zero.
        with np.errstate(divide="ignore", invalid="ignore"):
            return number(threshold_isodata(hist=hist))
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
    counts, centers = trimmed(2, "triangle", counts, centers)
    peak = int(np.argmax(counts))
    tail_is_right = peak < counts.size - 1 - peak
    if tail_is_right:
        counts, centers = counts[::-1], centers[::-1]
        peak = counts.size - 1 - peak
    height = int(counts[peak])
    norm = math.sqrt(height**2 + peak**2)
    distance = (height / norm) * np.arange(peak) - (peak / norm) * counts[:peak]
    return number(centers[np.argmax(distance)])


def mean(counts: NDArray[np.int64], centers: NDArray[Any]) -> float:
    """The mean of all voxels as a threshold.

    Parameters and errors are those of `otsu`; equal to `skimage.filters.threshold_mean`, that is numpy.mean, on
    integers. Sums are exact before the one division. Of real images give counts and mean values of fine bins
    (`bigseg.local.thresholds.fine`): 256 bins would be off by up to half a bin.

    >>> mean(np.array([5, 1, 0, 1, 5]), np.arange(5))
    2.0
    """
    counts, centers = trimmed(2, "mean", counts, centers)
    if centers.dtype.kind in "iu":
        return int(np.dot(counts.astype(object), centers.astype(object))) / int(counts.sum())
    return math.fsum((counts * centers).tolist()) / int(counts.sum())


def moments(counts: NDArray[np.int64], centers: NDArray[Any]) -> int | float:
    """Tsai's threshold: two grey values and their shares are found that have the image's first three moments.

    Parameters and errors are those of `otsu`. The threshold is the first bin up to which the share of voxels is
    that of the darker value (ImageJ takes the first bin beyond it, which differs only where a bin's share is met
    exactly, as in an image of two values). Moments are sums of integers, in numbers of bins from the first.

    Source: W.-H. Tsai, Moment-preserving thresholding: a new approach, CVGIP 29, 1985.

    >>> moments(np.array([5, 1, 0, 1, 5]), np.arange(5))
    1
    """
    counts, centers = trimmed(2, "moments", counts, centers)
    many, place = counts.astype(object), np.arange(counts.size).astype(object)
    n, s1, s2, s3 = (int(np.dot(many, place**power)) for power in range(4))
    # The two values z solve z^2 + (a / c) z + b / c = 0.
    a, b, c = s1 * s2 - n * s3, s1 * s3 - s2 * s2, n * s2 - s1 * s1
    gap = math.sqrt((a * a - 4 * b * c) / (c * c))
    share = 0.5 - (a * n + 2 * s1 * c) / (c * n) / (2 * gap)
    upto = np.cumsum(counts) / n
    return number(centers[np.argmax(upto >= share - 1e-12)])


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
    counts, centers = trimmed(classes, "multi-otsu", counts, centers)
    if counts.size > bins:
        counts, centers = trimmed(classes, "multi-otsu", *rebin(counts, centers, bins))
    found = threshold_multiotsu(classes=classes, hist=(counts / np.sum(counts), centers))
    return tuple(number(value) for value in found)


METHODS: dict[str, Callable[[NDArray[np.int64], NDArray[Any]], int | float]] = {
    "otsu": otsu,
    "isodata": isodata,
    "intermodes": intermodes,
    "minimum": minimum,
    "li": li,
    "yen": yen,
    "triangle": triangle,
    "mean": mean,
    "kapur": kapur,
    "moments": moments,
}
