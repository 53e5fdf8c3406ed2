"""Planes through the middle of stored volumes, read so that neither memory nor time grows with the volume.

A plane comes from the pyramid level whose part of it is at most ``LONGEST`` voxels a side. Where there is no
such level (a TIFF stack, a bare Zarr), the middle of the plane is shown at full resolution; a direction in
which even that would decode too much (every page of a stack for one row of each) is left out, and said to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from numpy.typing import NDArray

from bigseg.engine.resampled import resampled
from bigseg.engine.source import Cropped, stored
from bigseg.errors import InputError, MissingChunkError
from bigseg.grid import Box, Shape
from bigseg.report.wording import by, cell, size
from bigseg.storage.roi import parse_roi
from bigseg.storage.sources.npy import NpyFile
from bigseg.storage.sources.opening import Origin, open_source, read_box
from bigseg.storage.spec import Class, Kind, Spec
from bigseg.storage.volume import Missing, Volume

LONGEST = 1000
"""Voxels along a side of what is read."""
MOST_BYTES = 1 << 30
"""Decoded for one plane: about two seconds."""
THINNEST = 1 / 24
"""Planes that are physically thinner than this part of their length show nothing."""


@dataclass(frozen=True)
class Slice:
    """One plane as it was read.

    Parameters
    ----------
    plane : (rows, columns).
    kind : of the volume.
    spacing : size of a pixel along rows and columns, in ``unit``; of the level.
    unit : spelled out.
    width : of the whole plane in units; in voxels of the finest level where the unit is unknown.
    level : of the pyramid, 0 the finest.
    classes : what the values of classes mean.
    """

    plane: NDArray[Any]
    kind: Kind
    spacing: tuple[float, float]
    unit: str
    width: float
    level: int
    classes: tuple[Class, ...] = ()


class Levels:
    """A volume with its pyramid, opened; no voxel is read before it is asked for.

    Parameters
    ----------
    path : of the volume.
    shape : that its finest level must have; None to take what is there.
    part : what the run chose of it, as run.json says: channel, level, roi, resample.

    Raises
    ------
    BigsegError
        When it is gone, cannot be read, or has another shape.
    """

    def __init__(self, path: str, shape: Shape | None = None, part: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.fill = False
        self.part = dict(part or {})
        first = self.finest = int(self.part.get("level", 0))
        origin = self._open(first)
        count = origin.levels if isinstance(origin, Volume) else 1
        self.origins: list[Origin] = [origin, *(self._open(level) for level in range(first + 1, count))]
        self.box: Box | None = None
        if "roi" in self.part and "resample" not in self.part:
            self.box = parse_roi(self.part["roi"], origin.spec)
        if shape is not None:
            while self.origins and self.spec.shape != shape:
                del self.origins[0]  # the run read a coarser level of this image
                self.finest += 1
            if not self.origins:
                raise InputError(f"{path} has shape {origin.spec.shape}, the run's volume had {shape}: it was replaced")

    def _open(self, level: int, missing: Missing = "error") -> Origin:
        """A level; a resampled volume has but one, cut and resampled."""
        channel = tuple(map(int, self.part["channel"].split(","))) if "channel" in self.part else None
        origin = open_source(self.path, level, channel, missing, allow_incomplete=True)
        if "resample" not in self.part:
            return origin
        if "roi" in self.part:
            origin = Cropped(origin, parse_roi(self.part["roi"], origin.spec))
        found: Origin = resampled(origin, self.part["resample"])
        return found

    @property
    def spec(self) -> Spec:
        """Of the finest level, or of the part of it."""
        finest = self.origins[0]
        return finest.spec if self.box is None else Cropped(finest, self.box).spec

    def level_for(self, box: Box) -> int | None:
        """The finest level at which a box is small enough; None where there is none."""
        for level in range(len(self.origins)):
            if max(self.scaled(box, level).shape) <= LONGEST:
                return level
        coarsest = len(self.origins) - 1
        return coarsest if max(self.scaled(box, coarsest).shape) <= LONGEST * 3 // 2 else None

    def scaled(self, box: Box, level: int) -> Box:
        """A box of the finest level in voxels of another; one plane stays one plane."""
        start, stop = [], []
        if self.box is not None:
            box = Cropped(self.origins[0], self.box).reads(box)
        for a, b, n, m in zip(*box, self.origins[0].spec.shape, self.origins[level].spec.shape, strict=True):
            first = min(a * m // n, m - 1)
            start.append(first)
            stop.append(first + 1 if b - a == 1 else max(first + 1, -(-b * m // n)))
        return Box(tuple(start), tuple(stop))

    def cost(self, box: Box, level: int) -> int:
        """Bytes that reading a box of the finest level at another level decodes."""
        origin, part = stored(self.origins[level], self.scaled(box, level))
        itemsize = origin.spec.dtype.itemsize
        if isinstance(origin, NpyFile):
            return part.size * itemsize
        page = (1,) * (origin.spec.ndim - 2) + origin.spec.shape[-2:]
        chunk = (origin.chunk if isinstance(origin, Volume) else None) or page
        return part.cells(chunk) * prod(chunk) * itemsize

    def read(self, box: Box, normal: str) -> Slice:
        """A box of one plane, at the level that suits it.

        Parameters
        ----------
        box : in voxels of the finest level.
        normal : the axis that the plane cuts; ``""`` in a 2-D image.

        Raises
        ------
        BigsegError
            When it cannot be read, or is too large at every level.
        """
        level = self.level_for(box)
        chosen = len(self.origins) - 1 if level is None else level
        cost = self.cost(box, chosen)
        if level is None or cost > MOST_BYTES:
            raise InputError(f"not shown in this direction: {size(cost)} would have to be decoded")
        spec = self.origins[level].spec
        part = self.scaled(box, level)
        rows, columns = (axis for axis in range(spec.ndim) if spec.axes[axis] != normal)
        array = self._voxels(level, part).reshape(part.shape[rows], part.shape[columns])
        kind: Kind = spec.kind
        if kind == "labels" and array.dtype.itemsize == 1 and array.max(initial=0) <= 1:
            kind = "mask"  # as other programs mark masks
        width = box.shape[columns] * (self.spec.spacing[columns] if spec.unit else 1.0)
        return Slice(array, kind, (spec.spacing[rows], spec.spacing[columns]), spec.unit, width, level, spec.classes)

    def _voxels(self, level: int, part: Box) -> NDArray[Any]:
        try:
            return read_box(self.origins[level], part)
        except MissingChunkError:
            # The run was told to take missing chunks as the fill value, or it would have been refused.
            self.fill = True
            return read_box(self._open(self.finest + level, "fill"), part)


def middle_boxes(spec: Spec) -> dict[str, Box]:
    """The planes through the middle, each under the axis it cuts; a 2-D image is its own, under ``""``.

    >>> import numpy as np
    >>> spec = Spec((8, 6, 7), np.dtype("uint8"), ("z", "y", "x"), (1.0, 1.0, 1.0))
    >>> list(middle_boxes(spec)), middle_boxes(spec)["y"]
    (['z', 'y', 'x'], Box(start=(0, 3, 0), stop=(8, 4, 7)))
    """
    whole = Box.whole(spec.shape)
    if spec.ndim == 2:
        return {"": whole}
    boxes: dict[str, Box] = {}
    for axis, name in enumerate(spec.axes):
        lengths = [n * s for k, (n, s) in enumerate(zip(spec.shape, spec.spacing, strict=True)) if k != axis]
        if axis == 0 or min(lengths) >= THINNEST * max(lengths):
            middle = spec.shape[axis] // 2
            start, stop = list(whole.start), list(whole.stop)
            start[axis], stop[axis] = middle, middle + 1
            boxes[name] = Box(tuple(start), tuple(stop))
    return boxes


def middle_part(box: Box) -> Box:
    """The middle of a plane, at most ``LONGEST`` voxels a side.

    >>> middle_part(Box((4, 0, 0), (5, 3000, 600)))
    Box(start=(4, 1000, 0), stop=(5, 2000, 600))
    """
    start = tuple(a + max(0, b - a - LONGEST) // 2 for a, b in zip(*box, strict=True))
    return Box(start, tuple(min(b, a + LONGEST) for a, b in zip(start, box.stop, strict=True)))


def place_of(axis: str, box: Box, spec: Spec) -> str:
    """Where a plane lies, in words.

    >>> import numpy as np
    >>> spec = Spec((8, 6, 7), np.dtype("uint8"), ("z", "y", "x"), (1.0, 1.0, 1.0))
    >>> place_of("y", middle_boxes(spec)["y"], spec)
    'y = 3 of 6'
    """
    whole = [n for n, name in zip(spec.shape, spec.axes, strict=True) if name != axis]
    shown = [n for n, name in zip(box.shape, spec.axes, strict=True) if name != axis]
    number = spec.axes.index(axis) if axis else 0
    text = f"{axis} = {box.start[number]} of {spec.shape[number]}" if axis else "whole image"
    if shown == whole:
        return text
    where = f"the middle {by(shown)} of {by(whole)} {cell(spec.ndim)}"
    return f"{text}, {where}" if axis else where
