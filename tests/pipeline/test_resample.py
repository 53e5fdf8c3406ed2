"""Another voxel size: interpolated block by block, the same bits for any block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import bigseg
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.engine.resampled import Resampled, resampled
from bigseg.engine.source import Cropped, Held
from bigseg.errors import ChangedError, InputError, ParameterError
from bigseg.grid import Box, Grid
from bigseg.local.filters.linear import gaussian
from bigseg.pipeline.geometry import open_inputs
from bigseg.pipeline.ingest import ingest
from bigseg.storage.sources.opening import open_source
from bigseg.storage.spec import Spec
from tests.memory import bytes_held
from tests.volumes import store

AXES = ("z", "y", "x")
MASK = bigseg.Pipeline([bigseg.Step("m", bigseg.Threshold(above=120))])


def held(array: np.ndarray, spacing: tuple[float, ...] | None = None, kind: Any = "image", unit: str = "") -> Held:
    """An array as a source."""
    spacing = spacing or (1.0,) * array.ndim
    return Held(array, Spec(array.shape, array.dtype, AXES[-array.ndim :], spacing, unit, kind))


def whole(origin: Any) -> np.ndarray:
    """All voxels of a source."""
    return np.asarray(origin.read(Box.whole(origin.spec.shape)))


@pytest.mark.parametrize("size", [(2.0, 2.0, 2.0), (0.5, 2.0, 4.0), (4.0, 1.0, 0.25)])
@pytest.mark.parametrize("ndim", [2, 3])
def test_equals_zoom_where_voxels_divide_evenly(size: tuple[float, ...], ndim: int) -> None:
    """Linear and nearest are scipy.ndimage.zoom on pixel cells (grid_mode), which is skimage's resize."""
    array = np.random.default_rng(1).normal(100, 20, (16, 24, 12)[-ndim:]).astype(np.float32)
    for order, method in ((1, "linear"), (0, "nearest")):
        found = whole(Resampled(held(array), size[-ndim:], method))  # type: ignore[arg-type]
        for mode in ("nearest", "reflect"):
            zoom = [1 / step for step in size[-ndim:]]
            wanted = ndimage.zoom(array.astype(float), zoom, order=order, mode=mode, grid_mode=True)
            assert found.dtype == np.float32
            if method == "linear":
                np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.ptp(array))
            elif max(size[-ndim:]) <= 1:
                np.testing.assert_array_equal(found, wanted.astype(np.float32))


@pytest.mark.parametrize("size", [(2.3, 0.7, 1.9), (0.31, 5.0, 1.0)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "float64"])
def test_equals_map_coordinates(size: tuple[float, ...], dtype: str) -> None:
    """For any ratio voxels are those at the centres of the new cells; integers are rounded half up."""
    array = np.random.default_rng(1).normal(60, 20, (11, 23, 17)).astype(dtype)
    found = whole(Resampled(held(array), size))
    lengths = [max(1, int(n / s + 0.5)) for n, s in zip(array.shape, size, strict=True)]
    centres = np.meshgrid(*((np.arange(m) + 0.5) * s - 0.5 for m, s in zip(lengths, size, strict=True)), indexing="ij")
    wanted = ndimage.map_coordinates(array.astype(float), centres, order=1, mode="nearest")
    assert found.dtype == np.dtype(dtype)
    if array.dtype.kind == "f":
        tolerance = {"float16": 0.1, "float64": 1e-9}[dtype]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)
    else:
        sure = np.abs(wanted - np.floor(wanted) - 0.5) > 1e-6
        np.testing.assert_array_equal(found[sure], np.floor(wanted + 0.5)[sure])
        assert np.abs(found - wanted).max() < 0.5 + 1e-6


@pytest.mark.parametrize("anti_alias", [False, True])
@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_the_same_bits_for_any_block(method: Any, anti_alias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes of any shape, read in slabs of any height, hold the bits of the whole."""
    from bigseg.engine import resampled as module

    array = np.random.default_rng(4).normal(0, 1, (41, 37, 29)).astype(np.float32)
    source = Resampled(held(array), (2.7, 1.3, 0.6), method, anti_alias)
    golden = whole(source)
    for slab in (1, 1 << 14, 1 << 30):
        monkeypatch.setattr(module, "SLAB", slab)
        for block in ((4, 9, 50), (100, 1, 13), (1, 5, 3)):
            for item in Grid(golden.shape, block):
                np.testing.assert_array_equal(source.read(item.inner), golden[item.inner.slices])


@given(st.data())
def test_only_the_box_below_is_read(data: st.DataObject) -> None:
    """What `reads` says is all that a box needs: other voxels may be anything."""
    n = data.draw(st.integers(1, 30))
    size = data.draw(st.floats(0.2, 9))
    array = np.arange(n, dtype=float).reshape(1, n) ** 2
    for method in ("linear", "nearest"):
        source = Resampled(held(array), (1.0, size), method, data.draw(st.booleans()))  # type: ignore[arg-type]
        start = data.draw(st.integers(0, source.spec.shape[1] - 1))
        stop = data.draw(st.integers(start + 1, source.spec.shape[1]))
        box = Box((0, start), (1, stop))
        below = source.reads(box)
        other = np.full_like(array, np.nan)
        other[below.slices] = array[below.slices]
        spoiled = Resampled(held(other), source.spacing, source.interpolation, source.anti_alias)
        np.testing.assert_array_equal(spoiled.read(box), source.read(box))


def test_anti_aliasing_is_a_gaussian_before() -> None:
    """Reduced axes are smoothed with sigma (ratio - 1) / 2, as scikit-image's resize does; others are not."""
    array = np.random.default_rng(4).normal(0, 1, (40, 36, 30)).astype(np.float32)
    smooth = gaussian(array, (1.5, 0.5, 0.0), tuple(slice(0, n) for n in array.shape))
    found = whole(Resampled(held(array), (4.0, 2.0, 0.5), anti_alias=True))
    np.testing.assert_array_equal(found, whole(Resampled(held(smooth), (4.0, 2.0, 0.5))))
    wanted = ndimage.zoom(
        ndimage.gaussian_filter(array, (1.5, 0.5, 0)), (0.25, 0.5, 2), order=1, mode="nearest", grid_mode=True
    )
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.ptp(array))


