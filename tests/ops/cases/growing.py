"""Rows of growing: labels, classes and masks; and of thresholds guarded against virtual skins."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from bigseg.local.filters.footprints import ball, cross
from bigseg.pipeline.steps import Step
from tests.ops.rows import Case, op


def nearest(labels: np.ndarray, distance: float) -> np.ndarray:
    """The least (square of distance, label) over all labelled voxels within a distance, label by label."""
    out, best = np.zeros_like(labels), np.full(labels.shape, np.inf)
    for label in np.unique(labels[labels > 0]):
        away = np.rint(ndimage.distance_transform_edt(labels != label) ** 2)
        closer = away < best
        out[closer], best[closer] = label, away[closer]
    return np.where(best <= distance**2, out, 0).astype(labels.dtype)


def guarded(
    image: np.ndarray, values: tuple[float, ...], guard: float, reach: float, sigma: float = 0, margin: float = 1
) -> np.ndarray:
    """Classes of the even voxels, grown over the steep ones."""
    smooth = ndimage.gaussian_filter(image.astype(np.float32), sigma) if sigma else image.astype(np.float32)
    edges = np.abs(ndimage.laplace(smooth)) > np.float32(guard)
    edges = ndimage.binary_dilation(edges, ball((margin,) * image.ndim))
    classes = np.digitize(image, values).astype(np.uint8)
    grown = nearest(np.where(edges, 0, classes + 1), reach)
    return np.where(grown > 0, grown - 1, classes).astype(np.uint8)


def grown(labels: np.ndarray, footprint: np.ndarray, steps: int, mask: np.ndarray | None = None) -> np.ndarray:
    """The least label around each free voxel, over and over."""
    top = np.iinfo(labels.dtype).max
    for _ in range(steps):
        values = np.where(labels == 0, top, labels)
        around = ndimage.minimum_filter(values, footprint=footprint, mode="constant", cval=top)
        free = (labels == 0) & (around != top)
        labels = np.where(free if mask is None else free & mask, around, labels)
    return labels


def bright(image: np.ndarray) -> np.ndarray:
    return ndimage.label(image > 145)[0].astype(np.uint32)


CASES = [
    *(
        Case(
            "expand_labels",
            lambda n, d=d: [op("threshold", above=145), op("label"), op("expand_labels", distance=d)],
            lambda x, d=d: nearest(bright(x), d),
            dtypes=("uint8", "float32"),
            name=f"distance {d}",
        )
        for d in (1, 2.3)
    ),
    Case(
        "expand_labels",
        lambda n: [op("multi_threshold", values=(150, 165)), op("expand_labels", distance=3)],
        lambda x: nearest(np.digitize(x, (150, 165)).astype(np.uint8), 3),
        name="classes",
    ),
    Case(
        "grow",
        lambda n: [
            Step("weak", op("threshold", above=128), ("input",)),
            Step("strong", op("threshold", above=145), ("input",)),
            Step("seeds", op("label"), ("strong",)),
            Step("grown", op("grow", mask="weak", iterations=3), ("seeds",)),
        ],
        lambda x: grown(bright(x), cross((1,) * x.ndim), 3, x > 128),
        name="labels within a mask",
    ),
    Case(
        "grow",
        lambda n: [op("multi_threshold", values=(150, 165)), op("grow", iterations=2, footprint="ball", radius=1.8)],
        lambda x: grown(np.digitize(x, (150, 165)).astype(np.uint8), ball((1.8,) * x.ndim), 2),
        dtypes=("uint8", "float32"),
        name="classes without a mask",
    ),
    Case(
        "grow",
        lambda n: [
            op("threshold", above=145),
            op("label"),
            op("grow", iterations=2, footprint=[[0, 1, 1], [0] * 3, [0] * 3]),
        ],
        lambda x: grown(bright(x), np.array([[0, 1, 1], [0] * 3, [0] * 3], bool)[(None,) * (x.ndim - 2)], 2),
        name="a footprint that is not symmetric",
    ),
    Case(
        "guarded_threshold",
        lambda n: [op("guarded_threshold", values=(110, 140), guard=12, reach=4)],
        lambda x: guarded(x, (110, 140), 12, 4),
    ),
    Case(
        "guarded_threshold",
        lambda n: [op("guarded_threshold", values=(115.5, 130, 150), guard=2.5, sigma=0.8, margin=0, reach=1.5)],
        lambda x: guarded(x, (115.5, 130, 150), 2.5, 1.5, 0.8, 0),
        name="of a gaussian, some beyond reach",
    ),
]
