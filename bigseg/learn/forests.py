"""From fitted scikit-learn trees and forests to the arrays of `bigseg.local.models.forest`."""

from __future__ import annotations

from typing import Any

from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from bigseg.errors import ParameterError
from bigseg.local.models.forest import Forest, Tree, flatten

FORESTS = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
TREES = (DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor)


def is_forest(estimator: Any) -> bool:
    """Whether an estimator is one that `forest_of` takes: a tree, or a forest that is the mean of its trees.

    A class derived from one of them may predict otherwise, so it is none.
    """
    return type(estimator) in (*FORESTS, *TREES)


def forest_of(estimator: Any) -> Forest:
    """The arrays of a fitted scikit-learn tree or forest.

    Parameters
    ----------
    estimator : random forest, extra trees or a single tree; classifier or regressor; of one target.

    Returns
    -------
    A forest whose `bigseg.local.models.forest.means` are the estimator's ``predict_proba`` or ``predict``.

    Raises
    ------
    ParameterError
        Any other estimator, one that is not fitted, or one of several targets.

    Notes
    -----
    About 1 us a node.

    Examples
    --------
    >>> import numpy as np
    >>> from bigseg.local.models.forest import labels
    >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]], "float32"), [0, 0, 1, 1]
    >>> forest = forest_of(DecisionTreeClassifier(random_state=0).fit(x, y))
    >>> labels(forest, np.ascontiguousarray(x.T))
    array([0, 0, 1, 1], dtype=uint8)
    """
    name = type(estimator).__name__
    if not is_forest(estimator):
        known = ", ".join(kind.__name__ for kind in (*FORESTS, *TREES))
        raise ParameterError(f"{name} is no forest of trees: expected one of {known}")
    fitted = "estimators_" if isinstance(estimator, FORESTS) else "tree_"
    if not hasattr(estimator, fitted):
        raise ParameterError(f"this {name} is not fitted: call its fit first")
    if estimator.n_outputs_ != 1:
        raise ParameterError(f"this {name} has {estimator.n_outputs_} targets: expected one; fit one model each")
    members = estimator.estimators_ if isinstance(estimator, FORESTS) else [estimator]
    trees = [
        Tree(t.children_left, t.children_right, t.feature, t.threshold, t.value[:, 0])
        for t in (member.tree_ for member in members)
    ]
    return flatten(trees, int(estimator.n_features_in_))
