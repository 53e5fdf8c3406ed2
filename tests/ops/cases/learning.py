"""Rows of trained models: what a train step finds, and what classify makes of a model file."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from bigseg.functions import describe
from bigseg.learn.model import make_model
from bigseg.learn.model_file import save_model
from bigseg.local.features.stack import features_of
from bigseg.ops.learning.features import Features
from bigseg.pipeline.steps import Step
from tests.ops.clusters import fitted, predicted, sample_of, table_of
from tests.ops.rows import Case, op

FEATURES = Features(intensity=True, gaussian=(1.0,), position=10.0)
SHAPES = {2: (30, 40), 3: (8, 20, 30)}
REGIONS = {2: ("0:6,:", "6:,:"), 3: ("0:5,:,:", "5:,:,:")}
SMALL = {"n_estimators": 6, "max_depth": 6}


def features(x: np.ndarray) -> np.ndarray:
    """Feature vectors of the whole array, a row a voxel."""
    stack = FEATURES.stack(describe(x))
    return np.asarray(features_of(stack, [x], tuple(slice(0, n) for n in x.shape)).reshape(len(stack.names), -1).T)


@cache
def trained(ndim: int) -> tuple[str, RandomForestClassifier]:
    """A forest that parts grey values near 120 and 135, and its file."""
    rng = np.random.default_rng(2)
    image = rng.integers(90, 170, SHAPES[ndim]).astype(np.uint8)
    truth = 1 + np.digitize(image.ravel() + rng.normal(0, 8, image.size), (120, 135)).astype(np.uint8)
    estimator = RandomForestClassifier(8, max_depth=7, random_state=0).fit(features(image), truth)
    spec = describe(image)
    stack = FEATURES.stack(spec)
    told = {
        "features": FEATURES.model_dump(mode="json", exclude_defaults=True),
        "images": [""],
        "axes": list(spec.axes),
        "names": list(stack.names),
    }
    folder = Path(tempfile.mkdtemp(prefix="bigseg-cases-"))
    atexit.register(shutil.rmtree, folder, True)
    save_model(make_model(estimator, features=told, names=stack.names, spec=spec), folder / "model.npz")
    return str(folder / "model.npz"), estimator


def classify(ndim: int, **parameters: Any) -> list[Any]:
    return [op("classify", model=trained(ndim)[0], override=True, **parameters)]


def labels(x: np.ndarray) -> np.ndarray:
    return np.asarray(trained(x.ndim)[1].predict(features(x)).reshape(x.shape))


def share(x: np.ndarray) -> np.ndarray:
    return np.asarray(trained(x.ndim)[1].predict_proba(features(x))[:, 1].reshape(x.shape), np.float32)


def train(ndim: int) -> list[Any]:
    first, second = REGIONS[ndim]
    drawn = Step("drawn", op("threshold", above=130), ("input",))
    regions = {"train": first, "validation": second}
    known = {"features": FEATURES, "regions": regions, "parameters": SMALL, "voxels": None, "seed": 3}
    return [drawn, Step("result", op("train", labels="drawn", **known), ("input",))]


def forest_of_half(x: np.ndarray) -> dict[str, Any]:
    """Fitted to the first planes, its Dice on the others at the best threshold."""
    first = np.zeros(x.shape, bool)
    first[: {2: 6, 3: 5}[x.ndim]] = True
    rows, truth, own = features(x), (x > 130).ravel(), first.ravel()
    estimator = RandomForestClassifier(**SMALL, random_state=3).fit(rows[own], truth[own].astype(np.uint8))
    score = estimator.predict_proba(rows[~own])[:, 1].astype(np.float32)
    yes = truth[~own]
    dice = {t: 2 * np.sum(yes & (score >= t)) / (yes.sum() + np.sum(score >= t)) for t in np.unique(score)}
    best = max(dice, key=lambda t: (dice[t], t))
    below = score[score < best].max()
    return {"voxels": int(own.sum()), "threshold": (float(below) + float(best)) / 2}


CASES = [
    Case("classify", lambda n: classify(n), labels, name="labels"),
    Case("classify", lambda n: classify(n, output="probability", target=2), share, tolerance=1e-6, name="probability"),
    # the threshold lies between two scores of 262,144 steps: 1.1e-6 off
    Case("train", train, forest_of_half, tolerance=4e-6, name="forest of half"),
]


def clusters(x: np.ndarray) -> np.ndarray:
    """Classes of k-means on grey values and a Gaussian, by scikit-learn on the whole array."""
    table = table_of(CLUSTERED.stack(describe(x)), [x])
    return predicted(table, fitted(sample_of(table, 300), 3)).reshape(x.shape)


CLUSTERED = Features(intensity=True, gaussian=(1.0,))
CASES.append(
    Case(
        "kmeans",
        lambda n: [op("kmeans", k=3, features={"intensity": True, "gaussian": [1.0]}, sample=300)],
        clusters,
    )
)
