"""Finding and printing the thresholds of `bigseg threshold`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import dask
from rich.table import Table
from rich.text import Text

from bigseg.cli.console import console
from bigseg.cli.progress import Progress
from bigseg.errors import UsageError
from bigseg.ops.levels import ALL, TryAll
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.running import Settings, run_prepared
from bigseg.pipeline.steps import Step, unknown
from bigseg.report.tried import Tried
from bigseg.report.wording import column
from bigseg.storage.sources.opening import Origin

SMALL = 256 << 20
"""Bytes of a volume that this process counts sooner than workers would start."""


def methods_of(text: str) -> tuple[str, ...]:
    """The methods that a text names.

    Raises
    ------
    UsageError
        With the nearest name.

    >>> methods_of("otsu, li"), len(methods_of("all"))
    (('otsu', 'li'), 11)
    """
    names = tuple(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))
    for name in names:
        if name != "all" and name not in ALL:
            raise UsageError(f"--method: {unknown('method', name, (*ALL, 'all'))}")
    if not names:
        raise UsageError(f"--method {text!r}: expected all, or some of {', '.join(ALL)}")
    return ALL if "all" in names else names


def tried(
    origin: Origin, methods: tuple[str, ...], classes: int, settings: Mapping[str, Any], as_json: bool = False
) -> Tried:
    """The thresholds of a volume, from a run that leaves nothing behind.

    Parameters
    ----------
    origin : the volume.
    methods, classes : as of `TryAll`.
    settings : of the run; a small volume is counted in this process where nothing else is said.
    as_json : progress for machines.
    """
    op = TryAll(method=methods, classes=classes)
    chosen = Settings(**settings, report=False)
    small = prod(origin.spec.shape) * origin.spec.dtype.itemsize <= SMALL
    if small and chosen.workers is None and not (chosen.scheduler or chosen.scheduler_file):
        chosen = replace(chosen, workers=0)
    with tempfile.TemporaryDirectory(prefix=".bigseg-threshold-", dir=shared_folder(chosen)) as folder:
        pipe = Pipeline([Step("threshold", op)])
        prepared, start = pipe.check({"input": origin}, Path(folder) / "run", chosen)
        with Progress(prepared.plan, as_json, transient=True) as progress:
            values = run_prepared(pipe.as_dict(), prepared, start, progress).values["threshold"]
    return Tried.of(values, {method: op.names(method) for method in methods})


def shared_folder(settings: Settings) -> Path | None:
    """Where a cluster's workers find the scratch of the run: this folder, for theirs is another /tmp."""
    named = settings.scheduler or settings.scheduler_file or dask.config.get("scheduler-address", None)
    return Path.cwd() if named and settings.workers is None else None


def tried_table(found: Tried) -> None:
    """Print the thresholds, a row each; a method that found none says why."""
    rows = [(row, k) for row in found.rows for k in range(len(row.values))]
    values = iter(column([row.values[k] for row, k in rows], 6))
    shares = iter(column([100 * row.above[k] for row, k in rows]))
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    table.add_column("method", no_wrap=True)
    table.add_column("threshold", justify="right", no_wrap=True)
    table.add_column("voxels above", justify="right", no_wrap=True)
    table.add_column("")
    for row in found.rows:
        if row.failed:
            table.add_row(row.method, "", "", Text(row.failed))
        for k in range(len(row.values)):
            table.add_row(row.method if k == 0 else "", next(values), f"{next(shares)} %", "")
    console().print(table)
