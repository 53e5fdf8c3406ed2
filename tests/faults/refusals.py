"""R14: every case of bad input refused in time, in one message, with nothing made; sockets on loopback alone.

What is drawn at random is in `tests.faults.fuzz`.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from bigseg.cli.main import EXIT_CODES, run
from bigseg.ops.threshold import Threshold
from bigseg.pipeline.pipeline import Pipeline
from tests.faults.bad_input import CASES, GIVEN, PIPELINE, Case
from tests.faults.fuzz import MOST_LETTERS, MOST_LINES, SECONDS
from tests.faults.run import Row
from tests.volumes import store

TESTS = ("R14",)
Place = tuple[str, int]


def make_given(folder: Path) -> None:
    """What stands in every case's folder; everything that commands import is imported."""
    store(folder / "v.zarr", np.random.default_rng(0).integers(0, 256, (20, 30, 40)).astype(np.uint8))
    (folder / "p.yaml").write_text(PIPELINE)
    import bigseg.cli.evaluated
    import bigseg.cli.trained
    import bigseg.demo
    import bigseg.engine.cluster.starting
    import bigseg.learn.model_file
    import bigseg.report.page
    import bigseg.report.tried  # noqa: F401


def copy_given(given: Path, folder: Path) -> None:
    """Into a case's own folder."""
    for name in GIVEN:
        (shutil.copytree if (given / name).is_dir() else shutil.copy)(given / name, folder / name)


def tree(folder: Path) -> list[str]:
    """Everything below a folder; links are not followed."""
    return sorted(os.path.join(parent, name) for parent, *kinds in os.walk(folder) for kind in kinds for name in kind)


def check(code: int, said: str, wanted: int, word: str) -> None:
    """The documented exit code, and one message that says what is wrong."""
    assert code == wanted, said
    assert code in EXIT_CODES
    assert word in said, said
    assert "Traceback" not in said, said
    assert "unexpected" not in said.replace("unexpected character", ""), said
    assert "bigseg: " in said
    assert said.count("\n") <= MOST_LINES
    assert len(said) <= MOST_LETTERS


def refused(case: Case, folder: Path) -> float:
    """Run a case in the current folder and check it; gives back the seconds of the fastest of at most three tries."""
    arguments = [str(item) for item in case.make()]
    before, seconds = tree(folder), []
    while not seconds or (min(seconds) >= SECONDS and len(seconds) < 3):  # again where the machine was busy
        said = io.StringIO()
        began = time.perf_counter()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = run(arguments)
        seconds.append(time.perf_counter() - began)
        check(code, said.getvalue(), case.code, case.says)
        assert tree(folder) == before
    assert min(seconds) < SECONDS
    return min(seconds)


def listening() -> dict[Place, str]:
    """Addresses on which this process or one below it listens, and the process's name."""
    found = {}
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        for item in process.net_connections(kind="inet"):
            udp = item.type.name == "SOCK_DGRAM" and not item.raddr
            if item.status == psutil.CONN_LISTEN or udp:
                found[item.laddr.ip, item.laddr.port] = process.name()
    return found


def opened(folder: Path) -> dict[Place, str]:
    """What a run that starts two workers listens on, of which nothing is left when it ends."""
    before = listening()
    seen: dict[Place, str] = {}

    def observe(summary: object, done: int, units: int) -> None:
        seen.update(listening())

    volume = store(folder / "scanned.zarr", np.random.default_rng(3).integers(0, 256, (20, 30, 40)).astype(np.uint8))
    Pipeline([Threshold(above=100)]).run(
        volume, folder / "scan", workers=2, memory=1 << 30, block=(10,), report=False, observe=observe
    )
    assert set(listening()) <= set(before)
    found = {place: name for place, name in seen.items() if place not in before}
    assert len(found) >= 3  # of the scheduler, and of each worker's nanny or itself: the scan sees them
    return found


def loopback(places: dict[Place, str]) -> dict[Place, str]:
    """Those of some addresses that no other machine reaches."""
    return {place: name for place, name in places.items() if ipaddress.ip_address(place[0]).is_loopback}


def full() -> Iterator[Row]:
    """All cases, and a scan while a run is on."""
    base, here = Path(tempfile.mkdtemp(prefix="bigseg-refused-")), Path.cwd()
    try:
        (base / "given").mkdir()
        make_given(base / "given")
        bad, slowest = [], 0.0
        for number, (name, case) in enumerate(CASES.items()):
            folder = base / str(number)
            folder.mkdir()
            copy_given(base / "given", folder)
            os.chdir(folder)
            try:
                slowest = max(slowest, refused(case, folder))
            except Exception as error:
                bad.append(f"{name}: {error}"[:200])
        note = f"at most {slowest:.2f} s; nothing made, no canary, no traceback" + "".join(f"; {item}" for item in bad)
        yield Row("R14", "bad input made by hand, over every command", len(CASES), len(CASES) - len(bad), note)
        places = opened(base)
        yield Row("R14", "sockets of a run with two workers", len(places), len(loopback(places)), "loopback only")
    finally:
        os.chdir(here)
        shutil.rmtree(base)
