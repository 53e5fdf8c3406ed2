"""The kinds of phantoms: their parameters, and how a box of each is painted.

A kind paints classes (uint8) or instance numbers into a box of three axes, which may reach beyond the volume:
phantoms are endless, and a volume of any shape is a part of one. An image of two axes is a plane of it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bigseg.grid import Box, Shape
from bigseg.local.phantom.fibres import Weave, fibre_cells, paint_fibres, weave
from bigseg.local.phantom.grains import grain_counts, paint_grains
from bigseg.local.phantom.layers import layer_range, paint_layers
from bigseg.local.phantom.voids import cells_around, find_voids, level_sides, paint_tubes, paint_voids, void_numbers

Array = NDArray[Any]


def _several(value: Any) -> Any:
    """``"120/40"`` as it stands in a text."""
    return tuple(part for part in re.split(r"[\s/x]+", value) if part) if isinstance(value, str) else value


Numbers = Annotated[tuple[float, ...], BeforeValidator(_several)]
Pair = Annotated[tuple[float, float], BeforeValidator(_several)]


class Kind(BaseModel):
    """What all phantoms have."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: ClassVar[str]
    truths: ClassVar[tuple[str, ...]] = ("mask", "classes", "instances")
    section: ClassVar[int] = 0
    """The axis that an image of two axes lacks."""

    seed: int = Field(0, ge=0, lt=2**62, description="which phantom of this kind: objects, rings and noise")


class Imaged(Kind):
    """Phantoms of objects, as a scanner sees them."""

    classes: ClassVar[tuple[str, ...]] = ()

    greys: Numbers = Field((), description="grey value of each class")
    blur: float = Field(0.0, ge=0, le=50, description="sigma of the gaussian that blurs the true image, in voxels")
    noise: float = Field(0.0, ge=0, description="standard deviation of gaussian noise, in grey values")
    poisson: float = Field(0.0, ge=0, description="photons a grey value: noise of sqrt(grey / poisson); 0: none")
    cupping: float = Field(0.0, ge=-1, le=1, description="share of the grey value lost on the axis of rotation")
    rings: float = Field(0.0, ge=0, description="standard deviation of the rings, in grey values")
    drift: float = Field(0.0, ge=-1, description="share by which the last plane is brighter than the first")
    bias: float = Field(0.0, ge=0, le=1, description="most by which gain and offset of a sample differ, as a share")
    sample: int = Field(0, ge=0, lt=2**31, description="which scan of the same objects: noise, rings, gain, offset")

    @model_validator(mode="after")
    def _one_grey_a_class(self) -> Imaged:
        least, most = self.grey_counts()
        if not least <= len(self.greys) <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}"
            raise ValueError(f"greys: expected {wanted} values, one a class, found {len(self.greys)}")
        return self

    def grey_counts(self) -> tuple[int, int]:
        """Least and greatest number of grey values."""
        return len(self.classes), len(self.classes)

    def class_names(self) -> tuple[str, ...]:
        """What each class is."""
        return self.classes

    def class_greys(self) -> tuple[float, ...]:
        """Grey value of each class."""
        return self.greys

    def paint(self, box: Box) -> Array:
        """The classes of a box of three axes."""
        raise NotImplementedError

    def number(self, box: Box, shape: Shape) -> Array:
        """The instance numbers of a box in a volume of three axes."""
        raise NotImplementedError

    def most(self, shape: Shape) -> int:
        """The greatest instance number that a volume of three axes can hold."""
        raise NotImplementedError

    def _ids(self, box: Box, shape: Shape) -> Array:
        return np.zeros(box.shape, id_dtype(self.most(shape)))


