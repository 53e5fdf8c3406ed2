"""The command that trains a model on annotated volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bigseg.cli import options
from bigseg.cli.options import Command
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
    for path in (out, table):
        if path is not None:
            options.refuse_unwritable(path)

    from bigseg.cli.trained import parameters_of, train_and_save, trained_tables, write_table_of
    from bigseg.pipeline.training import load_training, make_train, open_example

    given = parameters_of(features, estimator, kind, regions or (), changes or ())
    if spec is not None:
        items, op = load_training(spec, given)
        examples = [open_example(item, op) for item in items]
    else:
        from bigseg.cli.trained import example_of

        op = make_train(given, "bigseg train")
        named = options.inputs(inputs or (), 0, channel, missing, spacing)
        examples = [example_of(named, labels, points, op)]
    trained, rows = train_and_save(examples, op, out)
    if table is not None:
        write_table_of(rows, trained.model, next(iter(examples[0].images.values())).spec.axes, table)
    if as_json:
        from bigseg.cli.trained import training_facts

        print(json.dumps({"model": str(out), **training_facts(trained)}))
    else:
        trained_tables(trained, out)


COMMANDS = (
    Command(
        train, "bigseg train -i cement.ome.zarr --labels painted.tif --features '{preset: basic}' -o cement-model.npz"
    ),
)
