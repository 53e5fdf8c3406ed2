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
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import dask
from dask.utils import key_split
from distributed import (
    Client,
    Future,
    KilledWorker,
    LocalCluster,
    Security,
    Worker,
    WorkerPlugin,
    as_completed,
    get_worker,
)
from distributed.comm import connect

from bigseg.engine import leaving
from bigseg.engine.blackbox import Box, Boxes
from bigseg.engine.blame import Blame
from bigseg.engine.certificates import refuse_open
from bigseg.engine.work import Done, Work, attempt
from bigseg.errors import BigsegError, BlockError, ComputeError, UsageError

WINDOW = 3
"""Tasks a thread in flight: one running, one waiting, one on its way back."""
TASK_SECONDS = 0.7
"""Aim of a task's length; between 0.5 and 2 s both overhead and loss at a kill are small."""
LEAST_SECONDS = 0.02
"""No task is shorter where there are bricks enough: four times what it costs by itself."""
MOST_BLOCKS = 256
MOST_AHEAD = 4096
"""Bricks looked at to see whether a stage is near its end."""
CONNECT_SECONDS = 10
"""How long a scheduler may take to answer."""
WORKERS_SECONDS = 60
"""How long a scheduler that answers may be without any worker, at the start."""
ALONE_SECONDS = 600
"""How long all workers may be gone during a run: nodes that were preempted come back."""
COUNT_SECONDS = 0.5
"""Between two looks which workers there are: less than a nanny needs to start another, 1 to 3 ms of work."""
UNIT_SECONDS = 1800.0
"""After so long a unit that does not end is taken for hung, if it is also `MOST_TIMES` the longest of its stage that
did end. ``bigseg.unit-seconds`` in Dask's configuration, or DASK_BIGSEG__UNIT_SECONDS, is a limit instead of both."""
MOST_TIMES = 20.0
MOST_BYTES = 1 << 20
"""Of a scheduler file; Dask's have 500 and some 300 a worker."""
TASKS_KEPT = 500
"""Dask's scheduler remembers the names of so many tasks before they are dropped (by itself 100,000, 0.5 KiB each)."""
_NOTHING: Iterator[Sequence[int]] = iter(())

