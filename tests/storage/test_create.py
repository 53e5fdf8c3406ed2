"""The images that bigseg makes, as other programs see them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr
from hypothesis import given
from hypothesis import strategies as st
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from bigseg.errors import IncompleteError, OutputError, ParameterError, StorageError
from bigseg.storage.create import create_image, cut
from bigseg.storage.pyramid import levels_of, number_of_levels
from bigseg.storage.spec import Spec
from bigseg.storage.volume import Volume, mark_complete
from tests.storage.conftest import Make, numbers, spec_of

CODECS = {"blosc", "bytes", "crc32c", "gzip", "sharding_indexed", "transpose", "zstd"}
DTYPES = {"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32"}
KINDS = [
    ("uint16", "image"),
    ("float32", "image"),
    ("bool", "mask"),
    ("uint32", "labels"),
    ("uint8", "classes"),
]


def document(path: Path) -> dict[str, Any]:
    """The metadata of a group or array."""
    found: dict[str, Any] = json.loads((path / "zarr.json").read_text())
    return found


@pytest.mark.parametrize("shape", [(140, 67, 33), (300, 129)])
@pytest.mark.parametrize(("dtype", "kind"), KINDS)
def test_valid_ome_zarr(tmp_path: Path, shape: tuple[int, ...], dtype: str, kind: Any) -> None:
    """Every kind of image in 2-D and 3-D is valid OME-Zarr 0.5 and keeps neuroglancer's rules."""
    axes, spacing = ("z", "y", "x")[-len(shape) :], (2.0, 0.5, 0.5)[-len(shape) :]
    spec = Spec(shape, np.dtype(dtype), axes, spacing, "um", kind)
    classes = {0: "rest", 1: "bone", 2: "void"} if kind == "classes" else None
    create_image(tmp_path / "a.ome.zarr", spec, (64,) * len(shape), classes=classes, window=(0, 99))
    yaozarrs.validate_zarr_store(tmp_path / "a.ome.zarr")
    ome = document(tmp_path / "a.ome.zarr")["attributes"]["ome"]
    image = ome["multiscales"][0]
    assert [axis["unit"] for axis in image["axes"]] == ["micrometer"] * len(shape)
    assert ("image-label" in ome) == (kind != "image")
    assert ("omero" in ome) == (kind == "image")
    for dataset in image["datasets"]:
        assert [t["type"] for t in dataset["coordinateTransformations"]] == ["scale", "translation"]
        array = document(tmp_path / "a.ome.zarr" / dataset["path"])
        names = {codec["name"] for codec in _codecs(array["codecs"])}
        packing = "blosc" if np.dtype(dtype).kind == "f" else "zstd"
        assert names == {"sharding_indexed", "bytes", packing, "crc32c"} <= CODECS
        assert _inner(array["codecs"])[-1]["name"] == ("crc32c" if packing == "blosc" else "zstd")
        assert array["data_type"] in DTYPES
        assert array["dimension_names"] == list(axes)
        assert array["fill_value"] == 0
        assert all(c["configuration"]["checksum"] for c in _codecs(array["codecs"]) if c["name"] == "zstd")