def test_masks_and_labels_are_not_mixed() -> None:
    """Masks, labels and classes take the nearest voxel; asking for a mixture of them is refused."""
    labels = np.random.default_rng(4).integers(0, 9, (8, 40, 42)).astype(np.uint32)
    coarse = resampled(held(labels, kind="labels"), (1.0, 3.0, 3.0))
    assert coarse.interpolation == "nearest"
    np.testing.assert_array_equal(whole(coarse), labels[:, 1::3, 1::3][:, :13])
    mask = resampled(held(labels > 4, kind="mask"), "50%")
    assert whole(mask).dtype == bool
    np.testing.assert_array_equal(whole(mask), (labels > 4)[1::2, 1::2, 1::2])
    with pytest.raises(ParameterError, match="mask must not be mixed"):
        resampled(held(labels > 4, kind="mask"), {"spacing": 2, "interpolation": "linear"})


def test_the_grid_lies_edge_to_edge() -> None:
    """The voxel size is exactly what was asked for; the first voxel begins at the old one's edge."""
    origin = held(np.zeros((10, 101)), (2.0, 2.0), unit="micrometer")
    spec = resampled(origin, "5 um").spec
    assert (spec.shape, spec.spacing, spec.origin, spec.unit) == ((4, 40), (5.0, 5.0), (1.5, 1.5), "micrometer")
    assert resampled(origin, "0.005 mm").spec == spec
    assert resampled(origin, {"spacing": ["4 um", 2]}).spec.shape == (5, 101)
    assert resampled(origin, "50% 100%").spec.shape == (5, 101)
    assert resampled(origin, 2) is origin
    assert resampled(held(np.zeros((9, 9)), (0.1, 0.1)), 0.3).ratios == (3.0, 3.0)  # 0.3 / 0.1 misses 3 by a bit


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("5 um", "--spacing"),
        ("small", "expected sizes"),
        (0, "above 0"),
        ("0%", "above 0"),
        ((1.0, 2.0), "1 or 3 sizes"),
        ({"spacing": 2, "order": 3}, "expected a voxel size, or the keys"),
        ({"spacing": 2, "interpolation": "cubic"}, "expected linear or nearest"),
    ],
)
def test_what_is_refused(how: Any, message: str) -> None:
    """A size that cannot be is refused with what was expected."""
    with pytest.raises(ParameterError, match=message):
        resampled(held(np.zeros((9, 9, 9))), how)


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a block takes no more than the plan counts, however much larger what it is made of is."""
    from bigseg.engine import resampled as module

    monkeypatch.setattr(module, "SLAB", 1 << 20)

    class Copied(Held):
        """A view costs nothing; a file's box is new memory."""

        def read(self, box: Box) -> np.ndarray:
            return super().read(box).copy()

    array = np.random.default_rng(4).integers(0, 255, (160, 160, 160), np.uint8)
    spec = held(array).spec
    for method, anti_alias, size in (
        ("linear", False, 5.0),
        ("linear", True, 5.0),
        ("nearest", False, 5.0),
        ("nearest", False, 0.5),
    ):
        source = Resampled(Copied(array, spec), (size,) * 3, method, anti_alias)  # type: ignore[arg-type]
        box = Box((3, 0, 0), tuple(min(n, 32) for n in source.spec.shape))
        _, most = bytes_held(source.read, box)
        peak = most
        planned = source.memory(box.shape) + np.prod(box.shape)
        assert peak <= 1.1 * planned + 50_000
        assert planned < 8 << 20


