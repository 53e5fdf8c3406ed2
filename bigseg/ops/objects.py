"""Objects: labels, removal by size, and what operations on objects share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Parameter

from bigseg.engine.field import Field, Reduction
from bigseg.errors import ParameterError, PipelineError
from bigseg.ops.base import Masking, Op, Site, Size, in_count
from bigseg.ops.components.choosing import View
from bigseg.ops.components.judging import Condition, Predicate
from bigseg.ops.components.labelling import Foreground, Identity
from bigseg.ops.components.numbering import TellCount
from bigseg.ops.components.volume import Objects, Seen
from bigseg.ops.hysteresis import check_connectivity
from bigseg.storage.spec import Spec

OBJECT = "what is one object of a mask; 1..ndim as scikit-image"
RELABEL = "number the labels that are left 1..N"


class Label(Op):
    """Connected components of the voxels that are not background, numbered 1..N in raster order of their first voxel.

    Exactly scipy.ndimage.label's array; with ``multivalued`` touching voxels must hold the same value, too, exactly as
    skimage.measure.label; on ``periodic`` axes the last voxel touches the first. dtype uint32: more than 4,294,967,295
    objects are refused after the first pass, before anything is written, and need ``dtype: uint64``. Where the input
    is a mask of components with the same connectivity (after hysteresis, remove_small, select …), nothing is labelled
    again. Cost: two passes, about 4 ns a voxel a core each.

    >>> import numpy as np, bigseg
    >>> bigseg.label(np.array([[1, 0, 1, 1]], "uint8"))
    array([[1, 0, 2, 2]], dtype=uint32)
    >>> bigseg.label(np.array([[1, 0, 2, 1]], "uint8"), multivalued=True, periodic=["x"])
    array([[1, 0, 2, 1]], dtype=uint32)
    """

    op: ClassVar[str] = "label"
    oracle: ClassVar[str] = "scipy.ndimage.label, with multivalued skimage.measure.label, exactly"
    example: ClassVar[str] = "{id: objects, op: label, connectivity: 3}"
    masked: ClassVar[Masking] = "input"

    connectivity: int = Parameter(1, ge=1, le=3, description="1..ndim as scikit-image; 3-D: 6, 18, 26 neighbours")
    background: int = Parameter(0, description="the value of voxels that belong to no object")
    multivalued: bool = Parameter(False, description="objects are of one value each: touching classes stay apart")
    periodic: tuple[str, ...] = Parameter((), description="axes on which the last voxel touches the first: [x, y]")
    dtype: Literal["uint32", "uint64"] = Parameter("uint32", description="of the labels")

    def outside(self, spec: Spec) -> float:
        """The background."""
        return self.background

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """The labels of a known set of components, or of a new one."""
        (field,) = inputs
        check_connectivity(self.connectivity, field, site)
        refuse_floats(field, site, self.op)
        seen = same_components(field, self.connectivity)
        if seen is not None and seen.kind == "mask" and not (self.background or self.periodic):
            return seen.objects.field(site, View(seen.view.shown, seen.view.shown), "labels", self.dtype)
        dtype = field.spec.dtype
        least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if not least <= self.background <= most:
            raise ParameterError(
                f"step {site.name!r}: background {self.background} is no value of {dtype}, the dtype of "
                f"{field.name!r}: expected {least} to {most}"
            )
        foreground = Foreground(background=self.background)
        identity: Identity = "valued" if self.multivalued else "touching"
        around = self._periodic(field, site)
        objects = Objects.of(field, site, foreground, self.connectivity, site.after(self), identity, around)
        return objects.field(site, View(), "labels", self.dtype)

    def _periodic(self, field: Field, site: Site) -> tuple[bool, ...]:
        axes = field.spec.axes
        if unknown := [name for name in self.periodic if name not in axes]:
            raise ParameterError(
                f"step {site.name!r}: periodic axis {unknown[0]!r}: the volume's axes are {', '.join(axes)}"
            )
        return tuple(name in self.periodic for name in axes) if self.periodic else ()


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
    masked: ClassVar[Masking] = "input"

    min_size: Size = Parameter(description='smallest object that is kept: voxels, or with a unit ("100 um3")')
    connectivity: int = Parameter(1, ge=1, le=3, description=OBJECT)
    relabel: bool = Parameter(False, description=RELABEL)

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """One more condition on a known set of components, or on a new one."""
        (field,) = inputs
        seen = find_objects(field, site, self.connectivity, self.op)
        least = in_count(self.min_size, field.spec, up=True)
        return keep(seen, site, Condition("size", "at least", least), self.relabel)


class CountObjects(Op):
    """The number of connected components, and nothing else: for volumes whose objects no table could hold.

    Gives ``objects``, exactly the count of scipy.ndimage.label. Only the components that reach a face of their block
    are ever stored; memory and scratch depend on the faces, not on the number of objects. Cost: one pass, about 4 ns
    a voxel a core.

    >>> import numpy as np, bigseg
    >>> bigseg.count_objects(np.array([[1, 0, 1, 1]], "uint8"))
    {'objects': 2}
    """

    op: ClassVar[str] = "count_objects"
    oracle: ClassVar[str] = "the count of scipy.ndimage.label, exactly"
    example: ClassVar[str] = "{id: count, op: count_objects, connectivity: 1}"

    connectivity: int = Parameter(1, ge=1, le=3, description="1..ndim as scikit-image; 3-D: 6, 18, 26 neighbours")

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """The count of a known set of components, or of a new one."""
        (field,) = inputs
        refuse_floats(field, site, self.op)
        seen = find_objects(field, site, self.connectivity, self.op) if is_mask(field) else None
        if seen is None:
            check_connectivity(self.connectivity, field, site)
            seen = Seen(Objects.of(field, site, Foreground(), self.connectivity), View(), "mask")
        number = seen.objects.view(View(seen.view.shown, seen.view.shown))
        return Reduction(site.name, (seen.objects.merge,), TellCount(seen.objects.merge.name, number), [], ("objects",))


def names_of(volumes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """One name, or several, or none, as a list."""
    return (volumes,) if isinstance(volumes, str) else volumes or ()


def is_mask(field: Field) -> bool:
    """Whether a field holds one class of voxels, not labels."""
    return field.spec.kind == "mask" or field.spec.dtype.kind == "b"


def same_components(field: Field, connectivity: int) -> Seen | None:
    """The set of components that a field shows, if a labelling with this connectivity would find the same."""
    seen = field.tag
    if not isinstance(seen, Seen) or seen.objects.labelling.identity != "touching":
        return None
    labelling = seen.objects.labelling
    return seen if labelling.connectivity == connectivity and not labelling.periodic else None


def by_label(field: Field, site: Site) -> Seen:
    """The objects of a label image: a known set of components, or one by equal values, all but 0."""
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


def refuse_masks(field: Field, site: Site, op: str) -> None:
    """What tells objects apart by their labels needs labels.

    Raises
    ------
    PipelineError
    """
    refuse_floats(field, site, op)
    if is_mask(field):
        raise PipelineError(
            f"step {site.name!r}: {op} needs labels, its input is a mask, all of one label: put a label or split step "
            "before it"
        )


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
