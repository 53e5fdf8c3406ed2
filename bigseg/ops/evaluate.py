"""A result against the truth: figures for classes, objects, scores and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field as Parameter

from bigseg.engine.field import Collect, Field, Reduction
from bigseg.errors import ParameterError, PipelineError
from bigseg.local.exact_sums import EXPONENTS, PARTS
from bigseg.local.models.curves import STEPS, Scale
from bigseg.ops.base import Masking, Number, Op, Site
from bigseg.ops.counting.statistics import Fold, value_range
from bigseg.ops.keyed import TOGETHER, Gather, Share, Source, gathered
from bigseg.ops.learning.object_scoring import object_reductions
from bigseg.ops.learning.scoring import (
    CLASS_KEYS,
    ERROR_KEYS,
    MATCH_KEYS,
    MOST_CLASSES,
    OBJECT_KEYS,
    SCORE_KEYS,
    CollectErrors,
    CollectOverlaps,
    CollectScores,
    Compared,
    FromErrors,
    FromOverlaps,
    FromScores,
)
from bigseg.ops.objects import is_mask

ROUNDED = 1e-5
"""How far the bounds of probabilities may pass 0 and 1, as rounding may."""
Kind = Literal["auto", "classes", "objects", "scores", "values"]


class Evaluate(Op):
    """How well a result agrees with the truth: classes, objects, scores or values, from whole counts.

    classes: ``confusion`` (truth down), ``accuracy, balanced_accuracy, kappa, mcc, precision, recall, f1, dice,
    jaccard`` (of 1 where there are 0 and 1 alone, else means over the classes), and a table with a row a class. Where
    one of the two is a mask, the other counts as what is not 0.
    scores (probabilities, or grey values, against a mask): ``auc, average_precision``, the figures of classes for
    score > ``threshold``, ``best_threshold`` (scores above it have the best Dice: choose it on validation data, and
    give it to a threshold step), ``mse, rmse, mae``; the table is the curve. Unsigned integers reach to the greatest of
    their dtype, but where there are 0 and 1 alone they are a mask, and the threshold is 0.5. Floats are counted in
    262,145 steps of their range: ``auc_error`` says how far that could move the area.
    objects (labels): ``rand_error, vi_split, vi_merge`` where the truth is not 0, and ``tp, fp, fn, precision, recall,
    f1, ap, panoptic_quality`` of objects that overlap by more than half of their union; ``ap_mean`` and the table are
    over 0.5 to 0.95. Any number of objects: a task holds about 32 blocks' pairs of labels that touch.
    values (regression): ``mse, rmse, mae``.
    Cost: one pass of 1 to 10 ns a voxel a core; scores that are no probabilities one more, for their range.

    >>> import numpy as np, bigseg
    >>> found = bigseg.evaluate(np.array([[1, 0, 1, 1]], "uint8"), truth=np.array([[1, 0, 0, 1]], "uint8"))
    >>> found["confusion"], round(found["dice"], 3)
    ([[1, 1], [0, 2]], 0.8)
    """

    op: ClassVar[str] = "evaluate"
    oracle: ClassVar[str] = (
        "sklearn.metrics, skimage.metrics within 1e-9; areas of float scores within auc_error; counts exactly"
    )
    example: ClassVar[str] = "{id: quality, op: evaluate, from: mito, truth: truth}"
    refers: ClassVar[tuple[str, ...]] = ("truth",)
    masked: ClassVar[Masking] = "voxels"

    truth: str = Parameter(description="the input or step that holds the truth")
    kind: Kind = Parameter("auto", description="what is compared; auto: by the two volumes")
    threshold: Number | None = Parameter(None, description="scores above it are yes; default: half of 1, or of 255")
    positive: int | None = Parameter(None, description="scores: the true class that is yes; default: all but 0")
    ignore: int | None = Parameter(None, description="voxels with this truth are left out (0: what is not labelled)")

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """Counts of every block, added up, and the figures."""
        (found,) = inputs
        true = self._truth(found, site)
        kind = self.chosen(found, true, site)
        if kind == "scores":
            return self._scores(found, true, site)
        if kind == "values":
            collect = Collect(f"{site.name}.errors", [found, true], CollectErrors(self._compared, _bytes(found, true)))
            fold = Reduction(f"{site.name}.fold", (collect,), Fold(f"{site.name}.fold", collect.name))
            return Reduction(site.name, (fold,), FromErrors(site.name, fold.name), keys=("voxels", *ERROR_KEYS))
        return self._overlaps(found, true, site, kind)

    @property
    def _compared(self) -> Compared:
        return Compared(self.ignore)

    def _truth(self, found: Field, site: Site) -> Field:
        true = site.volume(self.truth, "truth")
        if true.spec.shape != found.spec.shape:
            raise PipelineError(
                f"step {site.name!r}: the truth has shape {true.spec.shape}, expected {found.spec.shape} as the "
                "result; crop or resample one of them"
            )
        return true

    def chosen(self, found: Field, true: Field, site: Site) -> Kind:
        """What is compared, from dtypes and kinds of the two volumes unless it is said.

        Raises
        ------
        PipelineError
            When floats should be classes or objects.
        """
        floats = [field.name for field in (found, true) if field.spec.dtype.kind == "f"]
        if self.kind == "auto":
            if true.spec.dtype.kind == "f":
                return "values"
            if floats or (found.spec.kind == "image" and is_mask(true)):
                return "scores"
            return "objects" if "labels" in (found.spec.kind, true.spec.kind) else "classes"
        if self.kind in ("classes", "objects") and floats:
            raise PipelineError(
                f"step {site.name!r}: {floats[0]!r} holds floats, expected {self.kind}: put a threshold before it, or "
                "say kind: scores, or kind: values"
            )
        if self.kind == "scores" and true.spec.dtype.kind == "f":
            raise PipelineError(f"step {site.name!r}: the truth {true.name!r} holds floats, expected a mask or classes")
        return self.kind

    def _overlaps(self, found: Field, true: Field, site: Site, kind: Kind) -> Reduction:
        if kind == "objects":
            keys = (*OBJECT_KEYS, *MATCH_KEYS)
            return object_reductions(site.name, found, true, self._compared, _bytes(found, true), keys)
        masks = is_mask(found) or is_mask(true)
        pairs = f"{site.name}.pairs"
        collect = Collect(pairs, [found, true], CollectOverlaps(self._compared, masks, _bytes(found, true)))
        dtypes = ("uint8", "uint8") if masks else (str(true.spec.dtype), str(found.spec.dtype))
        gather = gathered([collect], Gather(pairs, (Source(collect.name),), 1, Share(TOGETHER)))
        kernel = FromOverlaps(site.name, gather.name, dtypes, MOST_CLASSES**2)
        return Reduction(site.name, (gather,), kernel, keys=("voxels", *CLASS_KEYS))

    def _scores(self, found: Field, true: Field, site: Site) -> Reduction:
        spec = found.spec
        small = spec.dtype.kind in "bui" and spec.dtype.itemsize <= 2
        low, high = spec.bounds or (0.0, np.inf)
        shares = spec.dtype.kind == "f" and low >= -ROUNDED and high <= 1 + ROUNDED
        full = 1.0 if shares or spec.dtype.kind == "b" else 0.0
        if spec.dtype.kind == "u":
            full = float(np.iinfo(spec.dtype).max)
        if self.threshold is None and not full and spec.dtype.kind == "i":
            raise ParameterError(
                f"step {site.name!r}: scores of {spec.dtype} are no probabilities and have no middle: give `threshold`"
                ", or for a mask say kind: classes"
            )
        known = small or shares
        scale = Scale.of(spec.dtype, 0.0, 1.0) if known else None
        ranges = [] if known else [value_range(found, site.name)]
        shared: dict[str, Any] = {
            "dtype": str(spec.dtype),
            "full": full,
            "threshold": self.threshold,
            "range_of": ranges[0].name if ranges else "",
            "scale": scale,
        }
        after = [*ranges, *site.after(self)]
        kernel = CollectScores(self._compared, itemsize=_bytes(found, true), positive=self.positive, **shared)
        collect = Collect(f"{site.name}.scores", [found, true], kernel, after)
        size = 8 * (2 * (scale.steps if scale else STEPS + 1) + 2 * EXPONENTS * PARTS + 4)
        fold = Reduction(f"{site.name}.fold", (collect,), Fold(f"{site.name}.fold", collect.name, size))
        keys = (*SCORE_KEYS, *CLASS_KEYS, *(ERROR_KEYS if full or spec.dtype.kind == "f" else ()))
        figures = FromScores(site.name, fold.name, usual=self.threshold is None, **shared)
        return Reduction(site.name, (fold,), figures, after, keys)


def _bytes(*fields: Field) -> int:
    return sum(field.spec.dtype.itemsize for field in fields)
