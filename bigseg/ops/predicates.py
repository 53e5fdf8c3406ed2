"""Objects chosen: by size, by place, by an expression on their table; and holes filled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field as Parameter

from bigseg.engine.field import Field, Reduction
from bigseg.errors import PipelineError
from bigseg.local.components.values import COMPARED, SUMMED
from bigseg.local.expression import MOST_CHARACTERS, Expression, references
from bigseg.local.filters.footprints import whole
from bigseg.ops.base import Lengths, Masking, Op, Site, Size, in_count, in_voxels
from bigseg.ops.components.choosing import View
from bigseg.ops.components.conditions import Chosen, Inside, Largest, read_expression, second_columns
from bigseg.ops.components.judging import Condition, Predicate
from bigseg.ops.components.labelling import Foreground
from bigseg.ops.components.measures import Measure
from bigseg.ops.components.volume import Objects, Seen, depends
from bigseg.ops.hysteresis import check_connectivity
from bigseg.ops.objects import OBJECT, RELABEL, find_objects, keep, names_of, refuse_floats
from bigseg.ops.regions import refuse_intensity
from bigseg.storage.spec import Spec


class RemoveLarge(Op):
    """Keep the objects of at most ``max_size`` voxels, or of a volume like "100 um3" and less.

    On a mask, objects are its components; on labels, each label is an object, and ids are kept unless
    ``relabel``. Cost: nothing after an operation on the same components, else two passes.

    >>> import numpy as np, bigseg
    >>> bigseg.remove_large(np.array([[True, False, True, True]]), max_size=1)
    array([[ True, False, False, False]])
    """

    op: ClassVar[str] = "remove_large"
    oracle: ClassVar[str] = "the mask without skimage.morphology.remove_small_objects(max_size), exactly"
    example: ClassVar[str] = '{id: fine, op: remove_large, max_size: "500 um3"}'
    masked: ClassVar[Masking] = "input"

    max_size: Size = Parameter(description='largest object that is kept: voxels, or with a unit ("100 um3")')
    connectivity: int = Parameter(1, ge=1, le=3, description=OBJECT)
    relabel: bool = Parameter(False, description=RELABEL)

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """One more condition on a known set of components, or on a new one."""
        (field,) = inputs
        seen = find_objects(field, site, self.connectivity, self.op)
        most = in_count(self.max_size, field.spec, up=False)
        return keep(seen, site, Condition("size", "at most", most), self.relabel)


class KeepLargest(Op):
    """Keep the ``k`` largest objects; of equal ones those whose first voxel comes earlier in raster order.

    On a mask, objects are its components; on labels, each label is an object, and ids are kept unless
    ``relabel``. Cost: nothing after an operation on the same components, else two passes.

    >>> import numpy as np, bigseg
    >>> bigseg.keep_largest(np.array([[True, False, True, True]]))
    array([[False, False,  True,  True]])
    """

    op: ClassVar[str] = "keep_largest"
    oracle: ClassVar[str] = "scipy.ndimage.label and numpy.bincount, exactly"
    example: ClassVar[str] = "{id: rock, op: keep_largest, k: 1, connectivity: 1}"
    masked: ClassVar[Masking] = "input"

    k: int = Parameter(1, ge=1, description="how many objects are kept")
    connectivity: int = Parameter(1, ge=1, le=3, description=OBJECT)
    relabel: bool = Parameter(False, description=RELABEL)

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """One more condition on a known set of components, or on a new one."""
        (field,) = inputs
        return keep(find_objects(field, site, self.connectivity, self.op), site, Largest(self.k), self.relabel)


class ClearBorder(Op):
    """Remove the objects that touch the edge of the volume, or come closer to it than ``buffer_size``.

    On a mask, objects are its components; on labels, each label is an object, and ids are kept unless
    ``relabel``. Cost: nothing after an operation on the same components, else two passes.

    >>> import numpy as np, bigseg
    >>> bigseg.clear_border(np.array([[0, 0, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]], "uint8"))
    array([[0, 0, 0, 0],
           [0, 0, 2, 0],
           [0, 0, 0, 0]], dtype=uint8)
    """

    op: ClassVar[str] = "clear_border"
    oracle: ClassVar[str] = "skimage.segmentation.clear_border (which takes connectivity ndim), exactly"
    example: ClassVar[str] = "{id: whole, op: clear_border}"

    buffer_size: Lengths = Parameter(
        0, description='width of the edge beyond its first voxel: voxels, or with a unit ("5 um"); one or one per axis'
    )
    connectivity: int = Parameter(1, ge=1, le=3, description=OBJECT)
    relabel: bool = Parameter(False, description=RELABEL)

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """One more condition on a known set of components, or on a new one."""
        (field,) = inputs
        margin = whole(in_voxels(self.buffer_size, field.spec, "buffer_size"))
        seen = find_objects(field, site, self.connectivity, self.op)
        return keep(seen, site, Inside(field.spec.shape, margin), self.relabel)


class Select(Op):
    """Keep the objects for which an expression on their table holds.

    Columns as of ``regions``: ``num_pixels``, ``area`` (physical; in 3-D also ``volume``), ``bbox-0`` …,
    ``centroid-0`` …, ``area_bbox``, ``axis_major_length``, ``axis_minor_length`` (in 2-D also ``eccentricity``,
    ``orientation``), then ``equivalent_diameter``, ``extent``, ``touches_edge``, and with ``intensity``
    ``intensity_min``, ``_max``, ``_mean``, ``_std``, ``_sum`` (of several volumes ``intensity_mean-NAME``). Numbers
    may have a unit; numbers without are in the table's. Operators as in Python, ``min max abs sqrt where clip``, and
    values of earlier steps as ``${step.key}``. Ids are kept unless ``relabel``. Cost: nothing after an operation on
    the same components but the intensities' share, else two passes.

    >>> import numpy as np, bigseg
    >>> bigseg.select(np.array([[1, 0, 2, 2, 0]], "uint8"), expression="num_pixels > 1 and extent == 1")
    array([[0, 0, 2, 2, 0]], dtype=uint8)
    """

    op: ClassVar[str] = "select"
    oracle: ClassVar[str] = "the expression on skimage.measure.regionprops_table, exactly"
    example: ClassVar[str] = '{id: grains, op: select, expression: "volume > 100 um3 and not touches_edge"}'
    refers: ClassVar[tuple[str, ...]] = ("intensity",)
    masked: ClassVar[Masking] = "input"

    expression: str = Parameter(
        min_length=1, max_length=MOST_CHARACTERS, description='a condition, as "volume > 100 um3 and not touches_edge"'
    )
    intensity: str | tuple[str, ...] | None = Parameter(
        None, description="the input or step (or a list) whose values the intensity columns are of"
    )
    connectivity: int = Parameter(1, ge=1, le=3, description=OBJECT)
    relabel: bool = Parameter(False, description=RELABEL)

    def references(self) -> Iterator[tuple[str, str, str]]:
        """Those within the expression."""
        for step, key in references(self.expression):
            yield "expression", step, key

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """One more condition on a known set of components, or on a new one, with the measures that it needs."""
        (field,) = inputs
        names = names_of(self.intensity)
        sources = {"" if len(names) == 1 else f"-{name}": site.volume(name, "intensity") for name in names}
        after = site.after(self)
        seen = find_objects(field, site, self.connectivity, self.op)
        needs: list[Field | Reduction] = [*sources.values(), *after]
        if any(depends(node, seen.objects.merge) for node in needs):
            # asked of what the objects decide: a labelling of its own
            seen = find_objects(replace(field, tag=None), site, self.connectivity, self.op)
        asked = self._asked(field.spec, tuple(sources), site)
        if second_columns(field.spec.ndim).keys() & set(asked.names):
            seen.objects.measure(seen.objects.collect.fields[0], ("second",))
        seen.objects.wait_for(after)
        measures = _measures(seen, asked, sources, site)
        return keep(seen, site, Chosen(asked, field.spec, measures), self.relabel)

    def _asked(self, spec: Spec, tails: tuple[str, ...], site: Site) -> Expression:
        """The expression, read and found to be a condition on columns that there are."""
        asked, found = read_expression(self.expression, spec, tails, site)
        if found.dtype != np.bool_ or not asked.names:
            raise PipelineError(
                f"step {site.name!r}: expression {self.expression!r:.100}: expected a condition on a column, as "
                "`num_pixels > 100`"
            )
        return asked


def _measures(
    seen: Seen, asked: Expression, sources: Mapping[str, Field], site: Site
) -> tuple[tuple[str, Measure], ...]:
    """Have the objects measured as far as an expression asks; ending of the column names, and measure.

    Raises
    ------
    PipelineError
        When a dtype cannot be added up, or not be compared.
    """
    found: dict[str, int] = {}
    for tail, source in sources.items():
        what = [name for name in ("min", "max") if f"intensity_{name}{tail}" in asked.names]
        if any(f"intensity_{name}{tail}" in asked.names for name in ("mean", "std", "sum")):
            what = ["min", "max", "sum"]
        if what:
            refuse_intensity(source, site, SUMMED if "sum" in what else COMPARED)
            seen.objects.measure(source, tuple(what))
            found[tail] = seen.objects.collect.fields.index(source)
    items = {item.index: item for item in seen.objects.measures}
    return tuple((tail, items[index]) for tail, index in found.items())


class FillHoles(Op):
    """Fill the holes of a mask: components of its background that do not touch the edge of the volume.

    ``connectivity`` is that of the holes, as of scipy and scikit-image: 1 goes with objects of connectivity
    ndim, ndim with objects of connectivity 1. Cost: two passes, about 4 ns a voxel a core each.

    >>> import numpy as np, bigseg
    >>> bigseg.fill_holes(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)).all()
    np.True_
    """

    op: ClassVar[str] = "fill_holes"
    oracle: ClassVar[str] = "scipy.ndimage.binary_fill_holes, exactly; with max_size those of its holes"
    example: ClassVar[str] = "{id: solid, op: fill_holes, max_size: 64}"

    max_size: Size | None = Parameter(
        None, description='largest hole that is filled: voxels, or with a unit ("100 um3"); default: all'
    )
    connectivity: int = Parameter(1, ge=1, le=3, description="what is one hole; 1..ndim as scikit-image")

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """The background's components, judged by their boxes and sizes."""
        (field,) = inputs
        refuse_floats(field, site, self.op)
        if field.spec.kind == "labels":
            raise PipelineError(
                f"step {site.name!r}: fill_holes needs a mask, its input {field.name!r} is labels, where a hole may "
                "lie between several: fill the mask before the label step"
            )
        check_connectivity(self.connectivity, field, site)
        holes: tuple[Predicate, ...] = (Inside(field.spec.shape, (0,) * field.spec.ndim),)
        if self.max_size is not None:
            holes += (Condition("size", "at most", in_count(self.max_size, field.spec, up=False)),)
        background = Foreground(above=-1, below=1)
        objects = Objects.of(field, site, background, self.connectivity)
        return objects.and_rest(site, View(holes, holes))
