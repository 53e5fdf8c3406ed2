"""Pages of benchmarks: the command line, the machine, tables of comparisons, and writing page and record together."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from . import cellmap

HERE = Path(__file__).parent
PACKAGES = (
    "bigseg",
    "numpy",
    "scipy",
    "scikit-image",
    "scikit-learn",
    "dask",
    "dask-image",
    "dask-ml",
    "zarr",
    "tensorstore",
    "connected-components-3d",
    "numba",
)
Record = dict[str, Any]


def command_line(module: str, doc: str | None) -> argparse.ArgumentParser:
    """The parser of a benchmark that writes a page, with ``--out``."""
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.benchmarks.{module}", description=(doc or "").split("\n")[0]
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the page and its JSON; default: beside this")
    return parser


def begun(module: str, arguments: Sequence[str] | None) -> Record:
    """The beginning of a record: command, time, machine."""
    options = " ".join(sys.argv[1:] if arguments is None else arguments)
    return {
        "command": f"python -m tests.benchmarks.{module} {options}".strip(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, memory, python, versions, load."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {
        "processor": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "system": platform.system() + " " + platform.release(),
        "load": round(os.getloadavg()[0], 2),
        "versions": {**found, "cellmap-analyze": cellmap.VERSION},
    }


def write(folder: Path, name: str, record: Mapping[str, Any], render: Callable[[Mapping[str, Any]], str]) -> None:
    """The record as JSON, and the page that is made of it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / f"{name}.md").write_text(render(record))


def circumstances(record: Mapping[str, Any]) -> str:
    """Command, time, machine and load in one line."""
    facts = record["machine"]
    return (
        f"`{record['command']}`, {record['began']}, {facts['cores']} x {facts['processor']}, load {facts['load']} at "
        "the start"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def comparison(
    what: str, data: str, rate: float, peer: str, peer_rate: float, goal: float | None, same: str = ""
) -> Record:
    """A row of `compared`: rates in Mvox/s, the ratio to reach, and whether both give the same."""
    return {"row": what, "data": data, "rate": rate, "peer": peer, "peer_rate": peer_rate, "goal": goal, "same": same}


def compared(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The table of comparisons."""
    cells = []
    for row in rows:
        ratio, goal = row["rate"] / row["peer_rate"], row["goal"]
        cells.append(
            (
                row["row"],
                row["data"],
                f"{row['rate']:.3g}",
                row["peer"],
                f"{row['peer_rate']:.3g}",
                f"{ratio:.1f} x",
                "" if goal is None else f">= {goal:g} x",
                "" if goal is None else "yes" if ratio >= goal else "**no**",
                row["same"],
            )
        )
    head = ("what", "data", "bigseg, Mvox/s", "peer", "peer, Mvox/s", "ratio", "goal", "reached", "same result")
    return table(head, cells)


def said(row: Mapping[str, Any]) -> str:
    """A row for the terminal."""
    return f"{row['row']:44} {row['data']:34} {row['rate']:8.3g} Mvox/s {row['rate'] / row['peer_rate']:7.1f} x"
