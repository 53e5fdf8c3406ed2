"""Features, forests, k-means and pixel classification from store to store, against their peers; memory against plan.

``python -m tests.benchmarks.learning [--only features,forest] [--repeats 3] [--work DIR] [--out DIR]`` measures each
section in a process of its own, with the libraries' threads off, and writes LEARNING.md and LEARNING.json after each.
Sections that are not measured stay as the page has them, with the command and time of their own.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import clustering, endtoend, features, forest, wide_block
from .measure import run_process
from .page import begun, circumstances, command_line, write

SECTIONS: dict[str, tuple[str, Any]] = {
    "features": ("Features", features),
    "forest": ("Forests", forest),
    "clustering": ("k-means", clustering),
    "endtoend": ("Pixel classification, store to store", endtoend),
    "wide_block": ("Memory: 61 features of blocks of 256^3", wide_block),
}
TIMEOUT = 3600.0


def render(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    lines = ["# Learning"]
    for name, (title, module) in SECTIONS.items():
        if name not in record:
            continue
        part = record[name]
        found = part["found"]
        lines += ["", f"## {title}", "", circumstances(part) + ".", ""]
        lines += [f"**Failed: {found['error']}**"] if "error" in found else module.section(found)
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = command_line("learning", __doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "bigseg-benchmarks")
    parser.add_argument("--only", default=",".join(SECTIONS), help="comma-separated sections; default: all")
    parser.add_argument("--repeats", type=int, default=3, help="turns; endtoend: 2 or 1; wide_block: 1")
    given = parser.parse_args(arguments)
    names = given.only.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        parser.error(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    stored = given.out / "LEARNING.json"
    record: dict[str, Any] = json.loads(stored.read_text()) if stored.exists() else {}
    for name in names:
        part = begun("learning", arguments)
        command = [sys.executable, "-m", f"tests.benchmarks.{name}"]
        task = {"repeats": given.repeats, "work": str(given.work.resolve())}
        part["found"] = run_process(command, task, given.work.resolve(), TIMEOUT)
        record[name] = part
        write(given.out, "LEARNING", record, render)
        print(render({name: part}), flush=True)


if __name__ == "__main__":
    main()
