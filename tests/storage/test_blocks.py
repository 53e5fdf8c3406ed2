"""Blocks in and out of the store, and what damage to it does."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from bigseg.errors import CorruptChunkError, MissingChunkError, ParameterError, StorageError
from bigseg.grid import Box, Grid
from bigseg.local.digest import crc32_file
from bigseg.storage import blocks
from bigseg.storage.volume import Volume, mark_complete
from tests.storage.conftest import Make, numbers, write_all

SHAPE, BLOCK = (100, 37, 70), (32, 40, 32)
EDGE = "0/c/3/0/2"  # a shard that the volume's edge cuts along every axis


@pytest.fixture(autouse=True)
def plain_settings() -> Any:
    """Every test starts without a cache and leaves none."""
    blocks.configure(0, 2)
    yield
    blocks.configure(0, 2)


def last(array: np.ndarray) -> Box:
    """The box of the shard at the edge."""
    return Grid(array.shape, BLOCK).at((3, 0, 2)).inner


@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", "u2", "u4", "u8", "f2", "f4", "f8"])
def test_written_blocks_are_read_by_us_and_by_zarr(make: Make, dtype: str) -> None:
    """What is written block by block is what we and zarr-python read, at edges and for all dtypes."""
    array = numbers(SHAPE, dtype)
    volume = make(array, BLOCK, kind="mask" if dtype == "bool" else "image")
    found = blocks.read(volume, Box.whole(SHAPE))
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    stored = zarr.open_array(volume.folder, mode="r")[...]
    assert stored.dtype == (np.uint8 if dtype == "bool" else array.dtype)  # type: ignore[union-attr]
    assert np.array_equal(stored, array)


@settings(max_examples=25)
@given(data=st.data())
def test_any_box_of_any_tiling(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever the shape and the block, every box read is that of the array."""
    from bigseg.storage.create import create_image
    from tests.storage.conftest import spec_of

    ndim = data.draw(st.integers(2, 3))
    shape = data.draw(st.tuples(*[st.integers(1, 20)] * ndim))
    block = data.draw(st.tuples(*[st.integers(4, 9)] * ndim))
    array = numbers(shape, "u2")
    volume = create_image(tmp_path_factory.mktemp("a") / "a.ome.zarr", spec_of(array), block)
    write_all(volume, array, block)
    ends = [sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)))) for n in shape]
    box = Box(tuple(a for a, _ in ends), tuple(b + 1 for _, b in ends))
    assert np.array_equal(blocks.read(volume, box), array[box.slices])


def test_reading_into_memory_in_use(make: Make) -> None:
    """A box can be read into an array that exists; one that does not fit is refused."""
    array = numbers(SHAPE)
    volume = make(array, BLOCK)
    box = Box((3, 4, 5), (40, 20, 66))
    out = np.full(box.shape, 7, "u2")
    assert blocks.read(volume, box, out) is out
    assert np.array_equal(out, array[box.slices])
    for wrong in (out[:-1], out.astype("u4"), np.asfortranarray(out)):
        with pytest.raises(ParameterError, match="out has"):
            blocks.read(volume, box, wrong)


def test_every_shard_is_reported_with_its_checksum(make: Make, tmp_path: Path) -> None:
    """Writing gives key, length and CRC-32 of each file, the same every time; nothing else is left behind."""
    array = numbers((100, 80, 70))
    volume = make(array, (50, 40, 70))
    box = Box((0, 0, 0), (100, 80, 70))
    shards = blocks.write(volume, box, array)
    assert [shard.key for shard in shards] == ["0/c/0/0/0", "0/c/0/1/0", "0/c/1/0/0", "0/c/1/1/0"]
    for shard in shards:
        assert crc32_file(tmp_path / "image.ome.zarr" / shard.key) == (shard.length, shard.crc)
    assert blocks.write(volume, box, np.asfortranarray(array)) == shards
    assert sorted(item.name for item in volume.folder.iterdir()) == ["c", "zarr.json"]


def test_all_fill_shards_are_stored(make: Make) -> None:
    """A block of zeros makes a file, so that an absent file is always damage."""
    volume = make(np.zeros(SHAPE, "u2"), BLOCK)
    assert len([path for path in volume.folder.rglob("*") if path.is_file()]) == 1 + len(Grid(SHAPE, BLOCK))
    assert not blocks.read(volume, Box.whole(SHAPE)).any()


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, None])
def test_writing_never_looks_at_the_old_shard(make: Make, content: bytes | None) -> None:
    """Over an empty, a torn or a missing shard, at the volume's edge too, the new one is stored whole."""
    array = numbers(SHAPE)
    volume = make(array, BLOCK)
    for key in ("0/c/0/0/0", EDGE):
        path = Path(volume.path, key)
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        box = Grid(SHAPE, BLOCK).at(tuple(map(int, key.split("/")[2:]))).inner
        blocks.write(volume, box, array[box.slices])
        assert np.array_equal(blocks.read(volume, box), array[box.slices])