class Hollow(Imaged):
    """Ellipsoids in a matrix, none touching another, and tubes that join the largest of them."""

    classes = ("matrix", "void", "canaliculus")

    greys: Numbers = Field((120.0, 40.0), description="of matrix, voids and, if not that of voids, canaliculi")
    size: float = Field(40.0, ge=4, le=4096, description="greatest diameter of a void, in voxels")
    density: float = Field(0.75, gt=0, le=1, description="share of the places for voids that are taken")
    elongation: float = Field(1.6, ge=1, le=8, description="greatest ratio of the axes of a void")
    canaliculi: float = Field(0.0, ge=0, le=12, description="tubes from each of the largest voids, about")
    width: float = Field(2.0, ge=1, le=64, description="diameter of canaliculi, in voxels")

    @model_validator(mode="after")
    def _thin_enough(self) -> Hollow:
        if self.canaliculi and self.width > self.size / 2:
            raise ValueError(f"width: expected at most half of size, {self.size / 2:g}")
        return self

    def grey_counts(self) -> tuple[int, int]:
        """The third is optional."""
        return 2, 3

    def class_names(self) -> tuple[str, ...]:
        """Canaliculi only where there are any."""
        return self.classes if self.canaliculi else self.classes[:2]

    def class_greys(self) -> tuple[float, ...]:
        """Canaliculi are as dark as voids unless told."""
        return (*self.greys, self.greys[-1])[:3]

    @property
    def sides(self) -> NDArray[np.int64]:
        """Sides of the cells of each level of sizes."""
        return level_sides(self.size, self.size)

    def paint(self, box: Box) -> Array:
        """0 matrix, 1 void, 2 canaliculus."""
        out = np.zeros(box.shape, np.uint8)
        cells = cells_around(box, self.sides, bool(self.canaliculi))
        found = find_voids(cells, self.seed, self.density, self.elongation)
        paint_voids(out, box.start, cells, *found, np.empty((0, 3), np.int64))
        if self.canaliculi:
            share, radius = min(1.0, self.canaliculi / 12), 0.5 * self.width
            paint_tubes(out, box.start, cells, *found, self.seed, share, radius, 2)
        return out

    def number(self, box: Box, shape: Shape) -> Array:
        """By level, then by cell in raster order."""
        out, sides = self._ids(box, shape), self.sides
        cells = cells_around(box, sides, False)
        found = find_voids(cells, self.seed, self.density, self.elongation)
        paint_voids(out, box.start, cells, *found, void_numbers(sides, shape)[0])
        return out

    def most(self, shape: Shape) -> int:
        """One a cell."""
        return void_numbers(self.sides, shape)[1]


class Voids(Hollow):
    """Dark voids of all sizes in a bright matrix, none touching another.

    Ellipsoids with diameters from about ``smallest`` to ``size``, eight times as many of half the size. With
    ``canaliculi``, thin winding tubes join the largest voids. Instances: one a void, numbered by cell; tubes
    have none.
    """

    kind = "voids"

    smallest: float = Field(6.0, ge=3, description="least diameter of a void, about, in voxels")

    @model_validator(mode="after")
    def _ordered(self) -> Voids:
        if self.smallest > self.size:
            raise ValueError(f"smallest: expected at most size, {self.size:g}")
        return self

    @property
    def sides(self) -> NDArray[np.int64]:
        """Sides of the cells of each level of sizes."""
        return level_sides(self.size, self.smallest)


class Lacunae(Hollow):
    """Lacunae of bone: long voids of one size, joined by thin winding canaliculi to a network.

    Instances: one a lacuna, numbered by cell; canaliculi have none.
    """

    kind = "lacunae"
    classes = ("bone", "lacuna", "canaliculus")

    size: float = Field(24.0, ge=4, le=4096, description="greatest length of a lacuna, in voxels")
    density: float = Field(0.9, gt=0, le=1, description="share of the places for lacunae that are taken")
    elongation: float = Field(2.5, ge=1, le=8, description="greatest ratio of the axes of a lacuna")
    canaliculi: float = Field(9.0, ge=0, le=12, description="canaliculi from each lacuna, about")


class Fibres(Imaged):
    """Bundles of curved fibres along one axis, none touching another in its bundle.

    Every fibre runs through the whole volume. Instances: one a fibre, numbered by bundle and place.
    """

    kind = "fibres"
    classes = ("matrix", "fibre")

    greys: Numbers = Field((60.0, 140.0), description="of matrix and fibres")
    size: float = Field(10.0, ge=3, le=1024, description="diameter of a fibre, in voxels")
    pitch: float = Field(1.35, ge=1, le=10, description="distance of neighbouring fibres' centres, in diameters")
    bundle: float = Field(100.0, ge=8, description="side of the square that a bundle fills, in voxels")
    waviness: float = Field(1.0, ge=0, le=1, description="0: straight, 1: as curved as there is room for")
    along: Literal["z", "y", "x"] = Field("z", description="axis that the fibres run along")
    tilt: Pair = Field((0.0, 0.0), description="shift along the other two axes for one voxel along this one")

    @property
    def how(self) -> Weave:
        """Where fibres lie."""
        return weave(self.size, self.pitch, self.bundle, self.waviness, self.tilt)

    def _paint(self, dtype: np.dtype[Any], box: Box, shape: Shape, numbered: bool) -> Array:
        axis = "zyx".index(self.along)
        start, mine, sides = (_front(items, axis) for items in (box.start, box.shape, shape))
        out = np.zeros(mine, dtype)
        how = self.how
        b0, c0, across, _ = fibre_cells(how, sides)
        paint_fibres(out, start, self.seed, how, how.side, numbered, b0, c0, across)
        return np.ascontiguousarray(np.moveaxis(out, 0, axis))

    def paint(self, box: Box) -> Array:
        """0 matrix, 1 fibre."""
        return self._paint(np.dtype(np.uint8), box, box.shape, False)

    def number(self, box: Box, shape: Shape) -> Array:
        """By bundle in raster order, then by place in the bundle."""
        return self._paint(id_dtype(self.most(shape)), box, shape, True)

    def most(self, shape: Shape) -> int:
        """One a place."""
        return fibre_cells(self.how, _front(shape, "zyx".index(self.along)))[3]


