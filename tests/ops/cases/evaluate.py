"""Rows of figures against a truth: classes, scores, objects and values."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage
from skimage.metrics import adapted_rand_error, contingency_table, variation_of_information
from sklearn import metrics

from bigseg.ops.base import Op
from bigseg.pipeline.steps import Step
from tests.ops.rows import INTEGERS, Case, op

SMOOTH = Step("smooth", op("median", size=3), ("input",))
TRUTH = Step("truth", op("threshold", above=130), ("smooth",))
CLASSES = Step("truth", op("multi_threshold", values=(115, 135)), ("smooth",))


def smooth(x: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.median_filter(x, 3))


def masks(true: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    """Figures of a mask as scikit-learn gives them."""
    t, p = true.ravel(), found.ravel()
    return {
        "accuracy": metrics.accuracy_score(t, p),
        "balanced_accuracy": metrics.balanced_accuracy_score(t, p),
        "kappa": metrics.cohen_kappa_score(t, p),
        "mcc": metrics.matthews_corrcoef(t, p),
        "precision": metrics.precision_score(t, p),
        "recall": metrics.recall_score(t, p),
        "f1": metrics.f1_score(t, p),
        "dice": metrics.f1_score(t, p),
        "jaccard": metrics.jaccard_score(t, p),
    }


def of_masks(x: np.ndarray) -> dict[str, Any]:
    true, found = smooth(x) > 130, x > 125
    wrong = np.mean(true != found)
    return {**masks(true, found), "voxels": x.size, "mse": wrong, "mae": wrong}


def of_classes(x: np.ndarray) -> dict[str, Any]:
    """Three true classes, of which the result leaves one out; the truth 0 is ignored."""
    true, found = np.digitize(smooth(x), (115, 135)).ravel(), np.digitize(x, (120, 150)).ravel()
    true, found = true[true != 0], found[true != 0]
    options = {"average": "macro", "zero_division": 0}
    return {
        "voxels": true.size,
        "classes": np.union1d(true, found).tolist(),
        "accuracy": metrics.accuracy_score(true, found),
        "kappa": metrics.cohen_kappa_score(true, found),
        "mcc": metrics.matthews_corrcoef(true, found),
        "precision": metrics.precision_score(true, found, **options),
        "recall": metrics.recall_score(true, found, **options),
        "f1": metrics.f1_score(true, found, **options),
        "jaccard": metrics.jaccard_score(true, found, **options),
    }


def of_scores(x: np.ndarray) -> dict[str, Any]:
    true, score = (smooth(x) > 130).ravel(), x.ravel()
    precision, recall, thresholds = metrics.precision_recall_curve(true, score)
    dice = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = thresholds[dice[:-1] >= dice.max() - 1e-12].max()
    return {
        **masks(true, score > 128),
        "voxels": x.size,
        "positives": int(true.sum()),
        "auc": metrics.roc_auc_score(true, score),
        "average_precision": metrics.average_precision_score(true, score),
        "best_dice": dice.max(),
        "best_threshold": (float(score[score < best].max()) + best) / 2,
    }


def of_probabilities(x: np.ndarray) -> dict[str, Any]:
    """Scores from 0 to 1 of a class of the truth."""
    true = np.digitize(smooth(x), (115, 135)).ravel() == 2
    score = ((x.astype(np.float32) - np.float32(0)) / np.float32(255)).clip(0, 1).ravel().astype(np.float64)
    return {
        **masks(true, score > 0.5),
        "auc": metrics.roc_auc_score(true, score),
        "average_precision": metrics.average_precision_score(true, score),
        "mse": metrics.mean_squared_error(true, score),
        "mae": metrics.mean_absolute_error(true, score),
    }


def of_objects(x: np.ndarray) -> dict[str, Any]:
    true, _ = ndimage.label(smooth(x) > 130)
    found, _ = ndimage.label(x > 125)
    error, precision, recall = adapted_rand_error(true, found)
    split, merge = variation_of_information(true, found, ignore_labels=[0])
    wanted = {"rand_error": error, "rand_precision": precision, "rand_recall": recall}
    wanted |= {"vi_split": split, "vi_merge": merge, "vi": split + merge}
    table = contingency_table(true, found, normalize=False).toarray()
    shared = table[1:, 1:]
    overlap = shared / (table.sum(1)[1:, None] + table.sum(0)[None, 1:] - shared)
    aps = []
    for level in np.arange(50, 100, 5) / 100:
        tp = np.count_nonzero(overlap > level)
        fp, fn = found.max() - tp, true.max() - tp
        aps.append(tp / (tp + fp + fn))
        if level == 0.5:
            wanted |= {"tp": tp, "fp": fp, "fn": fn, "ap": aps[0], "f1": 2 * tp / (2 * tp + fp + fn)}
            wanted["panoptic_quality"] = overlap[overlap > 0.5].sum() / (tp + fp / 2 + fn / 2)
    return wanted | {"ap_mean": np.mean(aps), "objects": found.max(), "objects_true": true.max()}


def of_errors(x: np.ndarray) -> np.ndarray:
    """Where scores above a threshold and a mask agree: true negative, positive, false positive, negative."""
    true, found = smooth(x) > 130, x > 125
    cases = [~true & ~found, true & found, ~true & found, true & ~found]
    return np.select(cases, [1, 2, 3, 4]).astype(np.uint8)


def of_wrong_classes(x: np.ndarray) -> np.ndarray:
    true, found = np.digitize(smooth(x), (115, 135)), np.digitize(x, (120, 150))
    return np.where(true == 0, 0, np.where(true == found, 1, 2)).astype(np.uint8)


def of_values(x: np.ndarray) -> dict[str, Any]:
    true, found = smooth(x).ravel().astype(np.float64), x.ravel().astype(np.float64)
    return {
        "voxels": x.size,
        "mse": metrics.mean_squared_error(true, found),
        "rmse": metrics.root_mean_squared_error(true, found),
        "mae": metrics.mean_absolute_error(true, found),
    }


def chain(*steps: Step | Op) -> list[Op | Step]:
    return [SMOOTH, *steps]


CASES = [
    Case(
        "evaluate",
        lambda n: chain(
            TRUTH, Step("found", op("threshold", above=125), ("input",)), Step("result", op("evaluate", truth="truth"))
        ),
        of_masks,
        name="masks",
    ),
    Case(
        "evaluate",
        lambda n: chain(
            CLASSES,
            Step("found", op("multi_threshold", values=(120, 150)), ("input",)),
            Step("result", op("evaluate", truth="truth", ignore=0)),
        ),
        of_classes,
        name="classes",
    ),
    Case(
        "evaluate",
        lambda n: chain(TRUTH, Step("result", op("evaluate", truth="truth", threshold=128), ("input",))),
        of_scores,
        dtypes=INTEGERS,
        name="grey values",
    ),
    *(
        Case(
            "evaluate",
            lambda n: chain(
                CLASSES,
                Step("share", op("rescale", low=0, high=255), ("input",)),
                Step("result", op("evaluate", truth="truth", positive=2, kind="scores", threshold=0.5)),
            ),
            of_probabilities,
            tolerance=tolerance,
            dtypes=dtypes,
            name=name,
        )
        for name, dtypes, tolerance in (
            ("probabilities", INTEGERS, 1e-9),
            # scores within a step, of 262,145, tie where scikit-learn tells them apart: areas are 1.2e-5 off
            ("float probabilities", ("float32",), 2e-5),
        )
    ),
    Case(
        "evaluate",
        lambda n: chain(
            TRUTH,
            Step("grains", op("label"), ("truth",)),
            Step("found", op("threshold", above=125), ("input",)),
            Step("objects", op("label"), ("found",)),
            Step("result", op("evaluate", truth="grains")),
        ),
        of_objects,
        name="objects",
    ),
    Case(
        "error_map",
        lambda n: chain(TRUTH, Step("result", op("error_map", truth="truth", threshold=125), ("input",))),
        of_errors,
        name="scores",
    ),
    Case(
        "error_map",
        lambda n: chain(
            CLASSES,
            Step("found", op("multi_threshold", values=(120, 150)), ("input",)),
            Step("result", op("error_map", truth="truth", ignore=0)),
        ),
        of_wrong_classes,
        name="classes",
    ),
    Case(
        "evaluate",
        lambda n: chain(Step("result", op("evaluate", truth="smooth", kind="values"), ("input",))),
        of_values,
        name="values",
    ),
]
