"""Nearest: for each object the objects whose centroids are nearest.

1. the passes and reductions that label and measure the objects, if no step before has done so, write their table;
2. ``spread``: one task reads it in pieces, and sorts the centroids into slabs across the longest axis, of about 2**18
   objects each, in scratch;
3. ``search``: each task takes some slabs: neighbours within the slab, then in the slabs on either side, as long as
   they are not further away along the axis than the neighbours found so far;
4. rows of (label, rank) become one sorted table (`bigseg.ops.keyed`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field as Parameter
from pydantic import field_validator

from bigseg.engine.field import Array, Field, Reduction, Values, Workspace
from bigseg.errors import ParameterError
from bigseg.grid import Grid
from bigseg.local.objects.keyed_rows import Rows, summed
from bigseg.local.objects.neighbours import SLACK, Cloud, Neighbours
from bigseg.ops.base import Length, Site
from bigseg.ops.components.region_tables import TableRequest
from bigseg.ops.components.volume import label_dtype
from bigseg.ops.keyed import TOGETHER, Share, Source, TableOp, keyed_table, part_of
from bigseg.ops.objects import by_label, refuse_masks
from bigseg.storage.partitions import batches
from bigseg.storage.spec import Spec
from bigseg.storage.units import convert, known_unit, parse_length

BINS = 4096
"""Steps along the axis, of which slabs are made."""
SLAB = 1 << 18
"""Objects of a slab, fewer where many neighbours are wanted: 30 MB as a k-d tree."""
BATCH = 1 << 18
"""Rows of the table read at a time."""


@dataclass(frozen=True)
class Spread:
    """Centroids sorted into slabs across an axis. Holds one batch of the table, whatever its length."""

    name: str
    table: str
    spec: Spec
    axis: int
    slab: int
    """Objects of a slab."""

    def units(self, grid: Grid) -> int:
        """One task: it reads the table twice."""
        return 1

    def memory(self, grid: Grid) -> int:
        """A batch, sorted, and the parts of files that are decoded with it."""
        return (96 << 20) + 4 * 8 * (1 + self.spec.ndim) * BATCH

    def bind(self, values: Values) -> Spread:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Count along the axis, choose slabs, sort batch after batch."""
        path = space.folder / "tables" / f"{self.table}.parquet"
        along = f"centroid-{self.axis}"
        counts = np.zeros(BINS, np.int64)
        for part in batches(path, BATCH, [along]):
            counts += np.bincount(self._bins(part[along]), minlength=BINS)
        slab = (np.cumsum(counts) - counts) // self.slab
        slab = np.minimum(slab, slab[np.flatnonzero(counts)[-1:]].max(initial=0))  # none without an object
        slab = np.unique(slab, return_inverse=True)[1]
        slabs = int(slab[-1]) + 1
        low, high = np.full(slabs, np.inf), np.full(slabs, -np.inf)
        pieces = 0
        names = [f"centroid-{axis}" for axis in range(self.spec.ndim)]
        for part in batches(path, BATCH, ["label", *names]):
            mine = slab[self._bins(part[along])]
            np.minimum.at(low, mine, part[along])
            np.maximum.at(high, mine, part[along])
            order = np.argsort(mine, kind="stable")
            lines = [part["label"].astype(np.uint64), *(part[name].view(np.uint64) for name in names)]
            points = np.stack(lines)[:, order]
            present, starts = np.unique(mine[order], return_index=True)
            cuts = np.split(points, starts[1:], axis=1)
            pieces += 1
            space.scratch.write(self.name, pieces, {str(k): cut for k, cut in zip(present, cuts, strict=True)})
        space.scratch.write(self.name, 0, {"low": low, "high": high, "pieces": np.array([pieces])})
        return {}

    def _bins(self, place: Array) -> Array:
        """The step along the axis in which a coordinate lies."""
        spec, axis = self.spec, self.axis
        extent = spec.shape[axis] * spec.spacing[axis]
        steps = (place - spec.origin[axis]) / extent * BINS
        return np.clip(steps, 0, BINS - 1).astype(np.int64)


