"""The field that is read: a stored volume or a foreign file as the leaf of a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bigseg.engine.field import Array, Field, Values, Visit
from bigseg.errors import ValuesError
from bigseg.grid import Box, Shape
from bigseg.local.thresholds.histogram import extremes, first_not_finite
from bigseg.storage import blocks
from bigseg.storage.roi import roi_text
from bigseg.storage.spec import Spec
from bigseg.storage.volume import Volume

DECODE_NS = 3.0
"""Nanoseconds to decode a voxel, on one core."""


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

    @property
    def cost(self) -> float:
        """Of decoding a voxel, or of all that one is computed from."""
        return float(getattr(self.origin, "cost", DECODE_NS))  # parts and phantoms know theirs

    @property
    def chunk(self) -> Shape | None:
        """Shape of the smallest part that is decoded alone, where the store has one."""
        below, _ = stored(self.origin)
        return getattr(below, "chunk", None)

    @property
    def chunked(self) -> bool:
        """Whether whole chunks are decoded, so that a cache of them spares neighbours the work."""
        return isinstance(stored(self.origin)[0], Volume)

    def below(self, box: Box) -> Box:
        """Which box of the store is read for a box."""
        return stored(self.origin, box)[1]

    def depth(self) -> Shape:
        """A source has no inputs."""
        return (0,) * self.origin.spec.ndim

    def memory(self, outer: Shape, inner: Shape) -> int:
        """Decoded chunks are counted with the pass; a bool mask is converted in place."""
        own = getattr(self.origin, "memory", None)  # files know what they decode at once, parts and phantoms compute
        return int(own(inner)) if own else 0

    @property
    def kept(self) -> int:
        """Bytes that stay in a worker for the next block, beside the cache: of an image that is decoded whole."""
        return int(getattr(stored(self.origin)[0], "kept", 0))

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
        return finite(array, box.start, lambda here: self.below(Box(here, tuple(a + 1 for a in here))).start)


@dataclass(frozen=True, eq=False)
class Held:
    """An array in memory as a source; ``content`` is a digest of its voxels, where runs on it may be continued."""

    array: Array
    spec: Spec
    content: str = ""
    path = "memory"
    name = "array"

    def describe(self) -> dict[str, str]:
        """What it is, for people."""
        return {"path": "an array in memory"}

    def read(self, box: Box) -> Array:
        """A view of a box."""
        return self.array[box.slices]

    def token(self) -> str:
        """That of the content; without one, a new one for each array: such a run is never continued."""
        return f"memory {self.content or id(self.array)}"


class Part:
    """Base of a volume that is cut or computed from another one, box by box."""

    origin: Volume | Source

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel."""
        return Read(self.origin).cost

    def reads(self, box: Box) -> Box:
        """Which box of the origin is read for a box of this."""
        raise NotImplementedError

    def memory(self, inner: Shape) -> int:
        """Bytes of temporaries while a box of a shape is read."""
        return Read(self.origin).memory(inner, inner)

    def choice(self) -> dict[str, Any]:
        """What was chosen of the origin, as run.json holds it."""
        raise NotImplementedError

    def token(self) -> str:
        """That of the origin, and what was chosen of it."""
        return f"{identity(self.origin)} {self.choice()}"

    @property
    def path(self) -> str:
        """Of the file."""
        return place(self.origin)

    @property
    def name(self) -> str:
        """Of the origin."""
        return str(getattr(self.origin, "name", "part"))

    def describe(self) -> dict[str, str]:
        """What the origin is, and what was chosen of it."""
        known = self.origin.describe() if hasattr(self.origin, "describe") else {"path": self.path}
        return {**known, **self.words()}

    def words(self) -> dict[str, str]:
        """What was chosen, for people."""
        return {key: str(value) for key, value in self.choice().items()}


@dataclass(frozen=True)
class Cropped(Part):
    """A box of another source as a volume of its own: a region of interest, a piece for a preview.

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

    def read(self, box: Box) -> Array:
        """The voxels of a box within this one."""
        return read_box(self.origin, self.reads(box))

    def reads(self, box: Box) -> Box:
        """The box, moved."""
        start = self.box.start
        first, last = (tuple(a + o for a, o in zip(corner, start, strict=True)) for corner in box)
        return Box(first, last)

    def choice(self) -> dict[str, Any]:
        """The box as the user may write it."""
        return {"roi": roi_text(self.box)}


def finite(array: Array, start: Sequence[int], voxel: Callable[[Shape], Shape] = tuple) -> Array:
    """An array whose floats are finite; integers are not looked at, floats once, and nothing is copied.

    Parameters
    ----------
    start : where the array begins in the input.
    voxel : what a voxel of the input is called in errors, where it is cut from a file.

    Raises
    ------
    ValuesError
        When a float is NaN or infinite, naming the first such voxel.

    >>> finite(np.array([[1.0, 2.0]]), (0, 0))
    array([[1., 2.]])
    """
    if array.dtype.kind == "f" and array.size:
        found = extremes(array)
        if found.nans or found.infs:
            first = first_not_finite(array)
            here = tuple(int(a + b) for a, b in zip(first, start, strict=True))
            raise ValuesError(
                f"the input holds {found.nans} NaN and {found.infs} infinite voxels near {voxel(here)}: expected "
                "finite values only; replace them first"
            )
    return array


def read_box(origin: Volume | Source, box: Box) -> Array:
    """The voxels of a box of a stored volume or a foreign file."""
    return blocks.read(origin, box) if isinstance(origin, Volume) else origin.read(box)


def source_field(name: str, origin: Volume | Source) -> Field:
    """The leaf of a graph for an opened input."""
    return Field(name, origin.spec, Read(origin))


def stored(origin: Volume | Source, box: Box | None = None) -> tuple[Volume | Source, Box]:
    """The file or array below a source, and which box of it is read for a box (for all, unless told).

    >>> held = Held(np.zeros((9, 9)), Spec((9, 9), np.dtype(float), ("y", "x"), (1.0, 1.0)))
    >>> stored(Cropped(held, Box((1, 2), (5, 6))), Box((0, 0), (1, 4)))[1]
    Box(start=(1, 2), stop=(2, 6))
    """
    box = box or Box.whole(origin.spec.shape)
    while isinstance(origin, Part):
        box = origin.reads(box)
        origin = origin.origin
    return origin, box


def chosen(origin: Any) -> dict[str, Any]:
    """What was chosen of a file, as run.json and the fingerprint hold it: channel, level, part, voxel size."""
    if isinstance(origin, Part):
        return chosen(origin.origin) | origin.choice()
    found: dict[str, Any] = {}
    prefix = getattr(origin, "prefix", ()) or (getattr(origin, "channel", None),)
    if prefix != (None,):
        found["channel"] = ",".join(map(str, prefix))
    if getattr(origin, "level", 0):
        found["level"] = origin.level
    return found


def identity(origin: Any) -> str:
    """What a resumed run compares to know its input again: paths, sizes and times of every file."""
    return str(origin.token())


def place(origin: Any) -> str:
    """Where an input lies: its file, or the folder of its slices."""
    return str(getattr(origin, "path", None) or origin.folder)
