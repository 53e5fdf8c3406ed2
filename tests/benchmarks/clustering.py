"""Classes of k-means against scikit-learn: 30 features of a volume, one thread each.

A section of `learning`. Ours are classified tile by tile where they lie. `alone`: scikit-learn's ``predict`` gets the
same features as rows. `with features`: from the image to the classes, the peer by multiscale_basic_features. `beside
the features`: what classes add to ours of the features, against ``predict``.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
from skimage.feature import multiscale_basic_features
from sklearn.cluster import MiniBatchKMeans

from bigseg.local.models.centres import nearest_centre

from .features import basic, image
from .measure import serve, turns
from .page import compared, comparison

SHAPE = (96, 160, 160)
CLUSTERS = (4, 8)
GOAL = 1.5


def rows(clusters: int, repeats: int) -> list[dict[str, Any]]:
    """Three rows of the table."""
    x, stack = image((160, 160, 160))[: SHAPE[0]], basic(SHAPE)
    keep = tuple(slice(0, n) for n in x.shape)
    planes = np.concatenate([tile.planes.copy() for tile in stack.tiles([x], keep)], axis=1)
    table = np.ascontiguousarray(planes.T)
    model = MiniBatchKMeans(clusters, random_state=0, n_init=1).fit(table[::7])
    centres = model.cluster_centers_

    def features() -> None:
        for _ in stack.tiles([x], keep):
            pass

    def fused() -> None:
        for tile in stack.tiles([x], keep):
            nearest_centre(tile.planes, centres)

    sides = {
        "alone": lambda: nearest_centre(planes, centres).places,
        "predict": lambda: model.predict(table),
        "features": features,
        "fused": fused,
        "peer": lambda: model.predict(multiscale_basic_features(x, workers=1).reshape(-1, len(stack.names))),
    }
    seconds, found = turns(sides, repeats)
    equal = np.mean(found["alone"] == found["predict"])
    same = "exactly" if equal == 1 else f"{100 * equal:.4f} % of the classes"
    median = {who: statistics.median(runs) for who, runs in seconds.items()}
    rates = {who: x.size / spent / 1e6 for who, spent in median.items()}
    added = x.size / max(1e-9, median["fused"] - median["features"]) / 1e6
    data = f"{' x '.join(map(str, SHAPE))} float32, 30 features, k = {clusters}"
    predict, whole = "scikit-learn predict", "multiscale_basic_features + predict"
    return [
        comparison("k-means prediction, alone", data, rates["alone"], predict, rates["predict"], GOAL, same),
        comparison("k-means prediction, beside the features", data, added, predict, rates["predict"], GOAL, same),
        comparison("k-means prediction, with features", data, rates["fused"], whole, rates["peer"], GOAL),
    ]


def section(found: Mapping[str, Any]) -> list[str]:
    """Lines of the page."""
    return [
        "Rates a core, of processor time; one array in memory, turn by turn, the first turn of neither counted. Alone: "
        "all features lie in memory, in the layout of each side. Beside the features: what the classes add to a pass "
        "that makes the features anyway. With features: from the image; edges differ by the filters' modes.",
        "",
        *compared(found["rows"]),
    ]


def measure(task: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of the table."""
    return {"rows": [row for clusters in CLUSTERS for row in rows(clusters, task["repeats"])]}


if __name__ == "__main__":
    serve(measure)
