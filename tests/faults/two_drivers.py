"""R7: a second driver, a lock that was left, a driver that is stopped, replaced and revived."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import psutil

from bigseg.engine import lock
from bigseg.errors import LockedError
from tests.faults import chain
from tests.faults.driver import KILLED, Watched
from tests.faults.kills import Arena
from tests.faults.run import Row

TESTS = ("R7",)
REFUSED, TAKEN = 5.0, 90.0
"""Seconds within which a second driver is refused, and a dead one replaced."""


def _stopped(arena: Arena, run: Watched, stage: str) -> int:
    """A driver that is stopped in the middle of a stage."""
    pid = arena.zygote.start(arena.arguments(run.out, f"stop:{stage}"))
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    return pid


def _refusal(arena: Arena, run: Watched) -> float:
    """Seconds until a second driver is refused."""
    began = time.monotonic()
    try:
        chain.run(arena.volume, run.out, 0, arena.block)
    except LockedError:
        return time.monotonic() - began
    raise AssertionError("a second driver was let in")


def second(arena: Arena, stage: str) -> float:
    """A second driver is refused while the first is held at a stage; the first then ends golden."""
    run = arena.watched()
    pid = _stopped(arena, run, stage)
    try:
        seconds = max(_refusal(arena, run) for _ in range(2))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert arena.zygote.wait() == 0
    run.after_end()
    shutil.rmtree(run.out)
    return seconds


def killed(arena: Arena, stage: str) -> float:
    """The lock of a driver that was killed is taken over; gives back the seconds that the whole of the rest took."""
    run = arena.watched()
    assert arena.zygote.run(arena.arguments(run.out, f"begin:{stage}")) == KILLED
    run.after_kill()
    assert (run.out / "journal" / "lock").exists()
    began = time.monotonic()
    chain.run(arena.volume, run.out, 0, arena.block)
    seconds = time.monotonic() - began
    run.after_end()
    shutil.rmtree(run.out)
    return seconds


def revived(arena: Arena, stage: str, wait: bool) -> float:
    """A driver that is stopped is replaced after a minute; revived, nothing that it writes counts.

    Parameters
    ----------
    wait : for the minute; else the clock of its last sign of life is set back.

    Returns
    -------
    Seconds from the stop to the first block of the new driver.
    """
    run = arena.watched()
    pid = _stopped(arena, run, stage)
    began, first = time.monotonic(), 0.0

    def observe(*_: object) -> None:
        nonlocal first
        first = first or time.monotonic() - began

    try:
        run.after_kill()
        if not wait:
            past = time.time() - 2 * lock.STALE
            os.utime(run.out / "journal" / "lock", (past, past))
        while not first:
            try:
                with mock.patch.object(lock, "HEARTBEAT", lock.HEARTBEAT if wait else 0.2):
                    chain.run(arena.volume, run.out, 0, arena.block, observe)
            except LockedError:
                assert time.monotonic() - began < TAKEN, "a stopped driver was not replaced"
                time.sleep(0.5)
        run.after_end()
    finally:
        os.kill(pid, signal.SIGCONT)
        status = arena.zygote.wait()
    assert status == 1, "the revived driver did not notice"
    run.after_kill()
    assert chain.status(run.out) == "complete"
    assert chain.golden(run.out) == arena.golden
    shutil.rmtree(run.out)
    return first


def all_revived(stages: Sequence[str]) -> list[float]:
    """`revived`, waiting for the minute at several stages at once."""

    def one(stage: str) -> float:
        with Arena.opened() as arena:
            return revived(arena, stage, True)

    with ThreadPoolExecutor(len(stages)) as pool:
        return list(pool.map(one, stages))


def full() -> Iterator[Row]:
    """All of it; waits for a stopped driver of each of three stages."""
    with Arena.opened() as arena:
        stages = arena.stages
        refused = [second(arena, stage) for stage in stages if stage.startswith(("pass", "pyramid"))]
        good = sum(item < REFUSED for item in refused)
        yield Row("R7", "a second driver", len(refused), good, f"refused within {max(refused):.2f} s")
        taken = [killed(arena, stage) for stage in stages[::3]]
        good = sum(item < TAKEN for item in taken)
        yield Row(
            "R7", "a killed driver's lock", len(taken), good, f"taken over and finished within {max(taken):.1f} s"
        )
        quick = [stage for stage in stages if stage.startswith(("pass-2", "pass-4"))]
        for stage in quick:
            revived(arena, stage, False)
        yield Row("R7", "a driver whose sign of life is old, replaced and revived", len(quick), len(quick))
    waits = all_revived(("pass-1", "pass-3", "pass-5"))
    good = sum(item < TAKEN for item in waits)
    yield Row("R7", "a stopped driver, replaced and revived", len(waits), good, f"replaced after {max(waits):.0f} s")
