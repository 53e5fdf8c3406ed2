"""R1 and R10: SIGKILL at every named point and at random times, for the chain and for every ready pipeline.

After each kill: nothing journalled is forgotten or done twice, nothing incomplete looks complete. At each end:
golden, every unit computed once, no file left over.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bigseg.storage.faultpoints import POINTS
from tests.faults import chain, recipes
from tests.faults.driver import KILLED, Child, Watched, Zygote, fast_folder
from tests.faults.run import Row

TESTS = ("R1", "R10")
SHAPE, BLOCK = (20, 24, 136), 20
OFTEN = ("file.", "image.", "shard.", "unit.", "journal.w", "journal.f", "stage.", "table.", "pyramid.")
"""What the names of points begin with that a run passes many times."""
FLUSH = 64
"""Units that may be lost to one flush of the journal."""


@dataclass
class Arena:
    """A volume, the golden run on it, and the zygote that starts others."""

    folder: Path
    zygote: Zygote
    block: int = BLOCK
    shape: Sequence[int] = SHAPE

    def __post_init__(self) -> None:
        self.volume = chain.make_volume(self.folder / "volume.zarr", self.shape, chunk=self.block)
        assert self.zygote.run(self.arguments(self.folder / "golden")) == 0
        began = time.perf_counter()
        assert self.zygote.run(self.arguments(self.folder / "again")) == 0
        self.seconds = time.perf_counter() - began
        self.golden = chain.golden(self.folder / "golden")
        assert chain.golden(self.folder / "again") == self.golden
        record = json.loads((self.folder / "golden" / "run.json").read_text())
        self.stages = [stage["name"] for stage in record["stages"]]
        self.number = 0

    def arguments(self, out: Path, kill: str = "", *more: str) -> list[str]:
        """Of the chain."""
        return [str(self.volume), str(out), "--block", str(self.block), "--kill", kill, *more]

    def watched(self) -> Watched:
        """A run that has not begun."""
        self.number += 1
        return Watched(self.folder / f"run-{self.number}", self.golden)

    def through(self, run: Watched) -> None:
        """Let a run come to its end, check it, and make room."""
        assert self.zygote.run(self.arguments(run.out)) == 0
        run.after_end()
        shutil.rmtree(run.out)

    @classmethod
    @contextmanager
    def opened(cls, block: int = BLOCK, shape: Sequence[int] = SHAPE) -> Iterator[Arena]:
        """In memory, removed afterwards."""
        folder = fast_folder()
        try:
            with Zygote.started() as zygote:
                yield cls(folder, zygote, block, shape)
        finally:
            shutil.rmtree(folder)


def at_points(arena: Arena, points: Iterable[tuple[str, int]]) -> tuple[list[str], int]:
    """Kill one run after the other at named points, each continued from where the one before was killed.

    Returns
    -------
    The points that were never passed, and the most files that one kill made to be written again.
    """
    run, missed, again = arena.watched(), [], 0
    for name, count in points:
        more = ["--report"] if name.startswith("report.") or name == "run.reported" else []
        for _ in range(2):  # a run that is nearly done may not pass the point any more: then a new one does
            ended = arena.zygote.run(arena.arguments(run.out, f"point:{name}:{count}", *more))
            if ended == KILLED:
                run.after_kill()
                again = max(again, chain.unrecorded(run.out))
                break
            assert ended == 0, (name, count, ended)
            run.after_end() if not more else run.after_kill()
            shutil.rmtree(run.out)
            run = arena.watched()
        else:
            missed.append(f"{name}:{count}")
    arena.through(run)
    return missed, again


def at_random(arena: Arena, kills: int, seed: int) -> int:
    """Kill runs at random times; gives back how many kills hit a living run."""
    chance, run, hit = random.Random(seed), arena.watched(), 0
    while hit < kills:
        after = chance.uniform(0, 0.5 * arena.seconds)
        if arena.zygote.run_and_kill(arena.arguments(run.out), after) == KILLED:
            hit += 1
            run.after_kill()
        else:
            run.after_end()
            shutil.rmtree(run.out)
            run = arena.watched()
    arena.through(run)
    return hit


def snapshots(arena: Arena, count: int, seed: int) -> int:
    """Hold runs for a moment at random times and look: whatever says that it is complete is golden."""
    chance, seen = random.Random(seed), 0
    while seen < count:
        run = arena.watched()
        pid = arena.zygote.start(arena.arguments(run.out))
        if not arena.zygote.read(chain.READY, "status"):
            for _ in range(6):
                time.sleep(chance.uniform(0, 0.25 * arena.seconds))
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    run.after_kill()
                    seen += 1
                    os.kill(pid, signal.SIGCONT)
            assert arena.zygote.wait() == 0
        assert chain.status(run.out) == "complete"
        assert chain.golden(run.out) == arena.golden
        assert chain.leftovers(run.out) == []
        shutil.rmtree(run.out)
    return seen


def programs(arena: Arena, kills: int, seed: int) -> int:
    """Kill a program with two Dask workers, all of the group at once; gives back how many kills hit."""
    chance, run, hit = random.Random(seed), arena.watched(), 0
    for _ in range(kills):
        child = Child.start([*arena.arguments(run.out), "--workers", "2"])
        child.wait_ready()
        hit += child.kill(chance.uniform(0, arena.seconds)) == KILLED
        assert child.living() == [], "processes were left"
        run.after_kill()
    arena.through(run)
    return hit


def recipe(arena: Arena, name: str, points: Sequence[str]) -> tuple[int, int]:
    """Kill a ready pipeline at some points; gives back the kills, and the points it does not pass."""
    out, golden = arena.folder / name, arena.folder / f"{name}-golden"
    if not (arena.folder / "blobs.npy").exists():
        recipes.make_inputs(arena.folder)
    call = ["recipe", name, str(arena.folder)]
    assert arena.zygote.run([*call, str(golden)]) == 0
    wanted = recipes.golden(golden)
    assert wanted
    kills = missed = 0
    for point in points:
        ended = arena.zygote.run([*call, str(out), "--kill", point])
        kills += ended == KILLED
        missed += ended == 0
        assert ended in (0, KILLED), (name, point)
        counts = chain.recorded(out)
        assert max(counts.values(), default=1) == 1, "a journalled block was computed again"
        assert ended == 0 or chain.status(out) != "complete" or recipes.golden(out) == wanted
    assert arena.zygote.run([*call, str(out)]) == 0
    assert recipes.golden(out) == wanted, name
    assert chain.leftovers(out) == []
    assert set(chain.recorded(out).values()) == {1}
    for folder in (out, golden):
        shutil.rmtree(folder)
    return kills, missed


RECIPE_POINTS = ("file.renamed:1", "shard.renamed:1", "unit.acknowledged:4", "stage.computed:3", "run.marked:1")


def full() -> Iterator[Row]:
    """All of it."""
    with Arena.opened() as arena:
        points = [(name, count) for count in (1, 2, 7) for name in POINTS if count == 1 or name.startswith(OFTEN)]
        missed, again = at_points(arena, points)
        first = [item for item in missed if item.endswith(":1")]
        note = f"{len(POINTS)} points, many the 2nd and 7th time too; at most {again} files written again after a kill"
        yield Row("R1", "SIGKILL at named points", len(points) - len(missed), len(points) - len(missed), note)
        if first:
            yield Row("R1", f"points never passed: {first}", len(first), 0)
        hit = at_random(arena, 40, 1)
        yield Row("R1", "SIGKILL at random times", hit, hit)
        hit = programs(arena, 6, 2)
        yield Row("R1", "SIGKILL of driver and two Dask workers", hit, hit)
        for name in recipes.RECIPES:
            kills, _ = recipe(arena, name, RECIPE_POINTS)
            yield Row("R1", f"SIGKILL of pipeline {name} at points", kills, kills)
        seen = snapshots(arena, 60, 3)
        yield Row("R10", "looks at a run that is held at a random time", seen, seen)
