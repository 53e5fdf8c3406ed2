"""Connected components of a volume that no memory holds, by passes and small reductions.

1. pass: every block labels its foreground and keeps one row a component (size, first voxel, box, coordinate
   sums, measures) and the label planes of the faces that meet other blocks;
2. ``join``: which local components of neighbouring blocks touch, through faces, edges and corners;
3. ``merge``: a union over all pairs, rows added up by object; conditions choose objects, ids follow the raster
   order of first voxels; every block gets its map local component -> final id; tables are written;
4. pass: every block labels its foreground again, checks that it found the same components, and paints the map.

Everything that is a condition on the table (seeds of a hysteresis, sizes) binds late: it costs no pass. Several
masks, label images and tables share one set of components.

Memory of ``join``: the planes of one block and one plane of each neighbour. Memory of ``merge``: about 200 bytes
a local component, all in one task; merging as a tree of super-blocks will bound it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Any, Literal

import numpy as np

from bigseg.engine.field import Array, Collect, Field, Reduction, Values, Visit, Workspace
from bigseg.errors import ExactnessError, ValuesError
from bigseg.grid import Block, Box, Grid, Shape
from bigseg.local import bitmask, faces
from bigseg.local.component_paint import paint, shell
from bigseg.local.component_table import measure
from bigseg.local.components import Components, label, label_equal
from bigseg.local.digest import digest
from bigseg.local.unionfind import union_pairs
from bigseg.ops.base import REFERENCE, Site
from bigseg.ops.statistics import value_range
from bigseg.ops.table import Condition, Measure, Rows, TableRequest, first_voxels, merge_rows, rows_of, write_objects
from bigseg.storage.spec import Spec

JOINED_TOGETHER = 16
"""Blocks whose joins travel in one task: a join takes about 2 ms a neighbour."""

Identity = Literal["touching", "equal"]
"""What makes two voxels of one object: that they touch, or that they hold the same value (label images)."""


@dataclass(frozen=True)
class Foreground:
    """Which voxels of a field belong to components: strictly above, strictly below, or not zero."""

    above: float | str | None = None
    below: float | str | None = None

    def bind(self, values: Values) -> Foreground:
        """With computed thresholds."""
        return Foreground(value_of(self.above, values), value_of(self.below, values))

    def mask(self, array: Array) -> bitmask.BitMask:
        """One bit a voxel."""
        if self.above is None and self.below is None:
            return bitmask.different(array, 0)
        assert not isinstance(self.above, str) and not isinstance(self.below, str)
        return bitmask.between(array, self.above, self.below)


def value_of(value: Any, values: Values) -> Any:
    """A parameter with its reference replaced by the computed value."""
    if isinstance(value, str) and (match := REFERENCE.match(value)):
        return values[match[1]][match[2]]
    return value


@dataclass(frozen=True)
class Labelling:
    """How a block is labelled: what pass 1 and the passes that paint share."""

    foreground: Foreground
    connectivity: int
    identity: Identity

    def bind(self, values: Values) -> Labelling:
        """With computed thresholds."""
        return replace(self, foreground=self.foreground.bind(values))

    def label(self, array: Array) -> Components:
        """The components of one block."""
        if self.identity == "equal":
            return label_equal(array, connectivity=1)
        return label(self.foreground.mask(array), self.connectivity)

    def memory(self, voxels: int) -> int:
        """Bytes: one bit a voxel and its runs; 0.6 bytes a voxel covers foregrounds up to dense noise."""
        return int(0.6 * voxels)


@dataclass(frozen=True)
class CollectComponents:
    """Pass 1 on one block: rows of the local components, and the planes that neighbours will be joined by."""

    labelling: Labelling
    shape: Shape
    measures: tuple[Measure, ...]

    def memory(self, inner: Shape) -> int:
        """Runs, rows and planes."""
        return self.labelling.memory(prod(inner)) + (8 << 20)

    def bind(self, values: Values) -> CollectComponents:
        """With computed thresholds and ranges."""
        return replace(
            self,
            labelling=self.labelling.bind(values),
            measures=tuple(item.bind(values) for item in self.measures),
        )

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """One row a component, and up to six planes."""
        found = self.labelling.label(arrays[0])
        inner = visit.block.inner
        rows = rows_of(found, inner, self.shape, self.measures, arrays)
        rows["check"] = _check_of(rows["first"])
        if self.labelling.identity == "equal":
            rows["value"] = arrays[0].reshape(-1)[measure(found)["first"]].astype(np.uint64)
        else:
            planes = shell(found)[-len(self.shape) :]
            for axis, side in _inner_faces(inner, self.shape):
                rows[plane_name(axis, side)] = planes[axis][side].reshape(_plane_shape(inner, axis))
        return rows


def _plane_shape(inner: Box, axis: int) -> Shape:
    return inner.shape[:axis] + inner.shape[axis + 1 :]


def _inner_faces(inner: Box, shape: Shape) -> list[tuple[int, int]]:
    """The faces of a block that meet other blocks: axis and side (0 low, 1 high)."""
    low = [(axis, 0) for axis, start in enumerate(inner.start) if start > 0]
    return low + [(axis, 1) for axis, stop in enumerate(inner.stop) if stop < shape[axis]]


def plane_name(axis: int, side: int) -> str:
    """Name of a face's array in a block's partial result."""
    return f"plane-{axis}-{'high' if side else 'low'}"


def _check_of(first: Array) -> Array:
    """Count and digest of the first voxels: two passes that find other components differ here."""
    return np.array([first.size, int(digest(first), 16) & (2**63 - 1)], np.int64)


@dataclass(frozen=True)
class Join:
    """Which local components of each block touch components of its neighbours."""

    name: str
    source: str
    connectivity: int

    def units(self, grid: Grid) -> int:
        """Blocks in groups."""
        return -(-len(grid) // JOINED_TOGETHER)

    def memory(self, grid: Grid) -> int:
        """Six planes of a block and one of a neighbour, with room for their pairs."""
        planes = sum(prod(grid.block) // side for side in grid.block)
        return 8 * 4 * planes

    def bind(self, values: Values) -> Join:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Rows of (block, its component, neighbour, its component)."""
        grid = space.grid
        first = unit * JOINED_TOGETHER
        found = [np.zeros((0, 4), np.int64)]
        for number in range(first, min(first + JOINED_TOGETHER, len(grid))):
            block = grid[number]
            for direction in forward(len(grid.shape), self.connectivity):
                neighbour = grid.neighbour(block, direction)
                if neighbour is not None:
                    pairs = self._touching(block, neighbour, direction, space)
                    ends = np.broadcast_to([block.number, neighbour.number], (len(pairs), 2))
                    found.append(np.column_stack([ends[:, 0], pairs[:, 0], ends[:, 1], pairs[:, 1]]))
        space.scratch.write(self.name, unit, {"pairs": np.concatenate(found).astype(np.int64)})
        return {}

    def _touching(self, block: Block, other: Block, direction: Shape, space: Workspace) -> Array:
        """Pairs of local components across a face, an edge or a corner.

        The voxels that meet lie on one plane of each block, on the first axis along which the blocks differ; on
        further such axes they are that plane's last or first line.
        """
        axis = next(axis for axis, step in enumerate(direction) if step)
        sides = [1 if step > 0 else 0 for step in direction]
        mine = self._plane(space, block.number, axis, sides[axis])
        theirs = self._plane(space, other.number, axis, 1 - sides[axis])
        cut_mine, cut_theirs = [], []
        for other_axis, step in enumerate(direction):
            if other_axis == axis:
                continue
            cut_mine.append(slice(None) if step == 0 else (slice(-1, None) if step > 0 else slice(0, 1)))
            cut_theirs.append(slice(None) if step == 0 else (slice(0, 1) if step > 0 else slice(-1, None)))
        reach = self.connectivity - sum(map(abs, direction))
        return faces.join(mine[tuple(cut_mine)], theirs[tuple(cut_theirs)], reach)

    def _plane(self, space: Workspace, number: int, axis: int, side: int) -> Array:
        name = plane_name(axis, side)
        return space.scratch.read(self.source, number, [name])[name]


