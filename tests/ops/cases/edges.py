"""Rows of edges and texture: derivatives, Laplacians, eigenvalues, convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage
from skimage import feature

from tests.ops.rows import Case, op

UNEVEN = (0.6, 1.4, 1.0)
KERNEL = np.random.default_rng(5).normal(size=(3, 4, 5)).round(2)


def magnitude(derivative: Callable[..., Any], x: np.ndarray) -> np.ndarray:
    return np.sqrt(sum(derivative(x.astype(np.float32), axis) ** 2 for axis in range(x.ndim)))


def hessian(x: np.ndarray, sigma: Any, which: int) -> np.ndarray:
    elements = feature.hessian_matrix(x.astype(np.float32), sigma, mode="reflect", use_gaussian_derivatives=False)
    return feature.hessian_matrix_eigvals(elements)[which]


def tensor(x: np.ndarray, sigma: Any, which: int) -> np.ndarray:
    elements = feature.structure_tensor(x.astype(np.float32), sigma, mode="reflect")
    return feature.structure_tensor_eigenvalues(elements)[which]


def row(name: str, oracle: Callable[[np.ndarray], Any], label: str = "", **parameters: Any) -> Case:
    """A row of one operation whose parameters do not depend on the number of axes."""
    return Case(name, lambda n: [op(name, **parameters)], oracle, tolerance=1e-5, name=label)


CASES = [
    row("sobel", lambda x: magnitude(ndimage.sobel, x)),
    row("sobel", lambda x: ndimage.sobel(x.astype(np.float32), x.ndim - 2), "y", axis="y"),
    row("prewitt", lambda x: magnitude(ndimage.prewitt, x)),
    row("prewitt", lambda x: ndimage.prewitt(x.astype(np.float32), x.ndim - 1), "x", axis="x"),
    row("laplace", lambda x: ndimage.laplace(x.astype(np.float32))),
    row(
        "gaussian_gradient_magnitude",
        lambda x: ndimage.gaussian_gradient_magnitude(x.astype(np.float32), 1.2),
        sigma=1.2,
    ),
    Case(
        "gaussian_gradient_magnitude",
        lambda n: [op("gaussian_gradient_magnitude", sigma=UNEVEN[-n:])],
        lambda x: ndimage.gaussian_gradient_magnitude(x.astype(np.float32), UNEVEN[-x.ndim :]),
        tolerance=1e-5,
        name="anisotropic",
    ),
    row("laplacian_of_gaussian", lambda x: ndimage.gaussian_laplace(x.astype(np.float32), 1.0), sigma=1.0),
    Case(
        "laplacian_of_gaussian",
        lambda n: [op("laplacian_of_gaussian", sigma=UNEVEN[-n:])],
        lambda x: ndimage.gaussian_laplace(x.astype(np.float32), UNEVEN[-x.ndim :]),
        tolerance=1e-5,
        name="anisotropic",
    ),
    row(
        "difference_of_gaussians",
        lambda x: ndimage.gaussian_filter(x.astype(np.float32), 0.5) - ndimage.gaussian_filter(x.astype(np.float32), 2),
        low_sigma=0.5,
        high_sigma=2.0,
    ),
    row("hessian_eigenvalues", lambda x: hessian(x, 1.0, 0), "largest", sigma=1.0),
    row("hessian_eigenvalues", lambda x: hessian(x, 0, 1), "middle", sigma=0, which=2),
    row("hessian_eigenvalues", lambda x: hessian(x, 1.5, -1), "smallest", sigma=1.5, which="smallest"),
    row("structure_tensor_eigenvalues", lambda x: tensor(x, 1.0, 0), "largest", sigma=1.0),
    row("structure_tensor_eigenvalues", lambda x: tensor(x, 1.0, 1), "middle", sigma=1.0, which=2),
    row("structure_tensor_eigenvalues", lambda x: tensor(x, 0.7, -1), "smallest", sigma=0.7, which="smallest"),
    Case(
        "convolve",
        lambda n: [op("convolve", kernel=KERNEL[0].tolist() if n == 2 else KERNEL.tolist())],
        lambda x: ndimage.convolve(x.astype(np.float32), KERNEL[0] if x.ndim == 2 else KERNEL),
        tolerance=1e-5,
    ),
]
