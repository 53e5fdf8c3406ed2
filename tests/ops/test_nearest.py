"""Nearest objects: the definition in any slabs, physical distances, ties, limits, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import ndimage

import bigseg
from bigseg.errors import BigsegError, PipelineError
from bigseg.ops import nearest
from bigseg.pipeline.pipeline import Pipeline
from tests.ops.cases.relations import neighbours
from tests.volumes import store


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, rtol=1e-12, atol=0)


@pytest.mark.parametrize("slab", [1, 7, 1 << 18])
@pytest.mark.parametrize("k", [1, 4, 64])
def test_slabs_of_any_size(blobs: np.ndarray, monkeypatch: pytest.MonkeyPatch, slab: int, k: int) -> None:
    """From an object a slab to all in one, read in batches of a few rows: the same table, bit for bit."""
    labels = ndimage.label(blobs < 90)[0].astype(np.uint16)
    whole = bigseg.nearest(labels, k=k)
    monkeypatch.setattr(nearest, "SLAB", slab)
    monkeypatch.setattr(nearest, "BATCH", 10)
    found = bigseg.nearest(labels, k=k)
    assert found.equals(whole)
    same(found, neighbours(labels, k))


def test_a_lattice_of_equal_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six neighbours at one distance, labels in no order: the smallest labels, whatever the slabs."""
    labels = np.zeros((13, 14, 15), np.uint32)
    some = labels[::2, ::2, ::2]
    some[...] = np.random.default_rng(2).permutation(some.size).reshape(some.shape) + 1
    for slab in (20, 1 << 18):
        monkeypatch.setattr(nearest, "SLAB", slab)
        assert (bigseg.nearest(labels, k=3).to_numpy() == neighbours(labels, 3).to_numpy()).all()


def test_distances_are_physical(monkeypatch: pytest.MonkeyPatch, blobs: np.ndarray) -> None:
    """Spacing decides who is nearest, and along which axis slabs lie; limits take units; origins cancel out."""
    monkeypatch.setattr(nearest, "SLAB", 5)
    labels = ndimage.label(blobs < 90)[0].astype(np.uint8)
    for spacing in ((4.0, 0.5, 0.25), (0.25, 0.5, 4.0)):
        frame = xr.DataArray(labels, dims=("z", "y", "x"), attrs={"spacing": spacing, "unit": "micrometer"})
        same(bigseg.nearest(frame, k=2), neighbours(labels, 2, spacing=spacing))
        wanted = neighbours(labels, 3, 9.5, spacing)
        assert 0 < len(wanted) < 3 * labels.max()
        same(bigseg.nearest(frame, k=3, max_distance=9.5), wanted)
        same(bigseg.nearest(frame, k=3, max_distance="9500 nm"), wanted)
    with pytest.raises(BigsegError, match="has a unit"):
        bigseg.nearest(labels, max_distance="3 um")


def test_after_predicates_and_beside_regions(tmp_path_factory: pytest.TempPathFactory, blobs: np.ndarray) -> None:
    """Only objects that are shown are neighbours; the labelling is shared with the regions table."""
    tmp = tmp_path_factory.mktemp("chain")
    steps = [
        bigseg.Threshold(below=85),
        bigseg.Label(),
        bigseg.RemoveSmall(min_size=30),
        bigseg.Nearest(k=2),
        bigseg.Regions(),
    ]
    volume = store(tmp / "v.zarr", blobs)
    pipeline = Pipeline(steps)
    assert sum(stage.kind == "pass" for stage in pipeline.plan(volume, workers=0).stages) == 1
    run = pipeline.run(volume, tmp / "run", block=(16,), workers=0, report=False)
    labels = ndimage.label(blobs < 85)[0]
    shown = np.where(np.bincount(labels.ravel())[labels] >= 30, labels, 0)
    same(run.tables["nearest"], neighbours(shown, 2))
    assert run.tables["nearest.objects"]["label"].equals(run.tables["regions"]["label"])


def test_none_and_one() -> None:
    """No object, or a single one: an empty table with its columns; two: each the other's."""
    for labels in (np.zeros((3, 4), "uint8"), np.ones((3, 4, 5), "uint8")):
        found = bigseg.nearest(labels)
        assert list(found) == ["label", "neighbour", "nearest_label", "distance"]
        assert not len(found)
    pair = bigseg.nearest(np.array([[7, 7, 0, 3]], "uint32"), k=5)
    assert pair.to_numpy().tolist() == [[3, 1, 7, 2.5], [7, 1, 3, 2.5]]


def test_refusals() -> None:
    """Masks, real numbers and distances that cannot be."""
    labels = np.ones((3, 4), "uint8")
    with pytest.raises(PipelineError, match="its input is a mask"):
        bigseg.nearest(labels > 0)
    with pytest.raises(PipelineError, match="float"):
        bigseg.nearest(labels * 0.5)
    with pytest.raises(PipelineError, match="max_distance"):
        bigseg.nearest(labels, max_distance=0)
    with pytest.raises(PipelineError, match="expected a length"):
        bigseg.nearest(labels, max_distance="3 um2")
