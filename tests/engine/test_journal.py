"""The journal: what is written survives a kill, what is damaged is noticed, what is gone is done again."""

from __future__ import annotations

import json
import os
import time
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bigseg.engine import journal as module
from bigseg.engine.journal import Journal, read_lines
from bigseg.engine.work import Done
from bigseg.errors import ChangedError, CorruptChunkError, ExactnessError, StorageError
from bigseg.storage.durable import fleeting
from bigseg.storage.scratch import LIST

PRINT = "f" * 64


def done(unit: int, files: tuple[tuple[str, int, int], ...] = (), digest: str = "", **values: Any) -> Done:
    """What a unit gives back."""
    return Done(unit, files, digest or f"{unit:016x}", 0.01, 0, 0, 0, values)


def opened(folder: Path, fingerprint: str = PRINT) -> Journal:
    """The journal of a run's folder."""
    return Journal(folder / "journal" / "journal.jsonl", fingerprint, folder)


def shard(folder: Path, name: str, data: bytes = b"voxels") -> tuple[str, int, int]:
    """A file that a unit wrote, as its line names it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name, len(data), zlib.crc32(data)


def killed(journal: Journal) -> None:
    """Leave a journal as a kill does: nothing is flushed or closed in order."""
    journal._stop.set()
    journal._flusher.join()
    os.close(journal._handle)


def test_units_ends_and_values_are_found_again(tmp_path: Path) -> None:
    """A new driver knows the units, the finished stages and the values of the one before."""
    first = opened(tmp_path)
    for unit in (0, 7, 3):
        first.add("pass-1", done(unit))
    first.add("levels", done(0, digest="", otsu=0.1 + 0.2, name="x", counts=[1, 2]))
    first.end("levels", {"name": "levels", "computed": 1})
    killed(first)
    second = opened(tmp_path)
    assert [unit for unit in range(100) if second.has("pass-1", unit)] == [0, 3, 7]
    assert (second.count("pass-1"), second.count("levels"), second.count("pass-2")) == (3, 1, 0)
    assert second.stages == {"levels": {"name": "levels", "computed": 1}}
    assert second.values == {"levels": {"otsu": 0.1 + 0.2, "name": "x", "counts": [1, 2]}}
    assert second.epoch == first.epoch + 1
    second.close()


def test_every_line_outlives_a_kill(tmp_path: Path) -> None:
    """A line is with the system when `add` returns: a kill of the driver loses none."""
    journal = opened(tmp_path)
    for unit in range(10):
        journal.add("pass-1", done(unit))
        assert sum("u" in line for _, line in read_lines(journal.path)) == unit + 1
    journal.close()


@pytest.mark.parametrize("cut", [1, 9, 20, 40])
def test_a_torn_last_line_is_dropped(tmp_path: Path, cut: int) -> None:
    """What a kill left of the last line is cut off, and the journal goes on from there."""
    first = opened(tmp_path)
    first.add("pass-1", done(0))
    first.add("pass-1", done(1))
    first.close()
    data = first.path.read_bytes()
    first.path.write_bytes(data[:-cut])
    second = opened(tmp_path)
    assert (second.has("pass-1", 0), second.has("pass-1", 1)) == (True, False)
    second.add("pass-1", done(1))
    second.close()
    third = opened(tmp_path)
    assert third.count("pass-1") == 2
    third.close()


@pytest.mark.parametrize("garbage", [b"", b"\0" * 300, b"not a journal", b"\xff\n"])
def test_a_journal_without_a_sound_line_begins_anew(tmp_path: Path, garbage: bytes) -> None:
    """An empty or torn file, as a kill or a power cut leaves it, holds no finished unit."""
    path = tmp_path / "journal" / "journal.jsonl"
    path.parent.mkdir()
    path.write_bytes(garbage)
    journal = opened(tmp_path)
    assert journal.epoch == 1
    assert journal.count("pass-1") == 0
    journal.close()


def test_a_damaged_line_inside_is_an_error(tmp_path: Path) -> None:
    """A flipped bit above the last line is refused, naming the line, and nothing is written."""
    journal = opened(tmp_path)
    for unit in range(3):
        journal.add("pass-1", done(unit))
    journal.close()
    lines = journal.path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"u":1', b'"u":7')
    journal.path.write_bytes(b"".join(lines))
    with pytest.raises(CorruptChunkError, match="line 3 of"):
        opened(tmp_path)
    assert journal.path.read_bytes() == b"".join(lines)


def test_the_journal_of_another_run_is_refused(tmp_path: Path) -> None:
    """Another fingerprint is refused, and the journal is left as it is."""
    opened(tmp_path).close()
    before = (tmp_path / "journal" / "journal.jsonl").read_bytes()
    with pytest.raises(ChangedError, match="belongs to another run"):
        opened(tmp_path, "a" * 64)
    assert (tmp_path / "journal" / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("damage", ["gone", "longer", "shorter", "a folder"])
def test_a_unit_whose_file_is_gone_is_done_again(tmp_path: Path, damage: str) -> None:
    """A file that is gone or has another length makes its unit unfinished, and withdraws its stage's end."""
    first = opened(tmp_path)
    for unit in range(3):
        first.add("pass-1", done(unit, (shard(tmp_path, f"a/{unit}"), shard(tmp_path, f"scratch/{unit}"))))
    first.end("pass-1", {"name": "pass-1"})
    first.add("pass-2", done(0, (shard(tmp_path, "b"),)))
    first.end("pass-2", {"name": "pass-2"})
    first.close()
    path = tmp_path / "a" / "1"
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "gone":
        path.write_bytes(b"vo" if damage == "shorter" else b"voxels and more")
    second = opened(tmp_path)
    assert [second.has("pass-1", unit) for unit in range(3)] == [True, False, True]
    assert set(second.stages) == {"pass-2"}
    if path.is_dir():
        path.rmdir()
    second.add("pass-1", done(1, (shard(tmp_path, "a/1"), shard(tmp_path, "scratch/1"))))
    second.end("pass-1", {"name": "pass-1"})
    second.close()
    third = opened(tmp_path)
    assert third.count("pass-1") == 3
    assert set(third.stages) == {"pass-1", "pass-2"}
    third.close()


