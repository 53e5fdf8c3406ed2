"""A region of interest: the run on it is the run on that part alone, and knows where in the whole it lies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

import bigseg
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.engine.decoding import decoded_voxels
from bigseg.engine.source import Cropped, Held, Read
from bigseg.errors import ChangedError, InputError, MissingChunkError, ParameterError
from bigseg.grid import Box, Grid
from bigseg.pipeline.geometry import open_inputs
from bigseg.pipeline.ingest import ingest
from bigseg.storage.sources.opening import open_source
from bigseg.storage.spec import Spec
from bigseg.storage.volume import Volume
from tests.volumes import store

PIPE = bigseg.Pipeline.from_dict(
    {
        "version": 1,
        "steps": [
            {"id": "smooth", "op": "gaussian", "sigma": 1.0},
            {"id": "levels", "op": "auto_threshold", "from": "smooth", "method": "otsu"},
            {
                "id": "dark",
                "op": "hysteresis",
                "from": "smooth",
                "low": 90,
                "high": "${levels.otsu}",
                "polarity": "below",
            },
            {"id": "objects", "op": "label"},
            {"id": "regions", "op": "regions", "intensity": "input"},
        ],
        "save": ["smooth", "objects"],
    }
)
LOCAL = bigseg.Pipeline([bigseg.Gaussian(sigma=1.0)])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("block", [(8,), (100,)])
def test_is_the_run_on_that_part_alone(blobs: np.ndarray, tmp_path: Path, ndim: int, block: tuple[int, ...]) -> None:
    """Volumes, values and tables of a region that no chunk is aligned with are those of the cropped array."""
    array = blobs if ndim == 3 else blobs[7]
    cut = np.s_[3:31, 5:40, 7:45][3 - ndim :]
    whole = store(tmp_path / "whole.zarr", array)
    part = store(tmp_path / "part.zarr", np.ascontiguousarray(array[cut]))
    mine = PIPE.run(whole, tmp_path / "mine", roi=cut, block=block, workers=0, report=False)
    theirs = PIPE.run(part, tmp_path / "theirs", block=block, workers=0, report=False)
    assert mine.values == theirs.values
    for name in ("smooth", "objects"):
        np.testing.assert_array_equal(mine.outputs[name].values, theirs.outputs[name].values)
    found, wanted = mine.tables["regions"], theirs.tables["regions"].copy()
    for axis, item in enumerate(cut):
        for name in ("centroid", "centroid_weighted"):
            wanted[f"{name}-{axis}"] += item.start  # physical, in the whole volume
    assert list(found) == list(wanted)
    for column in wanted:
        np.testing.assert_allclose(found[column], wanted[column], rtol=1e-12)


def test_on_a_cluster(blobs: np.ndarray, tmp_path: Path, cluster: DaskExecutor) -> None:
    """Workers read the same part."""
    path = store(tmp_path / "a.zarr", blobs)
    where = {"scheduler": cluster.client.scheduler.address}
    runs = [
        PIPE.run(path, tmp_path / f"{number}", roi="3:31,5:,:-6", block=(16,), report=False, **settings)
        for number, settings in enumerate((where, {"workers": 0}))
    ]
    np.testing.assert_array_equal(*(run.outputs["objects"].values for run in runs))


def test_overlays_the_whole(tmp_path: Path) -> None:
    """Every level of an output lies where the region lies; DataArrays align by their coordinates."""
    array = np.random.default_rng(2).integers(0, 255, (300, 310), np.uint8)
    image = ingest(open_source(store(tmp_path / "a.zarr", array), spacing="2 um"), tmp_path / "a.ome.zarr", workers=0)
    run = LOCAL.run(image, tmp_path / "run", roi="100um:500um,11:", workers=0, report=False)
    document = json.loads((run.path / "gaussian.ome.zarr" / "zarr.json").read_text())
    levels = document["attributes"]["ome"]["multiscales"][0]["datasets"]
    moved = [level["coordinateTransformations"][1]["translation"] for level in levels]
    assert moved[:2] == [[100.0, 22.0], [101.0, 23.0]]
    whole = bigseg.open_volume(tmp_path / "a.ome.zarr")
    there = whole.sel(y=run.outputs["gaussian"].y, x=run.outputs["gaussian"].x)
    np.testing.assert_array_equal(there.values, array[50:250, 11:])
    assert run.record["volume"]["origin"] == [100.0, 22.0]


def test_several_inputs(blobs: np.ndarray, tmp_path: Path) -> None:
    """All inputs are cut alike; inputs of different shapes have no common region."""
    paths = {name: store(tmp_path / f"{name}.zarr", array) for name, array in (("a", blobs), ("b", 255 - blobs))}
    steps = [bigseg.Step("m", bigseg.Threshold(above=100), ("b",))]
    run = bigseg.Pipeline(steps).run(paths, tmp_path / "run", roi="1:9,:,3:", workers=0, report=False)
    np.testing.assert_array_equal(run.outputs["m"].values, (255 - blobs)[1:9, :, 3:] > 100)
    with pytest.raises(InputError, match=r"same shape, found a .* c "):
        open_inputs(paths | {"c": store(tmp_path / "c.zarr", blobs[1:])}, "1:9,:,3:")


def test_the_whole_region_is_the_volume(blobs: np.ndarray, tmp_path: Path) -> None:
    """A region of everything changes nothing, so that a run with and without it is the same run."""
    path = store(tmp_path / "a.zarr", blobs)
    assert isinstance(open_inputs(path, ":,0:,:51")["input"], Volume)


def test_another_region_is_another_run(blobs: np.ndarray, tmp_path: Path) -> None:
    """The same region is found finished, however it is written; another is refused, saying what it was."""
    path = store(tmp_path / "a.zarr", blobs)
    first = LOCAL.run(path, tmp_path / "run", roi="3:20,:,:", workers=0, report=False)
    assert first.record["inputs"] == {"input": str(path)}
    assert first.record["parts"] == {"input": {"roi": "3:20,0:47,0:51"}}
    again = LOCAL.run(path, tmp_path / "run", roi=[(3, -20), (None, None), (0, 51)], workers=0, report=False)
    assert again.record == first.record
    for roi, said in (("4:20,:,:", "is '4:20,0:47,0:51'"), (None, "is absent")):
        with pytest.raises(ChangedError, match=f"inputs.input.roi: was '3:20,0:47,0:51', {said}"):
            LOCAL.run(path, tmp_path / "run", roi=roi, workers=0, report=False)


def test_stopped_and_continued(blobs: np.ndarray, tmp_path: Path) -> None:
    """A run on a region that is stopped continues with the blocks that are left."""

    class Kill(BaseException):
        pass

    def stop(summary: object, done: int, units: int) -> None:
        if done == 3:
            raise Kill

    path = store(tmp_path / "a.zarr", blobs)
    with pytest.raises(Kill):
        LOCAL.run(path, tmp_path / "run", roi="5:,:,:", block=(16,), workers=0, report=False, observe=stop)
    run = LOCAL.run(path, tmp_path / "run", roi="5:,:,:", workers=0, report=False)
    assert run.record["stages"][0]["computed"] == run.record["blocks"] - 3
    np.testing.assert_array_equal(run.outputs["gaussian"].values, bigseg.gaussian(blobs[5:], sigma=1.0))


@pytest.mark.parametrize("roi", ["0:41,:,:", "9:9,:,:", ":,:", "a:b,:,:"])
def test_what_is_no_region_is_refused_before_anything(blobs: np.ndarray, tmp_path: Path, roi: str) -> None:
    """An empty region, or one outside, leaves no folder behind."""
    path = store(tmp_path / "a.zarr", blobs)
    with pytest.raises(ParameterError, match="roi"):
        LOCAL.run(path, tmp_path / "run", roi=roi, workers=0)
    assert not (tmp_path / "run").exists()


def test_only_its_chunks_must_be_there(blobs: np.ndarray, tmp_path: Path) -> None:
    """A chunk that is missing outside of the region is no concern, one inside of it is refused."""
    path = store(tmp_path / "a.zarr", blobs)  # chunks of 11
    (path / "c" / "3" / "0" / "0").unlink()
    run = LOCAL.run(path, tmp_path / "run", roi=":33,:,:", workers=0, report=False)
    np.testing.assert_array_equal(run.outputs["gaussian"].values, bigseg.gaussian(blobs[:33], sigma=1.0))
    with pytest.raises(MissingChunkError, match="1 chunks are missing"):
        LOCAL.run(path, tmp_path / "other", roi=":34,:,:", workers=0)


def test_damage_is_told_in_the_whole_volume(tmp_path: Path) -> None:
    """A voxel that is no number is named by its place in the file."""
    array = np.zeros((20, 20), np.float32)
    array[12, 17] = np.nan
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(bigseg.BigsegError, match=r"near \(12, 17\)"):
        LOCAL.run(tmp_path / "a.npy", tmp_path / "run", roi="10:,15:", workers=0)


@pytest.mark.parametrize("box", [Box((0, 0), (64, 64)), Box((5, 0), (60, 33)), Box((16, 31), (49, 64))])
def test_the_plan_counts_the_chunks_of_the_whole(box: Box) -> None:
    """The decode factor is that of the chunks which a region that is not aligned with them really touches."""
    chunk, depth, block = (16, 16), (3, 2), (20, 11)
    read = Read(Cropped(Held(np.zeros((64, 64)), Spec((64, 64), np.dtype(float), ("y", "x"), (1.0, 1.0))), box))
    grid = Grid(box.shape, block)
    decoded = 0
    for item in grid:
        outer = read.below(item.inner.grow(depth, box.shape))
        rows, columns = ({voxel // 16 for voxel in range(a, b)} for a, b in zip(*outer, strict=True))
        decoded += 256 * len(rows) * len(columns)
    assert decoded_voxels(grid, (1, 1), chunk, depth, read.below) == decoded


def test_crops_of_crops(blobs: np.ndarray) -> None:
    """A preview of a region cuts a piece from the piece: the same voxels, the right place."""
    held = Held(blobs, Spec(blobs.shape, blobs.dtype, ("z", "y", "x"), (2.0, 1.0, 1.0)))
    inner = Cropped(Cropped(held, Box((3, 4, 5), (30, 40, 50))), Box((1, 2, 3), (5, 6, 7)))
    np.testing.assert_array_equal(inner.read(Box((0, 0, 0), (4, 4, 4))), blobs[4:8, 6:10, 8:12])
    assert inner.spec.origin == (8.0, 6.0, 8.0)


def test_preview_and_ingest(blobs: np.ndarray, tmp_path: Path) -> None:
    """A preview counts planes within the region; an ingest stores it alone, and knows it again."""
    path = store(tmp_path / "a.zarr", blobs)
    found = LOCAL.preview(path, z=2, roi="10:20,:,:")
    assert "plane 2 of 10" in found.note
    for _ in range(2):
        image = ingest(path, tmp_path / "b.ome.zarr", roi="10:20,:,5:", workers=0)
    np.testing.assert_array_equal(bigseg.open_volume(tmp_path / "b.ome.zarr").values, blobs[10:20, :, 5:])
    assert image.spec.origin == (10.0, 0.0, 5.0)
    with pytest.raises(ChangedError, match="roi: was '10:20,0:47,5:51', is '10:20,0:47,6:51'"):
        ingest(path, tmp_path / "b.ome.zarr", roi="10:20,:,6:", workers=0)


def test_report_shows_the_part(blobs: np.ndarray, tmp_path: Path) -> None:
    """The report draws the region of the input, not the whole, and says which it is."""
    from bigseg.report.planes import Levels

    path = store(tmp_path / "a.zarr", blobs)
    run = PIPE.run(path, tmp_path / "run", roi="3:31,5:40,7:45", workers=0)
    page = run.report.read_text()
    assert "voxels 3:31,5:40,7:45" in page
    assert "could not be" not in page
    shown = Levels(str(path), (28, 35, 38), run.record["parts"]["input"])
    np.testing.assert_array_equal(shown.read(Box((9, 0, 0), (10, 35, 38)), "z").plane, blobs[12, 5:40, 7:45])


def test_axes_stored_in_another_order(blobs: np.ndarray, tmp_path: Path) -> None:
    """In a volume stored as x, y, z the region is still z, y, x, and so are the chunks that must be there."""
    path = tmp_path / "xyz.zarr"
    stored = zarr.create_array(
        store=str(path),
        shape=blobs.T.shape,
        dtype=blobs.dtype,
        chunks=(20, 20, 20),
        dimension_names=("x", "y", "z"),
        config={"write_empty_chunks": True},
    )
    stored[...] = blobs.T
    (path / "c" / "2" / "0" / "0").unlink()  # x from 40
    run = LOCAL.run(path, tmp_path / "run", roi=":,:,:40", block=(16,), workers=0, report=False)
    wanted = bigseg.gaussian(np.ascontiguousarray(blobs[:, :, :40]), sigma=1.0)
    np.testing.assert_array_equal(run.outputs["gaussian"].values, wanted)
    with pytest.raises(MissingChunkError, match="1 chunks are missing"):
        LOCAL.run(path, tmp_path / "other", roi=":20,:20,:41", workers=0)
