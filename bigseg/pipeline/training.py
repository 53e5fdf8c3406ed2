"""Training on files: the volumes with their annotations, of any shapes, and what is fitted to them.

::

    version: 1
    volumes:
      - {image: a.ome.zarr, labels: a-painted.tif}
      - {image: {xray: b.ome.zarr}, points: b.csv, regions: {test: ":,:,500:"}}
      - {image: c.ome.zarr, labels: c-painted.tif, part: validation}
    train: {features: {preset: basic}, estimator: random_forest, classes: {1: pore, 2: matrix}}
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic import Field as Parameter

from bigseg.errors import BigsegError, InputError, ParameterError, PipelineError
from bigseg.grid import Box
from bigseg.learn.annotations import Annotated, Labels, Table, annotated_table
from bigseg.learn.points import Points, read_points
from bigseg.learn.sampled import PARTS, Regions
from bigseg.learn.training import Trained
from bigseg.ops.train import Train
from bigseg.pipeline.steps import explain, make_op, read_yaml
from bigseg.storage.sources.opening import Origin, open_source
from bigseg.storage.spec import Spec

Part = Literal["train", "validation", "test"]


class VolumeItem(BaseModel):
    """A volume of a training file, with its annotations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str | dict[str, str] = Parameter(description="the volume, or several of one shape by name")
    labels: str | None = Parameter(None, description="a label volume; chunks that are missing hold nothing")
    points: str | None = Parameter(None, description="a table of points (CSV, Parquet) with z, y, x, class")
    regions: dict[Part, str | tuple[str, ...]] = Parameter({}, description="boxes of this volume, as --roi")
    part: Part | None = Parameter(None, description="all of this volume is for train, validation or test")
    spacing: str | None = Parameter(None, description="voxel size in place of the file's")

    @model_validator(mode="after")
    def _one(self) -> VolumeItem:
        if (self.labels is None) == (self.points is None):
            raise ValueError("expected `labels` or `points`, one of them")
        if self.part and self.regions:
            raise ValueError("expected `part` or `regions`, not both")
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """All that is read of it."""
        images = (self.image,) if isinstance(self.image, str) else tuple(self.image.values())
        return *images, *(path for path in (self.labels, self.points) if path is not None)


