"""Workers, drivers and clusters that are ended: what can go on goes on, the rest says so and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from bigseg.engine import blame
from bigseg.engine.cluster import flight
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.engine.cluster.starting import attach
from bigseg.errors import BlockError, ComputeError
from bigseg.pipeline.pipeline import Pipeline
from tests.engine.toy import Toy, bricks
from tests.faults import chain
from tests.faults.driver import Child, fast_folder


def of_threads(workers: int) -> LocalCluster:
    """Somebody else's cluster, in this process."""
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )


def test_a_killed_worker_costs_nothing_but_time(cluster: DaskExecutor, tmp_path: Path) -> None:
    """When a worker is killed in mid-run its units are done again, and every unit is reported once."""
    deadly = tmp_path / "deadly"
    deadly.touch()
    found = list(cluster.run(Toy(seconds=0.005, deadly=str(deadly)), bricks(300)))
    assert not deadly.exists()
    assert sorted(done.unit for done in found) == list(range(300))


def test_a_unit_that_kills_its_workers_is_named(
    cluster: DaskExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit that ends every worker it runs on is given up with its name, and the cluster lives on."""
    monkeypatch.setattr(cluster.client.cluster.scheduler, "allowed_failures", 0)
    monkeypatch.setattr(blame, "LOST_TRIES", 3)
    with pytest.raises(BlockError, match="stage toy, unit 0 lost its worker 3 times"):
        list(cluster.run(Toy(deadly=str(tmp_path)), [[0]]))
    monkeypatch.undo()
    assert len(list(cluster.run(Toy(), bricks(3)))) == 3


def test_a_killed_worker_in_a_real_run(cluster: DaskExecutor) -> None:
    """A run whose worker is killed in mid-run ends with the result of the serial run, each unit journalled once."""
    folder = fast_folder()
    try:
        volume = chain.make_volume(folder / "volume.zarr", (40, 48, 64), 16)
        serial, dask_run = folder / "serial", folder / "dask"
        pipeline = Pipeline.from_dict(chain.PIPELINE)
        pipeline.run(volume, serial, workers=0, block=(16,), report=False)
        killed = []

        def observe(summary: Any, done: int, units: int) -> None:
            if summary.name in ("pass-1", "pass-4") and done > 3 and summary.name not in killed:
                killed.append(summary.name)
                os.kill(min(cluster.client.run(os.getpid).values()), signal.SIGKILL)

        address = cluster.client.scheduler.address
        pipeline.run(volume, dask_run, scheduler=address, block=(16,), report=False, observe=observe)
        assert killed == ["pass-1", "pass-4"]
        assert chain.golden(dask_run) == chain.golden(serial)
        assert set(chain.recorded(dask_run).values()) == {1}
        assert chain.leftovers(dask_run) == []
    finally:
        shutil.rmtree(folder)


def test_a_driver_that_is_ended_takes_its_workers_along() -> None:
    """SIGKILL and SIGTERM of the driver alone leave no process; the second gives the lock back as well."""
    folder = fast_folder()
    try:
        volume = chain.make_volume(folder / "volume.zarr", (64, 64, 64), 16)
        endings = (signal.SIGKILL, signal.SIGTERM)  # the quick one first: the other's run must still be on
        children = [
            Child.start([str(volume), str(folder / str(end)), "--workers", "1", "--block", "4"]) for end in endings
        ]
        for end, child in zip(endings, children, strict=True):
            child.wait_ready()
            os.kill(child.process.pid, end)
            began = time.perf_counter()
            assert child.process.wait(25) != 0
            assert time.perf_counter() - began < 25
            assert child.living(seconds=10) == []
            child.process.communicate()
            out = folder / str(end)
            assert chain.status(out) == "incomplete"
            assert (out / "journal" / "lock").exists() == (end is signal.SIGKILL)
    finally:
        shutil.rmtree(folder)


def test_workers_that_go_for_good_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all workers are gone for long, the run ends with a message and keeps what was finished."""
    monkeypatch.setattr(flight, "ALONE_SECONDS", 0.5)
    monkeypatch.setattr(flight, "COUNT_SECONDS", 0.1)
    monkeypatch.setattr("bigseg.engine.cluster.executor.COUNT_SECONDS", 0.1)
    with of_threads(1) as small:
        executor = attach(small.scheduler_address)
        assert executor is not None
        with closing(executor.run(Toy(seconds=0.02), bricks(1000))) as results:
            next(results)
            small.scale(0)
            with pytest.raises(ComputeError, match="has had no workers"):
                list(results)
        executor.close()


def test_a_cluster_that_goes_ends_the_run() -> None:
    """When the scheduler goes, the run ends with a message instead of a traceback or a hang."""
    small = of_threads(1)
    executor = attach(small.scheduler_address)
    assert executor is not None
    with closing(executor.run(Toy(seconds=0.02), bricks(1000))) as results:
        next(results)
        small.close()
        with pytest.raises(ComputeError, match=r"the Dask cluster was lost|has had no workers"):
            list(results)
    executor.close()
