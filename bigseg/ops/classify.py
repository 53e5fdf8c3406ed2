"""A trained model on every voxel: features and model fused in the block."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field as Parameter
from pydantic import model_validator

from bigseg.engine.field import Array, Field, Reduction, Values, Visit
from bigseg.errors import BigsegError, InputError, ParameterError, PipelineError
from bigseg.grid import Box, Shape
from bigseg.learn.clusters import Clusters
from bigseg.learn.loading import file_digest, knows_probabilities, load_kept
from bigseg.local.features.scaling import Scaling
from bigseg.local.features.stack import Stack
from bigseg.ops.base import REFERENCE, Masking, Op, Site, value_of
from bigseg.ops.learning.features import Features
from bigseg.ops.learning.on_features import OnFeatures
from bigseg.ops.learning.predict import UNKNOWN_MODEL, Output, Predict, Stored, cost_of, model_bytes, row_bytes
from bigseg.ops.train import FitModel
from bigseg.storage.spec import Class, Spec

if TYPE_CHECKING:
    from bigseg.learn.model import Model


class Classify(Op):
    """Labels, probabilities, uncertainty or values from a trained model (`bigseg train`, or a `train` step).

    labels: the number of the most probable class, uint8. probability: of one class, `target` (of two classes by
    default the second), as many steps as classes are wanted; uncertainty: 1 - (greatest - second probability), 0 is
    sure; both float32, or uint8 as shares of 255. value: of a regression, float32. Features are computed tile by
    tile and never exist for the block; labels of forests stop where no tree can change them any more. Needs the
    images that the model was trained on, in their order (`from: [xray, neutron]`). Refuses a volume of another
    spacing or range of values unless `override` is set. A model of 2-D images is applied to each plane of a volume.
    Estimators that are neither forests, linear models nor of those that look at each row alone are given rows in
    batches of one size, so that results do not depend on blocks. A run is continued only with the same model file.
    Depth: that of the features. Cost: features, and for a forest about 1 ns a tree and level.

    >>> import numpy as np, bigseg
    >>> from tempfile import TemporaryDirectory
    >>> image, painted = np.array([[1, 2, 9, 8]], "uint8"), np.array([[1, 0, 2, 0]], "uint8")
    >>> with TemporaryDirectory() as folder:
    ...     model = bigseg.train(image, painted, features={"intensity": True}, out=f"{folder}/model.npz")
    ...     bigseg.classify(image, model=f"{folder}/model.npz")
    array([[1, 1, 2, 2]], dtype=uint8)
    """

    op: ClassVar[str] = "classify"
    oracle: ClassVar[str] = (
        "sklearn predict and predict_proba on the features of the whole array: labels of forests exactly, "
        "probabilities within 1e-6"
    )
    example: ClassVar[str] = "{id: mito, op: classify, from: input, model: mito.npz, output: probability}"
    masked: ClassVar[Masking] = "result"
    local: ClassVar[bool] = True

    model: str = Parameter(description="the model file, or ${step.model} of a train step before")
    output: Output = Parameter("labels", description="what is found of each voxel")
    target: int | str | None = Parameter(None, description="of probability: the class, by number or name")
    dtype: Stored = Parameter("float32", description="of probability and uncertainty")
    override: bool = Parameter(False, description="also for volumes of another spacing or range of values")
    digest: str = Parameter("", description="of the model file; written into run folders, refused when it differs")

    @model_validator(mode="before")
    @classmethod
    def _with_digest(cls, data: Any) -> Any:
        name = data.get("model") if isinstance(data, dict) else None
        if not isinstance(name, str) or REFERENCE.match(name) or not os.path.isfile(name):
            return data
        found = file_digest(Path(name))
        given = data.get("digest") or found
        if given != found:
            raise ValueError(
                f"the model {name} has changed since this pipeline was written (digest was {given}, is {found}): "
                "restore it, or remove `digest` to compute with the new one"
            )
        return {**data, "digest": found}

    @model_validator(mode="after")
    def _fitting(self) -> Classify:
        if self.target is not None and self.output != "probability":
            raise ValueError(f"target {self.target!r} belongs to output: probability, found output: {self.output}")
        if self.dtype != "float32" and self.output not in ("probability", "uncertainty"):
            raise ValueError(f"dtype {self.dtype} belongs to probability and uncertainty; leave it out")
        return self

    def files(self) -> Sequence[str]:
        """The model, unless a step makes it."""
        return () if REFERENCE.match(self.model) else (self.model,)

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """Features and model as one field on top of the images.

        Raises
        ------
        InputError
            When there is no such model, or it does not fit the images.
        """
        after = site.after(self)
        specs = [field.spec for field in inputs]
        kernel, classes = self._of_step(specs, after, site) if after else self._of_file(specs, site.name)
        result = self.result(specs[0])
        if result.kind == "classes":
            result = result.but(classes=classes)
        return Field(site.name, result, kernel, tuple(inputs), after)

    def result(self, spec: Spec) -> Spec:
        """What the result is."""
        if self.output == "labels":
            return spec.but(dtype=np.dtype("uint8"), kind="classes")
        small = self.dtype == "uint8" and self.output != "value"
        bounds = (0.0, 255.0) if small else None if self.output == "value" else (0.0, 1.0)
        return spec.but(dtype=np.dtype("uint8" if small else "float32"), kind="image", bounds=bounds)

    def _of_file(self, specs: Sequence[Spec], name: str) -> tuple[Classifier, tuple[Class, ...]]:
        from bigseg.learn.model import check_fits  # with scikit-learn, which takes a second to load

        place = ModelPlace(str(Path(self.model).absolute()), self.digest)
        try:
            model = place.load()
            stack = stack_of(model, specs)
            check_fits(model, specs[0], override=self.override)
            self.asks(model)
        except BigsegError as error:
            raise type(error)(f"step {name!r}: {error}") from error
        dtypes = tuple(str(spec.dtype) for spec in specs)
        classes = tuple(Class(item.value, item.name, item.colour) for item in model.classes)
        return Classifier(self, stack, dtypes, place, cost_of(model), model_bytes(model), row_bytes(model)), classes

    def _of_step(
        self, specs: Sequence[Spec], after: Sequence[Reduction], site: Site
    ) -> tuple[Classifier, tuple[Class, ...]]:
        (step,) = after
        trainer = step.kernel
        if not isinstance(trainer, FitModel):
            raise PipelineError(f"step {site.name!r}, model: {self.model} is no model: expected that of a train step")
        trained, given = [item.shape for item in trainer.specs], [item.shape for item in specs]
        if trained != given:
            raise PipelineError(f"step {site.name!r}: the model is of images {trained}, found {given}: name the same")
        place = ModelPlace("", "", self.model)
        dtypes = tuple(str(spec.dtype) for spec in specs)
        classes = tuple(Class(value, item.name, item.colour) for value, item in trainer.op.named.items())
        return Classifier(self, trainer.stack, dtypes, place, trainer.op.cost_of_model, UNKNOWN_MODEL, 64), classes

    def asks(self, model: Model) -> int:
        """The place of the class whose probability is wanted, 0 where none is.

        Raises
        ------
        ParameterError
            When the model does not know what is wanted.
        """
        if (model.task == "regression") != (self.output == "value"):
            known = "output: value" if model.task == "regression" else "labels, probability or uncertainty"
            raise ParameterError(f"output {self.output!r} of a model that is a {model.task}: expected {known}")
        if self.output in ("probability", "uncertainty") and not knows_probabilities(model):
            raise ParameterError(f"{model.estimator} knows no probabilities: expected output: labels")
        if self.output != "probability":
            return 0
        names = [item.name for item in model.classes]
        values = [item.value for item in model.classes]
        if self.target is None:
            if len(values) != 2:
                told = ", ".join(f"{value} ({name})" for value, name in zip(values, names, strict=True))
                raise ParameterError(f"a probability of {len(values)} classes: say which with target: {told}")
            return 1
        if self.target in names:
            return names.index(str(self.target))
        if self.target in values:
            return values.index(int(self.target))
        raise ParameterError(f"target {self.target!r}: expected one of {', '.join(names)} or {values}")


@dataclass(frozen=True)
class ModelPlace:
    """Where a model lies: a file and its digest, or what a train step will give.

    Parameters
    ----------
    path : of the file; of a train step relative to the run's folder, once it is known.
    digest : of the file.
    reference : ``${step.model}`` until it is known.
    """

    path: str
    digest: str
    reference: str = ""

    def bind(self, values: Values) -> ModelPlace:
        """With what the train step gave."""
        if not self.reference:
            return self
        step = self.reference[2:].partition(".")[0]
        return ModelPlace(str(value_of(self.reference, values)), str(values[step]["digest"]))

    def load(self, folder: Path | None = None) -> Model:
        """The model, kept by this process for the next block.

        Raises
        ------
        InputError
            When the file is gone or is no longer the same.
        """
        path = Path(self.path) if folder is None else folder / self.path
        return load_kept(str(path), self.digest)


@dataclass(frozen=True)
class Classifier:
    """A model on a stack of features as the kernel of a field; the model is loaded where a block is computed."""

    op: Classify
    stack: Stack
    dtypes: tuple[str, ...]
    place: ModelPlace
    model_cost: float
    model_bytes: int
    row_bytes: int
    haloed = True

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel."""
        return self.stack.cost() + self.model_cost

    def depth(self) -> Shape:
        """Halo of the features."""
        return self.stack.depth()

    def memory(self, outer: Shape, inner: Shape) -> int:
        """The model, a tile, what lies below it, and what the model takes for a tile."""
        voxels = self.stack.tile_voxels(outer, inner)
        return self.model_bytes + self.stack.memory(outer, inner, self.dtypes) + self.row_bytes * voxels

    def bind(self, values: Values) -> Classifier:
        """With the model that a train step made."""
        return replace(self, place=self.place.bind(values))

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """Compute one block."""
        model = self.place.load(Path(visit.scratch.root).parent)
        return self.on(model).compute(arrays, keep, box, visit)

    def on(self, model: Model) -> OnFeatures:
        """What computes a block with a model at hand."""
        scaling = Scaling.from_dict(model.features["scaling"]) if "scaling" in model.features else None
        clusters = Clusters.from_dict(model.features["clusters"]) if "clusters" in model.features else None
        finder = Predict(model, self.op.output, self.op.asks(model), self.op.dtype, clusters)
        return OnFeatures(self.stack, finder, self.dtypes, scaling)


