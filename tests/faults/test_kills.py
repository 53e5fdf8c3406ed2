"""R1 and R10, short: a run killed at every named point ends golden, and never looks complete before."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from bigseg.errors import UsageError
from bigseg.storage import faultpoints
from bigseg.storage.faultpoints import POINTS
from tests.faults import kills
from tests.faults.kills import Arena


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    """One volume, golden run and zygote for all tests here."""
    with Arena.opened() as found:
        yield found


def test_a_kill_at_every_named_point(arena: Arena) -> None:
    """Every point is passed by a run; killed there, it resumes to the golden values without doing anything twice."""
    assert len(POINTS) >= 20
    missed, again = kills.at_points(arena, [(name, 1) for name in POINTS])
    assert not missed
    assert again <= kills.FLUSH


def test_a_kill_at_points_that_are_passed_often(arena: Arena) -> None:
    """The same when they are passed for the third time, in the middle of a stage."""
    missed, _ = kills.at_points(arena, [(name, 3) for name in POINTS if name.startswith(("file.", "shard.", "unit."))])
    assert not missed


def test_looks_at_random_times(arena: Arena) -> None:
    """A run that is held at random times says complete only when every voxel and row is golden."""
    assert kills.snapshots(arena, 10, 5) >= 10


@pytest.mark.parametrize("name", ["lacunae", "page_text_forest"])
def test_a_ready_pipeline_is_killed(arena: Arena, name: str) -> None:
    """A pipeline that keeps components, and one that trains, resume to golden values."""
    hits, _ = kills.recipe(arena, name, ("file.renamed:1", "stage.computed:3", "run.marked:1"))
    assert hits == 3


def test_points_cost_nothing_when_off() -> None:
    """Without the variable nothing is called, and a hundred thousand points take less than 0.1 s."""
    assert faultpoints.hook is None
    began = time.perf_counter()
    for _ in range(100_000):
        faultpoints.point("shard.begin")
    assert time.perf_counter() - began < 0.1


@pytest.mark.parametrize("where", ["nowhere", "shard.begin:x", "shard.begin:1:all", ""])
def test_a_point_that_is_none_is_refused(where: str) -> None:
    """A misspelt point would never kill: it is an error."""
    with pytest.raises(UsageError, match="BIGSEG_FAULT"):
        faultpoints.arm(where)
    assert faultpoints.hook is None
