"""Contact: which objects touch, and through how many voxel faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from bigseg.engine.field import Array, Collect, Field, Reduction, Values, Visit, Workspace
from bigseg.grid import Grid, Shape
from bigseg.local.objects.keyed_rows import Rows, summed
from bigseg.local.objects.pairs import across, count_contacts, values_of
from bigseg.ops.base import Site
from bigseg.ops.components.columns import notes_of
from bigseg.ops.keyed import TOGETHER, Share, Source, TableOp, keyed_table, part_of
from bigseg.ops.objects import refuse_masks
from bigseg.storage.spec import Spec


@dataclass(frozen=True)
class CollectContacts:
    """The faces between the labels of a block, and its planes that meet other blocks."""

    shape: Shape

    def memory(self, inner: Shape) -> int:
        """A hash table with room for one pair in 100 voxels, twice while it grows; planes of up to 8 bytes a voxel."""
        planes = 2 * sum(prod(inner) // side for side in inner)
        return (8 << 20) + 2 * 160 * (prod(inner) // 100) + 8 * planes

    def bind(self, values: Values) -> CollectContacts:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """Sorted rows, and up to six planes."""
        inner = visit.block.inner
        found = part_of(count_contacts(arrays[0]), visit.block.number)
        for axis, size in enumerate(self.shape):
            if inner.start[axis] > 0:
                found[f"low-{axis}"] = arrays[0].take(0, axis)
            if inner.stop[axis] < size:
                found[f"high-{axis}"] = arrays[0].take(-1, axis)
        return found


@dataclass(frozen=True)
class JoinFaces:
    """The faces between blocks: of 16 blocks with the next ones along each axis. Holds two planes and the rows."""

    name: str
    source: str
    ndim: int

    def units(self, grid: Grid) -> int:
        """Blocks in groups."""
        return Share(TOGETHER).groups(grid)

    def memory(self, grid: Grid) -> int:
        """Two planes, packed and not, and 16 blocks' rows."""
        return Share(TOGETHER).memory(grid, self.ndim) + 4 * 8 * max(prod(grid.block) // side for side in grid.block)

    def bind(self, values: Values) -> JoinFaces:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Sorted rows of one group."""
        grid = space.grid
        found = [np.zeros((2 + self.ndim, 0), np.uint64)]
        for number in range(unit * TOGETHER, min((unit + 1) * TOGETHER, len(grid))):
            block = grid[number]
            for axis in range(self.ndim):
                after = grid.neighbour(block, tuple(int(k == axis) for k in range(self.ndim)))
                if after is not None:
                    high = space.scratch.read(self.source, number, [f"high-{axis}"])[f"high-{axis}"]
                    low = space.scratch.read(self.source, after.number, [f"low-{axis}"])[f"low-{axis}"]
                    found.append(across(high, low, axis, self.ndim))
        space.scratch.write(self.name, unit, part_of(summed(found), unit))
        return {}


@dataclass(frozen=True)
class ContactColumns:
    """The table's columns: both labels, faces across each axis, and their physical area."""

    spec: Spec

    def columns(self, rows: Rows) -> Mapping[str, Array]:
        """label_a, label_b, faces-0 …, contact_area."""
        first, second = (values_of(keys, self.spec.dtype) for keys in rows[:2])
        columns = {"label_a": first, "label_b": second}
        area = np.zeros(rows.shape[1])
        for axis, count in enumerate(rows[2:]):
            columns[f"faces-{axis}"] = count.view(np.int64)
            face = prod(step for k, step in enumerate(self.spec.spacing) if k != axis)
            area = area + count.astype(np.float64) * face
        return columns | {"contact_area": area}

    def notes(self) -> Mapping[str, str]:
        """What areas and axes are in."""
        return notes_of(self.spec)


class Contact(TableOp):
    """Pairs of touching objects and the area of their contact: labels that share voxel faces.

    A table with one row a pair, sorted: label_a < label_b, faces-0 … (voxel faces across each axis), contact_area
    (physical: each face counts the product of the other axes' spacings; in 2-D a length). Background, 0, touches
    nothing; objects that meet only at an edge or a corner do not touch. The sum over faces overestimates a smooth
    slanted contact, by up to 1.7. Gives ``pairs``, the number of rows. Above 100,000 rows the table is a folder of
    Parquet files, which pandas.read_parquet reads. Cost: one pass of 1.4 to 5 ns a voxel a core (300 in noise, where
    all voxels lie at a contact); the faces between blocks are joined from their planes, without a halo.

    >>> import numpy as np, bigseg
    >>> bigseg.contact(np.array([[1, 1, 2], [0, 2, 2]], "uint8"))
       label_a  label_b  faces-0  faces-1  contact_area
    0        1        2        1        1           2.0
    """

    op: ClassVar[str] = "contact"
    oracle: ClassVar[str] = "pairs of neighbouring voxels by numpy.unique, exactly"
    example: ClassVar[str] = "{id: touching, op: contact, from: grains}"

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """Faces within blocks, faces between blocks, added up."""
        (field,) = inputs
        refuse_masks(field, site, self.op)
        ndim = field.spec.ndim
        collect = Collect(f"{site.name}.contacts", [field], CollectContacts(field.spec.shape))
        faces = Reduction(f"{site.name}.faces", (collect,), JoinFaces(f"{site.name}.faces", collect.name, ndim))
        sources = [Source(collect.name), Source(faces.name, TOGETHER)]
        return keyed_table(site.name, sources, [collect, faces], ndim, ContactColumns(field.spec))
