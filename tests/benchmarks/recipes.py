"""Recipes for the mitochondria: features, estimators, one pass or two, chosen on the left half alone.

A second pass (auto-context, Tu and Bai 2010) sees features of the first pass's probabilities beside those of the
image. What it learns from must look as what it will meet, so every probability comes from a model that had not seen
the truth there, and the validating band is left out of both passes::

    judging band 1:  first pass  band 0 <- model without {0, 1}      second pass  learns from bands 0, 2, 3
                                 band 1 <- model without {1}                      judges band 1
                                 band 2 <- model without {1, 2}
                                 band 3 <- model without {1, 3}

Six models without two bands, four without one and one of all serve the first pass of every band and of the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .context import SETS, context
from .halves import BANDS, Array, Half, allowed, band, predict, sample

YES, NO = 8_000, 16_000
"""Pixels that a model learns from, of mitochondria and of the rest."""

ESTIMATORS: dict[str, Callable[[], Any]] = {
    "forest": lambda: RandomForestClassifier(60, min_samples_leaf=5, random_state=0, n_jobs=1),
    "extra trees": lambda: ExtraTreesClassifier(150, min_samples_leaf=5, max_features=0.1, random_state=0, n_jobs=1),
    "boosting": lambda: HistGradientBoostingClassifier(
        max_iter=150,
        learning_rate=0.08,
        max_leaf_nodes=15,
        min_samples_leaf=40,
        l2_regularization=1.0,
        max_features=0.3,
        early_stopping=False,
        random_state=0,
    ),
    "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=300)),
}


@dataclass(frozen=True)
class Recipe:
    """A set of features, estimators whose mean counts, and passes."""

    features: str
    estimators: tuple[str, ...]
    passes: int = 1

    @property
    def name(self) -> str:
        """As in the table."""
        return f"{self.features}, {' + '.join(self.estimators)}" + (", two passes" if self.passes == 2 else "")


RECIPES = (
    Recipe("basic", ("forest",)),
    Recipe("wide", ("boosting",)),
    Recipe("wide", ("boosting",), 2),
    Recipe("wide", ("extra trees",)),
    Recipe("wide", ("extra trees", "boosting")),
    Recipe("rings", ("boosting",)),
    Recipe("rings", ("extra trees", "boosting")),
    Recipe("rings", ("boosting",), 2),
    Recipe("rings", ("extra trees",)),
    Recipe("wide", ("logistic",)),
    Recipe("rings", ("logistic",)),
    Recipe("rings", ("extra trees", "boosting"), 2),
)
"""Every recipe that is tried."""


class Study:
    """The left half, and what was computed of it; models are kept, as recipes share them."""

    def __init__(self, left: Half) -> None:
        self.left = left
        self.features = cache(lambda name: SETS[name](left.image))
        self.first = cache(self._first)
        self.maps = cache(self._maps)
        self._others: dict[str, tuple[Array, Array]] = {}

    def folded(self, recipe: Recipe) -> Array:
        """Probabilities of the left half, each from a model that had not seen its band."""
        if recipe.passes == 1:
            return self.maps(recipe.features, recipe.estimators, None)
        found = np.empty(self.left.truth.shape, np.float32)
        for number in range(BANDS):
            planes = self._second_planes(recipe, number)
            models = self.learn(planes, recipe.estimators, (number,))
            rows = band(found.shape, number)
            found[rows] = mean_of(models, planes[:, rows])
        return found

    def final(self, recipe: Recipe, right: Array) -> Array:
        """Probabilities of another image, from models of the whole left half."""
        planes = self._planes_of(recipe.features, right)
        found = mean_of(self.first(recipe.features, recipe.estimators, ()), planes)
        if recipe.passes == 1:
            return found
        models = self.learn(self._second_planes(recipe, None), recipe.estimators, ())
        return mean_of(models, np.concatenate([planes, context(found)]))

    def _planes_of(self, features: str, image: Array) -> Array:
        """Features of another image, kept for the recipes that share them."""
        if features not in self._others or self._others[features][0] is not image:
            self._others[features] = image, SETS[features](image)
        return self._others[features][1]

    def learn(self, planes: Array, estimators: Sequence[str], left_out: tuple[int, ...]) -> list[Any]:
        """Models from the left half without some bands."""
        where = allowed(self.left.truth.shape, left_out)
        places = np.concatenate([sample(where & self.left.truth, YES), sample(where & ~self.left.truth, NO)])
        table = np.ascontiguousarray(planes.reshape(len(planes), -1)[:, places].T)
        truth = self.left.truth.reshape(-1)[places]
        return [ESTIMATORS[name]().fit(table, truth) for name in estimators]

    def _first(self, features: str, estimators: tuple[str, ...], left_out: tuple[int, ...]) -> list[Any]:
        if len(estimators) > 1:
            return [model for name in estimators for model in self.first(features, (name,), left_out)]
        return self.learn(self.features(features), estimators, left_out)

    def _maps(self, features: str, estimators: tuple[str, ...], left_out: int | None) -> Array:
        """First pass of the left half: every band by models that saw neither it nor ``left_out``."""
        planes = self.features(features)
        found = np.empty(planes.shape[1:], np.float32)
        for number in range(BANDS):
            without = tuple(sorted({number} if left_out is None else {number, left_out}))
            rows = band(found.shape, number)
            found[rows] = mean_of(self.first(features, estimators, without), planes[:, rows])
        return found

    def _second_planes(self, recipe: Recipe, left_out: int | None) -> Array:
        scores = self.maps(recipe.features, recipe.estimators, left_out)
        return np.concatenate([self.features(recipe.features), context(scores)])


def mean_of(models: Sequence[Any], planes: Array) -> Array:
    """Mean of the models' probabilities of yes: float32 of the planes' shape."""
    flat = np.ascontiguousarray(planes.reshape(len(planes), -1))
    return np.mean([predict(model, flat) for model in models], axis=0, dtype=np.float32).reshape(planes.shape[1:])


def as_shares(scores: Array, truth: Array) -> Array:
    """Probabilities as if pixels had not been drawn by class: corrected by the share of yes in the left half."""
    share = truth.mean() * (YES + NO) / YES
    rest = (1 - truth.mean()) * (YES + NO) / NO
    return (scores * share / (scores * share + (1 - scores) * rest)).astype(np.float32)
