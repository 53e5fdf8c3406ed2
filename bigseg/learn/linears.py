"""From fitted scikit-learn linear models to the arrays of `bigseg.local.models.linear_model`."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier

from bigseg.errors import ParameterError
from bigseg.local.models.linear_model import Linear, Link

LINEARS = (LinearRegression, LogisticRegression, Ridge, RidgeClassifier)


def is_linear(estimator: Any) -> bool:
    """Whether an estimator is one that `linear_of` takes.

    Classes derived from one may predict otherwise, as does one logistic regression a class.
    """
    joint = getattr(estimator, "multi_class", "auto") in ("auto", "deprecated")
    return type(estimator) in LINEARS and joint and getattr(estimator, "solver", "") != "liblinear"


def linear_of(estimator: Any) -> Linear:
    """The weights and offsets of a fitted scikit-learn linear model.

    Parameters
    ----------
    estimator : of `LINEARS`, of one target.

    Raises
    ------
    ParameterError
        Any other estimator, one that is not fitted, or one of several targets.

    Examples
    --------
    >>> x = np.float32([[0], [1], [2], [3]])
    >>> linear_of(LinearRegression().fit(x, [1, 3, 5, 7])).weights.round(6)
    array([[2.]])
    """
    name = type(estimator).__name__
    if not is_linear(estimator):
        known = ", ".join(kind.__name__ for kind in LINEARS)
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
    if isinstance(estimator, LogisticRegression):
        link = "softmax" if several else "logistic"
    return Linear(weights, offsets, link)
