"""Rows of relations between objects: overlaps, contacts, neighbours; and of detections."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage import measure

from bigseg.pipeline.steps import Step
from tests.ops.cases.growing import nearest
from tests.ops.rows import INTEGERS, Case, op


def labelled(image: np.ndarray, level: float) -> np.ndarray:
    return ndimage.label(image > level)[0].astype(np.uint32)


def overlaps(a: np.ndarray, b: np.ndarray, ignore_zero: bool = False) -> pd.DataFrame:
    """Every pair of values, and how often it occurs."""
    kept = (a != 0) & (b != 0) if ignore_zero else np.ones(a.shape, bool)
    pairs, counts = np.unique(
        np.stack([a[kept].astype(np.int64), b[kept].astype(np.int64)]), axis=1, return_counts=True
    )
    return pd.DataFrame({"label_a": pairs[0], "label_b": pairs[1], "num_pixels": counts})


def contacts(labels: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> pd.DataFrame:
    """Every pair of labels that share faces, by the definition, axis after axis."""
    ends, axes = [], []
    for axis in range(labels.ndim):
        line = np.moveaxis(labels.astype(np.int64), axis, 0)
        both = np.stack([line[:-1].ravel(), line[1:].ravel()])
        ends.append(np.sort(both[:, (both != 0).all(0) & (both[0] != both[1])], axis=0))
        axes.append(np.full(ends[-1].shape[1], axis))
    pairs, where = np.unique(np.concatenate(ends, axis=1), axis=1, return_inverse=True)
    table = {"label_a": pairs[0], "label_b": pairs[1]}
    area = np.zeros(pairs.shape[1])
    for axis in range(labels.ndim):
        table[f"faces-{axis}"] = np.bincount(where[np.concatenate(axes) == axis], minlength=pairs.shape[1])
        area = area + table[f"faces-{axis}"] * np.delete(spacing[-labels.ndim :], axis).prod()
    return pd.DataFrame(table | {"contact_area": area})


def neighbours(
    labels: np.ndarray, k: int, limit: float = np.inf, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
) -> pd.DataFrame:
    """The k nearest of each object among all others, ties to the smaller label."""
    table = measure.regionprops_table(labels, properties=("label", "centroid"), spacing=spacing[-labels.ndim :])
    names = table["label"].astype(np.int64)
    places = np.stack([table[f"centroid-{axis}"] for axis in range(labels.ndim)], axis=1)
    squares = ((places[:, None] - places[None]) ** 2).sum(-1)
    rows = []
    for i, name in enumerate(names.tolist()):
        order = [j for j in np.lexsort((names, squares[i])) if j != i and np.sqrt(squares[i, j]) <= limit][:k]
        rows += [(name, rank, int(names[j]), np.sqrt(squares[i, j])) for rank, j in enumerate(order, start=1)]
    return pd.DataFrame(rows, columns=["label", "neighbour", "nearest_label", "distance"])


def detections(labels: np.ndarray, image: np.ndarray, least: float, most: int) -> pd.DataFrame:
    """Rows of the region table with a score of mean x extent, sorted."""
    names = ("label", "num_pixels", "area", "bbox", "centroid", "extent", "intensity_mean")
    table = pd.DataFrame(measure.regionprops_table(labels, image.astype(np.float64), properties=names))
    table["score"] = table["intensity_mean"] * table["extent"]
    boxes = [f"bbox-{axis}" for axis in range(2 * labels.ndim)]
    for name in boxes:
        table[name.replace("bbox", "bbox_physical")] = table[name] - 0.5
    table = table[table["score"] >= least].sort_values(["score", "label"], ascending=[False, True])[:most]
    physical = [name.replace("bbox", "bbox_physical") for name in boxes]
    centroid = [f"centroid-{axis}" for axis in range(labels.ndim)]
    return table[["label", "score", "num_pixels", "area", *boxes, *physical, *centroid]].reset_index(drop=True)


def quantiles(labels: np.ndarray, image: np.ndarray, percentages: tuple[float, ...]) -> pd.DataFrame:
    """Percentiles of the voxels of each label, one label after the other."""
    rows = []
    for label in np.unique(labels[labels != 0]):
        values = image[labels == label]
        rows.append((label, values.size, *np.percentile(values.astype(np.float64), percentages)))
    return pd.DataFrame(rows, columns=["label", "num_pixels", *(f"intensity_p{q:g}" for q in percentages)])


CASES = [
    Case(
        "contingency",
        lambda n: [
            Step("high", op("threshold", above=140), ("input",)),
            Step("a", op("label"), ("high",)),
            Step("low", op("threshold", above=125), ("input",)),
            Step("b", op("label"), ("low",)),
            Step("overlap", op("contingency", other="b"), ("a",)),
        ],
        lambda x: overlaps(labelled(x, 140), labelled(x, 125)),
        dtypes=("uint8", "float32"),
        name="labels made in the same run",
    ),
    Case(
        "contingency",
        lambda n: [op("multi_threshold", values=(115, 140)), op("contingency", other="input", ignore_zero=True)],
        lambda x: overlaps(np.digitize(x, (115, 140)), x, ignore_zero=True),
        dtypes=INTEGERS,
        name="classes with a file's integers",
    ),
    Case(
        "contact",
        lambda n: [op("threshold", above=145), op("label"), op("expand_labels", distance=3), op("contact")],
        lambda x: contacts(nearest(labelled(x, 145), 3)),
        dtypes=("uint8", "float32"),
        name="grown labels",
    ),
    Case("contact", lambda n: [op("contact")], contacts, dtypes=INTEGERS, name="labels of a file"),
    Case(
        "nearest",
        lambda n: [op("threshold", above=140), op("label"), op("nearest", k=2)],
        lambda x: neighbours(labelled(x, 140), 2),
        dtypes=("uint8", "int16", "float32"),
        tolerance=1e-12,
        name="labels made in the same run",
    ),
    Case(
        "nearest",
        lambda n: [op("nearest", max_distance=1.5)],
        lambda x: neighbours(x, 1, 1.5),
        dtypes=("uint8", "uint16"),
        tolerance=1e-12,
        name="labels of a file, not all with a neighbour",
    ),
    Case(
        "detect",
        lambda n: [
            Step("high", op("threshold", above=140), ("input",)),
            Step("a", op("label"), ("high",)),
            Step("boxes", op("detect", intensity="input", score="intensity_mean * extent", top_k=7), ("a",)),
        ],
        lambda x: detections(labelled(x, 140), x, 0, 7),
        tolerance=1e-7,  # float intensities are rounded to 30 bits of the range
    ),
    Case(
        "object_quantiles",
        lambda n: [
            Step("high", op("threshold", above=140), ("input",)),
            Step("a", op("label"), ("high",)),
            Step("spread", op("object_quantiles", intensity="input", percentages=(5, 50, 97.5)), ("a",)),
        ],
        lambda x: quantiles(labelled(x, 140), x, (5, 50, 97.5)),
        dtypes=INTEGERS,
    ),
]