def _inner(codecs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The codecs of a chunk within a shard."""
    found: list[dict[str, Any]] = codecs[0]["configuration"]["codecs"]
    return found


def _codecs(codecs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = list(codecs)
    for codec in codecs:
        for key in ("codecs", "index_codecs"):
            found += _codecs(codec.get("configuration", {}).get(key, []))
    return found


def test_the_reference_reader_opens_it(make: Make) -> None:
    """ome-zarr-py reads the voxels, the scales and the names of classes."""
    array = numbers((150, 70), "uint8") % 3
    volume = make(array, (64, 64), kind="classes", classes={1: "bone", 2: "void"})
    location = parse_url(volume.path)
    assert location is not None
    node = next(iter(Reader(location)()))
    assert np.array_equal(np.asarray(node.data[0]), array)
    assert node.metadata["coordinateTransformations"][1][0]["scale"] == [1.0, 1.0]
    assert node.metadata["properties"] == {1: {"name": "bone"}, 2: {"name": "void"}}


def test_levels_follow_the_rules() -> None:
    """Level k has ceil(n / 2^k) voxels, scale s 2^k, first centre o + s (2^k - 1) / 2; axes of one stay."""
    spec = Spec((513, 1, 200), np.dtype("uint8"), ("z", "y", "x"), (2.0, 3.0, 1.0), "", origin=(5.0, 0.0, 0.0))
    levels = list(levels_of(spec))
    assert [level.shape for level in levels] == [(513, 1, 200), (257, 1, 100), (129, 1, 50), (65, 1, 25)]
    for k, level in enumerate(levels):
        assert level.spacing == (2.0 * 2**k, 3.0, 2.0**k)
        assert level.origin == (5.0 + 2.0 * (2**k - 1) / 2, 0.0, (2**k - 1) / 2)


@given(st.lists(st.integers(1, 3000), min_size=2, max_size=3))
def test_pyramids_end_when_a_viewer_shows_them_at_once(shape: list[int]) -> None:
    """The last level has no axis above 128, the one before has."""
    sizes = list(levels_of(Spec(tuple(shape), np.dtype("u1"), ("z", "y", "x")[-len(shape) :], (1.0,) * len(shape))))
    assert len(sizes) == number_of_levels(tuple(shape))
    assert max(sizes[-1].shape) <= 128
    assert len(sizes) == 1 or max(sizes[-2].shape) > 128


@given(st.integers(1, 700), st.integers(1, 300), st.sampled_from([1, 13, 64, 128]))
def test_shards_are_whole_chunks_and_no_larger_than_needed(n: int, block: int, limit: int) -> None:
    """A shard is the block where the axis is longer; else it holds the axis, with little padding."""
    (shard,), (chunk,) = cut((n,), (block,), limit)
    assert shard % chunk == 0
    assert 1 <= chunk <= limit
    if n > block:
        assert shard == block
    else:
        assert n <= shard < n + chunk
        assert shard - n < -(-n // limit)  # less than a voxel of padding for each chunk


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Whatever lies at the path is refused, and stays."""
    spec = Spec((8, 8), np.dtype("u1"), ("y", "x"), (1.0, 1.0))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("mine")
    (tmp_path / "c").symlink_to("nowhere")
    for name in "abc":
        with pytest.raises(OutputError, match="exists already"):
            create_image(tmp_path / name, spec, (8, 8))
    assert (tmp_path / "b").read_text() == "mine"


def test_a_resumed_run_finds_its_image(tmp_path: Path) -> None:
    """With exist_ok the same image is taken again, a different one is refused with the difference."""
    spec = Spec((300, 80), np.dtype("u1"), ("y", "x"), (1.0, 1.0), kind="labels")
    first = create_image(tmp_path / "a.ome.zarr", spec, (64, 64))
    assert create_image(tmp_path / "a.ome.zarr", spec, (64, 64), exist_ok=True) == first
    for changed, block in (
        (spec.but(dtype=np.dtype("u2")), (64, 64)),
        (spec, (32, 64)),
        (spec.but(shape=(300, 81)), (64, 64)),
    ):
        with pytest.raises(OutputError, match="differs at level 0"):
            create_image(tmp_path / "a.ome.zarr", changed, block, exist_ok=True)


def test_impossible_shards_are_refused(tmp_path: Path) -> None:
    """A shard with other axes than the volume, or without voxels, is refused before anything is made."""
    spec = Spec((8, 8), np.dtype("u1"), ("y", "x"), (1.0, 1.0))
    for shard in ((8, 8, 8), (0, 8)):
        with pytest.raises(ParameterError, match="shard"):
            create_image(tmp_path / "a", spec, shard)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make"):
        create_image(tmp_path / "file" / "a", spec, (8, 8))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file"]


def test_incomplete_images_are_refused_until_marked(make: Make) -> None:
    """Opening an image before it is marked as complete raises, by its path, its level, and lazily."""
    from bigseg.storage.lazy import open_volume

    volume = make(numbers((20, 20)), (20, 20))
    for path in (volume.path, f"{volume.path}/0"):
        with pytest.raises(IncompleteError, match="allow_incomplete"):
            Volume.open(path)
        with pytest.raises(IncompleteError):
            open_volume(path)
        assert not Volume.open(path, allow_incomplete=True).complete
    mark_complete(volume.path, window=(3, 70))
    mark_complete(volume.path)
    assert Volume.open(volume.path).complete
    yaozarrs.validate_zarr_store(volume.path)
    shown = document(Path(volume.path))["attributes"]["ome"]["omero"]["channels"][0]["window"]
    assert (shown["start"], shown["end"]) == (3, 70)
    assert not list(Path(volume.path).glob(".*"))


def test_only_our_own_images_are_marked(tmp_path: Path) -> None:
    """Marking something that bigseg did not make is refused and changes nothing."""
    zarr.create_array(tmp_path / "a.zarr", shape=(4, 4), dtype="u1")
    before = (tmp_path / "a.zarr/zarr.json").read_bytes()
    for path in (tmp_path / "a.zarr", tmp_path, tmp_path / "nowhere"):
        with pytest.raises(OutputError, match="no image made by bigseg"):
            mark_complete(path)
    assert (tmp_path / "a.zarr/zarr.json").read_bytes() == before


def test_a_kill_while_making_leaves_no_half_image(tmp_path: Path) -> None:
    """Killed before the rename nothing lies at the path, and the next start makes it."""
    script = (
        "import os, numpy as np\n"
        "from bigseg.storage import create\n"
        "from bigseg.storage.spec import Spec\n"
        "create._sync = lambda folder: os._exit(9)\n"
        f"create.create_image({str(tmp_path / 'a.ome.zarr')!r}, "
        "Spec((9, 9), np.dtype('u1'), ('y', 'x'), (1.0, 1.0)), (9, 9))\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert not (tmp_path / "a.ome.zarr").exists()
    create_image(tmp_path / "a.ome.zarr", spec_of(numbers((9, 9), "u1")), (9, 9))
    assert [item.name for item in tmp_path.iterdir()] == ["a.ome.zarr"]


def test_what_is_written_is_what_is_opened(tmp_path: Path) -> None:
    """Kind, dtype, bounds, spacing, origin and name come back from the store as they were given."""
    for dtype, kind, bounds in (("bool", "mask", None), ("f4", "image", (-1.5, 2.5)), ("u4", "labels", None)):
        spec = Spec(
            (30, 20, 10),
            np.dtype(dtype),
            ("z", "y", "x"),
            (2.0, 1.0, 0.5),
            "um",
            kind,
            bounds,
            (1.0, 2.0, 3.0),
        )  # type: ignore[arg-type]
        create_image(tmp_path / f"{kind}.ome.zarr", spec, (16, 16, 16), attributes={"step": "a"})
        found = Volume.open(tmp_path / f"{kind}.ome.zarr", allow_incomplete=True)
        assert found.spec == spec.but(unit="micrometer", bounds=spec.bounds)
        assert (found.name, found.levels, found.shard) == (kind, 1, (16, 16, 10))
        planned = Volume.planned(tmp_path / f"{kind}.ome.zarr", spec)
        assert (planned.path, planned.array, planned.name) == (found.path, found.array, found.name)
