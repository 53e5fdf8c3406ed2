"""One look for every figure, whatever a user's own settings of matplotlib are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl


@contextmanager
def plain_style() -> Iterator[None]:
    """Draw with matplotlib's defaults; the user's settings are back afterwards.

    Examples
    --------
    >>> with plain_style():
    ...     mpl.rcParams["text.usetex"]
    False
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        yield
