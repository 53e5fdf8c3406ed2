"""Training a model within a pipeline, from the voxels where another volume says what they are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic import Field as Parameter

from bigseg.engine.field import Collect, Field, Reduction, Values, Workspace
from bigseg.errors import BigsegError, ParameterError, PipelineError
from bigseg.grid import Box, Grid
from bigseg.learn.estimators import ESTIMATORS, Task, fit_bytes
from bigseg.learn.loading import file_digest
from bigseg.learn.recipe import Recipe, Scaled
from bigseg.learn.sampled import PARTS, Kind, Regions, Sampling, kind_of
from bigseg.local.features.stack import Stack
from bigseg.ops.base import Op, Site
from bigseg.ops.counting.statistics import Fold
from bigseg.ops.learning.features import Features
from bigseg.ops.learning.taking import Annotation, CollectRows, CountKnown, FindCounts, TakeRows, row_bytes, rows_wanted
from bigseg.storage.roi import in_piece, parse_roi
from bigseg.storage.spec import Spec

if TYPE_CHECKING:
    from bigseg.learn.annotations import Table
    from bigseg.learn.training import Trained

FIT_LIBRARIES, FIT_BYTES = 160 << 20, 512 << 20
"""Planned for what an estimator takes beside its table: the libraries it is made of (measured: 141 MiB), and what it
may take, up to the second. How many nodes the trees of a large forest get nobody knows before."""
Place = Literal["labels", "distances"]


class Clustering(BaseModel):
    """K-means in front of the estimator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Parameter(ge=2, le=256, description="how many clusters")
    give: Place = Parameter("labels", description="the number of the nearest, or the distances to all")
    alone: bool = Parameter(False, description="in place of the features that they are found from")


