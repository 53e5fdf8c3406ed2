"""Connected components of a volume that no memory holds, by passes and small reductions.

1. pass: every block labels its foreground and keeps one row a component (size, first voxel, box, coordinate
   sums, measures) and the label planes of the faces that meet other blocks (``labelling``);
2. ``join``: which local components of neighbouring blocks touch, through faces, edges and corners (``merging``);
3. ``merge``: a union over all pairs, rows added up by object; conditions choose objects, ids follow the raster
   order of first voxels; every block gets its map local component -> final id; tables are written;
4. pass: every block labels its foreground again, checks that it found the same components, and paints the map.

Everything that is a condition on the table (seeds of a hysteresis, sizes) binds late: it costs no pass. Several
masks, label images and tables share one set of components (``Objects``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

import numpy as np

from bigseg.engine.field import Array, Collect, Field, Reduction, Values, Visit
from bigseg.errors import ExactnessError
from bigseg.grid import Box, Shape
from bigseg.local.component_paint import paint
from bigseg.local.component_table import first_voxels
from bigseg.ops.base import Site
from bigseg.ops.labelling import CollectComponents, Foreground, Identity, Labelling, check_of
from bigseg.ops.merging import Join, Merge, View
from bigseg.ops.statistics import value_range
from bigseg.ops.table import Measure, TableRequest, in_volume
from bigseg.storage.spec import Spec


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
        found = visit.shared.get(self.source)
        if found is None:
            found = visit.shared[self.source] = self.labelling.label(arrays[0])
        maps = visit.scratch.read(self.name, visit.block.number, ["check", f"map-{self.view}"])
        first = in_volume(first_voxels(found), box, self.shape)
        if not np.array_equal(check_of(first), maps["check"]):
            raise ExactnessError(
                f"block {visit.block.number}: pass 1 of {self.source} found {maps['check'][0]} components, this pass "
                f"finds {found.n} or others: the input changed during the run, or a worker computes differently"
            )
        table = maps[f"map-{self.view}"]
        table = table != 0 if self.kind == "mask" else table.astype(self.dtype)
        table[0] = self.rest
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
        merge = Reduction(f"{site.name}.merge", inputs, None, list(after))  # type: ignore[arg-type]
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
        return self._painted(site, view, kind, Seen(self, view, kind))

    def and_rest(self, site: Site, view: View) -> Field:
        """Mask of a view's objects and of the voxels that belong to no component at all."""
        return self._painted(site, view, "mask", None)

    def _painted(self, site: Site, view: View, kind: Literal["mask", "labels"], seen: Seen | None) -> Field:
        source = self.collect.fields[0]
        dtype = np.dtype(bool) if kind == "mask" else np.dtype(np.uint32)
        if kind == "labels" and self.labelling.identity == "equal":
            dtype = source.spec.dtype
        spec = source.spec.but(dtype=dtype, kind=kind)
        names = self.merge.name, self.collect.name
        paint = Paint(*names, self.labelling, self.view(view), kind, str(dtype), spec.shape, rest=seen is None)
        return Field(site.name, spec, paint, (source,), (self.merge,), tag=seen)


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


def depends(on: Field | Reduction, reduction: Reduction) -> bool:
    """Whether a field or a reduction can be computed only after a reduction."""
    seen: set[int] = set()
    todo: list[Field | Collect | Reduction] = [on]
    while todo:
        node = todo.pop()
        if node is reduction:
            return True
        if id(node) not in seen:
            seen.add(id(node))
            todo += node.fields if isinstance(node, Collect) else node.inputs
            todo += node.after
    return False
