"""From a map of probabilities to a mask: smoothed, hysteresis, opened, holes filled, small objects removed.

What is best is searched on the left half with scipy and scikit-image; the mask that is judged is made by bigseg, which
must be the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold

import bigseg

from .halves import BANDS, Array, Half, band


class Cleaning(NamedTuple):
    """sigma of the smoothing, thresholds, radius of the opening (0: none), smallest object in pixels."""

    sigma: float
    low: float
    high: float
    radius: int
    least: int


SIGMAS, LOWS, RISES, RADII, SIZES = (
    (2.0, 4.0),
    (0.3, 0.4, 0.5, 0.6, 0.7),
    (0.0, 0.15, 0.3),
    (0, 4),
    (0, 300, 600),
)
"""What is tried: 180 ways (high is low plus a rise)."""


def smoothed(scores: Array, sigma: float) -> Array:
    """The map, smoothed unless sigma is 0."""
    return bigseg.gaussian(scores, sigma=sigma) if sigma else scores


def clean(scores: Array, how: Cleaning) -> Array:
    """The mask, by bigseg."""
    found = bigseg.hysteresis(smoothed(scores, how.sigma), low=how.low, high=how.high)
    found = bigseg.opening(found, radius=how.radius) if how.radius else found
    found = bigseg.fill_holes(found)
    return bigseg.remove_small(found, min_size=how.least) if how.least else found


def masks(scores: Array) -> Iterator[tuple[Cleaning, Array]]:
    """Every way and its mask, by scipy and scikit-image."""
    for sigma in SIGMAS:
        smooth = smoothed(scores, sigma)
        for low in LOWS:
            for rise in RISES:
                strict = apply_hysteresis_threshold(smooth, low, low + rise)
                for radius in RADII:
                    mask = bigseg.opening(strict, radius=radius) if radius else strict
                    labels, _ = ndimage.label(ndimage.binary_fill_holes(mask))
                    sizes = np.bincount(labels.reshape(-1))
                    sizes[0] = 0
                    for least in SIZES:
                        yield Cleaning(sigma, low, low + rise, radius, least), (sizes >= max(1, least))[labels]


class Chosen(NamedTuple):
    """The best way on all bands, its Dice there, and the Dice when each band is judged by what suits the others."""

    how: Cleaning
    best: float
    honest: float


def tried(scores: Array, half: Half) -> tuple[Array, list[Cleaning]]:
    """Of every way and band: voxels that mask and truth share, and the sum of both; and the ways."""
    ways, counts = [], []
    rows = [band(half.truth.shape, number) for number in range(BANDS)]
    for how, mask in masks(scores):
        ways.append(how)
        both = [
            [np.count_nonzero(m & t), np.count_nonzero(m) + np.count_nonzero(t)]
            for m, t in ((mask[r], half.truth[r]) for r in rows)
        ]
        counts.append(both)
    return np.array(counts), ways


def best_way(table: Array, bands: Sequence[int]) -> int:
    """The way with the greatest Dice on some bands; the first of equals."""
    parts = table[:, list(bands)].sum(axis=1)
    return int(np.argmax(2 * parts[:, 0] / np.maximum(1, parts[:, 1])))


def choose(scores: Array, half: Half) -> Chosen:
    """Search on scores of the left half that come from models which had not seen the truth there."""
    table, ways = tried(scores, half)
    every = range(BANDS)
    place = best_way(table, every)
    others = [best_way(table, [k for k in every if k != number]) for number in every]
    best, honest = table[place].sum(axis=0), sum(table[way, number] for number, way in enumerate(others))
    return Chosen(ways[place], *(float(2 * part[0] / max(1, part[1])) for part in (best, honest)))
