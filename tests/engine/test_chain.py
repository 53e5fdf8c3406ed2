"""Small reductions as one task: the same results, journalled stage by stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bigseg.engine.chain import MOST_UNITS, chain_of, run_chain
from bigseg.engine.field import Values, Workspace
from bigseg.engine.journal import Journal
from bigseg.engine.run import execute
from bigseg.engine.serial import SerialExecutor
from bigseg.engine.stage import Plan, Stage
from bigseg.engine.work import Done, Limits, ReduceWork, Work
from bigseg.errors import BlockError
from bigseg.grid import Grid
from bigseg.storage.scratch import Scratch

GRID = Grid((8, 8, 8), (4, 4, 4))


@dataclass(frozen=True)
class Adding:
    """A reduction that adds its unit to what the stage before found."""

    below: str
    failing: int = -1
    found: int | None = None

    def units(self, grid: Grid) -> int:
        return MOST_UNITS

    def memory(self, grid: Grid) -> int:
        return 0

    def bind(self, values: Values) -> Adding:
        return replace(self, found=sum(values[self.below].values()) if self.below else 0)

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        assert self.found is not None
        if unit == self.failing:
            raise ZeroDivisionError("a defect")
        return {str(unit): self.found + unit + 1}


def stages_of(folder: Path, light: bool = True, failing: int = -1) -> tuple[Stage, ...]:
    """Three stages of two units each, of which each needs the one before."""
    space = Workspace(GRID, Scratch(str(folder / "scratch")), folder)
    stages = []
    for name, below in (("a", ""), ("b", "a"), ("c", "b")):
        work = ReduceWork(name, Adding(below, failing if name == "b" else -1), space, Limits())
        stages.append(
            Stage(
                name,
                "reduction",
                name,
                MOST_UNITS,
                1,
                0,
                1.0,
                0,
                0,
                work.bind,
                tuple((unit,) for unit in range(MOST_UNITS)),
                tuple(below),
                light=work if light else None,
            )
        )
    return tuple(stages)


class Counting(SerialExecutor):
    """Notes the stages that it is given, as if they went far."""

    distant = True

    def __init__(self) -> None:
        self.stages: list[str] = []

    def run(self, work: Work, bricks: Any) -> Iterator[Done]:  # type: ignore[override]
        self.stages.append(work.stage)
        return super().run(work, bricks)


def ran(folder: Path, light: bool, failing: int = -1) -> tuple[Values, list[str], list[tuple[str, int]]]:
    """Values, what the executor was given, and blocks by stage as the journal has them."""
    journal, executor = Journal(folder / "journal.jsonl", "0" * 64, folder), Counting()
    plan = Plan(stages_of(folder, light, failing), GRID, Limits(), (), (1, 1, 1))
    try:
        summaries, values = execute(plan, executor, journal)
    finally:
        journal.close()
    assert [summary.computed for summary in summaries] == [MOST_UNITS] * 3
    return values, executor.stages, [(stage.name, journal.count(stage.name)) for stage in plan.stages]


def test_a_chain_gives_what_its_stages_give(tmp_path: Path) -> None:
    """One task instead of three, with the same values, and every unit in the journal under its own stage."""
    one, two = tmp_path / "one", tmp_path / "two"
    together, given, counts = ran(one, True)
    apart, each, same = ran(two, False)
    assert together == apart == {"a": {"0": 1, "1": 2}, "b": {"0": 4, "1": 5}, "c": {"0": 10, "1": 11}}
    assert (given, each) == (["a+2"], ["a", "b", "c"])
    assert counts == same == [(name, MOST_UNITS) for name in "abc"]


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    """A chain holds only stages of which nothing is done, and none that reads one that is missing."""
    stages = stages_of(tmp_path)
    journal = Journal(tmp_path / "journal.jsonl", "0" * 64, tmp_path)
    journal.add("b", Done(0, (), "0" * 16, 0.0, 0, 0, 0, {"0": 4}))
    assert [stage.name for stage in chain_of(stages, journal)] == ["a"]
    assert [stage.name for stage in chain_of(stages[2:], journal)] == ["c"]
    assert chain_of(stages[2:], journal, {"b"}) == []
    journal.close()


def test_a_chain_that_fails_is_run_stage_by_stage(tmp_path: Path) -> None:
    """Only the unit that cannot be done is left out: stages before it are done, and so is the rest of its own."""
    journal, executor = Journal(tmp_path / "journal.jsonl", "0" * 64, tmp_path), Counting()
    plan = Plan(stages_of(tmp_path, failing=0), GRID, Limits(), (), (1, 1, 1))
    with pytest.raises(BlockError, match=r"^stage b, unit 0 failed unexpectedly \(ZeroDivisionError: a defect\)"):
        execute(plan, executor, journal)
    journal.close()
    assert executor.stages == ["a+2", "a", "b"]
    assert [journal.count(stage.name) for stage in plan.stages] == [MOST_UNITS, MOST_UNITS - 1, 0]
    assert list(journal.stages) == ["a"]


def test_an_error_names_its_own_stage(tmp_path: Path) -> None:
    """What fails in a chain is told as if its stage had been run by itself."""
    with pytest.raises(BlockError, match=r"^stage b, unit 1 failed unexpectedly \(ZeroDivisionError: a defect\)"):
        run_chain(stages_of(tmp_path, failing=1), SerialExecutor().run, {})
