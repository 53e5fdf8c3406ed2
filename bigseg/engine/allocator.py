"""What a process does with memory that it has freed: so that the peak of a stage is what the stage uses.

Workers are started with these settings in their environment, the ``bigseg`` command takes them for its own process.
A process of the user's is left as it is.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

SETTINGS = {"ARENA_MAX": 1, "MMAP_THRESHOLD_": 8 << 20, "TRIM_THRESHOLD_": 64 << 20}
"""Of the GNU C library, as MALLOC_… in the environment. Freed blocks go back to the system at once, so that the peak is
what is in use. Freed chunks (1 to 4 MiB) are used again: fetched from the system one by one they cost 720,000 page
faults, 1.7 of the 4.9 s of a Gaussian of 512^3; for 16 to 30 MiB more memory with one arena, and 70 to 100 with two."""
_NUMBERS = {"ARENA_MAX": -8, "MMAP_THRESHOLD_": -3, "TRIM_THRESHOLD_": -1}
"""What mallopt(3) calls them."""
_between_stages = False


def own() -> None:
    """This process is bigseg's: take the settings, and give memory back between stages.

    To be called before there are threads. Settings in the environment stay. With ``--workers 0`` the chain on 1024^3
    takes 861 MiB in its second pass, of 1,055 planned; without 1,313.
    """
    give_back_between_stages()
    with suppress(AttributeError, OSError):  # another C library
        for name, value in SETTINGS.items():
            if f"MALLOC_{name}" not in os.environ:
                ctypes.CDLL(None).mallopt(_NUMBERS[name], value)


def give_back_between_stages() -> None:
    """Let `stage_begins` give memory back: in workers and processes of bigseg's own.

    One of the user's may have much more to look through: 0.1 s a GB of small objects.
    """
    global _between_stages
    _between_stages = True


def stage_begins() -> None:
    """Give memory back, where that is wanted."""
    if _between_stages:
        give_back()


def give_back() -> None:
    """Give back to the system what libraries keep of earlier stages: it would count as the next one's. 0.5 to 9 ms."""
    with suppress(AttributeError):  # another thread may be loading it
        if (arrow := sys.modules.get("pyarrow")) is not None:
            arrow.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError):  # the GNU C library alone has it
        ctypes.CDLL(None).malloc_trim(0)
