"""Objects: labels, removal by size, and the table of regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field as Parameter

from bigseg.engine.field import Field, Reduction
from bigseg.errors import PipelineError
from bigseg.ops.base import Masking, Op, Site, Size, in_count
from bigseg.ops.components import Objects, Seen, depends
from bigseg.ops.hysteresis import check_connectivity
from bigseg.ops.labelling import Foreground
from bigseg.ops.merging import View
from bigseg.ops.table import Condition, Predicate, TableRequest


class Label(Op):
    """Connected components of the voxels that are not zero, numbered 1..N in raster order of their first voxel.

    Exactly scipy.ndimage.label's array; dtype uint32. Where the input is a mask of components with the same
    connectivity (after hysteresis, remove_small, select …), nothing is labelled again. Cost: two passes, about 4 ns a
    voxel a core each.

    >>> import numpy as np, bigseg
    >>> bigseg.label(np.array([[1, 0, 1, 1]], "uint8"))
    array([[1, 0, 2, 2]], dtype=uint32)
    """

    op: ClassVar[str] = "label"
    oracle: ClassVar[str] = "scipy.ndimage.label, exactly"
    example: ClassVar[str] = "{id: objects, op: label, connectivity: 3}"
    masked: ClassVar[Masking] = "input"

    connectivity: int = Parameter(1, ge=1, le=3, description="1..ndim as scikit-image; 3-D: 6, 18, 26 neighbours")

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """The labels of a known set of components, or of a new one."""
        (field,) = inputs
        check_connectivity(self.connectivity, field, site)
        refuse_floats(field, site, self.op)
        seen = same_components(field, self.connectivity)
        if seen is not None and seen.kind == "mask":
            return seen.objects.field(site, View(seen.view.shown, seen.view.shown), "labels")
        objects = Objects.of(field, site, Foreground(), self.connectivity, site.after(self))
        return objects.field(site, View(), "labels")


class RemoveSmall(Op):
    """Keep the objects of ``min_size`` voxels and more, or of a volume like "100 um3" and more.

    On a mask, objects are its components; on labels, each label is an object, and ids are kept unless
    ``relabel``. Cost: nothing after an operation on the same components, else two passes.

    >>> import numpy as np, bigseg
    >>> bigseg.remove_small(np.array([[True, False, True, True]]), min_size=2)
    array([[False, False,  True,  True]])
    """

    op: ClassVar[str] = "remove_small"
    oracle: ClassVar[str] = "skimage.morphology.remove_small_objects, exactly"
    example: ClassVar[str] = "{id: clean, op: remove_small, min_size: 27}"

    min_size: Size = Parameter(description='smallest object that is kept: voxels, or with a unit ("100 um3")')
    connectivity: int = Parameter(1, ge=1, le=3, description="what is one object of a mask; 1..ndim as scikit-image")
    relabel: bool = Parameter(False, description="number the labels that are left 1..N")

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """One more condition on a known set of components, or on a new one."""
        (field,) = inputs
        seen = find_objects(field, site, self.connectivity, self.op)
        least = in_count(self.min_size, field.spec, up=True)
        return keep(seen, site, Condition("size", "at least", least), self.relabel)


class Regions(Op):
    """A table of objects: one row each, as Parquet, measured in the passes that label them.

    Columns as skimage.measure.regionprops_table names them: label, num_pixels, area (physical: num_pixels times
    the voxel's size), bbox, centroid (physical), and of each intensity volume min, max, mean and std. Exact for
    any blocks: sums are integers; float intensities are rounded to 30 bits of their range. Cost: about 1 ns a
    voxel and intensity volume a core; no pass of its own after ``label``.

    >>> import numpy as np, bigseg
    >>> bigseg.regions(np.array([[1, 0, 2, 2]], "uint8"))["num_pixels"].tolist()
    [1, 2]
    """

    op: ClassVar[str] = "regions"
    oracle: ClassVar[str] = "skimage.measure.regionprops_table; integers exactly, means within 1e-9 (30-bit floats)"
    example: ClassVar[str] = "{id: regions, op: regions, intensity: input}"
    refers: ClassVar[tuple[str, ...]] = ("intensity",)

    intensity: str | tuple[str, ...] | None = Parameter(
        None, description="the input or step (or a list) whose values are measured on the objects"
    )

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """A table on a known set of components, or on the labels of a file."""
        (field,) = inputs
        refuse_floats(field, site, self.op)
        if is_mask(field):
            raise PipelineError(
                f"step {site.name!r}: regions needs labels, its input is a mask: put a label step before it"
            )
        seen = by_label(field, site)
        names = (
            () if self.intensity is None else (self.intensity,) if isinstance(self.intensity, str) else self.intensity
        )
        sources = [named_volume(name, site) for name in names]
        if any(depends(source, seen.objects.merge) for source in sources):
            seen = by_label(replace(field, tag=None), site)  # measured on what the labels decide: a pass of its own
        for source in sources:
            seen.objects.measure(source, ("min", "max", "sum"))
        items = {item.index: item for item in seen.objects.measures}
        indexes = [seen.objects.collect.fields.index(source) for source in sources]
        asked = tuple((name, items[index]) for name, index in zip(names, indexes, strict=True))
        seen.objects.table(TableRequest(site.name, seen.objects.view(seen.view), asked))
        return seen.objects.merge


def named_volume(name: str, site: Site) -> Field:
    """The step or input that an intensity names.

    Raises
    ------
    PipelineError
        When it is none before this step.
    """
    source = site.steps.get(name)
    if not isinstance(source, Field):
        known = ", ".join(key for key, item in site.steps.items() if isinstance(item, Field))
        raise PipelineError(f"step {site.name!r}: intensity {name!r} is no volume before it; those are {known}")
    return source


def is_mask(field: Field) -> bool:
    """Whether a field holds one class of voxels, not labels."""
    return field.spec.kind == "mask" or field.spec.dtype.kind == "b"


def same_components(field: Field, connectivity: int) -> Seen | None:
    """The set of components that a field shows, if a labelling with this connectivity would find the same."""
    seen = field.tag
    if not isinstance(seen, Seen) or seen.objects.labelling.identity != "touching":
        return None
    return seen if seen.objects.labelling.connectivity == connectivity else None


def by_label(field: Field, site: Site) -> Seen:
    """The objects of a label image: a known set of components, or one by equal values."""
    if isinstance(field.tag, Seen) and field.tag.kind == "labels":
        return field.tag
    objects = Objects.of(field, site, Foreground(), 1, identity="equal")
    return Seen(objects, View(), "labels")


def find_objects(field: Field, site: Site, connectivity: int, op: str) -> Seen:
    """What a predicate chooses from: the components of a mask, or each label; a known set, or a new one.

    Raises
    ------
    PipelineError, ParameterError
        When the field holds floats, or the connectivity does not fit its axes.
    """
    refuse_floats(field, site, op)
    if not is_mask(field):
        return by_label(field, site)
    check_connectivity(connectivity, field, site)
    seen = same_components(field, connectivity)
    if seen is None:
        seen = Seen(Objects.of(field, site, Foreground(), connectivity), View(), "mask")
    return seen


def keep(seen: Seen, site: Site, predicate: Predicate, relabel: bool) -> Field:
    """The objects shown so far for which a predicate holds; labels keep their ids unless ``relabel``.

    Raises
    ------
    PipelineError
        When labels of a file should be numbered anew.
    """
    chosen = (*seen.view.shown, predicate)
    if seen.kind == "mask":
        return seen.objects.field(site, View(chosen, chosen), "mask")
    if relabel and seen.objects.labelling.identity == "equal":
        raise PipelineError(
            f"step {site.name!r}: relabel is not possible for labels that were read from a file: label the mask instead"
        )
    view = View(chosen, chosen) if relabel else replace(seen.view, shown=chosen)
    return seen.objects.field(site, view, "labels")


def refuse_floats(field: Field, site: Site, op: str) -> None:
    """Objects are made of integers.

    Raises
    ------
    PipelineError
    """
    if field.spec.dtype.kind == "f":
        raise PipelineError(
            f"step {site.name!r}: {op} needs a mask or labels, its input {field.name!r} is {field.spec.dtype}: "
            "put a threshold or hysteresis step before it"
        )
