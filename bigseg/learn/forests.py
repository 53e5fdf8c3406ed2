"""From fitted scikit-learn trees and forests to the arrays of `bigseg.local.models.forest`."""

from __future__ import annotations

from functools import cache
from typing import Any

from bigseg.errors import ParameterError
from bigseg.local.models.forest import Forest, Tree, flatten


@cache
def _kinds() -> tuple[tuple[type, ...], tuple[type, ...]]:
    """Forests that are the mean of their trees, and trees; a model read from a file does without the library."""
    from sklearn import ensemble, tree  # which take two seconds to load

    forests = (
        ensemble.RandomForestClassifier,
        ensemble.RandomForestRegressor,
        ensemble.ExtraTreesClassifier,
        ensemble.ExtraTreesRegressor,
    )
    trees = (
        tree.DecisionTreeClassifier,
        tree.DecisionTreeRegressor,
        tree.ExtraTreeClassifier,
        tree.ExtraTreeRegressor,
    )
    return forests, trees


def is_forest(estimator: Any) -> bool:
    """Whether an estimator is one that `forest_of` takes: a tree, or a forest that is the mean of its trees.

    A class derived from one of them may predict otherwise, so it is none.
    """
    forests, trees = _kinds()
    return type(estimator) in (*forests, *trees)


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
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from bigseg.local.models.forest import labels
    >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]], "float32"), [0, 0, 1, 1]
    >>> forest = forest_of(DecisionTreeClassifier(random_state=0).fit(x, y))
    >>> labels(forest, np.ascontiguousarray(x.T))
    array([0, 0, 1, 1], dtype=uint8)
    """
    name = type(estimator).__name__
    forests, trees = _kinds()
    if not is_forest(estimator):
        known = ", ".join(kind.__name__ for kind in (*forests, *trees))
        raise ParameterError(f"{name} is no forest of trees: expected one of {known}")
    several = type(estimator) in forests
    fitted = "estimators_" if several else "tree_"
    if not hasattr(estimator, fitted):
        raise ParameterError(f"this {name} is not fitted: call its fit first")
    if estimator.n_outputs_ != 1:
        raise ParameterError(f"this {name} has {estimator.n_outputs_} targets: expected one; fit one model each")
    members = estimator.estimators_ if several else [estimator]
    arrays = [
        Tree(t.children_left, t.children_right, t.feature, t.threshold, t.value[:, 0])
        for t in (member.tree_ for member in members)
    ]
    return flatten(arrays, int(estimator.n_features_in_))