def test_a_run_at_another_size(blobs: np.ndarray, tmp_path: Path, cluster: DaskExecutor) -> None:
    """A run on resampled voxels is that on the resampled array, on a region too, for any block and executor."""
    path = store(tmp_path / "a.zarr", blobs)
    pipe = bigseg.Pipeline.load("voids")
    spacing = {"spacing": (2.0, 1.5, 1.0), "anti_alias": True}
    cut = Cropped(open_source(path), Box((3, 0, 5), (40, 47, 45)))
    array = whole(Resampled(cut, (2.0, 1.5, 1.0), "linear", True))
    np.save(tmp_path / "b.npy", array)
    wanted = pipe.run(tmp_path / "b.npy", tmp_path / "wanted", workers=0, report=False)
    for block, where in (((8,), {"workers": 0}), ((17,), {"scheduler": cluster.client.scheduler.address})):
        out = tmp_path / f"{block[0]}"
        found = pipe.run(path, out, roi="3:,:,5:45", resample=spacing, block=block, report=block == (8,), **where)
        assert found.values == wanted.values
        np.testing.assert_array_equal(found.outputs["objects"].values, wanted.outputs["objects"].values)
        assert found.outputs["objects"].attrs["spacing"] == (2.0, 1.5, 1.0)
        assert found.outputs["objects"].attrs["origin"] == (3.5, 0.25, 5.0)
        part = found.record["parts"]["input"]
        assert part["roi"] == "3:40,0:47,5:45"
        assert part["resample"] == {"spacing": [2.0, 1.5, 1.0], "interpolation": "linear", "anti_alias": True}
    page = (tmp_path / "8" / "report.html").read_text()
    assert "could not be" not in page
    assert "resampled to voxels of" in page
    with pytest.raises(ChangedError, match=r"inputs.input.resample.spacing.0: was 2.0, is 3.0"):
        pipe.run(path, tmp_path / "8", roi="3:,:,5:45", resample=spacing | {"spacing": 3}, workers=0)


def test_two_inputs_on_one_grid(blobs: np.ndarray, tmp_path: Path) -> None:
    """Volumes of different voxel sizes meet on one grid; without it they are refused."""
    fine = open_source(store(tmp_path / "a.zarr", blobs[:, :46, :50]), spacing="1 um")
    coarse = open_source(store(tmp_path / "b.zarr", (blobs[::2, :46:2, :50:2] > 99)), spacing="2 um")
    steps = [bigseg.Step("m", bigseg.Threshold(above=120), ("ct",), "body")]
    inputs = {"ct": fine, "body": coarse}
    run = bigseg.Pipeline(steps).run(inputs, tmp_path / "run", resample="2 um", workers=0, report=False)
    wanted = whole(Resampled(fine, (2.0, 2.0, 2.0))) > 120
    np.testing.assert_array_equal(run.outputs["m"].values, wanted & (blobs[::2, :46:2, :50:2] > 99))
    with pytest.raises(InputError, match="same shape"):
        bigseg.Pipeline(steps).run(inputs, tmp_path / "other", workers=0, report=False)


def test_ingest(tmp_path: Path) -> None:
    """An image is stored at another voxel size, with a pyramid, and known again."""
    array = np.random.default_rng(3).integers(0, 60000, (12, 300, 280)).astype(np.uint16)
    np.save(tmp_path / "a.npy", array)
    for _ in range(2):
        image = ingest(tmp_path / "a.npy", tmp_path / "a.ome.zarr", spacing="1 um", resample="2 um", workers=0)
    assert image.spec.shape == (6, 150, 140)
    assert (image.spec.spacing, image.spec.origin, image.levels) == ((2.0,) * 3, (0.5,) * 3, 2)
    means = array.astype(int).reshape(6, 2, 150, 2, 140, 2).sum((1, 3, 5))
    np.testing.assert_array_equal(bigseg.open_volume(tmp_path / "a.ome.zarr").values, (means + 4) // 8)
    with pytest.raises(ChangedError, match="interpolation: was 'linear', is 'nearest'"):
        ingest(
            tmp_path / "a.npy",
            tmp_path / "a.ome.zarr",
            spacing="1 um",
            resample={"spacing": "2 um", "interpolation": "nearest"},
            workers=0,
        )


def test_what_is_dear_to_resample_is_stored(blobs: np.ndarray, tmp_path: Path) -> None:
    """Where several passes need voxels made of many, they are interpolated once; a region alone is read again."""
    path = store(tmp_path / "a.zarr", blobs)
    steps = [
        bigseg.Step("levels", bigseg.AutoThreshold(method="otsu")),
        bigseg.Step("voids", bigseg.Hysteresis(low=60, high="${levels.otsu}", polarity="below"), ("input",)),
    ]
    pipe = bigseg.Pipeline(steps, ["voids"])
    stored = [name for name, _ in pipe.plan(path, resample=4, workers=1).stored]
    assert "input" in stored
    assert "input" not in [name for name, _ in pipe.plan(path, roi="3:,:,:", workers=1).stored]


def test_preview_and_several_names(blobs: np.ndarray, tmp_path: Path) -> None:
    """A preview works on resampled voxels; all inputs are opened under their names."""
    path = store(tmp_path / "a.zarr", blobs)
    assert "plane 10 of 20" in MASK.preview(path, resample=2).note
    assert list(open_inputs({"a": path, "b": path}, resample=2)) == ["a", "b"]