@pytest.mark.parametrize("cache", [0, 1 << 26])
def test_a_rewritten_shard_is_seen(make: Make, cache: int) -> None:
    """While an image is written, another process's new shard is read, whatever this one has cached."""
    blocks.configure(cache, 2)
    array = numbers(SHAPE)
    volume = make(array, BLOCK)
    box = last(array)
    assert np.array_equal(blocks.read(volume, box), array[box.slices])
    other = 65535 - array[box.slices]
    np.save(Path(volume.path).parent / "new.npy", other)
    script = (
        "import sys, numpy as np\n"
        "from bigseg.grid import Box\n"
        "from bigseg.storage import blocks\n"
        "from bigseg.storage.volume import Volume\n"
        f"volume = Volume.open({volume.path!r}, allow_incomplete=True)\n"
        f"blocks.write(volume, Box(*{tuple(box)!r}), np.load('new.npy'))\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(volume.path).parent)
    assert np.array_equal(blocks.read(volume, box), other)


def test_a_source_opened_again_is_read_again(make: Make) -> None:
    """Between two runs in one process an input may change: opening it again sees the new voxels."""
    blocks.configure(1 << 26, 2)
    array = numbers(SHAPE)
    volume = make(array, BLOCK)
    mark_complete(volume.path)
    before = Volume.open(volume.path)
    assert np.array_equal(blocks.read(before, Box.whole(SHAPE)), array)
    write_all(volume, 65535 - array, BLOCK)
    assert np.array_equal(blocks.read(Volume.open(volume.path), Box.whole(SHAPE)), 65535 - array)


def test_an_image_made_anew_is_read_anew(make: Make) -> None:
    """A planned volume follows the image at its path when that is made again with other chunks."""
    import shutil

    blocks.configure(1 << 26, 2)
    array = numbers(SHAPE)
    volume = make(array, BLOCK)
    planned = Volume.planned(volume.path, volume.spec)
    assert np.array_equal(blocks.read(planned, Box.whole(SHAPE)), array)
    shutil.rmtree(volume.path)
    make(65535 - array, (64, 64, 64))
    assert np.array_equal(blocks.read(planned, Box.whole(SHAPE)), 65535 - array)
    blocks.write(planned, Box((0, 0, 0), (64, 37, 64)), array[:64, :, :64])


def test_part_of_a_shard_is_refused(make: Make) -> None:
    """A box that is not made of whole shards is refused with the nearest block that is."""
    array = numbers(SHAPE)
    volume = make(array, BLOCK)
    for box in (Box((0, 0, 0), (30, 37, 32)), Box((16, 0, 0), (48, 37, 32)), Box((0, 0, 0), (32, 36, 32))):
        with pytest.raises(ParameterError, match=r"nearest valid block is \(32, 37, 32\)"):
            blocks.write(volume, box, array[box.slices])
    with pytest.raises(ParameterError, match="expected an array of"):
        blocks.write(volume, last(array), array[last(array).slices].astype("u4"))
    with pytest.raises(ParameterError, match="inside a volume"):
        blocks.read(volume, Box((0, 0, 0), (101, 1, 1)))


def damage(path: Path, how: str) -> None:
    """Spoil a file."""
    data = bytearray(path.read_bytes())
    if how == "empty":
        data = bytearray()
    elif how == "cut":
        del data[-9:]
    elif how == "voxels":
        data[len(data) // 3] ^= 16
    elif how == "index":
        data[-30] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize("how", ["empty", "cut", "voxels", "index"])
def test_damage_is_named(make: Make, how: str, dtype: str) -> None:
    """An empty, cut or bit-flipped shard is an error that names its file, and never voxels."""
    array = numbers(SHAPE, dtype)
    volume = make(array, BLOCK)
    damage(Path(volume.path, EDGE), how)
    with pytest.raises(CorruptChunkError, match=EDGE):
        blocks.read(volume, last(array))
    assert np.array_equal(blocks.read(volume, Box((0, 0, 0), (96, 37, 70))), array[:96])


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_bits_flipped_anywhere(make: Make, dtype: str) -> None:
    """Wherever in a shard a bit flips, reading fails or the flipped byte was padding that no voxel needs."""
    array = numbers((20, 20, 20), dtype)
    volume = make(array, (20, 20, 20))
    path = Path(volume.path, "0/c/0/0/0")
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    silent = 0
    for position, bit in zip(rng.integers(0, len(good), 300), rng.integers(0, 8, 300), strict=True):
        bad = bytearray(good)
        bad[position] ^= 1 << bit
        path.write_bytes(bad)
        with contextlib.suppress(CorruptChunkError):
            silent += not np.array_equal(blocks.read(volume, Box.whole(array.shape)), array)
    assert silent == 0


def test_missing_chunks_are_errors_until_filled(make: Make, tmp_path: Path) -> None:
    """A missing shard or chunk is refused by name; with missing="fill" it reads as the fill value."""
    array = numbers(SHAPE)
    volume = make(array, BLOCK)
    Path(volume.path, EDGE).unlink()
    with pytest.raises(MissingChunkError, match=rf"{EDGE}.*--missing=fill"):
        blocks.read(volume, Box.whole(SHAPE))
    filled = Volume.open(volume.path, missing="fill", allow_incomplete=True)
    expected = array.copy()
    expected[last(array).slices] = 0
    assert np.array_equal(blocks.read(filled, Box.whole(SHAPE)), expected)

    sparse = zarr.create_array(
        tmp_path / "b.zarr", shape=(40, 40), shards=(20, 20), chunks=(10, 10), dtype="u1", fill_value=3
    )
    sparse[:10, :10] = 9
    inner = Volume.open(tmp_path / "b.zarr")
    with pytest.raises(MissingChunkError, match="a chunk of c/0/0 is missing"):
        blocks.read(inner, Box((0, 0), (20, 20)))
    filled = Volume.open(tmp_path / "b.zarr", missing="fill")
    assert np.array_equal(blocks.read(filled, Box.whole((40, 40))), sparse[...])


def test_a_file_that_cannot_be_read_is_no_missing_one(make: Make) -> None:
    """An I/O error is reported as such, with its path, whatever the policy for missing chunks."""
    volume = make(numbers(SHAPE), BLOCK)
    path = Path(volume.path, EDGE)
    path.unlink()
    path.symlink_to(path.name)  # opening it fails with ELOOP, for root as well
    for missing in ("error", "fill"):
        found = Volume.open(volume.path, missing=missing, allow_incomplete=True)  # type: ignore[arg-type]
        with pytest.raises(StorageError, match=EDGE):
            blocks.read(found, Box.whole(SHAPE))


def test_a_full_disk_leaves_the_old_shard(make: Make) -> None:
    """When a shard does not fit, the error names path and size, the old one stays and no scrap is left."""
    array = numbers(SHAPE)
    volume = make(array, BLOCK)
    box = Grid(SHAPE, BLOCK)[0].inner
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot write .*0/c/0/0/0 \(\d+ bytes"):
            blocks.write(volume, box, 65535 - array[box.slices])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert np.array_equal(blocks.read(volume, box), array[box.slices])
    assert blocks.clear_partial(volume) == 0


@pytest.mark.parametrize("step", ["fsync", "replace", "folder"])
def test_a_failing_step_is_reported(make: Make, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """An I/O error while making a shard durable is an error, never a success; old voxels or new, whole."""
    array = numbers(SHAPE)
    volume = make(array, BLOCK)
    box = last(array)

    def fail(*arguments: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    if step == "folder":
        monkeypatch.setattr(blocks, "sync_folder", fail)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(StorageError, match="Input/output error"):
        blocks.write(volume, box, 65535 - array[box.slices])
    monkeypatch.undo()
    assert blocks.read(volume, box)[0, 0, 0] in (array[box.start], 65535 - array[box.start])
    assert blocks.clear_partial(volume) == 0


def test_killed_writers_leave_scraps_that_can_be_cleared(make: Make) -> None:
    """A writer killed before the rename leaves the old shard and one hidden folder, which is cleared."""
    array = numbers(SHAPE)
    volume = make(array, BLOCK)
    script = (
        "import os, numpy as np\n"
        "from bigseg.grid import Box\n"
        "from bigseg.storage import blocks\n"
        "from bigseg.storage.volume import Volume\n"
        "os.replace = lambda *names: os._exit(9)\n"
        f"blocks.write(Volume.open({volume.path!r}, allow_incomplete=True), Box((0, 0, 0), (32, 37, 32)), "
        "np.zeros((32, 37, 32), 'u2'))\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert np.array_equal(blocks.read(volume, Box.whole(SHAPE)), array)
    assert blocks.clear_partial(volume) == 1
    assert sorted(item.name for item in volume.folder.iterdir()) == ["c", "zarr.json"]


def test_bytes_are_counted(make: Make) -> None:
    """Bytes written are the sizes of the shards; reading everything without a cache reads each about once."""
    array = numbers(SHAPE)
    written = blocks.bytes_written()
    volume = make(array, BLOCK)
    stored = sum(path.stat().st_size for path in (volume.folder / "c").rglob("*") if path.is_file())
    assert blocks.bytes_written() - written == stored
    before = blocks.bytes_read()
    blocks.read(volume, Box.whole(SHAPE))
    assert stored * 0.99 < blocks.bytes_read() - before < stored * 1.01 + 10_000


def test_the_cache_spares_decoding(make: Make) -> None:
    """With a cache, a box read again reads no more chunks from the files."""
    array = numbers(SHAPE)
    volume = make(array, BLOCK)
    mark_complete(volume.path)
    blocks.configure(1 << 26, 1)
    volume = Volume.open(volume.path)
    blocks.read(volume, Box.whole(SHAPE))
    before = blocks.bytes_read()
    blocks.configure(1 << 26, 1)
    assert np.array_equal(blocks.read(volume, Box((20, 0, 0), (70, 37, 50))), array[20:70, :, :50])
    assert blocks.bytes_read() == before
    for wrong in ((-1, 1), (0, 0)):
        with pytest.raises(ParameterError, match="cache"):
            blocks.configure(*wrong)
