"""A stage that is not finished: what does not need it comes to its end, nothing that needs it begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from bigseg.engine.journal import Journal
from bigseg.engine.run import execute
from bigseg.engine.serial import SerialExecutor
from bigseg.engine.stage import Plan
from bigseg.engine.work import Done, Work
from bigseg.errors import BlockError
from bigseg.pipeline.geometry import open_inputs
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.planning import Resources
from bigseg.pipeline.prepared import Settings
from tests.faults import chain

LONG = 270
LABELS = ["pass-5", "pyramid-objects-1", "pyramid-objects-2"]
RANKED = ["objects.rank", "objects.merge", "objects.down-1", "objects.down-2", "objects.tables", *LABELS]
NEEDING = {
    "objects.join-1": ["objects.join-1", "objects.join-2", *RANKED],
    "objects.join-2": ["objects.join-2", *RANKED],
    "objects.rank": RANKED,
    "objects.merge": RANKED[1:],
    "objects.down-1": ["objects.down-1", "objects.down-2", *LABELS],
    "objects.down-2": ["objects.down-2", *LABELS],
    "objects.tables": ["objects.tables"],
    "pass-5": LABELS,
    "pyramid-bright-1": ["pyramid-bright-1", "pyramid-bright-2"],
    "pyramid-bright-2": ["pyramid-bright-2"],
    "pyramid-objects-1": LABELS[1:],
    "pyramid-objects-2": LABELS[2:],
}
"""Stages that cannot be finished without one; of the others, in a row, all that follow."""


class Leaving(SerialExecutor):
    """Leaves the last unit of some stages out."""

    def __init__(self, stages: Iterable[str]) -> None:
        self.stages = set(stages)

    def run(self, work: Work, bricks: Iterable[Sequence[int]]) -> Iterator[Done]:  # type: ignore[override]
        if work.stage not in self.stages:
            yield from super().run(work, bricks)
            return
        *units, _ = [unit for brick in bricks for unit in brick]
        yield from super().run(work, [units])
        error = BlockError(f"of {work.stage}")
        error.add_note(f"in {work.stage}")
        raise error


def planned(volume: Path, out: Path) -> Plan:
    """The plan of a run in a folder of its own."""
    out.mkdir()
    pipeline = Pipeline.from_dict(chain.PIPELINE)
    return pipeline.prepare(open_inputs(volume), out, Settings(block=(LONG // 3,)), Resources(1, 2 << 30)).plan


def finished(volume: Path, out: Path, missing: Sequence[str]) -> tuple[BlockError | None, dict[str, object]]:
    """Run without some units; the error, and what the stages found that are finished."""
    plan = planned(volume, out)
    journal = Journal(out / "journal.jsonl", "0" * 64, out)
    try:
        execute(plan, Leaving(missing), journal)
        error = None
    except BlockError as caught:
        error = caught
    finally:
        journal.close()
    assert all(stage.name in journal.stages or journal.count(stage.name) < stage.units for stage in plan.stages)
    return error, {name: journal.values.get(name) for name in journal.stages}


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three blocks in a row, long enough for pyramids."""
    return chain.make_volume(tmp_path_factory.mktemp("missing") / "volume.zarr", (LONG, 12, 12))


def test_whatever_stage_is_missing(volume: Path, tmp_path: Path) -> None:
    """Each stage in turn: nothing but its own error is met, and what is finished found what a whole run finds."""
    error, whole = finished(volume, tmp_path / "whole", [])
    assert error is None
    assert {"objects.tables", "pyramid-bright-1", "pyramid-objects-1"} <= set(whole)
    stages = list(whole)
    for number, stage in enumerate(stages):
        error, found = finished(volume, tmp_path / stage, [stage])
        assert str(error) == f"of {stage}"
        assert found == {name: whole[name] for name in found}
        assert [name for name in stages if name not in found] == NEEDING.get(stage, stages[number:]), stage


def test_several_stages_give_one_error(volume: Path, tmp_path: Path) -> None:
    """Every stage that is not finished is told of, with what is known of each."""
    error, _ = finished(volume, tmp_path / "run", ["pyramid-bright-1", "pyramid-objects-1"])
    assert str(error) == "of pyramid-bright-1\nof pyramid-objects-1"
    assert error is not None
    assert error.__notes__ == ["in pyramid-bright-1", "in pyramid-objects-1"]