def stack_of(model: Model, specs: Sequence[Spec]) -> Stack:
    """The features of a model on some images.

    Raises
    ------
    InputError
        When the images are others than those that it was trained on.
    """
    described = model.features
    if "features" not in described:
        raise InputError("the model does not say what its features are: train it with bigseg, or apply it in Python")
    images = [str(name) for name in described["images"]]
    if len(images) != len(specs):
        raise InputError(
            f"the model is of {len(images)} images ({', '.join(images)}), found {len(specs)}: name them in `from`"
        )
    if any(spec.shape != specs[0].shape for spec in specs):
        raise InputError(f"expected images of one shape, found {', '.join(str(spec.shape) for spec in specs)}")
    features = Features.model_validate_json(json.dumps(described["features"]))
    axes, spec = tuple(described["axes"]), specs[0]
    if axes != spec.axes:
        if axes != spec.axes[-2:]:
            raise InputError(f"the model is of volumes with the axes {', '.join(axes)}, found {', '.join(spec.axes)}")
        features = features.model_copy(update={"slices": True})
    stack = features.stack(spec, images)
    names = [name.replace("neighbour(0,", "neighbour(") if axes != spec.axes else name for name in stack.names]
    wanted = tuple(described["names"])
    if tuple(names) != wanted and stack.names != wanted:
        other = next((pair for pair in zip(wanted, names, strict=False) if pair[0] != pair[1]), ("more", "fewer"))
        raise InputError(f"the model's features are others on this volume: expected {other[0]}, found {other[1]}")
    return stack
