"""What `evaluate` takes from every block, and the figures that the whole amounts to.

Classes: the pairs of labels that share voxels, gathered in ranges (`bigseg.ops.keyed`); objects, which may be many:
`bigseg.ops.learning.object_scoring`. Scores: how often each score occurs by truth. Differences: exact sums. All are
whole numbers, so any blocks give the same figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, prod, sqrt
from typing import Any

import numpy as np

from bigseg.engine.field import Array, Values, Visit, Workspace
from bigseg.errors import ParameterError, ValuesError
from bigseg.grid import Grid, Shape
from bigseg.local.exact_sums import EXPONENTS, PARTS, add_errors, empty_sums, exact_sum
from bigseg.local.models.agreement import overall, per_class
from bigseg.local.models.curves import Scale, count_scores, curve_of
from bigseg.local.objects.pairs import count_pairs, values_of
from bigseg.ops.base import value_of
from bigseg.ops.counting.statistics import folded
from bigseg.ops.keyed import part_of
from bigseg.storage.tables import write_table

CLASS_KEYS = ("accuracy", "balanced_accuracy", "kappa", "mcc", "precision", "recall", "f1", "dice", "jaccard")
SCORE_KEYS = ("voxels", "auc", "auc_error", "average_precision", "best_threshold", "best_dice")
ERROR_KEYS = ("mse", "rmse", "mae")
MATCH_KEYS = ("tp", "fp", "fn", "precision", "recall", "f1", "ap", "panoptic_quality")
OBJECT_KEYS = ("rand_error", "rand_precision", "rand_recall", "vi", "vi_split", "vi_merge", "ap_mean")
MOST_CLASSES = 256
PAIR_BYTES = 150
Figures = dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """Which voxels of a block are compared: those whose truth is not ``ignore``."""

    ignore: int | None = None

    def of(self, arrays: Sequence[Array]) -> tuple[Array, Array]:
        """Prediction and truth, as lists where some are left out."""
        found, true = arrays
        if self.ignore is None:
            return found, true
        kept = true != self.ignore
        return found[kept], true[kept]

    def memory(self, inner: Shape, itemsize: int) -> int:
        """Copies of what is compared."""
        return 0 if self.ignore is None else prod(inner) * (itemsize + 1)


@dataclass(frozen=True)
class CollectOverlaps:
    """Pairs of true and found labels of a block; ``masks``: of what is not 0."""

    compared: Compared
    masks: bool
    itemsize: int

    def memory(self, inner: Shape) -> int:
        """A hash table with room for one pair in 100 voxels, twice while it grows; masks."""
        return (8 << 20) + 130 * (prod(inner) // 100) + self.compared.memory(inner, self.itemsize) + 2 * prod(inner)

    def bind(self, values: Values) -> CollectOverlaps:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """Sorted rows of true label, found label, voxels."""
        found, true = self.compared.of(arrays)
        if self.masks:
            found, true = found != 0, true != 0
        return part_of(count_pairs(true, found), visit.block.number)


@dataclass(frozen=True)
class FromOverlaps:
    """Figures of classes from all pairs; ``pairs`` names what gathered them."""

    name: str
    pairs: str
    dtypes: tuple[str, str]
    most: int
    counts: Mapping[str, int] | None = None

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """As many pairs as it takes."""
        return (32 << 20) + PAIR_BYTES * min(self.most, prod(grid.shape))

    def bind(self, values: Values) -> FromOverlaps:
        """With the numbers of rows."""
        return replace(self, counts=dict(values[self.pairs]))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Read all pairs, compute."""
        assert self.counts is not None
        total = sum(self.counts.values())
        if total > self.most:
            raise ValuesError(
                f"step {self.name!r}: {total} pairs of classes: expected {self.most} at most; say kind: objects if "
                "these are labels"
            )
        parts = [space.scratch.read(self.pairs, number, ["0"])["0"] for number in range(len(self.counts))]
        rows = np.concatenate(parts, axis=1)
        true, found = (values_of(keys, np.dtype(name)) for keys, name in zip(rows[:2], self.dtypes, strict=True))
        return finished(self.name, space, lambda: class_figures(true, found, rows[2].astype(np.int64)))