@dataclass(frozen=True)
class Search:
    """The nearest neighbours of the objects of some slabs. Holds three slabs, and the rows of 16 blocks' objects."""

    name: str
    points: str
    axis: int
    ndim: int
    k: int
    limit: float
    slab: int
    share: Share

    def units(self, grid: Grid) -> int:
        """As many as blocks in groups."""
        return self.share.groups(grid)

    def memory(self, grid: Grid) -> int:
        """Three trees, candidates, and the rows."""
        return self.share.memory(grid, 2) + (300 + 100 * self.k) * self.slab + (16 << 20)

    def bind(self, values: Values) -> Search:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Slab after slab."""
        about = space.scratch.read(self.points, 0)
        slabs, tasks = len(about["low"]), self.units(space.grid)
        clouds: dict[int, Cloud] = {}

        def cloud(slab: int) -> Cloud:
            if slab not in clouds:
                if len(clouds) == 3:
                    clouds.pop(next(iter(clouds)))
                clouds[slab] = self._load(slab, int(about["pieces"][0]), space)
            return clouds[slab]

        found = [np.zeros((4, 0), np.uint64)]
        for slab in range(unit * slabs // tasks, (unit + 1) * slabs // tasks):
            mine = cloud(slab)
            if len(mine.labels):
                best = mine.nearest(mine.labels, mine.places, self.k, self.limit)
                for side in (-1, 1):
                    best = self._beside(mine, best, slab, side, about, cloud)
                found.append(self._rows(mine, best))
        space.scratch.write(self.name, unit, part_of(summed(found), unit))
        return {}

    def _load(self, slab: int, pieces: int, space: Workspace) -> Cloud:
        """The objects of a slab."""
        parts = [np.zeros((1 + self.ndim, 0), np.uint64)]
        for piece in range(1, pieces + 1):
            parts += space.scratch.read(self.points, piece, [str(slab)]).values()
        points = np.concatenate(parts, axis=1)
        return Cloud(points[0], np.ascontiguousarray(points[1:].view(np.float64).T))

    def _beside(
        self, mine: Cloud, best: Neighbours, slab: int, side: int, about: Mapping[str, Array], cloud: Any
    ) -> Neighbours:
        """Neighbours in the slabs on one side, as far as they can be nearer than those known."""
        place = mine.places[:, self.axis]
        other = slab + side
        while 0 <= other < len(about["low"]):
            gap = about["low"][other] - place if side > 0 else place - about["high"][other]
            gap = np.maximum(gap, 0.0)
            near = (gap * gap <= best.squares[:, -1] * (1 + SLACK)) & (gap <= self.limit * (1 + SLACK))
            active = np.flatnonzero(near)
            if not active.size:
                break
            more = cloud(other).nearest(mine.labels[active], mine.places[active], self.k, self.limit)
            joined = Neighbours(best.labels[active], best.squares[active]).best(more)
            best.labels[active], best.squares[active] = joined
            other += side
        return best

    def _rows(self, mine: Cloud, best: Neighbours) -> Rows:
        """Rows of label, rank, nearest label, bits of the distance."""
        distance = np.sqrt(best.squares)
        kept = np.isfinite(distance) & (distance <= self.limit)
        rank = np.broadcast_to(np.arange(1, self.k + 1, dtype=np.uint64), kept.shape)
        label = np.broadcast_to(mine.labels[:, np.newaxis], kept.shape)
        return np.stack([label[kept], rank[kept], best.labels[kept], distance[kept].view(np.uint64)])


@dataclass(frozen=True)
class NearestColumns:
    """The table's columns: labels in the dtype that the objects' table has."""

    dtype: str
    unit: str

    def columns(self, rows: Rows) -> Mapping[str, Array]:
        """label, neighbour, nearest_label, distance."""
        return {
            "label": rows[0].astype(self.dtype),
            "neighbour": rows[1].astype(np.int64),
            "nearest_label": rows[2].astype(self.dtype),
            "distance": np.ascontiguousarray(rows[3]).view(np.float64),
        }

    def notes(self) -> Mapping[str, str]:
        """What distances are in."""
        return {"unit": self.unit}


class Nearest(TableOp):
    """Nearest neighbours of objects: for each label the labels whose centroids are nearest, and how far.

    A table sorted by label: label, neighbour (1 the nearest, to ``k``), nearest_label, distance between the centroids
    (physical). Of equally near ones the smaller label comes first. Objects without a neighbour (or none within
    ``max_distance``) have no row. Gives ``pairs``, the number of rows; the objects' own table is kept as
    NAME.objects. Cost: that of ``regions``, then 5 to 15 us an object a core; centroids are searched in slabs, so
    that no task holds them all.

    >>> import numpy as np, bigseg
    >>> bigseg.nearest(np.array([[1, 0, 0, 2, 0, 3]], "uint8"))
       label  neighbour  nearest_label  distance
    0      1          1              2       3.0
    1      2          1              3       2.0
    2      3          1              2       2.0
    """

    op: ClassVar[str] = "nearest"
    oracle: ClassVar[str] = "all distances between the centroids of skimage.measure.regionprops_table, 1e-12"
    example: ClassVar[str] = "{id: neighbours, op: nearest, from: grains, k: 3}"

    k: int = Parameter(1, ge=1, le=64, description="neighbours of each object")
    max_distance: Length | None = Parameter(
        None, description='greatest distance, in the unit of the spacing or with one ("20 um"); default: any'
    )

    @field_validator("max_distance")
    @classmethod
    def _positive(cls, value: Length | None) -> Length | None:
        try:
            if value is not None and not parse_length(value, "max_distance").value > 0:
                raise ValueError(f"expected a distance above 0, found {value!r}")
        except ParameterError as error:
            raise ValueError(str(error)) from error
        return value

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """A search in the table of a known set of objects, or of the labels of a file."""
        (field,) = inputs
        refuse_masks(field, site, self.op)
        spec = field.spec
        seen = by_label(field, site)
        table = f"{site.name}.objects"
        seen.objects.table(TableRequest(table, seen.objects.view(seen.view)))
        axis = int(np.argmax([n * step for n, step in zip(spec.shape, spec.spacing, strict=True)]))
        slab = max(1, SLAB // (1 + self.k // 8))
        share = Share(TOGETHER, max(1 / 500, self.k / 5000))
        spread = Spread(f"{site.name}.spread", table, spec, axis, slab)
        search = Search(f"{site.name}.search", spread.name, axis, spec.ndim, self.k, self._limit(spec), slab, share)
        points = Reduction(spread.name, (seen.objects.written,), spread)
        found = Reduction(search.name, (points,), search)
        layout = NearestColumns(label_dtype(spec), spec.unit)
        return keyed_table(site.name, [Source(search.name, TOGETHER)], [found], 2, layout, share=share)

    def _limit(self, spec: Spec) -> float:
        """The greatest distance in the spacing's unit."""
        if self.max_distance is None:
            return float("inf")
        length = parse_length(self.max_distance, "max_distance")
        if not length.unit:
            return length.value
        return convert(length.value, length.unit, known_unit(spec.unit, self.max_distance))
