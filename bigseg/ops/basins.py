"""Basins of a volume from those of its blocks: which trees continue where, and which basins are merged.

1. pass: the trees of every block, where they leave it, saddles, and the trees on the faces that meet other blocks;
2. ``groups``: bricks of up to 4 x 4 x 4 blocks are joined, two parts at a time, across the plane between them::

       ┌───┬───┐   ┌───────┐     a tree that leads into the other part continues in the tree found on its face;
       ├───┼───┤ > ├───────┤ >   then basins that the part knows all saddles of are settled (`bigseg.local.saddles`)
       └───┴───┘   └───────┘     and numbered anew: what is left are objects, and trees on the part's surface

3. ``merge``: the bricks are joined in the same way, in one task; objects get the ids 1..N in raster order of their
   first voxels.

Every block's map from its trees to those of its brick, and every brick's map to ids, are kept in scratch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.engine.field import Array, Values, Visit, Workspace
from bigseg.errors import ExactnessError, ValuesError
from bigseg.grid import Box, Grid, Shape
from bigseg.local.digest import digest
from bigseg.local.drainage import Basins, drain, drain_working_bytes
from bigseg.local.saddles import Saddles, follow, settle

BRICK = {1: 64, 2: 8, 3: 4}
"""Blocks along each axis that one task joins."""
NEVER = np.iinfo(np.int64).max
SHARE = 0.25
"""Trees that lead out of a block for each voxel of its surface, measured on smooth distances: 0.17 to 0.21."""
TREE_BYTES = 60
"""Held for a tree while two parts are joined: 18 and faces of each part and of their union, its map, and indices."""

Maps = dict[int, NDArray[np.int32]]
"""By number of a leaf (a block, a brick): for each of its trees the tree of the part that it is in."""


@dataclass(frozen=True)
class Part:
    """The trees of a box of the volume.

    Parameters
    ----------
    box : where it lies.
    place : index in the volume of each tree's peak, or of the voxel outside of the box that it leads to.
    height : of its peak; 0 for a tree that leads out.
    first : index of its first voxel.
    saddles : between its trees, those that are not settled.
    faces : by axis and side (0 low, 1 high) for the sides that meet other parts: number of each voxel's tree, from 1;
        0 in the background.
    """

    box: Box
    place: NDArray[np.int64]
    height: NDArray[np.uint16]
    first: NDArray[np.int64]
    saddles: Saddles
    faces: Mapping[tuple[int, int], NDArray[np.int32]]

    @property
    def trees(self) -> int:
        """How many."""
        return len(self.place)

    def arrays(self) -> dict[str, Array]:
        """As it is kept in scratch."""
        flat: dict[str, Array] = {
            "box": np.array([self.box.start, self.box.stop], np.int64),
            "place": self.place,
            "height": self.height,
            "first": self.first,
            "pairs": self.saddles.pairs,
            "saddles": self.saddles.height,
            "voxels": self.saddles.voxels,
        }
        return flat | {f"face-{axis}-{side}": face for (axis, side), face in self.faces.items()}

    @classmethod
    def read(cls, space: Workspace, stage: str, number: int) -> Part:
        """The part that a block or a brick left in scratch."""
        found = space.scratch.read(stage, number)
        start, stop = (tuple(int(n) for n in corner) for corner in found["box"])
        saddles = Saddles(found["pairs"], found["saddles"], found["voxels"])
        sides = {(axis, side): f"face-{axis}-{side}" for axis in range(len(start)) for side in (0, 1)}
        faces = {key: found[name] for key, name in sides.items() if name in found}
        return cls(Box(start, stop), found["place"], found["height"], found["first"], saddles, faces)


@dataclass(frozen=True)
class CollectBasins:
    """Pass 1 on one block: its trees, saddles and faces."""

    shape: Shape

    def memory(self, inner: Shape) -> int:
        """Labels, ends of trees, and what is kept."""
        return drain_working_bytes(inner) + (4 << 20)

    def bind(self, values: Values) -> CollectBasins:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """A part, and a check of its trees; ``arrays`` are pointers, codes and heights."""
        pointers, code, heights = arrays
        found = drain(pointers, code, heights)
        return part_of(found, visit.block.inner, self.shape).arrays() | {"check": check_of(found)}


def part_of(found: Basins, inner: Box, shape: Shape) -> Part:
    """The trees of a block as a part of a volume of a shape."""
    more = (1,) * (3 - len(shape))
    grown = tuple(n + 2 for n in (*more, *inner.shape))
    start, sides = (*(0 for _ in more), *inner.start), (*more, *shape)

    def index(places: Array) -> NDArray[np.int64]:
        total = np.zeros(places.shape, np.int64)
        for axis, low, side in zip(np.unravel_index(places, grown), start, sides, strict=True):
            total = total * side + (axis + (low - 1))
        return total

    labels = found.labels.reshape(inner.shape)
    ends = [(axis, 0) for axis, low in enumerate(inner.start) if low > 0]
    ends += [(axis, 1) for axis, high in enumerate(inner.stop) if high < shape[axis]]
    faces = {(axis, side): np.ascontiguousarray(labels.take(-side, axis)) for axis, side in ends}
    first = np.where(found.first >= 0, index(np.maximum(found.first, 0)), NEVER)
    saddles = Saddles(found.pairs, found.saddles, index(found.places))
    return Part(inner, index(found.end), found.height, first, saddles, faces)


@dataclass(frozen=True)
class JoinBrick:
    """The trees of a brick of blocks, from those of its blocks.

    Memory: about 60 bytes for each tree that leads out of the brick or its halves, which are joined one after the
    other, and 8 for each tree of the blocks, in maps: 5 MiB for 64 blocks of 64^3.
    """

    name: str
    source: str
    least: float

    def units(self, grid: Grid) -> int:
        """One task a brick."""
        return len(bricks(grid))

    def memory(self, grid: Grid) -> int:
        """Trees of all blocks in maps, of the surfaces of halves in full."""
        brick = BRICK[len(grid.shape)]
        blocks = tuple(min(brick, n) for n in grid.counts)
        sides = tuple(min(b * n, s) for b, n, s in zip(blocks, grid.block, grid.shape, strict=True))
        maps = 8 * SHARE * _surface(grid.block) * prod(blocks)
        return int(maps + TREE_BYTES * SHARE * _surface(sides)) + (8 << 20)

    def bind(self, values: Values) -> JoinBrick:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Join the blocks of one brick."""
        grid = space.grid
        cells = bricks(grid)[unit].inner

        def block(position: Shape) -> tuple[int, Part]:
            number = grid.at(position).number
            return number, Part.read(space, self.source, number)

        part, maps = gather(cells, block, grid.shape, self.least)
        space.scratch.write(self.name, unit, part.arrays())
        for number, trees in maps.items():
            space.scratch.write(maps_of(self.name), number, {"trees": trees, "brick": np.array([unit])})
        return {}


