"""Which chunks are there, and whether a volume is still the same."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import zarr

from bigseg.errors import CorruptChunkError, InputError, MissingChunkError
from bigseg.storage.chunks import check_source, missing_chunks, missing_in_shards, presence
from bigseg.storage.damage import damaged_files
from bigseg.storage.volume import Volume
from tests.storage.conftest import Make, numbers

LAYOUTS = [
    ({"zarr_format": 2}, "1.0.1"),
    ({"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}}, "1/0/1"),
    ({}, "c/1/0/1"),
    ({"chunk_key_encoding": {"name": "default", "separator": "."}}, "c.1.0.1"),
    ({"chunk_key_encoding": {"name": "v2", "separator": "."}}, "1.0.1"),
    ({"chunk_key_encoding": {"name": "v2", "separator": "/"}}, "1/0/1"),
    ({"chunks": (5, 5, 5), "shards": (10, 10, 10)}, "c/1/0/1"),
]


def bare(path: Path, array: np.ndarray, full: bool = True, **options: Any) -> Volume:
    """A bare array stored by zarr-python, opened."""
    options.setdefault("chunks", (10,) * array.ndim)
    config: Any = {"write_empty_chunks": full}
    stored = zarr.create_array(path, shape=array.shape, dtype=array.dtype, config=config, **options)
    stored[...] = array
    return Volume.open(path)


@pytest.mark.parametrize(("options", "key"), LAYOUTS)
def test_missing_and_empty_files_are_found(tmp_path: Path, options: dict[str, Any], key: str) -> None:
    """In every way of naming chunks, a missing file is counted and named, and an empty one is damage."""
    volume = bare(tmp_path / "a.zarr", numbers((25, 20, 30)), **options)
    check_source(volume)
    assert missing_chunks(volume) == (0, [])
    path = volume.folder / key
    size = path.stat().st_size
    path.unlink()
    (volume.folder / "notes.txt").write_text("no chunk")
    (volume.folder / "9.9.9").write_text("outside of the volume")
    assert missing_chunks(volume) == (1, [key])
    with pytest.raises(MissingChunkError, match=rf"1 chunks are missing \({key}\).*--missing=fill"):
        check_source(volume)
    check_source(Volume.open(volume.path, missing="fill"))
    path.write_bytes(b"")
    for missing in ("error", "fill"):
        with pytest.raises(CorruptChunkError, match=rf"1 files have 0 bytes \({key}\)"):
            check_source(Volume.open(volume.path, missing=missing))  # type: ignore[arg-type]
    path.write_bytes(b"x" * size)
    assert presence(volume)[::2] == (0, 0, 0)


@pytest.mark.parametrize(("options", "key"), LAYOUTS)
def test_links_that_lead_nowhere_are_damage(tmp_path: Path, options: dict[str, Any], key: str) -> None:
    """As DataLad leaves them: counted and named, also with fill; all other files are still seen, and the token."""
    volume = bare(tmp_path / "a.zarr", numbers((25, 20, 30)), **options)
    path = volume.folder / key
    whole = volume.token()
    path.rename(tmp_path / "away")
    path.symlink_to(tmp_path / "annex")
    found = presence(volume)
    assert (found.missing, found.empty, found.unlinked, found.first_unlinked) == (0, 0, 1, [key])
    for missing in ("error", "fill"):
        with pytest.raises(CorruptChunkError, match=rf"1 chunks are links that lead nowhere \({key}\).*datalad get"):
            check_source(Volume.open(volume.path, missing=missing))  # type: ignore[arg-type]
    assert missing_in_shards(volume) == (0, [])
    assert [item.key for item in damaged_files(volume)] == [key]
    first = volume.token()
    last = max(file for file in volume.folder.rglob("*") if file.is_file() and file.name[-1].isdecimal())
    os.utime(last, ns=(0, 0))
    assert len({whole, first, volume.token()}) == 3
    (tmp_path / "away").rename(tmp_path / "annex")
    check_source(volume)


@pytest.mark.parametrize(("folder", "count"), [("c", 18), ("c/1", 6), ("c/1/0", 3)])
def test_folders_that_are_links_to_nowhere_are_damage(tmp_path: Path, folder: str, count: int) -> None:
    """All chunks that they stand for, also with fill: they were not left out, they were lost."""
    volume = bare(tmp_path / "a.zarr", numbers((25, 20, 30)))
    (volume.folder / folder).rename(tmp_path / "away")
    (volume.folder / folder).symlink_to(tmp_path / "annex")
    assert presence(volume)[::2] == (0, 0, count)
    with pytest.raises(CorruptChunkError, match=f"{count} chunks are links"):
        check_source(Volume.open(volume.path, missing="fill"))
    (tmp_path / "away").rename(tmp_path / "annex")
    check_source(volume)


@pytest.mark.parametrize("separator", "./")
def test_a_file_that_goes_while_it_is_listed_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separator: str
) -> None:
    """Between a listing and the look at a file it may be removed: it alone is missing."""
    options = {"chunk_key_encoding": {"name": "default", "separator": separator}}
    volume = bare(tmp_path / "a.zarr", numbers((25, 20, 30)), **options)
    scandir = os.scandir

    gone = volume.folder / separator.join("c111")

    def listed(folder: str) -> Any:
        with scandir(folder) as found:
            entries = list(found)
        if gone.parent == Path(folder):
            gone.unlink()
        stub = MagicMock()
        stub.__iter__.return_value = stub.__enter__.return_value = iter(entries)
        return stub

    monkeypatch.setattr(os, "scandir", listed)
    assert presence(volume)[:2] == (1, [separator.join("c111")])


def test_a_sparse_array_lists_the_first_ten(tmp_path: Path) -> None:
    """Of an array without its empty chunks all are counted and the first ten named in raster order."""
    array = np.zeros((50, 50), "u1")
    array[20:30, 20:30] = 1
    volume = bare(tmp_path / "a.zarr", array, full=False)
    count, first = missing_chunks(volume)
    assert (count, len(first), first[:3]) == (24, 10, ["c/0/0", "c/0/1", "c/0/2"])
    assert len(missing_chunks(volume, 3)[1]) == 3
    empty = zarr.create_array(tmp_path / "b.zarr", shape=(50, 50), chunks=(10, 10), dtype="u1")
    assert empty.shape == (50, 50)
    assert missing_chunks(Volume.open(tmp_path / "b.zarr"))[0] == 25


def test_chunks_missing_inside_shards_are_found(tmp_path: Path) -> None:
    """Chunks that a shard marks as absent are found before the run; beyond the edge none is expected."""
    array = numbers((25, 20, 30), "u1")
    array[5:10, 5:10, 5:10] = 0
    options: dict[str, Any] = {"chunks": (5, 5, 5), "shards": (10, 10, 10)}
    volume = bare(tmp_path / "a.zarr", array, full=False, **options)
    assert missing_chunks(volume)[0] == 0
    assert missing_in_shards(volume) == (1, ["c/0/0/0 [1,1,1]"])
    with pytest.raises(MissingChunkError, match=r"c/0/0/0 \[1,1,1\]"):
        check_source(volume)
    check_source(Volume.open(volume.path, missing="fill"))
    (volume.folder / "c/0/0/0").write_bytes(b"short")
    with pytest.raises(CorruptChunkError, match="c/0/0/0"):
        check_source(volume)


def test_only_the_chosen_channel_counts(tmp_path: Path) -> None:
    """Missing chunks of other channels are no concern; those of the own are."""
    array = numbers((3, 20, 20), "u1")
    for separator in "./":
        path = tmp_path / f"a{ord(separator)}.zarr"
        options: dict[str, Any] = {"chunk_key_encoding": {"name": "default", "separator": separator}}
        stored = zarr.create_array(
            path,
            shape=array.shape,
            dtype="u1",
            chunks=(1, 10, 10),
            dimension_names=("c", "y", "x"),
            **options,
        )
        stored[...] = array
        first, second = (Volume.open(path, channel=channel) for channel in (0, 2))
        tokens = first.token(), second.token()
        key = separator.join(("c", "2", "0", "1"))
        (path / key).unlink()
        assert missing_chunks(first) == (0, [])
        assert missing_chunks(second) == (1, [key])
        assert first.token() == tokens[0] != second.token() != tokens[1]


@pytest.mark.parametrize("change", ["rewrite", "touch", "delete", "add", "longer"])
def test_the_token_changes_with_any_file(make: Make, change: str) -> None:
    """Rewriting, touching, deleting or adding a file of the volume changes its token."""
    volume = make(numbers((30, 30, 30)), (16, 16, 16))
    (volume.folder / "c/1/1/0").unlink()
    before = volume.token()
    path = volume.folder / "c/1/1/1"
    state = path.stat()
    if change == "rewrite":
        path.write_bytes(path.read_bytes())
    elif change == "touch":
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    elif change == "delete":
        path.unlink()
    elif change == "add":
        (volume.folder / "c/1/1/0").write_bytes(b"x")
    else:
        path.write_bytes(path.read_bytes() + b"x")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert volume.token() != before


def test_the_token_keeps_what_does_not_matter(make: Make, tmp_path: Path) -> None:
    """Other levels, attributes, other files and the place of the folder do not change the token."""
    from bigseg.storage.volume import mark_complete

    volume = make(numbers((200, 30)), (64, 64))
    before = volume.token()
    mark_complete(volume.path)
    Path(volume.path, "notes.txt").write_text("mine")
    (volume.folder / ".123.partial").mkdir()
    zarr.open_array(volume.folder, mode="r+").update_attributes({"seen": True})
    assert Volume.open(volume.path).token() == before
    os.rename(volume.path, tmp_path / "moved.ome.zarr")
    assert Volume.open(tmp_path / "moved.ome.zarr").token() == before
    with pytest.raises(InputError, match="moved or removed"):
        volume.token()


def test_a_hundred_thousand_files_in_two_seconds(tmp_path: Path) -> None:
    """The walk over 20,000 files takes less than 0.4 s of a core, so 100,000 take less than 2."""
    zarr.create_array(tmp_path / "a.zarr", shape=(20, 100, 100), chunks=(2, 5, 1), dtype="u1")
    volume = Volume.open(tmp_path / "a.zarr")
    for z in range(10):
        for y in range(20):
            folder = volume.folder / f"c/{z}/{y}"
            folder.mkdir(parents=True)
            for x in range(100):
                (folder / str(x)).touch()
    assert presence(volume).empty == 20_000
    seconds = []
    for _ in range(3):
        began = time.process_time()
        volume.token()
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.4
