"""Leaving a run in order: executors take no new blocks and hand over what is in flight.

Who is asked to leave (a signal, the end of the walltime) says so here; executors look between two blocks. Where the
end is known they begin no block that would not end before it: its work would be lost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

GRACE_SECONDS = 12.0
"""What blocks in flight get to finish. With the 10 s that closing a cluster may take it is below the 30 s that
batch systems give after SIGTERM."""
JOB_END = "SLURM_JOB_END_TIME"
"""The variable in which Slurm tells a job when it ends, in seconds since 1970."""


class Stopped(BaseException):
    """This process was asked to leave; raised where it works, when what was in flight is journalled."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class _State:
    asked = 0
    inside = 0
    until = float("inf")
    exit_code = 0


def ask(exit_code: int) -> bool:
    """Ask to leave with an exit code; gives back whether an executor is at work, which will do so."""
    _State.asked = exit_code
    return bool(_State.inside)


def forget() -> None:
    """A new run: nobody has asked, and no end is known."""
    _State.asked, _State.until = 0, float("inf")


def asked() -> int:
    """The exit code to leave with, or 0."""
    return _State.asked


def before(moment: float, exit_code: int) -> None:
    """Begin nothing that would not end before a moment of the system's clock; leave with an exit code instead."""
    _State.until, _State.exit_code = moment, exit_code


def too_late(seconds: float) -> int:
    """The exit code to leave with if what takes so long would not end in time, or 0."""
    return _State.exit_code if time.time() + seconds > _State.until else 0


def job_end() -> float:
    """When the batch job ends that this process belongs to, of the system's clock; infinity where nobody has said."""
    end = os.environ.get(JOB_END, "")
    return float(end) if end.isdigit() else float("inf")


@contextmanager
def in_order() -> Iterator[None]:
    """Around an executor's loop, which looks at `asked` between two blocks."""
    _State.inside += 1
    try:
        yield
    finally:
        _State.inside -= 1
