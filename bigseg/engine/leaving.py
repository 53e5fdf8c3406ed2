"""Leaving a run in order: executors take no new blocks and hand over what is in flight.

Who is asked to leave (a signal, the end of the walltime) says so here; executors look between two blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

GRACE_SECONDS = 12.0
"""What blocks in flight get to finish. With the 10 s that closing a cluster may take it is below the 30 s that
batch systems give after SIGTERM."""


class Stopped(BaseException):
    """This process was asked to leave; raised where it works, when what was in flight is journalled."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class _State:
    asked = 0
    inside = 0


def ask(exit_code: int) -> bool:
    """Ask to leave with an exit code; gives back whether an executor is at work, which will do so."""
    _State.asked = exit_code
    return bool(_State.inside)


def forget() -> None:
    """A new run: nobody has asked."""
    _State.asked = 0


def asked() -> int:
    """The exit code to leave with, or 0."""
    return _State.asked


@contextmanager
def in_order() -> Iterator[None]:
    """Around an executor's loop, which looks at `asked` between two blocks."""
    _State.inside += 1
    try:
        yield
    finally:
        _State.inside -= 1
