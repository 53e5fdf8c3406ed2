"""What operations of edges and texture refuse, and how their parameters are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bigseg.errors import ParameterError
from bigseg.ops.base import LocalOp
from bigseg.ops.registry import OPS
from bigseg.storage.spec import Spec

PLANE = Spec((40, 50), np.dtype("uint8"), ("y", "x"), (0.5, 0.5), "micrometer")
VOLUME = Spec((30, 40, 50), np.dtype("uint8"), ("z", "y", "x"), (2.0, 0.5, 0.5), "micrometer")


def local(name: str, **parameters: Any) -> LocalOp:
    made = OPS[name](**parameters)
    assert isinstance(made, LocalOp)
    return made


def test_sigmas_with_units_follow_the_spacing() -> None:
    """A sigma in micrometres gives each axis its own depth in voxels; derivatives reach beyond the Gaussian."""
    assert local("laplacian_of_gaussian", sigma="1 um").depth(VOLUME) == (2, 8, 8)
    assert local("hessian_eigenvalues", sigma="1 um").depth(VOLUME) == (4, 10, 10)
    assert local("structure_tensor_eigenvalues", sigma=(0, 1, 1)).depth(VOLUME) == (1, 5, 5)
    assert local("difference_of_gaussians", low_sigma="1 um").depth(PLANE) == (13, 13)


def test_eigenvalues_are_named_by_number_or_size() -> None:
    """`largest` is eigenvalue 1, `smallest` that of the last number, in 2-D and in 3-D."""
    x = np.random.default_rng(0).integers(0, 255, (9, 10, 11), dtype="uint8")
    for name in ("hessian_eigenvalues", "structure_tensor_eigenvalues"):
        for image, spec in ((x, VOLUME), (x[0], PLANE)):
            keep = tuple(slice(0, n) for n in image.shape)
            found = [
                local(name, sigma=0.5, which=which).compute(image, keep, spec)
                for which in ("largest", 1, "smallest", image.ndim)
            ]
            assert np.array_equal(found[0], found[1])
            assert np.array_equal(found[2], found[3])
            assert (found[0] >= found[2]).all()


@pytest.mark.parametrize(
    ("name", "parameters", "spec", "said"),
    [
        ("sobel", {"axis": "z"}, PLANE, "name one of them"),
        ("hessian_eigenvalues", {"sigma": 1, "which": 3}, PLANE, "eigenvalues 1 to 2"),
        ("laplacian_of_gaussian", {"sigma": (0, 1, 1)}, VOLUME, "0.125"),
        ("gaussian_gradient_magnitude", {"sigma": "0.1 um"}, VOLUME, "found 0.05, 0.2, 0.2"),
        ("difference_of_gaussians", {"low_sigma": 2, "high_sigma": (3, 3, 1)}, VOLUME, "greater"),
        ("difference_of_gaussians", {"low_sigma": 2, "high_sigma": 2}, VOLUME, "greater"),
        ("convolve", {"kernel": [[1, 2, 1]]}, VOLUME, "nest the list 3 deep"),
    ],
)
def test_parameters_that_do_not_fit_the_volume(name: str, parameters: Any, spec: Spec, said: str) -> None:
    """Axes, eigenvalues, sigmas and kernels that the volume cannot have are refused before anything runs."""
    with pytest.raises(ParameterError, match=said):
        local(name, **parameters).depth(spec)


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("sobel", {"axis": "w"}, "'z', 'y' or 'x'"),
        ("hessian_eigenvalues", {"sigma": 1, "which": 0}, "greater than or equal to 1"),
        ("hessian_eigenvalues", {"sigma": 1, "which": "middle"}, "'largest' or 'smallest'"),
        ("convolve", {"kernel": [[1, 2], [1]]}, "same length"),
        ("convolve", {"kernel": []}, "one weight or more"),
        ("convolve", {"kernel": [[1, float("nan")]]}, "finite"),
    ],
)
def test_parameters_that_cannot_be(name: str, parameters: Any, said: str) -> None:
    """Values that no volume could take are refused with what was expected."""
    with pytest.raises(ValidationError, match=said):
        local(name, **parameters)


def test_a_kernel_keeps_its_nesting() -> None:
    """A kernel read from a file as lists is the same operation as one of tuples, in 2-D and 3-D."""
    for kernel in ([[1, 0, -1]], [[[1.0], [2.0]], [[0.5], [0.0]]]):
        made = local("convolve", kernel=kernel)
        assert made == local("convolve", **made.model_dump(mode="json"))
        assert hash(made) == hash(local("convolve", kernel=kernel))
        assert np.array(made.kernel).tolist() == np.array(kernel).tolist()  # type: ignore[attr-defined]