@dataclass(frozen=True)
class MergeBasins:
    """The objects of the volume, from the trees of its bricks.

    Memory: about 60 bytes for each tree that leads from one half of the volume to the other, or from a quarter to
    another, and for each object; 8 for each tree of the bricks, in maps: all in one task, 4.3 MiB for 256^3 of packed
    grains in bricks of 128^3, in proportion to the surface.
    """

    name: str
    source: str
    least: float

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """Trees of all bricks in maps, of the surfaces of halves in full; an object in 5,000 voxels is expected."""
        parts = bricks(grid)
        sides = tuple(min(BRICK[len(grid.shape)] * n, s) for n, s in zip(grid.block, grid.shape, strict=True))
        whole = SHARE * _surface(grid.shape) if len(parts) > 1 else 0
        maps = 8 * (SHARE * _surface(sides) if len(parts) > 1 else 0) * len(parts)
        return int(maps + TREE_BYTES * (whole + prod(grid.shape) / 5000)) + (8 << 20)

    def bind(self, values: Values) -> MergeBasins:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Join the bricks, number the objects, write each brick's map to ids."""
        grid = bricks(space.grid)

        def brick(position: Shape) -> tuple[int, Part]:
            number = grid.at(position).number
            return number, Part.read(space, self.source, number)

        part, maps = gather(Box.whole(grid.counts), brick, space.grid.shape, self.least)
        assert part.height.all()
        if part.trees >= 2**32:
            raise ValuesError(f"{self.name}: {part.trees} objects are more than uint32 labels can number: raise h")
        ids = np.empty(part.trees, np.uint32)
        ids[np.argsort(part.first)] = np.arange(1, part.trees + 1, dtype=np.uint32)
        for number, found in maps.items():
            space.scratch.write(self.name, number, {"ids": ids[found]})
        return {"objects": part.trees}


def bricks(grid: Grid) -> Grid:
    """The grid of blocks cut into bricks: its boxes hold blocks' positions.

    >>> bricks(Grid((100, 100), (10, 10)))[1].inner
    Box(start=(0, 8), stop=(8, 10))
    """
    return Grid(grid.counts, (BRICK[len(grid.shape)],) * len(grid.shape))


def maps_of(name: str) -> str:
    """Where the blocks' maps to the trees of bricks lie in scratch, by number of block."""
    return f"{name}.maps"


def check_of(found: Basins) -> Array:
    """Count and digest of the first voxels: two passes that find other trees differ here."""
    first = found.first[found.first >= 0]
    return np.array([first.size, int(digest(first), 16) & (2**63 - 1)], np.int64)


