"""Another voxel size: a volume whose voxels are interpolated from those of another one when they are read.

The grid of a run is that of its volume, so resampling is no step of a pipeline but a source: any box of it can
be read, and is the same bits whatever the box. A block is read in slabs, so that memory does not grow with
the ratio of the voxel sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod
from typing import Any, Literal, get_args

import numpy as np

from bigseg.engine.field import Array
from bigseg.engine.source import Part, Read, Source, read_box
from bigseg.errors import ParameterError
from bigseg.grid import Box, Shape
from bigseg.local.filters.linear import gaussian, gaussian_radius, gaussian_working_bytes
from bigseg.local.resample import Between, between, interpolate, nearest, new_length, pick, span
from bigseg.storage.spec import Spec
from bigseg.storage.units import convert, parse_spacing, unit_name
from bigseg.storage.volume import Volume

Interpolation = Literal["linear", "nearest"]
Resampling = float | str | Sequence[float | str] | Mapping[str, Any]
"""A voxel size as of `parse_spacing`, ``"50%"``, or a mapping with ``spacing``, ``interpolation``, ``anti_alias``."""
KEYS = ("spacing", "interpolation", "anti_alias")
SLAB = 64 << 20
"""Bytes of the origin that are read at once."""
MIX_NS, NEW_NS = 0.4, 2.0
"""Nanoseconds to interpolate: for each voxel that is read, and for each new one."""


@dataclass(frozen=True)
class Resampled(Part):
    """A source at another voxel size.

    The first voxels begin at the same edge; the voxel size is exactly what was asked for, so that the last voxel
    may end up to half a voxel before or behind the last of the origin. Keeps the dtype; integers are rounded half
    up. Equal to scipy.ndimage.zoom with order 1 (nearest: 0), mode 'nearest' and ``grid_mode`` where the number of
    voxels divides evenly, else to scipy.ndimage.map_coordinates at the voxels' centres. Cost: 2 to 4 ns a
    new voxel a core, with ``anti_alias`` 2 to 3 ns a voxel that is read, beside decoding.

    Parameters
    ----------
    origin : the volume or file it is computed from.
    spacing : voxel size along each axis, in the unit of the origin.
    interpolation : ``linear``, or ``nearest`` for what must not be mixed.
    anti_alias : smooth with a Gaussian of (ratio - 1) / 2 voxels first, along axes that are reduced.

    >>> from bigseg.engine.source import Held
    >>> held = Held(np.array([[0, 2, 4, 6]]), Spec((1, 4), np.dtype(int), ("y", "x"), (1.0, 1.0)))
    >>> coarse = Resampled(held, (1.0, 2.0), "linear")
    >>> coarse.read(Box((0, 0), (1, 2))), coarse.spec.origin
    (array([[1, 5]]), (0.0, 0.5))
    """

    origin: Volume | Source
    spacing: tuple[float, ...]
    interpolation: Interpolation = "linear"
    anti_alias: bool = False

    @cached_property
    def ratios(self) -> tuple[float, ...]:
        """Voxels of the origin a voxel, along each axis; 3 for sizes of 0.3 and 0.1, which floats miss by a bit."""
        return tuple(float(f"{a / b:.12g}") for a, b in zip(self.spacing, self.origin.spec.spacing, strict=True))

    @cached_property
    def sigma(self) -> tuple[float, ...]:
        """Of the Gaussian along each axis, in voxels of the origin; what is not mixed is not smoothed."""
        smooth = self.anti_alias and self.interpolation == "linear"
        return tuple((r - 1) / 2 if smooth and r > 1 else 0.0 for r in self.ratios)

    @cached_property
    def spec(self) -> Spec:
        """That of the origin with other voxels."""
        old = self.origin.spec
        shape = tuple(map(new_length, old.shape, self.ratios))
        moved = (o + (a - b) / 2 for o, a, b in zip(old.origin, self.spacing, old.spacing, strict=True))
        return old.but(shape=shape, spacing=self.spacing, origin=tuple(moved))

    @property
    def cost(self) -> float:
        """Every voxel that is read is decoded, smoothed and mixed."""
        smooth = sum(gaussian_radius(s) for s in self.sigma) / 8 + 2.0 * any(self.sigma)
        return NEW_NS + prod(max(r, 1.0) for r in self.ratios) * (Read(self.origin).cost + MIX_NS + smooth)

    def reads(self, box: Box) -> Box:
        """The voxels between which the box lies, and those that the Gaussian sees."""
        return self._between(box).grow(self._radius, self.origin.spec.shape)

    def read(self, box: Box) -> Array:
        """The voxels of a box."""
        out = np.empty(box.shape, self.spec.dtype)
        step = self._planes(box.shape)
        for low in range(0, out.shape[0], step):
            high = min(low + step, out.shape[0])
            first, last = box.start[0] + low, box.start[0] + high
            self._slab(Box((first, *box.start[1:]), (last, *box.stop[1:])), out[low:high])
        return out

    def memory(self, inner: Shape) -> int:
        """A slab of the origin, smoothed."""
        planes = min(inner[0], self._planes(inner))
        mixed, read = self._sizes((planes, *inner[1:]))
        dtype = self.origin.spec.dtype
        found = prod(read) * dtype.itemsize + Read(self.origin).memory(read, read)
        if any(self.sigma):
            return found + prod(mixed) * 4 + gaussian_working_bytes(read, mixed, self.sigma, dtype=dtype)
        gathered = prod(map(max, read, (planes, *inner[1:])))
        if self.interpolation == "nearest":
            return found + 2 * gathered * dtype.itemsize
        return found + 8 * gathered if dtype == np.float16 else found

    def choice(self) -> dict[str, Any]:
        """Voxel size and method."""
        how = {"spacing": list(self.spacing), "interpolation": self.interpolation}
        return {"resample": how | ({"anti_alias": True} if self.anti_alias else {})}

    def words(self) -> dict[str, str]:
        """Method and old voxel size."""
        old = self.origin.spec
        size = " x ".join(f"{s:g}" for s in old.spacing)
        smooth = ", smoothed first" if any(self.sigma) else ""
        return {"resampled": f"{self.interpolation} from voxels of {size} {old.unit}".rstrip() + smooth}

    @cached_property
    def _radius(self) -> Shape:
        return tuple(gaussian_radius(s) for s in self.sigma)

    def _between(self, box: Box) -> Box:
        linear = self.interpolation == "linear"
        shape = self.origin.spec.shape
        ends = [span(a, b, r, n, linear) for a, b, r, n in zip(*box, self.ratios, shape, strict=True)]
        return Box(tuple(low for low, _ in ends), tuple(high for _, high in ends))

    def _slab(self, box: Box, out: Array) -> None:
        inside, reads = self._between(box), self.reads(box)
        array = read_box(self.origin, reads)
        if any(self.sigma):
            array = gaussian(array, self.sigma, inside.within(reads))
        axes = list(zip(*box, inside.start, self.ratios, self.origin.spec.shape, strict=True))
        if self.interpolation == "nearest":
            if self.spec.dtype.kind == "b" and array.dtype.kind != "b":
                array = array != 0
            pick(array, [nearest(a, b, r, n) - o for a, b, o, r, n in axes], out)
            return
        places = []
        for a, b, o, r, n in axes:
            low, high, weight = between(a, b, r, n)
            places.append(Between(low - o, high - o, weight))
        interpolate(array, places, out)

    def _planes(self, shape: Shape) -> int:
        """Planes of a block that are computed at once; where they overlap, at most half is read twice."""
        _, read = self._sizes((1, *shape[1:]))
        plane = prod(read[1:]) * (self.origin.spec.dtype.itemsize + 4 * any(self.sigma))
        overlap = 2 * self._radius[0] + 2
        return max(1, ceil(min(overlap, read[0]) / self.ratios[0]), int((SLAB // plane - overlap) / self.ratios[0]))

    def _sizes(self, shape: Shape) -> tuple[Shape, Shape]:
        """How many voxels of the origin are mixed, and read, for a box of a shape: the most."""
        whole = self.origin.spec.shape
        mixed = tuple(min(n, ceil(m * r) + 2) for m, r, n in zip(shape, self.ratios, whole, strict=True))
        return mixed, tuple(min(n, m + 2 * d) for m, d, n in zip(mixed, self._radius, whole, strict=True))


def resampled(origin: Any, how: Resampling) -> Any:
    """A source at another voxel size; the source itself where nothing changes.

    Parameters
    ----------
    origin : an opened volume or file.
    how : ``"5 um"``, ``"5 2 2 um"``, numbers in the volume's unit; ``"50%"`` of the voxels along each axis; or a
        mapping with ``spacing`` (one of these), ``interpolation`` (``linear`` or ``nearest``, default: nearest for
        masks and labels) and ``anti_alias``.

    Raises
    ------
    ParameterError
        When it cannot be understood, a unit meets a volume without one, or labels would be mixed.

    >>> from bigseg.engine.source import Held
    >>> held = Held(np.zeros((4, 6)), Spec((4, 6), np.dtype(float), ("y", "x"), (2.0, 2.0), "micrometer"))
    >>> resampled(held, "0.004 mm").spec.shape, resampled(held, "50% 100%").spec.spacing
    ((2, 3), (4.0, 2.0))
    """
    options = dict(how) if isinstance(how, Mapping) else {"spacing": how}
    if not set(options) <= set(KEYS) or "spacing" not in options:
        raise ParameterError(f"resample {how}: expected a voxel size, or the keys {', '.join(KEYS)}")
    spec: Spec = origin.spec
    spacing = _spacing(options["spacing"], spec)
    mixable = spec.kind == "image" and spec.dtype.kind != "b"
    method: Any = options.get("interpolation") or ("linear" if mixable else "nearest")
    if method not in get_args(Interpolation):
        raise ParameterError(f"interpolation {method!r}: expected {' or '.join(get_args(Interpolation))}")
    if method == "linear" and not mixable:
        raise ParameterError(f"interpolation linear: {spec.kind} must not be mixed; leave it out, or give nearest")
    found = Resampled(origin, spacing, method, bool(options.get("anti_alias")) and method == "linear")
    return origin if set(found.ratios) == {1.0} else found


def _spacing(given: Any, spec: Spec) -> tuple[float, ...]:
    """Voxel sizes in the volume's unit."""
    if isinstance(given, str) and "%" in given:
        shares, _ = parse_spacing(given.replace("%", " "), spec.ndim)
        return tuple(s * 100 / share for s, share in zip(spec.spacing, shares, strict=True))
    sizes, unit = parse_spacing(given, spec.ndim, spec.unit)
    if not unit or unit == spec.unit:
        return sizes
    own = unit_name(spec.unit) if spec.unit else None
    if own is None:
        raise ParameterError(
            f"resample {given!r} has a unit, but the spacing of the volume has {spec.unit or 'none'}: say how large "
            "its voxels are with --spacing (spacing=), or give a share like '50%'"
        )
    return tuple(convert(size, unit, own) for size in sizes)
