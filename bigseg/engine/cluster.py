"""The Dask executor, and finding or starting the cluster it runs on. The only module that imports distributed.

Tasks are plain futures: no task waits for another and no voxels travel. A sliding window of three tasks a
thread keeps workers busy while the scheduler never knows more than a few hundred tasks; cheap bricks of
blocks travel several to a task, so that a task takes about a second and its 3-4 ms of overhead vanish.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import dask
from distributed import Client, Future, LocalCluster, as_completed
from distributed.client import FuturesCancelledError
from distributed.comm import CommClosedError

from bigseg.engine.work import Done, Work
from bigseg.errors import BigsegError, StorageError, UsageError

WINDOW = 3
"""Tasks a thread in flight: one running, one waiting, one on its way back."""
TASK_SECONDS = 0.7
"""Aim of a task's length; between 0.5 and 2 s both overhead and loss at a kill are small."""
MOST_BLOCKS = 256

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
}
"""A block task holds no Dask data, so there is nothing to spill, and a paused worker would hang for ever."""

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
    """Runs stages on the workers of a Dask cluster."""

    def __init__(self, client: Client, where: str, owned: Any = None) -> None:
        self.client = client
        self.where = where
        self._owned = owned

    @property
    def workers(self) -> int:
        """Threads of all workers."""
        return max(1, sum(self.client.nthreads().values()))

    @property
    def memory(self) -> int | None:
        """Bytes that every worker has for one thread, where the workers were given a limit."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [w["memory_limit"] // max(1, w["nthreads"]) for w in workers if w["memory_limit"]]
        return min(limits, default=None)

    def run(self, work: Work, bricks: Iterable[Sequence[int]]) -> Iterator[Done]:
        """Yield each unit as it is done, in the order of completion.

        Raises
        ------
        BigsegError
            The first error a unit met; tasks still running are cancelled.
        """
        queue = iter(bricks)
        flying: set[Future] = set()
        finished = as_completed(with_results=True, loop=self.client.loop)
        seconds = 0.0
        try:
            while True:
                while len(flying) < WINDOW * self.workers and (units := self._task(queue, seconds)):
                    key = f"{work.stage}-{units[0]}-{os.urandom(4).hex()}"
                    future = self.client.submit(run_units, work, units, key=key, pure=False)
                    flying.add(future)
                    finished.add(future)
                if not flying:
                    return
                future, done = next(finished)
                flying.discard(future)
                future.release()
                if isinstance(done, BaseException):
                    raise done
                mean = sum(item.seconds for item in done) / len(done)
                seconds = 0.7 * seconds + 0.3 * mean if seconds else mean
                yield from done
        except (FuturesCancelledError, CommClosedError) as error:
            raise StorageError(
                f"the Dask cluster was lost ({error}): start it and run the same command again"
            ) from error
        finally:
            self.client.cancel(list(flying))

    def _task(self, queue: Iterator[Sequence[int]], seconds: float) -> list[int]:
        """The units of the next task: one brick, or several where they are cheap."""
        units = list(next(queue, ()))
        if units and seconds:
            wanted = min(MOST_BLOCKS, int(TASK_SECONDS / max(seconds, 1e-4)))
            for brick in islice(queue, max(0, wanted // len(units) - 1)):
                units += brick
        return units

    def close(self) -> None:
        """Leave a cluster that was found as it is; stop one that was started."""
        self.client.close()
        if self._owned is not None:
            self._owned.close()


def run_units(work: Work, units: Sequence[int]) -> list[Done] | BaseException:
    """What runs on a worker: the units of one task. Errors made for the user come back as values."""
    try:
        return [work.run(unit) for unit in units]
    except BigsegError as error:
        return error


def local_cluster(workers: int, memory: int | None) -> DaskExecutor:
    """Workers on this machine: one process and one thread each, nothing listening beyond loopback."""
    dask.config.set(SETTINGS)
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    dask.config.set({"distributed.nanny.pre-spawn-environ": ENVIRONMENT})
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=memory or 0,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=40,
    )
    return DaskExecutor(Client(cluster), f"{workers} local workers", cluster)


def attach(scheduler: str | None = None, scheduler_file: str | None = None) -> DaskExecutor | None:
    """The cluster to run on, first found wins: address, file, Dask's configuration, a current Client.

    Raises
    ------
    UsageError
        When a cluster was named but does not answer.
    """
    try:
        if scheduler:
            return DaskExecutor(Client(scheduler, timeout="20s", set_as_default=False), scheduler)
        if scheduler_file:
            client = Client(scheduler_file=scheduler_file, timeout="20s", set_as_default=False)
            return DaskExecutor(client, scheduler_file)
        address = dask.config.get("scheduler-address", None)
        if address:
            return DaskExecutor(Client(address, timeout="20s", set_as_default=False), str(address))
    except (OSError, TimeoutError, ValueError) as error:
        named = scheduler or scheduler_file or "DASK_SCHEDULER_ADDRESS"
        raise UsageError(
            f"no Dask scheduler answers at {named} ({error}): start one with `dask scheduler`, or leave the "
            "option away to use this machine"
        ) from error
    try:
        current = Client.current()
    except ValueError:
        return None
    return DaskExecutor(_borrowed(current), f"current client {current.scheduler.address}")


def _borrowed(client: Client) -> Client:
    """A client of our own on the scheduler of somebody else's, so that closing ours leaves theirs open."""
    return Client(client.scheduler.address, set_as_default=False)
