"""What a block leaves in the driver, its scheduler and client included: at most 0.5 KiB, in a whole run."""

from __future__ import annotations

import gc
import shutil
import tracemalloc
from math import prod
from pathlib import Path
from typing import Any

from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.engine.order import Bricks
from bigseg.grid import Grid
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.planning import Resources
from bigseg.pipeline.prepared import Settings
from tests.memory import bytes_held
from tests.tiles import Tiles

SIDE = 6
"""Of a block in voxels: what the driver holds of one does not depend on it."""
FEW, MANY = (4, 8, 8), (8, 16, 16)
MOST_BYTES = 512.0
TABLE_BYTES = 1 << 20
"""Python's table of interned strings is one piece of memory of 1.9 or 3.8 MB, which is replaced when it has seen so
many strings, whosever they are; nothing of a block is that large."""
STEPS = {
    "version": 1,
    "steps": [
        {"id": "bright", "op": "threshold", "above": 150},
        {"id": "objects", "op": "label", "connectivity": 3},
        {"id": "regions", "op": "regions", "intensity": "input"},
    ],
    "save": [],
}


def volume(counts: tuple[int, ...]) -> Tiles:
    """So many blocks an axis."""
    return Tiles.of(tuple(SIDE * count for count in counts), "uint8")


def held_at_the_end_of_stages(counts: tuple[int, ...], out: Path, scheduler: str) -> int:
    """Most bytes that Python holds at the end of a stage of a run, beyond those before it."""
    found: list[int] = []

    def observe(summary: Any, done: int, units: int) -> None:
        if done == units:
            gc.collect()
            traces = tracemalloc.take_snapshot().traces
            found.append(sum(trace.size for trace in traces if trace.size < TABLE_BYTES))

    gc.collect()
    tracemalloc.start()
    try:
        Pipeline.from_dict(STEPS).run(
            volume(counts), out, block=(SIDE,), scheduler=scheduler, memory=1 << 30, report=False, observe=observe
        )
    finally:
        tracemalloc.stop()
    shutil.rmtree(out)
    return max(found)


def test_the_driver_grows_by_half_a_kib_a_block_at_most(cluster: DaskExecutor, tmp_path: Path) -> None:
    """Label and regions in 2,048 blocks instead of 256: what plan, journal, values and Dask hold of each further one.

    The run before fills what has a fixed length: Dask's logs, caches of imports.
    """
    scheduler = cluster.client.scheduler.address
    few, again, many = (held_at_the_end_of_stages(counts, tmp_path / "run", scheduler) for counts in (FEW, FEW, MANY))
    growth = (many - again) / (prod(MANY) - prod(FEW))
    assert growth <= MOST_BYTES, f"{growth:.0f} bytes a block; {few}, {again}, {many} bytes in all"


def test_a_plan_holds_nothing_of_a_block() -> None:
    """The plan of 262,144 blocks is as small as that of 512."""
    pipeline = Pipeline.from_dict(STEPS)

    def plan(side: int) -> Any:
        return pipeline.prepare(volume((side,) * 3), "run", Settings(block=(SIDE,)), Resources(2, 1 << 30)).plan

    _, few = bytes_held(plan, 8)
    made, many = bytes_held(plan, 64)
    assert max(stage.units for stage in made.stages) == 64**3
    assert many - few < 64 << 10, (few, many)


def test_bricks_are_those_of_the_grid() -> None:
    """As many as there are, in the grid's order, each block once."""
    grid = Grid((7, 9, 5), (2, 3, 2))
    for brick in ((1, 1, 1), (2, 2, 1), (4, 1, 2), (9, 9, 9)):
        order = Bricks(grid, brick)
        assert list(order) == [tuple(numbers) for numbers in grid.bricks(brick)]
        assert len(order) == len(list(order))
        assert sorted(unit for units in order for unit in units) == list(range(len(grid)))
