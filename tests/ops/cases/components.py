"""Rows of components and objects."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage import filters, measure, morphology

from tests.ops.rows import Case, op, structure


def dark_hysteresis(image: np.ndarray, low: float, high: float, connectivity: int) -> np.ndarray:
    weak, _ = ndimage.label(image < high, structure(image, connectivity))
    seeds = np.unique(weak[image < low])
    return np.isin(weak, seeds[seeds > 0])


def large_only(mask: np.ndarray, size: int, connectivity: int) -> np.ndarray:
    labels, count = ndimage.label(mask, structure(mask, connectivity))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    return (labels > 0) & (sizes[labels] >= size)


def region_table(image: np.ndarray) -> pd.DataFrame:
    labels, _ = ndimage.label(image > 140)
    names = (
        "label",
        "num_pixels",
        "area",
        "bbox",
        "centroid",
        "intensity_min",
        "intensity_max",
        "intensity_mean",
        "intensity_std",
    )
    return pd.DataFrame(measure.regionprops_table(labels, image.astype(np.float64), properties=names))


CASES = [
    *(
        Case(
            "hysteresis",
            lambda n, c=c: [op("hysteresis", low=125, high=150, connectivity=min(c, n))],
            lambda x, c=c: (
                filters.apply_hysteresis_threshold(x, 125, 150)
                if c == 1
                else dark_hysteresis(-x.astype(np.float64), -150, -125, min(c, x.ndim))
            ),
            name=f"above-{c}",
        )
        for c in (1, 2, 3)
    ),
    Case(
        "hysteresis",
        lambda n: [op("hysteresis", low=100, high=118, polarity="below", connectivity=n, min_size=6)],
        lambda x: large_only(dark_hysteresis(x, 100, 118, x.ndim), 6, x.ndim),
        name="below, min_size",
    ),
    *(
        Case(
            "label",
            lambda n, c=c: [op("threshold", above=130), op("label", connectivity=min(c, n))],
            lambda x, c=c: ndimage.label(x > 130, structure(x, min(c, x.ndim)))[0],
            name=f"connectivity {c}",
        )
        for c in (1, 2, 3)
    ),
    Case(
        "label",
        lambda n: [op("hysteresis", low=100, high=118, polarity="below", connectivity=n), op("label", connectivity=1)],
        lambda x: ndimage.label(dark_hysteresis(x, 100, 118, x.ndim))[0],
        dtypes=("uint8", "float32"),
        name="other connectivity than the hysteresis",
    ),
    Case(
        "remove_small",
        lambda n: [op("threshold", above=130), op("remove_small", min_size=9)],
        lambda x: morphology.remove_small_objects(x > 130, max_size=8),
    ),
    Case(
        "remove_small",
        lambda n: [op("threshold", above=130), op("label"), op("remove_small", min_size=9)],
        lambda x: morphology.remove_small_objects(ndimage.label(x > 130)[0], max_size=8),
        name="labels keep their ids",
    ),
    Case(
        "remove_small",
        lambda n: [op("threshold", above=130), op("remove_small", min_size=9), op("gaussian", sigma=1.0)],
        lambda x: ndimage.gaussian_filter(morphology.remove_small_objects(x > 130, max_size=8).astype(np.float32), 1.0),
        tolerance=1e-5,
        name="a halo of it is stored",
    ),
    Case(
        "regions",
        lambda n: [op("threshold", above=140), op("label"), op("regions", intensity="input")],
        region_table,
        tolerance=1e-8,  # the oracle adds float64; ours are exact integers, floats rounded to 30 bits of the range
    ),
]
