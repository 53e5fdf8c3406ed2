"""The field that is read: a stored volume or a foreign file as the leaf of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bigseg.engine.field import Array, Field, Values, Visit
from bigseg.errors import ValuesError
from bigseg.grid import Box, Shape
from bigseg.local.histogram import extremes
from bigseg.storage import blocks
from bigseg.storage.spec import Spec
from bigseg.storage.volume import Volume


class Source(Protocol):
    """A file that is not Zarr, read box by box (TIFF pages, NPY)."""

    @property
    def spec(self) -> Spec:
        """What the volume is."""

    def read(self, box: Box) -> Array:
        """The voxels of a box."""


@dataclass(frozen=True)
class Read:
    """Reads its outer box straight from the store; floats must be finite."""

    origin: Volume | Source
    haloed = True
    cost = 3.0

    @property
    def chunk(self) -> Shape | None:
        """Shape of the smallest part that is decoded alone, where the store has one."""
        return self.origin.chunk if isinstance(self.origin, Volume) else None

    def depth(self) -> Shape:
        """A source has no inputs."""
        return (0,) * self.origin.spec.ndim

    def memory(self, outer: Shape, inner: Shape) -> int:
        """Decoded chunks are counted with the cache; a bool mask is converted in place."""
        return 0

    def bind(self, values: Values) -> Read:
        """Nothing to bind."""
        return self

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """Read a box.

        Raises
        ------
        ValuesError
            When a float is NaN or infinite, naming the first such voxel.
        """
        array = read_box(self.origin, box)
        if self.origin.spec.dtype.kind == "b" and array.dtype != np.bool_:
            array = array != 0
        if array.dtype.kind == "f":
            found = extremes(array)
            if found.nans or found.infs:
                place = np.argwhere(~np.isfinite(array))[0]
                voxel = tuple(int(a + b) for a, b in zip(place, box.start, strict=True))
                raise ValuesError(
                    f"the input holds {found.nans} NaN and {found.infs} infinite voxels near {voxel}: expected "
                    "finite values only; replace them first"
                )
        return array


@dataclass(frozen=True, eq=False)
class Held:
    """An array in memory as a source, for the functions on arrays."""

    array: Array
    spec: Spec
    path = "memory"
    name = "array"

    def describe(self) -> dict[str, str]:
        """What it is, for people."""
        return {"path": "an array in memory"}

    def read(self, box: Box) -> Array:
        """A view of a box."""
        return self.array[box.slices]

    def token(self) -> str:
        """A new one for each array: a run on memory is never continued."""
        return f"memory {id(self.array)}"


@dataclass(frozen=True)
class Cropped:
    """A box of another source as a volume of its own: what a preview computes on.

    Parameters
    ----------
    origin : the volume or file it is cut from.
    box : which part of it.

    >>> import numpy as np
    >>> held = Held(np.arange(6).reshape(2, 3), Spec((2, 3), np.dtype(int), ("y", "x"), (1.0, 0.5)))
    >>> part = Cropped(held, Box((1, 1), (2, 3)))
    >>> part.read(Box.whole(part.spec.shape)), part.spec.origin
    (array([[4, 5]]), (1.0, 0.5))
    """

    origin: Volume | Source
    box: Box

    @property
    def spec(self) -> Spec:
        """That of the whole, with the box's shape and place."""
        whole = self.origin.spec
        moved = (o + s * a for o, s, a in zip(whole.origin, whole.spacing, self.box.start, strict=True))
        return whole.but(shape=self.box.shape, origin=tuple(moved))

    @property
    def path(self) -> str:
        """Of the whole, with the box as an index."""
        return f"{place(self.origin)}[{', '.join(f'{a}:{b}' for a, b in zip(*self.box, strict=True))}]"

    def read(self, box: Box) -> Array:
        """The voxels of a box within this one."""
        start = self.box.start
        moved = (tuple(a + o for a, o in zip(corner, start, strict=True)) for corner in box)
        return read_box(self.origin, Box(*moved))

    def token(self) -> str:
        """That of the whole, and the box."""
        return f"{identity(self.origin)} {self.path}"

    @property
    def name(self) -> str:
        """Of the whole."""
        return str(getattr(self.origin, "name", "part"))

    def describe(self) -> dict[str, str]:
        """What it is."""
        return {"path": self.path, "format": "a part of a volume"}


def read_box(origin: Volume | Source, box: Box) -> Array:
    """The voxels of a box of a stored volume or a foreign file."""
    return blocks.read(origin, box) if isinstance(origin, Volume) else origin.read(box)


def source_field(name: str, origin: Volume | Source) -> Field:
    """The leaf of a graph for an opened input."""
    return Field(name, origin.spec, Read(origin))


def identity(origin: Any) -> str:
    """What a resumed run compares to know its input again: paths, sizes and times of every file."""
    return str(origin.token())


def place(origin: Any) -> str:
    """Where an input lies: its file, or the folder of its slices."""
    return str(getattr(origin, "path", None) or origin.folder)
