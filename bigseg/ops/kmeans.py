"""Clustering: voxels of a kind, found without examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, ClassVar, Literal

from pydantic import Field as Parameter
from pydantic import field_validator, model_validator

from bigseg.engine.field import Field, Reduction
from bigseg.errors import PipelineError, unknown
from bigseg.local.features.stack import Stack
from bigseg.local.models.centres import MOST
from bigseg.ops.base import Masking, Op, Site
from bigseg.ops.counting.statistics import Fold
from bigseg.ops.learning.clusters import (
    DescribeClusters,
    FitClusters,
    FoundClusters,
    Kind,
    MoveCentres,
    NearestCentre,
    SumMembers,
)
from bigseg.ops.learning.feature_sample import feature_sample, looking
from bigseg.ops.learning.feature_scaling import scaling_of
from bigseg.ops.learning.features import Features
from bigseg.ops.learning.on_features import OnFeatures, on_features
from bigseg.ops.masked import within

MOST_CLUSTERS = MOST - 1


class Kmeans(Op):
    """k-means: every voxel gets the class whose mean feature vector is nearest to its own, 1 to k.

    The features are those of `bigseg.Features`, of one image or of several registered ones
    (``from: [xray, neutron]``). Classes are found on a sample: the ``sample`` voxels with the smallest hashes of seed
    and index, in the order of the hashes, go batch by batch through scikit-learn's MiniBatchKMeans (in dask-ml's
    Incremental, random_state = seed; the best of ``starts`` fits by inertia). ``lloyd: n`` then moves every centre n
    times to the exact mean of all its voxels (an empty class stays where it is). Classes are numbered by the rising
    mean of the first feature. Distances are added in float32, feature by feature; of two classes at one distance the
    smaller wins. Under a ``mask`` only its voxels are sampled and classified, others are 0. uint8. So the same seed
    gives the same classes for any blocks and workers, and in tests for linear algebra with and without AVX (a voxel
    within a rounding of the middle between two classes might go to the other).

    Gives ``inertia`` (sum of squared distances of the sample), ``silhouette`` (of 2,000 voxels), ``sample``, and
    ``model`` (names, centres, scaling). Table ``NAME``: one row a class with its share of the sample, mean and
    standard deviation of each feature; with ``try_k`` also ``NAME.tried``: inertia and silhouette for each k. Depth:
    that of the features. Cost: two passes over the features, and one for each of ``lloyd``, one or three for
    ``scaling_from: volume``; the classes themselves 0.07 ns a voxel, feature and class on one core, and 0.25 a feature.

    Source of the algorithm: D. Sculley, Web-scale k-means clustering (2010); S. Lloyd, Least squares quantization
    in PCM (1982).

    >>> import numpy as np, bigseg
    >>> bigseg.kmeans(np.array([[1, 2, 9, 8, 1, 30]], "uint8"), k=3)
    array([[1, 1, 2, 2, 1, 3]], dtype=uint8)
    """

    op: ClassVar[str] = "kmeans"
    oracle: ClassVar[str] = (
        "sklearn MiniBatchKMeans.partial_fit on the same batches, exactly; predict, where classes are not equally near"
    )
    example: ClassVar[str] = (
        "{id: phases, op: kmeans, k: 4, features: {intensity: true, gaussian: [1, 2]}, scaling: standard}"
    )
    masked: ClassVar[Masking] = "own"

    k: int = Parameter(ge=2, le=MOST_CLUSTERS, description="number of classes")
    features: Features | None = Parameter(
        None, description="what describes a voxel, as bigseg.Features; by default {intensity: true}"
    )
    scaling: Kind = Parameter(
        "none", description="none, standard, robust, minmax or quantile: without it, large features rule"
    )
    scaling_from: Literal["sample", "volume"] = Parameter(
        "sample", description="what the scaling is of; volume: every voxel, which takes one to three passes more"
    )
    sample: int = Parameter(100_000, ge=2, le=10_000_000, description="voxels that the classes are found on")
    seed: int = Parameter(0, ge=0, lt=1 << 32, description="of the sample and of the first centres")
    batch: int = Parameter(1024, ge=2, description="voxels of a batch; the first centres are drawn from the first")
    starts: int = Parameter(3, ge=1, le=100, description="fits from other first centres; the best is taken")
    lloyd: int = Parameter(0, ge=0, le=100, description="exact passes over all voxels after the fit")
    try_k: tuple[int, ...] = Parameter(
        (), description="other numbers of classes, whose inertia and silhouette the report shows beside each other"
    )

    @field_validator("features", mode="before")
    @classmethod
    def _known(cls, features: Any) -> Any:
        for name in features if isinstance(features, Mapping) else ():
            if name not in Features.model_fields:
                raise ValueError(unknown("feature", str(name), Features.model_fields))
        return features

    @model_validator(mode="after")
    def _sensible(self) -> Kmeans:
        for number in self.try_k:
            if not 2 <= number <= MOST_CLUSTERS:
                raise ValueError(f"try_k: expected numbers of classes from 2 to {MOST_CLUSTERS}, found {number}")
        most = max(self.k, *self.try_k) if self.try_k else self.k
        for name, size in (("sample", self.sample), ("batch", self.batch)):
            if size < most:
                raise ValueError(f"{name} {size}: expected as many voxels as classes at least, {most}")
        return self

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """The sample, the fit, the classes."""
        return self.build_inside(inputs, None, site)

    def build_inside(self, inputs: Sequence[Field], mask: Field | None, site: Site) -> Field:
        """The same under a mask."""
        name = site.name
        images = [field.name for field in inputs] if len(inputs) > 1 else [""]
        stack = (self.features or Features(intensity=True)).stack(inputs[0].spec, images)
        sample = feature_sample(inputs, mask, stack, name, self.sample, self.seed)
        shared = name, sample.name, stack.names, min(self.sample, prod(inputs[0].spec.shape))
        fit = FitClusters(*shared, self.k, self.try_k, self.scaling, self.seed, self.batch, self.starts)
        after: list[Reduction] = []
        if self.scaling_from == "volume" and self.scaling != "none":
            if mask is not None:
                raise PipelineError(
                    f"step {name!r}: scaling_from: volume is of all voxels, found a mask: say sample, or leave it out"
                )
            after = [scaling_of(inputs, stack, self.scaling, f"{name}.scaled")]
            fit = replace(fit, scaled_by=after[0].name)
        known = Reduction(f"{name}.fit", (sample,), fit, after)
        for turn in range(1, self.lloyd + 1):
            known = self._moved(inputs, mask, stack, f"{name}.lloyd-{turn}", known)
        describe = DescribeClusters(*shared, known.name)
        known = Reduction(f"{name}.clusters", (known,), describe)
        dtypes = tuple(str(field.spec.dtype) for field in inputs)
        kernel = OnFeatures(stack, NearestCentre(known.name, len(stack.names), self.k), dtypes)
        title = name if mask is None else f"{name}.everywhere"
        found = on_features(title, inputs, kernel)
        spec = found.spec.but(kind="classes", bounds=(0.0, float(self.k)))
        found = replace(found, spec=spec, after=(known,))
        if mask is not None:
            found = within(found, mask, name)
        return replace(found, tag=FoundClusters(known.name))

    def _moved(
        self, inputs: Sequence[Field], mask: Field | None, stack: Stack, name: str, known: Reduction
    ) -> Reduction:
        """One pass of Lloyd's algorithm."""
        size = 8 * self.k * (1 + 2 * len(stack.names))
        look = SumMembers(stack, tuple(str(field.spec.dtype) for field in inputs), self.k, known.name)
        seen = looking(name, look, inputs, mask, (known,), size)
        fold = Reduction(f"{name}-fold", (seen,), Fold(f"{name}-fold", seen.name, size))
        return Reduction(f"{name}-moved", (fold,), MoveCentres(fold.name, known.name, size), [known])
