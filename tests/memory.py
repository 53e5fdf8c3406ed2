"""How many bytes a call holds at its worst moment."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

TRIES = 5


def bytes_held(call: Callable[..., Any], *arguments: Any) -> tuple[Any, int]:
    """What a call gives, and the most bytes that were held while it ran, the result included.

    The first call is not counted (compilation). Of five more the least counts: the threads of a cluster in the same
    process allocate now and then, and what they hold is counted as well.
    """
    result = call(*arguments)
    least = None
    for _ in range(TRIES):
        tracemalloc.start()
        result = call(*arguments)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        least = peak if least is None else min(least, peak)
    assert least is not None
    return result, least
