"""Connected components of a volume that no memory holds, by passes and small reductions.

1. pass: every block labels its foreground and keeps one row a component (first voxel, size, box, coordinate sums,
   measures: what is asked for) and the planes of the faces that meet other blocks (``labelling``);
2. ``join``: a tree of super-blocks unites what touches across blocks, level by level (``merging``, ``superblocks``);
   of label images the rows of equal values are put together instead (``values``);
3. ``rank``: interval by interval of the volume, objects are judged and ranked by their first voxels, ``merge``
   counts them, ``down`` hands the ids back to the blocks (``choosing``, ``numbering``); ``tables`` are written
   (``region_tables``);
4. pass: every block labels its foreground again, checks that it found the same components, and paints their ids.

Everything that is a condition on the table (seeds of a hysteresis, sizes) binds late: it costs no pass. Several
masks, label images and tables share one set of components (``Objects``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

import numpy as np

from bigseg.engine.field import Array, Collect, Field, Reduction, Values, Visit
from bigseg.errors import ExactnessError
from bigseg.grid import Box, Shape
from bigseg.local.components.paint import paint
from bigseg.local.components.raster import in_volume
from bigseg.local.components.table import first_voxels
from bigseg.ops.base import Site
from bigseg.ops.components.choosing import FindLimits, Shelves, View
from bigseg.ops.components.labelling import CollectComponents, Foreground, Identity, Labelling, check_of
from bigseg.ops.components.measures import GROUPS, Measure
from bigseg.ops.components.merging import Join
from bigseg.ops.components.numbering import HandDown, Ids, Rank, Total
from bigseg.ops.components.region_tables import TableRequest, WriteTables
from bigseg.ops.components.superblocks import Tree
from bigseg.ops.components.values import JoinValues
from bigseg.ops.counting.statistics import value_range
from bigseg.storage.spec import Spec

ANY = 2**63 - 1
"""The greatest id where no dtype sets a limit."""


@dataclass(frozen=True)
class Paint:
    """The last pass on one block: label again, check, paint the map."""

    ids: Ids
    labelling: Labelling
    view: int
    kind: Literal["mask", "labels"]
    dtype: str
    shape: Shape
    rest: bool = False
    """Whether the mask holds the voxels outside of all components, too."""
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
        source, block = self.ids.shelves.source, visit.block.number
        found = visit.shared.get(source)
        if found is None:
            found = visit.shared[source] = self.labelling.label(arrays[0])
        begins = first_voxels(found)
        first, known = in_volume(begins, box, self.shape), visit.scratch.read(source, block, ["check"])["check"]
        if not np.array_equal(check_of(first), known):
            raise ExactnessError(
                f"block {block}: pass 1 of {source} found {known[0]} components, this pass "
                f"finds {found.n} or others: the input changed during the run, or a worker computes differently"
            )
        if self.labelling.identity == "equal":
            values = arrays[0].reshape(-1)[begins].astype(np.uint64)
            ids = self.ids.of_values(visit.scratch, visit.grid, values, self.view)
        else:
            ids = self.ids.of_block(visit.scratch, Tree(visit.grid, self.labelling.periodic), block, self.view)
        table = np.concatenate([np.zeros(1, ids.dtype), ids])
        table = table != 0 if self.kind == "mask" else table.astype(self.dtype)
        table[0] = self.rest
        out = np.empty(box.shape, table.dtype)
        paint(found, table, out)
        return out


@dataclass(eq=False)
class Objects:
    """One set of components while the graph is built: what is measured on it, chosen from it, and written.

    ``merge`` knows how many objects each view shows, and what follows it knows their ids.
    """

    name: str
    spec: Spec
    labelling: Labelling
    collect: Collect
    join: Reduction
    largest: Reduction
    rank: Reduction
    merge: Reduction
    down: Reduction
    written: Reduction
    measures: list[Measure] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    numbered: dict[int, int] = field(default_factory=dict)
    """Views whose ids are needed: the greatest id that their labels can hold."""
    painted: bool = False
    kept: bool = False
    """Whether the rows are kept when the run is finished."""
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
        periodic: tuple[bool, ...] = (),
    ) -> Objects:
        """The components of a field's foreground."""
        labelling = Labelling(foreground, connectivity, identity, periodic)
        name = site.name
        collect = Collect(f"{name}.components", [source], None, list(after))  # type: ignore[arg-type]

        def then(what: str, *before: Collect | Reduction) -> Reduction:
            return Reduction(f"{name}.{what}", before, None)  # type: ignore[arg-type]

        join = then("join", collect)
        largest = then("largest", join)
        rank = then("rank", largest)
        rank.after = list(after)
        merge = then("merge", rank)
        down, written = then("down", merge), then("tables", merge)
        objects = cls(name, source.spec, labelling, collect, join, largest, rank, merge, down, written)
        collect.tag = objects
        objects._refresh()
        return objects

    @property
    def ids(self) -> Ids:
        """Where ids lie."""
        shelves = Shelves(self.collect.name, self.join.name, self.labelling.periodic, self.labelling.identity)
        return Ids(shelves, self.rank.name, self.merge.name, self.down.name)

    def _refresh(self) -> None:
        """Give every node what has been asked for so far."""
        labelling, spec, ids = self.labelling, self.spec, self.ids
        measures, views = tuple(self.measures), tuple(self.views)
        numbered = tuple(k in self.numbered for k in range(len(views)))
        groups = self._groups()
        self.collect.kernel = CollectComponents(labelling, spec.shape, measures, groups)
        if labelling.identity == "equal":
            self.join.kernel = JoinValues(self.join.name, self.collect.name)
        else:
            valued = labelling.identity == "valued"
            names = self.join.name, self.collect.name
            self.join.kernel = Join(*names, labelling.connectivity, labelling.periodic, valued)
        limits = FindLimits(self.largest.name, ids.shelves, views)
        self.largest.kernel = limits
        rank = Rank(self.rank.name, ids.shelves, limits, views, numbered, not groups)
        self.rank.kernel = rank
        most = tuple(self.numbered.get(k, ANY) for k in range(len(views)))
        self.merge.kernel = Total(self.merge.name, rank, most)
        self.down.kernel = HandDown(ids, len(views))
        self.written.kernel = WriteTables(ids, spec, tuple(self.tables), self._label())

    def _label(self) -> str:
        """Dtype of the labels of tables."""
        if self.labelling.identity == "equal":
            return label_dtype(self.spec)
        wide = any(self.numbered[request.view] >= 2**32 for request in self.tables)
        return "uint64" if wide else "uint32"

    def _groups(self) -> tuple[str, ...]:
        """What rows must hold: first voxels wherever more than a count is asked, all of it for a table."""
        if self.tables or self.kept:
            return tuple(sorted(GROUPS))
        conditions = {item for view in self.views for item in (*view.shown, *view.counted)}
        columns = {"size": "size", "box": "low-0", "centre": "sum-0"}
        found = {group for group, column in columns.items() if any(item.wants(column) for item in conditions)}
        if self.painted or self.measures or conditions:
            found.add("first")
        return tuple(sorted(found))

    def keep(self) -> None:
        """Keep all that late conditions may ask for."""
        self.kept = True
        self._refresh()

    @property
    def held(self) -> tuple[str, str]:
        """Where the rows lie: the names of two stages in scratch."""
        return self.collect.name, self.join.name

    def wait_for(self, after: Sequence[Reduction]) -> None:
        """Judge the objects only when reductions are known that conditions refer to."""
        self.rank.after += [node for node in after if node not in self.rank.after]

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
        self.numbered.setdefault(request.view, ANY)
        self._refresh()

    def field(self, site: Site, view: View, kind: Literal["mask", "labels"], dtype: str = "uint32") -> Field:
        """A view as a mask or label image."""
        return self._painted(site, view, kind, Seen(self, view, kind), dtype)

    def and_rest(self, site: Site, view: View) -> Field:
        """Mask of a view's objects and of the voxels that belong to no component at all."""
        return self._painted(site, view, "mask", None)

    def _painted(
        self, site: Site, view: View, kind: Literal["mask", "labels"], seen: Seen | None, labels: str = "uint32"
    ) -> Field:
        dtype = np.dtype(bool) if kind == "mask" else np.dtype(labels)
        if kind == "labels" and self.labelling.identity == "equal":
            dtype = self.spec.dtype
        number = self.view(view)
        if kind == "labels":
            own = self.labelling.identity == "equal"  # ids that are in the file fit its dtype
            most = ANY if own else 2 ** (8 * dtype.itemsize) - 1
            self.numbered[number] = min(self.numbered.get(number, ANY), most)
        self.painted = True
        self._refresh()
        spec = self.spec.but(dtype=dtype, kind=kind)
        paint = Paint(self.ids, self.labelling, number, kind, str(dtype), spec.shape, rest=seen is None)
        return Field(site.name, spec, paint, (self.collect.fields[0],), (self.down,), tag=seen)


