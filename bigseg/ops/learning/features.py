"""Which features describe a voxel: a frozen description, for classifiers, clustering and tables.

A description is written with sigmas and sizes as elsewhere; `Features.stack` makes of it, for one volume, the stack
that computes them (`bigseg.local.features.stack`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic import Field as Parameter

from bigseg.errors import ParameterError
from bigseg.local.features.filters import Filter, Kind
from bigseg.local.features.stack import Stack
from bigseg.ops.base import Length, Lengths, in_voxels
from bigseg.storage.spec import Spec


def _several(value: Any) -> Any:
    """One scale is a list of one."""
    return (value,) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else value


Scales = Annotated[tuple[Lengths, ...], BeforeValidator(_several)]
"""Sigmas: one, or a list; each in voxels or with a unit, or a list of one per axis."""

SCALES = (0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
"""Sigmas of the presets `course` and `ilastik`."""
OCTAVES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Sigmas of the preset `basic`: those of scikit-image by default."""

SCALED: dict[str, Kind] = {
    "gaussian": "gaussian",
    "difference_of_gaussians": "difference_of_gaussians",
    "sobel": "sobel",
    "edges": "edges",
    "gaussian_gradient_magnitude": "gaussian_gradient_magnitude",
    "laplacian_of_gaussian": "laplacian_of_gaussian",
    "hessian_eigenvalues": "hessian_eigenvalue",
    "structure_tensor_eigenvalues": "structure_tensor_eigenvalue",
}
"""Parameters that are lists of sigmas, in the order of the features of one scale."""

_ILASTIK = tuple(name for name in SCALED if name not in ("sobel", "edges"))
PRESETS: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "course": (tuple(name for name in SCALED if name != "edges"), SCALES),
    "basic": (("gaussian", "edges", "hessian_eigenvalues"), OCTAVES),
    "ilastik": (_ILASTIK, SCALES),
}
"""Filters of a preset, and its sigmas."""


