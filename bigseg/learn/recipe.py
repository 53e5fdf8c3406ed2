"""What is fitted to annotated voxels, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bigseg.learn.clusters import Give
from bigseg.learn.estimators import ESTIMATORS, Task, make_estimator
from bigseg.local.features.scaling import Kind as ScalingKind

Scaled = Literal["auto", "none", "standard", "robust", "minmax", "quantile"]


@dataclass(frozen=True)
class Recipe:
    """What is fitted, and how.

    Parameters
    ----------
    estimator : a name of `bigseg.learn.estimators.ESTIMATORS`, or an estimator of scikit-learn's that is not fitted.
    task : classification or regression.
    parameters : of the estimator.
    scaling : of the features; auto: standard for nearest neighbours and logistic regression, else none.
    clusters : of k-means in front; 0 for none; cluster_features, clusters_alone : see `Clusters`.
    seed : of everything that is drawn.
    folds, fold_side : cross-validation by blocks of so many voxels; 0 for none.
    """

    estimator: Any = "random_forest"
    task: Task = "classification"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    scaling: Scaled = "auto"
    clusters: int = 0
    cluster_features: Give = "labels"
    clusters_alone: bool = False
    seed: int = 0
    folds: int = 0
    fold_side: tuple[int, ...] = ()

    def made(self) -> Any:
        """The estimator, not fitted."""
        if not isinstance(self.estimator, str):
            from sklearn.base import clone  # which takes a second to load

            found = clone(self.estimator)
            for name, value in found.get_params().items():
                if name.endswith("random_state") and value is None:
                    found.set_params(**{name: self.seed})
            return found
        return make_estimator(self.estimator, self.task, self.parameters, self.seed)

    @property
    def scaling_kind(self) -> ScalingKind | None:
        """How features are scaled."""
        if self.scaling == "auto":
            known = ESTIMATORS.get(self.estimator) if isinstance(self.estimator, str) else None
            return "standard" if known is not None and known.scaled else None
        return None if self.scaling == "none" else self.scaling
