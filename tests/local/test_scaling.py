"""Scaling of features against scikit-learn on the whole table, and against itself in tiles."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, RobustScaler, StandardScaler

from bigseg.errors import ParameterError, ValuesError
from bigseg.local.features.scaling import KINDS, Kind, Scaling, fit_table, fit_tiles

Float32 = NDArray[np.float32]


def table(voxels: int = 4001) -> Float32:
    """A skewed feature, a small one, one of few values, one that is constant, one with an offset."""
    rng = np.random.default_rng(3)
    rows = [rng.normal(size=voxels) ** 3, 1e-4 * rng.normal(size=voxels), rng.integers(0, 5, voxels)]
    rows += [np.full(voxels, 7.5), 60000 + rng.normal(size=voxels)]
    return np.array(rows, np.float32)


def scikit(kind: Kind, planes: Float32, quantiles: int) -> Any:
    made = {
        "standard": StandardScaler(),
        "robust": RobustScaler(),
        "minmax": MinMaxScaler(),
        "quantile": QuantileTransformer(n_quantiles=quantiles, subsample=None),
    }
    return made[kind].fit(planes.T.astype(np.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_scikit_learn(kind: Kind) -> None:
    """A table scaled is scikit-learn's, fitted in float64 on the whole table, to float32's last digits."""
    planes = table()
    found = planes.copy()
    fit_table(kind, planes, 50).apply(found)
    scaler = scikit(kind, planes, 50)
    expected = scaler.transform(planes.T.astype(np.float64)).T
    # Centre and scale are rounded to float32, and 60000 is known to 0.004 there.
    tolerance = 3e-7 * (1 + np.abs(expected).max(axis=1)) + np.array([0, 0, 0, 0, 5e-3])
    assert (np.abs(found - expected).max(axis=1) <= tolerance).all()


def test_centres_are_exact() -> None:
    """Means and quantiles of float32 tables are those of numpy in float64, scales too."""
    planes = table()
    exact = planes.astype(np.float64)
    standard, robust = fit_table("standard", planes), fit_table("robust", planes)
    np.testing.assert_allclose(standard.centre, exact.mean(axis=1), rtol=1e-13)
    np.testing.assert_allclose(standard.scale, [s or 1 for s in exact.std(axis=1)], rtol=1e-12)
    assert robust.centre == tuple(np.percentile(exact, 50, axis=1))
    ends = np.percentile(exact, [25, 75], axis=1)
    assert robust.scale == tuple(np.where(ends[1] > ends[0], ends[1] - ends[0], 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tile", [1, 7, 1000, 4001])
def test_tiles_do_not_show(kind: Kind, tile: int) -> None:
    """Tiles of any size, in any order, give the very same scaling."""
    planes = table(101 if tile == 1 else 4001)
    parts = [planes[:, first : first + tile] for first in range(0, planes.shape[1], tile)]
    np.random.default_rng(1).shuffle(parts)
    expected = fit_table(kind, planes, 20)
    assert fit_tiles(kind, lambda: parts, len(planes), 20) == expected


def test_extreme_values_are_summed_exactly() -> None:
    """Values of all exponents and signs, zeros and the smallest, add up as fractions do."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 1 << 32, 5000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    values = np.concatenate([values[np.isfinite(values)], [0.0, -0.0, 1e-45, -1e-45]]).astype(np.float32)
    exact = [Fraction(float(v)) for v in values]
    mean = sum(exact) / len(exact)
    variance = sum(v * v for v in exact) / len(exact) - mean * mean
    found = fit_table("standard", values[np.newaxis])
    assert found.centre == (float(mean),)
    assert abs(found.scale[0] - float(variance) ** 0.5) <= 1e-15 * found.scale[0]
    median = fit_table("robust", values[np.newaxis]).centre
    assert median == (float(np.percentile(values.astype(np.float64), 50)),)


def test_a_value_gets_the_same_bits_anywhere() -> None:
    """Scaled values do not depend on their place in the table."""
    planes = table(64)
    for kind in KINDS:
        scaling = fit_table(kind, planes, 9)
        whole = planes.copy()
        scaling.apply(whole)
        for start in range(1, 18):
            part = planes[:, start:].copy()
            scaling.apply(part)
            assert part.tobytes() == whole[:, start:].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_kept_as_json(kind: Kind) -> None:
    """A scaling comes back from JSON with the same bits, and can be hashed."""
    scaling = fit_table(kind, table(), 9)
    again = Scaling.from_dict(json.loads(json.dumps(scaling.to_dict())))
    assert again == scaling
    assert hash(again) == hash(scaling)


def test_values_beyond_those_that_were_seen() -> None:
    """Quantiles end at 0 and 1; the others go on."""
    planes = np.array([[1, 2, 3, 4, 5]], np.float32)
    beyond = np.array([[-9, 1, 3, 9]], np.float32)
    for kind, wanted in (("quantile", [0, 0, 0.5, 1]), ("minmax", [-2.5, 0, 0.5, 2])):
        found = beyond.copy()
        fit_table(kind, planes, 5).apply(found)  # type: ignore[arg-type]
        assert found.tolist() == [wanted]


def test_what_cannot_be_is_refused() -> None:
    """Unknown kinds, NaN, no voxels, and tables of another number of features."""
    with pytest.raises(ParameterError, match="standard, robust, minmax, quantile"):
        fit_table("zscore", table())  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="2 to 1000"):
        fit_table("quantile", table(), 1)
    with pytest.raises(ValuesError, match="feature 1 has NaN"):
        fit_table("standard", np.array([[1, 2], [np.nan, 3]], np.float32))
    with pytest.raises(ValuesError, match="no voxel"):
        fit_table("robust", np.empty((2, 0), np.float32))
    with pytest.raises(ParameterError, match="of 2 features: found a table of 3"):
        fit_tiles("minmax", lambda: [np.ones((3, 4), np.float32)], 2)
    with pytest.raises(ParameterError, match="of 5 features: found 2"):
        fit_table("standard", table()).apply(table()[:2])
    with pytest.raises(ParameterError, match="above 0"):
        Scaling("standard", (0.0,), (0.0,))
    with pytest.raises(ParameterError, match="a centre and a scale"):
        Scaling("standard", (0.0,), (1.0, 1.0))
