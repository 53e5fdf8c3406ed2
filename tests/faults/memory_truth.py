"""R11: what a worker takes is what the plan says, for every operation, at 1, 4 and 16 times as many blocks.

Each operation runs as the first of its rows in the exactness table does, on a volume that is computed where it is read,
on one worker that has computed nothing before, and has begun from nothing as a cluster's do: one that is a fork
(`bigseg.engine.cluster.forking`) shares 150 MiB of libraries with the others, and holds less than is planned. The
volume has one block along z and 3, 6, then 12 along y and x, so that the middle block has all its halo at every size.
The peak is what the kernel has counted (VmHWM) in the worker's process since a run began, imports, compiled kernels and
whatever an earlier size has left behind included. Caches of decoded chunks are cut to 1 MiB, and slabs of objects to
16,384, planned and real: they are full at every size, and hide nothing that grows. A row that trains on every voxel
trains on a sample, as on any large volume.

What must hold: in every stage peak <= plan; 16 x / 1 x <= 1.05; over all stages plan <= 1.5 x peak, left aside what
only the first run after an installation takes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

from bigseg.engine.cluster import forking
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.engine.cluster.starting import local_cluster
from bigseg.engine.plan import FIRST_RUN
from bigseg.errors import MemoryPlanError
from bigseg.ops import nearest
from bigseg.ops.registry import OPS
from bigseg.ops.train import Train
from bigseg.pipeline import planning
from bigseg.pipeline.pipeline import Pipeline
from tests.faults.driver import fast_folder
from tests.faults.run import Row
from tests.memory import forget_peak
from tests.ops.cases import FAMILIES
from tests.ops.rows import Case
from tests.tiles import Tiles

TESTS = ("R11",)
SIDES = (3, 6, 12)
"""Blocks along y and x: 1, 4 and 16 times as many."""
BLOCK = 40
SPREAD, PADDING = 1.05, 1.5
WORKER, CACHE, SLAB = 2 << 30, 1 << 20, 1 << 14
SAMPLE = 5_000


def tiles(blocks: int, dtype: str) -> Tiles:
    """A volume of so many blocks along y and x."""
    return Tiles.of((BLOCK, BLOCK * blocks, BLOCK * blocks), dtype)


@dataclass(frozen=True)
class Taken:
    """What one run planned and took, in bytes."""

    blocks: int
    planned: int
    peak: int
    over: tuple[str, ...]
    """Stages that took more than was planned."""


@dataclass(frozen=True)
class Truth:
    """An operation's runs, from the smallest to the largest."""

    op: str
    runs: tuple[Taken, ...]
    refused: bool
    """Whether a worker with less than is planned was refused before the run began."""

    @property
    def spread(self) -> float:
        """Largest by smallest volume."""
        return self.runs[-1].peak / self.runs[0].peak

    @property
    def padding(self) -> float:
        """Planned by taken, where it is most; without what only a first run takes."""
        return max((run.planned - FIRST_RUN) / run.peak for run in self.runs)

    def faults(self) -> list[str]:
        """What does not hold."""
        found = [f"{run.blocks} blocks: {stage}" for run in self.runs for stage in run.over]
        if self.spread > SPREAD:
            found.append(f"16 x / 1 x is {self.spread:.3f}")
        if self.padding > PADDING:
            found.append(f"planned / peak is {self.padding:.2f}")
        return found if self.refused else [*found, "a plan over budget was not refused"]

    def line(self) -> str:
        """For people, in MiB."""
        runs = ", ".join(f"{run.peak >> 20} of {run.planned >> 20}" for run in self.runs)
        faults = "".join("; " + item for item in self.faults())
        return f"{self.op}: {runs}; {self.spread:.3f}, {self.padding:.2f}{faults}"


def rows() -> dict[str, Case]:
    """The first row of every operation."""
    found: dict[str, Case] = {}
    for case in (case for cases in FAMILIES.values() for case in cases):
        found.setdefault(case.op, case)
    return {name: found[name] for name in OPS if name in found}  # the exactness table asks for one of each


def pipeline_of(case: Case) -> Pipeline:
    """A row as a pipeline of its own."""
    steps = Pipeline(case.steps(3)).steps
    for number, step in enumerate(steps):
        if isinstance(step.op, Train):
            steps[number] = replace(step, op=step.op.model_copy(update={"voxels": SAMPLE}))
    return Pipeline(steps)


def measure(case: Case, executor: DaskExecutor, folder: Path, sides: Sequence[int] = SIDES) -> Truth:
    """Run a row at every size, on a worker that has computed nothing."""
    executor.client.restart()
    dtype = "uint8" if "uint8" in case.dtypes else case.dtypes[0]
    pipeline = pipeline_of(case)
    runs = []
    for side in sides:
        executor.client.run(forget_peak)
        out = folder / f"{case.op}-{side}"
        run = pipeline.run(
            tiles(side, dtype),
            out,
            block=(BLOCK,),
            scheduler=executor.client.scheduler.address,
            memory=WORKER,
            report=False,
        )
        shutil.rmtree(out)
        stages = run.record["stages"]
        over = tuple(
            f"{stage['name']} took {stage['memory_peak'] >> 20} of {stage['memory_planned'] >> 20} MiB"
            for stage in stages
            if stage["memory_peak"] > stage["memory_planned"]
        )
        planned = max(stage["memory_planned"] for stage in stages)
        runs.append(Taken(side * side, planned, max(stage["memory_peak"] for stage in stages), over))
    return Truth(case.op, tuple(runs), _refuses(pipeline, dtype, runs[0].planned, folder / f"{case.op}-refused"))


def _refuses(pipeline: Pipeline, dtype: str, planned: int, out: Path) -> bool:
    """Whether a worker with a byte less than planned is refused, with nothing made."""
    try:
        pipeline.run(tiles(SIDES[0], dtype), out, block=(BLOCK,), workers=0, memory=planned - 1, report=False)
    except MemoryPlanError:
        return not out.exists()
    return False


def truths(names: Sequence[str], sides: Sequence[int] = SIDES) -> Iterator[Truth]:
    """Measure some operations."""
    folder = fast_folder()
    known = rows()
    try:
        with mock.patch.object(forking, "context", return_value=None), closing(local_cluster(1, WORKER)) as executor:
            for name in names:
                with _small_stores():
                    found = measure(known[name], executor, folder, sides)
                yield found
    finally:
        shutil.rmtree(folder)


@contextmanager
def _small_stores() -> Iterator[None]:
    """Caches and slabs that these volumes fill."""
    with mock.patch.object(planning, "cache_bytes", return_value=CACHE), mock.patch.object(nearest, "SLAB", SLAB):
        yield


def full() -> Row:
    """Every operation."""
    found = []
    for truth in truths(list(rows())):
        print(f"    {truth.line()}", flush=True)
        found.append(truth)
    good = sum(not truth.faults() for truth in found)
    note = (
        f"16 x / 1 x at most {max(truth.spread for truth in found):.3f}, plan / peak at most "
        f"{max(truth.padding for truth in found):.2f}"
    )
    return Row("R11", "every operation at 1, 4 and 16 times as many blocks, one worker", len(found), good, note)