@dataclass(frozen=True)
class CollectScores:
    """How often each score of a block occurs by truth, and the sums of its errors."""

    compared: Compared
    dtype: str
    itemsize: int
    positive: int | None
    threshold: Any
    full: float
    range_of: str = ""
    scale: Scale | None = None

    def memory(self, inner: Shape) -> int:
        """Tables, pieces of 65,536 voxels, the truth as a mask."""
        return (16 << 20) + prod(inner) + self.compared.memory(inner, self.itemsize)

    def bind(self, values: Values) -> CollectScores:
        """Take over range and threshold."""
        return replace(self, **resolved(self, values))

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """One line of counts."""
        assert self.scale is not None
        found, true = self.compared.of(arrays)
        yes = true != 0 if self.positive is None else true == self.positive
        counts, confusion = count_scores(found, yes, self.scale, self.threshold)
        sums = empty_sums(2)
        if self.full:
            add_errors(sums, found, yes, self.full)
        return {"counts": np.concatenate([part.reshape(-1) for part in (confusion, sums, counts)])}


@dataclass(frozen=True)
class FromScores:
    """Figures and curve of scores; ``usual``: no threshold was given."""

    name: str
    source: str
    dtype: str
    full: float
    threshold: Any
    range_of: str = ""
    scale: Scale | None = None
    usual: bool = False

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """Counts, and their curve as Python's integers."""
        return 160 << 20

    def bind(self, values: Values) -> FromScores:
        """Take over range and threshold."""
        return replace(self, **resolved(self, values))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Read the counts, compute."""
        return finished(self.name, space, lambda: self.figures(folded(space, self.source)["counts"]))

    def figures(self, line: Array) -> tuple[Figures, Mapping[str, Array]]:
        """Values and curve."""
        assert self.scale is not None
        size = 2 * EXPONENTS * PARTS
        confusion, sums, counts = line[:4].reshape(2, 2), line[4 : 4 + size], line[4 + size :].reshape(2, -1)
        curve = curve_of(counts, self.scale)
        area, error = curve.areas()
        best = curve.best()
        voxels = curve.positives + curve.negatives
        threshold = self.threshold
        errors = _errors(sums.reshape(2, EXPONENTS, PARTS), voxels) if self.full else {}
        if self.full > 1 and not counts[:, 2:].any():  # 0 and 1 alone are no part of 0 to 255, but a mask
            yes_and_no = counts[:, :2]
            errors = _wrong(int(yes_and_no[0, 1] + yes_and_no[1, 0]) / voxels)
            if self.usual:
                confusion, threshold = yes_and_no, 0.5
        known: Figures = {"threshold": threshold, "positives": curve.positives}
        known |= dict(zip(SCORE_KEYS, (voxels, area, error, curve.average_precision(), *best), strict=True))
        known |= errors
        table = {
            "threshold": curve.threshold,
            "above": curve.above,
            "tp": curve.tp,
            "fp": curve.fp,
            "fall_out": curve.fall_out,
            "recall": curve.recall,
            "precision": curve.precision,
            "dice": curve.dice,
        }
        return known | _of_masks(confusion), table


@dataclass(frozen=True)
class CollectErrors:
    """The sums of a block's absolute and squared differences, and its voxels."""

    compared: Compared
    itemsize: int

    def memory(self, inner: Shape) -> int:
        """Tables, pieces of 65,536 voxels."""
        return (4 << 20) + self.compared.memory(inner, self.itemsize)

    def bind(self, values: Values) -> CollectErrors:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """One line of sums."""
        found, true = self.compared.of(arrays)
        sums = empty_sums(2)
        add_errors(sums, found, true)
        return {"counts": np.append(sums.reshape(-1), found.size)}


