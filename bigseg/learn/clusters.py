"""K-means in front of a classifier: the cluster of a voxel, or its distances to all, as features.

The centres are found by scikit-learn on the table that the classifier is trained on. Distances are sums over the
features in their order, by our own kernels: a matrix product would give other last bits in other blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from bigseg.errors import ParameterError
from bigseg.local.filters.linear import Float32
from bigseg.local.models.centres import centre_distances, nearest_centre

Give = Literal["labels", "distances"]
_STARTS = 4
"""Starts of k-means, of which the best is kept."""


@dataclass(frozen=True)
class Clusters:
    """Centres of clusters, and what is told of them.

    Parameters
    ----------
    centres : a tuple of numbers for each cluster, one a feature; by rising first feature.
    give : labels: the number of the nearest cluster, one feature; distances: to each of them.
    alone : these in place of the features that they were found from; else after them.

    Examples
    --------
    >>> clusters = Clusters(((0.0,), (10.0,)), "labels")
    >>> clusters.added(np.float32([[1, 9, 4]]))
    array([[1., 9., 4.],
           [0., 1., 0.]], dtype=float32)
    >>> Clusters.from_dict(clusters.to_dict()) == clusters
    True
    """

    centres: tuple[tuple[float, ...], ...]
    give: Give = "labels"
    alone: bool = False

    def __post_init__(self) -> None:
        lengths = {len(centre) for centre in self.centres}
        if len(self.centres) < 2 or len(lengths) != 1 or self.give not in ("labels", "distances"):
            raise ParameterError(
                f"{len(self.centres)} clusters of {lengths} features, {self.give!r}: expected two or more of one length"
            )

    def names(self, features: tuple[str, ...]) -> tuple[str, ...]:
        """The features' names with those of the clusters."""
        own = (
            ("cluster",) if self.give == "labels" else tuple(f"cluster-distance-{k}" for k in range(len(self.centres)))
        )
        return own if self.alone else (*features, *own)

    def added(self, planes: Float32) -> Float32:
        """Features with what is told of the clusters: float32 (features, voxels).

        Raises
        ------
        ParameterError : another number of features.
        ValuesError : NaN or infinite features.
        """
        centres = np.array(self.centres, np.float64)
        if self.give == "labels":
            own = nearest_centre(planes, centres.astype(np.float32)).places[np.newaxis].astype(np.float32)
        else:
            own = centre_distances(planes, centres)
        return own if self.alone else np.concatenate([planes, own])

    def to_dict(self) -> dict[str, Any]:
        """As what JSON can hold; floats come back with the same bits."""
        return {"centres": [list(centre) for centre in self.centres], "give": self.give, "alone": self.alone}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Clusters:
        """From what `to_dict` gave, also after JSON."""
        centres = tuple(tuple(float(value) for value in centre) for centre in found["centres"])
        return cls(centres, found["give"], bool(found["alone"]))


def fit_clusters(planes: Float32, k: int, give: Give, alone: bool, seed: int) -> Clusters:
    """Clusters of a table of features, scaled as they are wanted.

    Parameters
    ----------
    planes : float32 (features, voxels), in a fixed order.
    k : how many; voxels must be no fewer.
    seed : of scikit-learn's KMeans, the best of 4 starts.

    Examples
    --------
    >>> fit_clusters(np.float32([[0, 1, 10, 11]]), 2, "labels", False, seed=0).centres
    ((0.5,), (10.5,))
    """
    if not 2 <= k <= planes.shape[1]:
        raise ParameterError(f"{k} clusters of {planes.shape[1]} voxels: expected 2 at least, and no more than voxels")
    from sklearn.cluster import KMeans  # which takes a second to load

    with threadpool_limits(1):  # threads add in the order in which they finish
        found = KMeans(k, n_init=_STARTS, random_state=seed).fit(planes.T.astype(np.float64))
    centres = sorted(tuple(float(value) for value in centre) for centre in found.cluster_centers_)
    return Clusters(tuple(centres), give, alone)
