"""Forests against scikit-learn: feature vectors of a real image in memory, one thread each.

A section of `learning`. A random forest of 100 trees and about 200,000 nodes learns mitochondria on the left half of
the lecture's electron micrograph from 13 features (grey value, and skimage's intensity, edges and texture at three
scales); the right half is predicted. Labels must be scikit-learn's, and probabilities its own as float32: a fast wrong
answer is no answer.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
from skimage import feature
from sklearn.ensemble import RandomForestClassifier

from bigseg.learn.forests import forest_of
from bigseg.local.models import forest as kernel

from .halves import Half, load
from .measure import serve, turns
from .page import compared, comparison

SAMPLES = 30_000
GOALS = {"labels": 4.0, "probabilities": 2.2}
PEERS = {"labels": "predict", "probabilities": "predict_proba"}
Array = np.ndarray


def vectors(half: Half) -> Array:
    """Feature vectors (pixels, 13) of a half."""
    grey = half.image.astype(np.float32)
    several = feature.multiscale_basic_features(grey, sigma_min=1, sigma_max=4, num_sigma=3, workers=1)
    found = np.concatenate([grey[..., np.newaxis], several], axis=-1)
    return np.ascontiguousarray(found.reshape(-1, found.shape[-1]), np.float32)


def trained(half: Half) -> RandomForestClassifier:
    """A forest that has seen some of a half."""
    chosen = np.random.default_rng(0).choice(half.truth.size, SAMPLES, replace=False)
    model = RandomForestClassifier(100, n_jobs=1, random_state=0)
    return model.fit(vectors(half)[chosen], half.truth.reshape(-1)[chosen])


def measure(task: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of the table."""
    left, right = load()
    model = trained(left)
    forest = forest_of(model)
    table = vectors(right)
    planes = np.ascontiguousarray(table.T)
    sides = {
        "labels": lambda: kernel.labels(forest, planes),
        "predict": lambda: model.predict(table),
        "probabilities": lambda: kernel.means(forest, planes),
        "predict_proba": lambda: model.predict_proba(table),
    }
    seconds, found = turns(sides, task["repeats"])
    assert np.array_equal(found["probabilities"], found["predict_proba"].T.astype(np.float32)), "other probabilities"
    assert np.array_equal(model.classes_[found["labels"]], found["predict"]), "other labels than scikit-learn's"
    rates = {who: len(table) / statistics.median(runs) / 1e6 for who, runs in seconds.items()}
    data = f"{forest.trees} trees, {forest.nodes:,} nodes, {forest.features} features"
    rows = [
        comparison(f"forest, {what}", data, rates[what], f"scikit-learn {peer}, n_jobs=1", rates[peer], goal, "exactly")
        for (what, goal), peer in zip(GOALS.items(), PEERS.values(), strict=True)
    ]
    return {"rows": rows, "pixels": len(table), "seconds": seconds}


def section(found: Mapping[str, Any]) -> list[str]:
    """Lines of the page."""
    return [
        f"Rates a core, of processor time; the {found['pixels']:,} pixels of the right half of the lecture's "
        "micrograph, turn by turn, the first turn of neither counted. Vectors lie in memory, a pixel's side by side "
        "for scikit-learn, a feature's for bigseg, as its tiles hold them. Labels are scikit-learn's, probabilities "
        "its own as float32.",
        "",
        *compared(found["rows"]),
    ]


if __name__ == "__main__":
    serve(measure)
