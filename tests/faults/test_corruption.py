"""R3, short: whatever is done to a file of a run is found, nothing else is, and mending ends golden."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bigseg.engine import damage
from bigseg.engine.damage import find_damage
from bigseg.engine.folder import RunFolder
from bigseg.engine.journal import Journal, read_lines
from bigseg.engine.lock import Lock
from bigseg.errors import LockedError, OutputError
from bigseg.pipeline.ingest import ingest
from bigseg.pipeline.repairing import repair
from tests.cli.conftest import Answer, Bigseg, bigseg  # noqa: F401
from tests.faults import chain
from tests.faults.corruption import Runs, recipe
from tests.faults.driver import fast_folder


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    """A finished run and one that was killed near its end."""
    folder = fast_folder()
    try:
        yield Runs(folder)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("which", ["finished", "unfinished"])
def test_all_damage_is_found_and_mended(runs: Runs, which: str) -> None:
    """Sixty files damaged in six ways: exactly these are found, and exactly what they need is computed again."""
    runs.sound(which)
    assert runs.round(which, 60, 7) >= 60


@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json", "1/zarr.json"])
@pytest.mark.parametrize("content", [b"", b'{"zarr_format": 3}', None])
def test_damaged_metadata_are_written_anew(runs: Runs, tmp_path: Path, name: str, content: bytes | None) -> None:
    """Metadata that are gone, empty or changed are found and restored; no block is computed again."""
    out = tmp_path / "run"
    shutil.copytree(runs.folder / "finished", out)
    path = out / "objects.ome.zarr" / name
    path.unlink() if content is None else path.write_bytes(content)
    found = find_damage(out)
    assert [(item.stage, item.key) for item in found.damaged] == [("", f"objects.ome.zarr/{name}")]
    before = chain.recorded(out)
    repair(out, found, workers=0, report=False)
    assert chain.recorded(out) == before
    assert chain.golden(out) == runs.golden
    assert find_damage(out).damaged == []
    assert chain.leftovers(out) == []


@pytest.mark.parametrize("image", chain.OUTPUTS)
def test_a_pyramid_is_mended_from_the_level_below(runs: Runs, tmp_path: Path, image: str) -> None:
    """A damaged shard of a pyramid costs one block, though the scratch of the run is gone."""
    out = tmp_path / "run"
    shutil.copytree(runs.folder / "finished", out)
    (out / f"{image}.ome.zarr" / "1" / "c" / "0" / "0" / "2").write_bytes(b"")
    before = chain.recorded(out)
    repair(out, find_damage(out, "stat"), workers=0, report=False)
    assert sum((chain.recorded(out) - before).values()) == 1
    assert chain.golden(out) == runs.golden


def test_the_record_of_a_damaged_block_is_voided(runs: Runs, tmp_path: Path) -> None:
    """The journal keeps what was wrong: a line that voids the block, then the line of the new one."""
    out = tmp_path / "run"
    shutil.copytree(runs.folder / "finished", out)
    (out / "tables" / "regions.parquet").unlink()
    repair(out, find_damage(out, "stat"), workers=0, report=False)
    lines = [line for _, line in read_lines(out / "journal" / "journal.jsonl") if line.get("s") == "objects.tables"]
    assert ["void" if "void" in line else "done" if "f" in line else "end" for line in lines] == [
        *("done", "end"),
        *("void", "done", "end"),
    ]


def test_what_is_wrong_when_it_is_written_is_found(runs: Runs, tmp_path: Path) -> None:
    """A shard whose bytes are as journalled but decode to other voxels is damage all the same."""
    out = tmp_path / "run"
    shutil.copytree(runs.folder / "finished", out)
    journal = out / "journal" / "journal.jsonl"
    lines = [line for _, line in read_lines(journal)]
    one = next(line for line in lines if line.get("s") == "pass-5" and "f" in line)
    one["d"] = f"{int(one['d'], 16) ^ 2:016x}"
    journal.unlink()
    again = Journal(journal, lines[0]["head"], out)  # written by its own hand
    for line in lines[1:]:
        if "head" not in line:
            again.append(line)
    again.close()
    found = find_damage(out)
    assert [(item.stage, item.unit) for item in found.damaged] == [("pass-5", one["u"])]
    assert "decodes to other voxels" in found.damaged[0].cause


@pytest.mark.parametrize(
    "gone", ["objects.ome.zarr", "objects.ome.zarr/0/c/0/0/1", "objects.ome.zarr/1", "bright.ome.zarr", "tables"]
)
def test_a_finished_run_from_which_files_were_purged(
    runs: Runs,
    tmp_path: Path,
    bigseg: Bigseg,  # noqa: F811
    gone: str,
) -> None:
    """The same command makes again what is gone, and does not say that there is nothing to do."""
    pipe, out = tmp_path / "chain.yaml", tmp_path / "run"
    pipe.write_text(yaml.safe_dump(chain.PIPELINE))
    shutil.copytree(runs.folder / "finished", out)
    path = out / gone
    count = 1 if path.is_file() else sum(item.is_file() for item in path.rglob("*"))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = chain.recorded(out)
    answer: Answer = bigseg("run", pipe, "-i", runs.volume, "-o", out, "--workers", "0")
    assert answer.code == 0, answer.err
    said = re.fullmatch(rf"{out}: finished, but (\d+) files are gone or damaged: .*", answer.err.splitlines()[0])
    assert said
    assert int(said[1]) <= count
    assert chain.recorded(out) - before
    assert chain.golden(out) == runs.golden
    assert chain.leftovers(out) == []
    assert find_damage(out).damaged == []


def test_a_driver_looks_at_its_own_run(runs: Runs, tmp_path: Path) -> None:
    """Under its own lock it finds what is damaged; anybody else is refused."""
    out = tmp_path / "run"
    shutil.copytree(runs.folder / "finished", out)
    (out / "tables" / "regions.parquet").unlink()
    with Lock(RunFolder(out).lock):
        assert [item.key for item in find_damage(out, "stat", driver=True).damaged] == ["tables/regions.parquet"]
        with pytest.raises(LockedError):
            find_damage(out, "stat")


def test_a_finished_run_without_its_journal_is_refused(runs: Runs, tmp_path: Path) -> None:
    """Nothing tells any more which files belong to it: this is said, and what to do."""
    out = tmp_path / "run"
    shutil.copytree(runs.folder / "finished", out)
    (out / "journal" / "journal.jsonl").unlink()
    with pytest.raises(OutputError, match="--restart"):
        chain.run(runs.volume, out, 0, 16)


def test_a_run_that_is_on_is_not_mended(runs: Runs, tmp_path: Path) -> None:
    """Repairing needs the lock."""
    out = tmp_path / "run"
    shutil.copytree(runs.folder / "finished", out)
    (out / "tables" / "regions.parquet").unlink()
    found = find_damage(out, "stat")
    assert len(found.damaged) == 1
    with Lock(out / "journal" / "lock"), pytest.raises(LockedError):
        repair(out, found, workers=0, report=False)


@pytest.mark.parametrize("what", ["", "bright.ome.zarr"])
def test_a_run_that_is_on_is_not_compared(runs: Runs, tmp_path: Path, bigseg: Bigseg, what: str) -> None:  # noqa: F811
    """Its files change while they are looked at: verify names the process that is at it, status answers."""
    out = tmp_path / "run"
    shutil.copytree(runs.folder / "unfinished", out)
    with Lock(out / "journal" / "lock"):
        for how in ((), ("--level", "stat"), ("--json",)):
            refused: Answer = bigseg("verify", out / what, *how)
            assert refused.code == 5
            assert f"{out} is in use by process {os.getpid()} on {socket.gethostname()}" in refused.err
            assert refused.out == ""
        assert bigseg("status", out).code == 0


def test_a_driver_that_begins_meanwhile_is_no_damage(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that are journalled while a run is compared are passed over, those of new stages too."""
    out = tmp_path / "run"
    shutil.copytree(runs.folder / "unfinished", out)
    path = out / "journal" / "journal.jsonl"
    lines = [line for _, line in read_lines(path)]
    block = next(line for line in lines if "f" in line)
    units = find_damage(out, "stat").units
    images = damage._images

    def begin(*arguments: Any) -> list[str]:
        journal = Journal(path, lines[0]["head"], out)
        for late in (block | {"u": block["u"] + 10**6}, block | {"s": "later"}):
            journal.append(late)
        journal.close()
        return images(*arguments)

    monkeypatch.setattr(damage, "_images", begin)
    found = find_damage(out, "stat")
    assert (found.units, found.damaged) == (units, [])


