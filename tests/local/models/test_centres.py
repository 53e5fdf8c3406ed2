"""Nearest centres and exact means: numpy's, the same bits for any part of the voxels."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from sklearn.cluster import KMeans

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.models.centres import (
    NONE,
    add_members,
    centre_distances,
    empty_members,
    means_of,
    nearest_centre,
    powers_of,
)


def planes(features: int, voxels: int = 3001, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(features, voxels)) * 10.0 ** rng.integers(-2, 3, (features, 1))).astype(np.float32)


@pytest.mark.parametrize("features", [1, 3, 4, 7, 30])
@pytest.mark.parametrize("clusters", [1, 2, 9])
def test_nearest_is_that_of_scikit_learn(features: int, clusters: int) -> None:
    """Places are predict's, and squares those of float64, for any number of features and centres."""
    x, centres = planes(features), np.ascontiguousarray(planes(features, clusters, seed=1).T)
    found = nearest_centre(x, centres)
    away = ((x.T[:, None].astype(float) - centres.astype(float)) ** 2).sum(axis=2)
    np.testing.assert_allclose(found.squares, away.min(axis=1), rtol=1e-6)
    ordered = np.sort(away, axis=1)
    clear = np.ones(len(away), bool) if clusters == 1 else ordered[:, 1] > ordered[:, 0] * (1 + 1e-6)
    assert clear.mean() > 0.999  # predict adds up in float32: at the very middle either answer is right
    model = KMeans(clusters, init=centres, n_init=1, max_iter=1).fit(x.T)
    model.cluster_centers_ = centres
    np.testing.assert_array_equal(found.places[clear], model.predict(np.ascontiguousarray(x.T))[clear])


@pytest.mark.parametrize("features", [1, 3, 4, 7, 30])
def test_distances_are_sums_in_the_order_of_the_features(features: int) -> None:
    """Distances to all centres are roots of float64 sums, feature after feature, to the bit."""
    x, centres = planes(features), planes(features, 5, seed=1).T.astype(np.float64)
    total = np.zeros((5, x.shape[1]))
    for feature, plane in enumerate(x.astype(np.float64)):
        away = plane - centres[:, feature, np.newaxis]
        total += away * away
    found = centre_distances(x, centres)
    np.testing.assert_array_equal(found, np.sqrt(total).astype(np.float32))
    np.testing.assert_array_equal(centre_distances(x[:, 17:], centres), found[:, 17:])


def test_crops_do_not_show() -> None:
    """Any part of the voxels has the bits that it has among all, wherever it begins."""
    x, centres = planes(13), np.ascontiguousarray(planes(13, 6, seed=1).T)
    whole = nearest_centre(x, centres)
    for start in range(1, 18):
        part = nearest_centre(x[:, start : start + 2000], centres)
        assert part.places.tobytes() == whole.places[start : start + 2000].tobytes()
        assert part.squares.tobytes() == whole.squares[start : start + 2000].tobytes()


def test_of_two_at_one_distance_the_first() -> None:
    """A voxel in the middle between centres, and one with equal centres, get the smaller place."""
    assert nearest_centre(np.float32([[1, 5]]), np.float32([[5], [0], [2], [5]])).places.tolist() == [1, 0]


def test_sums_add_up_in_any_parts() -> None:
    """Sums of parts are the sums of the whole, bit for bit; means are those of exact fractions."""
    x = planes(5)
    centres = np.ascontiguousarray(x[:, :4].T)
    places = nearest_centre(x, centres).places
    places[::7] = NONE
    powers = powers_of(x)
    whole, parts = empty_members(4, 5), empty_members(4, 5)
    add_members(whole, x, places, powers)
    for start in (2000, 0, 1000, 3000):
        add_members(parts, x[:, start : start + 1000], places[start : start + 1000], powers)
    found, again = (means_of(sums, powers, centres) for sums in (whole, parts))
    assert found.tobytes() == again.tobytes()
    assert whole["counts"].tolist() == [np.count_nonzero(places == k) for k in range(4)]
    for k in range(4):
        exact = [sum(map(Fraction, row[places == k].tolist())) / int((places == k).sum()) for row in x]
        np.testing.assert_allclose(found[k], np.array(exact, float), rtol=1e-6, atol=1e-7 * np.abs(x).max())


def test_outliers_are_limited_and_empty_clusters_stay() -> None:
    """A value far beyond the sample counts as 2**14 times its greatest; a centre without a voxel is not moved."""
    sums = empty_members(3, 1)
    add_members(sums, np.float32([[1e30, -1e30, -1e30]]), np.uint8([0, 1, 1]), powers_of(np.float32([[1.0]])))
    found = means_of(sums, powers_of(np.float32([[1.0]])), np.float32([[0], [0], [5]]))
    assert found.ravel().tolist() == [1 << 15, -(1 << 15), 5]


def test_what_is_refused() -> None:
    """Another number of features, too many centres, and values that are no numbers."""
    with pytest.raises(ParameterError, match="1 to 255 centres"):
        nearest_centre(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))
    with pytest.raises(ParameterError, match="1 to 255 centres"):
        nearest_centre(np.zeros((1, 3), np.float32), np.zeros((256, 1), np.float32))
    for bad in (np.nan, np.inf, 3e38):
        with pytest.raises(ValuesError, match="NaN, infinite or too large"):
            nearest_centre(np.float32([[0, bad]]), np.float32([[0], [1]]))
    with pytest.raises(ParameterError, match="found features of shape"):
        centre_distances(np.zeros((2, 3), np.float32), np.zeros((2, 3)))
    for bad in (np.nan, np.inf):
        with pytest.raises(ValuesError, match="NaN or infinite"):
            centre_distances(np.float32([[0, bad]]), np.array([[0.0], [1.0]]))
