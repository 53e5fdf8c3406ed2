"""Which features a model needs: how much worse it does when some of them are shuffled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.learn.clusters import Clusters
from bigseg.learn.model import Model
from bigseg.learn.training import prepared
from bigseg.local.features.scaling import Scaling
from bigseg.local.filters.linear import Float32

By = Literal["feature", "filter", "scale"]


def groups_of(names: Sequence[str], by: By) -> dict[str, list[int]]:
    """Which features are shuffled together, in the order of their names.

    >>> groups_of(["intensity", "gaussian-1.0", "hessian_eigenvalue-0-1.0"], "scale")
    {'intensity': [0], '1.0': [1, 2]}
    >>> groups_of(["gaussian-1.0", "hessian_eigenvalue-0-1.0", "hessian_eigenvalue-1-1.0"], "filter")
    {'gaussian': [0], 'hessian_eigenvalue': [1, 2]}
    """
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        key = name
        if by == "filter":
            key = name.partition("-")[0].partition("(")[0]
        elif by == "scale" and not name.rpartition(":")[2].startswith(("position-", "neighbour(")):
            key = name.rpartition("-")[2]
        found.setdefault(key, []).append(place)
    return found


def shuffled_losses(
    model: Model, planes: Float32, truth: NDArray[Any], groups: Mapping[str, Sequence[int]], repeats: int, seed: int
) -> dict[str, list[float]]:
    """How much worse a model does with each group of features shuffled among the voxels, time and again.

    Parameters
    ----------
    model : any; planes : its features before scaling, float32 (features, n); truth : of every voxel.
    groups : of `groups_of`.
    repeats, seed : how many shuffles, and of what they are drawn.

    Returns
    -------
    By group: the loss of balanced accuracy of each shuffle; of a regression the rise of the mean squared error.

    Notes
    -----
    Source of the algorithm: L. Breiman, Random forests (2001), on voxels of one's own choice instead of those out of
    the bag. Cost: a prediction of all voxels for each group and repeat.

    Examples
    --------
    >>> from bigseg.local.models.linear_model import Linear
    >>> line = Model(Linear(np.array([[1.0, 0.0]]), np.array([0.0]), "value"), "regression", "", {}, ("a", "b"), (),
    ...              (1.0, 1.0), "", "uint8")
    >>> planes = np.float32([[1, 2, 3, 4], [4, 3, 2, 1]])
    >>> losses = shuffled_losses(line, planes, planes[0], {"a": [0], "b": [1]}, 2, seed=0)
    >>> min(losses["a"]) > 0, losses["b"]
    (True, [0.0, 0.0])
    """
    if repeats < 1 or not truth.size:
        raise ParameterError(f"{repeats} repeats on {truth.size} voxels: expected one of each at least")
    scaling = Scaling.from_dict(model.features["scaling"]) if "scaling" in model.features else None
    clusters = Clusters.from_dict(model.features["clusters"]) if "clusters" in model.features else None

    def score(features: Float32) -> float:
        ready = prepared(features.copy(), scaling, clusters)
        if model.task == "regression":
            return -float(np.mean((model.values(ready).astype(np.float64) - truth) ** 2))
        right = model.labels(ready) == truth
        return float(np.mean([np.mean(right[truth == value]) for value in np.unique(truth)]))

    best = score(planes)
    random = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for name, rows in groups.items():
        found[name] = []
        for _ in range(repeats):
            changed = planes.copy()
            changed[rows] = planes[rows][:, random.permutation(truth.size)]
            found[name].append(best - score(changed))
    return found