class Layers(Imaged):
    """A stack of wavy layers whose grey values come round again and again, from the first plane to the last.

    Instances: one a layer, numbered from the first plane on. In an image of two axes the stack is along y.
    """

    kind = "layers"
    section = 1

    greys: Numbers = Field((40.0, 80.0, 120.0, 160.0), description="of the classes, in the order of the layers")
    size: float = Field(40.0, ge=4, le=1e6, description="mean thickness of a layer, in voxels")
    waviness: float = Field(20.0, ge=0, le=1e6, description="most that the whole stack swells, in voxels")
    length: float = Field(100.0, ge=4, le=1e6, description="between the knots of the swell, in voxels")

    def grey_counts(self) -> tuple[int, int]:
        """Any number of classes that uint8 tells apart."""
        return 2, 255

    def class_names(self) -> tuple[str, ...]:
        """By number."""
        return tuple(f"layer {k}" for k in range(len(self.greys)))

    def paint(self, box: Box) -> Array:
        """Layer number modulo the number of classes."""
        return self._paint(np.empty(box.shape, np.uint8), box, len(self.greys), 0)

    def number(self, box: Box, shape: Shape) -> Array:
        """From the volume's first plane on; some numbers are not used."""
        return self._paint(self._ids(box, shape), box, 0, layer_range(_three(shape), self.size, self.waviness)[0])

    def most(self, shape: Shape) -> int:
        """Those that can lie in the volume."""
        return layer_range(_three(shape), self.size, self.waviness)[1]

    def _paint(self, out: Array, box: Box, classes: int, base: int) -> Array:
        paint_layers(out, box.start, self.seed, self.size, self.waviness, self.length, classes, base)
        return out


class Grains(Imaged):
    """Packed grains that touch their neighbours over flat necks: one giant component, many instances.

    Classes: 0 pore, then one for each further grey value, drawn for each grain. Instances: one a grain, numbered by
    cell.
    """

    kind = "grains"

    greys: Numbers = Field((40.0, 140.0), description="of pores and of each class of grains")
    size: int = Field(24, ge=4, le=4096, description="distance of neighbouring grains, in voxels")
    packing: float = Field(0.53, ge=0.3, le=0.7, description="mean radius of a grain, as a share of size")
    jitter: float = Field(0.2, ge=0, le=0.2, description="most that a grain is off its place, as a share of size")
    elongation: float = Field(1.25, ge=1, le=1.3, description="greatest ratio of the axes of a grain")

    def grey_counts(self) -> tuple[int, int]:
        """Pores and at least one class of grains."""
        return 2, 255

    def class_names(self) -> tuple[str, ...]:
        """By number."""
        phases = len(self.greys) - 1
        return ("pore", *(("grain",) if phases == 1 else (f"grain {k}" for k in range(1, phases + 1))))

    def paint(self, box: Box) -> Array:
        """0 pore, 1 and more grains."""
        return self._paint(np.zeros(box.shape, np.uint8), box, len(self.greys) - 1, (0, 0))

    def number(self, box: Box, shape: Shape) -> Array:
        """By cell in raster order."""
        return self._paint(self._ids(box, shape), box, 0, grain_counts(self.size, _three(shape))[0])

    def most(self, shape: Shape) -> int:
        """One a cell, those around the volume included."""
        return grain_counts(self.size, _three(shape))[1]

    def _paint(self, out: Array, box: Box, phases: int, counts: tuple[int, int]) -> Array:
        shape = (self.packing, self.jitter, self.elongation)
        paint_grains(out, box.start, self.seed, self.size, *shape, phases, counts)
        return out


class Random(Kind):
    """Voxels independent of each other, evenly distributed over the dtype: what has most objects.

    The mask is what exceeds ``level``, as a share of the greatest value: at 0.8, with 26 neighbours, thousands of
    millions of components in 5000^3 and one that pervades it. There are no instances.
    """

    kind = "random"
    truths = ("mask", "classes")

    level: float = Field(0.8, ge=0, le=1, description="the mask is above this share of the dtype's greatest value")


KINDS: dict[str, type[Kind]] = {kind.kind: kind for kind in (Voids, Lacunae, Fibres, Layers, Grains, Random)}
"""Kinds of phantoms by name."""


def id_dtype(most: int) -> np.dtype[Any]:
    """uint32 for instance numbers, uint64 where they do not fit."""
    return np.dtype(np.uint32 if most < 2**32 else np.uint64)


def _three(shape: Shape) -> tuple[int, int, int]:
    z, y, x = shape
    return z, y, x


def _front(items: Shape, axis: int) -> tuple[int, int, int]:
    """An axis brought to the front, as np.moveaxis does."""
    return _three((items[axis], *(item for k, item in enumerate(items) if k != axis)))
