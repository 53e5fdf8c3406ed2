"""Basins of a volume from those of its blocks: which trees continue where, and which basins are merged.

1. pass: the trees of every block, where they leave it, and saddles; what a block knows all saddles of is settled
   (`bigseg.local.basins.saddles`), and of the rest what is open is kept: trees, and their voxels on the faces;
2. `JoinBasins`: the tree of super-blocks (`bigseg.ops.components.superblocks`). The children of each are joined two
   parts at a time, across the plane between them, and settled::

       ┌───┬───┐   ┌───────┐     a tree that leads into the other part continues in the tree found on its face;
       ├───┼───┤ > ├───────┤ >   then basins that the part knows all saddles of are merged, or stay for good,
       └───┴───┘   └───────┘     and are numbered anew

Objects that are done lie in rows as those of components do (`bigseg.ops.components.rows`), and are numbered as these
are (`bigseg.ops.components.numbering`). So a task holds the trees on the surfaces of the parts that it joins, never all
objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.engine.field import Array, Values, Visit, Workspace
from bigseg.errors import ExactnessError
from bigseg.grid import Box, Grid, Shape
from bigseg.local.basins.drainage import Basins, drain, drain_working_bytes
from bigseg.local.basins.saddles import Saddles, follow, settle
from bigseg.ops.components.labelling import check_of
from bigseg.ops.components.merging import face_voxels, fates, place_of
from bigseg.ops.components.rows import order_of_done, packed
from bigseg.ops.components.superblocks import Intervals, Tree

NEVER = np.iinfo(np.int64).max
SHARE = 0.25
"""Trees that lead out of a block for each voxel of its surface, measured on smooth distances: 0.17 to 0.21."""
TREE_BYTES = 60
"""Held for a tree while two parts are joined: 18 and faces of each part and of their union, its map, and indices."""

Maps = dict[int, NDArray[np.int32]]
"""By number of a leaf (a block, a child): for each of its trees the tree of the part that it is in."""


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

    @property
    def open(self) -> NDArray[np.bool_]:
        """Trees that the rest of the volume may change: they lead out, lie on a face, or have a saddle left."""
        found = np.append(False, self.height == 0)
        for face in self.faces.values():
            found[face.reshape(-1)] = True
        found[1:][self.saddles.pairs.reshape(-1)] = True
        return found[1:]

    def stored(self, grid: Grid) -> tuple[dict[str, Array], Array]:
        """As it is kept in scratch: what is open, and rows of what is done; and `fates` of its trees."""
        still = self.open
        rows = {"first": self.first}
        done = order_of_done(rows, still)
        number = (np.cumsum(still) - 1).astype(np.int32)
        table = np.append(np.int32(0), number + np.int32(1))
        flat: dict[str, Array] = {
            "box": np.array([self.box.start, self.box.stop], np.int64),
            "place": self.place[still],
            "height": self.height[still],
            "pairs": number[self.saddles.pairs],
            "saddles": self.saddles.height,
            "voxels": self.saddles.voxels,
        }
        flat |= {f"face-{axis}-{side}": table[face] for (axis, side), face in self.faces.items()}
        return flat | packed(rows, still, done, Intervals(grid)), fates(still, done)

    @classmethod
    def read(cls, space: Workspace, stage: str, number: int) -> Part:
        """The open trees that a block or a super-block left in scratch."""
        found = space.scratch.read(stage, number)
        start, stop = (tuple(int(n) for n in corner) for corner in found["box"])
        saddles = Saddles(found["pairs"], found["saddles"], found["voxels"])
        sides = {(axis, side): f"face-{axis}-{side}" for axis in range(len(start)) for side in (0, 1)}
        faces = {key: found[name] for key, name in sides.items() if name in found}
        return cls(Box(start, stop), found["place"], found["height"], found["open-first"], saddles, faces)


@dataclass(frozen=True)
class CollectBasins:
    """Pass 1 on one block: its trees, saddles and faces, settled as far as a block can tell.

    Stored: `Part.stored`; ``trees``, for each tree of the block the one that it is settled in, by rising first voxels;
    ``open``, the numbers of these that are open, as they are stored; ``check``.
    """

    shape: Shape
    least: float

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
        check = check_of_trees(found)
        part = part_of(found, visit.block.inner, self.shape)
        del found
        part, maps = settled(part, {0: np.arange(part.trees, dtype=np.int32)}, self.least)
        kept, fate = part.stored(visit.grid)
        place = np.empty(part.trees, np.int32)
        place[np.argsort(part.first, kind="stable")] = np.arange(part.trees, dtype=np.int32)
        return kept | {"check": check, "trees": place[maps[0]], "open": place[fate > 0] + np.int32(1)}


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
class JoinBasins:
    """The trees of a super-block, from the open ones of its children.

    Memory: about 60 bytes for each tree that is open in one of the children, and 8 in maps. Stored a super-block:
    `Part.stored`; ``child-K``, the `fates` of the open trees of its K-th child.
    """

    name: str
    source: str
    least: float

    def units(self, grid: Grid) -> tuple[int, ...]:
        """One task a super-block."""
        return Tree(grid).rounds

    def memory(self, grid: Grid) -> int:
        """The trees on the faces of the children of one super-block."""
        return (8 << 20) + int((TREE_BYTES + 8) * SHARE * face_voxels(Tree(grid)))

    def bind(self, values: Values) -> JoinBasins:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Join the children of one super-block."""
        tree = Tree(space.grid)
        children = tree.children(tree.at(unit))
        places = [tree.position(child) for child in children]

        def leaf(position: Shape) -> tuple[int, Part]:
            number = places.index(position)
            return number, Part.read(space, *place_of(self.name, self.source, tree, children[number]))

        cells = Box(places[0], tuple(n + 1 for n in places[-1]))
        part, maps = gather(cells, leaf, space.grid.shape, self.least)
        kept, fate = part.stored(space.grid)
        space.scratch.write(self.name, unit, kept | {f"child-{k}": fate[found] for k, found in maps.items()})
        return {}


def check_of_trees(found: Basins) -> Array:
    """Count and digest of the first voxels: two passes that find other trees differ here."""
    return check_of(found.first[found.first >= 0])


def gather(cells: Box, leaf: Callable[[Shape], tuple[int, Part]], shape: Shape, least: float) -> tuple[Part, Maps]:
    """One part of many, two halves at a time.

    Parameters
    ----------
    cells : box of the leaves' positions in their grid.
    leaf : gives the number and the part of the leaf at a position.
    shape : of the volume.
    least : as in `bigseg.local.basins.saddles.settle`.
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
