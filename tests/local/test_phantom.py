"""Kernels of phantoms: hashes, chance, shapes, and what a scanner does."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
from scipy import stats

from bigseg.local.phantom.chance import FEW, POWERS, RISES, STARTS, gaussians, poissons
from bigseg.local.phantom.hashing import cell_key, fill_bits, row_keys, uniform, wave, weights
from bigseg.local.phantom.imaging import Scanner, expose
from bigseg.local.phantom.shapes import paint_rod, paint_spheroid
from bigseg.local.phantom.uniform import random_voxels


def bits_of_row(y: int, n: int = 1 << 16, first: int = 0) -> np.ndarray:
    bits = np.empty(n, np.uint32)
    fill_bits(bits, first, *row_keys(5, 9, 3, y))
    return bits


def scanner(**given: float) -> Scanner:
    none = {"seed": 1, "cupping": 0, "drift": 0, "gain": 1, "offset": 0, "rings": 0, "counts": 0, "noise": 0}
    return Scanner(**{key: value if key == "seed" else np.float32(value) for key, value in (none | given).items()})


def exposed(
    values: np.ndarray, dtype: str = "float32", start: tuple[int, int, int] = (0, 0, 0), **how: float
) -> np.ndarray:
    out = np.empty(values.shape, dtype)
    expose(values.astype(np.float32), start, values.shape, scanner(**how), out)
    return out


def test_bits_do_not_depend_on_where_a_row_begins() -> None:
    """A row's hashes from any place on are those of the whole row."""
    whole = bits_of_row(0, 500)
    for first in range(1, 40):
        np.testing.assert_array_equal(bits_of_row(0, 500 - first, first), whole[first:])


