"""The order of what makes a file durable, seen from the kernel: written, synced, renamed, folder synced, journalled.

``strace`` follows the driver and its two Dask workers. (``tests/faults/test_resume.py`` checks the same by hooks, for
one process and without strace.) Of each file that a line of the journal names:

1. its temporary file was synced,
2. then renamed to its name,
3. then its folder was synced,
4. then the line was written, and
5. no line of a stage's end was written before the journal itself was synced.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.faults import chain
from tests.faults.driver import ROOT, environment, fast_folder
from tests.faults.run import Row

TESTS = ("R5",)
BESIDE = True
SHAPE, BLOCK = (20, 24, 136), 20
_CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?(fsync|fdatasync|rename\w*|write)(?: resumed>|\()(.*)$")
_PATH = re.compile(r"<([^>]*)>")
_NAMES = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FILES = re.compile(r'\["([^"]+)",\d+,\d+\]')


class Event(NamedTuple):
    """A call that ended well."""

    what: str
    path: str
    other: str = ""
    """Of a rename: the name before. Of a write: what was written."""


def events(trace: Path) -> Iterator[Event]:
    """The calls of a trace in the order in which they ended."""
    begun: dict[str, str] = {}
    for line in trace.read_text(errors="replace").splitlines():
        found = _CALL.match(line)
        if found is None:
            continue
        process, call, rest = found.groups()
        if rest.endswith("<unfinished ...>"):
            begun[process] = rest.removesuffix("<unfinished ...>")
            continue
        if "resumed>" in line:
            rest = begun.pop(process, "") + rest
        if " = -1 " in rest:
            continue
        if call.startswith("rename"):
            before, after = _NAMES.findall(rest)[:2]
            yield Event("rename", after, before)
        elif path := _PATH.search(rest):
            data = _NAMES.search(rest) if call == "write" else None
            text = data[1].encode().decode("unicode_escape") if data else ""
            yield Event("write" if call == "write" else "sync", path[1], text)


def violations(found: list[Event], out: Path) -> tuple[int, list[str]]:
    """How many journalled files were looked at, and of which the order was another."""
    synced: dict[str, int] = {}
    renamed: dict[str, tuple[int, str]] = {}
    pending = -1
    files, wrong = 0, []
    for place, event in enumerate(found):
        if event.what == "sync":
            synced[event.path] = place
            if ".journal.jsonl." in event.path or event.path.endswith("journal.jsonl"):
                pending = -1
        elif event.what == "rename":
            renamed[event.path] = place, event.other
        elif "journal.jsonl" in event.path:
            for name in _FILES.findall(event.other):
                files += 1
                target = str(out / name)
                if target not in renamed:
                    wrong.append(f"{name}: journalled before it had its name")
                    continue
                when, before = renamed[target]
                if synced.get(before, place) > when:
                    wrong.append(f"{name}: renamed before it was synced")
                if synced.get(os.path.dirname(target), -1) < when:
                    wrong.append(f"{name}: journalled before its folder was synced")
            pending = place if pending < 0 else pending
    if pending >= 0:
        wrong.append("the last lines of the journal were never synced")
    return files, wrong


def traced(workers: int) -> tuple[int, list[str]]:
    """Run the chain under strace; gives back the files looked at and what was wrong."""
    folder = fast_folder()
    try:
        volume, out, trace = chain.make_volume(folder / "v.zarr", SHAPE, BLOCK), folder / "run", folder / "trace"
        command = ["strace", "-f", "-y", "-s", "100000", "-qq", "-o", str(trace)]
        command += ["-e", "trace=fsync,fdatasync,rename,renameat,renameat2,write", "-e", "signal=none"]
        command += [sys.executable, "-m", "tests.faults.chain", str(volume), str(out), "--block", str(BLOCK)]
        subprocess.run(
            [*command, "--workers", str(workers)], cwd=ROOT, env=environment(), check=True, capture_output=True
        )
        return violations(list(events(trace)), out)
    finally:
        shutil.rmtree(folder)


def available() -> bool:
    """Whether strace may be used here."""
    try:
        return (
            subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, check=False).returncode
            == 0
        )
    except FileNotFoundError:
        return False


def full() -> Row:
    """With two workers."""
    what = "order of fsync, rename, fsync of the folder, journal line (strace, driver and 2 workers)"
    if not available():
        return Row("R5", what, 0, 0, "strace is not to be had here; the hooks of test_resume.py check one process")
    files, wrong = traced(2)
    for item in wrong:
        print("  wrong:", item)
    return Row("R5", what, files, files - len(wrong) if files else -1, "journalled files")
