"""Rows of thresholds from the histogram, or from their results, and of hysteresis with options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage
from skimage import exposure, filters, morphology

from bigseg.local.filters.footprints import ball, cross
from tests.local import imagej
from tests.ops.rows import INTEGERS, Case, op, structure


def published(method: Callable[[list[int]], int | None], image: np.ndarray) -> float:
    """What a loop over the bins finds: every value of integers, else 256 bins."""
    counts, centers = exposure.histogram(image.ravel(), 256, source_range="image")
    place = method(counts.tolist())
    assert place is not None
    return float(centers[place])


def two_phases(image: np.ndarray) -> np.ndarray:
    """Values above 128 moved up by 60: a histogram of two modes."""
    return np.clip(np.where(image > 128, image + np.float32(60), image), 0, 255).round().astype(np.uint8)


MODES = "where(x0 > 128, x0 + 60, x0)"


def tried(image: np.ndarray) -> dict[str, Any]:
    """Three thresholds and the voxels above each."""
    found = {
        "otsu": float(filters.threshold_otsu(image)),
        "li": float(filters.threshold_li(image)),
        "kapur": published(imagej.max_entropy, image),
    }
    return {**found, "fractions": {name: float(np.mean(image > value)) for name, value in found.items()}}


def sweep(
    image: np.ndarray,
    thresholds: np.ndarray,
    better: Callable[[np.ndarray, np.ndarray], np.ndarray],
    sizes: tuple[int, float] = (1, np.inf),
    connectivity: int = 1,
    below: bool = False,
) -> dict[str, Any]:
    """Every threshold tried; the lowest of those with the least ``better``."""
    objects, fractions = [], []
    for threshold in thresholds:
        value = np.float32(threshold) if image.dtype.kind == "f" else threshold
        mask = image < value if below else image > value
        labels, count = ndimage.label(mask, structure(image, connectivity))
        size = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        objects.append(int(np.count_nonzero((size >= sizes[0]) & (size <= sizes[1]))))
        fractions.append(mask.mean())
    best = int(np.argmin(better(np.array(objects), np.array(fractions))))
    return {"threshold": float(thresholds[best]), "objects": objects[best], "fraction": float(fractions[best])}


def opened(mask: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    return ndimage.binary_dilation(ndimage.binary_erosion(mask, footprint, border_value=1), footprint)


def large(mask: np.ndarray, size: int, connectivity: int = 1) -> np.ndarray:
    labels, count = ndimage.label(mask, structure(mask, connectivity))
    return (labels > 0) & (np.bincount(labels.ravel(), minlength=count + 1)[labels] >= size)


def with_seed(weak: np.ndarray, seeds: np.ndarray, connectivity: int = 1) -> np.ndarray:
    labels, _ = ndimage.label(weak, structure(weak, connectivity))
    held = np.unique(labels[seeds])
    return np.isin(labels, held[held > 0])


def dilated(seeds: np.ndarray, weak: np.ndarray, footprint: np.ndarray, times: int) -> np.ndarray:
    found = seeds & weak
    for _ in range(times):
        found = morphology.dilation(found, footprint) & weak
    return found


CASES = [
    *(
        Case(
            "auto_threshold",
            lambda n, m=m: [op("auto_threshold", method=m)],
            lambda x, m=m, f=f: {m: float(f(x))},
            name=m,
        )
        for m, f in (
            ("yen", filters.threshold_yen),
            ("kapur", lambda x: published(imagej.max_entropy, x)),
            ("moments", lambda x: published(imagej.moments, x)),
        )
    ),
    *(
        Case(
            "auto_threshold",
            lambda n, m=m: [op("auto_threshold", method=("otsu", m))],
            lambda x, f=f, m=m: {m: float(f(x.astype(np.float64) if x.dtype.kind == "f" else x))},
            tolerance=1e-6,
            name=m,
        )
        for m, f in (("li", filters.threshold_li), ("mean", filters.threshold_mean))
    ),
    *(
        Case(
            "auto_threshold",
            lambda n, m=m: [op("combine", expression=MODES, dtype="uint8"), op("auto_threshold", method=m)],
            lambda x, m=m, f=f: {m: float(f(two_phases(x)))},
            name=m,
        )
        for m, f in (
            ("minimum", filters.threshold_minimum),
            ("intermodes", lambda x: published(imagej.intermodes, x)),
        )
    ),
    Case(
        "try_all",
        lambda n: [op("try_all", method=("otsu", "li", "kapur"))],
        tried,
        dtypes=INTEGERS,
    ),
    Case(
        "try_all",
        lambda n: [op("try_all", method=("otsu", "mean"))],
        lambda x: {"otsu": filters.threshold_otsu(x), "mean": x.mean(dtype=np.float64)},
        tolerance=1e-6,
        name="floats",
    ),
    Case(
        "threshold_by_objects",
        lambda n: [op("threshold_by_objects", low=110, high=150, steps=5, min_size=3, max_size=60)],
        lambda x: sweep(x, np.linspace(110, 150, 5), lambda objects, _: -objects, (3, 60)),
    ),
    Case(
        "threshold_by_objects",
        lambda n: [op("threshold_by_objects", steps=4, connectivity=n, objects=12, polarity="below")],
        lambda x: sweep(
            x,
            np.linspace(float(x.min()), float(x.max()), 4),
            lambda objects, _: abs(objects - 12),
            connectivity=x.ndim,
            below=True,
        ),
        name="objects, from the range",
    ),
    Case(
        "threshold_by_objects",
        lambda n: [op("threshold_by_objects", low=100.5, high=140.25, steps=4, fraction=0.3)],
        lambda x: sweep(x, np.linspace(100.5, 140.25, 4), lambda _, fractions: abs(fractions - 0.3)),
        dtypes=("uint8", "float32"),
        name="fraction",
    ),
    Case(
        "hysteresis",
        lambda n: [op("hysteresis", low=125, high=145, seed_min_size=4)],
        lambda x: with_seed(x > 125, large(x > 145, 4)),
        name="seed_min_size",
    ),
    Case(
        "hysteresis",
        lambda n: [op("hysteresis", low=125, high=140, opening={"footprint": "cross", "radius": 1})],
        lambda x: with_seed(x > 125, opened(x > 140, cross((1,) * x.ndim))),
        name="opening",
    ),
    Case(
        "hysteresis",
        lambda n: [
            op(
                "hysteresis",
                low=112,
                high=125,
                polarity="below",
                opening={"footprint": "ball", "radius": 1},
                seed_min_size=9,
                min_size=20,
                connectivity=n,
            )
        ],
        lambda x: large(with_seed(x < 125, large(opened(x < 112, ball((1,) * x.ndim)), 9, x.ndim), x.ndim), 20, x.ndim),
        dtypes=("uint8", "float32"),
        name="below, all options",
    ),
    Case(
        "hysteresis",
        lambda n: [op("hysteresis", low=125, high=145, iterations=2, footprint="disk", radius=1.8)],
        lambda x: dilated(x > 145, x > 125, ball((0, 1.8, 1.8) if x.ndim == 3 else (1.8, 1.8)), 2),
        name="iterations",
    ),
    Case(
        "hysteresis",
        lambda n: [op("hysteresis", low=125, high=145, iterations=3, radius=1, seed_min_size=3, min_size=12)],
        lambda x: large(dilated(large(x > 145, 3), x > 125, ball((1,) * x.ndim), 3), 12),
        dtypes=("uint8", "float32"),
        name="iterations, sizes",
    ),
]