class TrainingFile(BaseModel):
    """The content of a training file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    volumes: tuple[VolumeItem, ...] = Parameter(min_length=1)
    train: dict[str, Any]


@dataclass(frozen=True)
class Example:
    """An opened volume with annotations, for `train_on`.

    Parameters
    ----------
    images : by name; a single one may be called ``""``.
    truth : labels or points of its shape.
    part : all of it is for that; regions : boxes of it; with neither, the regions of the step count.
    """

    images: Mapping[str, Origin]
    truth: Labels | Points
    part: str | None = None
    regions: Mapping[Part, Any] = field(default_factory=dict)
    name: str = ""


def load_training(path: Path, changes: Mapping[str, Any] | None = None) -> tuple[tuple[VolumeItem, ...], Train]:
    """Read a training file; paths in it are relative to its folder.

    Parameters
    ----------
    path : the file.
    changes : parameters of the train step in place of the file's.

    Raises
    ------
    PipelineError
        When it is none, with what was expected.
    """
    data = read_yaml(path, "training")
    try:
        found = TrainingFile.model_validate(data)
    except ValidationError as error:
        raise PipelineError(f"{path}: {explain(error)}") from error
    op = make_train({**found.train, **(changes or {})}, f"{path}, train")
    return tuple(_beside(item, path.parent) for item in found.volumes), op


def make_train(parameters: Mapping[str, Any], where: str) -> Train:
    """A train step whose labels are given apart.

    Raises
    ------
    PipelineError
        Wrong parameters.
    """
    op = make_op(Train, {"labels": "labels", **parameters}, where)
    assert isinstance(op, Train)
    return op


def open_example(item: VolumeItem, op: Train) -> Example:
    """Open a volume and its annotations; only metadata and tables of points are read."""
    paths = {"": item.image} if isinstance(item.image, str) else item.image
    images = {name: open_source(path, spacing=item.spacing) for name, path in paths.items()}
    first = next(iter(images.values()))
    name = os.path.basename(os.path.normpath(next(iter(paths.values()))))
    return Example(images, open_truth(item.labels, item.points, first.spec, op), item.part, item.regions, name)


def open_truth(labels: str | Path | None, points: str | Path | None, spec: Spec, op: Train) -> Labels | Points:
    """The annotations of a volume: a table of points where one is given, else a label volume.

    Raises
    ------
    InputError
        When they cannot be read, or points lie outside of the volume.
    """
    if points is None:
        return open_labels(str(labels), op)
    names = {number: info if isinstance(info, str) else info.name for number, info in op.classes.items()}
    return read_points(points, spec, names)


def open_labels(path: str, op: Train) -> Labels:
    """Open a label volume: what was never painted may be missing."""
    folder = os.path.isdir(path)
    try:
        return Labels(open_source(path, missing="fill" if folder else "error"), op.kind)
    except ParameterError:  # a folder of slices has no chunks
        return Labels(open_source(path), op.kind)


def train_on(examples: Sequence[Example], op: Train, *, threads: int | None = None) -> tuple[Trained, Table]:
    """Train on opened volumes with annotations.

    Parameters
    ----------
    examples : volumes of the same axes, spacing, dtype and image names.
    op : what is fitted.
    threads : blocks at a time; default: the cores of this process.

    Returns
    -------
    The model with its figures, and the table that it was fitted to.

    Raises
    ------
    InputError
        When volumes differ in what a model depends on, or nothing is annotated.

    Notes
    -----
    See `bigseg.learn.annotations.annotated_table`.
    """
    first = next(iter(examples[0].images.values())).spec
    names = list(examples[0].images)
    for item in examples:
        specs = [origin.spec for origin in item.images.values()]
        wrong = [
            f"{what} {getattr(spec, what)} and {getattr(first, what)}"
            for spec in specs[:1]
            for what in ("axes", "dtype", "spacing", "unit")
            if getattr(spec, what) != getattr(first, what)
        ]
        if list(item.images) != names:
            wrong.append(f"images {', '.join(item.images)} and {', '.join(names)}")
        if wrong:
            raise InputError(
                f"{item.name}: the volumes differ in {'; '.join(wrong)}: expected volumes of one kind; resample them "
                "with ingest, or state their spacing"
            )
    images = [""] if len(names) == 1 else names
    stack = op.features.stack(first, images)
    annotated = [Annotated(item.name, tuple(item.images.values()), item.truth, _regions(item, op)) for item in examples]
    kinds = {item.truth.chosen if isinstance(item.truth, Labels) else "sparse" for item in examples}
    kind = "values" if "values" in kinds else next(iter(kinds))
    op.recipe(kind).made()
    table = annotated_table(annotated, stack, op.sampling, threads=threads or len(os.sched_getaffinity(0)))
    told = {
        key: value for item in examples if isinstance(item.truth, Points) for key, value in item.truth.names.items()
    }
    return op.fitted(table, kind, stack, first, images, told), table


def _regions(item: Example, op: Train) -> Regions:
    spec = next(iter(item.images.values())).spec
    if item.part:
        return Regions(((PARTS.index(item.part), Box.whole(spec.shape)),))
    given = item.regions or op.regions
    try:
        return op.model_copy(update={"regions": dict(given)}).boxes(spec)
    except BigsegError as error:
        raise type(error)(f"{item.name}: {error}") from error


def _beside(item: VolumeItem, folder: Path) -> VolumeItem:
    """Paths relative to the file's folder."""

    def moved(path: str | None) -> str | None:
        return path if path is None or ":" in path.partition("/")[0] else str(folder / path)

    image = item.image if isinstance(item.image, dict) else {"": item.image}
    named = {name: str(moved(path)) for name, path in image.items()}
    update = {"labels": moved(item.labels), "points": moved(item.points)}
    return item.model_copy(update={"image": named if isinstance(item.image, dict) else named[""], **update})
