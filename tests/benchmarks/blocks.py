"""What a block costs the driver: 100,000 blocks that compute nothing, through Dask, the journal and the lock.

``python -m tests.benchmarks.blocks [--blocks 100000] [--workers 2] [--trace]``

The driver's process holds the scheduler, the client, the plan's list of blocks and the journal's 8 bytes a block.
Its resident memory is read after a tenth of the blocks, when caches and logs are full, and at the end: the difference
is what each further block costs. The time is that of the whole stage. Bounds: 1 ms and 0.5 KiB a block. The same
without Dask says what of the time is the journal's.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from bigseg.engine.journal import Journal
from bigseg.engine.lock import Lock
from bigseg.engine.run import Executor, Summary, execute
from bigseg.engine.serial import SerialExecutor
from bigseg.engine.stage import Plan, Stage
from bigseg.engine.work import Done, Limits, Meter
from bigseg.grid import Grid

ROOT = Path(__file__).resolve().parents[2]
MOST_MS, MOST_BYTES = 1.0, 512.0
SIDE = 4


@dataclass(frozen=True)
class Nothing:
    """Work that computes and stores nothing, but says so as every other does."""

    stage: str = "nothing"

    def run(self, unit: int) -> Done:
        return Meter(self.stage, Limits()).done(unit, (), "")


@dataclass(frozen=True)
class Cost:
    """What was measured."""

    blocks: int
    workers: int
    milliseconds_a_block: float
    bytes_a_block: float
    """Of the driver's resident memory, from a tenth of the blocks to the end."""
    resident: tuple[int, int]
    """Bytes at a tenth and at the end."""

    @property
    def good(self) -> bool:
        """Whether both bounds hold."""
        return self.milliseconds_a_block <= MOST_MS and self.bytes_a_block <= MOST_BYTES


def plan_of(blocks: int) -> Plan:
    """One stage of blocks in a row, in bricks of 8 as a pass has them."""
    grid = Grid((SIDE, SIDE, SIDE * blocks), (SIDE, SIDE, SIDE))
    order = tuple(tuple(numbers) for numbers in grid.bricks((1, 1, 8)))
    stage = Stage("nothing", "pass", "nothing", blocks, 0, 0, 1.0, 0, 0, lambda values: Nothing(), order)
    return Plan((stage,), grid, Limits(), (), (1, 1, 8))


def measure(blocks: int, workers: int, folder: Path, trace: bool = False) -> Cost:
    """Run the blocks in this process, or on workers of its own."""
    found: list[int] = []
    process = psutil.Process()
    before: Any = None

    def observe(summary: Summary, done: int, units: int) -> None:
        nonlocal before
        if done in (units // 10, units):
            found.append(process.memory_info().rss)
            if trace:
                gc.collect()
                now = tracemalloc.take_snapshot()
                if before is not None:
                    for line in now.compare_to(before, "lineno")[:25]:
                        print(line, file=sys.stderr)
                before = now

    plan = plan_of(blocks)
    executor = _executor(workers)
    with closing(executor), Lock(folder / "journal" / "lock") as lock:
        journal = Journal(folder / "journal" / "journal.jsonl", "0" * 32, folder)
        if trace:
            tracemalloc.start(8)
        began = time.perf_counter()
        with closing(journal):
            execute(plan, executor, journal, lock, observe)
        seconds = time.perf_counter() - began
    first, last = found[:2]
    return Cost(blocks, workers, 1e3 * seconds / blocks, (last - first) / (blocks - blocks // 10), (first, last))


def _executor(workers: int) -> Executor:
    if not workers:
        return SerialExecutor()
    from bigseg.engine.cluster.starting import local_cluster

    return local_cluster(workers, 1 << 30)


def measure_apart(blocks: int, workers: int) -> Cost:
    """The same in a process of its own, whose memory nothing else has touched."""
    command = [sys.executable, "-m", "tests.benchmarks.blocks", "--json"]
    command += ["--blocks", str(blocks), "--workers", str(workers)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    found = json.loads(done.stdout.splitlines()[-1])
    return Cost(**{**found, "resident": tuple(found["resident"])})


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit code says whether both bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trace", action="store_true", help="say which lines hold what a block leaves (slow)")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        cost = measure(chosen.blocks, chosen.workers, Path(folder), chosen.trace)
    if chosen.json:
        print(json.dumps(asdict(cost)))
        return 0
    first, last = (size / 2**20 for size in cost.resident)
    print(
        f"{cost.blocks} blocks, {cost.workers} workers: {cost.milliseconds_a_block:.3f} ms a block, the driver grew by "
        f"{cost.bytes_a_block:.0f} bytes a block ({first:.1f} to {last:.1f} MiB)"
    )
    return 0 if cost.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
