"""Ingest: what a file holds is what the image holds; stopped, it continues; finished, it is left alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import bigseg
from bigseg.engine.folder import ingest_folder
from bigseg.errors import ChangedError, InputError, OutputError
from bigseg.pipeline.ingest import ingest
from bigseg.storage import faultpoints
from bigseg.storage.volume import Volume

VOXELS = np.random.default_rng(3).integers(0, 60000, (11, 21, 31)).astype(np.uint16)


def _tiff(folder: Path) -> Path:
    path = folder / "scan.tif"
    tifffile.imwrite(path, VOXELS, compression="zlib", photometric="minisblack")
    return path


def _stack(folder: Path) -> Path:
    path = folder / "slices"
    path.mkdir()
    for number, page in enumerate(VOXELS):
        tifffile.imwrite(path / f"slice_{number}.tif", page)  # 10 sorts before 2 unless the order is natural
    return path


def _npy(folder: Path) -> Path:
    path = folder / "scan.npy"
    np.save(path, np.asfortranarray(VOXELS))
    return path


def _image(folder: Path) -> Path:
    from tests.volumes import store

    return store(folder / "scan.zarr", VOXELS)


SOURCES: dict[str, Callable[[Path], Path]] = {"tiff": _tiff, "stack": _stack, "npy": _npy, "zarr": _image}


class Kill(BaseException):
    """Stops a run as Ctrl-C would."""


def _stop_after(count: int) -> Callable[[Any, int, int], None]:
    def observe(summary: Any, done: int, units: int) -> None:
        if done == count:
            raise Kill

    return observe


@pytest.mark.parametrize("kind", SOURCES)
def test_every_voxel_arrives(tmp_path: Path, kind: str) -> None:
    """Whatever the source, the image holds its voxels, spacing and type, as OME-Zarr 0.5."""
    image = ingest(SOURCES[kind](tmp_path), tmp_path / "a.ome.zarr", spacing="3 2 1 um", workers=0, block=(8, 16, 16))
    opened = bigseg.open_volume(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(opened.values, VOXELS)
    assert opened.dtype == np.uint16
    assert image.spec.spacing == (3.0, 2.0, 1.0)
    assert image.spec.unit == "micrometer"
    assert not ingest_folder(tmp_path / "a.ome.zarr").exists()


def test_large_images_get_a_pyramid(tmp_path: Path) -> None:
    """An image that no viewer shows at once has levels, each the mean of the one below."""
    array = np.random.default_rng(1).integers(0, 255, (300, 260), np.uint8)
    np.save(tmp_path / "a.npy", array)
    image = ingest(tmp_path / "a.npy", tmp_path / "a.ome.zarr", workers=0, block=(128,))
    assert image.levels >= 3
    level = bigseg.open_volume(tmp_path / "a.ome.zarr", level=1).values
    means = array.astype(int).reshape(150, 2, 130, 2).sum((1, 3))
    np.testing.assert_array_equal(level, (means + 2) // 4)


@pytest.mark.parametrize("kind", SOURCES)
def test_stopped_and_continued(tmp_path: Path, kind: str) -> None:
    """An ingest that is stopped looks incomplete, and the same call finishes it without doing a block again."""
    source, target = SOURCES[kind](tmp_path), tmp_path / "a.ome.zarr"
    with pytest.raises(Kill):
        ingest(source, target, workers=0, block=(8, 16, 16), observe=_stop_after(5))
    with pytest.raises(bigseg.BigsegError, match="incomplete"):
        Volume.open(target)
    seen = []
    ingest(source, target, workers=0, observe=lambda summary, done, units: seen.append((summary.computed, done, units)))
    assert seen[0] == (0, 5, 8)
    assert (3, 8, 8) in seen
    np.testing.assert_array_equal(bigseg.open_volume(target).values, VOXELS)


def test_finished_is_left_alone(tmp_path: Path) -> None:
    """The same ingest again touches no file of the finished image."""
    source, target = _npy(tmp_path), tmp_path / "a.ome.zarr"
    ingest(source, target, workers=0)
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    ingest(source, target, workers=0, observe=_stop_after(0))
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before


@pytest.mark.parametrize("where", ["run.marked", "run.finished", "run.complete"])
def test_killed_after_its_image_was_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Nothing is left beside the image when the same is asked for again, and a later ingest finds nothing of it."""
    source, target = _npy(tmp_path), tmp_path / "a.ome.zarr"
    _kill_at(monkeypatch, where, source, target)
    assert ingest_folder(target).exists()
    (target / "0" / ".0123.partial").mkdir()
    (target / ".zarr.json.0123456789ab.tmp").touch()
    before = {path: path.stat().st_mtime_ns for path in (target / "0" / "c").rglob("*")}
    ingest(source, target, workers=0)
    assert not ingest_folder(target).exists()
    assert list(target.rglob(".*")) == []
    assert {path: path.stat().st_mtime_ns for path in (target / "0" / "c").rglob("*")} == before


