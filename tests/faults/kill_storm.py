"""SIGKILL of a real run with two workers: at random times, and at every stage boundary.

``python -m tests.faults.kill_storm [--size 512] [--kills 30] [--block 128] [--out TABLE.md]``

1. An undisturbed run gives the golden result, the stages and the time a run takes.
2. Random: runs are started and the whole process group is killed at a time drawn evenly from what is left of a
   run, until there were as many kills as asked; a run with 9 of 10 units done is let through and checked, and
   a new one begins.
3. Boundaries: one run is killed when each stage begins and when its last unit is journalled, then ended.

After each kill: no journalled unit forgotten or recorded twice, nothing looks complete, no process of the group
is left. At each end: the decoded voxels of all levels and all table rows are golden, every unit is recorded once,
no temporary file is left. A violation ends the storm with an error.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.volume import prepare
from tests.faults import chain
from tests.faults.driver import KILLED, Child, Watched, fast_folder


@dataclass
class Kill:
    """A row of the table."""

    where: str
    stage: str
    journalled: int
    again: int
    """Files that were written but not journalled: the work that is done again."""


@dataclass
class Storm:
    """What is killed, and what happened."""

    folder: Path
    volume: Path
    block: int
    workers: int

    def __post_init__(self) -> None:
        self.kills: list[Kill] = []
        self.ends = 0
        began = time.perf_counter()
        child = self.start(self.folder / "golden")
        child.wait_ready()
        ready = time.perf_counter()
        assert child.wait() == 0
        self.seconds = time.perf_counter() - ready
        self.start_seconds = ready - began
        self.golden = chain.golden(self.folder / "golden")
        record = json.loads((self.folder / "golden" / "run.json").read_text())
        self.stages = [(stage["name"], stage["blocks"]) for stage in record["stages"]]
        self.units = sum(blocks for _, blocks in self.stages)

    def start(self, out: Path, kill: str = "") -> Child:
        """Begin or continue a run."""
        options = ["--workers", str(self.workers), "--block", str(self.block), "--kill", kill]
        return Child.start([str(self.volume), str(out), *options])

    def watched(self, name: str) -> Watched:
        """A run that has not begun."""
        return Watched(self.folder / name, self.golden)

    def note(self, run: Watched, where: str, child: Child) -> None:
        """Check what a kill left."""
        assert child.living() == [], "processes were left"
        run.after_kill()
        counts = chain.recorded(run.out)
        open_stages = [name for name, blocks in self.stages if sum(key[0] == name for key in counts) < blocks]
        stage = open_stages[0] if open_stages else "closing"
        self.kills.append(Kill(where, stage, len(counts), chain.unrecorded(run.out)))
        print(f"{len(self.kills):3d}  {where:30s} {stage:22s} {len(counts):5d} of {self.units}", flush=True)

    def end(self, run: Watched) -> None:
        """Check a run that came through, and make room."""
        run.after_end()
        self.ends += 1
        shutil.rmtree(run.out)

    def random_kills(self, kills: int, seed: int) -> None:
        """Kill until there were enough, then let the last run through."""
        chance, fresh = random.Random(seed), self._fresh()
        run = next(fresh)
        done = 0
        while done < kills:
            child = self.start(run.out)
            child.wait_ready()
            after = chance.uniform(0, self.seconds * (1 - 0.8 * len(run.units) / self.units))
            killed = child.kill(after) == KILLED
            if killed:
                done += 1
                self.note(run, f"{after:.1f} s after the start", child)
            if killed and len(run.units) > 0.9 * self.units:
                assert self.start(run.out).wait() == 0
            if not killed or len(run.units) > 0.9 * self.units:
                self.end(run)
                run = next(fresh)
        assert self.start(run.out).wait() == 0
        self.end(run)

    def _fresh(self) -> Iterator[Watched]:
        number = 0
        while True:
            number += 1
            yield self.watched(f"random-{number}")

    def boundary_kills(self) -> None:
        """Kill when each stage begins and ends."""
        run = self.watched("boundaries")
        for stage, _ in self.stages:
            for event in ("begin", "end"):
                child = self.start(run.out, f"{event}:{stage}")
                assert child.wait() == KILLED
                self.note(run, f"{event} of {stage}", child)
        assert self.start(run.out).wait() == 0
        self.end(run)

    def table(self, size: int) -> str:
        """The summary as Markdown."""
        at_random = [kill for kill in self.kills if "after the start" in kill.where]
        again = [kill.again for kill in self.kills]
        lines = [
            f"# Kill storm: {size}^3, blocks of {self.block}, {self.workers} workers",
            "",
            f"A run has {len(self.stages)} stages of {self.units} units and takes {self.seconds:.1f} s after a start "
            f"of {self.start_seconds:.1f} s. SIGKILL of the driver and its workers at {len(at_random)} random times "
            f"and at {len(self.kills) - len(at_random)} stage boundaries; {self.ends} runs came through. All were "
            "golden (decoded voxels of every level, rows of every table), every unit was recorded once, no temporary "
            "file and no process was left, nothing incomplete looked complete.",
            "",
            f"Files written but not yet journalled at a kill, computed again: mean {sum(again) / len(again):.1f}, "
            f"most {max(again)}.",
            "",
            "| # | killed | in stage | units journalled | files done again |",
            "|--:|---|---|--:|--:|",
        ]
        rows = (
            f"| {n} | {kill.where} | {kill.stage} | {kill.journalled} | {kill.again} |"
            for n, kill in enumerate(self.kills, 1)
        )
        return "\n".join([*lines, *rows, ""])


def main(arguments: Sequence[str]) -> None:
    """Run the storm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("kill-storm.md"))
    chosen = parser.parse_args(arguments)
    folder = fast_folder()
    try:
        volume = Path(prepare(folder, chosen.size).path)
        storm = Storm(folder, volume, chosen.block, chosen.workers)
        print(f"golden: {storm.units} units in {storm.seconds:.1f} s, {storm.golden}", flush=True)
        storm.random_kills(chosen.kills, chosen.seed)
        storm.boundary_kills()
        chosen.out.write_text(storm.table(chosen.size))
        print(storm.table(chosen.size))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
