"""Rows of the maps of grey values, and of functions of the user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage
from skimage import exposure, util

from bigseg.pipeline.steps import Step
from tests.ops.rows import INTEGERS, Case, op

REGION = {2: "4:12,8:30", 3: "2:9,4:16,3:20"}


def real(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32)


def line(x: np.ndarray, shift: float, span: float, gain: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """(x - shift) / span * gain + offset, every step in float32."""
    one = np.float32
    return (real(x) - one(shift)) / one(span) * one(gain) + one(offset)


def ends(x: np.ndarray, *percentages: float) -> list[float]:
    return [float(q) for q in np.percentile(x.astype(np.float64), percentages)]


def by_percentiles(low: float, high: float, clip: bool = False) -> Callable[[np.ndarray], Any]:
    def normalised(x: np.ndarray) -> Any:
        first, last = ends(x, low, high)
        if not clip:
            return line(x, first, last - first)
        return exposure.rescale_intensity(real(x), (first, last), (0.0, 1.0))

    return normalised


def region(x: np.ndarray) -> float:
    part = tuple(slice(*map(int, item.split(":"))) for item in REGION[x.ndim].split(","))
    return float(x[part].mean(dtype=np.float64))


def moved(model: str, method: str = "percentiles") -> Callable[[np.ndarray], Any]:
    """An image moved onto half of itself plus 20, which is the reference."""

    def matched(x: np.ndarray) -> Any:
        other = darker(x)
        s1, s2 = ends(x, 5, 95) if method == "percentiles" else two_modes(x)
        t1, t2 = ends(other, 5, 95) if method == "percentiles" else two_modes(other)
        if model == "linear":
            return line(x, s1, s2 - s1, t2 - t1, t1)
        return line(x, 0, s1 + s2, t1 + t2) if model == "gain" else line(x, (s1 + s2) / 2, 1, 1, (t1 + t2) / 2)

    return matched


def darker(x: np.ndarray) -> np.ndarray:
    return exposure.rescale_intensity(real(x), (0.0, 200.0), (20.0, 120.0))


def two_modes(x: np.ndarray) -> tuple[float, float]:
    """Peaks of the histogram, found bin by bin."""
    bins = min(256, int(np.ptp(x)) + 1) if x.dtype.kind in "iu" else 256
    counts, edges = np.histogram(x, bins, (x.min(), x.max()) if bins == 256 else (x.min() - 0.5, x.max() + 0.5))
    smooth = np.pad(counts.astype(float), counts.size)
    while len(found := tops(smooth)) > 2:
        smooth = ndimage.correlate1d(smooth, np.ones(3), mode="constant") / 3
    centers = edges[0] + (np.arange(smooth.size) - counts.size + 0.5) * float(edges[-1] - edges[0]) / counts.size
    return float(centers[found[0]]), float(centers[found[1]])


def tops(heights: np.ndarray) -> list[int]:
    around = np.pad(heights, 1)
    return [i for i, h in enumerate(heights) if h > around[i] and h > around[i + 2]]


def match(model: str, method: str = "percentiles", **more: Any) -> Callable[[int], list[Any]]:
    def steps(ndim: int) -> list[Any]:
        return [
            Step("dark", op("rescale", low=0, high=200, out_low=20, out_high=120)),
            Step("alike", op("match_illumination", reference="dark", model=model, method=method, **more), ("input",)),
        ]

    return steps


def spread(x: np.ndarray, times: int = 1) -> np.ndarray:
    """A function of a user: greatest minus least of the neighbours, and more."""
    return times * (ndimage.maximum_filter(x, 3) - ndimage.minimum_filter(x, (1, 3, 5)[-x.ndim :]))


def blurred(x: np.ndarray) -> np.ndarray:
    return ndimage.correlate(x.astype(np.float32), np.full((3,) * x.ndim, 0.25, np.float32))


def under_mask(x: np.ndarray) -> Any:
    """By percentiles of the voxels above 120, and only there."""
    first, last = ends(x[x > 120], 5, 95)
    return np.where(x > 120, line(x, first, last - first), np.float32(0))


CASES = [
    Case(
        "normalise",
        lambda n: [
            Step("body", op("threshold", above=120), ("input",)),
            Step("result", op("normalise", percentiles=(5, 95)), ("input",), "body"),
        ],
        under_mask,
        name="under a mask",
    ),
    Case("clip", lambda n: [op("clip", low=100, high=150)], lambda x: np.clip(x, 100, 150)),
    Case("clip", lambda n: [op("clip", high=119.5)], lambda x: np.clip(x, None, 119.5 if x.dtype.kind == "f" else 119)),
    Case(
        "rescale",
        lambda n: [op("rescale", low=90.3, high=160)],
        lambda x: exposure.rescale_intensity(real(x), (90.3, 160.0), (0.0, 1.0)),
    ),
    Case(
        "rescale",
        lambda n: [op("rescale", low=70, high=180, dtype="uint8")],
        lambda x: np.floor(
            exposure.rescale_intensity(real(x), (70.0, 180.0), (0.0, 255.0)).astype(np.float64) + 0.5
        ).astype(np.uint8),
        name="uint8",
    ),
    Case(
        "rescale",
        lambda n: [op("rescale", low=70, high=180, out_low=300, out_high=-300, dtype="int16")],
        lambda x: np.floor(
            exposure.rescale_intensity(real(x), (70.0, 180.0), (300.0, -300.0)).astype(np.float64) + 0.5
        ).astype(np.int16),
        name="falling int16",
    ),
    Case("invert", lambda n: [op("invert")], util.invert, dtypes=INTEGERS),
    Case("invert", lambda n: [op("invert", low=0, high=1)], util.invert, dtypes=("float32",)),
    Case(
        "invert",
        lambda n: [op("invert", low=80, high=170)],
        lambda x: 170 - (np.clip(x, 80, 170) - 80) if x.dtype.kind in "iu" else np.float32(170) - (x - np.float32(80)),
        name="within a range",
    ),
    Case("normalise", lambda n: [op("normalise")], by_percentiles(1, 99)),
    Case(
        "normalise",
        lambda n: [op("gaussian", sigma=1), op("normalise", percentiles=(12.5, 87.3), clip=True)],
        lambda x: by_percentiles(12.5, 87.3, clip=True)(ndimage.gaussian_filter(real(x), 1)),
        dtypes=("uint16",),
        tolerance=1e-5,
        name="of a filtered image, clipped",
    ),
    Case(
        "normalise",
        lambda n: [op("normalise", method="standard")],
        lambda x: line(x, x.mean(dtype=np.float64), x.astype(np.float64).std()),
        tolerance=1e-6,
        name="standard",
    ),
    Case(
        "normalise",
        lambda n: [op("normalise", method="reference", region=REGION[n], target=100)],
        lambda x: line(x, 0, region(x), 100),
        tolerance=1e-6,
        name="reference",
    ),
    Case(
        "normalise",
        lambda n: [op("normalise", method="reference", region=REGION[n], model="offset")],
        lambda x: line(x, region(x), 1, 1, 1),
        dtypes=("uint16",),
        tolerance=1e-6,
        name="reference, offset",
    ),
    Case("match_illumination", match("linear"), moved("linear")),
    Case("match_illumination", match("gain"), moved("gain"), ("uint8",), name="gain"),
    Case("match_illumination", match("offset"), moved("offset"), ("uint16",), name="offset"),
    Case("match_illumination", match("linear", "modes"), moved("linear", "modes"), ("uint8", "float32"), 1e-6, "modes"),
    Case(
        "map_block",
        lambda n: [op("map_block", function=spread, depth=(0, 1, 2)[-n:] if n == 2 else (1, 1, 2))],
        spread,
        dtypes=INTEGERS,
    ),
    Case(
        "map_block",
        lambda n: [op("map_block", function=spread, depth=2, parameters={"times": 3})],
        lambda x: spread(x, 3),
        name="parameters",
    ),
    Case(
        "map_block",
        lambda n: [
            op("map_block", function=blurred, depth=1, dtype="float32"),
            op("threshold", above=100 * 3 ** (n - 1)),
        ],
        lambda x: blurred(x) > np.float32(100 * 3 ** (x.ndim - 1)),
        name="fused",
    ),
]
