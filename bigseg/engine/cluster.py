"""The Dask executor, and finding or starting the cluster it runs on. The only module that imports distributed.

Tasks are plain futures: no task waits for another and no voxels travel. A sliding window of three tasks a
thread keeps workers busy while the scheduler never knows more than a few hundred tasks; cheap bricks of
blocks travel several to a task, so that a task takes about a second and its 3-4 ms of overhead vanish.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Security, Worker, WorkerPlugin, as_completed
from distributed.comm import connect

from bigseg.engine.work import Done, Work, attempt
from bigseg.errors import BigsegError, ComputeError, UsageError

WINDOW = 3
"""Tasks a thread in flight: one running, one waiting, one on its way back."""
TASK_SECONDS = 0.7
"""Aim of a task's length; between 0.5 and 2 s both overhead and loss at a kill are small."""
MOST_BLOCKS = 256
CONNECT_SECONDS = 10
"""How long a scheduler may take to answer."""
WORKERS_SECONDS = 60
"""How long a scheduler that answers may be without any worker, at the start."""
ALONE_SECONDS = 600
"""How long all workers may be gone during a run: nodes that were preempted come back."""
COUNT_SECONDS = 2.0
"""Between two looks how many workers there are."""

SETTINGS = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.allowed-failures": 100,
    "distributed.scheduler.no-workers-timeout": "10 minutes",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.comm.retry.count": 3,
    "distributed.admin.tick.limit": "60 s",
    "distributed.worker.profile.enabled": False,
    "distributed.admin.log-length": 200,
    "distributed.admin.low-level-log-length": 200,
    "distributed.admin.system-monitor.log-length": 600,
}
"""Nothing that grows with time (profiles, logs).

A block task holds no Dask data, so there is nothing to spill, and a paused worker would hang for ever."""

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 20),
}
"""One thread a worker; freed blocks go back to the system at once, so that the peak is what is in use."""


