"""What need not last is not synced; what must last always is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import bigseg
from bigseg.storage.durable import fleeting, is_fleeting, write_file
from bigseg.storage.scratch import Scratch
from bigseg.storage.tables import write_table


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files and folders that were synced."""
    found: list[str] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        found.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    return found


def test_what_need_not_last_is_neither_synced_nor_compressed(tmp_path: Path, synced: list[str]) -> None:
    """The same arrays and tables come back; outside, files and their folders are synced."""
    ramp = {"ramp": np.arange(4096) // 256}
    with suppress(KeyError), fleeting():
        assert is_fleeting()
        write_file(tmp_path / "file", b"abc")
        Scratch(str(tmp_path / "scratch")).write("some", 1, ramp)
        write_table(tmp_path / "short.parquet", ramp)
        assert synced == []
        raise KeyError
    assert not is_fleeting(), "an error leaves it as it was"
    Scratch(str(tmp_path / "lasting")).write("some", 1, ramp)
    assert [os.path.basename(name).rpartition(".")[2] for name in synced] == ["tmp", "00000"]
    write_table(tmp_path / "long.parquet", ramp)
    assert len(synced) == 4
    for name in ("scratch", "lasting"):
        np.testing.assert_array_equal(Scratch(str(tmp_path / name)).read("some", 1)["ramp"], ramp["ramp"])
    parts = [path.stat().st_size for name in ("lasting", "scratch") for path in (tmp_path / name).rglob("*.part")]
    assert parts[0] < parts[1] / 10
    codecs = [
        pq.read_metadata(tmp_path / f"{name}.parquet").row_group(0).column(0).compression for name in ("short", "long")
    ]
    assert codecs == ["UNCOMPRESSED", "ZSTD"]
    assert pq.read_table(tmp_path / "short.parquet").equals(pq.read_table(tmp_path / "long.parquet"))


def test_functions_wait_for_no_disk(tmp_path: Path, synced: list[str]) -> None:
    """Neither a table nor a volume on its way to the caller is synced; the same as a run is."""
    image = np.random.default_rng(2).integers(0, 9, (20, 20, 20)).astype(np.uint8)
    labels = bigseg.label(image > 7)
    table = bigseg.regions(labels, intensity=image)
    assert len(table) == labels.max() > 10
    assert synced == []
    pipeline = bigseg.Pipeline([bigseg.Threshold(above=7), bigseg.Label(), bigseg.Regions(intensity="input")])
    run = pipeline.run(image, tmp_path / "run", workers=0, report=False)
    assert synced
    assert run.tables["regions"].equals(table)
