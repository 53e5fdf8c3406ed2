"""One threshold, or a band between two."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field as Parameter
from pydantic import model_validator

from bigseg.engine.field import Array
from bigseg.errors import ParameterError
from bigseg.grid import Shape
from bigseg.local.thresholds.compare import between
from bigseg.ops.base import LocalOp, Number
from bigseg.storage.spec import Spec


class Threshold(LocalOp):
    """Mask of the voxels strictly above a value, below a value, or in the band between two.

    Depth 0. Cost: about 0.5 ns a voxel a core.

    >>> import numpy as np, bigseg
    >>> bigseg.threshold(np.array([[1, 5, 9]]), above=1, below=9)
    array([[False,  True, False]])
    """

    op: ClassVar[str] = "threshold"
    oracle: ClassVar[str] = "numpy: (x > above) & (x < below), exactly"
    example: ClassVar[str] = "{id: bone, op: threshold, above: 120}"

    above: Number | None = Parameter(None, description="the mask holds values strictly greater than this")
    below: Number | None = Parameter(None, description="the mask holds values strictly less than this")

    @model_validator(mode="after")
    def _one_at_least(self) -> Threshold:
        if self.above is None and self.below is None:
            raise ValueError("expected `above`, `below` or both")
        numbers = int, float  # and no references, which are not known yet
        if isinstance(self.above, numbers) and isinstance(self.below, numbers) and self.above >= self.below:
            raise ValueError(f"no value is above {self.above} and below {self.below}: expected above < below")
        return self

    def output(self, spec: Spec) -> Spec:
        """A mask."""
        return spec.but(dtype=np.dtype(bool), kind="mask")

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """The second comparison of a band."""
        return int(np.prod(inner)) if self.above is not None and self.below is not None else 0

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Compare one block."""
        if isinstance(self.above, str) or isinstance(self.below, str):
            raise ParameterError(f"threshold {self.above or self.below}: the value is not computed yet")
        return between(array[keep], self.above, self.below)
