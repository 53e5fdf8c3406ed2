"""The full fault tests: ``python -m tests.faults.run [--only R1 R3] [--out RESULTS.md]``, or ``make faults``.

Every module of this package may take part: it has a function ``full`` without parameters that gives back one
`Row`, or several, and raises nothing that a failed injection could cause::

    from tests.faults.run import Row

    TESTS = ("R13",)                      # which lines of the reliability bar it covers; for --only
    BESIDE = True                         # another module may run at the same time; False if it is not said

    def full() -> Row | Iterable[Row]:
        ...
        return Row("R13", "poisoned blocks: segfault, out of memory, asleep", injections=12, passed=12, note="…")

An injection is one fault that was put in (a kill, a flipped bit, a refused call, a drawn example); it has passed if
everything held that must hold after it. ``passed < injections`` fails the whole; ``note`` holds what else was
measured, in a few words, or why something was not run here. Each module runs in a process of its own, in the order of
`TESTS`: first, two at a time, those that compute in one process and measure no time (``BESIDE``), then the others one
by one, which may use two cores each. One that takes longer than `LIMIT` is ended and has failed. Scratch belongs under
`tests.faults.driver.fast_folder` and is removed by who made it. Short forms of the same checks run under pytest, from
``test_*.py`` beside the module.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import tests.faults

RESULTS = Path(__file__).with_name("RESULTS.md")
LIMIT = 1500.0
"""Seconds that a module may take."""
TOGETHER = 2
"""Modules at a time, of those that allow it."""


class Row(NamedTuple):
    """A line of the summary."""

    test: str
    """Number on the reliability bar: ``R1``."""
    what: str
    """What was injected, in a few words."""
    injections: int
    passed: int
    note: str = ""
    seconds: float = 0.0
    """Filled in by who runs it."""


def modules() -> list[ModuleType]:
    """The modules of this package that take part, in the order of what they cover."""
    found = []
    for item in pkgutil.iter_modules(tests.faults.__path__):
        if item.name != "run" and not item.name.startswith("test_"):
            module = importlib.import_module(f"tests.faults.{item.name}")
            if hasattr(module, "full"):
                found.append(module)
    return sorted(found, key=lambda module: [_number(name) for name in module.TESTS])


def _number(test: str) -> int:
    return int(test.removeprefix("R"))


def rows_of(module: ModuleType) -> list[Row]:
    """Run one module; one that breaks down counts as a failed injection."""
    began = time.perf_counter()
    full: Callable[[], Row | Iterable[Row]] = module.full
    rows: list[Row] = []
    try:
        answer = full()
        for row in [answer] if isinstance(answer, Row) else answer:
            rows.append(row._replace(seconds=time.perf_counter() - began))
            began = time.perf_counter()
    except Exception:
        traceback.print_exc()
        broken = f"{module.__name__} broke down: {traceback.format_exc().strip().splitlines()[-1][:200]}"
        rows.append(Row("/".join(module.TESTS), broken, 1, 0, seconds=time.perf_counter() - began))
    return rows


def rows_apart(module: ModuleType) -> list[Row]:
    """Run one module in a process of its own, so that a crash or a hang of it is one failure and not the end."""
    with tempfile.TemporaryDirectory() as folder:
        file, began = Path(folder) / "rows.json", time.perf_counter()
        command = [sys.executable, "-m", "tests.faults.run", "--module", module.__name__, "--rows", str(file)]
        process = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2], start_new_session=True)
        try:
            how = f"ended with {process.wait(LIMIT)}"
        except subprocess.TimeoutExpired:
            how = f"took longer than {LIMIT:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if file.exists():
            return [Row(*item) for item in json.loads(file.read_text())]
        seconds = time.perf_counter() - began
        return [Row("/".join(module.TESTS), f"{module.__name__} {how}", 1, 0, seconds=seconds)]


def rows_of_all(chosen: Sequence[ModuleType], keep: Callable[[str, list[Row]], None]) -> None:
    """Run modules, those together that may; ``keep`` is given the rows of each as soon as they are there."""
    beside = [module for module in chosen if getattr(module, "BESIDE", False)]

    def one(module: ModuleType) -> None:
        print(f"{module.__name__}: {', '.join(module.TESTS)}", flush=True)
        found = rows_apart(module)
        lines = [f"  {row.test}: {row.what}: {row.passed} of {row.injections}, {row.seconds:.0f} s" for row in found]
        print("\n".join(lines), flush=True)
        keep(module.__name__.rpartition(".")[2], found)

    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(one, beside))
    for module in chosen:
        if module not in beside:
            one(module)


def table(rows: Sequence[Row]) -> str:
    """The summary as Markdown."""
    lines = ["| test | injected | injections | passed | seconds | notes |", "|---|---|--:|--:|--:|---|"]
    lines += [
        f"| {row.test} | {row.what} | {row.injections} | {row.passed}{' **!**' * (row.passed != row.injections)} | "
        f"{row.seconds:.0f} | {row.note} |"
        for row in sorted(rows, key=lambda row: _number(row.test.split("/")[0]))
    ]
    return "\n".join(lines) + "\n"


def page(known: Mapping[str, Any]) -> str:
    """RESULTS.md."""
    rows = [Row(*item) for module in known.values() for item in module["rows"]]
    days = sorted(module["when"] for module in known.values())
    head = (
        "# Faults: what was injected, and what held\n\n"
        "`make faults` (`python -m tests.faults.run`; one line of the table: `--only R1`), "
        f"{days[0]} to {days[-1]} UTC, Python {platform.python_version()}, {platform.system()}, "
        f"{len(os.sched_getaffinity(0))} cores, mean load of 15 minutes at most "
        f"{max(module['load'] for module in known.values())}; some modules ran two at a time.\n\n"
        "An injection has passed if everything held that must hold after it: golden decoded voxels and table rows, "
        "nothing that is journalled computed again, nothing incomplete that looks complete, no file left over.\n\n"
    )
    tail = (
        "\nNot covered: power loss (only the order of fsync and rename is checked), Lustre, GPFS and S3, network "
        "partitions of many nodes.\n"
    )
    return head + table(rows) + tail


def main(arguments: Sequence[str]) -> int:
    """Run all, or those asked for; the exit status says whether everything held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="R1", help="of these tests alone; others keep their rows"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"the page to write (default: {RESULTS.name})")
    parser.add_argument("--module", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.module:
        chosen.rows.write_text(json.dumps(rows_of(importlib.import_module(chosen.module))))
        return 0
    began, kept, lock = time.perf_counter(), chosen.out.with_suffix(".json"), threading.Lock()
    known = json.loads(kept.read_text()) if chosen.only and kept.exists() else {}
    rows: list[Row] = []

    def keep(name: str, found: list[Row]) -> None:
        """On the page at once: a run that is cut short has shown what it has shown."""
        with lock:
            when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
            known[name] = {"rows": [list(row) for row in found], "when": when, "load": round(os.getloadavg()[2], 1)}
            rows.extend(found)
            kept.write_text(json.dumps(known, indent=1) + "\n")
            chosen.out.write_text(page(known))

    wanted = [module for module in modules() if not chosen.only or set(chosen.only) & set(module.TESTS)]
    rows_of_all(wanted, keep)
    print(table(rows))
    print(f"{(time.perf_counter() - began) / 60:.1f} minutes")
    return 0 if rows and all(row.passed == row.injections for row in rows) else 1


if __name__ == "__main__":
    # by its name: the modules' Row must be the one that is looked for here
    sys.exit(importlib.import_module("tests.faults.run").main(sys.argv[1:]))
