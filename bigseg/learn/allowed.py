"""What a model file may hold beside plain arrays: an explicit list of estimators, and of what they are made of."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

ESTIMATORS = {
    "sklearn.cluster": ("KMeans", "MiniBatchKMeans"),
    "sklearn.compose": ("ColumnTransformer",),
    "sklearn.discriminant_analysis": ("LinearDiscriminantAnalysis",),
    "sklearn.ensemble": (
        "ExtraTreesClassifier",
        "ExtraTreesRegressor",
        "GradientBoostingClassifier",
        "GradientBoostingRegressor",
        "HistGradientBoostingClassifier",
        "HistGradientBoostingRegressor",
        "RandomForestClassifier",
        "RandomForestRegressor",
    ),
    "sklearn.linear_model": ("LinearRegression", "LogisticRegression", "Ridge", "RidgeClassifier"),
    "sklearn.naive_bayes": ("GaussianNB",),
    "sklearn.neighbors": ("KNeighborsClassifier", "KNeighborsRegressor"),
    "sklearn.neural_network": ("MLPClassifier", "MLPRegressor"),
    "sklearn.pipeline": ("FeatureUnion", "Pipeline"),
    "sklearn.preprocessing": (
        "MinMaxScaler",
        "PolynomialFeatures",
        "QuantileTransformer",
        "RobustScaler",
        "StandardScaler",
    ),
    "sklearn.tree": ("DecisionTreeClassifier", "DecisionTreeRegressor"),
}
"""Estimators that a model file may hold, alone or inside of each other."""
PARTS = (
    "numpy.random._generator.Generator",
    "numpy.random.mtrand.RandomState",
    "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss._loss.CyHalfMultinomialLoss",
    "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn.dummy.DummyClassifier",
    "sklearn.dummy.DummyRegressor",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.preprocessing._label.LabelBinarizer",
    "sklearn.preprocessing._label.LabelEncoder",
    "sklearn.tree._tree.Tree",
)
"""What these estimators are made of, beside plain values and numbers."""
PLAIN = {
    "builtins": ("bool", "dict", "float", "int", "list", "slice", "str", "tuple"),
    "numpy": ("bool", "dtype", "float32", "float64", "int32", "int64", "intp", "ndarray", "uint8", "uint64"),
}
NODES = (
    "DictNode",
    "DTypeNode",
    "JsonNode",
    "ListNode",
    "LossNode",
    "NdArrayNode",
    "ObjectNode",
    "RandomGeneratorNode",
    "RandomStateNode",
    "SliceNode",
    "TreeNode",
    "TupleNode",
    "TypeNode",
)
"""Ways of making an object that skops is allowed: none of them calls a function that the file names."""


def not_listed(data: bytes) -> list[str]:
    """What a skops file holds that is on none of the lists; nothing of it is made."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        todo: list[Any] = [json.loads(file.read("schema.json"))]
    found = set()
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo += item.values()
            if "__loader__" in item and not _is_listed(item):
                found.add(f"{item.get('__module__')}.{item.get('__class__')}")
        elif isinstance(item, list):
            todo += item
    return sorted(found)


def _is_listed(node: Mapping[str, Any]) -> bool:
    module, name = str(node.get("__module__")), str(node.get("__class__"))
    home = ".".join(part for part in module.split(".") if not part.startswith("_"))
    known = f"{module}.{name}" in PARTS or name in PLAIN.get(module, ()) or _is_estimator(home, name)
    return known and node["__loader__"] in NODES


def _is_estimator(module: str, name: str) -> bool:
    """Whether a class of a public module, or of a private one that is not hidden (naive_bayes), is listed."""
    return any(
        name in names and (module == home or module.startswith(f"{home}.")) for home, names in ESTIMATORS.items()
    )
