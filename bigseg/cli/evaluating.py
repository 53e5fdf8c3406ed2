"""The command that compares a result with the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bigseg.cli import options
from bigseg.cli.options import Command
from bigseg.cli.outputs import refuse_output, refuse_picture
from bigseg.cli.tables import refuse_table, write_rows
from bigseg.errors import UsageError


def evaluate(
    result: Annotated[str, typer.Argument(metavar="PRED", help=f"the result: {options.READABLE}")],
    truth: Annotated[str, typer.Argument(metavar="TRUTH", help="the truth, of the same shape")],
    kind: Annotated[
        str, typer.Option(metavar="auto|classes|objects|scores|values", help="what is compared (auto: by the volumes)")
    ] = "auto",
    threshold: Annotated[
        float | None, typer.Option(help="scores above it are yes (default: half of 1, or 255)")
    ] = None,
    positive: Annotated[
        int | None, typer.Option(help="scores: the true class that is yes (default: all but 0)")
    ] = None,
    ignore: Annotated[int | None, typer.Option(help="leave out voxels with this truth, 0: not labelled")] = None,
    mask: Annotated[str | None, typer.Option(help="compare only where this volume is not 0")] = None,
    validation: Annotated[
        str | None,
        typer.Option(metavar="ROI", help="of scores: choose the threshold with the best Dice in this region"),
    ] = None,
    test: Annotated[
        str | None, typer.Option(metavar="ROI", help="and give figures of this region, where nothing is chosen")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="write ROC, precision-recall and confusion to this PNG file")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="write the curve, classes or overlaps to this CSV or Parquet file")
    ] = None,
    errors: Annotated[
        Path | None,
        typer.Option(help="write where it is wrong to this OME-Zarr image: false positives, wrong classes …"),
    ] = None,
    block: options.Block = None,
    workers: options.Workers = None,
    memory: options.Memory = None,
    scheduler: options.Scheduler = None,
    scheduler_file: options.SchedulerFile = None,
    insecure: options.Insecure = False,
    level: options.Level = 0,
    missing: options.Missing = "error",
    roi: options.Roi = None,
    as_json: options.Json = False,
) -> None:
    """Figures of a result against the truth: Dice, AUC, confusion, Rand error and the like, at any size."""
    if table is not None:
        refuse_table(table, [result, truth, mask])
    if picture is not None:
        refuse_picture("--picture", picture, [result, truth, mask])
    if errors is not None:
        if errors.exists():
            raise UsageError(f"--errors {errors} exists: give a name that is free")
        refuse_output("--errors", errors, [result, truth, mask])
    if validation is not None and (test is None or threshold is not None):
        raise UsageError("--validation chooses a threshold for --test: give that region, and no --threshold")
    if test is not None and roi is not None:
        raise UsageError("--test and --roi both name a region: give one of them")
    chosen = options.settings(block, workers, memory, scheduler, scheduler_file, insecure=insecure)

    from bigseg.cli.evaluated import chosen_threshold, evaluated, evaluation_tables, in_regions, measure, write_errors

    op = measure(kind, threshold, positive, ignore)
    paths = {"result": result, "truth": truth} | ({"mask": mask} if mask else {})
    items = [f"{name}={path}" for name, path in paths.items()]
    origins = options.inputs(items, level, None, missing, None, roi)
    regions = in_regions(origins, validation, test)
    where = f"the region {test or roi}" if test or roi else "the whole volume"
    known: dict[str, Any] = {"region": test or roi or "all"}
    if validation is not None:
        found, _ = evaluated(regions["validation"], op, chosen, as_json)
        op = chosen_threshold(op, found)
        where += f"; threshold chosen in {validation}"
        known["validation"] = {"region": validation, "figures": found}
    values, rows = evaluated(regions["test"], op, chosen, as_json)
    if validation is not None:  # nothing may be chosen on what tests
        values = {key: item for key, item in values.items() if not key.startswith("best_")}
    if errors is not None:
        write_errors(regions["test"], op, values, chosen, errors, as_json)
    if table is not None:
        if rows is None:
            raise UsageError("--table: values have no table; leave the option away")
        write_rows(rows, table)
    if picture is not None:
        from bigseg.report.evaluation import evaluation_picture

        picture.write_bytes(evaluation_picture(values, rows, where))
    if as_json:
        print(json.dumps({**paths, **known, "figures": values}))
    else:
        print(f"on {where}")
        evaluation_tables(values, rows)


COMMANDS = (Command(evaluate, "bigseg evaluate runs/cells/cells.ome.zarr truth.tif"),)
