"""What runs on a worker: the units of a task, with a record of what it is at."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from distributed import Worker, WorkerPlugin, get_worker

from bigseg.engine.blackbox import Box
from bigseg.engine.work import Done, Work, attempt
from bigseg.errors import BigsegError


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
