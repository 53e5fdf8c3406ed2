"""What a run's kmeans steps found, for the report: figures, means of the classes, other numbers of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bigseg.report.charts import Chart
from bigseg.report.cluster_charts import elbow_chart, means_chart
from bigseg.report.colours import label_colour
from bigseg.report.wording import number

SHOWN = 6
"""Features whose means the page's table shows; the file has all."""
Table = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Clustering:
    """One step.

    Parameters
    ----------
    step : its id.
    facts : figures: name, value, what it is of.
    means : chart of the classes' means; elbow : of other numbers of classes, where some were tried.
    headings, rows : a row a class: the colour it has in pictures, its cells.
    more : features that the table leaves out.
    """

    step: str
    facts: list[tuple[str, str, str]]
    means: Chart
    elbow: Chart | None
    headings: list[str]
    rows: list[tuple[str, list[str]]]
    more: int


def clusterings(folder: Path, record: Mapping[str, Any]) -> list[Clustering]:
    """The kmeans steps of a run whose tables there are."""
    found = []
    for step in record["pipeline"]["steps"]:
        name = str(step["id"])
        path, other = folder / "tables" / f"{name}.parquet", folder / "tables" / f"{name}.tried.parquet"
        if step["op"] == "kmeans" and path.is_file():
            tried = _columns(other) if other.is_file() else None
            found.append(_clustering(name, record["values"][name], _columns(path), tried))
    return found


def standard_means(table: Table, names: list[str]) -> NDArray[np.float64]:
    """Means of classes, (classes, features), in standard deviations of all voxels from the mean of all.

    >>> table = {"share": np.array([0.5, 0.5]), "a": np.array([1.0, 3.0]), "a-std": np.array([0.0, 0.0])}
    >>> standard_means(table, ["a"]).ravel().tolist()
    [-1.0, 1.0]
    """
    share = table["share"]
    known = share > 0  # the others have no mean
    columns = []
    for name in names:
        mean, spread = table[name], table[f"{name}-std"]
        middle = (share * mean)[known].sum()
        whole = np.sqrt((share * (spread**2 + (mean - middle) ** 2))[known].sum())
        columns.append((mean - middle) / (whole or 1.0))
    return np.stack(columns, axis=1)


def _clustering(step: str, values: Mapping[str, Any], table: Table, tried: Table | None) -> Clustering:
    names = [str(name) for name in values["model"]["names"]]
    classes = [int(value) for value in table["class"]]
    facts = [("classes", str(len(classes)), f"from {number(values['sample'])} voxels")]
    facts.append(("inertia", number(values["inertia"]), "sum of squared distances"))
    if values["silhouette"] is not None:
        facts.append(("silhouette", f"{values['silhouette']:.3f}", "-1 to 1, 1 is best"))
    columns = [[f"{100 * share:.2f} %" for share in table["share"]]]
    columns += [[number(float(value)) for value in table[name]] for name in names[:SHOWN]]
    cells = zip(map(str, classes), *columns, strict=True)
    return Clustering(
        step,
        facts,
        means_chart(classes, standard_means(table, names), names),
        elbow_chart(tried["k"], tried["inertia"], tried["silhouette"], len(classes)) if tried else None,
        ["class", "share", *names[:SHOWN]],
        [(label_colour(value), list(row)) for value, row in zip(classes, cells, strict=True)],
        max(0, len(names) - SHOWN),
    )


def _columns(path: Path) -> dict[str, NDArray[Any]]:
    """A small table, column by column."""
    table = pq.ParquetFile(path).read()
    return {name: table.column(name).to_numpy() for name in table.column_names}
