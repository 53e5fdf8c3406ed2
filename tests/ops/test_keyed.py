"""Tables by keyed reductions: one result for any blocks, rounds and files; tasks that hold a part of the rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bigseg
from bigseg.cli.show import rows, run_summary
from bigseg.engine.folder import RunFolder
from bigseg.errors import StorageError
from bigseg.grid import Grid
from bigseg.local.objects.keyed_rows import Rows, summed
from bigseg.ops import keyed
from bigseg.ops.keyed import Exchange, Gather, Ranges, Share, Source
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.result import Run
from bigseg.storage.partitions import write_part
from tests.ops.cases.relations import contacts, overlaps
from tests.volumes import store


def numbers(shape: tuple[int, ...], each: int = 3) -> np.ndarray:
    """Labels in raster order, some voxels along the last axis each."""
    line = np.arange(1, np.prod(shape) // each + 2, dtype=np.uint32).repeat(each)
    return line[: np.prod(shape)].reshape(shape)


def run_both(tmp: Path, array: np.ndarray, block: tuple[int, ...], name: str = "run") -> Run:
    volume = store(tmp / f"{name}.zarr", array)
    steps = [bigseg.Contingency(other="input"), bigseg.Contact()]
    return Pipeline(steps).run(volume, tmp / name, block=block, workers=0)


@pytest.mark.parametrize("blocks", [1, 16, 17, 256, 257, 5000, 100_000])
def test_every_range_is_met_once(blocks: int) -> None:
    """For any number of blocks: as many ranges as groups or a few more, each gathered from all that was scattered."""
    grid = Grid((blocks,), (1,))
    share = Share(16)
    ranges = Ranges.of(grid, share)
    groups = -(-blocks // 16)
    assert groups <= ranges.number <= groups + 2 * groups**0.5 + 1
    assert Gather("t", (), 1, share).units(grid) == ranges.number
    if ranges.fine > 1:
        exchange = Exchange("t", (), 1, share)
        assert exchange.units(grid) <= ranges.number
        assert exchange.senders(grid) * ranges.fine >= groups
    parts = [part for k in range(groups) for part in Source("s").parts(16 * k, 16 * k + 16, grid)]
    assert parts == list(range(blocks))
    assert [p for k in range(groups) for p in Source("s", 16).parts(16 * k, 16 * k + 16, grid)] == list(range(groups))


@pytest.mark.parametrize("together", [1, 2, 16])
@pytest.mark.parametrize("one_round", [1, 16])
def test_rounds_and_groups_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int, one_round: int
) -> None:
    """However many tasks share the rows, in one round or two: the tables of the definition."""
    monkeypatch.setattr(keyed, "TOGETHER", together)
    monkeypatch.setattr("bigseg.ops.contact.TOGETHER", together)
    monkeypatch.setattr(keyed, "ONE_ROUND", one_round)
    array = np.random.default_rng(1).integers(0, 40, (9, 10, 11)).astype(np.uint8)
    found = run_both(tmp_path, array, (3, 4, 4)).tables
    pd.testing.assert_frame_equal(found["contingency"], overlaps(array, array), check_dtype=False)
    pd.testing.assert_frame_equal(found["contact"], contacts(array), check_dtype=False)


def test_large_tables_are_folders_that_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit: parts in order, read by pandas, by `run.tables`, and counted by the summary of a run."""
    array = numbers((6, 40, 41))
    single = run_both(tmp_path, array, (3, 8, 41), "single")
    monkeypatch.setattr(keyed, "ONE_FILE", 50)
    monkeypatch.setattr(keyed, "TOGETHER", 2)
    monkeypatch.setattr("bigseg.ops.contact.TOGETHER", 2)
    parted = run_both(tmp_path, array, (3, 8, 41), "parted")
    for name, table in parted.tables.items():
        folder = parted.path / "tables" / f"{name}.parquet"
        assert len(list(folder.iterdir())) > 2
        assert all(len(pd.read_parquet(part)) for part in folder.iterdir())
        assert table.equals(single.tables[name])
        assert rows(folder) == len(table) == parted.values[name]["pairs"] > 50
    assert f"contact.parquet: {len(parted.tables['contact'])} rows" in run_summary(parted.path, parted.record)
    assert parted.report.exists()


def test_a_run_that_failed_while_writing_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full at the third part: the same command again writes the rest, and the table is whole."""
    monkeypatch.setattr(keyed, "ONE_FILE", 50)
    monkeypatch.setattr(keyed, "TOGETHER", 2)
    array = numbers((6, 40, 41))
    volume = store(tmp_path / "v.zarr", array)
    pipeline = Pipeline([bigseg.Contingency(other="input")])
    written: list[int] = []

    def full(folder: Path, number: int, *rest: object) -> None:
        if len(written) == 2:
            raise StorageError("no space left")
        written.append(number)
        write_part(folder, number, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(keyed, "write_part", full)
        with pytest.raises(StorageError, match="no space"):
            pipeline.run(volume, tmp_path / "run", block=(3, 8, 41), workers=0, report=False)
    run = pipeline.run(volume, tmp_path / "run", block=(3, 8, 41), workers=0, report=False)
    assert run.record["stages"][-1]["computed"] == run.record["stages"][-1]["blocks"] - 2
    pd.testing.assert_frame_equal(run.tables["contingency"], overlaps(array, array), check_dtype=False)


def test_left_over_files_of_killed_writers_go(tmp_path: Path) -> None:
    """A temporary file in a table's folder is removed by the next driver, and read by nobody."""
    folder = tmp_path / "tables" / "t.parquet"
    folder.mkdir(parents=True)
    pd.DataFrame({"label": [1]}).to_parquet(folder / "part-00000.parquet")
    (tmp_path / "tables" / "other.parquet").write_bytes(b"")
    left = folder / ".part-00001.parquet.0123456789ab.tmp"
    left.write_bytes(b"PAR1")
    assert pd.read_parquet(folder)["label"].tolist() == [1]
    RunFolder(tmp_path).sweep()
    assert [item.name for item in folder.iterdir()] == ["part-00000.parquet"]


@pytest.mark.parametrize("mixed", [False, True])
def test_a_task_holds_about_its_blocks_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: bool) -> None:
    """Counted: no task adds up more than 1.5 times the rows of as many blocks as it is meant for, of 125 blocks."""
    seen: list[int] = []

    def counted(parts: list[Rows]) -> Rows:
        seen.append(sum(part.shape[1] for part in parts))
        return summed(parts)

    monkeypatch.setattr(keyed, "TOGETHER", 4)
    monkeypatch.setattr(keyed, "ONE_ROUND", 4)
    monkeypatch.setattr(keyed, "summed", counted)
    array = numbers((30, 30, 30), 1)
    if mixed:
        array = np.random.default_rng(0).permutation(array.reshape(-1)).reshape(array.shape)
    volume = store(tmp_path / "v.zarr", array)
    run = Pipeline([bigseg.Contingency(other="input")]).run(
        volume, tmp_path / "run", block=(6,), workers=0, report=False
    )
    assert run.values["contingency"] == {"pairs": array.size}
    assert max(seen) < 1.5 * 4 * 6**3