@dataclass(frozen=True)
class Seen:
    """What operations know of a field that shows objects: of which set, chosen how, and as what."""

    objects: Objects
    view: View
    kind: Literal["mask", "labels"]

    def count(self, values: Values) -> int | None:
        """How many objects it shows, once they are merged."""
        found = values.get(self.objects.merge.name, {}).get(f"objects-{self.objects.view(self.view)}")
        return None if found is None else int(found)


def label_dtype(spec: Spec) -> str:
    """Dtype in which tables hold the labels of a file: of its sign, so that negative labels stay what they are."""
    return f"{'int' if spec.dtype.kind == 'i' else 'uint'}{64 if spec.dtype.itemsize == 8 else 32}"


def depends(on: Field | Reduction, reduction: Reduction) -> bool:
    """Whether a field or a reduction can be computed only after a reduction."""
    return any(node is reduction for node in below([on]))


def below(roots: Iterable[Field | Collect | Reduction]) -> Iterator[Field | Collect | Reduction]:
    """Every node that others are computed from, those included, each once."""
    seen: set[int] = set()
    todo: list[Field | Collect | Reduction] = list(roots)
    while todo:
        node = todo.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            todo += node.fields if isinstance(node, Collect) else node.inputs
            todo += node.after


def sets_of(roots: Iterable[Field | Collect | Reduction]) -> list[Objects]:
    """The sets of components that a graph needs, in the order of their names."""
    found = {node.name: node.tag for node in below(roots) if isinstance(node, Collect) and node.tag is not None}
    return [found[name] for name in sorted(found)]
