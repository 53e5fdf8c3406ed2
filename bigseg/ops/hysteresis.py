"""Hysteresis: components of the weak mask that contain a strong voxel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field as Parameter
from pydantic import model_validator

from bigseg.engine.field import Field
from bigseg.errors import ParameterError
from bigseg.ops.base import Number, Op, Site
from bigseg.ops.components import Objects
from bigseg.ops.labelling import Foreground
from bigseg.ops.merging import View
from bigseg.ops.table import Condition


class Hysteresis(Op):
    """Mask of the weak components that hold at least one strong voxel, over the whole volume.

    ``polarity: above``: seeds are > high and grow through > low; ``below``: seeds are < low and grow through
    < high. Whether a component holds a seed is read from the table of components, so the seed threshold and
    ``min_size`` can be changed later without a pass. Cost: two passes, about 4 ns a voxel a core each.

    >>> import numpy as np, bigseg
    >>> bigseg.hysteresis(np.array([[1, 2, 3, 0, 2]], "uint8"), low=1, high=2)
    array([[False,  True,  True, False, False]])
    """

    op: ClassVar[str] = "hysteresis"
    oracle: ClassVar[str] = "skimage.filters.apply_hysteresis_threshold (connectivity 1), scipy.ndimage.label, exactly"
    example: ClassVar[str] = "{id: voids, op: hysteresis, low: 55, high: 70, polarity: below, min_size: 27}"

    low: Number = Parameter(description="the lower threshold: weak for polarity above, strict for below")
    high: Number = Parameter(description="the higher threshold: strict for polarity above, weak for below")
    polarity: Literal["above", "below"] = Parameter("above", description="whether objects are bright or dark")
    connectivity: int = Parameter(1, ge=1, le=3, description="1..ndim as scikit-image; 3-D: 6, 18, 26 neighbours")
    min_size: int = Parameter(0, ge=0, description="keep objects of this many voxels and more")

    @model_validator(mode="after")
    def _ordered(self) -> Hysteresis:
        if isinstance(self.low, float) and isinstance(self.high, float) and self.low > self.high:
            raise ValueError(f"expected low <= high, found low {self.low} and high {self.high}")
        return self

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """Components of the weak mask with the extreme of each, then those that reach the strict threshold."""
        (field,) = inputs
        check_connectivity(self.connectivity, field, site)
        above = self.polarity == "above"
        weak = Foreground(above=self.low) if above else Foreground(below=self.high)
        objects = Objects.of(field, site, weak, self.connectivity, site.after(self))
        extreme = "max" if above else "min"
        column = objects.measure(field, (extreme,)) + extreme
        strict = Condition(column, "above", self.high) if above else Condition(column, "below", self.low)
        chosen = (strict, *((Condition("size", "at least", self.min_size),) if self.min_size > 1 else ()))
        return objects.field(site, View(chosen, chosen), "mask")


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