def test_bits_are_evenly_distributed_and_independent() -> None:
    """Every bit is set half of the time, all bytes are equally frequent, and neighbours do not know each other."""
    rows = np.stack([bits_of_row(y) for y in range(16)])
    for bit in range(32):
        assert abs(((rows >> bit) & 1).mean() - 0.5) < 0.003
    for shift in (0, 8, 16, 24):
        assert stats.chisquare(np.bincount((rows.ravel() >> shift) & 255)).pvalue > 1e-4
    real = rows / 2.0**32
    for a, b in ((real[:, :-1], real[:, 1:]), (real[:-1], real[1:])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.005


def test_cells_have_keys_of_their_own() -> None:
    """No two cells around the origin share a key, negative ones included, and their draws are even."""
    places = [(z, y, x) for z in range(-6, 6) for y in range(-6, 6) for x in range(-6, 6)]
    keys = [cell_key(1, 0, *place) for place in places]
    assert len(set(keys)) == len(keys)
    drawn = [uniform(np.uint64(key), n) for key in keys[:400] for n in range(3)]
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3


def test_waves_are_smooth_and_bounded() -> None:
    """A spline's weights add up to one, and its curve has no steps, across knots as within."""
    for t in (0.0, 0.3, 0.999):
        assert sum(weights(t)) == pytest.approx(1)
    curve = np.array([wave(np.uint64(77), t) for t in np.linspace(-3, 30, 3301)])
    assert np.abs(curve).max() <= 1
    assert np.abs(np.diff(curve)).max() < 0.02
    assert curve.std() > 0.1


def test_gaussians_are_gaussian() -> None:
    """A million of them have the mean, deviation, kurtosis and tails of a normal distribution."""
    bits = np.concatenate([bits_of_row(y) for y in range(16)])
    line = np.empty(bits.size, np.float32)
    gaussians(line, bits, STARTS, RISES)
    assert abs(line.mean()) < 0.004
    assert line.std() == pytest.approx(1, abs=0.003)
    assert abs(stats.kurtosis(line)) < 0.02
    assert stats.kstest(line, "norm").pvalue > 1e-3
    assert (np.abs(line) > 3).mean() == pytest.approx(2 * stats.norm.sf(3), rel=0.05)


def test_gaussians_are_the_quantiles() -> None:
    """From least to greatest, bits give the quantile of their probability, to 6.2 sigma."""
    magnitude = np.unique(np.concatenate([2 ** np.arange(31), 3 ** np.arange(1, 19), [0, 2**31 - 1]])).astype(np.uint32)
    bits = np.concatenate([magnitude << np.uint32(1), (magnitude << np.uint32(1)) | np.uint32(1)])
    line = np.empty(bits.size, np.float32)
    gaussians(line, bits, STARTS, RISES)
    wanted = -stats.norm.ppf((magnitude + 0.5) / 2.0**32)
    np.testing.assert_allclose(line, np.concatenate([-wanted, wanted]), atol=2e-4)
    assert line.max() > 6.2


@pytest.mark.parametrize("mean", [0.05, 0.7, 4.3, 15.9, 16.1, 90.0, 4000.0])
def test_poissons_are_poisson(mean: float) -> None:
    """Mean, variance and, below ten sigma, skewness are those of a Poisson number, on both sides of the change."""
    bits = np.concatenate([bits_of_row(y) for y in range(6)])
    normal, line = np.empty(bits.size, np.float32), np.full(bits.size, mean, np.float32)
    gaussians(normal, bits, STARTS, RISES)
    poissons(line, bits, normal, POWERS)
    assert np.array_equal(line, np.round(line))
    assert line.min() >= 0
    assert line.mean() == pytest.approx(mean, rel=0.01)
    assert line.var() == pytest.approx(mean, rel=0.02)
    assert stats.skew(line) == pytest.approx(mean**-0.5, abs=0.05)
    if mean < FEW:
        for n in range(int(mean) + 2):
            assert (line == n).mean() == pytest.approx(stats.poisson.pmf(n, mean), abs=0.004)


def test_powers_are_rounded_correctly() -> None:
    """The table of exponentials is that of the library, within its last bit."""
    np.testing.assert_allclose(POWERS, [exp(-k / 16) for k in range(POWERS.size)], rtol=3e-16)


@pytest.mark.parametrize("start", [(0, 0, 0), (-7, 3, 11)])
def test_spheroids_are_what_their_equation_says(start: tuple[int, int, int]) -> None:
    """Runs between solved ends fill exactly the voxels that lie in the ellipsoid."""
    axis = np.array([0.48, 0.6, 0.64])
    across, along = 1 / 4.3**2, 1 / 9.1**2
    centre = np.array([10.2, 12.7, 15.1]) + start
    body = (*map(float, centre), 9.1, *map(float, axis), across, along - across)
    out = np.zeros((21, 25, 30), np.uint8)
    paint_spheroid(out, start, body, 3)
    d = np.moveaxis(np.indices(out.shape), 0, -1) + start - centre
    q = across * (d**2).sum(-1) + (along - across) * (d @ axis) ** 2
    np.testing.assert_array_equal(out, np.where(q <= 1, 3, 0))


def test_rods_are_what_is_near_a_segment() -> None:
    """A rod is every voxel within its radius of the segment, ends included, and paints over nothing."""
    p, q = np.array([4.2, 5.0, 3.3]), np.array([11.0, 9.5, 16.0])
    out = np.zeros((16, 16, 20), np.uint8)
    out[6:8] = 1
    paint_rod(out, (0, 0, 0), tuple(p.tolist()), tuple(q.tolist()), 2.0, 2)
    d = np.moveaxis(np.indices(out.shape), 0, -1) - p
    t = np.clip(d @ (q - p) / ((q - p) @ (q - p)), 0, 1)
    near = ((d - t[..., None] * (q - p)) ** 2).sum(-1) <= 4
    wanted = np.where(near, 2, 0)
    wanted[6:8] = 1
    np.testing.assert_array_equal(out, wanted)


def test_without_a_scanner_values_stay() -> None:
    """With all strengths 0, float32 is kept and integers are rounded half up and clipped."""
    values = np.array([-3.0, 0.4, 0.5, 254.5, 300.0], np.float32).reshape(1, 1, 5)
    np.testing.assert_array_equal(exposed(values), values)
    assert exposed(values, "uint8").ravel().tolist() == [0, 0, 1, 255, 255]
    assert exposed(values, "uint16").ravel().tolist() == [0, 0, 1, 255, 300]


def test_cupping_drift_gain_and_offset_are_their_formulas() -> None:
    """Grey values fall towards the axis, rise along z, and are multiplied and moved."""
    values = np.full((5, 9, 9), 100, np.float32)
    cup = exposed(values, cupping=0.3)
    assert cup[0, 4, 4] == pytest.approx(70)
    assert cup[0, 0, 0] == pytest.approx(100)
    assert cup[0, 4, 0] == pytest.approx(85)
    drift = exposed(values, drift=0.2)
    np.testing.assert_allclose(drift[:, 0, 0], [100, 105, 110, 115, 120])
    np.testing.assert_allclose(exposed(values, gain=1.1, offset=-5), 105, rtol=1e-6)


def test_rings_are_concentric() -> None:
    """All voxels of one whole radius around the axis are off by the same, radii by what a Gaussian says."""
    values = np.full((2, 201, 201), 100, np.float32)
    off = exposed(values, rings=4.0) - 100
    y, x = np.indices((201, 201)) - 100
    radius = np.floor(np.sqrt(y**2 + x**2) + 0.5).astype(int)
    one = np.array([off[0][radius == r][0] for r in range(radius.max() + 1)])
    np.testing.assert_array_equal(off[1], one[radius])
    assert 3 < one.std() < 5


def test_noise_is_as_strong_as_told() -> None:
    """Gaussian noise has its deviation, photons that of their number, and both have mean 0."""
    values = np.full((16, 128, 128), 100, np.float32)
    for how, wanted in (({"noise": 8.0}, 8), ({"counts": 4.0}, 5), ({"noise": 8.0, "counts": 4.0}, 89**0.5)):
        found = exposed(values, **how)
        assert found.mean() == pytest.approx(100, abs=0.1)
        assert found.std() == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize(("dtype", "most"), [("uint8", 255), ("uint16", 65535), ("float32", 1.0)])
def test_random_voxels_are_even(dtype: str, most: float) -> None:
    """Every dtype is filled evenly, and a fifth of the voxels exceeds 0.8."""
    out = np.empty((16, 64, 64), dtype)
    random_voxels((3, 1, 9), 4, out)
    assert (out > 0.8 * most).mean() == pytest.approx(0.2, abs=0.01)
    assert out.mean() == pytest.approx(0.5 * most, rel=0.01)
