"""What runs on a worker: the units of a task, with a record of what it is at.

A worker may be a batch job with an end of its own. It begins no unit that would not end before: what it was given goes
to another, and it leaves.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from distributed import Reschedule, Worker, WorkerPlugin, get_worker

from bigseg.engine import allocator, leaving
from bigseg.engine.blackbox import Box
from bigseg.engine.work import Done, Work, attempt
from bigseg.errors import BigsegError
from bigseg.storage.durable import Mark, check_mark, on_behalf_of

HAND_OVER_SECONDS = 5.0
"""Before the end of its job a worker has done what it began: its result must still travel. A worker that leaves waits
as long for results of others to be fetched."""
STORED_SECONDS = 0.1
"""What a thread may take from the end of its units to having its result stored."""


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
    work: Work,
    units: Sequence[int],
    folder: str = "",
    flight: str = "",
    longest: float = 0.0,
    run_ends: float = float("inf"),
    mark: Mark | None = None,
) -> tuple[list[Done], BigsegError | None]:
    """What runs on a worker: the units of one task, up to the first error; errors travel as values.

    ``longest`` is the most that a unit has taken, of those the driver has seen; ``run_ends`` when the driver's own job
    does, which the driver looks after; ``mark`` tells whether the run is still the one in its folder.

    Raises
    ------
    Reschedule
        When no unit would end before this worker's job does.
    """
    allocator.give_back_between_stages()
    done: list[Done] = []
    box = _box(folder)
    me = get_worker().address, threading.get_ident()
    _at_work.add(me)
    try:
        for unit in units:
            if flight in _stopped:
                break
            if _too_late(max(longest, _taken.get(flight, 0.0)), run_ends):
                if not done:
                    _at_work.discard(me)
                    _leave()
                    raise Reschedule
                break
            box.begin(work.stage, unit)
            with on_behalf_of(mark):
                check_mark()
                done.append(attempt(work, unit))
            _taken[flight] = max(done[-1].seconds, _taken.get(flight, 0.0))
    except BigsegError as error:
        return done, error
    finally:
        _at_work.discard(me)
        box.begin(work.stage, -1)
    return done, None


_at_work: set[tuple[str, int]] = set()
"""In a worker: its address and its threads that may be at a unit; a process may hold several."""
_taken: dict[str, float] = {}
"""In a worker: the most seconds that a unit of a flight took here."""


def _too_late(seconds: float, run_ends: float) -> bool:
    """Whether what takes so long would not end before this worker's job.

    Never in a worker that has done nothing yet: where jobs are shorter than a block, somebody must find that out, and
    be counted.
    """
    end = leaving.job_end()
    return bool(_taken) and end != run_ends and time.time() + seconds + HAND_OVER_SECONDS > end


def _leave() -> None:
    """Close this worker, in order: what its other threads are at ends, and results are fetched."""
    worker = get_worker()
    latest = leaving.job_end() - HAND_OVER_SECONDS / 2
    while any(address == worker.address for address, _ in list(_at_work)) and time.time() < latest:
        time.sleep(0.02)
    time.sleep(STORED_SECONDS)
    until = time.monotonic() + HAND_OVER_SECONDS
    while worker.data and time.monotonic() < until:
        time.sleep(0.02)
    worker.loop.add_callback(worker.close_gracefully, restart=False, reason="the end of its job is near")


_mine = threading.local()


def _box(folder: str) -> Box:
    """This thread's record."""
    box: Box | None = getattr(_mine, "box", None)
    if box is None or box.stale(folder):
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