def test_verify_as_a_command(runs: Runs, tmp_path: Path, bigseg: Bigseg) -> None:  # noqa: F811
    """Exit code 0 or 8, the damaged blocks with their causes, and --repair."""
    out = tmp_path / "run"
    shutil.copytree(runs.folder / "finished", out)
    sound: Answer = bigseg("verify", out)
    assert sound.code == 0
    assert "all as they were written" in sound.out
    shard = out / "bright.ome.zarr" / "0" / "c" / "1" / "1" / "1"
    shard.write_bytes(shard.read_bytes()[:-3])
    answer: Answer = bigseg("verify", out, "--level", "stat", "--json")
    assert answer.code == 8
    (item,) = answer.json["damaged"]
    assert (item["stage"], item["key"]) == ("pass-4", "bright.ome.zarr/0/c/1/1/1")
    assert "bytes" in item["cause"]
    image: Answer = bigseg("verify", out / "bright.ome.zarr")
    assert image.code == 8
    assert "bright.ome.zarr/0/c/1/1/1" in image.out
    other: Answer = bigseg("verify", out / "objects.ome.zarr")
    assert other.code == 0
    mended: Answer = bigseg("verify", out, "--repair", "--workers", "0")
    assert mended.code == 0, mended.err
    assert "repaired" in mended.out
    assert bigseg("verify", out).code == 0
    assert chain.golden(out) == runs.golden


