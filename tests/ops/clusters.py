"""k-means of a whole table with scikit-learn: what the operation must equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans

from bigseg.local.features.stack import Stack, features_of
from bigseg.local.models.sampling import smallest


class Whole(NamedTuple):
    """Centres by rising first feature, and the class of every voxel, from 1 on."""

    centres: np.ndarray
    classes: np.ndarray


def table_of(stack: Stack, images: Sequence[np.ndarray]) -> np.ndarray:
    """The features of all voxels, a row a voxel."""
    found = features_of(stack, images, tuple(slice(0, n) for n in images[0].shape))
    return np.ascontiguousarray(found.reshape(len(stack.names), -1).T)


def sample_of(table: np.ndarray, count: int, seed: int = 0, inside: np.ndarray | None = None) -> np.ndarray:
    """The rows of the sample in their order."""
    index = np.arange(len(table)) if inside is None else np.flatnonzero(inside)
    return np.asarray(table[index[smallest(seed, index.astype(np.uint64), count)]])


def fitted(rows: np.ndarray, k: int, seed: int = 0, batch: int = 1024, starts: int = 3) -> np.ndarray:
    """Centres of the best of several fits, batch by batch."""
    fits = []
    for start in range(starts):
        model = MiniBatchKMeans(k, random_state=seed + start, batch_size=batch, reassignment_ratio=0)
        for first in range(0, len(rows), batch):
            model.partial_fit(rows[first : first + batch])
        fits.append(model.cluster_centers_)
    best = min(fits, key=lambda centres: squares(rows, centres).min(axis=1).sum())
    return np.asarray(best[np.argsort(best[:, 0])])


def squares(table: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances of rows to centres in float64."""
    away = table.astype(np.float64)[:, None] - centres.astype(np.float64)
    return np.asarray((away**2).sum(axis=2))


def moved(table: np.ndarray, centres: np.ndarray, passes: int) -> np.ndarray:
    """Lloyd's algorithm by scikit-learn, in order again."""
    model = KMeans(len(centres), init=centres, n_init=1, max_iter=passes, tol=0, algorithm="lloyd").fit(table)
    return np.asarray(model.cluster_centers_[np.argsort(model.cluster_centers_[:, 0])])


def predicted(table: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Classes from scikit-learn's predict."""
    model = KMeans(len(centres), init=centres, n_init=1, max_iter=1).fit(table)
    model.cluster_centers_ = np.ascontiguousarray(centres, table.dtype)
    return np.asarray(model.predict(table)).astype(np.uint8) + np.uint8(1)
