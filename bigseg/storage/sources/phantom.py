"""Phantoms as an input: volumes of any size with an exact truth, computed when they are read.

A voxel is a function of the parameters and its place: the same in any box, on any worker, and nothing is on the disk.
A box is made in pieces of a few million voxels, so that little memory is held beside the result::

    classes  ->  grey values  ->  blur  ->  scanner: cupping, drift, gain, rings, photons, noise  ->  image
    │            (float32)        (the piece is made larger by the filter's radius; phantoms have no edge)
    └──────->  mask, classes, instances: the truth
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import ValidationError

from bigseg.errors import ParameterError, unknown
from bigseg.grid import Box, Shape
from bigseg.local.filters.linear import gaussian, gaussian_radius
from bigseg.local.phantom.hashing import cell_key, either
from bigseg.local.phantom.imaging import Scanner, expose, look_up
from bigseg.local.phantom.uniform import random_voxels
from bigseg.storage.sources.phantom_kinds import KINDS, Imaged, Kind, Random, id_dtype
from bigseg.storage.sources.source import check_box
from bigseg.storage.spec import Kind as Content
from bigseg.storage.spec import Spec
from bigseg.storage.units import parse_spacing

Shows = Literal["image", "mask", "classes", "instances"]

VERSION = 1
"""Of what the parameters mean: raised when any of them gives other voxels than before."""
PREFIX = "phantom:"
DTYPES = ("uint8", "uint16", "float32")
PIECE = 2 << 20
"""Voxels made at once, the filter's radius included: 13 bytes each beside the result at most, 26 MiB. Half of them
where nothing is blurred: 2.21 instead of 2.14 ns a voxel, for 5 MiB less."""
_BIAS = 105  # a stream of hashes
_CONTENT: dict[str, Content] = {"image": "image", "mask": "mask", "classes": "classes", "instances": "labels"}
_COMMON = ("shape", "dtype", "spacing", "truth")


@dataclass(frozen=True)
class PhantomSource:
    """A phantom, or one of its truths; small and picklable.

    Parameters
    ----------
    kind : what it is made of, with all parameters.
    spec : of what is shown.
    dtype : of the image, also where a truth is shown.
    shows : the image, or a truth.
    """

    kind: Kind
    spec: Spec
    dtype: np.dtype[Any]
    shows: Shows = "image"

    @classmethod
    def make(
        cls,
        kind: str,
        shape: int | str | Sequence[int],
        *,
        dtype: DTypeLike = "uint16",
        spacing: float | str | Sequence[float | str] = 1.0,
        unit: str = "",
        truth: str | None = None,
        parameters: Mapping[str, Any],
    ) -> Self:
        """A phantom from its parameters, numbers or texts.

        Raises
        ------
        ParameterError
            When a kind, parameter or value is none, with the nearest name.
        """
        model = kind_named(kind)
        for name in parameters:
            if name not in model.model_fields:
                raise ParameterError(unknown(f"parameter of phantom {kind}", name, (*model.model_fields, *_COMMON)))
        try:
            made = model(**parameters)
        except ValidationError as error:
            raise ParameterError(f"phantom {kind}: {_explain(error)}") from error
        voxel = getattr(dtype, "__name__", str(dtype))
        if voxel not in DTYPES:
            raise ParameterError(f"phantom {kind}: dtype {voxel!r}: expected {', '.join(DTYPES)}")
        sides = _shape(shape, kind)
        if len(sides) == 2 and isinstance(made, Imaged) and made.drift:
            raise ParameterError(f"phantom {kind}: drift is along z: an image of shape {sides} has none; leave it out")
        sizes, found = parse_spacing(spacing, len(sides), unit)
        spec = Spec(sides, np.dtype(voxel), ("z", "y", "x")[-len(sides) :], sizes, found)
        return cls(made, spec, spec.dtype).showing(truth or "image")

    @classmethod
    def parse(cls, text: str) -> Self:
        """A phantom from ``phantom:KIND,shape=512x512x512,seed=1,noise=8``.

        >>> PhantomSource.parse("phantom:voids,shape=64,blur=1,truth=mask").spec.shape
        (64, 64, 64)
        """
        kind, *parts = text.removeprefix(PREFIX).split(",")
        given: dict[str, str] = {}
        for part in parts:
            name, equals, value = part.partition("=")
            if not equals or name.strip() in given:
                raise ParameterError(
                    f"{text}: expected phantom:KIND,shape=512x512x512,NAME=VALUE with each name once, found {part!r}"
                )
            given[name.strip()] = value.strip()
        if "shape" not in given:
            raise ParameterError(f"{text}: which shape? Add shape=512x512x512")
        own = {name: given.pop(name) for name in _COMMON if name in given}
        return cls.make(kind.strip(), parameters=given, **own)  # type: ignore[arg-type]

    def showing(self, what: str) -> Self:
        """The same phantom's image or truth: ``image``, ``mask``, ``classes`` or ``instances``.

        Raises
        ------
        ParameterError
            When this kind has no such truth.
        """
        if what not in ("image", *self.kind.truths):
            raise ParameterError(
                f"phantom {self.kind.kind} has no truth {what!r}: expected {', '.join(self.kind.truths)}"
            )
        shows: Shows = what  # type: ignore[assignment]
        dtype = {"image": self.dtype, "mask": np.dtype(bool), "classes": np.dtype(np.uint8)}.get(what)
        if dtype is None:
            assert isinstance(self.kind, Imaged)
            dtype = id_dtype(self.kind.most(self._deep(Box.whole(self.spec.shape)).shape))
        return replace(self, spec=self.spec.but(dtype=dtype, kind=_CONTENT[what]), shows=shows)

    @property
    def name(self) -> str:
        """The kind, and the truth that is shown."""
        return self.kind.kind if self.shows == "image" else f"{self.kind.kind}-{self.shows}"

    @property
    def path(self) -> str:
        """The text that `parse` makes the same phantom from."""
        spec = self.spec
        items = {"shape": "x".join(map(str, spec.shape))}
        for name, value in self.kind.model_dump(exclude_defaults=True).items():
            items[name] = "/".join(map(_text, value)) if isinstance(value, tuple) else _text(value)
        if self.dtype != np.uint16:
            items["dtype"] = self.dtype.name
        if set(spec.spacing) != {1.0} or spec.unit:
            sizes = spec.spacing if len(set(spec.spacing)) > 1 else spec.spacing[:1]
            items["spacing"] = " ".join([*map(_text, sizes), spec.unit]).strip()
        if self.shows != "image":
            items["truth"] = self.shows
        return f"{PREFIX}{self.kind.kind}," + ",".join(f"{name}={value}" for name, value in items.items())

    def token(self) -> str:
        """A hash over all parameters and the version of what they mean."""
        content = {
            "version": VERSION,
            "kind": self.kind.kind,
            "parameters": self.kind.model_dump(),
            "shape": self.spec.shape,
            "dtype": self.dtype.name,
            "shows": self.shows,
        }
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()

    def describe(self) -> dict[str, str]:
        """What it is."""
        found = {"path": self.path, "format": "phantom, computed when it is read"}
        if isinstance(self.kind, Imaged):
            names = self.kind.class_names()
            found["classes"] = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        return found

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box."""
        check_box(box, self.spec, self.path)
        pieces = list(_pieces(box, self.radius))
        if len(pieces) == 1:
            return self._piece(box)
        out = np.empty(box.shape, self.spec.dtype)
        for piece in pieces:
            out[piece.within(box)] = self._piece(piece)
        return out

    @property
    def radius(self) -> int:
        """How far the blur of what is shown reaches."""
        return gaussian_radius(self.kind.blur) if self.shows == "image" and isinstance(self.kind, Imaged) else 0

    @property
    def chunk(self) -> Shape:
        """Any voxel is made alone."""
        return (1,) * self.spec.ndim

    @property
    def cost(self) -> float:
        """Nanoseconds to compute a voxel on one core."""
        if isinstance(self.kind, Random):
            return 1.0
        if self.shows != "image":
            return 2.0
        assert isinstance(self.kind, Imaged)
        return 4.0 + (3.0 if self.kind.blur else 0.0) + (5.0 if self.kind.poisson else 0.0)

    def memory(self, inner: Shape) -> int:
        """Bytes of temporaries while a box of a shape is read."""
        pieces = list(_pieces(Box.whole(inner), self.radius))
        read, made = max((_grown(piece.shape, self.radius), piece.size) for piece in pieces)
        own = made * self.spec.dtype.itemsize if len(pieces) > 1 else 0
        return max(5 * read, 4 * read + 4 * made * bool(self.radius), 4 * made + own) + 24 * prod(inner[-2:])

    def _piece(self, box: Box) -> NDArray[Any]:
        deep = self._deep(box)
        kind = self.kind
        if isinstance(kind, Random):
            found = self._random(box, kind)
            if self.shows != "image":
                most = np.iinfo(self.dtype).max if self.dtype.kind == "u" else 1
                found = found > self.dtype.type(kind.level * most)
        else:
            assert isinstance(kind, Imaged)
            if self.shows == "image":
                found = self._image(box, deep, kind)
            elif self.shows == "instances":
                found = kind.number(deep, self._deep(Box.whole(self.spec.shape)).shape)
            else:
                found = kind.paint(deep)
            if self.shows == "mask":
                found = found != 0
        return found.astype(self.spec.dtype, copy=False).reshape(box.shape)

    def _random(self, box: Box, kind: Random) -> NDArray[Any]:
        out = np.empty(_flat(box.shape, 1), self.dtype)
        random_voxels(_flat(box.start, 0), kind.seed, out)
        return out

    def _image(self, box: Box, deep: Box, kind: Imaged) -> NDArray[Any]:
        """True grey values on a box that is larger by the filter's radius, blurred, as the scanner shows them."""
        radius = self.radius
        grown = Box(tuple(a - radius for a in deep.start), tuple(b + radius for b in deep.stop))
        values = np.empty(grown.shape, np.float32)
        look_up(kind.paint(grown), np.array(kind.class_greys(), np.float32), values)
        if radius:
            values = gaussian(values, (kind.blur,) * 3, deep.within(grown))
        out = np.empty(_flat(box.shape, 1), self.dtype)
        expose(values.reshape(out.shape), _flat(box.start, 0), _flat(self.spec.shape, 1), _scanner(kind), out)
        return out

    def _deep(self, box: Box) -> Box:
        """A box of three axes; an image of two is the plane at 0."""
        if len(box.shape) == 3:
            return box
        axis = self.kind.section
        return Box(*((*corner[:axis], end, *corner[axis:]) for corner, end in zip(box, (0, 1), strict=True)))