SETTINGS = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.no-workers-timeout": "10 minutes",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.deploy.lost-worker-timeout": "1000 hours",
    "distributed.comm.retry.count": 3,
    "distributed.admin.tick.limit": "60 s",
    "distributed.worker.profile.enabled": False,
    "distributed.admin.log-length": 200,
    "distributed.admin.low-level-log-length": 10,
    "distributed.admin.system-monitor.log-length": 600,
    "distributed.diagnostics.computations.max-history": 1,
    "distributed.diagnostics.computations.nframes": 0,
    "distributed.diagnostics.erred-tasks.max-history": 10,
}
"""Nothing that grows with time (profiles, logs). A task whose worker died comes back to the driver, which knows what
it died at; the scheduler would blame every task that waited there, and try a poisoned block on one more worker first.
A local cluster closes a nanny for good whose worker is away 15 s after it was lost once, which a worker that is lost
twice may well be: it must wait.

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

    distant = True

    def __init__(self, client: Client, where: str, owned: Any = None) -> None:
        self.client = client
        self.where = where
        self._owned = owned
        self._address, self._security = client.scheduler.address, client.security
        self._counted = (0, float("-inf"))
        self._scratch: Path | None = None

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
        flight = _Flight(self, work, iter(bricks))
        try:
            with leaving.in_order():
                yield from flight.run()
        except OSError as error:  # Dask's errors of connections are OSErrors
            raise _lost(self.where, error) from error
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

    def again(self) -> DaskExecutor:
        """A new connection to the same cluster."""
        return _connect(self._address, self.where, self._security)

    def close(self) -> None:
        """Leave a cluster that was found as it is; stop one that was started."""
        for item in (self.client, self._owned):
            if item is not None:
                with suppress(OSError, TimeoutError, CancelledError):
                    item.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _lost(where: str, error: BaseException) -> ComputeError:
    return ComputeError(
        f"the Dask cluster was lost: {where} ({type(error).__name__}: {error}). What was finished is kept: start the "
        "cluster and run the same command again"
    )


class _Flight:
    """One stage on its way through a cluster: what is in flight, what is tried again, what is left out."""

    def __init__(self, executor: DaskExecutor, work: Work, queue: Iterator[Sequence[int]]) -> None:
        self.executor, self.work, self.queue = executor, work, queue
        self.client = executor.client
        self.flying: dict[Future, list[int]] = {}
        self.again: deque[list[int]] = deque()
        self.ahead: deque[Sequence[int]] = deque()
        self.finished = as_completed(loop=self.client.loop)
        self.blame = Blame(work.stage)
        self.boxes = Boxes(boxes_of(work) or executor.scratch())
        self.limit: float | None = dask.config.get("bigseg.unit-seconds", None)
        self.seconds = self.longest = 0.0
        self.tasks = self.done = 0
        self.name = f"{work.stage}-{os.urandom(8).hex()}"
        self.late = 0
        """The exit code to leave with, when nothing more begins because it would not end in time."""
        self.dropped = False
        """Whether units of this stage were given up for that."""
        self._looked = self._watched = time.monotonic()
        self._alone: float | None = None

    def run(self) -> Generator[Done]:
        """Yield each unit as it is done."""
        grace = float("inf")
        while True:
            if leaving.asked():
                grace = min(grace, time.monotonic() + leaving.GRACE_SECONDS)
                self._begin_nothing()
            elif self.blame.hopeless(self.done):
                break
            elif self.late or leaving.too_late(self.longest):
                self.late = self.late or leaving.too_late(self.longest)
                self._begin_nothing()
            else:
                self._submit()
            if not self.flying or time.monotonic() > grace:
                break
            future = self._next(grace)
            if future is None:
                continue
            units = self.flying.pop(future)
            done, error = self._result(future, units)
            future.release()
            if done:
                mean = sum(item.seconds for item in done) / len(done)
                self.seconds = 0.7 * self.seconds + 0.3 * mean if self.seconds else mean
                self.longest = max(self.longest, *(item.seconds for item in done))
                self.done += len(done)
            yield from done
            if isinstance(error, BlockError):
                failed, rest = units[len(done)], units[len(done) + 1 :]
                self.again += [[failed]] if not self.blame.count(failed, "error", error=error) else []
                self.again += [rest] if rest else []
            elif error is not None:
                raise error
        if leaving.asked() or (self.late and (self.dropped or self.again)):
            raise leaving.Stopped(leaving.asked() or self.late)
        if (failed_ones := self.blame.error()) is not None:
            raise failed_ones

    def clear(self) -> None:
        """Remove what workers wrote about themselves."""
        shutil.rmtree(self.boxes.folder, ignore_errors=True)

    def _submit(self) -> None:
        """Fill the window."""
        while len(self.flying) < WINDOW * self.executor.workers and (units := self._task()):
            self.tasks += 1
            if not self.tasks % TASKS_KEPT:
                key_split.cache_clear()  # it would keep the name of every task
            key = f"{self.work.stage}-{units[0]}-{os.urandom(4).hex()}"
            folder = str(self.boxes.folder)
            future = self.client.submit(
                run_units, self.work, units, folder=folder, flight=self.name, key=key, pure=False
            )
            self.flying[future] = units
            self.finished.add(future)

    def _task(self) -> list[int]:
        """The units of the next task: what is tried again, one brick, or several where they are cheap."""
        while self.again:
            if units := self.blame.units(self.again.popleft()):
                return units
        units = list(self.ahead.popleft() if self.ahead else next(self.queue, ()))
        if units and self.seconds:
            each = len(units) * max(self.seconds, 1e-4)
            further = min(MOST_BLOCKS // len(units), int(TASK_SECONDS / each)) - 1
            for _ in range(self._share(further, int(LEAST_SECONDS / each))):
                units += self.ahead.popleft()
        return units

    def _share(self, further: int, least: int) -> int:
        """How many further bricks a task takes: fewer where the last are to be shared out, at the end of a stage.

        Of eight blocks on two threads, six alone and two together would be five and three.
        """
        if further < 1:
            return 0
        threads = self.executor.workers
        reach = min(threads * (further + 1), MOST_AHEAD)
        self.ahead += islice(self.queue, max(0, reach - len(self.ahead)))
        left = len(self.ahead)
        if left < reach:
            further = min(further, max(least, (left + 1) // (2 * threads)))
        return min(further, left)

    def _begin_nothing(self) -> None:
        """Let no worker begin another unit: those that wait would take the grace of those that are at work.

        Workers are told, and hand tasks back as far as they are done: a task that is cancelled may just have begun,
        and what it has done would be lost.
        """
        if self.again or self.queue is not _NOTHING:
            self.dropped |= bool(self.again or self.ahead) or next(self.queue, None) is not None
            self.again.clear()
            self.ahead.clear()
            if self.queue is not _NOTHING and self.flying:
                threading.Thread(target=self._tell, name="bigseg leaving", daemon=True).start()
            self.queue = _NOTHING

    def _tell(self) -> None:
        """Tell all workers; one that holds its GIL answers late."""
        with suppress(Exception):  # of a cluster that is going: the grace ends it
            self.client.run(begin_nothing, self.name, on_error="ignore")

    def _next(self, grace: float) -> Future | None:
        """The next future that is done, as long as there are workers; None when something else has happened."""
        while not self.finished.has_ready():
            time.sleep(0.002)
            if time.monotonic() - self._looked > COUNT_SECONDS:
                self._look()
                return None
            if time.monotonic() > grace or (leaving.asked() and self.queue is not _NOTHING):
                return None
        future = next(self.finished)
        return future if future in self.flying else None  # one that was given up

    def _look(self) -> list[int]:
        """Who has died, who does not end, and whether anybody is left; gives back the units that workers died at."""
        living = self.executor.addresses()
        struck = []
        for death in self.boxes.deaths(living):
            if death.stage == self.work.stage:
                struck.append(death.unit)
                if self.blame.count(death.unit, death.cause, death.detail):
                    self._leave_out(death.unit)
        limit = float(self.limit or max(UNIT_SECONDS, MOST_TIMES * self.longest))
        if time.monotonic() - self._watched > min(limit / 8, 60.0):
            self._watched = time.monotonic()
            self._end_hung(living, limit)
        self._looked = time.monotonic()
        if living:
            self._alone = None
        elif self._alone is None:
            self._alone = self._looked
        elif self._looked - self._alone > ALONE_SECONDS:
            raise ComputeError(
                f"{self.executor.where} has had no workers for {ALONE_SECONDS / 60:.0f} minutes: start some, and run "
                "the same command again"
            )
        return struck

    def _end_hung(self, living: set[str], limit: float) -> None:
        """Kill workers whose unit has taken longer than a limit."""
        for item in self.boxes.running(living):
            if item.seconds > limit and item.stage == self.work.stage:
                self.boxes.dead(item.worker)
                self.executor.end(item.worker, item.pid)
                if self.blame.count(item.unit, "hung", f"{item.seconds:.0f} s, others at most {self.longest:.1f} s"):
                    self._leave_out(item.unit)

    def _leave_out(self, unit: int) -> None:
        """Take a unit out of the task it is in; the others of that task are asked for again."""
        for future, units in list(self.flying.items()):
            if unit in units and not future.done():
                self.client.cancel([future])
                del self.flying[future]
                self.again.append(units)

    def _result(self, future: Future, units: list[int]) -> tuple[list[Done], BigsegError | None]:
        """What a task gave back, or why it did not."""
        what = f"stage {self.work.stage}, unit" + (f"s {units[0]} to {units[-1]}" if units[1:] else f" {units[0]}")
        try:
            done, failed = self._gathered(future)
            if failed is None and len(done) < len(units):  # its worker was told to begin nothing
                self.again.append(units[len(done) :])
            return done, failed
        except CancelledError as error:
            raise _lost(self.executor.where, error) from error
        except KilledWorker as error:
            self._killed(units, str(error.last_worker.address))
            return [], None
        except OSError:
            raise
        except Exception as error:
            unknown = ComputeError(
                f"{what} could not be run on a worker ({type(error).__name__}: {error}): workers need the same bigseg "
                "and libraries as this process; mend them and run the same command again"
            )
            unknown.add_note("".join(traceback.format_exception(error)))
            raise unknown from error

    def _killed(self, units: list[int], worker: str) -> None:
        """The scheduler gives a task up because its worker died: ask again, for the unit that it died at alone."""
        struck = set(self._look()) & set(units)
        rest = [unit for unit in units if unit not in struck]
        apart = list(struck)
        if not struck and not self.boxes.knows(worker):  # its files are not to be seen from here
            if len(units) == 1:
                self.blame.count(units[0], "lost", f"the last at {worker}")
            apart, rest = units, []  # each alone, so that each is counted alone
        self.again += [[unit] for unit in apart]
        self.again += [rest] if rest else []

    def _gathered(self, future: Future) -> tuple[list[Done], BigsegError | None]:
        """The result of a finished task; it is computed again where its worker went before handing it over."""
        while True:
            try:
                found: tuple[list[Done], BigsegError | None] = future.result(timeout=COUNT_SECONDS)
                return found
            except TimeoutError:
                self._look()


def boxes_of(work: Work) -> Path | None:
    """Where workers write what they are at: in the run's scratch, which they all see; None where there is none."""
    scratch = getattr(work, "scratch", None) or getattr(getattr(work, "space", None), "scratch", None)
    if scratch is not None:
        return Path(scratch.root) / "workers"
    target = getattr(work, "target", None)
    folder = Path(target.path).parent / "scratch" if target is not None else None
    return folder / "workers" if folder is not None and folder.is_dir() else None