class Position(BaseModel):
    """By what the index along each axis is divided; an axis left out is no feature."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    z: float | None = Parameter(None, gt=0, description="along z")
    y: float | None = Parameter(None, gt=0, description="along y")
    x: float | None = Parameter(None, gt=0, description="along x")


class Features(BaseModel):
    """What describes a voxel: its value, its place, filters at several scales, its neighbours, products of these.

    Filters mean what the operations of their names mean, and equal them: float32, mode reflect, Gaussians cut off
    at 4 sigma. Lists hold sigmas: ``gaussian: [1, 2, "2.5 um", [0.5, 1, 1]]``. Presets are lists for all filters:

    - ``course``: intensity, position / 10, and every filter but ``edges`` at 0.3 0.7 1 1.6 3.5 5 10 (81 in 3-D);
    - ``basic``: gaussian, edges and hessian_eigenvalues at 0.5 1 2 4 8 16, which are the features of
      skimage.feature.multiscale_basic_features in their order (30 in 3-D, 24 in 2-D), but for the mode reflect, and
      integers keep their values;
    - ``ilastik``: ilastik's filters at its scales, 0.3 for the Gaussian alone (61 in 3-D, 49 in 2-D); no smoothing
      before them, and structure tensors as elsewhere here.

    Names, in their order: ``intensity``, ``position-x-10``, ``neighbour(-1,0,1)``, then by rising scale
    ``gaussian-1.0``, ``hessian_eigenvalue-0-2.0`` (0 the greatest), ``gaussian-2.5um``, ``gaussian-0.5x1.0x1.0``; then
    products, ``intensity^2``, ``intensity*gaussian-1.0``. Of several images each name begins with the image's,
    ``xray:gaussian-1.0``; intensities and positions come first, then image by image.

    >>> from bigseg.storage.spec import Spec
    >>> import numpy as np
    >>> plane = Spec((40, 50), np.dtype("uint8"), ("y", "x"), (1.0, 1.0))
    >>> Features(intensity=True, position={"x": 10}, gaussian=[1, 2]).stack(plane).names
    ('intensity', 'position-x-10', 'gaussian-1.0', 'gaussian-2.0')
    >>> len(Features(preset="ilastik").stack(plane).names)
    49
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: Literal["course", "basic", "ilastik"] | None = Parameter(
        None, description="a set of filters and scales, to which the others add"
    )
    scales: Scales = Parameter((), description="scales of the preset in place of its own")
    intensity: bool = Parameter(False, description="the value itself")
    position: Position | Annotated[float, Parameter(gt=0)] | None = Parameter(
        None, description="index along axes divided by a factor: {x: 10, y: 5}, or one factor for all axes"
    )
    neighbours: int | tuple[int, ...] = Parameter(
        0, description="all values within so many voxels along every axis, or one number per axis; 1 in 2-D: 9 features"
    )
    gaussian: Scales = Parameter((), description="smoothed")
    difference_of_gaussians: Scales = Parameter(
        (), description="the image smoothed by sigma times `narrow`, minus that by sigma"
    )
    sobel: Scales = Parameter((), description="magnitude of Sobel's filter on the smoothed image; 0: on the image")
    edges: Scales = Parameter((), description="the same divided as scikit-image does, by 5.7 in 2-D and 27.7 in 3-D")
    gaussian_gradient_magnitude: Scales = Parameter((), description="length of the gradient; sigma 0.125 or more")
    laplacian_of_gaussian: Scales = Parameter((), description="spots; sigma 0.125 or more")
    hessian_eigenvalues: Scales = Parameter((), description="ridges and sheets: a feature an axis, greatest first")
    structure_tensor_eigenvalues: Scales = Parameter((), description="texture: a feature an axis, greatest first")
    narrow: float = Parameter(0.66, gt=0, lt=1, description="of difference_of_gaussians, the narrow sigma / the wide")
    polynomial: int = Parameter(1, ge=1, le=5, description="products of up to so many features are added")
    slices: bool = Parameter(False, description="filters work in each plane by itself, also in 3-D")

    @model_validator(mode="after")
    def _something(self) -> Features:
        if self.scales and not self.preset:
            raise ValueError("scales belong to a preset: give one, or lists of sigmas by filter")
        near = self.neighbours if isinstance(self.neighbours, tuple) else (self.neighbours,)
        if any(n < 0 for n in near):
            raise ValueError(f"neighbours {self.neighbours}: expected 0 or more voxels")
        filtered = any(getattr(self, name) for name in SCALED)
        if not (self.preset or self.intensity or self.position is not None or any(near) or filtered):
            raise ValueError(
                "expected at least one feature: a preset, intensity, position, neighbours, or sigmas of a filter: "
                f"{', '.join(SCALED)}"
            )
        if isinstance(self.position, Position) and not any((self.position.z, self.position.y, self.position.x)):
            raise ValueError("position: expected a factor for one axis at least, as {x: 10}")
        return self

    def stack(self, spec: Spec, images: Sequence[str] = ("",)) -> Stack:
        """The stack for a volume, or for several of its shape.

        Parameters
        ----------
        spec : of the volume; sigmas with a unit need its spacing.
        images : names of the images, each of which gets all filters; one without a name is not named.

        Raises
        ------
        ParameterError
            When sigmas, positions or neighbours do not fit the volume's axes.
        """
        found: list[Filter] = []
        titles = [f"{image}:" if image else "" for image in images]
        if self.intensity or self.preset == "course":
            found += [Filter("intensity", image=n, name=f"{before}intensity") for n, before in enumerate(titles)]
        found += self._positions(spec)
        for place, before in enumerate(titles):
            found += self._neighbours(spec, place, before)
            found += self._scaled(spec, place, before)
        return Stack(tuple(found), spec.ndim, self.polynomial)

    def _positions(self, spec: Spec) -> list[Filter]:
        position = self.position if self.position is not None else 10.0 if self.preset == "course" else None
        if position is None:
            return []
        if not isinstance(position, Position):
            position = Position(**dict.fromkeys(spec.axes, position))
        if position.z and "z" not in spec.axes:
            raise ParameterError(f"position along z: the volume has the axes {', '.join(spec.axes)}; leave z out")
        found = []
        for axis, name in enumerate(spec.axes):
            divisor = getattr(position, name)
            if divisor:
                shift = tuple(int(a == axis) for a in range(spec.ndim))
                found.append(Filter("position", shift=shift, divisor=divisor, name=f"position-{name}-{divisor:g}"))
        return found

    def _neighbours(self, spec: Spec, image: int, before: str) -> list[Filter]:
        reach = self.neighbours if isinstance(self.neighbours, tuple) else (self.neighbours,) * spec.ndim
        if self.slices and spec.ndim == 3 and not isinstance(self.neighbours, tuple):
            reach = (0, *reach[1:])
        if len(reach) != spec.ndim:
            raise ParameterError(
                f"neighbours {self.neighbours}: expected one number or {spec.ndim} ({', '.join(spec.axes)}), found "
                f"{len(reach)}"
            )
        if not any(reach):
            return []
        return [
            Filter("neighbour", shift=shift, image=image, name=f"{before}neighbour({','.join(map(str, shift))})")
            for shift in product(*(range(-n, n + 1) for n in reach))
        ]

    def _scaled(self, spec: Spec, image: int, before: str) -> list[Filter]:
        """By rising scale, and in the order of `SCALED` within one."""
        slices = self.slices and spec.ndim == 3
        found: dict[tuple[float, tuple[float, ...], int, str], Filter] = {}
        for order, (name, kind) in enumerate(SCALED.items()):
            for scale in self._scales(name):
                sigma = in_voxels(_of_slices(scale) if slices else scale, spec, name)
                written = _written(scale)
                title = (
                    f"{before}{kind}-{{}}-{written}" if name.endswith("eigenvalues") else f"{before}{kind}-{written}"
                )
                narrow = tuple(self.narrow * s for s in sigma) if name == "difference_of_gaussians" else ()
                item = Filter(kind, sigma, narrow, slices=slices, image=image, name=title)
                found.setdefault((max(sigma), sigma, order, written), item)
        return [found[key] for key in sorted(found, key=lambda key: key[:3])]

    def _scales(self, name: str) -> tuple[Lengths, ...]:
        """Of one filter: the preset's, then those given."""
        filters, usual = PRESETS[self.preset] if self.preset else ((), ())
        scales: tuple[Lengths, ...] = ()
        if name in filters:
            scales = self.scales or usual
            if self.preset == "ilastik" and not self.scales and name != "gaussian":
                scales = usual[1:]
        given: tuple[Lengths, ...] = getattr(self, name)
        return (*scales, *(item for item in given if item not in scales))


def _of_slices(scale: Lengths) -> Lengths:
    """Two sigmas of planes as three of a volume."""
    return (0.0, *scale) if isinstance(scale, tuple) and len(scale) == 2 else scale


def _written(scale: Lengths) -> str:
    """A scale as it stands in a name.

    >>> _written(1), _written("2.5 um"), _written((0.5, 1, 1))
    ('1.0', '2.5um', '0.5x1.0x1.0')
    """

    def one(length: Length) -> str:
        return length.replace(" ", "") if isinstance(length, str) else repr(float(length))

    return "x".join(map(one, scale)) if isinstance(scale, tuple) else one(scale)
