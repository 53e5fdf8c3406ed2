"""One suite for every executor: the same results, the same errors, whatever happens to the workers."""

from __future__ import annotations

import json
import multiprocessing.spawn
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, LocalCluster

from bigseg import errors
from bigseg.engine import blame
from bigseg.engine.cluster import flight, starting
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.engine.cluster.starting import attach, local_cluster
from bigseg.engine.run import Executor
from bigseg.engine.serial import SerialExecutor
from bigseg.engine.work import Done
from bigseg.errors import BigsegError, BlockError, ComputeError, StorageError, UsageError, ValuesError
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.prepared import Settings, choose_executor
from tests.faults import chain
from tests.faults.driver import Child, fast_folder


class Awkward(Exception):
    """An exception that cannot be pickled back: its arguments are not those of its constructor."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


FAULTS: dict[str, BaseException] = {
    "values": ValuesError("the input holds 3 NaN near (1, 2, 3)"),
    "storage": StorageError("cannot write 5 bytes to x: No space left on device"),
    "zero": ZeroDivisionError("division by zero"),
    "memory": MemoryError(),
    "awkward": Awkward(1, 2),
    "system": OSError(5, "Input/output error"),
}


@dataclass(frozen=True)
class Toy:
    """Work of units that sleep, fail or end their process."""

    stage: str = "toy"
    seconds: float = 0.0
    failing: int = -1
    fault: str = ""
    deadly: str = ""
    """A file: the first unit that finds it removes it and ends its process; a folder: each unit does."""

    def run(self, unit: int) -> Done:
        time.sleep(self.seconds)
        if unit == self.failing:
            raise FAULTS.get(self.fault) or getattr(errors, self.fault)("what was expected, and found")
        if self.deadly and os.path.exists(self.deadly):
            if os.path.isfile(self.deadly):
                os.unlink(self.deadly)
            os.kill(os.getpid(), signal.SIGKILL)
        return Done(unit, ((f"file-{unit}", unit, 7),), f"{unit:016x}", self.seconds, 1, 2, 3, {"twice": 2 * unit})


def bricks(count: int, size: int = 1) -> list[list[int]]:
    """The numbers below ``count`` in lists of ``size``."""
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]


@pytest.fixture(params=["serial", "dask"])
def executor(request: pytest.FixtureRequest) -> Executor:
    """Each executor in turn."""
    if request.param == "serial":
        return SerialExecutor()
    found: Executor = request.getfixturevalue("cluster")
    return found


@pytest.mark.parametrize(("count", "size"), [(0, 1), (1, 1), (7, 3), (200, 8)])
def test_every_unit_is_done_once(executor: Executor, count: int, size: int) -> None:
    """Every unit of every brick gives exactly the record that its work returned."""
    found = list(executor.run(Toy(), bricks(count, size)))
    assert sorted(found) == [Toy().run(unit) for unit in range(count)]


def test_serial_keeps_the_order() -> None:
    """The serial executor takes brick after brick, unit after unit."""
    order = [[5, 2], [9], [0, 1]]
    assert [done.unit for done in SerialExecutor().run(Toy(), order)] == [5, 2, 9, 0, 1]


@pytest.mark.parametrize("fault", ["values", "storage"])
def test_errors_for_the_user_arrive_as_they_are(executor: Executor, fault: str) -> None:
    """Class and message are those that the unit raised; units finished before it in its brick are not lost."""
    with closing(executor.run(Toy(failing=2, fault=fault), [[0, 1, 2, 3]])) as results:
        found = [next(results).unit, next(results).unit]
        with pytest.raises(BigsegError) as caught:
            next(results)
    assert type(caught.value) is type(FAULTS[fault])
    assert str(caught.value) == str(FAULTS[fault])
    assert found == [0, 1]


@pytest.mark.parametrize("fault", ["zero", "memory", "awkward", "system"])
def test_what_nobody_foresaw_is_one_clear_message(executor: Executor, fault: str) -> None:
    """An unexpected exception names stage, unit and cause; the place where it happened is a note for --debug."""
    with pytest.raises(ComputeError, match="stage toy, unit 2 failed unexpectedly") as caught:
        list(executor.run(Toy(failing=2, fault=fault), bricks(4)))
    said = "no memory left" if fault == "memory" else str(FAULTS[fault])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "in run\n    raise FAULTS.get(self.fault)" in "".join(caught.value.__notes__)


def test_every_error_survives_the_way_back(executor: Executor) -> None:
    """Every class of the tree arrives as itself, with its message and exit code."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BigsegError)]
    assert len(kinds) > 15
    for kind in kinds:
        with pytest.raises(kind, match=r"^what was expected, and found$") as caught:
            list(executor.run(Toy(failing=0, fault=kind.__name__), [[0]]))
        assert type(caught.value) is kind


