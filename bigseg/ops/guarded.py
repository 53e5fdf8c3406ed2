"""Classes of multi-phase images without a virtual skin between them."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import ClassVar

import numpy as np
from pydantic import Field as Parameter
from pydantic import field_validator

from bigseg.engine.field import Array
from bigseg.errors import ParameterError
from bigseg.grid import Shape
from bigseg.local.basins.growing import nearest, nearest_reach, nearest_working_bytes
from bigseg.local.filters import footprints, linear
from bigseg.local.filters.extremes import extreme_working_bytes
from bigseg.local.filters.morphology import dilation
from bigseg.local.thresholds.compare import classes_of
from bigseg.local.thresholds.steep import steep
from bigseg.ops.base import Length, Lengths, LocalOp, Number, in_voxels
from bigseg.ops.growing import distance_of
from bigseg.storage.spec import Spec


class GuardedThreshold(LocalOp):
    """Several thresholds to classes, but voxels at edges take the class of the nearest voxel that is none.

    Between a dark and a bright phase the blur passes through the grey of a middle one, so plain thresholds wrap
    bright objects in a skin of it. Here voxels whose absolute Laplacian (of the image, or with ``sigma`` of its
    gaussian) is above ``guard`` are left out, with those nearer to them than ``margin``: in the middle of an edge the
    Laplacian passes through 0. The others are classified as ``multi_threshold`` does (classes 0 to n, a voxel equal to
    a value belongs above it); then each voxel left out takes the class of the nearest classified voxel within
    ``reach``, of several at one distance the smallest, and its plain class where there is none. uint8. Mode reflect.
    Depth: reach, margin, 1, and 4 sigma. Cost: 14 ns a voxel a core for a reach of 4 voxels, 29 for one with a unit,
    and the gaussian's.

    >>> import numpy as np, bigseg
    >>> image = np.array([[0, 0, 0, 4, 10, 10, 10]], "uint8")
    >>> bigseg.multi_threshold(image, values=(3, 7))
    array([[0, 0, 0, 1, 2, 2, 2]], dtype=uint8)
    >>> bigseg.guarded_threshold(image, values=(3, 7), guard=0.5, margin=0, reach=3)
    array([[0, 0, 0, 0, 2, 2, 2]], dtype=uint8)
    """

    op: ClassVar[str] = "guarded_threshold"
    oracle: ClassVar[str] = (
        "numpy.digitize, scipy.ndimage.laplace of float32, binary_dilation; nearest class of the whole array; exactly"
    )
    example: ClassVar[str] = "{id: phases, op: guarded_threshold, values: [60, 140], guard: 12, reach: 4}"

    values: tuple[Number, ...] = Parameter(
        min_length=1, max_length=254, description="rising thresholds between the classes"
    )
    guard: Number = Parameter(description="voxels whose absolute Laplacian is above this are left out at first")
    sigma: Lengths = Parameter(
        0.0, description='gaussian before the Laplacian, in voxels, or with a unit ("2.5 um"); one or one per axis'
    )
    margin: Lengths = Parameter(
        1, description="radius of the ball around such a voxel that is left out with it, in voxels or with a unit"
    )
    reach: Length = Parameter(
        6, description='greatest distance that a class grows over, in voxels or with a unit ("2.5 um")'
    )

    @field_validator("values")
    @classmethod
    def _rising(cls, values: tuple[Number, ...]) -> tuple[Number, ...]:
        for low, high in pairwise(values):
            if not isinstance(low, str) and not isinstance(high, str) and not low < high:
                raise ValueError(f"expected rising values, found {low:g} before {high:g}")
        return values

    def _radii(self, spec: Spec) -> Shape:
        return tuple(linear.gaussian_radius(s) for s in in_voxels(self.sigma, spec, "sigma"))

    def _margin(self, spec: Spec) -> footprints.Footprint:
        return footprints.ball(in_voxels(self.margin, spec, "margin"))

    def _reach(self, spec: Spec) -> Shape:
        return nearest_reach(*distance_of(self.reach, spec, "reach"))

    def depth(self, spec: Spec) -> Shape:
        """The gaussian, the Laplacian, the margin, then the growth."""
        margin = (n // 2 for n in self._margin(spec).shape)
        return tuple(r + 1 + m + d for r, m, d in zip(self._radii(spec), margin, self._reach(spec), strict=True))

    def cost(self, spec: Spec) -> float:
        """Comparisons along two axes, and the gaussian."""
        _, sampling = distance_of(self.reach, spec, "reach")
        growing = 0.5 if set(sampling) == {1.0} else 1.0  # see bigseg.local.basins.nearest_keys
        return 10.0 + 8.0 * (growing == 1.0) + growing * sum(self._reach(spec)[:-1]) + sum(self._radii(spec)) / 4

    def output(self, spec: Spec) -> Spec:
        """Classes."""
        return spec.but(dtype=np.dtype(np.uint8), kind="classes", bounds=(0.0, float(len(self.values))))

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """The smoothed image and its edges; then classes without edges; then the ring of planes."""
        margin = self._margin(spec)
        around = _grown(inner, self._reach(spec), outer)
        edges = _grown(around, tuple(n // 2 for n in margin.shape), outer)
        wide = _grown(edges, (1,) * spec.ndim, outer)
        sigmas = in_voxels(self.sigma, spec, "sigma")
        smooth = 0
        if any(sigmas):
            work = linear.gaussian_working_bytes(outer, wide, sigmas, dtype=spec.dtype)
            smooth = 4 * prod(wide) + max(work, prod(edges))
        spread = prod(edges) + prod(around) + extreme_working_bytes(edges, around, margin, np.uint8)
        reach = distance_of(self.reach, spec, "reach")
        growing = 2 * prod(around) + prod(inner) + nearest_working_bytes(around, inner, np.dtype(np.uint8), *reach)
        return max(smooth, spread, 4 * prod(around), growing, 2 * prod(around) + 3 * prod(inner)) + (64 << 10)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Classify one block."""
        if any(isinstance(item, str) for item in (*self.values, self.guard)):
            raise ParameterError(f"guarded_threshold {self.values}, guard {self.guard}: a value is not computed yet")
        sigmas = in_voxels(self.sigma, spec, "sigma")
        around = _around(keep, self._reach(spec), array.shape)
        margin = self._margin(spec)
        spread = _around(around, tuple(n // 2 for n in margin.shape), array.shape)
        wide = _around(spread, (1,) * array.ndim, array.shape)
        image = linear.gaussian(array, sigmas, wide) if any(sigmas) else array[wide]
        edges = steep(image, float(self.guard), _within(spread, wide))
        del image
        if margin.size > 1:
            edges = dilation(edges, margin, _within(around, spread))
        classes = classes_of(array[around], [float(value) for value in self.values])
        certain = np.where(edges, np.uint8(0), classes + np.uint8(1))
        del edges
        inner = _within(keep, around)
        found = nearest(certain, *distance_of(self.reach, spec, "reach"), inner)
        return np.where(found > 0, found - np.uint8(1), classes[inner])


def _around(keep: tuple[slice, ...], depth: Shape, shape: Shape) -> tuple[slice, ...]:
    """A part of an array grown and clipped at the array."""
    return tuple(slice(max(0, k.start - d), min(n, k.stop + d)) for k, d, n in zip(keep, depth, shape, strict=True))


def _within(part: tuple[slice, ...], whole: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True))


def _grown(inner: Shape, depth: Shape, outer: Shape) -> Shape:
    return tuple(min(n, i + 2 * d) for i, d, n in zip(inner, depth, outer, strict=True))
