"""Which thresholds belong to which histogram: what steps computed, and what later steps used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

COUNTING = ("histogram", "auto_threshold", "try_all")
NO_VOLUME = (
    *COUNTING,
    "threshold_by_objects",
    "count_objects",
    "regions",
    "contingency",
    "contact",
    "nearest",
    "detect",
    "object_quantiles",
    "train",
    "evaluate",
)
"""Operations that give values or a table: the next step reads what the step before them gave."""
COMPARED = ("low", "high", "above", "below")
"""Parameters that are compared with the voxels of the step's source."""
STATISTICS = re.compile(r"min|max|mean|std|p\d+(\.\d+)?|least|greatest")
MOST_ROWS = 1 << 20

REFERENCE = re.compile(r"^\$\{([^.}]+)\.([^}]+)\}$")


@dataclass(frozen=True)
class Line:
    """A threshold: its value, what it is called, and whether a step used it."""

    value: float
    names: tuple[str, ...]
    used: bool

    @property
    def name(self) -> str:
        """All its names."""
        return " = ".join(self.names)


@dataclass(frozen=True)
class Distribution:
    """The histogram of one volume, and the thresholds on it.

    Parameters
    ----------
    source : the input or step whose voxels were counted.
    steps : that counted them.
    values, counts : every value, or the centre of every bin, and its voxels.
    lines : in order of their values.
    statistics : other values that the steps found: mean, percentiles.
    """

    source: str
    steps: tuple[str, ...]
    values: NDArray[Any]
    counts: NDArray[Any]
    lines: tuple[Line, ...]
    statistics: tuple[tuple[str, float], ...]

    def share_below(self, value: float) -> float:
        """Part of the voxels whose value (or bin centre) is below a value."""
        return float(self.counts[self.values < value].sum() / max(1, self.counts.sum()))


def sources_of(steps: Sequence[Mapping[str, Any]], inputs: Sequence[str]) -> dict[str, str]:
    """What each step reads, as `bigseg.pipeline` connects them: its first source.

    >>> sources_of([{"id": "a", "op": "histogram"}, {"id": "b", "op": "label"}], ["scan"])
    {'a': 'scan', 'b': 'scan'}
    """
    first = inputs[0] if inputs else "input"
    latest, found = first, {}
    for step in steps:
        given = step.get("from") or latest
        source = str(given if isinstance(given, str) else given[0])
        found[str(step["id"])] = first if source == "input" else source
        if step["op"] not in NO_VOLUME:
            latest = str(step["id"])
    return found


def resolve(value: Any, values: Mapping[str, Any]) -> Any:
    """What a parameter became: the computed value of ``${step.key}``, anything else as it is.

    >>> resolve("${levels.otsu}", {"levels": {"otsu": 93.1}}), resolve(55, {})
    (93.1, 55)
    """
    match = REFERENCE.match(value) if isinstance(value, str) else None
    return values.get(match[1], {}).get(match[2], value) if match else value


def distributions(folder: Path, record: Mapping[str, Any]) -> list[Distribution]:
    """Every counted volume of a run, with the thresholds found on it and used on it."""
    steps = record["pipeline"]["steps"]
    values = record.get("values", {})
    sources = sources_of(steps, list(record.get("inputs", {})))
    groups: dict[str, list[str]] = {}
    for step in steps:
        name = str(step["id"])
        if step["op"] in COUNTING and (folder / "tables" / f"{name}.parquet").is_file():
            groups.setdefault(sources[name], []).append(name)
    found = []
    for source, names in groups.items():
        table = pq.ParquetFile(folder / "tables" / f"{names[0]}.parquet")
        if table.metadata.num_rows > MOST_ROWS:
            continue
        columns = table.read(columns=["value", "count"])
        lines, statistics = _values_of(names, values)
        for step in steps:
            if sources[str(step["id"])] == source and step["op"] not in COUNTING:
                for key in COMPARED:
                    value = resolve(step.get(key), values)
                    if isinstance(value, (int, float)):
                        lines.append((float(value), f"{step['id']}.{key}", True))
        found.append(
            Distribution(
                source,
                tuple(names),
                columns["value"].to_numpy(),
                columns["count"].to_numpy(),
                _joined(lines),
                statistics,
            )
        )
    return found


def _values_of(
    names: Sequence[str], values: Mapping[str, Any]
) -> tuple[list[tuple[float, str, bool]], tuple[tuple[str, float], ...]]:
    """What counting steps found, told apart: thresholds, and statistics."""
    lines: list[tuple[float, str, bool]] = []
    statistics: dict[str, float] = {}
    for name in names:
        for key, value in values.get(name, {}).items():
            if not isinstance(value, (int, float)):
                continue
            if STATISTICS.fullmatch(key):
                statistics.setdefault(key, value)
            else:
                lines.append((float(value), f"{name}.{key}", False))
    return lines, tuple(statistics.items())


def _joined(lines: Sequence[tuple[float, str, bool]]) -> tuple[Line, ...]:
    """Equal values as one line with several names."""
    found: list[Line] = []
    for value in sorted({value for value, _, _ in lines}):
        same = [(name, used) for other, name, used in lines if np.isclose(other, value, rtol=1e-6, atol=0.0)]
        if not found or not np.isclose(found[-1].value, value, rtol=1e-6, atol=0.0):
            found.append(Line(value, tuple(name for name, _ in same), any(used for _, used in same)))
    return tuple(found)