def test_the_last_line_of_a_unit_counts(tmp_path: Path) -> None:
    """Where a unit was done again with files of another length, the later line says what is right."""
    first = opened(tmp_path)
    first.add("pass-1", done(0, (("a", 6, 0),)))
    first.close()
    second = opened(tmp_path)
    second.add("pass-1", done(0, (shard(tmp_path, "a", b"longer than before"),)))
    second.close()
    third = opened(tmp_path)
    assert third.has("pass-1", 0)
    third.close()
    shard(tmp_path, "a", b"voxels")
    fourth = opened(tmp_path)
    assert not fourth.has("pass-1", 0)
    fourth.close()


def test_lists_of_files_are_followed(tmp_path: Path) -> None:
    """A reduction that wrote many files names a list of them; one that is gone makes it unfinished."""
    files = [shard(tmp_path, f"scratch/maps/{unit}") for unit in range(20)]
    listed = shard(tmp_path, f"scratch/merge/0{LIST}", json.dumps(files).encode())
    first = opened(tmp_path)
    first.add("merge", done(0, (listed,)))
    first.close()
    second = opened(tmp_path)
    assert second.has("merge", 0)
    second.close()
    (tmp_path / "scratch" / "maps" / "13").unlink()
    third = opened(tmp_path)
    assert not third.has("merge", 0)
    third.close()


def test_when_all_is_finished_scratch_may_be_gone(tmp_path: Path) -> None:
    """After the last stage the journal is trusted without scratch, unless an output is gone as well."""
    first = opened(tmp_path)
    first.add("pass-1", done(0, (shard(tmp_path, "scratch/0"),)))
    first.end("pass-1", {"name": "pass-1"})
    first.add("pass-2", done(0, (shard(tmp_path, "out/0"),)))
    first.end("pass-2", {"name": "pass-2"})
    first.close()
    (tmp_path / "scratch" / "0").unlink()
    second = opened(tmp_path)
    assert set(second.stages) == {"pass-2"}, "scratch is needed as long as the run is not finished"
    second.add("pass-1", done(0, (shard(tmp_path, "scratch/0"),)))
    second.end("pass-1", {"name": "pass-1"})
    second.finish()
    second.close()
    (tmp_path / "scratch" / "0").unlink()
    third = opened(tmp_path)
    assert third.finished
    assert set(third.stages) == {"pass-1", "pass-2"}
    third.close()
    (tmp_path / "out" / "0").unlink()
    fourth = opened(tmp_path)
    assert not fourth.finished
    assert not fourth.stages
    assert (fourth.count("pass-1"), fourth.count("pass-2")) == (0, 0)
    fourth.close()


