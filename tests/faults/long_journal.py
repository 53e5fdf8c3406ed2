"""R12: what a driver takes to take over a million finished blocks, and what each of 100,000 costs it.

``python -m tests.faults.long_journal FOLDER LINES`` writes a journal of so many lines, or scans the one that is there,
and prints seconds, seconds of the processor and peak bytes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from bigseg.engine.journal import Journal, tally
from bigseg.engine.work import peak_memory  # of this process alone: ru_maxrss begins with the parent's
from tests.benchmarks import blocks
from tests.faults.driver import ROOT, environment, fast_folder
from tests.faults.run import Row

TESTS = ("R12",)
STAGES = 8
PRINT = "f" * 64
SECONDS, MEMORY = 15.0, 500 << 20
"""For a million lines."""


def write(folder: Path, lines: int) -> None:
    """A journal as a run of eight stages leaves it; all blocks name one file."""
    shard = folder / "objects.ome.zarr" / "0" / "c" / "0" / "0" / "0"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"voxels")
    name = str(shard.relative_to(folder))
    Journal(folder / "journal" / "journal.jsonl", PRINT, folder).close()
    with (folder / "journal" / "journal.jsonl").open("ab") as file:
        for number in range(lines):
            unit, stage = divmod(number, STAGES)
            record = {"s": f"pass-{stage + 1}", "u": unit, "f": [[name, 6, 7]], "d": f"{number:016x}"}
            line = json.dumps(record, separators=(",", ":")).encode()
            file.write(b"%08x %s\n" % (zlib.crc32(line), line))


def scan(folder: Path, lines: int) -> dict[str, float]:
    """What taking over costs."""
    before = peak_memory()
    began, used = time.perf_counter(), time.process_time()
    journal = Journal(folder / "journal" / "journal.jsonl", PRINT, folder)
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    found = sum(journal.count(f"pass-{stage + 1}") for stage in range(STAGES))
    journal.close()
    assert found == lines, f"{found} of {lines} blocks were taken over"
    assert sum(tally(folder / "journal" / "journal.jsonl").values()) == lines
    peak = peak_memory()
    return {"seconds": seconds, "processor": processor, "peak": peak, "grown": peak - before}


def measured(lines: int) -> dict[str, float]:
    """In a process of its own."""
    folder = fast_folder()
    try:
        write(folder, lines)
        command = [sys.executable, "-m", "tests.faults.long_journal", str(folder), str(lines)]
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout)
        return found
    finally:
        shutil.rmtree(folder)


def full() -> Iterator[Row]:
    """A million lines; a hundred thousand blocks."""
    found = measured(1_000_000)
    good = found["seconds"] <= SECONDS and found["peak"] <= MEMORY
    held, blocks_held = found["peak"] / 2**20, found["grown"] / 2**20
    note = (
        f"{found['seconds']:.1f} s, {found['processor']:.1f} of the processor"
        f"; {held:.0f} MiB, {blocks_held:.0f} of it the blocks'"
    )
    yield Row("R12", "a journal of 1,000,000 lines taken over", 1, int(good), note)
    cost = blocks.measure_apart(100_000, 2)
    note = f"{cost.milliseconds_a_block:.2f} ms and {cost.bytes_a_block:.0f} bytes a block, driver and scheduler"
    yield Row("R12", "100,000 blocks of nothing on two workers", 1, int(cost.good), note)


if __name__ == "__main__":
    print(json.dumps(scan(Path(sys.argv[1]), int(sys.argv[2]))))
