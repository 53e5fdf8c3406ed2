"""Named places where a test may end the process, to see what a kill leaves behind.

Code that must survive a kill passes `point` with a name. Nothing happens there unless the environment variable
``BIGSEG_FAULT`` was set when bigseg was loaded: ``shard.renamed:3`` kills the process by SIGKILL when it passes the
point ``shard.renamed`` for the third time, ``shard.renamed:3:group`` its whole process group (the driver and its
workers). Workers inherit the variable. Off, a point costs 30 ns.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable

from bigseg.errors import UsageError

VARIABLE = "BIGSEG_FAULT"
POINTS = (
    "file.begin",  # nothing of a small file (table, partial result, record) is there yet
    "file.temporary",  # its temporary file is open and empty
    "file.written",
    "file.synced",
    "file.renamed",
    "file.durable",
    "image.begin",  # nothing of an image's metadata is there yet
    "image.synced",
    "image.renamed",
    "image.durable",
    "shard.begin",
    "shard.encoded",  # TensorStore has written it under another name
    "shard.synced",
    "shard.renamed",
    "shard.durable",
    "unit.begin",  # a unit of a stage, on the worker
    "unit.computed",  # all its files are durable, nobody knows it yet
    "unit.acknowledged",  # the driver knows it, the journal does not
    "unit.journalled",
    "journal.begin",
    "journal.copied",  # the lines of the driver before are in a file of our own
    "journal.named",
    "journal.write",  # before a line
    "journal.written",
    "journal.flush",  # before lines are made durable
    "journal.flushed",
    "stage.begin",
    "stage.computed",  # the last unit is journalled, not yet the end
    "stage.ended",
    "run.locked",
    "run.recorded",  # run.json says incomplete
    "run.swept",
    "run.computed",  # every stage has ended
    "run.marked",  # the images say complete, run.json does not
    "run.reported",
    "run.finished",  # the journal says that scratch is needed no more
    "run.emptied",  # scratch is gone
    "run.complete",
    "pyramid.begin",
    "table.begin",
    "table.encoded",
    "report.begin",
    "report.rendered",
)
"""Every point, in about the order in which a run passes them."""

hook: Callable[[str], None] | None = None
"""What is called with the name of each point; None: nothing."""


def point(name: str) -> None:
    """A place with a name; the process may end here."""
    if hook is not None:
        hook(name)


def arm(where: str) -> None:
    """End this process, or its group, at a point: ``NAME``, ``NAME:COUNT`` or ``NAME:COUNT:group``.

    Raises
    ------
    UsageError
        When there is no such point.
    """
    global hook
    name, _, rest = where.partition(":")
    count, _, whom = rest.partition(":")
    if name not in POINTS or not (count or "1").isdecimal() or whom not in ("", "group"):
        raise UsageError(f"{VARIABLE}={where!r}: expected NAME, NAME:COUNT or NAME:COUNT:group, a name of {POINTS}")
    passed: Counter[str] = Counter()

    def end(passing: str) -> None:
        passed[passing] += 1
        if passing == name and passed[name] == int(count or 1):
            if whom:
                os.killpg(0, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    hook = end


if VARIABLE in os.environ:
    arm(os.environ[VARIABLE])
