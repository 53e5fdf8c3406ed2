"""Finding and printing the thresholds of `bigseg threshold`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from bigseg.cli.console import console
from bigseg.cli.running import run_aside
from bigseg.errors import UsageError, unknown
from bigseg.ops.levels import ALL, TryAll
from bigseg.pipeline.steps import Step
from bigseg.report.tried import Tried
from bigseg.report.wording import column
from bigseg.storage.sources.opening import Origin


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
    settings, as_json : as of `run_aside`.
    """
    op = TryAll(method=methods, classes=classes)
    with run_aside(Step("threshold", op), {"input": origin}, settings, as_json) as run:
        return Tried.of(run.values["threshold"], {method: op.names(method) for method in methods})


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