def test_a_unit_done_twice_must_give_the_same(tmp_path: Path) -> None:
    """The same again is taken once; anything else is an error, in the same run and after a resume."""
    first = opened(tmp_path)
    first.add("pass-1", done(0, (shard(tmp_path, "a"),), "0123"))
    first.add("pass-1", done(0, (shard(tmp_path, "a"),), "0123"))
    assert sum("u" in line for _, line in read_lines(first.path)) == 1
    with pytest.raises(ExactnessError, match="unit 0 was computed twice"):
        first.add("pass-1", done(0, (shard(tmp_path, "a"),), "4567"))
    first.close()
    (tmp_path / "a").unlink()
    second = opened(tmp_path)
    with pytest.raises(ExactnessError):
        second.add("pass-1", done(0, (shard(tmp_path, "a"),), "4567"))
    second.add("pass-1", done(0, (shard(tmp_path, "a"),), "0123"))
    second.add("levels", done(0, digest="", otsu=1.5))
    with pytest.raises(ExactnessError):
        second.add("levels", done(0, digest="", otsu=1.25))
    second.close()


def test_the_thread_that_flushes_syncs_nothing_that_need_not_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the mind of the thread that made the journal."""
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.01)
    synced: list[int] = []
    monkeypatch.setattr(module.os, "fsync", synced.append)
    for sparing in (fleeting(), nullcontext()):
        with sparing:
            journal = opened(tmp_path / type(sparing).__name__)
            synced.clear()
            journal.add("pass-1", done(0))
            for _ in range(500):
                if not journal._pending:
                    break
                time.sleep(0.01)
            assert not journal._pending
            time.sleep(0.2)  # it forgets the line before it syncs
            assert bool(synced) == isinstance(sparing, nullcontext)
            journal.close()


def test_lines_reach_the_disk_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 64 lines at once, after an end at once, and else within the flush time even if no line follows."""
    monkeypatch.setattr(module, "FLUSH_SECONDS", 3600.0)
    journal = opened(tmp_path)
    calls: list[int] = []
    fsync = os.fsync

    def counted(handle: int) -> None:
        calls.append(handle)
        fsync(handle)

    monkeypatch.setattr(module.os, "fsync", counted)
    for unit in range(module.FLUSH_LINES - 1):
        journal.add("pass-1", done(unit))
    assert not calls
    journal.add("pass-1", done(99))
    assert len(calls) == 1
    journal.end("pass-1", {})
    assert len(calls) == 2
    journal.close()
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.1)
    journal = opened(tmp_path)
    calls.clear()
    journal.add("pass-2", done(0))
    for _ in range(100):
        if calls:
            break
        time.sleep(0.1)
    time.sleep(0.5)
    assert len(calls) == 1, "late lines are flushed once; where nothing is new there is nothing to do"
    journal.close()


def test_a_disk_that_refuses_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a line or a flush fails, this and every later line says so, and the sound part is kept."""
    journal = opened(tmp_path)
    journal.add("pass-1", done(0))
    write = os.write

    def full(handle: int, data: bytes) -> int:
        write(handle, bytes(data[:10]))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", full)
        with pytest.raises(StorageError, match="No space left"):
            journal.add("pass-1", done(1))
    with pytest.raises(StorageError, match="No space left"):
        journal.add("pass-1", done(2))
    journal.close()
    second = opened(tmp_path)
    assert [second.has("pass-1", unit) for unit in range(3)] == [True, False, False]
    second.close()


def test_a_revived_driver_writes_to_nothing(tmp_path: Path) -> None:
    """Once a new driver has begun, lines of the one before do not count and damage nothing."""
    zombie = opened(tmp_path)
    zombie.add("pass-1", done(0))
    driver = opened(tmp_path)
    driver.add("pass-1", done(1))
    zombie.add("pass-1", done(2))
    zombie.end("pass-1", {"name": "pass-1"})
    driver.add("pass-1", done(3))
    zombie.close()
    driver.close()
    third = opened(tmp_path)
    assert [third.has("pass-1", unit) for unit in range(4)] == [True, True, False, True]
    assert not third.stages
    assert third.epoch == 3
    third.close()


def test_sixty_thousand_units(tmp_path: Path) -> None:
    """Adding and replaying take time in proportion, and the driver holds few bytes a unit."""
    count = 60_000
    name, length, crc = shard(tmp_path, "a")
    journal = opened(tmp_path)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        start = len(times) * count // 2
        for unit in range(start, start + count // 2):
            journal.add("pass-1", done(unit, ((name, length, crc),)))
        times.append(time.perf_counter() - began)
    assert times[1] < 3 * times[0] + 1
    journal.close()
    began = time.perf_counter()
    again = opened(tmp_path)
    assert time.perf_counter() - began < 20
    assert again.count("pass-1") == count
    assert sum(len(checks) * checks.itemsize for checks in again._done.stages.values()) < 10 * count
    again.close()
