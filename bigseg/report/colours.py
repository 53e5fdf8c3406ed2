"""Colours of labels and masks: the same object has the same colour in every picture, run and plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# fmt: off
PALETTE = (
    "#ff7d81", "#d95737", "#feaf83", "#f0910b", "#ae7c02", "#e6c20b", "#b2b204", "#719503",
    "#84de70", "#2dc97a", "#049d7b", "#10e1d0", "#08c2ca", "#1096ae", "#6ed2ff", "#51b3fe",
    "#4483eb", "#b3c0fe", "#aa9afe", "#9f66d7", "#eea4ff", "#ea7dd5", "#cd5394", "#fea8bb",
)
# fmt: on
"""24 hues at equal steps of OKLCH, lightness 0.62 to 0.82, so that each stands out on black and on grey."""

MASK = "#ff8a3d"
"""The one colour of masks: far from every grey, and told from it by every kind of colour vision."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def rgb(colour: str) -> tuple[int, int, int]:
    """A colour like ``#ff8a3d`` as three numbers.

    >>> rgb("#ff8a3d")
    (255, 138, 61)
    """
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def label_colours(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Which colour of the palette each label has: 0 for the background, else 1 to 24.

    Multiplicative hashing by the golden ratio (Knuth, The Art of Computer Programming 3, 6.4): labels that
    follow each other, which in raster order often lie side by side, get hues far apart.

    Parameters
    ----------
    labels : integers of any shape; 0 is the background.

    >>> label_colours(np.array([0, 1, 2, 3]))
    array([ 0, 15,  6, 21], dtype=uint8)
    """
    with np.errstate(over="ignore"):
        mixed = labels.astype(np.uint64) * _GOLDEN
    place = ((mixed >> np.uint64(40)) * np.uint64(len(PALETTE))) >> np.uint64(24)
    return np.where(labels == 0, 0, place + np.uint64(1)).astype(np.uint8)


def label_colour(label: int) -> str:
    """The colour of one label, as it stands in a style sheet.

    >>> label_colour(1)
    '#6ed2ff'
    """
    return PALETTE[int(label_colours(np.array([label]))[0]) - 1] if label else "transparent"
