"""TABLES.md: the table of objects (`regions`) and late binding (`tune`); each command renews its part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .page import Record, circumstances, table, write


def keep(folder: Path, part: str, record: Record) -> None:
    """Write TABLES.json and TABLES.md with one part of them new."""
    path = folder / "TABLES.json"
    whole = json.loads(path.read_text()) if path.exists() else {}
    write(folder, "TABLES", {**whole, part: record}, render)


def render(record: Mapping[str, Any]) -> str:
    """The page."""
    lines = ["# Tables of objects, late binding", ""]
    if "regions" in record:
        lines += _regions(record["regions"])
    if "tune" in record:
        lines += _tune(record["tune"])
    return "\n".join([*lines, "Splitting stands in [SPLITTING.md](SPLITTING.md).", ""])


def _regions(record: Mapping[str, Any]) -> list[str]:
    cells = []
    for row in record["rows"]:
        goal, ratio = row["goal"], row["peer_seconds"] / row["seconds"]
        processor = f"{row['peer_processor'] / row['processor']:.1f} x" if "processor" in row else ""
        cells.append(
            (
                f"{row['side']}^3",
                f"{row['objects']:,}",
                f"{row['seconds']:.3f} {row['where']}",
                row["peer"],
                f"{row['peer_seconds']:,.2f}" + (" by extension" if row.get("extended") else ""),
                f"{ratio:,.1f} x",
                processor,
                f">= {goal} x: " + ("yes" if ratio >= goal else "**no**"),
            )
        )
    head = ("volume", "objects", "bigseg, s", "peer", "s", "bigseg's rate to it", "by processor seconds", "goal")
    return [
        "## Region table",
        "",
        f"{circumstances(record)}.",
        "",
        "In memory: `bigseg.regions(labels, intensity=grey)` through the whole engine to the DataFrame, and",
        "skimage.measure.regionprops_table with the same properties, turn by turn in one process on one thread,",
        f"medians of {record['repeats']} after one turn that compiles. From stores: labels and grey values read, the",
        "table written, two workers, cluster up, median of five; peers still on arrays in memory.",
        "",
        *table(head, cells),
        "",
        *(f"- {note}" for note in record["notes"]),
        "",
    ]


def _tune(record: Mapping[str, Any]) -> list[str]:
    reached = "reached" if record["tune"] < 2 else "**missed**"
    rows = (
        ("`bigseg run`", f"{record['run']:.1f}"),
        (f"`{record['change']}`, a process of its own, median of 5", f"{record['tune']:.2f} (goal < 2: {reached})"),
        (f"`bigseg tune -o`, {', '.join(record['passes'])}", f"{record['new']:.1f}"),
    )
    return [
        "## Late binding",
        "",
        f"{circumstances(record)}.",
        "",
        f"{record['side']}^3 phantom of voids, hysteresis and labels, {record['objects']:,} objects; the kept",
        f"components take {record['kept_mib']:.1f} MiB; {record['left']:,} objects are left after the change.",
        "",
        *table(("what", "seconds"), rows),
        "",
    ]
