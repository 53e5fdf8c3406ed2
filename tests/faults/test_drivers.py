"""R6, R7 and R8, short: blocks done twice, two drivers, and what a run was started with changes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.faults import twice, two_drivers
from tests.faults.drift import HARMLESS, REFUSED, Base
from tests.faults.driver import fast_folder
from tests.faults.io_errors import Bench
from tests.faults.kills import Arena


@pytest.fixture(scope="module")
def base() -> Iterator[Base]:
    """An unfinished run."""
    folder = fast_folder()
    try:
        yield Base(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    """Runs in processes of their own."""
    with Arena.opened() as found:
        yield found


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_run_depends_on(base: Base, name: str) -> None:
    """Changed, it is refused with the difference, and nothing is written."""
    base.refused(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_a_run_does_not_depend_on(base: Base, name: str) -> None:
    """Changed, the run continues and computes nothing again."""
    base.reused(name)


def test_every_block_twice(bench: Bench) -> None:
    """Computed twice at the same time, its second result late, each block counts once and the run is golden."""
    assert twice.honest(bench) > 80


@pytest.mark.parametrize("count", [1, 40, 77])
def test_a_second_result_that_differs(bench: Bench, count: int) -> None:
    """A block that gives something else the second time ends the run, by name."""
    twice.lying(bench, count)


def test_a_second_driver(arena: Arena) -> None:
    """It is refused within five seconds; the lock of a killed driver is taken over at once."""
    assert two_drivers.second(arena, "pass-3") < two_drivers.REFUSED
    assert two_drivers.killed(arena, "pass-4") < two_drivers.TAKEN


def test_a_revived_driver(arena: Arena) -> None:
    """Stopped in the middle of the last pass and replaced, it notices, and what it writes does not count."""
    assert two_drivers.revived(arena, "pass-5", False) < two_drivers.TAKEN
