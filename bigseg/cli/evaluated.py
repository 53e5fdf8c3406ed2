"""Finding and printing the figures of `bigseg evaluate`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from bigseg.cli.console import console
from bigseg.cli.running import run_aside
from bigseg.errors import UsageError
from bigseg.ops.error_map import ErrorMap
from bigseg.ops.evaluate import Evaluate
from bigseg.pipeline.geometry import part
from bigseg.pipeline.steps import Step, make_op
from bigseg.report.wording import number
from bigseg.storage.roi import parse_roi
from bigseg.storage.sources.opening import Origin

MOST_ROWS = 20
"""Rows of a table that are printed: a curve has thousands."""


def measure(kind: str, threshold: float | None, positive: int | None, ignore: int | None) -> Evaluate:
    """The operation of the options.

    Raises
    ------
    PipelineError
        With what was expected.

    >>> measure("scores", 0.5, None, None).kind
    'scores'
    """
    parameters = {"kind": kind, "threshold": threshold, "positive": positive, "ignore": ignore, "truth": "truth"}
    op = make_op(Evaluate, parameters, "bigseg evaluate")
    assert isinstance(op, Evaluate)
    return op


def evaluated(
    origins: Mapping[str, Origin], op: Evaluate, settings: Mapping[str, Any], as_json: bool = False
) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """The figures, and their table, from a run that leaves nothing behind.

    Parameters
    ----------
    origins : result, truth, and a mask where there is one.
    op : what is compared.
    settings, as_json : as of `run_aside`.
    """
    step = Step("evaluate", op, ("result",), "mask" if "mask" in origins else "")
    with run_aside(step, origins, settings, as_json) as run:
        return run.values["evaluate"], run.tables.get("evaluate")


def write_errors(
    origins: Mapping[str, Origin],
    op: Evaluate,
    figures: Mapping[str, Any],
    settings: Mapping[str, Any],
    out: Path,
    as_json: bool = False,
) -> None:
    """Where the result is wrong, as an OME-Zarr image with names and colours.

    Parameters
    ----------
    origins, op, settings, as_json : as of `evaluated`; figures : what that found.
    out : the image; it appears when it is whole.

    Raises
    ------
    UsageError
        When values were compared, which are neither right nor wrong.
    """
    if "threshold" not in figures and "confusion" not in figures and "rand_error" not in figures:
        raise UsageError("--errors: values are neither right nor wrong; leave the option away, or say kind: scores")
    masks = "rand_error" in figures or set(figures.get("classes", [2])) <= {0, 1}
    kind = "mask" if masks else "auto"
    chosen = {"threshold": figures.get("threshold"), "positive": op.positive, "ignore": op.ignore}
    given = make_op(ErrorMap, {"truth": "truth", "kind": kind, **chosen}, "bigseg evaluate --errors")
    step = Step("errors", given, ("result",), "mask" if "mask" in origins else "")
    partial = out.with_name(f".{out.name}.partial")
    with run_aside(step, origins, settings, as_json) as run:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.move(run.path / "errors.ome.zarr", partial)
    os.rename(partial, out)


def in_regions(origins: Mapping[str, Origin], validation: str | None, test: str | None) -> dict[str, dict[str, Origin]]:
    """The opened volumes cut to the region for validation, and to that for the figures.

    Raises
    ------
    UsageError
        When the two share voxels.
    """
    found = {"test": dict(origins)}
    if test is not None:
        found["test"] = {name: part(origin, test) for name, origin in origins.items()}
    if validation is not None and test is not None:
        spec = next(iter(origins.values())).spec
        both = [parse_roi(roi, spec) for roi in (validation, test)]
        if both[0].shared(both[1]) is not None:
            raise UsageError(
                f"--validation {validation} and --test {test} share voxels: what a threshold was chosen on cannot "
                "test it"
            )
        found["validation"] = {name: part(origin, validation) for name, origin in origins.items()}
    return found


def chosen_threshold(op: Evaluate, figures: Mapping[str, Any]) -> Evaluate:
    """The comparison with the best threshold of a region.

    Raises
    ------
    UsageError
        When it found none: only scores have thresholds.
    """
    if figures.get("best_threshold") is None:
        raise UsageError("--validation: the result holds no scores, so no threshold is chosen; leave the option away")
    return op.model_copy(update={"threshold": figures["best_threshold"], "kind": "scores"})


def evaluation_tables(values: Mapping[str, Any], rows: pd.DataFrame | None) -> None:
    """Print the figures, a row each, the confusion and the table where it is short."""
    figures = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    figures.add_column("", no_wrap=True)
    figures.add_column("", justify="right", no_wrap=True)
    for name, value in values.items():
        if not isinstance(value, list):
            figures.add_row(name.replace("_", " "), "not defined" if value is None else number(value))
    console().print(figures)
    if "confusion" in values:
        _confusion(values.get("classes", [0, 1]), values["confusion"])
    if rows is not None and len(rows) <= MOST_ROWS:
        _rows(rows)


def _confusion(classes: list[int], counts: list[list[int]]) -> None:
    if len(classes) > MOST_ROWS:
        return
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    table.add_column("truth", no_wrap=True)
    for name in classes:
        table.add_column(f"as {name}", justify="right", no_wrap=True)
    for name, line in zip(classes, counts, strict=True):
        table.add_row(str(name), *(f"{count:,}" for count in line))
    console().print("")
    console().print(table)


def _rows(rows: pd.DataFrame) -> None:
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    for name in rows.columns:
        table.add_column(str(name).replace("_", " "), justify="right", no_wrap=True)
    for line in rows.itertuples(index=False):
        table.add_row(*(number(value.item() if hasattr(value, "item") else value) for value in line))
    console().print("")
    console().print(table)
