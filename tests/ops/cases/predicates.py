"""Rows of predicates on objects, and of filling holes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage import measure, morphology, segmentation

from bigseg.pipeline.steps import Step
from tests.ops.rows import Case, op, structure


def level(ndim: int) -> int:
    """A threshold that leaves objects of many sizes away from the edge."""
    return 145 if ndim == 2 else 160


def labelled(mask: np.ndarray, connectivity: int = 1) -> np.ndarray:
    return ndimage.label(mask, structure(mask, connectivity))[0]


def largest(labels: np.ndarray, k: int) -> np.ndarray:
    """The k largest labels; numbers rise with the first voxel, so a stable order breaks ties as we do."""
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    chosen = np.argsort(-sizes, kind="stable")[:k]
    return np.where(np.isin(labels, chosen[sizes[chosen] > 0]), labels, 0)


def no_larger(labels: np.ndarray, size: int) -> np.ndarray:
    return np.where(np.bincount(labels.ravel())[labels] <= size, labels, 0)


def larger(labels: np.ndarray, size: int) -> np.ndarray:
    return np.where(np.bincount(labels.ravel())[labels] > size, labels, 0)


def inside(labels: np.ndarray) -> np.ndarray:
    """Without the labels that touch the edge, however they are connected."""
    edge = np.ones(labels.shape, bool)
    edge[(slice(1, -1),) * labels.ndim] = False
    return np.where(np.isin(labels, labels[edge]), 0, labels)


def filled(mask: np.ndarray, connectivity: int, size: int | None = None) -> np.ndarray:
    if size is None:
        return ndimage.binary_fill_holes(mask, structure(mask, connectivity))
    return mask | (no_larger(inside(labelled(~mask, connectivity)), size) > 0)


def numbered(labels: np.ndarray) -> np.ndarray:
    return segmentation.relabel_sequential(labels)[0]


def selected(image: np.ndarray) -> np.ndarray:
    labels = labelled(image > level(image.ndim))
    properties = ("label", "num_pixels", "extent", "equivalent_diameter_area", "intensity_mean", "intensity_max")
    table = measure.regionprops_table(labels, image.astype(np.float64), properties=(*properties, "bbox", "centroid"))
    low = np.array([table[f"bbox-{axis}"] for axis in range(image.ndim)])
    high = np.array([table[f"bbox-{axis + image.ndim}"] for axis in range(image.ndim)])
    edge = (low == 0).any(0) | (high == np.array(image.shape)[:, None]).any(0)
    keep = (table["num_pixels"] > 2) & ~edge & (table["extent"] < 0.9) & (table["equivalent_diameter_area"] >= 2.5)
    keep |= (table["intensity_mean"] * 2 > 300) & (table["intensity_max"] < 160) & (table["centroid-0"] < low[0] + 2)
    return np.where(np.isin(labels, table["label"][keep]), labels, 0)


def chained(image: np.ndarray) -> np.ndarray:
    weak = labelled(image > level(image.ndim) - 5, image.ndim)
    mask = (weak > 0) & np.isin(weak, weak[image > level(image.ndim) + 5])
    mask = segmentation.clear_border(mask)
    mask = morphology.remove_small_objects(mask, max_size=3, connectivity=image.ndim)
    mask = no_larger(labelled(mask, image.ndim), 60) > 0
    return largest(labelled(mask, image.ndim), 4)


SELECT = (
    "num_pixels > 2 and not touches_edge and extent < 0.9 and equivalent_diameter >= 2.5"
    " or intensity_mean * 2 > 300 and intensity_max < 160 and centroid-0 < bbox-0 + 2"
)
FEW = ("uint8", "float32")
DULL = Step("dull", op("threshold", below=165), ("input",))
"""A mask that takes the cores of bright objects away: it parts them, or leaves rings."""

CASES = [
    Case(
        "remove_small",
        lambda n: [
            DULL,
            Step("bright", op("threshold", above=150), ("input",)),
            Step("result", op("remove_small", min_size=4), ("bright",), "dull"),
        ],
        lambda x: morphology.remove_small_objects((x > 150) & (x < 165), max_size=3),
        dtypes=FEW,
        name="under a mask",
    ),
    Case(
        "select",
        lambda n: [
            DULL,
            Step("bright", op("threshold", above=150), ("input",)),
            Step("objects", op("label"), ("bright",)),
            Step("large", op("select", expression="num_pixels > 3"), ("objects",), "dull"),
            Step("result", op("keep_largest", k=5), ("large",), "dull"),
        ],
        lambda x: largest(larger(np.where(x < 165, labelled(x > 150), 0), 3), 5),
        dtypes=FEW,
        name="labels under a mask, parted ones among them",
    ),
    Case(
        "remove_large",
        lambda n: [op("threshold", above=150), op("remove_large", max_size=12, connectivity=n)],
        lambda x: (x > 150) & ~morphology.remove_small_objects(x > 150, max_size=12, connectivity=x.ndim),
    ),
    Case(
        "remove_large",
        lambda n: [op("threshold", above=150), op("label"), op("remove_large", max_size=12, relabel=True)],
        lambda x: numbered(no_larger(labelled(x > 150), 12)),
        name="labels numbered anew",
    ),
    *(
        Case(
            "keep_largest",
            lambda n, k=k: [op("threshold", above=145), op("keep_largest", k=k)],
            lambda x, k=k: largest(labelled(x > 145), k) > 0,
            dtypes=FEW,
            name=f"{k} of a mask",
        )
        for k in (1, 9, 5000)
    ),
    Case(
        "keep_largest",
        lambda n: [op("threshold", above=145), op("label"), op("keep_largest", k=5)],
        lambda x: largest(labelled(x > 145), 5),
        name="labels keep their ids",
    ),
    Case(
        "keep_largest",
        lambda n: [
            op("hysteresis", low=level(n) - 5, high=level(n) + 5, connectivity=n),
            op("clear_border", connectivity=n),
            op("remove_small", min_size=4, connectivity=n),
            op("remove_large", max_size=60, connectivity=n),
            op("keep_largest", k=4, connectivity=n),
            op("label", connectivity=n),
        ],
        lambda x: numbered(chained(x)),
        name="a chain on one set of components is that of whole arrays",
    ),
    Case(
        "clear_border",
        lambda n: [op("threshold", above=level(n)), op("clear_border", connectivity=n)],
        lambda x: segmentation.clear_border(x > level(x.ndim)),
    ),
    Case(
        "clear_border",
        lambda n: [op("threshold", above=level(n)), op("clear_border", connectivity=n, buffer_size=2)],
        lambda x: segmentation.clear_border(x > level(x.ndim), buffer_size=2),
        name="a wider edge",
    ),
    Case(
        "clear_border",
        lambda n: [op("threshold", above=level(n)), op("label"), op("clear_border"), op("remove_small", min_size=3)],
        lambda x: morphology.remove_small_objects(segmentation.clear_border(labelled(x > level(x.ndim))), max_size=2),
        dtypes=FEW,
        name="labels keep their ids",
    ),
    Case(
        "select",
        lambda n: [
            Step("mask", op("threshold", above=level(n))),
            Step("objects", op("label")),
            Step("chosen", op("select", expression=SELECT, intensity="input")),
        ],
        selected,
    ),
    Case(
        "select",
        lambda n: [op("threshold", above=145), op("select", expression="3 <= num_pixels < 20", connectivity=n)],
        lambda x: (
            no_larger(labelled(morphology.remove_small_objects(x > 145, max_size=2, connectivity=x.ndim), x.ndim), 19)
            > 0
        ),
        dtypes=FEW,
        name="of a mask",
    ),
    *(
        Case(
            "fill_holes",
            lambda n, c=c: [op("threshold", below=145), op("fill_holes", connectivity=min(c, n))],
            lambda x, c=c: filled(x < 145, min(c, x.ndim)),
            name=f"connectivity {c}",
        )
        for c in (1, 2, 3)
    ),
    Case(
        "fill_holes",
        lambda n: [op("threshold", below=145), op("fill_holes", connectivity=n, max_size=8)],
        lambda x: filled(x < 145, x.ndim, 8),
        name="small ones",
    ),
    Case(
        "fill_holes",
        lambda n: [
            op("threshold", above=level(n)),
            op("remove_small", min_size=2),
            op("fill_holes"),
            op("clear_border"),
            op("label"),
        ],
        lambda x: numbered(inside(labelled(filled(morphology.remove_small_objects(x > level(x.ndim), max_size=1), 1)))),
        dtypes=FEW,
        name="after and before predicates",
    ),
]