def test_a_repair_without_damage_runs_nothing(runs: Runs, tmp_path: Path, bigseg: Bigseg) -> None:  # noqa: F811
    """As its help says: a run that was interrupted, but not damaged, is continued by its own command."""
    out = tmp_path / "run"
    shutil.copytree(runs.folder / "unfinished", out)
    before = chain.recorded(out)
    answer: Answer = bigseg("verify", out, "--repair", "--workers", "0")
    assert answer.code == 0
    assert "run the same command again to finish it" in answer.out
    assert chain.recorded(out) == before
    assert "with none, nothing is run" in " ".join(bigseg("verify", "--help").out.replace("│", " ").split())


def test_verify_of_a_volume(tmp_path: Path, bigseg: Bigseg) -> None:  # noqa: F811
    """A volume without a journal is judged by its own checksums; to repair it is refused."""
    np.save(tmp_path / "scan.npy", np.random.default_rng(1).integers(0, 255, (40, 40, 150), np.uint8))
    image = tmp_path / "scan.ome.zarr"
    ingest(tmp_path / "scan.npy", image, workers=0, block=(40,))
    assert bigseg("verify", image).code == 0
    first, second = image / "0" / "c" / "0" / "0" / "1", image / "1" / "c" / "0" / "0" / "0"
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 16
    first.write_bytes(data)
    second.unlink()
    answer: Answer = bigseg("verify", image, "--json")
    assert answer.code == 8
    assert {item["key"] for item in answer.json["damaged"]} == {"0/c/0/0/1", "1/c/0/0/0"}
    stat: Answer = bigseg("verify", image, "--level", "stat", "--json")
    assert {item["key"] for item in stat.json["damaged"]} == {"1/c/0/0/0"}
    refused: Answer = bigseg("verify", image, "--repair")
    assert refused.code == 2


def test_a_run_says_in_one_line_what_it_found(runs: Runs, tmp_path: Path, bigseg: Bigseg) -> None:  # noqa: F811
    """New, continued at n of m, finished; refused and why; and with --verify damage is mended on the way."""
    pipe = tmp_path / "chain.yaml"
    pipe.write_text(yaml.safe_dump(chain.PIPELINE))
    out = tmp_path / "run"
    shutil.copytree(runs.folder / "unfinished", out)
    done = len(chain.recorded(out))
    units = sum(stage["blocks"] for stage in json.loads((out / "run.json").read_text())["stages"])
    command = ("run", pipe, "-i", runs.volume, "-o", out, "--workers", "0")
    changed: Answer = bigseg(*command, "--set", "smooth.sigma=3")
    assert changed.code == 5
    assert "sigma: was 1.0, is 3.0" in changed.err
    assert "continues" not in changed.err
    with Lock(out / "journal" / "lock"):
        used: Answer = bigseg(*command)
    assert used.code == 5
    assert "in use by process" in used.err.splitlines()[0]
    shard = out / "bright.ome.zarr" / "0" / "c" / "0" / "0" / "0"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert done < units
    continued: Answer = bigseg(*command, "--verify")
    assert continued.code == 0, continued.err
    assert f"{out}: failed: continues at {done} of {units} blocks (start 2)" == continued.err.splitlines()[0]
    assert shard.read_bytes() == data
    assert chain.golden(out) == runs.golden
    finished: Answer = bigseg(*command)
    assert finished.code == 0
    assert finished.err.splitlines()[0] == f"{out}: finished already: nothing to do"
    new: Answer = bigseg("run", pipe, "-i", runs.volume, "-o", tmp_path / "new", "--workers", "0", "--block", "16")
    assert new.code == 0
    assert new.err.splitlines()[0].endswith(": new run")


@pytest.mark.parametrize("name", ["lacunae", "cortex_kmeans"])
def test_outputs_of_ready_pipelines_are_mended(tmp_path: Path, name: str) -> None:
    """With scratch gone, the plan knows what a damaged output is computed from: components that are kept, samples."""
    assert recipe(tmp_path, name) >= 2