def forward(ndim: int, connectivity: int) -> list[Shape]:
    """Half of the directions to neighbouring blocks that the connectivity reaches: 3, 9 or 13 in 3-D.

    >>> [len(forward(3, c)) for c in (1, 2, 3)]
    [3, 9, 13]
    """
    every = [d for d in product((-1, 0, 1), repeat=ndim) if 0 < sum(map(abs, d)) <= connectivity]
    return [d for d in every if d > (0,) * ndim]


@dataclass(frozen=True)
class View:
    """Objects chosen from a set of components: which are shown, and among which the ids are counted."""

    shown: tuple[Condition, ...] = ()
    counted: tuple[Condition, ...] = ()

    def bind(self, values: Values) -> View:
        """With computed thresholds."""
        return View(
            tuple(item.bind(values) for item in self.shown), tuple(item.bind(values) for item in self.counted)
        )


@dataclass(frozen=True)
class Merge:
    """The union of all pairs, the objects' rows, the ids, the maps of all blocks, the tables."""

    name: str
    source: str
    join: str
    spec: Spec
    identity: Identity
    views: tuple[View, ...]
    tables: tuple[TableRequest, ...]
    measures: tuple[Measure, ...]

    def units(self, grid: Grid) -> int:
        """One task: the flat form."""
        return 1

    def memory(self, grid: Grid) -> int:
        """About 200 bytes a local component; a thousand a block are expected."""
        return (32 << 20) + 200 * 1000 * len(grid)

    def bind(self, values: Values) -> Merge:
        """With computed thresholds and ranges."""
        return replace(
            self,
            views=tuple(view.bind(values) for view in self.views),
            tables=tuple(table.bind(values) for table in self.tables),
            measures=tuple(item.bind(values) for item in self.measures),
        )

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Merge everything."""
        numbers = range(len(space.grid))
        parts = [space.scratch.read(self.source, number, ["first", "check", "value"]) for number in numbers]
        ends = np.concatenate([[0], np.cumsum([len(part["first"]) for part in parts])])
        group, count = self._groups(parts, ends, space)
        del parts[:]
        rows = merge_rows(
            (space.scratch.read(self.source, number) for number in numbers), group, ends, count, self.measures
        )
        ids = [self._ids(view, rows) for view in self.views]
        for table in self.tables:
            write_objects(space.folder / "tables" / f"{table.name}.parquet", table, rows, ids[table.view], self.spec)
        for number in numbers:
            mine = group[ends[number] : ends[number + 1]]
            check = space.scratch.read(self.source, number, ["check"])["check"]
            maps = {f"map-{k}": np.concatenate([[0], found[mine]]).astype(found.dtype) for k, found in enumerate(ids)}
            space.scratch.write(self.name, number, {"check": check, **maps})
        return {"objects": int(np.count_nonzero(ids[0])) if ids else int(count)}

    def _groups(self, parts: Sequence[Mapping[str, Array]], ends: Array, space: Workspace) -> tuple[Array, int]:
        """The object of every local component: 0..count-1 in the order of first voxels."""
        if self.identity == "equal":
            values = np.concatenate([part["value"] for part in parts])
            found, group = np.unique(values, return_inverse=True)
            return group.astype(np.int64), len(found)
        first = np.concatenate([part["first"] for part in parts])
        pairs = []
        for unit in range(Join(self.join, self.source, 1).units(space.grid)):
            four = space.scratch.read(self.join, unit)["pairs"]
            pairs.append(np.column_stack([ends[four[:, 0]] + four[:, 1] - 1, ends[four[:, 2]] + four[:, 3] - 1]))
        root = union_pairs(len(first), np.concatenate(pairs))
        least = np.full(len(first), np.iinfo(np.int64).max)
        np.minimum.at(least, root, first)
        roots = np.flatnonzero(root == np.arange(len(root)))
        rank = np.empty(len(first), np.int64)
        rank[roots[np.argsort(least[roots], kind="stable")]] = np.arange(len(roots))
        return rank[root], len(roots)

    def _ids(self, view: View, rows: Rows) -> Array:
        """The final id of every object, 0 where it is not shown."""
        shown = np.ones(len(rows["size"]), bool)
        for condition in view.shown:
            shown &= condition.holds(rows)
        if self.identity == "equal":
            numbers = rows["value"]
            if numbers.size and int(numbers.max()) < 2**32:
                numbers = numbers.astype(np.uint32)
            return np.where(shown, numbers, numbers.dtype.type(0))
        counted = np.ones(len(shown), bool)
        for condition in view.counted:
            counted &= condition.holds(rows)
        if np.count_nonzero(counted) >= 2**32:
            raise ValuesError(
                f"{self.name}: {np.count_nonzero(counted)} objects are more than uint32 labels can number; remove "
                "small objects first"
            )
        ids = np.cumsum(counted).astype(np.uint32)
        return np.where(shown & counted, ids, np.uint32(0))


@dataclass(frozen=True)
class Paint:
    """The last pass on one block: label again, check, paint the map."""

    name: str
    source: str
    labelling: Labelling
    view: int
    kind: Literal["mask", "labels"]
    dtype: str
    shape: Shape
    haloed = False
    cost = 4.0

    def depth(self) -> Shape:
        """The block's map belongs to its inner box alone."""
        return (0,) * len(self.shape)

    def memory(self, outer: Shape, inner: Shape) -> int:
        """Runs and the map."""
        return self.labelling.memory(prod(inner)) + (4 << 20)

    def bind(self, values: Values) -> Paint:
        """With computed thresholds."""
        return replace(self, labelling=self.labelling.bind(values))

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """Paint one block.

        Raises
        ------
        ExactnessError
            When this pass finds other components than pass 1.
        """
        found = visit.shared.get(self.source)
        if found is None:
            found = visit.shared[self.source] = self.labelling.label(arrays[0])
        maps = visit.scratch.read(self.name, visit.block.number, ["check", f"map-{self.view}"])
        first = first_voxels(measure(found)["first"], box, self.shape)
        if not np.array_equal(_check_of(first), maps["check"]):
            raise ExactnessError(
                f"block {visit.block.number}: pass 1 of {self.source} found {maps['check'][0]} components, this pass "
                f"finds {found.count} or others: the input changed during the run, or a worker computes differently"
            )
        table = maps[f"map-{self.view}"]
        table = table != 0 if self.kind == "mask" else table.astype(self.dtype)
        out = np.empty(box.shape, table.dtype)
        paint(found, table, out)
        return out


