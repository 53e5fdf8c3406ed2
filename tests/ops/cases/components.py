"""Rows of components and objects."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph
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


def classes(image: np.ndarray) -> np.ndarray:
    return np.where(image > 140, 2, np.where(image < 110, 3, 1)).astype(np.uint8)


def around(mask: np.ndarray, connectivity: int, axis: int) -> np.ndarray:
    """Labels on a periodic axis: of the volume three times in a row, joined where copies are the same voxel."""
    n = mask.shape[axis]
    labels, count = ndimage.label(np.concatenate([mask] * 3, axis), structure(mask, connectivity))
    copies = [np.take(labels, range(k * n, k * n + n), axis)[mask] for k in range(3)]
    pairs = np.concatenate([np.stack([copies[0], other]) for other in copies[1:]], axis=1)
    graph = sparse.coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), (count + 1, count + 1))
    _, group = csgraph.connected_components(graph, directed=False)
    objects = group[copies[1]]
    _, first, place = np.unique(objects, return_index=True, return_inverse=True)
    found = np.zeros(mask.shape, np.int64)
    found[mask] = np.argsort(np.argsort(first))[place] + 1
    return found


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
        "label",
        lambda n: [
            op("combine", expression="where(x0 > 140, 2, where(x0 < 110, 3, 1))", dtype="uint8"),
            op("label", connectivity=n, multivalued=True, background=1),
        ],
        lambda x: measure.label(classes(x), background=1),
        name="every value apart",
    ),
    *(
        Case(
            "label",
            lambda n, c=c: [op("threshold", above=130), op("label", connectivity=min(c, n), periodic=("y",))],
            lambda x, c=c: around(x > 130, min(c, x.ndim), x.ndim - 2),
            name=f"periodic, connectivity {c}",
        )
        for c in (1, 3)
    ),
    Case(
        "count_objects",
        lambda n: [op("threshold", above=130), op("count_objects", connectivity=n)],
        lambda x: {"objects": ndimage.label(x > 130, structure(x, x.ndim))[1]},
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
]
