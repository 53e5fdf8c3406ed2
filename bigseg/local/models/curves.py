"""ROC and precision-recall curves of scores, from how often each score occurs where the truth is no and yes.

Integers of 8 and 16 bits are counted value by value: everything is exact. Real scores are counted in 262,145 steps of
1/262144 of their range. What two voxels of one step can do to the area under the curve is known from the counts, and
is given with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ValuesError
from bigseg.local.models.agreement import share

Array = NDArray[Any]
STEPS = 1 << 18
_PIECE = 1 << 16


@dataclass(frozen=True)
class Scale:
    """How scores are counted: in steps from ``low`` on, ``step`` wide.

    Integers have steps of 1, each one score (``exact``). A score in step k is at least ``low + k * step``.
    """

    low: float
    step: float
    steps: int
    exact: bool = True

    @classmethod
    def of(cls, dtype: np.dtype[Any], low: float, high: float) -> Scale:
        """The scale of a dtype; of floats between two scores.

        >>> Scale.of(np.dtype("uint8"), 0, 255), Scale.of(np.dtype("float32"), 0.0, 1.0).step
        (Scale(low=0.0, step=1.0, steps=256, exact=True), 3.814697265625e-06)
        """
        if dtype.kind in "bui" and dtype.itemsize <= 2:
            first, last = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            return cls(float(first), 1.0, last - first + 1)
        return cls(float(low), (float(high) - float(low)) / STEPS or 1.0, STEPS + 1, False)

    def edges(self) -> NDArray[np.float64]:
        """The least score of every step."""
        return np.asarray(self.low + np.arange(self.steps) * self.step, np.float64)


@dataclass(frozen=True)
class Curve:
    """What is above every threshold that parts the voxels, from the highest down.

    threshold: the least score that counts as yes; above: a number between it and the next lower score, so that a
    threshold step with it makes this mask; tp, fp: voxels with such a score where the truth is yes, no.
    """

    threshold: NDArray[np.float64]
    above: NDArray[np.float64]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]

    @property
    def positives(self) -> int:
        """Voxels where the truth is yes."""
        return int(self.tp[-1])

    @property
    def negatives(self) -> int:
        """Voxels where the truth is no."""
        return int(self.fp[-1])

    @property
    def recall(self) -> NDArray[np.float64]:
        """The true positive rate."""
        return share(self.tp, self.positives)

    @property
    def fall_out(self) -> NDArray[np.float64]:
        """The false positive rate."""
        return share(self.fp, self.negatives)

    @property
    def precision(self) -> NDArray[np.float64]:
        """The share of true voxels among those above."""
        return share(self.tp, self.tp + self.fp)

    @property
    def dice(self) -> NDArray[np.float64]:
        """F1 of the mask above every threshold."""
        return share(2 * self.tp, self.tp + self.fp + self.positives)

    def best(self) -> tuple[float, float]:
        """The number above which scores have the greatest Dice, the highest of equal ones, and that Dice."""
        place = int(np.argmax(self.dice))
        return float(self.above[place]), float(self.dice[place])

    def areas(self) -> tuple[float, float]:
        """Area under the ROC curve, and how far scores of one step could move it.

        The share of pairs of a positive and a negative voxel that are in order, ties half; of integers, rounded once.
        NaN where all voxels are of one class.
        """
        yes, no = (np.diff(column, prepend=0).astype(object) for column in (self.tp, self.fp))
        pairs = 2 * self.positives * self.negatives
        if not pairs:
            return float("nan"), float("nan")
        above = self.tp.astype(object) - yes
        ties = int((no * yes).sum())
        return (2 * int((no * above).sum()) + ties) / pairs, ties / pairs

    def average_precision(self) -> float:
        """Mean of the precision over the recall, without interpolation; 0 without a positive voxel."""
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))


def count_scores(scores: Array, truth: Array, scale: Scale, threshold: float) -> tuple[Array, Array]:
    """Count scores by step and truth, and what lies above one threshold.

    Parameters
    ----------
    scores : any dtype, finite; truth : bool, of the same shape.
    scale : of the scores.
    threshold : scores above it are yes; cast to the dtype of real scores first, as `bigseg.threshold` does.

    Returns
    -------
    int64 (2, steps): how many voxels of each step are no, yes; int64 (2, 2): the confusion at the threshold, truth
    down. Those of parts of a volume add up.

    Raises
    ------
    ValuesError : NaN among the scores, or one outside of the scale.

    Notes
    -----
    2 to 4 ns a voxel on one core, 16 where real scores jump about the whole table of 4 MiB; copies of 65,536 voxels.

    Examples
    --------
    >>> scale = Scale.of(np.dtype("uint8"), 0, 255)
    >>> counts, confusion = count_scores(np.array([3, 200, 7], "uint8"), np.array([False, True, True]), scale, 5)
    >>> counts[:, [3, 7, 200]].tolist(), confusion.tolist()
    ([[1, 0, 0], [0, 1, 1]], [[1, 0], [0, 2]])
    """
    counts = np.zeros((2, scale.steps), np.int64)
    confusion = np.zeros((2, 2), np.int64)
    outside = 0
    flat, yes = scores.reshape(-1), truth.reshape(-1)
    if scores.dtype.kind == "f":
        threshold = float(scores.dtype.type(threshold))
    for start in range(0, flat.size, _PIECE):
        part = flat[start : start + _PIECE].astype(np.float64)
        outside += _count(part, yes[start : start + _PIECE], scale.low, scale.step, threshold, counts, confusion)
    if outside:
        last = scale.low + (scale.steps - 1) * scale.step
        raise ValuesError(
            f"{outside} scores are NaN or not within {scale.low:g} to {last:g}: expected finite values in the range "
            "that the volume states; check the steps before"
        )
    return counts, confusion


def curve_of(counts: Array, scale: Scale) -> Curve:
    """The curve of counts.

    Parameters
    ----------
    counts : from `count_scores`, of the whole volume.

    Raises
    ------
    ValuesError : no voxel was counted.

    Examples
    --------
    >>> scale = Scale.of(np.dtype("uint8"), 0, 255)
    >>> counts, _ = count_scores(np.array([1, 2, 3, 4], "uint8"), np.array([0, 1, 0, 1], bool), scale, 2)
    >>> curve = curve_of(counts, scale)
    >>> curve.areas()[0], round(curve.average_precision(), 4), curve.best()
    (0.75, 0.8333, (1.5, 0.8))
    """
    filled = np.flatnonzero(counts.any(axis=0))[::-1]
    if not filled.size:
        raise ValuesError("no voxel was compared: check the mask, and which truth is ignored")
    no, yes = np.cumsum(counts[:, filled], axis=1)
    least = scale.edges()[filled]
    lower = np.append(least[1:], least[-1] - 2 * scale.step)
    ends = lower if scale.exact else np.minimum(lower + scale.step, least)  # where the next lower step ends
    return Curve(least, (ends + least) / 2, yes, no)


@njit(nogil=True, cache=True, error_model="numpy")
def _count(scores, truth, low, step, threshold, counts, confusion):  # type: ignore[no-untyped-def]
    outside = 0
    last = counts.shape[1] - 1
    for i in range(scores.size):
        place = (scores[i] - low) / step
        if not (place > -0.5 and place < last + 0.5):  # what rounding moves beyond the ends is far less
            outside += 1
            continue
        row = np.int64(truth[i])
        counts[row, np.int64(min(max(place, 0.0), last))] += 1
        confusion[row, np.int64(scores[i] > threshold)] += 1
    return outside
