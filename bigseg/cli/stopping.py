"""Leaving in order on Ctrl-C, SIGTERM, SIGUSR1 and before the walltime ends.

Ctrl-C leaves at once: locks are given back, workers are stopped, the journal is flushed. The others first let the
blocks in flight end, within a grace of 12 s, and journal them; together with closing the workers it takes less than
25 s. They all leave with 143, the one code on which a batch script requeues itself. Where a walltime is known, no
block begins that takes longer than is left: the run leaves earlier, and what the workers do till then is not lost.
"""

from __future__ import annotations

import re
import signal
import time
from types import FrameType

from bigseg.engine import leaving
from bigseg.engine.leaving import Stopped as Stopped
from bigseg.errors import UsageError

INTERRUPTED, REQUEUE = 130, 143
BEFORE_SECONDS = 45.0
"""So long before the end of the walltime a run begins to leave."""


class _Asked:
    code = 0


def listen() -> None:
    """Take over the signals, for the program's entry point."""
    _Asked.code = 0
    leaving.forget()
    signal.signal(signal.SIGINT, _interrupt)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, _ask)


def check() -> None:
    """Raise Stopped where a signal came but its exception was lost.

    Python raises in whatever runs when a signal comes; in a ``__del__`` or a callback the exception is printed
    and forgotten. So whoever works long calls this now and then.
    """
    if _Asked.code:
        raise Stopped(_Asked.code)


def before_walltime(walltime: str | None) -> None:
    """Leave in order before a walltime from now is over, or before the job that this process belongs to ends.

    Raises
    ------
    UsageError
        When it is no time, or too short to begin.
    """
    left = seconds(walltime) if walltime else leaving.job_end() - time.time()
    if left == float("inf"):
        return
    if left <= BEFORE_SECONDS:
        raise UsageError(f"{left:.0f} s of walltime are left, {BEFORE_SECONDS:.0f} are needed to leave in order")
    leaving.before(time.time() + left - BEFORE_SECONDS + leaving.GRACE_SECONDS, REQUEUE)
    signal.setitimer(signal.ITIMER_REAL, left - BEFORE_SECONDS)


def seconds(walltime: str) -> float:
    """A walltime as batch systems write it: minutes, MM:SS, HH:MM:SS or D-HH:MM:SS.

    >>> seconds("90"), seconds("1:30"), seconds("2:00:00"), seconds("1-00:00:30")
    (5400.0, 90.0, 7200.0, 86430.0)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d\d))?(?::(\d\d))?", walltime.strip())
    if match is None or (match[1] and not match[4]):
        raise UsageError(f"--walltime {walltime}: expected minutes, MM:SS, HH:MM:SS or D-HH:MM:SS")
    days, *parts = (int(item) if item else None for item in match.groups())
    found = [item for item in parts if item is not None]
    if len(found) == 1:
        return 60.0 * found[0]
    total = 0
    for item in found:
        total = 60 * total + item
    return float(total + 86400 * (days or 0))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ctrl-C: leave at once; a second one ends the process."""
    signal.signal(number, signal.SIG_DFL)
    _Asked.code = INTERRUPTED
    raise Stopped(INTERRUPTED)


def _ask(number: int, frame: FrameType | None) -> None:
    """First let executors end what is in flight; when they do not, or there is none, leave where we are."""
    if leaving.asked() or not leaving.ask(REQUEUE):
        for again in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
            signal.signal(again, signal.SIG_IGN if again == signal.SIGALRM else signal.SIG_DFL)
        _Asked.code = REQUEUE
        raise Stopped(REQUEUE)
    signal.setitimer(signal.ITIMER_REAL, leaving.GRACE_SECONDS + 1)
