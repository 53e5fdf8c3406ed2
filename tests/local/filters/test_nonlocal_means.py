"""Non-local means against scikit-image's slow form, its definition, and itself in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.restoration import denoise_nl_means

from bigseg.errors import ParameterError
from bigseg.local.filters import nonlocal_means
from bigseg.local.filters.nonlocal_means import non_local_means, non_local_means_working_bytes
from tests.local.crops import assert_blocks_do_not_show, assert_shifts_do_not_show, textured, whole
from tests.memory import bytes_held


def library(x: NDArray[Any], patch: int, distance: int, h: float, sigma: float) -> NDArray[Any]:
    """What scikit-image gives for the values as they are, in float64."""
    return np.asarray(
        denoise_nl_means(x.astype(np.float64), patch, distance, h, fast_mode=False, sigma=sigma, preserve_range=True)
    )


def defined(x: NDArray[Any], patch: Sequence[int], distance: Sequence[int], h: float) -> NDArray[Any]:
    """The definition without an early end, with the true exponential, in float64."""
    x = x.astype(np.float64)
    radii = [p // 2 for p in patch]
    padded = np.pad(x, [(r, r) for r in radii], mode="reflect")
    total, moved = np.zeros(x.shape), np.zeros(x.shape)
    axes = [np.exp(-8 * (np.arange(-r, r + 1) / max(1, p - 1)) ** 2) for r, p in zip(radii, patch, strict=True)]
    weights = {place: float(np.prod([a[o] for a, o in zip(axes, place, strict=True)])) for place in np.ndindex(*patch)}
    norm = sum(weights.values()) * h * h
    for shift in np.ndindex(*(2 * d + 1 for d in distance)):
        t = [s - d for s, d in zip(shift, distance, strict=True)]
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(t, x.shape, strict=True))
        there = tuple(slice(k.start + s, k.stop + s) for k, s in zip(here, t, strict=True))
        far = np.zeros(x[here].shape)
        for place, weight in weights.items():
            a, b = (
                padded[tuple(slice(k.start + o, k.stop + o) for k, o in zip(part, place, strict=True))]
                for part in (here, there)
            )
            far += weight / norm * (a - b) ** 2
        total[here] += np.exp(-far)
        moved[here] += np.exp(-far) * x[there]
    return moved / total


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize(
    ("shape", "patch", "distance", "h", "sigma"),
    [
        ((11, 12, 24), 3, 2, 8.0, 0.0),
        ((9, 8, 21), 5, 3, 6.0, 4.0),
        ((26, 40), 5, 6, 8.0, 0.0),
        ((26, 40), 7, 4, 5.0, 6.0),
        ((3, 4), 3, 5, 9.0, 0.0),
    ],
)
def test_is_that_of_scikit_image(dtype: str, shape: Any, patch: int, distance: int, h: float, sigma: float) -> None:
    """Two and three axes, with and without known noise, searches that leave the image: scikit-image's slow form."""
    x = textured(shape, dtype)
    ndim = len(shape)
    found = non_local_means(x, (patch,) * ndim, (distance,) * ndim, h, whole(shape), sigma)
    difference = np.abs(found - library(x, patch, distance, h, sigma)) / np.ptp(x.astype(float))
    assert found.dtype == np.float32
    assert difference.max() < 1e-3
    assert np.count_nonzero(difference > 1e-5) <= 1e-3 * x.size


@pytest.mark.parametrize(
    ("shape", "patch", "distance"), [((7, 9, 20), (1, 3, 5), (0, 2, 3)), ((14, 22), (5, 1), (3, 3))]
)
def test_axes_may_differ(shape: Any, patch: Any, distance: Any) -> None:
    """Patches and searches of other widths along each axis are near the definition with the true exponential."""
    x = textured(shape)
    found = non_local_means(x, patch, distance, 8.0, whole(shape))
    np.testing.assert_allclose(found, defined(x, patch, distance, 8.0), rtol=0, atol=0.01 * np.ptp(x))


def test_noise_goes_and_edges_stay() -> None:
    """The error against the truth falls to less than half, and the step stays as steep."""
    truth = np.where(np.arange(48) < 24, 80.0, 140.0) * np.ones((24, 1))
    noisy = truth + np.random.default_rng(3).normal(0, 8, truth.shape)
    found = non_local_means(noisy, (5, 5), (6, 6), 6.0, whole(truth.shape), sigma=8.0)
    assert np.sqrt(np.mean((found - truth) ** 2)) < 0.5 * np.sqrt(np.mean((noisy - truth) ** 2))
    assert (found[:, 24] - found[:, 23]).mean() > 50


def test_flat_images_and_far_values_stay() -> None:
    """A flat image keeps its bits; differences of any size give the voxel itself."""
    flat = np.full((6, 7, 8), 54321.1, np.float32)
    assert np.array_equal(non_local_means(flat, (3, 3, 3), (2, 2, 2), 1.0, whole(flat.shape)), flat)
    far = np.array([[0, 3e18, -3e18, 1e15, 5000]], np.float32)
    assert np.array_equal(non_local_means(far, (1, 1), (0, 4), 1.0, whole(far.shape)), far)


@pytest.mark.parametrize("shape", [(10, 9, 31), (26, 45)])
def test_crops_have_the_bits_of_the_whole(shape: Any) -> None:
    """Crops shifted by 1 to 17 voxels, and blocks of odd sizes, give the same bits."""
    x = textured(shape)
    patch, distance = (3, 3, 5)[-len(shape) :], (1, 2, 3)[-len(shape) :]
    depth = [d + p // 2 for d, p in zip(distance, patch, strict=True)]

    def run(part: NDArray[Any], keep: Any) -> NDArray[Any]:
        return non_local_means(part, patch, distance, 7.0, keep, 2.0)

    assert_shifts_do_not_show(run, x, depth)
    assert_blocks_do_not_show(run, x, depth, (4, 7, 11)[-len(shape) :])


def test_tiles_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of any size give the same bits."""
    x = textured((9, 10, 33))
    args = ((3, 3, 3), (2, 1, 2), 7.0, whole(x.shape))
    once = non_local_means(x, *args)
    monkeypatch.setattr(nonlocal_means, "_TILE", (2, 3, 7))
    assert non_local_means(x, *args).tobytes() == once.tobytes()


@pytest.mark.parametrize("outer", [(40, 60, 70), (300, 200)])
def test_working_bytes_are_what_is_held(outer: Any) -> None:
    """The peak beside input and result is below what is declared, and not by much."""
    x = np.ones(outer, np.uint16)
    n = len(outer)
    keep = tuple(slice(2, m) for m in outer)
    result, most = bytes_held(non_local_means, x, (3,) * n, (1,) * n, 5.0, keep)
    peak = most - result.nbytes
    declared = non_local_means_working_bytes(outer, tuple(m - 2 for m in outer), (3,) * n)
    assert 0.75 * declared <= peak <= declared


def test_parameters_that_cannot_be_are_refused() -> None:
    """Patches, distances, h and sigma that mean nothing are refused."""
    x = np.zeros((5, 5))
    for patch, distance, h, sigma, said in (
        ((2, 3), (1, 1), 1.0, 0.0, "odd widths"),
        ((3, 3), (1,), 1.0, 0.0, "2 distances"),
        ((3, 3), (1, 1), 0.0, 0.0, "h 0"),
        ((3, 3), (1, 1), 1.0, -1.0, "sigma"),
    ):
        with pytest.raises(ParameterError, match=said):
            non_local_means(x, patch, distance, h, whole(x.shape), sigma)
