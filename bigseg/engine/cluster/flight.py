"""A stage on its way: a sliding window of tasks, and what became of them."""

from __future__ import annotations

import os
import shutil
import threading
import time
import traceback
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

import dask
from dask.utils import key_split
from distributed import Future, KilledWorker, as_completed

from bigseg.engine import leaving
from bigseg.engine.blackbox import Boxes
from bigseg.engine.blame import Blame
from bigseg.engine.cluster.worker import begin_nothing, boxes_of, run_units
from bigseg.engine.work import Done, Work
from bigseg.errors import BigsegError, BlockError, ComputeError
from bigseg.storage.durable import current_mark

if TYPE_CHECKING:
    from bigseg.engine.cluster.executor import DaskExecutor

WINDOW = 3
"""Tasks a thread in flight: one running, one waiting, one on its way back."""
TASK_SECONDS = 0.7
"""Aim of a task's length; between 0.5 and 2 s both overhead and loss at a kill are small."""
LEAST_SECONDS = 0.02
"""No task is shorter where there are bricks enough: four times what it costs by itself."""
MOST_BLOCKS = 256
MOST_AHEAD = 4096
"""Bricks looked at to see whether a stage is near its end."""
ALONE_SECONDS = 600
"""How long all workers may be gone during a run: nodes that were preempted come back."""
COUNT_SECONDS = 0.5
"""Between two looks which workers there are: less than a nanny needs to start another, 1 to 3 ms of work."""
UNIT_SECONDS = 1800.0
"""After so long a unit that does not end is taken for hung, if it is also `MOST_TIMES` the longest of its stage that
did end. ``bigseg.unit-seconds`` in Dask's configuration, or DASK_BIGSEG__UNIT_SECONDS, is a limit instead of both."""
MOST_TIMES = 20.0
TASKS_KEPT = 500
"""Dask's scheduler remembers the names of so many tasks before they are dropped (by itself 100,000, 0.5 KiB each)."""
_NOTHING: Iterator[Sequence[int]] = iter(())


class Flight:
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
        self.run_ends = leaving.job_end()
        self.mark = current_mark()
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
            future = self.client.submit(
                run_units,
                self.work,
                units,
                folder=str(self.boxes.folder),
                flight=self.name,
                longest=self.longest,
                run_ends=self.run_ends,
                mark=self.mark,
                key=key,
                pure=False,
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
            raise lost(self.executor.where, error) from error
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


def lost(where: str, error: BaseException) -> ComputeError:
    """The error of a cluster that is gone."""
    return ComputeError(
        f"the Dask cluster was lost: {where} ({type(error).__name__}: {error}). What was finished is kept: start the "
        "cluster and run the same command again"
    )
