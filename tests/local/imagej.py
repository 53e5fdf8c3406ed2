"""Thresholds as their papers and ImageJ's documentation state them: plain loops over the histogram's bins.

Each takes the voxels of every bin and gives back a bin's number; voxels above it are the bright class.
"""

from __future__ import annotations

from math import log, sqrt


def intermodes(counts: list[int]) -> int | None:
    """Prewitt and Mendelsohn 1966: means of three bins until two bins are higher than both neighbours."""
    filled = [k for k, n in enumerate(counts) if n]
    heights = [float(n) for n in counts[filled[0] : filled[-1] + 1]]
    for _ in range(10_001):
        peaks = [k for k in range(1, len(heights) - 1) if heights[k - 1] < heights[k] and heights[k + 1] < heights[k]]
        if len(peaks) == 2:
            return filled[0] + sum(peaks) // 2
        wide = [0.0, *heights, 0.0]
        heights = [(wide[k] + wide[k + 1] + wide[k + 2]) / 3 for k in range(len(heights))]
    return None


def entropy(counts: list[int], threshold: int) -> float:
    """Entropies of the classes up to a bin and above it, added up."""
    total = 0.0
    for part in (counts[: threshold + 1], counts[threshold + 1 :]):
        whole = sum(part)
        total -= sum(n / whole * log(n / whole) for n in part if n)
    return total


def max_entropy(counts: list[int]) -> int | None:
    """Kapur, Sahoo and Wong 1985: the first bin of the greatest sum of entropies, to 12 digits."""
    filled = [k for k, n in enumerate(counts) if n]
    sums = {k: entropy(counts, k) for k in range(filled[0], filled[-1])}
    best = max(sums.values())
    return next(k for k, value in sums.items() if value >= best - 1e-12)


def dark_share(counts: list[int]) -> float:
    """Tsai 1985: the share of the darker of two values that keep the first three moments."""
    total = sum(counts)
    shares = [n / total for n in counts]
    m1, m2, m3 = (sum(share * k**power for k, share in enumerate(shares)) for power in (1, 2, 3))
    variance = m2 - m1 * m1
    c0 = (m1 * m3 - m2 * m2) / variance
    c1 = (m1 * m2 - m3) / variance
    z0, z1 = ((-c1 + sign * sqrt(c1 * c1 - 4 * c0)) / 2 for sign in (-1, 1))
    return (z1 - m1) / (z1 - z0)


def moments(counts: list[int]) -> int | None:
    """Tsai 1985: the first bin up to which more than that share of the voxels lies."""
    share, total, upto = dark_share(counts), sum(counts), 0
    for k, n in enumerate(counts):
        upto += n
        if upto / total > share:
            return k
    return None
