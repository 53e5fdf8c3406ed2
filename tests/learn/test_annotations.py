"""Annotated voxels: the same table from any blocks, only what is annotated is read, wrong annotations are refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from bigseg.engine.source import Held
from bigseg.errors import InputError, ParameterError, StorageError
from bigseg.functions import describe
from bigseg.grid import Box
from bigseg.learn.annotations import Annotated, Labels, annotated_table
from bigseg.learn.points import read_points
from bigseg.learn.sampled import Regions, Sampling, block_folds, known_voxels
from bigseg.local.features.stack import features_of
from bigseg.local.models.sampling import hashes
from bigseg.ops.learning.features import Features
from bigseg.pipeline.training import make_train, open_labels
from bigseg.storage.sources.opening import open_source
from bigseg.storage.spec import Spec
from tests.local.crops import textured

SHAPE = (20, 26, 30)
IMAGE = textured(SHAPE, "uint8")
SPEC = describe(IMAGE)
FEATURES = Features(intensity=True, gaussian=(1.0,), position=10)
STACK = FEATURES.stack(SPEC)


def painted(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A few strokes of three classes."""
    labels = np.zeros(shape, np.uint8)
    rng = np.random.default_rng(seed)
    for value in (1, 2, 3):
        for _ in range(3):
            start = [int(rng.integers(0, n - 4)) for n in shape]
            labels[tuple(slice(a, a + 4) for a in start)] = value
    return labels


def held(array: np.ndarray) -> Held:
    return Held(array, describe(array))


def volume(labels: np.ndarray, name: str = "a", image: np.ndarray = IMAGE, **known: Any) -> Annotated:
    return Annotated(name, (held(image),), Labels(held(labels)), **known)


@dataclass(frozen=True, eq=False)
class Watched:
    """A source that remembers which boxes were read."""

    array: np.ndarray
    spec: Spec
    boxes: list[Box] = field(default_factory=list)

    def read(self, box: Box) -> np.ndarray:
        self.boxes.append(box)
        return self.array[box.slices]


@pytest.mark.parametrize("block", [(20, 26, 30), (7, 26, 11), (5, 9, 4)])
@pytest.mark.parametrize(("voxels", "balanced"), [(None, False), (100, False), (90, True)])
def test_blocks_do_not_show(block: tuple[int, ...], voxels: int | None, balanced: bool) -> None:
    """Rows are the features of the whole array at the voxels with the least hashes, in the order of their index."""
    labels = painted()
    sampling = Sampling(voxels, balanced, seed=5)
    table = annotated_table([volume(labels)], STACK, sampling, block=block, threads=2)
    index = np.flatnonzero(labels)
    truth = labels.reshape(-1)[index]
    if voxels is not None:
        rank = np.lexsort((index, hashes(5, index.astype(np.uint64))))
        if balanced:
            index = np.sort(np.concatenate([index[rank][truth[rank] == value][:30] for value in (1, 2, 3)]))
        else:
            index = np.sort(index[rank][:voxels])
    wanted = features_of(STACK, [IMAGE], tuple(slice(0, n) for n in SHAPE)).reshape(len(STACK.names), -1)[:, index]
    np.testing.assert_array_equal(table.index, index)
    np.testing.assert_array_equal(table.truth, labels.reshape(-1)[index])
    assert table.planes.tobytes() == np.ascontiguousarray(wanted).tobytes()
    assert table.sources[0].voxels == index.size


def test_several_volumes_and_parts() -> None:
    """Volumes of other shapes stand one after the other, each voxel with its part and its own hashes."""
    small = textured((9, 12, 14), "uint8", seed=3)
    regions = Regions(((0, Box((0, 0, 0), (20, 26, 15))), (2, Box((0, 0, 15), SHAPE))))
    labels, other = painted(), painted(1, small.shape)
    several = [volume(labels, regions=regions), volume(other, "b", small)]
    table = annotated_table(several, STACK, Sampling(None), block=(6, 6, 6))
    known = (labels[..., :15] > 0).sum(), (labels[..., 15:] > 0).sum(), (other > 0).sum()
    assert table.only("train").sum() == known[0] + known[2]
    assert table.only("test").sum() == known[1]
    assert [(item.volume, item.voxels) for item in table.sources] == [("a", known[0] + known[1]), ("b", known[2])]
    assert (np.diff(table.volume) >= 0).all()
    frame = table.frame(STACK.names, SPEC.axes)
    row = frame[frame["volume"] == 1].iloc[5]
    assert small[row["z"], row["y"], row["x"]] == row["intensity"]
    assert other[row["z"], row["y"], row["x"]] == row["truth"]
    again = annotated_table(several, STACK, Sampling(40), block=(20, 5, 30))
    some = annotated_table(several, STACK, Sampling(40), block=(9, 9, 9))
    assert again.planes.tobytes() == some.planes.tobytes()
    assert again.only("train").sum() == 40 == again.only("test").sum()