def test_a_stage_ends_only_with_all_its_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor that forgets a unit makes the run fail: nothing incomplete looks complete."""
    volume = chain.make_volume(tmp_path / "volume.zarr", (16, 16, 16), 8)
    whole = SerialExecutor.run

    def forgetful(self: SerialExecutor, work: Any, bricks: Any) -> Iterator[Done]:
        yield from list(whole(self, work, bricks))[:-1]

    monkeypatch.setattr(SerialExecutor, "run", forgetful)
    pipeline = Pipeline.from_dict({"version": 1, "steps": [{"id": "mask", "op": "threshold", "above": 20}]})
    with pytest.raises(ComputeError, match="stage pass-1 gave back 7 of 8 units"):
        pipeline.run(volume, tmp_path / "out", workers=0, block=(8,), report=False)
    assert chain.status(tmp_path / "out") == "failed"
    monkeypatch.undo()
    pipeline.run(volume, tmp_path / "out", workers=0, block=(8,), report=False)
    assert chain.status(tmp_path / "out") == "complete"


def test_leaving_early_leaves_nothing_behind(executor: Executor) -> None:
    """A stage that is given up is cancelled, and the executor runs the next."""
    with closing(executor.run(Toy(seconds=0.01), bricks(500))) as results:
        next(results)
    assert len(list(executor.run(Toy(stage="next"), bricks(5)))) == 5


class Submits:
    """A client that counts what is submitted."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.units: list[list[int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def submit(self, function: Any, work: Any, units: list[int], **options: Any) -> Any:
        self.units.append(units)
        return self.client.submit(function, work, units, **options)


def test_cheap_bricks_travel_together(cluster: DaskExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of a millisecond go many to a task, whole bricks; dear ones go brick by brick."""
    client = Submits(cluster.client)
    monkeypatch.setattr(cluster, "client", client)
    assert len(list(cluster.run(Toy(seconds=0.001), bricks(1200, 4)))) == 1200
    assert len(client.units) < 60
    assert max(map(len, client.units)) <= flight.MOST_BLOCKS + 4
    assert all(units == sorted(units) and units[0] % 4 == 0 and len(units) % 4 == 0 for units in client.units)
    client.units.clear()
    monkeypatch.setattr(flight, "TASK_SECONDS", 0.01)
    list(cluster.run(Toy(seconds=0.02), bricks(24, 2)))
    assert [len(units) for units in client.units] == [2] * 12


def test_the_window_is_bounded(cluster: DaskExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many units there are, only a few tasks a thread are known to the cluster at a time."""
    monkeypatch.setattr(flight, "TASK_SECONDS", 0.0)
    taken = 0

    def endless() -> Iterator[Sequence[int]]:
        nonlocal taken
        while True:
            taken += 1
            yield [taken]

    with closing(cluster.run(Toy(), endless())) as results:
        for number in range(100):
            next(results)
            assert taken - number <= flight.WINDOW * cluster.workers + 1


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
    monkeypatch.setattr(cluster._owned.scheduler, "allowed_failures", 0)
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


def listening(process: psutil.Process) -> set[str]:
    """Addresses at which a process and its children accept connections."""
    family = [process, *process.children(recursive=True)]
    return {item.laddr.ip for one in family for item in one.net_connections("inet") if item.status == "LISTEN"}


def test_nothing_listens_beyond_this_machine_and_nothing_stays() -> None:
    """A local cluster listens at 127.0.0.1 only, its workers have one thread, and none outlives it."""
    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}
    executor = local_cluster(1, 1 << 30)
    try:
        assert listening(me) == {"127.0.0.1"}
        assert executor.workers == 1
        assert executor.memory == 1 << 30
        variables = executor.client.run(lambda: dict(os.environ))
        assert all(found["OMP_NUM_THREADS"] == "1" for found in variables.values())
    finally:
        executor.close()
    after = {child.pid for child in me.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}
    assert not [pid for pid in after - before if "spawn_main" in " ".join(psutil.Process(pid).cmdline())]


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


