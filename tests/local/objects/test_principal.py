"""Principal axes against numpy.linalg and their definition."""

from __future__ import annotations

import numpy as np
import pytest

from bigseg.errors import ParameterError
from bigseg.local.objects.principal import principal_axes


def covariances(ndim: int, rows: int, stretch: float) -> tuple[np.ndarray, np.ndarray]:
    """Random covariance matrices, and their upper triangles."""
    rng = np.random.default_rng(int(stretch) + ndim)
    factor = rng.normal(size=(rows, ndim, ndim)) * stretch ** rng.uniform(-1, 1, (rows, ndim, 1))
    full = factor.transpose(0, 2, 1) @ factor
    return full, full[:, *np.triu_indices(ndim)]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("stretch", [1.0, 1e3])
def test_axes_diagonalise_the_covariance(ndim, stretch):
    """Variances are numpy's eigenvalues, the greatest first; axes are orthonormal and belong to them."""
    full, triangle = covariances(ndim, 500, stretch)
    variances, axes = principal_axes(triangle)
    scale = variances[:, :1]
    np.testing.assert_allclose(variances / scale, np.linalg.eigvalsh(full)[:, ::-1] / scale, rtol=0, atol=1e-14)
    np.testing.assert_allclose(axes @ axes.transpose(0, 2, 1), np.broadcast_to(np.eye(ndim), full.shape), atol=1e-14)
    turned = axes @ full @ axes.transpose(0, 2, 1)
    assert np.all(np.abs(turned - variances[:, None, :] * np.eye(ndim)) <= 1e-13 * scale[:, :, None])


def test_sign_and_order_do_not_hang_on_rounding():
    """The greatest component is positive, of equal ones the first; equal variances keep the order z, y, x."""
    _, axes = principal_axes(
        np.array([[0, 0, 0, 0, 0, 0], [2.0, 0, 0, 2, 0, 2], [1, -1, 0, 1, 0, 0.5], [1, 0, 0, 3, 0, 2]])
    )
    assert np.array_equal(axes[0], np.eye(3))
    assert np.array_equal(axes[1], np.eye(3))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(axes[2], [[half, -half, 0], [0, 0, 1], [half, half, 0]], atol=1e-15)
    assert np.array_equal(axes[3], np.eye(3)[[1, 2, 0]])
    rng = np.random.default_rng(4)
    _, triangle = covariances(3, 50, 3.0)
    _, some = principal_axes(triangle)
    assert np.all(np.take_along_axis(some, np.abs(some).argmax(2)[:, :, None], 2) > 0)
    noise = 1 + 4e-16 * rng.integers(-1, 2, (200, 6))
    _, near = principal_axes(np.array([[1, -1, 0, 1, 0, 0.5]]) * noise)
    np.testing.assert_allclose(near, np.broadcast_to(axes[2], near.shape), atol=1e-14)


def test_rows_do_not_depend_on_their_place():
    """A row has the same bits in any order and alone; no component is -0.0."""
    _, triangle = covariances(3, 99, 10.0)
    variances, axes = principal_axes(triangle)
    for order in (np.arange(99)[::-1], np.array([42])):
        again = principal_axes(triangle[order])
        assert np.array_equal(again[0], variances[order])
        assert np.array_equal(again[1], axes[order])
    _, flat = principal_axes(np.zeros((0, 6)))
    assert flat.shape == (0, 3, 3)
    assert not np.signbit(principal_axes(np.zeros((1, 6)))[1]).any()


def test_refusals():
    """Matrices of another size are refused."""
    with pytest.raises(ParameterError, match="covariances of shape"):
        principal_axes(np.zeros((2, 4)))