@pytest.mark.parametrize("other", [False, True])
def test_its_record_does_not_outlive_a_removed_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: bool
) -> None:
    """With the image removed, its place is free again: for the same source, and for another."""
    source, target = _npy(tmp_path), tmp_path / "a.ome.zarr"
    _kill_at(monkeypatch, "run.complete", source, target)
    shutil.rmtree(target)
    np.save(source, VOXELS + other)
    ingest(source, target, workers=0)
    np.testing.assert_array_equal(bigseg.open_volume(target).values, VOXELS + other)
    assert not ingest_folder(target).exists()


def test_what_is_left_of_a_record_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal whose record and fingerprint went before it, by a kill, is no reason to refuse another source."""
    source, target = _npy(tmp_path), tmp_path / "a.ome.zarr"
    _kill_at(monkeypatch, "run.complete", source, target)
    shutil.rmtree(target)
    (ingest_folder(target) / "run.json").unlink()
    (ingest_folder(target) / "journal" / "fingerprint.json").unlink()
    np.save(source, VOXELS + 1)
    ingest(source, target, workers=0)
    np.testing.assert_array_equal(bigseg.open_volume(target).values, VOXELS + 1)


def _kill_at(monkeypatch: pytest.MonkeyPatch, where: str, source: Path, target: Path) -> None:
    """Ingest until a named point is passed."""

    def kill(passing: str) -> None:
        if passing == where:
            raise Kill

    with monkeypatch.context() as patch:
        patch.setattr(faultpoints, "hook", kill)
        with pytest.raises(Kill):
            ingest(source, target, workers=0)


def test_another_source_is_refused(tmp_path: Path) -> None:
    """A target made from something else is refused, and replaced only where that is asked for."""
    source, target = _npy(tmp_path), tmp_path / "a.ome.zarr"
    ingest(source, target, workers=0)
    np.save(source, VOXELS + 1)
    with pytest.raises(ChangedError, match="something else"):
        ingest(source, target, workers=0)
    ingest(source, target, workers=0, restart=True)
    np.testing.assert_array_equal(bigseg.open_volume(target).values, VOXELS + 1)


@pytest.mark.parametrize("restart", [False, True])
def test_what_is_not_ours_is_never_removed(tmp_path: Path, restart: bool) -> None:
    """A folder, a file or somebody's Zarr at the target is refused, --restart or not."""
    source = _npy(tmp_path)
    for target in (_image(tmp_path), _stack(tmp_path), _tiff(tmp_path)):
        before = sorted(target.rglob("*")) if target.is_dir() else target.read_bytes()
        with pytest.raises(OutputError, match="give another name"):
            ingest(source, target, workers=0, restart=restart)
        assert before == (sorted(target.rglob("*")) if target.is_dir() else target.read_bytes())


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("source", ["a.ome.zarr", "linked/a.ome.zarr", "a.ome.zarr/0", "a.ome.zarr/scan.npy"])
def test_an_image_is_never_ingested_onto_itself(tmp_path: Path, source: str, restart: bool) -> None:
    """What would be removed before it is read is refused: the image, a part of it, by another name."""
    ingest(_npy(tmp_path), tmp_path / "a.ome.zarr", workers=0)
    (tmp_path / "linked").symlink_to(tmp_path)
    np.save(tmp_path / "a.ome.zarr" / "scan.npy", VOXELS)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(OutputError, match="is to be read, but"):
        ingest(tmp_path / source, tmp_path / "a.ome.zarr", spacing="2 um", workers=0, restart=restart)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_gap_in_the_stack_is_refused(tmp_path: Path) -> None:
    """A slice that is missing would shift all behind it: nothing is made."""
    folder = _stack(tmp_path)
    (folder / "slice_4.tif").unlink()
    with pytest.raises(InputError, match=r"slice_3\.tif and slice_5\.tif"):
        ingest(folder, tmp_path / "a.ome.zarr", workers=0)
    assert not (tmp_path / "a.ome.zarr").exists()
    assert not ingest_folder(tmp_path / "a.ome.zarr").exists()
