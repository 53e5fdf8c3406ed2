"""Which neighbours of a voxel an operation looks at: boxes, balls, disks, crosses and arrays."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, WithJsonSchema, field_validator, model_validator
from pydantic import Field as Parameter

from bigseg.errors import ParameterError
from bigseg.grid import Shape
from bigseg.local.filters import footprints
from bigseg.local.filters.footprints import Footprint
from bigseg.ops.base import Length, Lengths, LocalOp, in_voxels
from bigseg.storage.spec import Spec

SHAPES = ("box", "ball", "disk", "cross")


def _named_or_nested(value: Any) -> Any:
    """A name, or an array as nested tuples of 0 and 1."""
    if value is None or (isinstance(value, str) and value in SHAPES):
        return value
    if isinstance(value, str):
        near = difflib.get_close_matches(value, SHAPES, 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"expected {', '.join(SHAPES)} or nested lists of 0 and 1, found {value!r}{hint}")
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError("expected rows of equal length in the nested lists of a footprint") from None
    if array.dtype.kind not in "biu" or not 1 <= array.ndim <= 3 or not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"expected {', '.join(SHAPES)} or one to three levels of lists of 0 and 1, found {value!r:.40}"
        )
    if any(n % 2 == 0 for n in array.shape) or not array.any():
        shape = " x ".join(map(str, array.shape))
        raise ValueError(
            f"expected odd lengths, the voxel itself in the middle, and a 1 somewhere; found {shape} with "
            f"{np.count_nonzero(array)} ones"
        )
    return _tuples(array.astype(int).tolist())


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


Neighbours = Annotated[
    str | tuple[Any, ...] | None,
    BeforeValidator(_named_or_nested),
    WithJsonSchema({"anyOf": [{"enum": list(SHAPES)}, {"type": "array"}, {"type": "null"}]}),
]


class Boxed(LocalOp):
    """Base of the operations on a box: ``size``, or ``radius`` on either side of the voxel."""

    size: int | tuple[int, ...] | None = Parameter(
        None, description="odd width of a box in voxels, 3 where nothing is given; one or one per axis"
    )
    radius: Lengths | None = Parameter(
        None, description='radius in voxels, or with a unit ("2.5 um"), in place of size; one or one per axis'
    )

    @field_validator("size")
    @classmethod
    def _odd(cls, size: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        for item in size if isinstance(size, tuple) else (1 if size is None else size,):
            if item < 1 or item % 2 == 0:
                raise ValueError(f"expected odd widths of 1 or more, found {item}")
        return size

    @model_validator(mode="after")
    def _one_way(self) -> Boxed:
        if self.size is not None and self.radius is not None:
            raise ValueError("expected `size` or `radius`, found both")
        return self

    def sizes(self, spec: Spec) -> Shape:
        """Width of the box along each axis.

        Raises
        ------
        ParameterError
            When it does not fit the axes.
        """
        if self.size is None:
            radii = in_voxels(1 if self.radius is None else self.radius, spec, "radius")
            return tuple(2 * half + 1 for half in footprints.reaches(radii))
        sizes = self.size if isinstance(self.size, tuple) else (self.size,) * spec.ndim
        if len(sizes) != spec.ndim:
            raise ParameterError(
                f"size {self.size}: expected one value or {spec.ndim} ({', '.join(spec.axes)}), found {len(sizes)}"
            )
        return sizes

    def depth(self, spec: Spec) -> Shape:
        """Half the box."""
        return tuple(size // 2 for size in self.sizes(spec))


class Windowed(Boxed):
    """Base of the operations on a footprint: ``size`` of a box, ``radius`` of any shape, or an array."""

    usual: ClassVar[str] = "box"
    """The shape that a radius means by itself."""

    footprint: Neighbours = Parameter(
        None,
        description="box (as without), ball (of 2-D images a disk), disk (in each plane), cross, or lists of 0 and 1",
    )

    @model_validator(mode="after")
    def _one_shape(self) -> Windowed:
        if isinstance(self.footprint, tuple) and not (self.size is None and self.radius is None):
            raise ValueError("expected lists as footprint, or `size` or `radius`, found both")
        if self.size is not None and self.footprint not in (None, "box"):
            raise ValueError(f"expected `radius` with footprint {self.footprint}, found `size`, which is for boxes")
        return self

    def window(self, spec: Spec) -> Footprint:
        """The footprint: a bool array with one odd length an axis.

        Raises
        ------
        ParameterError
            When it does not fit the axes.
        """
        if isinstance(self.footprint, tuple):
            array = np.array(self.footprint, bool)
            if array.ndim > spec.ndim:
                raise ParameterError(
                    f"footprint: expected lists of at most {spec.ndim} levels ({', '.join(spec.axes)}), "
                    f"found {array.ndim}"
                )
            return array.reshape((1,) * (spec.ndim - array.ndim) + array.shape)
        shape = self.footprint or ("box" if self.radius is None and self.size is not None else self.usual)
        if shape == "box":
            return footprints.box(self.sizes(spec))
        radius: Lengths = 1 if self.radius is None else self.radius
        radii = in_voxels(self._in_plane(radius, spec) if shape == "disk" else radius, spec, "radius")
        return footprints.cross(radii) if shape == "cross" else footprints.ball(radii)

    def _in_plane(self, radius: Lengths, spec: Spec) -> tuple[Length, ...]:
        items = radius if isinstance(radius, tuple) else (radius,) * 2
        if len(items) != 2:
            raise ParameterError(f"radius {radius}: expected one value or two (y, x) for a disk, found {len(items)}")
        return (0,) * (spec.ndim - 2) + items

    def depth(self, spec: Spec) -> Shape:
        """Half the footprint."""
        return tuple(n // 2 for n in self.window(spec).shape)
