"""The Dask executor.

Tasks are plain futures: no task waits for another and no voxels travel. A sliding window of three tasks a
thread keeps workers busy while the scheduler never knows more than a few hundred tasks; cheap bricks of
blocks travel several to a task, so that a task takes about a second and its 3-4 ms of overhead vanish.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import Client

from bigseg.engine import leaving
from bigseg.engine.cluster.flight import COUNT_SECONDS, Flight, lost
from bigseg.engine.work import Done, Work

SEND_SECONDS = 0.001
"""What a client waits to send several messages as one. Dask's 10 ms, begun when the last future of a stage is
released, would pass before each stage's first task is sent: a fifth of a second in a run of twenty stages."""


class DaskExecutor:
    """Runs stages on the workers of a Dask cluster.

    Parameters
    ----------
    client : of its own; closed with the executor.
    where : the cluster's name for people.
    owned : a cluster that was started for this run; closed with the executor.
    """

    distant = True

    def __init__(self, client: Client, where: str, owned: Any = None) -> None:
        self.client = client
        self.where = where
        self._owned = owned
        self.address, self.security = client.scheduler.address, client.security
        self._counted = (0, float("-inf"))
        self._scratch: Path | None = None
        with suppress(AttributeError):  # of a Client that sends otherwise
            client.scheduler_comm.interval = SEND_SECONDS

    @property
    def workers(self) -> int:
        """Threads of all workers, at least one."""
        return max(1, self._threads())

    def _threads(self) -> int:
        """Threads of all workers as of the last look: asking the scheduler costs a millisecond."""
        count, when = self._counted
        if time.monotonic() - when > COUNT_SECONDS:
            self.addresses()
            count, _ = self._counted
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
            The first error a unit met; tasks still running are cancelled. A `BlockError` only when all other units
            are done: a unit that raised one, crashed its worker, took all its memory or did not end is tried again.
        ComputeError
            When the workers were lost, or a unit could not be run at all.
        Stopped
            When this process was asked to leave, and what was in flight is handed over or its grace is over.
        """
        flight = Flight(self, work, iter(bricks))
        try:
            with leaving.in_order():
                yield from flight.run()
        except OSError as error:  # Dask's errors of connections are OSErrors
            raise lost(self.where, error) from error
        finally:
            with suppress(Exception):  # a lost cluster must not hide why it was lost
                self.client.cancel(list(flight.flying))
            flight.clear()

    def addresses(self) -> set[str]:
        """The workers that live now."""
        found = self.client.nthreads()
        self._counted = sum(found.values()), time.monotonic()
        return set(found)

    def end(self, worker: str, pid: int) -> None:
        """Kill a worker's process; its nanny starts another."""
        if self._owned is not None:
            with suppress(ProcessLookupError):  # it may have ended meanwhile
                os.kill(pid, signal.SIGKILL)
            return
        with suppress(Exception):  # it may have ended meanwhile, or have no nanny
            self.client.run(os.kill, pid, signal.SIGKILL, workers=[worker], nanny=True, on_error="ignore")

    def scratch(self) -> Path:
        """A folder for work that has none."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="bigseg-workers-"))
        return self._scratch

    def close(self) -> None:
        """Leave a cluster that was found as it is; stop one that was started."""
        for item in (self.client, self._owned):
            if item is not None:
                with suppress(OSError, TimeoutError, CancelledError):
                    item.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
