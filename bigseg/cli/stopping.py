"""Leaving in order on Ctrl-C and SIGTERM: locks are given back, workers are stopped, the journal is flushed."""

from __future__ import annotations

import signal
from types import FrameType


class Stopped(BaseException):
    """A signal asked this process to leave; raised where it works."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class _Asked:
    number = 0


def listen() -> None:
    """Take over both signals, for the program's entry point."""
    _Asked.number = 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def check() -> None:
    """Raise Stopped where a signal came but its exception was lost.

    Python raises in whatever runs when a signal comes; in a ``__del__`` or a callback the exception is printed
    and forgotten. So whoever works long calls this now and then.
    """
    if _Asked.number:
        raise Stopped(_Asked.number)


def _stop(number: int, frame: FrameType | None) -> None:
    """First leave in order; a second signal of the kind ends the process at once."""
    signal.signal(number, signal.SIG_DFL)
    _Asked.number = number
    raise Stopped(number)