@dataclass(frozen=True)
class FromErrors:
    """Errors of values."""

    name: str
    source: str

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """Two tables of sums."""
        return 4 << 20

    def bind(self, values: Values) -> FromErrors:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Read the sums, divide."""
        line = folded(space, self.source)["counts"]
        return finished(self.name, space, lambda: (self.figures(line), {}))

    def figures(self, line: Array) -> Figures:
        """Mean squared and absolute difference."""
        voxels = int(line[-1])
        if not voxels:
            raise ValuesError("no voxel was compared: check the mask, and which truth is ignored")
        return {"voxels": voxels} | _errors(line[:-1].reshape(2, EXPONENTS, PARTS), voxels)


def class_figures(true: Array, found: Array, voxels: Array) -> tuple[Figures, Mapping[str, Array]]:
    """Figures of classes from pairs; one row a class."""
    classes = np.union1d(true, found)
    if classes.size > MOST_CLASSES:
        raise ValuesError(
            f"{classes.size} classes: expected {MOST_CLASSES} at most; say kind: objects for labels, or kind: scores"
        )
    confusion = np.zeros((classes.size,) * 2, np.int64)
    confusion[np.searchsorted(classes, true), np.searchsorted(classes, found)] = voxels
    found_all = per_class(confusion)
    known: Figures = {
        "voxels": int(voxels.sum()),
        "classes": classes.tolist(),
        "confusion": confusion.tolist(),
        **overall(confusion)._asdict(),
    }
    table = {"class": classes, **found_all._asdict()}
    if set(classes.tolist()) <= {0, 1}:
        place = np.flatnonzero(classes == 1)
        one = {name: float(column[place[0]]) if place.size else 0.0 for name, column in found_all._asdict().items()}
        return known | _shares(one) | _wrong(1 - known["accuracy"]), table
    return known | _shares({name: float(np.mean(column)) for name, column in found_all._asdict().items()}), table


def finished(
    name: str, space: Workspace, figures: Callable[[], tuple[Figures, Mapping[str, Array]]]
) -> Mapping[str, Any]:
    """Figures as values, their table in a file; an error says which step it is of."""
    try:
        known, table = figures()
    except ValuesError as error:
        raise ValuesError(f"step {name!r}: {error}") from error
    if table:
        write_table(space.folder / "tables" / f"{name}.parquet", table)
    return {key: None if isinstance(value, float) and isnan(value) else value for key, value in known.items()}


def resolved(kernel: CollectScores | FromScores, values: Values) -> dict[str, Any]:
    """Scale, full score and threshold, with the range that was found and the values of earlier steps.

    Raises
    ------
    ParameterError
        When no threshold is given, and the scores pass 0 or 1, so that they have no middle.
    """
    scale, full, threshold = kernel.scale, kernel.full, value_of(kernel.threshold, values)
    if scale is None:
        found = values[kernel.range_of]
        low, high = found["least"], found["greatest"]
        if not kernel.dtype.startswith("int") and low >= 0 and high <= 1:
            low, high, full = 0.0, 1.0, 1.0
        scale = Scale.of(np.dtype(kernel.dtype), low, high)
        if threshold is None and not full:
            raise ParameterError(f"evaluate: scores from {low:g} to {high:g} have no middle: give `threshold`")
    return {"scale": scale, "full": full, "threshold": full / 2 if threshold is None else threshold}


def _of_masks(confusion: Array) -> Figures:
    """Figures of two classes, no and yes."""
    one = {name: float(column[1]) for name, column in per_class(confusion)._asdict().items()}
    return {"confusion": confusion.tolist(), **overall(confusion)._asdict(), **_shares(one)}


def _shares(found: Mapping[str, float]) -> Figures:
    return {name: found["f1" if name == "dice" else name] for name in CLASS_KEYS[4:]}


def _wrong(share: float) -> Figures:
    """Errors of 0 and 1, of which a share is wrong."""
    return {"mse": share, "rmse": sqrt(share), "mae": share}


def _errors(sums: Array, voxels: int) -> Figures:
    mae, mse = (float(exact_sum(table) / voxels) for table in sums)
    return {"mse": mse, "rmse": sqrt(mse), "mae": mae}
