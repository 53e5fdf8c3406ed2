"""What is known of a volume without reading a voxel: shape, dtype, axes, spacing, kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from bigseg.errors import InputError
from bigseg.grid import Shape

Kind = Literal["image", "mask", "labels", "classes"]
UNSEEN = "transparent"
"""The colour of a class that covers nothing when it is shown."""


class Class(NamedTuple):
    """What a value of a volume of classes means: its name, and its colour as ``#rrggbb`` or `UNSEEN`."""

    value: int
    name: str
    colour: str = ""


@dataclass(frozen=True)
class Spec:
    """The description of a volume, stored or still to be computed.

    Parameters
    ----------
    shape : voxels per axis.
    dtype : of the voxels (masks are bool here and uint8 0/1 on disk).
    axes : ``("z", "y", "x")`` or ``("y", "x")``.
    spacing : voxel size per axis, in ``unit``.
    unit : spelled out, ``"micrometer"``; ``""`` where unknown.
    kind : ``image`` (values), ``mask`` (0/1), ``classes`` (a few values with a meaning each),
        ``labels`` (one integer an object); decides how pyramids are made and how readers show it.
    bounds : least and greatest value that any voxel can have, where known without reading; exact
        sums of floats take their scale from it.
    origin : physical position of the centre of the first voxel, in ``unit``.
    classes : what the values of a volume of classes mean, where it is known; readers show names and colours.

    >>> Spec((4, 5), np.dtype("uint8"), ("y", "x"), (1.0, 1.0)).bounds
    (0.0, 255.0)
    """

    shape: Shape
    dtype: np.dtype[Any]
    axes: tuple[str, ...]
    spacing: tuple[float, ...]
    unit: str = ""
    kind: Kind = "image"
    bounds: tuple[float, float] | None = None
    origin: tuple[float, ...] = ()
    classes: tuple[Class, ...] = ()

    def __post_init__(self) -> None:
        dtype = np.dtype(self.dtype)
        object.__setattr__(self, "dtype", dtype)
        if not len(self.shape) == len(self.axes) == len(self.spacing):
            raise InputError(
                f"shape {self.shape}, axes {self.axes} and spacing {self.spacing} disagree in length: "
                "give one name and one spacing for each axis"
            )
        if dtype.kind not in "buif" or dtype.itemsize > 8:
            raise InputError(
                f"voxels of dtype {dtype} cannot be segmented: expected bool, integers or floats up to 64 bits"
            )
        if not self.origin:
            object.__setattr__(self, "origin", (0.0,) * len(self.shape))
        if self.bounds is None and dtype.kind in "bui":
            low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            object.__setattr__(self, "bounds", (float(low), float(high)))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def but(self, **changes: Any) -> Spec:
        """A copy with some fields changed; a new dtype forgets the bounds, a new dtype or kind the classes' names."""
        if "dtype" in changes and "bounds" not in changes:
            changes["bounds"] = None
        if ("dtype" in changes or "kind" in changes) and "classes" not in changes:
            changes["classes"] = ()
        return replace(self, **changes)
