"""Hysteresis: components of the weak mask that contain a strong voxel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Parameter
from pydantic import model_validator

from bigseg.engine.field import Field
from bigseg.errors import ParameterError
from bigseg.ops.base import LeastSize, Lengths, Masking, Number, Op, Site, in_count
from bigseg.ops.combine import as_single
from bigseg.ops.components.choosing import View
from bigseg.ops.components.judging import Condition
from bigseg.ops.components.labelling import Foreground
from bigseg.ops.components.volume import Objects
from bigseg.ops.footprint import Neighbours
from bigseg.ops.growing import grown_field
from bigseg.ops.morphology import Dilation, Opening
from bigseg.ops.threshold import Threshold
from bigseg.storage.spec import Spec


class Hysteresis(Op):
    """Mask of the weak components that hold at least one strong voxel, over the whole volume.

    ``polarity: above``: seeds are > high and grow through > low; ``below``: seeds are < low and grow through
    < high. Whether a component holds a seed is read from the table of components, so the seed threshold and
    ``min_size`` can be changed later without a pass. Cost: two passes, about 4 ns a voxel a core each.

    Noise makes false seeds: ``opening`` takes from the strict mask what its footprint does not fit into (costs: as
    the operation, within the first pass); ``seed_min_size`` then takes its components of fewer voxels (two passes
    more). With ``iterations`` the result is bounded: not the whole weak component, but n dilations of the strict
    mask by ``footprint`` and ``radius``, each cut to the weak mask. That is local: depth n times the footprint's,
    one pass of about 0.5 ns a voxel and iteration a core, and 3 to 4 ns for each voxel that is taken and voxel of
    the footprint. Half precision is compared as float32.

    >>> import numpy as np, bigseg
    >>> image = np.array([[1, 2, 3, 2, 2, 0, 2]], "uint8")
    >>> bigseg.hysteresis(image, low=1, high=2).astype(int)
    array([[0, 1, 1, 1, 1, 0, 0]])
    >>> bigseg.hysteresis(image, low=1, high=2, iterations=1, footprint="cross", radius=1).astype(int)
    array([[0, 1, 1, 1, 0, 0, 0]])
    """

    op: ClassVar[str] = "hysteresis"
    oracle: ClassVar[str] = (
        "skimage.filters.apply_hysteresis_threshold; with iterations: n x skimage.morphology.dilation & weak; exactly"
    )
    example: ClassVar[str] = "{id: voids, op: hysteresis, low: 55, high: 70, polarity: below, min_size: 27}"

    masked: ClassVar[Masking] = "input"

    low: Number = Parameter(description="the lower threshold: weak for polarity above, strict for below")
    high: Number = Parameter(description="the higher threshold: strict for polarity above, weak for below")
    polarity: Literal["above", "below"] = Parameter("above", description="whether objects are bright or dark")
    connectivity: int = Parameter(1, ge=1, le=3, description="1..ndim as scikit-image; 3-D: 6, 18, 26 neighbours")
    min_size: LeastSize = Parameter(0, description='smallest object that is kept: voxels, or with a unit ("100 um3")')
    seed_min_size: LeastSize = Parameter(
        0, description="components of the strict mask are seeds if they have this many voxels (or this volume) or more"
    )
    opening: Opening | None = Parameter(
        None, description="opening of the strict mask: {footprint: ball, radius: 1}, as the operation `opening`"
    )
    iterations: int | None = Parameter(
        None, ge=1, le=1000, description="bounded form: dilations of the seeds, each cut to the weak mask"
    )
    footprint: Neighbours = Parameter(
        None, description="of these dilations: ball (default; of 2-D images a disk), disk (in each plane), box, cross"
    )
    radius: Lengths | None = Parameter(
        None, description='of this footprint, in voxels, or with a unit ("2.5 um"); one or one per axis; default 1'
    )

    @model_validator(mode="after")
    def _ordered(self) -> Hysteresis:
        if not isinstance(self.low, str) and not isinstance(self.high, str) and self.low > self.high:
            raise ValueError(f"expected low <= high, found low {self.low} and high {self.high}")
        if self.iterations is None and (self.footprint is not None or self.radius is not None):
            raise ValueError("expected `footprint` and `radius` with `iterations`; those of the opening stand in it")
        if self.iterations is not None:
            Dilation(footprint=self.footprint, radius=self.radius)
        return self

    def outside(self, spec: Spec) -> float:
        """The least value the dtype has, or the greatest: never weak.

        Raises
        ------
        ParameterError
            When even that is weak, as every voxel then is.
        """
        above = self.polarity == "above"
        least, greatest = 0, 1
        if spec.dtype.kind != "b":
            info = np.finfo(spec.dtype) if spec.dtype.kind == "f" else np.iinfo(spec.dtype)
            least, greatest = info.min, info.max
        never, weak = (least, self.low) if above else (greatest, self.high)
        if not isinstance(weak, str) and (weak < never if above else weak > never):
            raise ParameterError(
                f"hysteresis {self.polarity} {weak} with a mask: every voxel of {spec.dtype} is weak; give a threshold "
                f"from {least} to {greatest}"
            )
        return never if isinstance(never, int) else float(never)

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """Components of the weak mask, then those that hold a seed; or seeds, grown within the weak mask."""
        field = as_single(inputs[0], site)
        check_connectivity(self.connectivity, field, site)
        if self.iterations is not None:
            return self._bounded(field, site)
        above = self.polarity == "above"
        weak = Foreground(above=self.low) if above else Foreground(below=self.high)
        objects = Objects.of(field, site, weak, self.connectivity, site.after(self))
        if self.opening is None and not _large(self.seed_min_size, field.spec):
            extreme = "max" if above else "min"
            column = objects.measure(field, (extreme,)) + extreme
            strict = Condition(column, "above", self.high) if above else Condition(column, "below", self.low)
        else:
            strict = Condition(objects.measure(self._seeds(field, site), ("max",)) + "max", "above", 0)
        chosen = (strict, *_large(self.min_size, field.spec))
        return objects.field(site, View(chosen, chosen), "mask")

    def _seeds(self, field: Field, site: Site) -> Field:
        """The strict mask, opened, without its small components."""
        above = self.polarity == "above"
        strict = Threshold(above=self.high) if above else Threshold(below=self.low)
        seeds = strict.build([field], Site(f"{site.name}.strict", site.steps))
        if self.opening is not None:
            seeds = self.opening.build([seeds], Site(f"{site.name}.opened", site.steps))
        large = _large(self.seed_min_size, field.spec)
        if large:
            inner = Site(f"{site.name}.seeds", site.steps)
            objects = Objects.of(seeds, inner, Foreground(), self.connectivity)
            seeds = objects.field(inner, View(large, large), "mask")
        return seeds

    def _bounded(self, field: Field, site: Site) -> Field:
        """Seeds grown step by step; then its components, where small ones are to go."""
        assert self.iterations is not None
        above = self.polarity == "above"
        weak = Threshold(above=self.low) if above else Threshold(below=self.high)
        inner = Site(f"{site.name}.weak", site.steps)
        around = Dilation(footprint=self.footprint, radius=self.radius)
        large = _large(self.min_size, field.spec)
        name = f"{site.name}.grown" if large else site.name
        grown = grown_field(name, self._seeds(field, site), weak.build([field], inner), around, self.iterations, True)
        if not large:
            return grown
        objects = Objects.of(grown, site, Foreground(), self.connectivity)
        return objects.field(site, View(large, large), "mask")


def _large(size: LeastSize, spec: Spec) -> tuple[Condition, ...]:
    """What keeps objects of a size and more; nothing, where every object is as large."""
    least = in_count(size, spec, up=True) if size else 0
    return (Condition("size", "at least", least),) if least > 1 else ()


def check_connectivity(connectivity: int, field: Field, site: Site) -> None:
    """Refuse more neighbours than the volume has axes for.

    Raises
    ------
    ParameterError
    """
    if connectivity > field.spec.ndim:
        raise ParameterError(
            f"step {site.name!r}: connectivity {connectivity} in a {field.spec.ndim}-D volume: "
            f"expected 1 to {field.spec.ndim}"
        )