def test_attaching_by_address_file_configuration_and_client(
    cluster: DaskExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first found wins: address, file, DASK_SCHEDULER_ADDRESS, current Client; closing leaves the cluster be."""
    address = cluster.client.scheduler.address
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": address}))
    for found in (attach(address), attach(scheduler_file=str(file))):
        assert found is not None
        assert sorted(found.run(Toy(), bricks(3))) == sorted(SerialExecutor().run(Toy(), bricks(3)))
        found.close()
    with dask.config.set({"scheduler-address": address}):  # what DASK_SCHEDULER_ADDRESS becomes
        found = attach()
        assert found is not None
        assert found.where == address
        found.close()
    assert attach() is None
    with Client(address) as theirs:
        found = attach()
        assert found is not None
        assert "current client" in found.where
        found.close()
        assert theirs.submit(int, "7").result() == 7
    assert len(list(cluster.run(Toy(), bricks(3)))) == 3


def test_the_environment_variable_names_the_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """DASK_SCHEDULER_ADDRESS is what `attach` looks for in Dask's configuration."""
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:8786")
    found = dask.config.collect_env()
    with dask.config.set(found), monkeypatch.context() as patch:
        patch.setattr(starting, "_connect", lambda address, where, security=None: address)
        assert attach() == "tcp://127.0.0.1:8786"


def test_a_plan_that_is_refused_leaves_no_client(cluster: DaskExecutor) -> None:
    """Asking a cluster for its size leaves no connection; the run makes its own."""
    scheduler = cluster._owned.scheduler
    before = set(scheduler.clients)
    resources, start = choose_executor(Settings(scheduler=cluster.client.scheduler.address))
    assert resources.workers == cluster.workers
    for _ in range(100):
        if set(scheduler.clients) == before:
            break
        time.sleep(0.02)
    assert set(scheduler.clients) == before
    executor = start()
    assert len(list(executor.run(Toy(), bricks(3)))) == 3
    executor.close()


def test_a_wrong_address_is_refused_in_time(
    cluster: DaskExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody there, nonsense, a host without a name, a port that never answers, a file that is none: one message."""
    monkeypatch.setattr(starting, "CONNECT_SECONDS", 1)
    torn = tmp_path / "torn.json"
    torn.write_text('{"address": ')
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        closed.bind(("127.0.0.1", 0))
        wrong: list[tuple[str, str | None, str | None]] = [
            ("no Dask scheduler answers at tcp", f"tcp://127.0.0.1:{closed.getsockname()[1]}", None),
            ("no Dask scheduler answers at tcp", f"tcp://127.0.0.1:{silent.getsockname()[1]}", None),
            ("no Dask scheduler answers at nonsense", "nonsense", None),
            ("no Dask scheduler answers at http", "http://127.0.0.1:80", None),
            ("no Dask scheduler answers at tcp", "tcp://nowhere.invalid:8786", None),
            ("there is a ", next(iter(cluster.client.scheduler_info()["workers"])), None),
            ("scheduler file .* cannot be read", None, str(tmp_path / "absent.json")),
            ("scheduler file .* cannot be read", None, str(torn)),
        ]
        for message, address, file in wrong:
            began = time.perf_counter()
            with pytest.raises(UsageError, match=message):
                attach(address, file, insecure=True)
            assert time.perf_counter() - began < 8, (address, file)


def test_a_scheduler_without_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that has nobody to work says so instead of waiting for ever."""
    monkeypatch.setattr(starting, "WORKERS_SECONDS", 0.5)
    with (
        LocalCluster(
            n_workers=0, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as empty,
        pytest.raises(UsageError, match="has had no workers"),
    ):
        attach(empty.scheduler_address)


def test_workers_that_go_for_good_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all workers are gone for long, the run ends with a message and keeps what was finished."""
    monkeypatch.setattr(flight, "ALONE_SECONDS", 0.5)
    monkeypatch.setattr(flight, "COUNT_SECONDS", 0.1)
    monkeypatch.setattr("bigseg.engine.cluster.executor.COUNT_SECONDS", 0.1)
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as small:
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
    small = LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )
    executor = attach(small.scheduler_address)
    assert executor is not None
    with closing(executor.run(Toy(seconds=0.02), bricks(1000))) as results:
        next(results)
        small.close()
        with pytest.raises(ComputeError, match=r"the Dask cluster was lost|has had no workers"):
            list(results)
    executor.close()


SCRIPT = """\
import os
import sys
import colorsys  # stands for whatever a script loads that workers need not
import numpy as np
import bigseg
print("the script runs")

def own(block):
    assert "colorsys" not in sys.modules, "the worker imported the script"
    if not os.path.exists("ended"):
        open("ended", "w").close()
        os.kill(os.getpid(), 9)
    return block + np.uint8(1)

pipe = bigseg.Pipeline([bigseg.MapBlock(function=own), bigseg.Threshold(above=100)])
run = pipe.run(np.full((20, 20), 100, np.uint8), "out", workers=1, block=20)
print("above", int(run.outputs["threshold"].sum()))
"""


def test_workers_do_not_run_the_script_that_started_them(tmp_path: Path) -> None:
    """A script without a guard works: it runs once, what it imports is not loaded again, its functions travel.

    Nor is it run by the worker that takes the place of one that was killed.
    """
    (tmp_path / "plain.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "plain.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the script runs", "above 400"]
    assert (tmp_path / "ended").exists()


def test_workers_of_others_run_their_script(cluster: DaskExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that somebody else starts in this process is told of the script, whatever ours are told."""
    script = types.ModuleType("__main__")
    script.__file__ = "/somewhere/script.py"
    monkeypatch.setitem(sys.modules, "__main__", script)
    told = multiprocessing.spawn.get_preparation_data(f"{starting.WORKER} (from Nanny)")
    assert told["init_main_from_path"] == "/somewhere/script.py"