@dataclass(eq=False)
class Objects:
    """One set of components while the graph is built: what is measured on it, chosen from it, and written."""

    name: str
    labelling: Labelling
    collect: Collect
    merge: Reduction
    measures: list[Measure] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    tables: list[TableRequest] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        source: Field,
        site: Site,
        foreground: Foreground,
        connectivity: int,
        after: Sequence[Reduction] = (),
        identity: Identity = "touching",
    ) -> Objects:
        """The components of a field's foreground."""
        labelling = Labelling(foreground, connectivity, identity)
        collect = Collect(
            f"{site.name}.components",
            [source],
            CollectComponents(labelling, source.spec.shape, ()),
            list(after),
        )
        inputs: tuple[Collect | Reduction, ...] = (collect,)
        join = f"{site.name}.join"
        if identity == "touching":
            inputs = (collect, Reduction(join, (collect,), Join(join, collect.name, connectivity)))
        merge = Reduction(f"{site.name}.merge", inputs, None, list(after), keys=("objects",))  # type: ignore[arg-type]
        objects = cls(site.name, labelling, collect, merge)
        objects._update(source.spec, identity)
        return objects

    def _update(self, spec: Spec, identity: Identity) -> None:
        """Give collect and merge what has been asked for so far."""
        measures = tuple(self.measures)
        self.collect.kernel = CollectComponents(self.labelling, spec.shape, measures)
        self.merge.kernel = Merge(
            self.merge.name,
            self.collect.name,
            f"{self.name}.join",
            spec,
            identity,
            tuple(self.views),
            tuple(self.tables),
            measures,
        )

    def _refresh(self) -> None:
        kernel = self.merge.kernel
        assert isinstance(kernel, Merge)
        self._update(kernel.spec, kernel.identity)

    def measure(self, source: Field, what: tuple[str, ...]) -> str:
        """Measure a field on every object; gives back the prefix of its columns."""
        if source in self.collect.fields:
            index = self.collect.fields.index(source)
        else:
            index = len(self.collect.fields)
            self.collect.fields.append(source)
        known = {item.index: item for item in self.measures}
        wanted = tuple(dict.fromkeys([*(known[index].what if index in known else ()), *what]))
        range_of = known[index].range_of if index in known else ""
        if "sum" in wanted and source.spec.dtype.kind == "f" and source.spec.bounds is None and not range_of:
            found = value_range(source, f"{self.name}.{source.name}")
            self.collect.after.append(found)
            range_of = found.name
        item = Measure(index, wanted, str(source.spec.dtype), source.spec.bounds, range_of)
        self.measures = [*(other for other in self.measures if other.index != index), item]
        self._refresh()
        return item.prefix

    def view(self, view: View) -> int:
        """The number of a view."""
        if view not in self.views:
            self.views.append(view)
            self._refresh()
        return self.views.index(view)

    def table(self, request: TableRequest) -> None:
        """Write a table of a view."""
        self.tables.append(request)
        self._refresh()

    def field(self, site: Site, view: View, kind: Literal["mask", "labels"]) -> Field:
        """A view as a mask or label image."""
        source = self.collect.fields[0]
        dtype = np.dtype(bool) if kind == "mask" else np.dtype(np.uint32)
        if kind == "labels" and self.labelling.identity == "equal":
            dtype = source.spec.dtype
        spec = source.spec.but(dtype=dtype, kind=kind)
        paint = Paint(
            self.merge.name, self.collect.name, self.labelling, self.view(view), kind, str(dtype), spec.shape
        )
        return Field(site.name, spec, paint, (source,), (self.merge,), tag=Seen(self, view, kind))


@dataclass(frozen=True)
class Seen:
    """What operations know of a field that shows objects: of which set, chosen how, and as what."""

    objects: Objects
    view: View
    kind: Literal["mask", "labels"]
