"""A run that is killed anywhere, and run again, ends with the same result and does nothing twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from bigseg.engine import lock
from bigseg.engine.journal import Journal
from bigseg.errors import ChangedError, CorruptChunkError, IncompleteError, LockedError
from bigseg.pipeline.pipeline import Pipeline
from bigseg.storage.volume import Volume
from tests.faults import chain
from tests.faults.driver import KILLED, Child, Watched, Zygote, fast_folder

SHAPE, BLOCK = (72, 80, 136), 32


class Arena:
    """A volume, the golden run on it, and the zygote that starts others."""

    def __init__(self, folder: Path, zygote: Zygote) -> None:
        self.folder = folder
        self.zygote = zygote
        self.volume = chain.make_volume(folder / "volume.zarr", SHAPE)
        began = time.perf_counter()
        assert zygote.run([str(self.volume), str(folder / "golden")]) == 0
        self.seconds = time.perf_counter() - began
        self.golden = chain.golden(folder / "golden")
        record = json.loads((folder / "golden" / "run.json").read_text())
        self.stages = [stage["name"] for stage in record["stages"]]

    def arguments(self, out: Path, kill: str = "") -> list[str]:
        return [str(self.volume), str(out), "--block", str(BLOCK), "--kill", kill]

    def watched(self, name: str) -> Watched:
        return Watched(self.folder / name, self.golden)


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    """One volume, golden run and zygote for all tests here."""
    folder = fast_folder()
    try:
        with Zygote.started() as zygote:
            yield Arena(folder, zygote)
    finally:
        shutil.rmtree(folder)


def test_the_golden_run_is_worth_killing(arena: Arena) -> None:
    """It has many stages, objects that cross blocks, and pyramids."""
    assert len(arena.stages) >= 12
    assert {"bright level 1", "objects level 1", "table regions"} <= set(arena.golden)
    assert chain.leftovers(arena.folder / "golden") == []


def test_a_kill_at_every_stage_boundary(arena: Arena) -> None:
    """Killed when each stage begins and when it ends, one after the other, the run still ends golden."""
    run = arena.watched("boundaries")
    for stage in arena.stages:
        for event in ("begin", "end"):
            assert arena.zygote.run(arena.arguments(run.out, f"{event}:{stage}")) == KILLED, (event, stage)
            run.after_kill()
            assert chain.status(run.out) == "incomplete"
    assert arena.zygote.run(arena.arguments(run.out)) == 0
    run.after_end()


def test_a_kill_around_calls_of_the_system(arena: Arena) -> None:
    """Killed before or after a rename, an fsync, a write or a removal, anywhere, the run still ends golden."""
    run = arena.watched("calls")
    points = [
        *(f"{when}:os.replace:{n}" for n in (1, 2, 3, 4, 5, 40) for when in ("before", "after")),
        *("before:os.fsync:30", "after:os.fsync:77", "before:os.write:5", "after:os.write:61", "before:os.rename:1"),
        *("after:os.rename:1", "before:shutil.rmtree:20", "after:shutil.rmtree:3"),
    ]
    for point in points:
        assert arena.zygote.run(arena.arguments(run.out, point)) == KILLED, point
        run.after_kill()
    assert arena.zygote.run(arena.arguments(run.out)) == 0
    run.after_end()


@pytest.mark.parametrize(
    ("call", "numbers"),
    [
        ("os.replace", range(1, 20)),
        ("os.rename", (1, 2)),
        ("shutil.rmtree", (1, 2, 3, 4)),
        ("os.unlink", (1, 2, 5, 80)),
    ],
)
def test_a_kill_at_every_step_of_closing(arena: Arena, call: str, numbers: Sequence[int]) -> None:
    """Killed at any step between the last block and `complete`, nothing is computed again and scratch goes."""
    run = arena.watched(f"closing-{call}")
    assert arena.zygote.run(arena.arguments(run.out, f"end:{arena.stages[-1]}")) == KILLED
    run.after_kill()
    finished = run.units
    kills = 0
    for number in numbers:
        ended = arena.zygote.run(arena.arguments(run.out, f"{'before' if number % 2 else 'after'}:{call}:{number}"))
        kills += ended == KILLED
        run.after_kill()
        assert run.units == finished
    assert kills
    assert arena.zygote.run(arena.arguments(run.out)) == 0
    run.after_end()


def test_random_kills(arena: Arena) -> None:
    """Killed at random times until it is through, the run ends golden."""
    run, chance = arena.watched("random"), random.Random(3)
    kills = 0
    for _ in range(12):
        kills += arena.zygote.run_and_kill(arena.arguments(run.out), chance.uniform(0, 0.15 * arena.seconds)) == KILLED
        run.after_kill()
    assert kills > 2
    assert arena.zygote.run(arena.arguments(run.out)) == 0
    run.after_end()


def test_random_kills_of_a_program_and_of_its_workers(arena: Arena) -> None:
    """`python -m` and two Dask workers, killed as one group, leave no process; serial and Dask continue each other."""
    run, chance = arena.watched("program"), random.Random(4)
    for _ in range(2):
        child = Child.start([*arena.arguments(run.out), "--workers", "2"])
        child.wait_ready()
        assert child.kill(chance.uniform(0, 0.5)) in (KILLED, 0)
        assert child.living() == []
        run.after_kill()
    assert arena.zygote.run(arena.arguments(run.out)) == 0
    run.after_end()


def test_files_that_are_gone_are_made_again(arena: Arena) -> None:
    """A lost partial result, map, shard or table, or one of another length, is computed again, and nothing else."""
    run = arena.watched("gone")
    assert arena.zygote.run(arena.arguments(run.out, "begin:pass-5")) == KILLED
    scratch = run.out / "scratch"
    (scratch / "bright.components" / "00000" / "0007.part").unlink()
    (scratch / "objects.rank" / "00000" / "0000.part").write_bytes(b"short")
    (run.out / "bright.ome.zarr" / "0" / "c" / "1" / "1" / "1").unlink()
    (run.out / "tables" / "regions.parquet").unlink()
    before = chain.recorded(run.out)
    assert arena.zygote.run(arena.arguments(run.out)) == 0
    again = {unit for unit, count in (chain.recorded(run.out) - before).items() if unit in before}
    bright = ("pass-4", 1 * 15 + 1 * 5 + 1)
    assert again == {("pass-3", 7), ("objects.rank", 0), ("objects.tables", 0), bright}
    assert chain.golden(run.out) == arena.golden
    assert chain.leftovers(run.out) == []


def test_a_lost_output_after_scratch_is_gone(arena: Arena) -> None:
    """Where scratch is gone already and an output too, the scratch that it needs is computed again."""
    run = arena.watched("late")
    assert arena.zygote.run(arena.arguments(run.out)) == 0
    record = json.loads((run.out / "run.json").read_text())
    (run.out / "run.json").write_text(json.dumps({**record, "status": "incomplete"}))
    (run.out / "objects.ome.zarr" / "0" / "c" / "0" / "0" / "0").unlink()
    assert arena.zygote.run(arena.arguments(run.out, "begin:pass-5")) == KILLED
    assert chain.looks_complete(run.out) == []
    assert arena.zygote.run(arena.arguments(run.out)) == 0
    assert chain.golden(run.out) == arena.golden
    assert chain.leftovers(run.out) == []


def test_a_stopped_driver_that_is_revived_does_not_count(arena: Arena) -> None:
    """A driver stopped for longer than a minute is replaced; revived, it notices, stops and changes nothing."""
    run = arena.watched("zombie")
    pid = arena.zygote.start(arena.arguments(run.out, "stop:pass-2"))
    try:
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        run.after_kill()
        with pytest.raises(LockedError, match=f"process {pid} on"):
            chain.run(arena.volume, run.out, 0, BLOCK, lambda summary, done, units: None)
        path = run.out / "journal" / "lock"
        os.utime(path, (time.time() - 100, time.time() - 100))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lock, "HEARTBEAT", 0.2)
            chain.run(arena.volume, run.out, 0, BLOCK, lambda summary, done, units: None)
        run.after_end()
    finally:
        os.kill(pid, signal.SIGCONT)
        status = arena.zygote.wait()
    assert status == 1
    run.after_kill()
    assert chain.status(run.out) == "complete"
    assert chain.golden(run.out) == arena.golden
    in_flight = [path for path in (run.out / "scratch").rglob("*") if path.is_file()]
    assert len(in_flight) <= 1


def test_killed_before_its_first_record_a_folder_is_free(arena: Arena) -> None:
    """A run killed before run.json exists leaves a folder that any other run may take."""
    for number in range(1, 5):
        out = arena.folder / f"first-{number}"
        assert arena.zygote.run(arena.arguments(out, f"before:os.replace:{number}")) == KILLED
        if (out / "run.json").exists():
            break
        other = Pipeline.from_dict({"version": 1, "steps": [{"id": "mask", "op": "threshold", "above": 20}]})
        other.run(arena.volume, out, workers=0, block=(64,), report=False)
        assert chain.leftovers(out) == []
    assert number > 2


def test_a_kill_while_beginning_again(arena: Arena) -> None:
    """Killed while --restart removes a finished run, the folder is continued or begun again all the same."""
    run = arena.watched("restart")
    assert arena.zygote.run(arena.arguments(run.out)) == 0
    for point in ("after:os.replace:2", "before:os.rename:1", "after:os.rename:2", "before:os.unlink:40"):
        assert arena.zygote.run([*arena.arguments(run.out, point), "--restart"]) == KILLED, point
        assert chain.status(run.out) != "complete"
        assert arena.zygote.run(arena.arguments(run.out)) == 0, point
        assert chain.golden(run.out) == arena.golden
        assert chain.leftovers(run.out) == []


def test_beginning_again_mends_a_damaged_journal(arena: Arena) -> None:
    """A journal that cannot be trusted is refused, and --restart begins again."""
    run = arena.watched("damaged")
    assert arena.zygote.run(arena.arguments(run.out, "begin:pass-4")) == KILLED
    journal = run.out / "journal" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"u":1', b'"u":3', 1))
    with pytest.raises(CorruptChunkError, match="--restart"):
        chain.run(arena.volume, run.out, 0, BLOCK, lambda summary, done, units: None)
    assert arena.zygote.run([*arena.arguments(run.out), "--restart"]) == 0
    run.after_end()


def test_shards_are_durable_before_they_are_journalled(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """File synced, then renamed, then its folder synced, then its line written: in this order for every file."""
    events: list[tuple[str, str]] = []
    fsync, replace, append = os.fsync, os.replace, Journal.append

    def synced(handle: int) -> None:
        events.append(("fsync", os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def renamed(source: Path, target: Path) -> None:
        replace(source, target)
        events.append((f"rename {source}", str(target)))

    def written(self: Journal, record: dict[str, Any]) -> None:
        events.extend(("line", str(run.out / name)) for name, _, _ in record.get("f", ()))
        append(self, record)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(Journal, "append", written)
    run = arena.watched("order")
    chain.run(arena.volume, run.out, 0, BLOCK, lambda summary, done, units: None)
    at = {event: place for place, event in enumerate(events)}
    lines = [target for kind, target in events if kind == "line"]
    assert len(lines) > 300
    for target in lines:
        source = next(kind.removeprefix("rename ") for kind, to in events if to == target and kind != "line")
        steps = [("fsync", source), (f"rename {source}", target), ("line", target)]
        assert [at[step] for step in steps] == sorted(at[step] for step in steps)
        folder = ("fsync", os.path.dirname(target))
        assert folder in events[at[steps[1]] : at[steps[2]]]


def test_an_incomplete_output_refuses_to_be_opened(arena: Arena) -> None:
    """What a killed run has written says so when it is opened, and a changed pipeline is refused."""
    run = arena.watched("incomplete")
    assert arena.zygote.run(arena.arguments(run.out, "begin:pass-5")) == KILLED
    with pytest.raises(IncompleteError):
        Volume.open(run.out / "bright.ome.zarr")
    changed = json.loads(json.dumps(chain.PIPELINE))
    changed["steps"][0]["sigma"] = 2.0
    with pytest.raises(ChangedError, match=r"sigma: was 1\.0, is 2\.0|was .*1\.0.*is .*2\.0"):
        Pipeline.from_dict(changed).run(arena.volume, run.out, workers=0, block=(BLOCK,), report=False)
