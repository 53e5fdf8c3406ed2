"""Classes of k-means against scikit-learn: 30 features of a volume, one thread each.

A section of `learning`. Ours are classified tile by tile where they lie. `alone`: scikit-learn's ``predict`` gets the
same features as rows. `with features`: from the image to the classes; the peer's time is that of
multiscale_basic_features, which takes seconds and is therefore measured by itself, once for both numbers of clusters
and in fewer turns, and that of ``predict``. `beside the features`: what classes add to ours of the features, turn by
turn, against ``predict``.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from skimage.feature import multiscale_basic_features
from sklearn.cluster import MiniBatchKMeans

from bigseg.local.models.centres import nearest_centre

from .features import basic, image
from .measure import serve, turns
from .page import compared, comparison

SHAPE = (48, 128, 128)
CLUSTERS = (4, 8)
GOAL = 1.5
QUICK = 5
"""Turns of what takes a tenth of a second, to one of the peer's features: its differences are small."""


def measure(task: Mapping[str, Any]) -> dict[str, Any]:
    """Three rows of the table for each number of clusters."""
    x, stack = image((160, 160, 160))[tuple(slice(0, n) for n in SHAPE)].copy(), basic(SHAPE)
    keep = tuple(slice(0, n) for n in x.shape)
    planes = np.concatenate([tile.planes.copy() for tile in stack.tiles([x], keep)], axis=1)
    table = np.ascontiguousarray(planes.T)
    models = {k: MiniBatchKMeans(k, random_state=0, n_init=1).fit(table[::7]) for k in CLUSTERS}

    def features() -> None:
        for _ in stack.tiles([x], keep):
            pass

    def fused(clusters: int) -> None:
        for tile in stack.tiles([x], keep):
            nearest_centre(tile.planes, models[clusters].cluster_centers_)

    def alone(clusters: int) -> Any:
        return nearest_centre(planes, models[clusters].cluster_centers_).places

    sides: dict[str, Callable[[], Any]] = {"features": features}
    for k, model in models.items():
        sides |= {f"alone {k}": partial(alone, k), f"predict {k}": partial(model.predict, table)}
        sides[f"fused {k}"] = partial(fused, k)
    seconds, found = turns(sides, QUICK * task["repeats"])
    slow, _ = turns({"peer": lambda: multiscale_basic_features(x, workers=1).shape}, task["repeats"])
    seconds |= slow
    for k in CLUSTERS:
        seconds[f"beside {k}"] = [b - a for a, b in zip(seconds["features"], seconds[f"fused {k}"], strict=True)]
    median = {who: statistics.median(runs) for who, runs in seconds.items()}
    return {"rows": [row for k in CLUSTERS for row in rows(k, x.size, median, found)], "seconds": seconds}


def rows(k: int, voxels: int, median: Mapping[str, float], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a number of clusters, from the seconds of each side and what they gave."""
    equal = np.mean(found[f"alone {k}"] == found[f"predict {k}"])
    same = "exactly" if equal == 1 else f"{100 * equal:.4f} % of the classes"
    predict, whole = "scikit-learn predict", "multiscale_basic_features + predict"
    sklearn = median[f"predict {k}"]
    cases = (
        ("alone", median[f"alone {k}"], predict, sklearn, same),
        ("beside the features", max(1e-9, median[f"beside {k}"]), predict, sklearn, same),
        ("with features", median[f"fused {k}"], whole, median["peer"] + sklearn, ""),
    )
    data = f"{' x '.join(map(str, SHAPE))} float32, 30 features, k = {k}"
    return [
        comparison(f"k-means prediction, {what}", data, voxels / ours / 1e6, peer, voxels / theirs / 1e6, GOAL, equal)
        for what, ours, peer, theirs, equal in cases
    ]


def section(found: Mapping[str, Any]) -> list[str]:
    """Lines of the page."""
    return [
        "Rates a core, of processor time; one array in memory, turn by turn, the first turn of neither counted. Alone: "
        "all features lie in memory, in the layout of each side. Beside the features: what the classes add to a pass "
        "that makes the features anyway. With features: from the image, the peer's as the sum of the times of its "
        "features and of predict, each measured by itself; edges differ by the filters' modes.",
        "",
        *compared(found["rows"]),
    ]


if __name__ == "__main__":
    serve(measure)
