"""From fitted scikit-learn linear models to the arrays of `bigseg.local.models.linear_model`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from bigseg.errors import ParameterError
from bigseg.local.models.linear_model import Linear, Link


@cache
def _kinds() -> tuple[type, ...]:
    """Linear models of scikit-learn; one that is read from a file does without the library."""
    from sklearn import linear_model  # which takes two seconds to load

    return (
        linear_model.LinearRegression,
        linear_model.LogisticRegression,
        linear_model.Ridge,
        linear_model.RidgeClassifier,
    )


def is_linear(estimator: Any) -> bool:
    """Whether an estimator is one that `linear_of` takes.

    Classes derived from one may predict otherwise, as does one logistic regression a class.
    """
    joint = getattr(estimator, "multi_class", "auto") in ("auto", "deprecated")
    return type(estimator) in _kinds() and joint and getattr(estimator, "solver", "") != "liblinear"


def linear_of(estimator: Any) -> Linear:
    """The weights and offsets of a fitted scikit-learn linear model.

    Parameters
    ----------
    estimator : linear or logistic regression, or ridge of either kind; of one target.

    Raises
    ------
    ParameterError
        Any other estimator, one that is not fitted, or one of several targets.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> x = np.float32([[0], [1], [2], [3]])
    >>> linear_of(LinearRegression().fit(x, [1, 3, 5, 7])).weights.round(6)
    array([[2.]])
    """
    name = type(estimator).__name__
    if not is_linear(estimator):
        known = ", ".join(kind.__name__ for kind in _kinds())
        raise ParameterError(f"{name} is no linear model: expected one of {known}")
    if not hasattr(estimator, "coef_"):
        raise ParameterError(f"this {name} is not fitted: call its fit first")
    weights = np.atleast_2d(np.asarray(estimator.coef_, np.float64))
    offsets = np.broadcast_to(np.asarray(estimator.intercept_, np.float64).reshape(-1), weights.shape[:1]).copy()
    several = weights.shape[0] > 1
    if not hasattr(estimator, "classes_"):
        if several or np.ndim(estimator.coef_) > 1:
            raise ParameterError(f"this {name} has {weights.shape[0]} targets: expected one, as a list of values")
        return Linear(weights, offsets, "value")
    link: Link = "side"
    if type(estimator).__name__ == "LogisticRegression":
        link = "softmax" if several else "logistic"
    return Linear(weights, offsets, link)
