"""Every error bigseg raises on purpose.

Each message says what was expected, what was found and what to do. The command line prints the message
alone (``--debug`` adds the traceback) and leaves with the class's ``exit_code``.

::

    BigsegError                 1   anything below
    ├── UsageError              2   a command line, pipeline or parameter that cannot be
    │   ├── PipelineError       2   a step, key, reference or expression of a pipeline
    │   └── ParameterError      2   the value of one parameter
    ├── InputError              3   the input cannot be used as it is
    │   ├── MissingChunkError   3   a chunk or shard of the input is absent
    │   ├── CorruptChunkError   3   a chunk or shard is damaged
    │   └── ValuesError         3   NaN, Inf, constant data where the method needs others
    ├── MemoryPlanError         4   the plan needs more memory than a worker has
    ├── OutputError             5   the output folder cannot be used
    │   ├── LockedError         5   another run holds it
    │   ├── ChangedError        5   it was made by a different pipeline or input
    │   └── IncompleteError     5   it is not complete and must not be read as if it were
    ├── StorageError            6   reading or writing failed (space, permission, I/O)
    ├── ExactnessError          7   a self-check failed: a pass did not reproduce another
    └── ComputeError            1   a block failed in a way that nobody foresaw, or the workers were lost
        └── BlockError          9   some blocks failed each time they were tried; all others of the stage are kept
"""

from __future__ import annotations

import difflib
from collections.abc import Collection

MOST_NAMES = 80
"""Valid names that an error lists."""


class BigsegError(Exception):
    """Base of every error that bigseg raises on purpose."""

    exit_code = 1


class UsageError(BigsegError):
    """A command line, pipeline or parameter that cannot be."""

    exit_code = 2


class PipelineError(UsageError):
    """A step, key, reference or expression of a pipeline."""


class ParameterError(UsageError):
    """The value of one parameter."""


class InputError(BigsegError):
    """The input cannot be used as it is."""

    exit_code = 3


class MissingChunkError(InputError):
    """A chunk or shard of the input is absent."""


class CorruptChunkError(InputError):
    """A chunk or shard is damaged."""


class ValuesError(InputError):
    """NaN, Inf or constant data where the method needs others."""


class MemoryPlanError(BigsegError):
    """The plan needs more memory than a worker has."""

    exit_code = 4


class OutputError(BigsegError):
    """The output folder cannot be used."""

    exit_code = 5


class LockedError(OutputError):
    """Another run holds the output folder."""


class ChangedError(OutputError):
    """The output folder was made by a different pipeline or input."""


class IncompleteError(OutputError):
    """An output is not complete and must not be read as if it were."""


class StorageError(BigsegError):
    """Reading or writing failed: space, permission, I/O."""

    exit_code = 6


class ExactnessError(BigsegError):
    """A self-check failed: a pass did not reproduce what another computed."""

    exit_code = 7


class ComputeError(BigsegError):
    """A block failed in a way that nobody foresaw, or the workers were lost."""


class BlockError(ComputeError):
    """Some blocks failed each time they were tried; all others of the stage are done and kept."""

    exit_code = 9


def unknown(what: str, name: str, valid: Collection[str]) -> str:
    """What is said of a name that there is not, with the nearest one that there is.

    >>> unknown("step", "viods", ("grains", "voids")), unknown("step", "x", ("grains", "voids"))
    ("unknown step 'viods', did you mean 'voids'?", "unknown step 'x', valid are grains, voids")
    """
    near = difflib.get_close_matches(name[:200], list(valid), 1)
    listed = ", ".join(sorted(valid)[:MOST_NAMES]) + (" …" if len(valid) > MOST_NAMES else "")
    hint = f"did you mean {near[0]!r}?" if near else f"valid are {listed}"
    return f"unknown {what} {name!r:.80}, {hint}"
