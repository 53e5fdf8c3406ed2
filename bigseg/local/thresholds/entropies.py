"""Thresholds that measure entropy: Kapur's, Yen's and Li's.

Each takes the counts of a whole image and the values of the bins, as the methods of
`bigseg.local.thresholds.automatic`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_yen

from bigseg.local.thresholds.counted import number, trimmed

MOST_STEPS = 10_000


def kapur(counts: NDArray[np.int64], centers: NDArray[Any]) -> int | float:
    """Kapur's threshold: the entropies of the classes below and above add up to the most.

    Parameters and errors are those of `bigseg.local.thresholds.automatic.otsu`. ImageJ calls it MaxEntropy. Of bins
    with equal sums (to 12 digits, so that rounding does not choose) the lowest is taken.

    Source: Kapur, Sahoo and Wong, A new method for gray-level picture thresholding using the entropy of the
    histogram, CVGIP 29, 1985.

    >>> kapur(np.array([9, 3, 0, 3, 9]), np.arange(5))
    1
    """
    counts, centers = trimmed(2, "kapur", counts, centers)
    total = int(counts.sum())
    share = counts / total
    # An empty bin adds nothing, so its threshold ties exactly with the one before it.
    terms = share * np.log(share, out=np.zeros(share.size), where=counts > 0)
    below = np.cumsum(counts)[:-1]
    dark, bright = below / total, (total - below) / total
    entropy = np.log(dark) - np.cumsum(terms)[:-1] / dark
    entropy += np.log(bright) - np.cumsum(terms[::-1])[-2::-1] / bright
    return number(centers[np.argmax(entropy >= entropy.max() - 1e-12)])


def yen(counts: NDArray[np.int64], centers: NDArray[Any]) -> int | float:
    """Yen's threshold: the greatest correlation of the classes below and above.

    Parameters and errors are those of `bigseg.local.thresholds.automatic.otsu`; equal to
    `skimage.filters.threshold_yen`.

    Source: Yen, Chang and Chang, A new criterion for automatic multilevel thresholding, IEEE Trans. Image
    Processing 4, 1995.

    >>> yen(np.array([9, 3, 0, 3, 9]), np.arange(5))
    1
    """
    hist = trimmed(2, "yen", counts, centers)
    with np.errstate(divide="ignore"):  # a share that float32 rounds to 1 leaves log(0): the least of all
        return number(threshold_yen(hist=hist))


def li(counts: NDArray[np.int64], centers: NDArray[Any], least: float | None = None, tolerance: float = 0.5) -> float:
    """Li's threshold: the least cross entropy between the image and its two class means, by iteration.

    Parameters
    ----------
    counts : int64 array, voxels in each bin.
    centers : rising array of the same length: the integer values of the bins, or the mean value of the voxels in
        each fine bin (`bigseg.local.thresholds.fine`).
    least : least value of the image, from which values are counted; by default the first filled bin's.
    tolerance : the iteration ends when a step is no longer than this.

    Returns
    -------
    threshold : a real number between two values. Of integers the steps are those of
        `skimage.filters.threshold_li` on the whole image, which has the same tolerance.

    Raises
    ------
    ValuesError : no voxel, or all in one bin. ParameterError : counts and centers do not match.

    Notes
    -----
    Li's method compares logarithms of mean values, so it cannot be done on 256 bins of a real image: voxels at
    its least value would seem to lie half a bin above it.

    Source: Li and Tam, An iterative algorithm for minimum cross entropy thresholding, Pattern Recognition
    Letters 18, 1998.

    Examples
    --------
    >>> round(li(np.array([5, 1, 0, 1, 5]), np.arange(5)), 3)
    1.169
    """
    counts, centers = trimmed(2, "li", counts, centers)
    start = centers[0] if least is None else least
    values = centers - start
    voxels, sums = np.cumsum(counts), np.cumsum(counts * values)
    above, rest = np.cumsum(counts[::-1])[::-1], np.cumsum((counts * values)[::-1])[::-1]
    following = float(sums[-1]) / float(voxels[-1])
    for _ in range(MOST_STEPS):
        threshold = following
        split = min(int(np.searchsorted(values, threshold, side="right")), values.size - 1)
        background = float(sums[split - 1]) / float(voxels[split - 1])
        foreground = float(rest[split]) / float(above[split])
        if background == 0:
            break
        following = float((background - foreground) / (np.log(background) - np.log(foreground)))
        if abs(following - threshold) <= tolerance:
            break
    return following + float(start)
