"""What a run's evaluate steps found, for the report: figures, confusion, curves, and which data they are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bigseg.report.charts import Chart
from bigseg.report.curve_chart import curve_chart
from bigseg.report.thresholds import REFERENCE, sources_of
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
    data : which voxels the figures are of, and where a threshold comes from, in words.
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
    data: str
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
    before = {str(step["id"]): step for step in steps}
    sources = sources_of(steps, list(record.get("inputs", {})))
    found = []
    for step in steps:
        values = record.get("values", {}).get(step["id"])
        if step["op"] == "evaluate" and values:
            path = folder / "tables" / f"{step['id']}.parquet"
            table = pd.read_parquet(path) if path.is_file() else None
            said = data_of(step, before, sources, values, record.get("parts", {}))
            found.append(_quality(step, sources[str(step["id"])], values, table, said))
    return found


def data_of(
    step: Mapping[str, Any],
    steps: Mapping[str, Mapping[str, Any]],
    sources: Mapping[str, str],
    values: Mapping[str, Any],
    parts: Mapping[str, Mapping[str, Any]],
) -> str:
    """Which voxels the figures of an evaluate step are of, and where its threshold was chosen, in words.

    Parameters
    ----------
    step : as it stands in the pipeline; steps : all of them by id; sources : what each reads.
    values : what the step found.
    parts : what the run chose of its inputs (``roi``), by name.

    >>> step = {"id": "test", "op": "evaluate", "mask": "right", "threshold": "${valid.best_threshold}"}
    >>> valid = {"id": "valid", "op": "evaluate", "mask": "left"}
    >>> data_of(step, {"valid": valid}, {}, {"voxels": 50, "threshold": 0.25}, {})
    'of the 50 voxels where right is; threshold 0.25, the best of valid where left is'
    """
    where = f"where {step['mask']} is" if step.get("mask") else "of the whole volume"
    rois = dict.fromkeys(str(part["roi"]) for part in parts.values() if "roi" in part)
    if rois:
        where += f", which is the region {' and '.join(rois)}"
    count = f"{values['voxels']:,} voxels" if "voxels" in values else "voxels"
    found = f"of the {count} {where}"
    if step.get("ignore") is not None:
        found += f", those whose truth is {step['ignore']} left out"
    given = values.get("threshold")
    match = REFERENCE.match(str(step.get("threshold", "")))
    if match is None:
        if given is not None:
            fixed = "given" if step.get("threshold") is not None else "the middle of the range"
            found += f"; threshold {number(given)}, {fixed}: nothing was chosen here"
        return found
    other = steps.get(match[1], {})
    if other.get("op") != "evaluate":
        return f"{found}; threshold {_worded(given)}, as {match[1]} found it"
    chosen = f"where {other['mask']} is" if other.get("mask") else "on the whole volume"
    what = "the best" if match[2] == "best_threshold" else match[2].replace("_", " ")
    found += f"; threshold {_worded(given)}, {what} of {match[1]} {chosen}"
    here, there = (item.get("mask") or "" for item in (step, other))
    if other.get("truth") == step.get("truth") and (here == there or not (here and there)):
        same = "the same voxels" if here == there else "some of them the same voxels"
        found += f" - {same}: figures at a threshold that was chosen on them are no test"
    return found


def _quality(
    step: Mapping[str, Any], source: str, values: Mapping[str, Any], table: pd.DataFrame | None, data: str
) -> Quality:
    plain = {key: value for key, value in values.items() if not isinstance(value, list)}
    elsewhere = REFERENCE.match(str(step.get("threshold", ""))) is not None
    if elsewhere:  # what tests a threshold does not say which one would have been better
        plain = {key: value for key, value in plain.items() if not key.startswith("best_")}
    classes = [str(name) for name in values.get("classes", [0, 1])] if "confusion" in values else []
    shown = classes if len(classes) <= MOST_CLASSES else []
    counts = values["confusion"] if shown else []
    short = table if table is not None and len(table) <= MOST_ROWS else None
    chart = None
    if table is not None and {"fall_out", "recall", "precision", "dice", "above"} <= set(table.columns):
        used = values.get("threshold") if elsewhere else None
        chart = curve_chart(table, values.get("auc"), values.get("average_precision"), source, used)
        short = None
    return Quality(
        str(step["id"]),
        source,
        str(step["truth"]),
        str(step.get("mask", "")),
        data,
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
