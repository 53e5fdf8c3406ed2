"""The modes of a histogram: where its peaks lie once it has been smoothed.

The histogram is smoothed by means of three bins, over and over, until no more peaks are left than wanted
(after J. M. S. Prewitt and M. L. Mendelsohn, The analysis of cell images, Annals of the New York Academy of Sciences
128, 1966). It runs once, on the counts of the whole volume.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import ParameterError, ValuesError

ROUNDS = 10_000


def modes(counts: NDArray[np.int64], centers: NDArray[Any], number: int = 2) -> tuple[float, ...]:
    """Values of the peaks of a histogram, smoothed until it has so many.

    Parameters
    ----------
    counts, centers : voxels of each bin, and the values of the bins, which rise in equal steps.
    number : of peaks, 1 or more.

    Returns
    -------
    The values of the peaks, rising; of a flat peak the middle.

    Raises
    ------
    ValuesError : no voxel, or a histogram that never has so many peaks.
    ParameterError : counts and centers do not match, or number is below 1.

    Notes
    -----
    The filled bins stand between as many empty ones on either side. One round replaces each bin by the mean of
    itself and its two neighbours; 10,000 rounds at most. A peak is a bin, or a run of equal ones, above its
    neighbours.

    Examples
    --------
    >>> modes(np.array([0, 4, 9, 4, 0, 2, 5, 4, 5, 2, 0]), np.arange(11))
    (2.0, 7.0)
    """
    counts, centers = np.asarray(counts), np.asarray(centers, np.float64)
    if counts.ndim != 1 or counts.shape != centers.shape or number < 1:
        raise ParameterError(
            f"{number} modes of counts {counts.shape} and centers {centers.shape}: expected 1 or more, and one length"
        )
    filled = np.flatnonzero(counts)
    if not filled.size:
        raise ValuesError("modes need voxels; the counts are all zero")
    used = slice(filled[0], filled[-1] + 1)
    room = counts[used].size
    smooth = np.pad(counts[used].astype(np.float64), room)
    start, step = centers[used][0], (centers[used][-1] - centers[used][0]) / max(1, room - 1)
    for _ in range(ROUNDS):
        padded = np.pad(smooth, 1)
        smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
        first, last = peaks(smooth)
        if first.size <= number:
            break
    if first.size != number:
        raise ValuesError(
            f"the histogram has {first.size} peak(s) when it is smooth, expected {number}: the image has no {number} "
            "clear modes; align percentiles instead"
        )
    return tuple((start + ((first + last) / 2 - room) * step).tolist())


def peaks(heights: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last bin of each peak.

    >>> peaks(np.array([3.0, 1.0, 2.0, 2.0, 0.0]))
    (array([0, 2]), array([0, 3]))
    """
    start = np.flatnonzero(np.diff(heights, prepend=heights[0] - 1.0) != 0)
    stop = np.append(start[1:], heights.size)
    level = heights[start]
    around = np.pad(level, 1)
    top = (level > around[:-2]) & (level > around[2:])
    return start[top], stop[top] - 1
