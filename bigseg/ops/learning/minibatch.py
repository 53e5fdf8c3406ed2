"""Mini-batch k-means on a sample: dask-ml's Incremental around scikit-learn's MiniBatchKMeans."""

from __future__ import annotations

from math import fsum
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
from dask_ml.wrappers import Incremental
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from bigseg.local.filters.linear import Float32
from bigseg.local.models.centres import nearest_centre

SILHOUETTE = 2000
"""Voxels of the sample, its first ones, that the silhouette is of: it compares each with all others."""


class Fitted(NamedTuple):
    """Centres, float32 (clusters, features), and the sum of the sample's squared distances to the nearest."""

    centres: Float32
    inertia: float


def fit_batches(rows: Float32, clusters: int, seed: int, batch: int) -> Float32:
    """Centres of one fit: what ``partial_fit`` leaves after each batch of rows in their order.

    Parameters
    ----------
    rows : float32 (voxels, features), C-contiguous, in an order without meaning.
    clusters : at most the rows of the first batch, from which the first centres are drawn by k-means++.
    seed : scikit-learn's ``random_state``.
    batch : rows a batch.

    Notes
    -----
    On one thread, so that additions come in one order. No centre is drawn again for having few voxels, as scikit-learn
    does by default: small phases are what is looked for, and after the last batch nothing would mend a bad draw.
    """
    model = MiniBatchKMeans(
        clusters, random_state=seed, batch_size=batch, n_init=1, compute_labels=False, reassignment_ratio=0.0
    )
    fitting = Incremental(model, shuffle_blocks=False)
    with dask.config.set(scheduler="synchronous"), threadpool_limits(1):
        fitting.fit(da.from_array(rows, chunks=(batch, rows.shape[1])))
    return np.asarray(fitting.estimator_.cluster_centers_, np.float32)


def best_fit(planes: Float32, clusters: int, seed: int, batch: int, starts: int) -> Fitted:
    """The best of several fits, by the inertia of the whole sample, of equal ones the first.

    Parameters
    ----------
    planes : float32 (features, voxels).
    seed : of the first fit; the others take the numbers after it.
    starts : how many fits.

    Returns
    -------
    Fitted, clusters by rising centre along the first feature, then the second.
    """
    rows = np.ascontiguousarray(planes.T)
    best: Fitted | None = None
    for start in range(starts):
        centres = in_order(fit_batches(rows, clusters, (seed + start) % (1 << 32), batch))
        inertia = inertia_of(planes, centres)
        if best is None or inertia < best.inertia:
            best = Fitted(centres, inertia)
    assert best is not None
    return best


def in_order(centres: Float32) -> Float32:
    """Centres by rising first feature; of equal ones by the next.

    >>> in_order(np.float32([[3, 0], [1, 9], [1, 2]])).tolist()
    [[1.0, 2.0], [1.0, 9.0], [3.0, 0.0]]
    """
    return np.asarray(centres[np.lexsort(centres.T[::-1])])


def inertia_of(planes: Float32, centres: Float32) -> float:
    """The sum of squared distances to the nearest centre, rounded once."""
    return fsum(nearest_centre(planes, centres).squares)


def silhouette(planes: Float32, places: NDArray[Any]) -> float | None:
    """scikit-learn's silhouette score of the first voxels; None where they lie in one cluster, or each in its own."""
    rows, near = planes[:, :SILHOUETTE].T.astype(np.float64), places[:SILHOUETTE]
    if not 1 < np.unique(near).size < near.size:
        return None
    with threadpool_limits(1):
        return float(silhouette_score(rows, near))