class ClassInfo(BaseModel):
    """Name and colour of a class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    colour: str = Parameter("", pattern="^(#[0-9a-fA-F]{6})?$")


class Train(Op):
    """A model trained on the voxels where `labels` says what they are, for `classify` steps after it.

    Labels: sparse (0 is not known), mask (0 and anything else are the two classes), dense (0 is a class too) or
    values (a regression). `regions` are boxes of train, validation and test (the course: left half, right half); at
    most `voxels` of each are taken, those with the least hashes, so the model is the same for any blocks. Values:
    ``model`` (for `classify`), ``voxels``, ``figures`` by the part they come from, and of two classes ``threshold``:
    above this probability Dice was best on the validation region, else on blocks left out in `folds`; never on test.
    Estimators: random_forest, extra_trees, decision_tree, gradient_boosting, nearest_neighbours, logistic, linear,
    with scikit-learn's parameters. The file is models/ID.npz in the run's folder. Cost: a pass over the labels, a
    pass over the blocks that hold any with the features of the smallest box around them, one task that fits.

    >>> import numpy as np, bigseg
    >>> image, painted = np.array([[1, 2, 9, 8]], "uint8"), np.array([[1, 0, 2, 0]], "uint8")
    >>> model = bigseg.train(image, painted, features={"intensity": True}, estimator="decision_tree")
    >>> model.labels(np.float32([[3, 7]]))
    array([1, 2], dtype=uint8)
    """

    op: ClassVar[str] = "train"
    oracle: ClassVar[str] = "the estimator of sklearn fitted to the same rows in order of their index, exactly"
    example: ClassVar[str] = "{id: forest, op: train, labels: painted, features: {preset: basic}}"
    refers: ClassVar[tuple[str, ...]] = ("labels",)

    labels: str = Parameter(description="the input or step that says what voxels are")
    features: Features = Parameter(description="what describes a voxel, see bigseg.Features")
    kind: Kind = Parameter("auto", description="what labels mean; auto: masks are masks, floats values, others sparse")
    regions: dict[Literal["train", "validation", "test"], str | tuple[str, ...]] = Parameter(
        {}, description="boxes, as --roi, of what is for train, validation, test; default: all for train"
    )
    estimator: str = Parameter("random_forest", description=", ".join(ESTIMATORS))
    task: Literal["auto", "classification", "regression"] = Parameter(
        "auto", description="auto: regression of values, else classification"
    )
    parameters: dict[str, Any] = Parameter({}, description="of the estimator: {n_estimators: 50, max_depth: 12}")
    scaling: Scaled = Parameter("auto", description="of features; auto: standard for nearest_neighbours and logistic")
    clusters: Clustering | None = Parameter(None, description="k-means in front: {k: 4, give: labels, alone: false}")
    classes: dict[int, str | ClassInfo] = Parameter(
        {}, description="names of classes: {1: pore} or {1: {name: pore, colour: '#4477aa'}}"
    )
    voxels: int | None = Parameter(100_000, ge=1, description="most of each part that are taken; none: all")
    balanced: bool = Parameter(False, description="the same number of every class, as far as there are so many")
    folds: int = Parameter(0, ge=0, le=100, description="cross-validation: models without some blocks, tried on them")
    fold_side: int | tuple[int, ...] = Parameter(64, description="voxels of such a block per axis")
    seed: int = Parameter(0, ge=0, lt=1 << 32, description="of all that is drawn")

    @field_validator("estimator")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ESTIMATORS:
            raise ValueError(f"unknown estimator {name!r}, expected one of {', '.join(ESTIMATORS)}")
        return name

    @field_validator("folds")
    @classmethod
    def _folds(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("1 fold leaves nothing to fit: expected 0 for none, or 2 and more")
        return folds

    def in_piece(self, piece: Box, spec: Spec) -> Train:
        """With what the piece holds of its regions; only those for the test may be missing."""
        moved = {
            part: tuple(text for roi in rois_of(given) if (text := in_piece(roi, piece, spec)) is not None)
            for part, given in self.regions.items()
        }
        if missing := [part for part, rois in moved.items() if not rois and part != "test"]:
            raise ParameterError(f"no voxel of the regions for {missing[0]} is looked at")
        return self.model_copy(update={"regions": {part: rois for part, rois in moved.items() if rois}})

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """Count what is known, take features of some of it, fit."""
        labels = self._labels(inputs, site)
        specs = tuple(item.spec for item in inputs)
        kind = kind_of(self.kind, labels.spec.dtype, labels.spec.kind == "mask")
        try:
            stack = self.features.stack(specs[0], images_of(inputs))
            regions = self.boxes(specs[0])
            self.recipe(kind).made()
        except BigsegError as error:
            raise type(error)(f"step {site.name!r}: {error}") from error
        known = Annotation(kind, regions, self.sampling)
        count = Collect(f"{site.name}.known", [labels], CountKnown(known))
        fold = Reduction(f"{site.name}.known-fold", (count,), Fold(f"{site.name}.known-fold", count.name))
        bounds = Reduction(f"{site.name}.chosen", (fold,), FindCounts(site.name, fold.name), keys=("counts",))
        dtypes = tuple(str(item.dtype) for item in specs)
        taken = f"{site.name}.rows"
        spec = specs[0].but(dtype=np.dtype("uint8"), kind="image")
        kernel = TakeRows(stack, dtypes, taken, known, bounds.name)
        rows = Field(taken, spec, kernel, (labels, *inputs), (bounds,))
        collect = Collect(f"{taken}-taken", [rows], CollectRows(taken, len(stack.names), self.voxels), [bounds])
        fit = FitModel(site.name, self, specs, tuple(images_of(inputs)), kind, stack, collect.name, bounds.name)
        keys = ("model", "digest", "voxels", "figures")
        return Reduction(site.name, (collect,), fit, [bounds], (*keys, "threshold") if self.chooses(kind) else keys)

    def _labels(self, inputs: Sequence[Field], site: Site) -> Field:
        found = site.volume(self.labels, "labels")
        for item in (*inputs, found):
            if item.spec.shape != inputs[0].spec.shape:
                raise PipelineError(
                    f"step {site.name!r}: {item.name!r} has shape {item.spec.shape}, expected that of "
                    f"{inputs[0].name!r}, {inputs[0].spec.shape}; crop or resample one of them"
                )
        return found

    @property
    def sampling(self) -> Sampling:
        """How many voxels are taken."""
        return Sampling(self.voxels, self.balanced, self.seed)

    def chooses(self, kind: Kind) -> bool:
        """Whether a threshold may come out."""
        return bool(self.folds) or "validation" in self.regions

    def boxes(self, spec: Spec) -> Regions:
        """The regions in a volume."""
        return Regions(
            tuple(
                (PARTS.index(part), parse_roi(roi, spec))
                for part, given in self.regions.items()
                for roi in rois_of(given)
            )
        )

    def recipe(self, kind: Kind) -> Recipe:
        """What is fitted."""
        task: Task = "regression" if self.task == "regression" else "classification"
        if self.task == "auto" and kind == "values":
            task = "regression"
        if kind == "values" and task == "classification":
            raise ParameterError("a classification of values: expected classes; put a threshold step before")
        side = self.fold_side if isinstance(self.fold_side, tuple) else (self.fold_side,)
        known = self.clusters
        return Recipe(
            self.estimator,
            task,
            self.parameters,
            self.scaling,
            known.k if known else 0,
            known.give if known else "labels",
            bool(known and known.alone),
            self.seed,
            self.folds,
            side,
        )

    @property
    def named(self) -> dict[int, ClassInfo]:
        """The classes that were given names."""
        items = sorted(self.classes.items())
        return {number: ClassInfo(name=item) if isinstance(item, str) else item for number, item in items}

    def fitted(
        self, table: Table, kind: Kind, stack: Stack, spec: Spec, images: Sequence[str], names: Mapping[int, str]
    ) -> Trained:
        """The model of a table; ``names`` of classes that came with the annotations."""
        from bigseg.learn.training import fit_model  # with scikit-learn, which takes seconds to load

        given = self.named
        return fit_model(
            table,
            self.recipe(kind),
            names=stack.names,
            spec=spec,
            described={
                "features": self.features.model_dump(mode="json", exclude_defaults=True),
                "images": list(images),
                "axes": list(spec.axes),
                "names": list(stack.names),
            },
            scales=scales_of(stack),
            classes={**names, **{number: item.name for number, item in given.items()}},
            colours={number: item.colour for number, item in given.items() if item.colour},
            threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        )

    @property
    def cost_of_model(self) -> float:
        """Nanoseconds a voxel of the model to come, roughly: 15 levels a tree."""
        trees = {"random_forest": 100, "extra_trees": 100, "decision_tree": 1}.get(self.estimator, 0)
        count = self.parameters.get("n_estimators", trees) if trees > 1 else trees
        return 15.0 * float(count) if trees else 1000.0


def rois_of(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """One region, or several, as a list."""
    return (given,) if isinstance(given, str) else given


def images_of(inputs: Sequence[Field]) -> list[str]:
    """Names of the images among the features: none of one image.

    >>> spec = Spec((4, 4), np.dtype("uint8"), ("y", "x"), (1.0, 1.0))
    >>> images_of([Field("input", spec, None)]), images_of([Field("a", spec, None), Field("b", spec, None)])
    ([''], ['a', 'b'])
    """
    return [""] if len(inputs) == 1 else [item.name for item in inputs]


def scales_of(stack: Stack) -> list[float | str]:
    """The sigmas of a stack, in voxels."""
    found = sorted({item.sigma for item in stack.filters if item.sigma})
    return [sigma[0] if len(set(sigma)) == 1 else "x".join(f"{s:g}" for s in sigma) for sigma in found]


@dataclass(frozen=True)
class FitModel:
    """Fits the model to the rows of all blocks, and stores it in the run's folder."""

    name: str
    op: Train
    specs: tuple[Spec, ...]
    images: tuple[str, ...]
    kind: Kind
    stack: Stack
    rows: str
    source: str
    counts: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """The table, as rows and as planes, and what the estimator takes."""
        op, features, voxels = self.op, len(self.stack.names), prod(grid.shape)
        given = features + (op.clusters.k if op.clusters else 0)
        most = fit_bytes(op.estimator, op.parameters, rows_wanted(op.voxels, voxels), given, max(2, len(op.classes)))
        return min(FIT_BYTES, FIT_LIBRARIES + most) + 3 * row_bytes(features, op.voxels, voxels)

    def bind(self, values: Values) -> FitModel:
        """Take over the counts."""
        return replace(self, counts=tuple(tuple(row) for row in values[self.source]["counts"]))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Read, fit, store."""
        from bigseg.learn.model_file import save_model  # with scikit-learn and skops, which take seconds to load

        try:
            trained = self.op.fitted(self.table(space), self.kind, self.stack, self.specs[0], self.images, {})
        except BigsegError as error:
            raise type(error)(f"step {self.name!r}: {error}") from error
        path = f"models/{self.name}.npz"
        save_model(trained.model, space.folder / path)
        figures = dict(trained.figures)
        known: dict[str, Any] = {"model": path, "digest": file_digest(space.folder / path)}
        known |= {"voxels": figures["train"]["voxels"], "figures": figures}
        return known | ({} if trained.threshold is None else {"threshold": trained.threshold})

    def table(self, space: Workspace) -> Table:
        """The rows of all blocks, sorted by index."""
        from bigseg.learn.annotations import Table, source_of

        sampling = self.op.sampling
        parts = [space.scratch.read(self.rows, number) for number in range(len(space.grid))]
        index, truth, part, planes = (
            np.concatenate([item[name] for item in parts], axis=-1) for name in ("index", "truth", "part", "planes")
        )
        del parts
        volume = np.zeros(index.size, np.int32)
        order = sampling.chosen(part, truth, volume, index, sampling.wanted(np.array(self.counts, np.int64)))
        planes, index, truth = planes[:, order], index[order], truth[order]
        source = source_of(self.name, planes, truth, index)
        return Table(planes, truth, part[order], volume[order], index, (space.grid.shape,), (source,))