class DaskExecutor:
    """Runs stages on the workers of a Dask cluster.

    Parameters
    ----------
    client : of its own; closed with the executor.
    where : the cluster's name for people.
    owned : a cluster that was started for this run; closed with the executor.
    """

    def __init__(self, client: Client, where: str, owned: Any = None) -> None:
        self.client = client
        self.where = where
        self._owned = owned
        self._address, self._security = client.scheduler.address, client.security
        self._counted = (0, float("-inf"))

    @property
    def workers(self) -> int:
        """Threads of all workers, at least one."""
        return max(1, self._threads())

    def _threads(self) -> int:
        """Threads of all workers as of the last two seconds: asking the scheduler costs a millisecond."""
        count, when = self._counted
        if time.monotonic() - when > COUNT_SECONDS:
            count = sum(self.client.nthreads().values())
            self._counted = count, time.monotonic()
        return count

    @property
    def memory(self) -> int | None:
        """Bytes that every worker has for one thread, where the workers were given a limit."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [w["memory_limit"] // max(1, w["nthreads"]) for w in workers if w["memory_limit"]]
        return min(limits, default=None)

    def run(self, work: Work, bricks: Iterable[Sequence[int]]) -> Generator[Done]:
        """Yield each unit as it is done, in the order of completion.

        Raises
        ------
        BigsegError
            The first error a unit met; tasks still running are cancelled.
        ComputeError
            When the workers were lost, or a unit failed unexpectedly.
        """
        queue = iter(bricks)
        flying: dict[Future, list[int]] = {}
        finished = as_completed(loop=self.client.loop)
        seconds = 0.0
        try:
            while True:
                while len(flying) < WINDOW * self.workers and (units := self._task(queue, seconds)):
                    key = f"{work.stage}-{units[0]}-{os.urandom(4).hex()}"
                    future = self.client.submit(run_units, work, units, key=key, pure=False)
                    flying[future] = units
                    finished.add(future)
                if not flying:
                    return
                future = self._next(finished)
                done, error = self._result(future, work, flying.pop(future))
                future.release()
                if done:
                    mean = sum(item.seconds for item in done) / len(done)
                    seconds = 0.7 * seconds + 0.3 * mean if seconds else mean
                yield from done
                if error is not None:
                    raise error
        except OSError as error:  # Dask's errors of connections are OSErrors
            raise _lost(self.where, error) from error
        finally:
            with suppress(Exception):  # a lost cluster must not hide why it was lost
                self.client.cancel(list(flying))

    def _task(self, queue: Iterator[Sequence[int]], seconds: float) -> list[int]:
        """The units of the next task: one brick, or several where they are cheap."""
        units = list(next(queue, ()))
        if units and seconds:
            wanted = min(MOST_BLOCKS, int(TASK_SECONDS / max(seconds, 1e-4)))
            for brick in islice(queue, max(0, wanted // len(units) - 1)):
                units += brick
        return units

    def _next(self, finished: as_completed) -> Future:
        """The next future that is done, as long as there are workers."""
        alone = None
        while not finished.has_ready():
            time.sleep(0.002)
            alone = self._alone(alone)
        return next(finished)

    def _alone(self, since: float | None) -> float | None:
        """Since when there have been no workers; None while there are some.

        Raises
        ------
        ComputeError
            When there have been none for long.
        """
        if self._threads():
            return None
        now = time.monotonic()
        if since is not None and now - since > ALONE_SECONDS:
            raise ComputeError(
                f"{self.where} has had no workers for {ALONE_SECONDS / 60:.0f} minutes: start some, and run the "
                "same command again"
            )
        return since or now

    def _result(self, future: Future, work: Work, units: Sequence[int]) -> tuple[list[Done], BigsegError | None]:
        """What a task gave back, or why it did not."""
        what = (
            f"stage {work.stage}, units {units[0]} to {units[-1]}"
            if len(units) > 1
            else f"stage {work.stage}, unit {units[0]}"
        )
        try:
            return self._gathered(future)
        except CancelledError as error:
            raise _lost(self.where, error) from error
        except KilledWorker as error:
            raise ComputeError(
                f"{what}: {error.allowed_failures + 1} workers died while they computed it, the last at "
                f"{error.last_worker.address}. Likely it needs more memory than a worker has: give smaller blocks or "
                "more memory, and run the same command again with what was finished kept"
            ) from error
        except OSError:
            raise
        except Exception as error:
            failed = ComputeError(
                f"{what} could not be run on a worker ({type(error).__name__}: {error}): workers need the same bigseg "
                "and libraries as this process; mend them and run the same command again"
            )
            failed.add_note("".join(traceback.format_exception(error)))
            raise failed from error

    def _gathered(self, future: Future) -> tuple[list[Done], BigsegError | None]:
        """The result of a finished task; it is computed again where its worker went before handing it over."""
        alone = None
        while True:
            try:
                found: tuple[list[Done], BigsegError | None] = future.result(timeout=COUNT_SECONDS)
                return found
            except TimeoutError:
                alone = self._alone(alone)

    def again(self) -> DaskExecutor:
        """A new connection to the same cluster."""
        return _connect(self._address, self.where, self._security)

    def close(self) -> None:
        """Leave a cluster that was found as it is; stop one that was started."""
        for item in (self.client, self._owned):
            if item is not None:
                with suppress(OSError, TimeoutError, CancelledError):
                    item.close()


def _lost(where: str, error: BaseException) -> ComputeError:
    return ComputeError(
        f"the Dask cluster was lost: {where} ({type(error).__name__}: {error}). What was finished is kept: start the "
        "cluster and run the same command again"
    )


def run_units(work: Work, units: Sequence[int]) -> tuple[list[Done], BigsegError | None]:
    """What runs on a worker: the units of one task, up to the first error; errors travel as values."""
    done: list[Done] = []
    for unit in units:
        try:
            done.append(attempt(work, unit))
        except BigsegError as error:
            return done, error
    return done, None


class Quiet(WorkerPlugin):  # type: ignore[misc]
    """A worker that leaves Ctrl-C and the talking to the driver."""

    def setup(self, worker: Worker) -> None:
        """Before the first task: a terminal sends Ctrl-C to every process, but the driver alone decides."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def teardown(self, worker: Worker) -> None:
        """While it closes: a heartbeat that finds its connection closed would print pages about nothing."""
        logging.disable()
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def local_cluster(workers: int, memory: int | None) -> DaskExecutor:
    """Workers on this machine: one process and one thread each, nothing listening beyond loopback.

    Raises
    ------
    ComputeError
        When the workers cannot be started.
    """
    dask.config.set(SETTINGS)
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    dask.config.set({"distributed.nanny.pre-spawn-environ": ENVIRONMENT})
    try:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=memory or 0,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=40,
            plugins=(Quiet(),),
        )
        return DaskExecutor(Client(cluster, set_as_default=False), f"{workers} local workers", cluster)
    except (OSError, RuntimeError, TimeoutError) as error:
        raise ComputeError(
            f"{workers} workers could not be started on this machine ({type(error).__name__}: {error}): try fewer, or "
            "--workers 0 to compute in one process"
        ) from error


