"""Standard output for tables."""

from __future__ import annotations

import os
import sys

from rich.console import Console

PLAIN_WIDTH = 130
"""Columns of a table that does not go to a terminal: nothing is cut or folded."""


class Output(Console):
    """Standard output; whoever reads it may leave early (``| head``), which is no error."""

    def on_broken_pipe(self) -> None:
        """Leave quietly."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


def console() -> Console:
    """Standard output; wide where nobody's window is to be fitted."""
    found = Output(highlight=False)
    return found if found.is_terminal else Output(highlight=False, width=PLAIN_WIDTH)