def kind_named(name: str) -> type[Kind]:
    """A kind of phantoms by its name.

    Raises
    ------
    ParameterError
        With the nearest name.
    """
    if name not in KINDS:
        raise ParameterError(unknown("kind of phantom", name, KINDS))
    return KINDS[name]


def _scanner(kind: Imaged) -> Scanner:
    """The scanner of a sample: its noise, and its gain and offset, which are drawn."""
    key = np.uint64(cell_key(kind.seed, _BIAS, kind.sample, 0, 0))
    gain, shift = (kind.bias * either(key, number) for number in (0, 1))
    greys = kind.class_greys()
    f = np.float32
    return Scanner(
        (kind.seed + kind.sample * 0x9E3779B97F4A7C15) % 2**62,
        f(kind.cupping),
        f(kind.drift),
        f(1.0 + gain),
        f(shift * (max(greys) - min(greys))),
        f(kind.rings),
        f(kind.poisson),
        f(kind.noise),
    )


def _pieces(box: Box, radius: int) -> Iterator[Box]:
    """A box cut in halves along z and y until a piece and what is around it is small enough."""
    axis = max(range(len(box.shape) - 1), key=lambda k: box.shape[k])
    side = box.shape[axis]
    if _grown(box.shape, radius) <= (PIECE if radius else PIECE // 2) or side <= max(8, 4 * radius):
        yield box
        return
    middle = box.start[axis] + side // 2
    for low, high in ((box.start[axis], middle), (middle, box.stop[axis])):
        start, stop = list(box.start), list(box.stop)
        start[axis], stop[axis] = low, high
        yield from _pieces(Box(tuple(start), tuple(stop)), radius)


def _grown(shape: Shape, radius: int) -> int:
    """Voxels that the blur of a box reads; that of an image of two axes reads planes beside its own."""
    return prod(n + 2 * radius for n in _flat(shape, 1))


def _flat(items: Shape, first: int) -> tuple[int, int, int]:
    """A place or shape of two axes with another before them."""
    z, y, x = (first,) * (3 - len(items)) + items
    return z, y, x


def _shape(given: int | str | Sequence[int], kind: str) -> Shape:
    """One side for three axes, or two or three; texts as ``512x512x512``."""
    try:
        parts = re.split(r"[\s/x]+", given.strip()) if isinstance(given, str) else given
        sides = (int(parts),) if isinstance(parts, int) else tuple(int(part) for part in parts)
    except ValueError:
        sides = ()
    if len(sides) == 1:
        sides *= 3
    if len(sides) not in (2, 3) or not all(1 <= n < 2**31 for n in sides):
        raise ParameterError(f"phantom {kind}: shape {given!r}: expected 1 to 3 sides as in 512x512x512")
    return sides


def _text(value: float | str) -> str:
    """A number as short as it can be written."""
    return f"{value}".removesuffix(".0")


def _explain(error: ValidationError) -> str:
    """A wrong value in one line."""
    lines = []
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        place = f"{item['loc'][0]}: " if item["loc"] else ""
        lines.append(f"{place}{message}" + ("" if item["type"] == "value_error" else f" (found {item['input']!r:.60})"))
    return "; ".join(dict.fromkeys(lines))
