"""The estimators that a model can be trained with, by the names that pipelines and the command line use.

scikit-learn takes seconds to load, so its classes stand here by name and are loaded when one is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from bigseg.errors import ParameterError, unknown

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Known:
    """A kind of estimator.

    Parameters
    ----------
    classifier, regressor : module and class of scikit-learn; "" where there is none.
    usual : parameters in place of scikit-learn's own.
    scaled : whether features are scaled to mean 0 and deviation 1 unless it is said otherwise.
    parallel : whether threads fit parts that do not depend on each other, so that their number does not show.
    """

    classifier: str
    regressor: str
    usual: Mapping[str, Any] = field(default_factory=dict)
    scaled: bool = False
    parallel: bool = False


# Early stopping would hold back single voxels at random, whose neighbours are trained on.
_BOOSTING = {"early_stopping": False}
# Brute force compares by matrix products, whose last bits depend on the rows that come together.
_NEIGHBOURS = {"algorithm": "kd_tree"}
ESTIMATORS = {
    "random_forest": Known(
        "sklearn.ensemble:RandomForestClassifier", "sklearn.ensemble:RandomForestRegressor", {}, parallel=True
    ),
    "extra_trees": Known(
        "sklearn.ensemble:ExtraTreesClassifier", "sklearn.ensemble:ExtraTreesRegressor", {}, parallel=True
    ),
    "decision_tree": Known("sklearn.tree:DecisionTreeClassifier", "sklearn.tree:DecisionTreeRegressor"),
    "gradient_boosting": Known(
        "sklearn.ensemble:HistGradientBoostingClassifier", "sklearn.ensemble:HistGradientBoostingRegressor", _BOOSTING
    ),
    "nearest_neighbours": Known(
        "sklearn.neighbors:KNeighborsClassifier", "sklearn.neighbors:KNeighborsRegressor", _NEIGHBOURS, scaled=True
    ),
    "logistic": Known("sklearn.linear_model:LogisticRegression", "", {"max_iter": 1000}, scaled=True),
    "linear": Known("sklearn.linear_model:RidgeClassifier", "sklearn.linear_model:LinearRegression"),
}
"""By name; `linear` parts classes by least squares and predicts values by them."""


def make_estimator(name: str, task: Task, parameters: Mapping[str, Any], seed: int) -> Any:
    """An estimator that is not fitted.

    Parameters
    ----------
    name : of `ESTIMATORS`.
    task : classification or regression.
    parameters : of the scikit-learn class, but for ``n_jobs``.
    seed : its ``random_state``, where it has one.

    Raises
    ------
    ParameterError
        Unknown names, with the nearest; or a task that it cannot do.

    Examples
    --------
    >>> make_estimator("random_forest", "classification", {"n_estimators": 20, "max_depth": 8}, seed=1)
    RandomForestClassifier(max_depth=8, n_estimators=20, random_state=1)
    """
    if name not in ESTIMATORS:
        raise ParameterError(unknown("estimator", name, ESTIMATORS))
    known = ESTIMATORS[name]
    module, _, title = (known.classifier if task == "classification" else known.regressor).partition(":")
    if not module:
        raise ParameterError(f"{name} is no {task}: take another estimator, or the other task")
    kind: Any = getattr(import_module(module), title)
    valid = set(kind().get_params()) - {"n_jobs"}
    for key in parameters:
        if key not in valid:
            raise ParameterError(f"{name}: {unknown('parameter', key, valid)}")
    given = {**known.usual, **parameters}
    if "random_state" in valid:
        given.setdefault("random_state", seed)
    return kind(**given)


def fit_bytes(name: str, parameters: Mapping[str, Any], rows: int, features: int, classes: int) -> int:
    """Bytes that fitting takes beside its table, at most: copies of the table in float64, and trees of full size.

    How many nodes trees really get only the data tell; without a limit of depth or leaves it is seldom a tenth.

    >>> fit_bytes("random_forest", {"n_estimators": 6, "max_depth": 6}, 10_000, 3, 2) >> 10
    883
    """
    given = {**ESTIMATORS[name].usual, **parameters}

    def number(key: str, otherwise: int) -> int:
        value = given.get(key)
        return value if isinstance(value, int) and value > 0 else otherwise  # what it cannot be is refused elsewhere

    leaves = min(rows, 1 << min(number("max_depth", 40), 40))
    trees = 0
    if name in ("random_forest", "extra_trees", "decision_tree"):
        trees = 1 if name == "decision_tree" else number("n_estimators", 100)
        leaves = min(leaves, number("max_leaf_nodes", rows))
    elif name == "gradient_boosting":
        trees, leaves = classes * number("max_iter", 100), min(leaves, number("max_leaf_nodes", 31))
    node = 64 + 8 * classes
    return 3 * (8 * rows * features + trees * 2 * leaves * node)