def test_only_what_is_annotated_is_read() -> None:
    """Of the image only the box around the painted voxels of a block is read, with the halo."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[10, 12, 14], labels[10, 13, 16] = 1, 2
    image = Watched(IMAGE, SPEC)
    annotated_table([Annotated("a", (image,), Labels(held(labels)))], STACK, Sampling(), block=(20, 26, 30))
    assert image.boxes == [Box((6, 8, 10), (15, 18, 21))]


def test_what_labels_mean() -> None:
    """0 is unknown, a class or the half of a mask, as it is told."""
    labels, everywhere = np.array([0, 2, 0, 5]), np.zeros(4, np.uint8)
    for kind, place, truth in (
        ("sparse", [1, 3], [2, 5]),
        ("mask", [0, 1, 2, 3], [0, 1, 0, 1]),
        ("dense", [0, 1, 2, 3], [0, 2, 0, 5]),
        ("values", [0, 1, 2, 3], [0, 2, 0, 5]),
    ):
        found = known_voxels(labels, kind, everywhere)  # type: ignore[arg-type]
        assert (found.place.tolist(), found.truth.tolist()) == (place, truth), kind
        assert found.truth.dtype == (np.float32 if kind == "values" else np.uint8)
    assert known_voxels(labels, "dense", np.array([255, 1, 255, 0], np.uint8)).part.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "kind", "why"),
    [
        (np.array([0, 300]), "sparse", "classes of 1 to 255"),
        (np.array([-1, 1]), "dense", "classes of 1 to 255"),
        (np.array([0.5, 1.0]), "sparse", "whole numbers"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: np.ndarray, kind: Any, why: str) -> None:
    """Classes beyond a byte, negative ones and floats are refused."""
    with pytest.raises(InputError, match=why):
        known_voxels(labels, kind, np.zeros(2, np.uint8))


def test_refuses_what_cannot_be_trained_on() -> None:
    """Nothing painted, other shapes and regions that share voxels are refused."""
    with pytest.raises(InputError, match="no voxel is annotated"):
        annotated_table([volume(np.zeros(SHAPE, np.uint8))], STACK, Sampling())
    only_test = Regions(((2, Box((0, 0, 0), SHAPE)),))
    with pytest.raises(InputError, match="for training"):
        annotated_table([volume(painted(), regions=only_test)], STACK, Sampling())
    with pytest.raises(InputError, match=r"shape \(9, 9\).*expected the same"):
        volume(np.zeros((9, 9), np.uint8))
    with pytest.raises(ParameterError, match="share voxels"):
        Regions(((0, Box((0, 0), (5, 5))), (2, Box((4, 4), (9, 9)))))


def test_missing_chunks_are_not_painted(tmp_path: Path) -> None:
    """A Zarr of labels without its empty chunks, as napari writes it, and a TIFF give the same table."""
    labels = painted()
    array = zarr.create_array(store=str(tmp_path / "l.zarr"), shape=SHAPE, dtype="uint8", chunks=(5, 5, 5))
    array[...] = labels
    assert len(list((tmp_path / "l.zarr" / "c").rglob("*"))) < 6 * 6 * 6
    tifffile.imwrite(tmp_path / "l.tif", labels, photometric="minisblack")
    op = make_train({"features": FEATURES}, "test")
    tables = [
        annotated_table([Annotated("a", (held(IMAGE),), open_labels(str(tmp_path / name), op))], STACK, Sampling())
        for name in ("l.zarr", "l.tif")
    ]
    assert tables[0].planes.tobytes() == tables[1].planes.tobytes()
    assert tables[0].index.size == (labels > 0).sum()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_points(ending: str, tmp_path: Path) -> None:
    """Points with classes by name, as napari or any program writes them; the same point twice counts once."""
    rows = {"axis-0": [1, 4, 4], "axis-1": [2.4, 5, 5.0], "axis-2": [3, 6, 6], "label": ["bone", "air", "air"]}
    frame = pd.DataFrame(rows)
    path = tmp_path / f"points.{ending}"
    if ending == "csv":
        frame.to_csv(path)
    else:
        frame.to_parquet(path)
    found = read_points(path, SPEC)
    assert found.names == {1: "air", 2: "bone"}
    table = annotated_table([Annotated("a", (held(IMAGE),), found)], STACK, Sampling(), block=(5, 5, 5))
    assert table.truth.tolist() == [2, 1]
    np.testing.assert_array_equal(table.planes[0], [IMAGE[1, 2, 3], IMAGE[4, 5, 6]])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("z,y,x\n1,2,3", "class or label or truth"),
        ("z,y,class\n1,2,3", "column x or axis-2"),
        ("z,y,x,class\n1,2,99,1", "points from x"),
        ("z,y,x,class\n1,2,a,1", "no number"),
        ("z,y,x,class\n1,2,3,1\n1,2,3.2,2", "two classes"),
        ("z,y,x,class\n1,2,3,300", "0 to 255"),
        ("z,y,x,class\n1,2,3,wood", "unknown class 'wood'"),
    ],
)
def test_points_that_do_not_fit_are_refused(text: str, why: str, tmp_path: Path) -> None:
    """Missing columns, points outside, one voxel of two classes, unknown names."""
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=why):
        read_points(tmp_path / "p.csv", SPEC, {1: "bone", 2: "air"})
    with pytest.raises(StorageError, match="cannot read"):
        read_points(tmp_path / "none.csv", SPEC)


def test_folds_are_whole_blocks() -> None:
    """All voxels of a block fall into one fold, and every fold gets some blocks."""
    index = np.arange(np.prod(SHAPE), dtype=np.uint64)
    fold = block_folds(index, SHAPE, (5, 13, 10), 3, seed=1).reshape(SHAPE)
    blocks = [fold[z : z + 5, y : y + 13, x : x + 10] for z in range(0, 20, 5) for y in (0, 13) for x in (0, 10, 20)]
    assert all(block.min() == block.max() for block in blocks)
    assert set(np.unique(fold)) == {0, 1, 2}


def test_a_png_is_a_mask(tmp_path: Path) -> None:
    """A PNG of 0 and 255 is a mask of two classes."""
    from PIL import Image

    Image.fromarray((painted()[3] > 0).astype(np.uint8) * 255).save(tmp_path / "m.png")
    labels = Labels(open_source(tmp_path / "m.png"), "mask")
    [found] = labels.known(Box((0, 0), SHAPE[1:]), Regions())
    np.testing.assert_array_equal(found.truth, (painted()[3] > 0).ravel())