def gather(cells: Box, leaf: Callable[[Shape], tuple[int, Part]], shape: Shape, least: float) -> tuple[Part, Maps]:
    """One part of many, two halves at a time.

    Parameters
    ----------
    cells : box of the leaves' positions in their grid.
    leaf : gives the number and the part of the leaf at a position.
    shape : of the volume.
    least : as in `bigseg.local.saddles.settle`.
    """
    longest = max(range(len(cells.start)), key=lambda axis: cells.shape[axis])
    if cells.shape[longest] == 1:
        number, part = leaf(cells.start)
        return settled(part, {number: np.arange(part.trees, dtype=np.int32)}, least)
    middle = cells.start[longest] + (cells.shape[longest] + 1) // 2
    ends = tuple(middle if axis == longest else n for axis, n in enumerate(cells.stop))
    begins = tuple(middle if axis == longest else n for axis, n in enumerate(cells.start))
    low, maps = gather(Box(cells.start, ends), leaf, shape, least)
    high, more = gather(Box(begins, cells.stop), leaf, shape, least)
    part, new = join(low, high, longest, shape)
    maps = {number: new[found] for number, found in maps.items()}
    return settled(part, maps | {number: new[low.trees + found] for number, found in more.items()}, least)


def join(low: Part, high: Part, axis: int, shape: Shape) -> tuple[Part, NDArray[np.int32]]:
    """Two parts that meet across a plane as one, and the new number of each tree of the one and of the other.

    Raises
    ------
    ExactnessError
        When a tree leads into the background of the other part.
    """
    n, total = low.trees, low.trees + high.trees
    parent = np.arange(total)
    for part, mine, other, theirs, side in ((low, 0, high, n, 0), (high, n, low, 0, 1)):
        trees, found = _continued(part, other, axis, side, shape)
        parent[mine + trees] = theirs + found
    stay = parent == np.arange(total)
    number = (np.cumsum(stay) - 1)[follow(parent)].astype(np.int32)
    faces = {}
    for side in (0, 1):
        if (axis, side) in (low, high)[side].faces:
            faces[axis, side] = _moved((low, high)[side].faces[axis, side], n * side)
    for other_axis, side in low.faces.keys() & high.faces.keys():
        if other_axis != axis:
            both = low.faces[other_axis, side], _moved(high.faces[other_axis, side], n)
            faces[other_axis, side] = np.concatenate(both, axis - (axis > other_axis))
    saddles = Saddles(
        np.concatenate([low.saddles.pairs, high.saddles.pairs + np.int32(n)]),
        np.concatenate([low.saddles.height, high.saddles.height]),
        np.concatenate([low.saddles.voxels, high.saddles.voxels]),
    )
    place, height = np.concatenate([low.place, high.place]), np.concatenate([low.height, high.height])
    first = np.concatenate([low.first, high.first])
    part = Part(Box(low.box.start, high.box.stop), place[stay], height[stay], first, saddles, faces)
    return _renumbered(part, number), number


def settled(part: Part, maps: Maps, least: float) -> tuple[Part, Maps]:
    """With the basins merged that are known to be merged, and the saddles gone that are known to part basins."""
    sealed = np.ones(part.trees + 1, bool)
    for face in part.faces.values():
        sealed[face.reshape(-1)] = False
    group, saddles = settle(part.height, part.place, sealed[1:], part.saddles, least)
    stay = group == np.arange(part.trees)
    if stay.all():
        return replace(part, saddles=saddles), maps
    number = (np.cumsum(stay) - 1)[group].astype(np.int32)
    part = replace(part, place=part.place[stay], height=part.height[stay], saddles=saddles)
    return _renumbered(part, number), {leaf: number[found] for leaf, found in maps.items()}


def _renumbered(part: Part, number: NDArray[np.int32]) -> Part:
    """First voxels, saddles and faces of the trees that are left; saddles within one are gone."""
    first = np.full(part.trees, NEVER)
    np.minimum.at(first, number, part.first)
    table = np.concatenate([np.zeros(1, np.int32), number + np.int32(1)])
    pairs = number[part.saddles.pairs]
    saddles = part.saddles._replace(pairs=pairs).take(pairs[:, 0] != pairs[:, 1])
    return replace(part, first=first, saddles=saddles, faces={key: table[face] for key, face in part.faces.items()})


def _continued(part: Part, other: Part, axis: int, side: int, shape: Shape) -> tuple[Array, Array]:
    """Trees of a part that lead into another, and the trees that they continue in."""
    trees = np.flatnonzero(part.height == 0)
    where = np.stack(np.unravel_index(part.place[trees], shape), -1)
    inside = np.all((where >= other.box.start) & (where < other.box.stop), axis=1)
    trees, where = trees[inside], where[inside] - other.box.start
    found = other.faces[axis, side][tuple(np.delete(where, axis, 1).T)]
    if not found.all():
        raise ExactnessError(
            f"blocks of {other.box} disagree with those of {part.box} on what is foreground: the input changed during "
            "the run, or a worker computes differently"
        )
    return trees, found.astype(np.int64) - 1


def _moved(face: NDArray[np.int32], by: int) -> NDArray[np.int32]:
    """Numbers of trees that come after others."""
    return np.where(face > 0, face + np.int32(by), np.int32(0)) if by else face


def _surface(sides: Sequence[int]) -> int:
    """Voxels on the faces of a box."""
    return sum(2 * prod(sides) // side for side in sides)
