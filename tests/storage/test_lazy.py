"""Lazy DataArrays."""

from __future__ import annotations

import pickle
from pathlib import Path

import dask
import numpy as np
import pytest
import tifffile

from bigseg.errors import MissingChunkError, ParameterError
from bigseg.storage import lazy
from bigseg.storage.lazy import StoredArray, open_volume
from bigseg.storage.sources.opening import open_source
from bigseg.storage.volume import mark_complete
from tests.storage.conftest import Make, numbers

ARRAY = numbers((60, 47, 53))
INDICES = [
    np.s_[3],
    np.s_[-1, ...],
    np.s_[..., 5],
    np.s_[::-3, 4:40:7],
    np.s_[5:5],
    np.s_[10:20, :, 3],
    np.s_[2, 3, 4],
    np.s_[...],
    np.s_[50:10:-7, ..., -1],
]


@pytest.mark.parametrize("index", INDICES)
def test_slicing_reads_what_numpy_gives(make: Make, index: object) -> None:
    """Any basic index of the lazy array, and of its store, gives what the same index of the array gives."""
    volume = make(ARRAY, (32, 32, 32))
    mark_complete(volume.path)
    expected = ARRAY[index]  # type: ignore[index]
    stored = StoredArray(open_source(volume.path))[index]
    assert stored.shape == expected.shape
    assert np.array_equal(stored, expected)
    assert np.array_equal(open_volume(volume.path, chunks=20)[index].values, expected)  # type: ignore[index]


def test_coordinates_are_centres_in_physical_units(make: Make) -> None:
    """Coordinates are origin + spacing * index on every level; attributes tell unit, kind and source."""
    volume = make(numbers((200, 140)), (64, 64), origin=(10.0, 0.0))
    mark_complete(volume.path)
    image = open_volume(volume.path)
    assert (image.dims, image.name, image.dtype) == (("y", "x"), "image", np.dtype("u2"))
    assert image.attrs == {
        "spacing": (0.5, 0.5),
        "origin": (10.0, 0.0),
        "unit": "micrometer",
        "kind": "image",
        "source": f"{volume.path}/0",
    }
    assert image.y.values[[0, 1, -1]].tolist() == [10.0, 10.5, 109.5]
    assert open_volume(volume.path, level=1, allow_incomplete=True).y.values[:2].tolist() == [10.25, 11.25]
    assert open_volume(image.attrs["source"]).equals(image)
    assert image.sel(y=slice(11, 12)).shape == (3, 140)


def test_nothing_is_read_before_it_is_computed(make: Make) -> None:
    """Opening and slicing read no voxel; computing a part reads only the chunks of that part."""
    volume = make(ARRAY, (32, 32, 32))
    mark_complete(volume.path)
    for path in (volume.folder / "c/1").rglob("*"):
        if path.is_file():
            path.unlink()
    image = open_volume(volume.path, chunks=32)
    upper, lower = image[:32], image[32:]
    assert np.array_equal(upper.values, ARRAY[:32])
    with pytest.raises(MissingChunkError, match="0/c/1/"):
        lower.compute()
    filled = open_volume(volume.path, missing="fill", chunks=32)
    assert not filled[32:].values.any()


def test_it_travels(make: Make) -> None:
    """A pickled DataArray is small and gives the same voxels; masks are bool."""
    mask = ARRAY > 30000
    volume = make(mask, (32, 32, 32), kind="mask")
    mark_complete(volume.path)
    sent = pickle.dumps(open_volume(volume.path).data)
    assert len(sent) < 10_000
    with dask.config.set(scheduler="threads"):
        found = pickle.loads(sent).compute()
    assert found.dtype == bool
    assert np.array_equal(found, mask)


def test_chunks_are_whole_shards_of_a_good_size(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default chunks are whole shards, joined while small; of TIFF whole pages; or what the user gives."""
    monkeypatch.setattr(lazy, "CHUNK_BYTES", 120_000)
    volume = make(ARRAY, (16, 16, 16))
    mark_complete(volume.path)
    assert open_volume(volume.path).data.chunksize == (32, 32, 32)
    assert open_volume(volume.path, chunks=(7, 47, 11)).data.chunksize == (7, 47, 11)
    tifffile.imwrite(tmp_path / "a.tif", ARRAY)
    pages = open_volume(tmp_path / "a.tif")
    assert pages.data.chunksize == (24, 47, 53)
    assert np.array_equal(pages.values, ARRAY)
    assert pages.attrs["source"] == str(tmp_path / "a.tif")
    with pytest.raises(ParameterError, match="level and missing"):
        open_volume(tmp_path / "a.tif", level=1)