_stopped: set[str] = set()
"""In a worker: flights of which it begins no unit any more."""


def begin_nothing(flight: str) -> None:
    """Runs on every worker of a run that leaves."""
    _stopped.add(flight)


def run_units(
    work: Work, units: Sequence[int], folder: str = "", flight: str = ""
) -> tuple[list[Done], BigsegError | None]:
    """What runs on a worker: the units of one task, up to the first error; errors travel as values."""
    done: list[Done] = []
    box = _box(folder)
    try:
        for unit in units:
            if flight in _stopped:
                break
            box.begin(work.stage, unit)
            done.append(attempt(work, unit))
    except BigsegError as error:
        return done, error
    finally:
        box.begin(work.stage, -1)
    return done, None


_mine = threading.local()


def _box(folder: str) -> Box:
    """This thread's record."""
    box: Box | None = getattr(_mine, "box", None)
    if box is None or box.folder != folder or not os.path.exists(folder):
        worker = get_worker()
        limit = getattr(worker.memory_manager, "memory_limit", None) or 0
        if box is not None:
            box.close()
        box = _mine.box = Box(folder, worker.address, limit, worker.nanny is not None)
    return box


class Quiet(WorkerPlugin):  # type: ignore[misc]
    """A worker that leaves Ctrl-C, SIGTERM and the talking to the driver."""

    def setup(self, worker: Worker) -> None:
        """Before the first task: a terminal sends Ctrl-C to every process, but the driver alone decides."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # the last two: a batch system's, to all
            signal.signal(number, signal.SIG_IGN)

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
            "--workers 0 to compute in one process; a script of your own starts them below if __name__ == '__main__'"
        ) from error


def attach(
    scheduler: str | None = None, scheduler_file: str | None = None, insecure: bool = False
) -> DaskExecutor | None:
    """The cluster to run on, first found wins: address, file, Dask's configuration, a current Client.

    ``insecure`` allows plain connections to other machines; a current Client is taken as it is.

    Raises
    ------
    UsageError
        When a cluster was named but does not answer, has no workers, or is not safe to reach.
    """
    if scheduler:
        return _connect(refuse_open(scheduler, insecure), scheduler)
    if scheduler_file:
        return _connect(refuse_open(_address_in(scheduler_file), insecure), scheduler_file)
    address = dask.config.get("scheduler-address", None)
    if address:
        return _connect(refuse_open(str(address), insecure), str(address))
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
    """The address in a file that a scheduler wrote: a regular file, of which no more is read than one may hold."""
    try:
        if not Path(path).is_file():  # a device gives bytes for ever, a pipe none
            raise ValueError("it is no regular file" if Path(path).exists() else "there is no such file")
        with Path(path).open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"it is longer than {MOST_BYTES} bytes")
        address = json.loads(text)["address"]
        if not isinstance(address, str):
            raise ValueError("its address is no text")
        return address
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"scheduler file {path} cannot be read ({type(error).__name__}: {error}): expected what `dask scheduler "
            "--scheduler-file` writes; wait until the scheduler has started"
        ) from error
