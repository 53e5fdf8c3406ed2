"""Rows of arithmetic and masks between steps and inputs."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from bigseg.ops.base import Op
from bigseg.pipeline.steps import Step
from tests.ops.rows import Case, op

F = np.float32


def on_input_and_median(expression: str, **parameters: object) -> list[Op | Step]:
    """Steps of a row: x0 is the input, x1 its median."""
    return [
        Step("middle", op("median", size=3), ("input",)),
        Step("result", op("combine", expression=expression, **parameters), ("input", "middle")),
    ]


def middle(image: np.ndarray) -> np.ndarray:
    return ndimage.median_filter(image, 3)


def mixed(image: np.ndarray) -> np.ndarray:
    """Every arithmetic operation, as numpy does it on whole float32 arrays."""
    x, m = image.astype(F), middle(image).astype(F)
    ratio = (x - m) / np.maximum(m, F(1)) * F(2.5)
    return ratio + np.sqrt(np.abs(x - F(100))) - x // F(7) + x % F(7) * (m * m * m) / F(1e6)


def cast(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


EVERY = "(x0 - x1) / max(x1, 1) * 2.5 + sqrt(abs(x0 - 100)) - x0 // 7 + x0 % 7 * x1 ** 3 / 1e6"

CASES = [
    Case("combine", lambda n: on_input_and_median("x0 - x1"), lambda x: x.astype(F) - middle(x).astype(F)),
    Case(
        "combine",
        lambda n: on_input_and_median(EVERY),
        mixed,
        name="every operation",
    ),
    Case(
        "combine",
        lambda n: on_input_and_median("1.5 * x0 - x1 / 3 + 20.25", dtype="uint8"),
        lambda x: cast(F(1.5) * x.astype(F) - middle(x).astype(F) / F(3) + F(20.25)),
        name="rounded and clipped",
    ),
    Case(
        "combine",
        lambda n: on_input_and_median("100 < x0 <= x1 or not x1 < 150"),
        lambda x: ((x > 100) & (x <= middle(x))) | (middle(x) >= 150),
        name="comparisons",
    ),
    Case(
        "combine",
        lambda n: [
            Step("bright", op("threshold", above=120), ("input",)),
            Step("objects", op("label"), ("bright",)),
            Step("rim", op("threshold", below=140), ("input",)),
            Step("large", op("remove_small", min_size=5), ("bright",)),
            Step("result", op("combine", expression="where(x0 & ~x1, x2, 0)"), ("large", "rim", "objects")),
        ],
        lambda x: np.where(large(x) & ~(x < 140), ndimage.label(x > 120)[0], 0),
        name="labels in masks",
    ),
    Case(
        "combine",
        lambda n: [*on_input_and_median("min(x0, x1, 140)"), op("gaussian", sigma=0.8)],
        lambda x: ndimage.gaussian_filter(np.minimum(np.minimum(x, middle(x)), 140).astype(F), 0.8),
        tolerance=1e-5,
        name="within a fused chain",
    ),
]


def large(image: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(image > 120)
    return (labels > 0) & (np.bincount(labels.ravel())[labels] >= 5)
