"""What a run's evaluate steps found, for the report: figures, confusion, curves, and which data they are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bigseg.report.charts import Chart
from bigseg.report.curve_chart import curve_chart
from bigseg.report.thresholds import sources_of
from bigseg.report.wording import number

MOST_CLASSES = 16
"""Classes whose confusion is shown."""
MOST_ROWS = 20
FEW = ("dice", "jaccard", "precision", "recall", "accuracy", "auc", "mae", "rand_error", "f1", "ap_mean")
"""Figures that are shown large."""


@dataclass(frozen=True)
class Cell:
    """A number of a confusion, and the share of its row in per cent."""

    text: str
    share: float


@dataclass(frozen=True)
class Quality:
    """One evaluate step.

    Parameters
    ----------
    step, source, truth, mask : ids; ``mask`` is empty where all voxels are compared.
    facts : the few figures: name, value, and nothing.
    figures : the others, in order.
    classes, confusion : a row a true class.
    headings, rows : the table, where it is short.
    chart : the curves of scores.
    """

    step: str
    source: str
    truth: str
    mask: str
    facts: list[tuple[str, str, str]]
    figures: list[tuple[str, str]]
    classes: list[str]
    confusion: list[list[Cell]]
    headings: list[str]
    rows: list[list[str]]
    chart: Chart | None


def quality_of(folder: Path, record: Mapping[str, Any]) -> list[Quality]:
    """Every evaluate step of a run that has figures."""
    steps = record["pipeline"]["steps"]
    sources = sources_of(steps, list(record.get("inputs", {})))
    found = []
    for step in steps:
        values = record.get("values", {}).get(step["id"])
        if step["op"] == "evaluate" and values:
            path = folder / "tables" / f"{step['id']}.parquet"
            table = pd.read_parquet(path) if path.is_file() else None
            found.append(_quality(step, sources[str(step["id"])], values, table))
    return found


def _quality(step: Mapping[str, Any], source: str, values: Mapping[str, Any], table: pd.DataFrame | None) -> Quality:
    plain = {key: value for key, value in values.items() if not isinstance(value, list)}
    classes = [str(name) for name in values.get("classes", [0, 1])] if "confusion" in values else []
    shown = classes if len(classes) <= MOST_CLASSES else []
    counts = values["confusion"] if shown else []
    short = table if table is not None and len(table) <= MOST_ROWS else None
    chart = None
    if table is not None and {"fall_out", "recall", "precision", "dice", "above"} <= set(table.columns):
        chart = curve_chart(table, values.get("auc"), values.get("average_precision"), source)
        short = None
    return Quality(
        str(step["id"]),
        source,
        str(step["truth"]),
        str(step.get("mask", "")),
        [(_named(key), _worded(plain[key]), "") for key in FEW if key in plain],
        [(_named(key), _worded(value)) for key, value in plain.items() if key not in FEW],
        shown,
        [[Cell(f"{count:,}", 100 * count / max(1, sum(line))) for count in line] for line in counts],
        [_named(str(name)) for name in short.columns] if short is not None else [],
        [[_worded(value) for value in line] for line in short.to_numpy().tolist()] if short is not None else [],
        chart,
    )


def _named(key: str) -> str:
    return {"auc": "ROC area", "mae": "mean absolute error", "ap_mean": "mean AP"}.get(key, key.replace("_", " "))


def _worded(value: Any) -> str:
    return "not defined" if value is None else number(value)
