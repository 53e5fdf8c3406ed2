"""R6, R7 and R8, short: blocks done twice, two drivers, and what a run was started with changes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from distributed import LocalCluster

from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.engine.cluster.starting import attach
from bigseg.ops.map_block import MapBlock
from bigseg.ops.objects import Label
from bigseg.ops.threshold import Threshold
from bigseg.pipeline.pipeline import Pipeline
from tests.faults import twice, two_drivers
from tests.faults.drift import HARMLESS, REFUSED, Base
from tests.faults.driver import fast_folder
from tests.faults.io_errors import Bench
from tests.faults.kills import Arena
from tests.volumes import store


@pytest.fixture(scope="module")
def base() -> Iterator[Base]:
    """An unfinished run."""
    folder = fast_folder()
    try:
        yield Base(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    """Runs in processes of their own."""
    with Arena.opened() as found:
        yield found


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_run_depends_on(base: Base, name: str) -> None:
    """Changed, it is refused with the difference, and nothing is written."""
    base.refused(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_a_run_does_not_depend_on(base: Base, name: str) -> None:
    """Changed, the run continues and computes nothing again."""
    base.reused(name)


def test_every_block_twice(bench: Bench) -> None:
    """Computed twice at the same time, its second result late, each block counts once and the run is golden."""
    assert twice.honest(bench) > 80


@pytest.mark.parametrize("count", [1, 40, 77])
def test_a_second_result_that_differs(bench: Bench, count: int) -> None:
    """A block that gives something else the second time ends the run, by name."""
    twice.lying(bench, count)


def test_a_second_driver(arena: Arena) -> None:
    """It is refused within five seconds; the lock of a killed driver is taken over at once."""
    assert two_drivers.second(arena, "pass-3") < two_drivers.REFUSED
    assert two_drivers.killed(arena, "pass-4") < two_drivers.TAKEN


def test_a_revived_driver(arena: Arena) -> None:
    """Stopped in the middle of the last pass and replaced, it notices, and what it writes does not count."""
    assert two_drivers.revived(arena, "pass-5", False) < two_drivers.TAKEN


GIVEN_UP = """
import sys, time
from pathlib import Path
from bigseg import Label, MapBlock, Pipeline, Threshold

scheduler, volume, out, begun, go = sys.argv[1:]

def slow(block):
    if block.max() == 7:
        Path(begun).touch()
        while not Path(go).exists():
            time.sleep(0.01)
    return block

pipe = Pipeline([MapBlock(function=slow), Threshold(above=6), Label()], save=["map_block", "threshold"])
pipe.run(volume, out, scheduler=scheduler, block=16, report=False)
"""


def same(block: np.ndarray) -> np.ndarray:
    """Nothing."""
    return block


@pytest.fixture
def shared() -> Iterator[DaskExecutor]:
    """A cluster that outlives its runs: one worker with two threads, of which a task that does not end leaves one."""
    with LocalCluster(n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address="127.0.0.1:0") as workers:
        found = attach(workers.scheduler_address)
        assert found is not None
        with closing(found):
            yield found


def test_a_task_of_a_run_that_was_given_up_changes_nothing(shared: DaskExecutor, tmp_path: Path) -> None:
    """A task that computes cannot be called back: it ends after another run, begun in the same folder, has finished."""
    array = np.zeros((32, 32, 32), np.uint8)
    array[:16, :16, :16] = 7
    volume = store(tmp_path / "volume.zarr", array, (16, 16, 16))
    out, begun, go = tmp_path / "out", tmp_path / "begun", tmp_path / "go"
    command = [sys.executable, "-c", GIVEN_UP, shared.address, str(volume), str(out), str(begun), str(go)]
    driver = subprocess.Popen(command)
    latest = time.monotonic() + 60
    while not begun.exists():
        assert time.monotonic() < latest
        assert driver.poll() is None
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    steps = [MapBlock(function=same), Threshold(above=9), Label()]
    settings = {"scheduler": shared.address, "block": 16, "report": False}
    try:
        run = Pipeline(steps, save=["map_block", "threshold"]).run(volume, out, restart=True, **settings)
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    finally:
        go.touch()  # a worker that waits for ever would not let the cluster close
    while any(shared.client.processing().values()):
        time.sleep(0.02)
    time.sleep(0.5)
    assert not run.outputs["threshold"].values.any()
    assert {path: path.read_bytes() for path in before} == before
