"""The command that trains a model on annotated volumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bigseg.cli import options
from bigseg.cli.options import Command
from bigseg.cli.outputs import refuse_output
from bigseg.cli.tables import refuse_table, write_rows
from bigseg.errors import UsageError


def train(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[SPEC.yaml]", help="a training file: several volumes and all parameters")
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("-i", "--input", help=f"the volume: {options.READABLE}; several as name=path")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="what voxels are: a volume, 0 for what is not labelled")] = None,
    points: Annotated[
        Path | None, typer.Option(help="or a table of points: CSV or Parquet with z, y, x, class")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="the model file to write")] = Path("model.npz"),
    features: Annotated[
        str | None, typer.Option(help="what describes a voxel, as in YAML: '{preset: basic, scales: [1, 2, 4]}'")
    ] = None,
    estimator: Annotated[str | None, typer.Option(help="random_forest, gradient_boosting, logistic, linear …")] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="auto|sparse|mask|dense|values", help="what labels mean (auto: by the volume)")
    ] = None,
    regions: Annotated[
        list[str] | None,
        typer.Option("--region", metavar="PART=ROI", help="for train, validation or test: train=:,0:512; repeatable"),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="any parameter of `bigseg ops train`: parameters.max_depth=12"),
    ] = None,
    table: Annotated[Path | None, typer.Option(help="write features and truth to this CSV or Parquet file")] = None,
    channel: options.Channels = None,
    missing: options.Missing = "error",
    spacing: options.Spacing = None,
    as_json: options.Json = False,
) -> None:
    """Train a model on annotated voxels; figures say which region they come from."""
    if (spec is None) == (inputs is None):
        raise UsageError("expected a training file, or a volume with -i and --labels or --points")
    if spec is None and (labels is None) == (points is None):
        raise UsageError("expected --labels or --points with the volume, one of them")
    if spec is not None and (labels or points or spacing or channel or regions):
        raise UsageError("a training file names volumes, annotations and regions itself: leave these options out")
    _refuse(out, table, [spec, labels, points, *options.named(inputs or ()).values()])

    from bigseg.cli.trained import parameters_of, trained_tables, training_facts
    from bigseg.learn.model_file import save_model
    from bigseg.pipeline.training import Example, load_training, make_train, open_example, open_truth, train_on

    given = parameters_of(features, estimator, kind, regions or (), changes or ())
    if spec is not None:
        items, op = load_training(spec, given)
        _refuse(out, table, [path for item in items for path in item.paths])
        examples = [open_example(item, op) for item in items]
    else:
        op = make_train(given, "bigseg train")
        named = options.inputs(inputs or (), 0, channel, missing, spacing)
        first = next(iter(named.values()))
        truth = open_truth(labels, points, first.spec, op)
        examples = [Example(named, truth, name=str(getattr(first, "name", "volume")))]
    trained, rows = train_on(examples, op)
    save_model(trained.model, out)
    if table is not None:
        axes = next(iter(examples[0].images.values())).spec.axes
        write_rows(rows.frame(trained.model.features["names"], axes), table)
    if as_json:
        print(json.dumps({"model": str(out), **training_facts(trained)}))
    else:
        trained_tables(trained, out)


def _refuse(out: Path, table: Path | None, inputs: Sequence[str | Path | None]) -> None:
    """Refuse files that could not be written, or that are read."""
    refuse_output("-o", out, inputs)
    if table is not None:
        refuse_table(table, inputs)


COMMANDS = (
    Command(
        train, "bigseg train -i cement.ome.zarr --labels painted.tif --features '{preset: basic}' -o cement-model.npz"
    ),
)
