"""The filters of a feature stack, and what several of them share: scales, structure tensors, shifted images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np

from bigseg.errors import ParameterError
from bigseg.local.features.streams import Scale, Sigma
from bigseg.local.filters.linear import gaussian_radius

Kind = Literal[
    "intensity",
    "position",
    "neighbour",
    "gaussian",
    "difference_of_gaussians",
    "sobel",
    "edges",
    "gaussian_gradient_magnitude",
    "laplacian_of_gaussian",
    "hessian_eigenvalue",
    "structure_tensor_eigenvalue",
]
MARGINS = {"sobel": 1, "edges": 1, "hessian_eigenvalue": 2}
"""Voxels that differences of the smoothed image read beyond it."""
EIGENVALUES = ("hessian_eigenvalue", "structure_tensor_eigenvalue")
DERIVED = ("gaussian_gradient_magnitude", "laplacian_of_gaussian")
POINTWISE = ("intensity", "position", "neighbour")


class Filter(NamedTuple):
    """One filter of a stack; eigenvalues give a feature for each axis, all others one.

    Parameters
    ----------
    kind : what is computed.
    sigma : standard deviation along each axis of the image in voxels; (): no Gaussian.
    narrow : of a difference of Gaussians, the smaller sigmas.
    shift : of a neighbour, its place relative to the voxel; of a position, 1 at its axis and 0 elsewhere.
    divisor : of a position: index / divisor.
    slices : taken in each plane by itself; the first sigma is ignored.
    image : which of the images it is taken of.
    name : of the feature; of eigenvalues with ``{}`` for their number, 0 the greatest.
    """

    kind: Kind
    sigma: tuple[float, ...] = ()
    narrow: tuple[float, ...] = ()
    shift: tuple[int, ...] = ()
    divisor: float = 1.0
    slices: bool = False
    image: int = 0
    name: str = ""


def axes_of(item: Filter, ndim: int) -> int:
    """Axes that a filter works along: 2 in slices."""
    return 2 if item.slices else ndim


def width_of(item: Filter, ndim: int) -> int:
    """Features that a filter gives."""
    return axes_of(item, ndim) if item.kind in EIGENVALUES else 1


def sigma_of(item: Filter, ndim: int, narrow: bool = False) -> Sigma:
    """Three sigmas, the first 0 where a filter works in planes."""
    z, y, x = (0.0,) * (3 - ndim) + (item.narrow if narrow else item.sigma)
    return (0.0 if axes_of(item, ndim) == 2 else z), y, x


def reach_of(item: Filter, ndim: int) -> tuple[int, ...]:
    """Voxels that a filter reads to either side, along each axis."""
    if item.kind == "position":
        return (0,) * ndim
    more = MARGINS.get(item.kind, 1 if item.kind == "structure_tensor_eigenvalue" else 0)
    reached = [gaussian_radius(s) + more for s in item.sigma] or [0] * ndim
    if item.kind == "neighbour":
        reached = [abs(n) for n in item.shift]
    if item.slices and ndim == 3:
        reached[0] = 0
    return tuple(reached)


ScaleKey = tuple[int, Sigma, int]
"""Image, sigmas, axes."""


def key_of(item: Filter, ndim: int, narrow: bool = False) -> ScaleKey:
    """Of which Gaussian a filter is taken."""
    return item.image, sigma_of(item, ndim, narrow), axes_of(item, ndim)


def scales_of(filters: Iterable[Filter], ndim: int) -> dict[ScaleKey, Scale]:
    """Every Gaussian that is needed, with all that is wanted of it."""
    found: dict[ScaleKey, Scale] = {}
    for item in filters:
        if item.kind in POINTWISE or item.kind == "structure_tensor_eigenvalue":
            continue
        for narrow in (True, False) if item.kind == "difference_of_gaussians" else (False,):
            key = key_of(item, ndim, narrow)
            known = found.get(key, Scale(*key[1:]))
            found[key] = known._replace(
                margin=max(known.margin, MARGINS.get(item.kind, 0)),
                gradient=known.gradient or item.kind == "gaussian_gradient_magnitude",
                laplacian=known.laplacian or item.kind == "laplacian_of_gaussian",
            )
    return found


def tensors_of(filters: Iterable[Filter], ndim: int) -> dict[tuple[int, int], list[Sigma]]:
    """Scales of structure tensors, by image and axes."""
    found: dict[tuple[int, int], list[Sigma]] = {}
    for item in filters:
        if item.kind == "structure_tensor_eigenvalue":
            sigmas = found.setdefault((item.image, axes_of(item, ndim)), [])
            if sigma_of(item, ndim) not in sigmas:
                sigmas.append(sigma_of(item, ndim))
    return found


def shifts_of(filters: Iterable[Filter], ndim: int) -> dict[int, tuple[int, int, int]]:
    """How far neighbours lie along each axis, by image."""
    found: dict[int, tuple[int, int, int]] = {}
    for item in filters:
        if item.kind == "neighbour":
            z, y, x = (0,) * (3 - ndim) + tuple(abs(n) for n in item.shift)
            a, b, c = found.get(item.image, (0, 0, 0))
            found[item.image] = max(a, z), max(b, y), max(c, x)
    return found


def check(item: Filter, ndim: int) -> None:
    """Refuse sigmas that a filter cannot have.

    Raises
    ------
    ParameterError : not one for each axis, negative, or too small for a derivative or a difference.
    """
    if item.kind not in POINTWISE and not item.sigma:
        raise ParameterError(f"{item.kind}: expected a sigma for each axis")
    for sigma in (item.sigma, item.narrow):
        if sigma and (len(sigma) != ndim or not all(0 <= s < np.inf for s in sigma)):
            raise ParameterError(
                f"{item.name or item.kind}: sigma {sigma}: expected {ndim} values of 0 or more, one an axis"
            )
    if item.kind in DERIVED and any(s < 0.125 for s in sigma_of(item, ndim)[3 - axes_of(item, ndim) :]):
        raise ParameterError(
            f"{item.name or item.kind}: sigma {item.sigma}: expected 0.125 voxels or more along every axis that "
            "is derived along; a derivative needs neighbours"
        )
    if item.kind == "difference_of_gaussians" and (not any(sigma_of(item, ndim)) or not item.narrow):
        raise ParameterError(
            f"{item.name or item.kind}: sigma {item.sigma}, narrow {item.narrow}: expected a sigma above 0, and a "
            "narrower one for each axis"
        )


def names_of(filters: Iterable[Filter], ndim: int) -> tuple[str, ...]:
    """The name of each feature."""
    return tuple(
        (item.name or item.kind).replace("{}", str(n)) for item in filters for n in range(width_of(item, ndim))
    )


def product_name(names: Sequence[str]) -> str:
    """``a^2*b`` for a product.

    >>> product_name(["a", "a", "b"])
    'a^2*b'
    """
    runs = [(name, len(list(group))) for name, group in groupby(names)]
    return "*".join(name if count == 1 else f"{name}^{count}" for name, count in runs)