def attach(scheduler: str | None = None, scheduler_file: str | None = None) -> DaskExecutor | None:
    """The cluster to run on, first found wins: address, file, Dask's configuration, a current Client.

    Raises
    ------
    UsageError
        When a cluster was named but does not answer, or has no workers.
    """
    if scheduler:
        return _connect(scheduler, scheduler)
    if scheduler_file:
        return _connect(_address_in(scheduler_file), scheduler_file)
    address = dask.config.get("scheduler-address", None)
    if address:
        return _connect(str(address), str(address))
    try:
        current = Client.current()
    except ValueError:
        return None
    # a client of our own, so that closing it leaves theirs open
    return _connect(current.scheduler.address, f"current client {current.scheduler.address}", current.security)


def _connect(address: str, where: str, security: Any = None) -> DaskExecutor:
    """A client of our own on a scheduler that answers and has workers."""
    try:
        # asked first, in a thread of its own: a Client that fails to connect may block the process for ever when it
        # is collected, and a notebook's thread has a running loop
        with ThreadPoolExecutor(1) as pool:
            kind = pool.submit(asyncio.run, _who_answers(address, security or Security())).result()
        if kind != "Scheduler":
            raise ValueError(f"there is a {kind}")
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, security=security)
    except (OSError, TimeoutError, ValueError, TypeError, KeyError, ImportError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {where} ({type(error).__name__}: {error}): start one with `dask "
            "scheduler`, or leave the option (or DASK_SCHEDULER_ADDRESS) away to use this machine"
        ) from error
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError as error:
        client.close()
        raise UsageError(
            f"the Dask scheduler at {where} has had no workers for {WORKERS_SECONDS} s: start some with "
            f"`dask worker {address}`"
        ) from error
    return DaskExecutor(client, where)


async def _who_answers(address: str, security: Any) -> str:
    """What kind of server of Dask answers."""
    if address.startswith("inproc://"):
        return "Scheduler"  # of this process: found as its current client

    async def ask() -> str:
        comm = await connect(address, timeout=CONNECT_SECONDS, **security.get_connection_args("client"))
        try:
            await comm.write({"op": "identity", "reply": True})
            return str((await comm.read())["type"])
        finally:
            comm.abort()

    return await asyncio.wait_for(ask(), CONNECT_SECONDS)


def _address_in(path: str) -> str:
    """The address in a file that a scheduler wrote."""
    try:
        return str(json.loads(Path(path).read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"scheduler file {path} cannot be read ({type(error).__name__}: {error}): expected what `dask scheduler "
            "--scheduler-file` writes; wait until the scheduler has started"
        ) from error
