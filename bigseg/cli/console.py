"""Standard output for tables."""

from __future__ import annotations

from rich.console import Console

PLAIN_WIDTH = 130
"""Columns of a table that does not go to a terminal: nothing is cut or folded."""


def console() -> Console:
    """Standard output; wide where nobody's window is to be fitted."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)
