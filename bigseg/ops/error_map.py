"""Where a result differs from the truth: a volume of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field as Parameter

from bigseg.engine.field import Array, Field, Values, Visit
from bigseg.errors import PipelineError
from bigseg.grid import Box, Shape
from bigseg.local.thresholds.compare import between
from bigseg.ops.base import Masking, Number, Op, Site, value_of
from bigseg.ops.objects import is_mask
from bigseg.storage.spec import UNSEEN, Class

MASKS = (
    Class(0, "not compared", UNSEEN),
    Class(1, "true negative", UNSEEN),
    Class(2, "true positive", "#228833"),
    Class(3, "false positive", "#ee6677"),
    Class(4, "false negative", "#4477aa"),
)
CLASSES = (Class(0, "not compared", UNSEEN), Class(1, "right class", UNSEEN), Class(2, "wrong class", "#ee6677"))
"""Values, names and colours: Paul Tol's bright scheme; what is right in the background covers no image."""


class ErrorMap(Op):
    """Where a result is right and wrong: true and false positives and negatives, or right and wrong classes.

    Of masks (and labels, which count as what is not 0): 1 true negative, 2 true positive, 3 false positive, 4 false
    negative. Scores count as yes above ``threshold``. Of classes: 1 right, 2 wrong. 0 is what is not compared: under
    a mask, and where the truth is ``ignore``. uint8, saved with names and colours, so that viewers and the report show
    it; `evaluate` gives the counts. Depth 0. Cost: about 0.5 ns a voxel a core.

    >>> import numpy as np, bigseg
    >>> bigseg.error_map(np.array([[1, 0, 1, 0]], "uint8"), np.array([[1, 1, 0, 0]], "uint8"), kind="mask")
    array([[2, 4, 3, 1]], dtype=uint8)
    """

    op: ClassVar[str] = "error_map"
    oracle: ClassVar[str] = "numpy on the whole arrays, exactly"
    example: ClassVar[str] = "{id: wrong, op: error_map, from: mito, truth: truth}"
    refers: ClassVar[tuple[str, ...]] = ("truth",)
    masked: ClassVar[Masking] = "result"
    local: ClassVar[bool] = True

    truth: str = Parameter(description="the input or step that holds the truth")
    kind: Literal["auto", "mask", "classes"] = Parameter(
        "auto", description="what is compared; auto: classes, unless one of the two is a mask or labels"
    )
    threshold: Number | None = Parameter(None, description="scores above it are yes: 0.5, or ${valid.best_threshold}")
    positive: int | None = Parameter(None, description="of masks: the true class that is yes; default: all but 0")
    ignore: int | None = Parameter(None, description="voxels with this truth are not compared (0: not labelled)")

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """One field on top of result and truth.

        Raises
        ------
        PipelineError
            When shapes differ, or floats are compared without a threshold.
        """
        (found,) = inputs
        true = site.volume(self.truth, "truth")
        if true.spec.shape != found.spec.shape:
            raise PipelineError(
                f"step {site.name!r}: the truth has shape {true.spec.shape}, expected {found.spec.shape} as the "
                "result; crop or resample one of them"
            )
        masks = self._of_masks(found, true, site)
        spec = found.spec.but(dtype=np.dtype("uint8"), kind="classes", classes=MASKS if masks else CLASSES)
        kernel = Errors(self.threshold, self.positive, self.ignore, masks, spec.ndim)
        return Field(site.name, spec, kernel, (found, true), site.after(self))

    def _of_masks(self, found: Field, true: Field, site: Site) -> bool:
        """Whether yes and no are compared."""
        if true.spec.dtype.kind == "f":
            raise PipelineError(f"step {site.name!r}: the truth {true.name!r} holds floats, expected a mask or classes")
        scores = self.threshold is not None
        if found.spec.dtype.kind == "f" and not scores:
            raise PipelineError(
                f"step {site.name!r}: {found.name!r} holds floats: give `threshold`, as 0.5, or ${{valid."
                "best_threshold}} of an evaluate step on validation data"
            )
        if self.kind == "classes" and (scores or self.positive is not None):
            raise PipelineError(
                f"step {site.name!r}: threshold and positive belong to kind: mask, found kind: classes: leave them out"
            )
        plain = "labels" not in (found.spec.kind, true.spec.kind) and not (is_mask(found) or is_mask(true))
        return self.kind == "mask" or (self.kind == "auto" and (scores or self.positive is not None or not plain))


@dataclass(frozen=True)
class Errors:
    """Result against truth, voxel by voxel, as the kernel of a field."""

    threshold: Any
    positive: int | None
    ignore: int | None
    masks: bool
    ndim: int
    haloed = True
    cost = 0.5

    def depth(self) -> Shape:
        """Voxel by voxel."""
        return (0,) * self.ndim

    def memory(self, outer: Shape, inner: Shape) -> int:
        """Two masks, where they agree on yes, and a term of the sum."""
        return 4 * prod(inner)

    def bind(self, values: Values) -> Errors:
        """With the threshold that an earlier step found."""
        return replace(self, threshold=value_of(self.threshold, values))

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """One block."""
        found, true = (array[keep] for array in arrays)
        out = self._masks(found, true) if self.masks else 2 - (found == true).view(np.uint8)
        if self.ignore is not None:
            out *= true != self.ignore
        return np.asarray(out)

    def _masks(self, found: Array, true: Array) -> Array:
        yes = between(found, self.threshold, None) if self.threshold is not None else found != 0
        wanted = true != 0 if self.positive is None else true == self.positive
        yes, wanted = yes.view(np.uint8), wanted.view(np.uint8)
        both = yes & wanted
        return np.asarray(1 + 2 * yes + 3 * wanted - 4 * both)  # a fifth of the time of looking pairs up
