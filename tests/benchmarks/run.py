"""The benchmark: every job by bigseg, its peers and I/O alone, interleaved in one run.

``python -m tests.benchmarks.run [--quick] [--full] [--jobs gaussian,chain] [--work DIR]`` makes the test
volume, then goes round ``--repeats`` times: for each job, each competitor in a process of its own, one at a
time. A peer slower than 60 s is run once. RESULTS.json and RESULTS.md (beside this file, or ``--out``) are
written after every measurement, so a stopped run leaves what it had.

--quick takes 256^3 and one round. --full lets every peer run at full size, however slow; otherwise those
marked in jobs.py run at 256^3, in the same chunks, and their rates are compared.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import cellmap
from .jobs import JOBS, Job, Peer, Task
from .measure import run_process
from .page import begun, command_line, write
from .results import render
from .volume import TestVolume, prepare

SLOW_SECONDS = 60.0
SMALL = 256
SMALL_NOTE = "its seconds a voxel grow with the chunks: the goal is judged at full size, by --full"
OURS, IO = "bigseg", "I/O alone"


@dataclass
class Row:
    """One competitor in one job, with all its runs."""

    job: str
    who: str
    size: int
    goal: float | None = None
    in_memory: bool = False
    note: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""

    @property
    def seconds(self) -> float | None:
        """Median of the runs, seconds."""
        return statistics.median(run["seconds"] for run in self.runs) if self.runs else None

    @property
    def wanted(self) -> bool:
        """Whether another run is worth its time."""
        return not self.error and (not self.runs or self.runs[0]["seconds"] <= SLOW_SECONDS)


@dataclass(frozen=True)
class Bench:
    """Settings of one benchmark run."""

    work: Path
    size: int
    repeats: int
    full: bool
    jobs: tuple[str, ...]
    block: int | None
    without: tuple[str, ...] = ()
    """Peers that are left out."""
    workers: int = 2
    timeout: float = 3600.0


def rows_of(job: Job, bench: Bench) -> list[Row]:
    """Who competes in a job: bigseg first, then I/O alone, then the peers."""
    rows = [Row(job.name, OURS, bench.size), Row(job.name, IO, bench.size)]
    for peer in job.peers:
        if peer.name in bench.without:
            continue
        rows.append(_peer_row(job, peer, bench))
    return rows


def _peer_row(job: Job, peer: Peer, bench: Bench) -> Row:
    small = peer.only_full and not bench.full and bench.size > SMALL
    return Row(
        job.name,
        peer.name,
        SMALL if small else bench.size,
        goal=None if small else peer.goal,
        in_memory=peer.in_memory,
        note=SMALL_NOTE if small else peer.note,
    )


def command_of(row: Row, work: Path) -> list[str | Path]:
    """The command that measures a row, up to the two files it is given."""
    modules = {OURS: "ours", IO: "iolimit"}
    if row.who in modules:
        return [sys.executable, "-m", f"tests.benchmarks.{modules[row.who]}"]
    if row.who == "cellmap-analyze":
        return [cellmap.environment(work), Path(cellmap.__file__)]
    return [sys.executable, "-m", "tests.benchmarks.peers", row.who]


def measure(row: Row, volume: TestVolume, bench: Bench, block: int | None) -> None:
    """Add one run to a row, or the error that ended it."""
    task = Task.of(JOBS[row.job], volume, out="", workers=bench.workers, block=block)
    load = os.getloadavg()[0]
    try:
        result = run_process(command_of(row, bench.work), task.json(), bench.work, bench.timeout)
    except cellmap.Unavailable as error:
        result = {"error": str(error)}
    if "error" in result:
        row.error = str(result["error"])
    else:
        row.runs.append({**result, "load_before": round(load, 2)})


def interleaved(rows: list[Row], repeats: int) -> Iterator[Row]:
    """Round after round over all rows, leaving out those that failed or are slow."""
    for _ in range(repeats):
        for row in rows:
            if row.wanted:
                yield row


def disk_rate(folder: Path) -> float:
    """MiB/s at which 256 MiB of random bytes get to the disk under ``folder``, fsync included."""
    data = os.urandom(64 << 20)
    path = folder / "disk-rate.tmp"
    begin = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(4):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - begin
    path.unlink()
    return round(256 / seconds, 1)


def our_block(rows: list[Row], job: str, given: int | None) -> int | None:
    """The block our plan chose for a job, which I/O alone then uses too."""
    for row in rows:
        if row.who == OURS and row.job == job and row.runs:
            return int(row.runs[0]["block"])
    return given


def bench_all(bench: Bench, out: Path, arguments: list[str] | None) -> None:
    """Run everything; the page and its record are written anew after each measurement."""
    bench.work.mkdir(parents=True, exist_ok=True)
    rows = [row for name in bench.jobs for row in rows_of(JOBS[name], bench)]
    volumes = {size: prepare(bench.work, size) for size in sorted({row.size for row in rows})}
    record: dict[str, Any] = {
        **begun("run", arguments),
        "size": bench.size,
        "repeats": bench.repeats,
        "workers": bench.workers,
        "volume": {key: value for key, value in asdict(volumes[bench.size]).items() if key not in ("path", "mask")},
    }
    record["machine"]["disk_mib_s"] = disk_rate(bench.work)
    for row in interleaved(rows, bench.repeats):
        block = our_block(rows, row.job, bench.block) if row.who == IO else bench.block
        measure(row, volumes[row.size], bench, block)
        seconds = row.runs[-1]["seconds"] if row.runs and not row.error else None
        print(f"{row.job:11} {row.who:28} {row.size}^3 ", row.error or f"{seconds:.2f} s", flush=True)
        record["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
        record["rows"] = [{**asdict(item), "seconds": item.seconds, "full_size": bench.size} for item in rows]
        write(out, "RESULTS", record, render)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = command_line("run", __doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "bigseg-benchmarks")
    parser.add_argument("--jobs", default=",".join(JOBS), help="comma-separated; default: all")
    parser.add_argument("--size", type=int, default=None, help="voxels an axis; default 512")
    parser.add_argument("--repeats", type=int, default=None, help="default 3")
    parser.add_argument("--block", type=int, default=None, help="block of bigseg; default: its plan's")
    parser.add_argument("--without", action="append", default=[], help="a peer to leave out; several times")
    parser.add_argument("--quick", action="store_true", help="256^3, one round")
    parser.add_argument("--full", action="store_true", help="every peer at full size, however slow")
    given = parser.parse_args(arguments)
    jobs = tuple(given.jobs.split(","))
    if unknown := [name for name in jobs if name not in JOBS]:
        parser.error(f"no such job: {', '.join(unknown)}; there are {', '.join(JOBS)}")
    bench = Bench(
        work=given.work.resolve(),
        size=given.size or (SMALL if given.quick else 512),
        repeats=given.repeats or (1 if given.quick else 3),
        full=given.full,
        jobs=jobs,
        block=given.block,
        without=tuple(given.without),
    )
    bench_all(bench, given.out, arguments)
    print((given.out / "RESULTS.md").read_text())


if __name__ == "__main__":
    main()
