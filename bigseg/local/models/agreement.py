"""How well predicted classes agree with true ones, from their confusion matrix.

Every figure is a function of whole counts, so it does not depend on blocks. Names and definitions are those of
sklearn.metrics, ``zero_division=0``; Dice is F1, Jaccard is the intersection over the union.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigseg.errors import ValuesError

Floats = NDArray[np.float64]


class PerClass(NamedTuple):
    """One value a class: shares as float64, support (true voxels) and predicted voxels as int64."""

    precision: Floats
    recall: Floats
    f1: Floats
    jaccard: Floats
    support: NDArray[np.int64]
    predicted: NDArray[np.int64]


class Overall(NamedTuple):
    """One value for all classes."""

    accuracy: float
    balanced_accuracy: float
    kappa: float
    mcc: float


def per_class(confusion: ArrayLike) -> PerClass:
    """Precision, recall, F1 and Jaccard of every class.

    Parameters
    ----------
    confusion : integers (classes, classes), true classes down, predicted ones across.

    Returns
    -------
    See `PerClass`; 0 where a class was never predicted, or never true.

    Examples
    --------
    >>> found = per_class([[5, 1], [2, 4]])
    >>> found.recall.round(3).tolist(), found.jaccard.round(3).tolist()
    ([0.833, 0.667], [0.625, 0.571])
    """
    table = np.asarray(confusion, np.int64)
    right, support, predicted = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    return PerClass(
        share(right, predicted),
        share(right, support),
        share(2 * right, support + predicted),
        share(right, support + predicted - right),
        support,
        predicted,
    )


def overall(confusion: ArrayLike) -> Overall:
    """Accuracy, balanced accuracy, Cohen's kappa and Matthews' correlation coefficient.

    Parameters
    ----------
    confusion : as in `per_class`.

    Returns
    -------
    See `Overall`. Balanced accuracy is the mean recall of the classes that occur in the truth. kappa is NaN where
    chance alone agrees everywhere (one class in both); mcc is 0 where either has one class only.

    Raises
    ------
    ValuesError : no voxel was counted.

    Notes
    -----
    kappa: J. Cohen, Educ. Psychol. Meas. 20 (1960) 37; mcc for many classes: J. Gorodkin, Comput. Biol. Chem. 28
    (2004) 367. Products of counts are of Python's integers, which do not overflow.

    Examples
    --------
    >>> [round(value, 4) for value in overall([[5, 1], [2, 4]])]
    [0.75, 0.75, 0.5, 0.5071]
    """
    table = np.asarray(confusion, np.int64)
    total = int(table.sum())
    if not total:
        raise ValuesError("no voxel was compared: check the mask, and which truth is ignored")
    support, predicted = table.sum(axis=1), table.sum(axis=0)
    right = int(np.trace(table))
    true, found = support.astype(object), predicted.astype(object)
    chance = int((true * found).sum())
    spread = (total**2 - int((true * true).sum())) * (total**2 - int((found * found).sum()))
    occurs = support > 0
    return Overall(
        right / total,
        float(np.mean(share(np.diag(table), support)[occurs])),
        (total * right - chance) / (total**2 - chance) if chance < total**2 else float("nan"),
        (total * right - chance) / sqrt(spread) if spread else 0.0,
    )


def share(part: ArrayLike, whole: ArrayLike) -> Floats:
    """Counts of counts, 0 of none.

    >>> share([1, 0], [4, 0])
    array([0.25, 0.  ])
    """
    top, bottom = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom > 0)
