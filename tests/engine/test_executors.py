"""One suite for every executor: the same results, the same errors, whatever happens to the workers."""

from __future__ import annotations

import json
import multiprocessing.spawn
import os
import socket
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster

from bigseg import errors
from bigseg.engine import leaving
from bigseg.engine.cluster import flight, starting, worker
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.engine.cluster.settings import ENVIRONMENT, LATER
from bigseg.engine.cluster.starting import attach, local_cluster
from bigseg.engine.run import Executor
from bigseg.engine.serial import SerialExecutor
from bigseg.engine.work import Done
from bigseg.errors import BigsegError, ComputeError, UsageError
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.prepared import Settings, choose_executor
from tests.engine.toy import FAULTS, Toy, bricks
from tests.faults import chain
from tests.volumes import store


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
        (worker,) = executor.client.run(os.getpid).values()
    finally:
        executor.close()
    after = {child.pid for child in me.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}
    assert worker not in after
    assert not [pid for pid in after - before if "spawn_main" in " ".join(psutil.Process(pid).cmdline())]


def test_workers_in_a_slurm_job_have_the_environment_of_our_own() -> None:
    """The script that starts them sets what `local_cluster` sets: one thread, the same use of memory."""
    script = Path(__file__).parents[2] / "deploy" / "slurm" / "workers.sbatch"
    exports = [line.split()[1:] for line in script.read_text().splitlines() if line.startswith("export ")]
    told = dict(item.split("=", 1) for items in exports for item in items)
    wanted = ENVIRONMENT | LATER
    assert {name: told.get(name) for name in wanted} == wanted


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
    scheduler = cluster.client.cluster.scheduler
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


def test_when_a_worker_begins_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its job would end first; not where the run's own job ends with it, nor before it has done anything."""
    monkeypatch.setattr(worker, "_taken", {})
    monkeypatch.delenv(leaving.JOB_END, raising=False)
    end = int(time.time()) + 60
    cases = [(10.0, float("inf"), False), (56.0, float("inf"), True), (56.0, float(end), False)]
    for variable, done in ((None, {"flight": 1.0}), (end, {}), (end, {"flight": 1.0})):
        if variable:
            monkeypatch.setenv(leaving.JOB_END, str(variable))
        monkeypatch.setattr(worker, "_taken", done)
        for seconds, run_ends, late in cases:
            assert worker._too_late(seconds, run_ends) == (late and bool(variable) and bool(done))


HOARD = """
import sys
from bigseg.engine.allocator import own, stage_begins, give_back
if sys.argv[1:]:
    own()
def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
before = held()
pieces = [bytearray(1 << 20) for _ in range(300)]
last = pieces[-1]
del pieces
kept = held() - before
stage_begins() if sys.argv[1:] else give_back()
print(kept, held() - before)
"""


@pytest.mark.parametrize("own", [False, True])
def test_freed_memory_goes_back(own: bool) -> None:
    """With the settings of workers, what libraries would keep for ever of 300 MiB goes back to the system.

    The ``bigseg`` command takes the settings while it runs.
    """
    command, env = [sys.executable, "-c", HOARD], os.environ if own else os.environ | ENVIRONMENT
    done = subprocess.run(command + ["own"] * own, env=env, capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert kept > 250 << 20, "nothing was kept: there is nothing to give back"
    assert left < 20 << 20


STAGES = """
import sys
from bigseg.engine.allocator import own
own()
from bigseg.engine.work import Limits, Meter, peak_memory
from bigseg.grid import Box
from bigseg.storage import blocks
from bigseg.storage.volume import Volume
volume = Volume.open(sys.argv[1])
Meter("pass", Limits(cache=256 << 20))
for z in range(0, 256, 32):
    blocks.read(volume, Box((z, 0, 0), (z + 32, 768, 768)))
of_pass = peak_memory()
Meter("pyramid", Limits(cache=0))
print(of_pass, peak_memory())
"""


def test_the_cache_of_a_stage_is_not_the_next_ones(tmp_path: Path) -> None:
    """What a pass has cached is gone before the peak of the stage behind it, which has no cache, begins."""
    array = np.random.default_rng(0).integers(0, 256, (256, 768, 768), np.uint8)
    volume = store(tmp_path / "volume.zarr", array, (32, 256, 256))
    done = subprocess.run([sys.executable, "-c", STAGES, str(volume)], capture_output=True, text=True, check=True)
    of_pass, of_pyramid = map(int, done.stdout.split())
    assert of_pass - of_pyramid > array.nbytes * 3 // 4
