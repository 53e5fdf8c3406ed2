"""Detections: order, scores, limits; the JSON, CSV and Parquet files say the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import ndimage

import bigseg
from bigseg.errors import PipelineError, ValuesError
from bigseg.ops import detect
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step
from bigseg.storage.lazy import open_volume
from tests.ops.cases.relations import detections
from tests.volumes import store

SPACING = (2.0, 0.5, 0.25)


def physical(array: np.ndarray) -> xr.DataArray:
    attributes = {"spacing": SPACING[-array.ndim :], "unit": "micrometer"}
    return xr.DataArray(array, dims=("z", "y", "x")[-array.ndim :], attrs=attributes)


def test_three_files_say_the_same(tmp_path: Path, blobs: np.ndarray) -> None:
    """Best first in all three; boxes in the JSON run x, y, z with sizes, and cover the object's voxels."""
    steps = [
        Step("levels", bigseg.Histogram()),
        Step("dark", bigseg.Threshold(below=80), ("input",)),
        Step("objects", bigseg.Label()),
        Step("boxes", bigseg.Detect(intensity="input", min_score="${levels.p5}", top_k=20)),
    ]
    volume = store(tmp_path / "v.zarr", blobs)
    run = Pipeline(steps, ["objects"]).run(volume, tmp_path / "run", block=(17,), workers=0)
    table = run.tables["boxes"]
    values = run.values["boxes"]
    assert pd.read_csv(run.path / values["csv"], dtype=table.dtypes.to_dict()).equals(table)
    found = json.loads((run.path / values["json"]).read_text())
    image = found["images"][0]
    assert [image[side] for side in ("depth", "height", "width")] == list(blobs.shape)
    assert image["axes"] == ["x", "y", "z"]
    assert [item["label"] for item in found["annotations"]] == table["label"].tolist()
    assert [item["score"] for item in found["annotations"]] == table["score"].tolist()
    assert len(table) == values["detections"] <= 20
    assert (table["score"] >= run.values["levels"]["p5"]).all()
    assert values["objects"] == run.values["objects"]["objects"] >= values["detections"] + values["left_out"]
    assert found["info"]["objects"] == values["detections"] + values["left_out"]
    labels = np.asarray(open_volume(run.path / "objects.ome.zarr"))
    for item in found["annotations"]:
        x, y, z, width, height, depth = item["bbox"]
        (box,) = ndimage.find_objects((labels == item["label"]).astype(np.uint8))
        assert box == (slice(z, z + depth), slice(y, y + height), slice(x, x + width))
        assert item["bbox_physical"] == [x - 0.5, y - 0.5, z - 0.5, width, height, depth]
        assert item["num_pixels"] == np.count_nonzero(labels == item["label"])
    assert run.report.exists()


@pytest.mark.parametrize("batch", [3, 1 << 16])
def test_the_best_of_all_batches(blobs: np.ndarray, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Whatever is read at once: the highest scores, of equal ones the smaller label, those too low left out."""
    labels = ndimage.label(blobs < 85)[0].astype(np.uint16)
    monkeypatch.setattr(detect, "BATCH", batch)
    for least, most in ((0, 10**6), (0, 5), (40, 8)):
        found = bigseg.detect(labels, blobs, score="intensity_mean * extent", min_score=least, top_k=most)
        wanted = detections(labels, blobs, least, most)
        pd.testing.assert_frame_equal(found, wanted, check_dtype=False, rtol=1e-12)
    ties = bigseg.detect(labels, score="num_pixels > 0 and not touches_edge", top_k=7)
    inner = bigseg.regions(np.asarray(bigseg.clear_border(labels)))["label"]
    assert ties["label"].tolist() == inner[:7].tolist()
    assert ties["score"].tolist() == [1.0] * 7


def test_physical_boxes_and_scores_with_units() -> None:
    """Boxes reach from edge to edge of their voxels; a score may be a volume, and take units."""
    array = np.zeros((4, 6, 8), "uint8")
    array[1:3, 2:5, 4:8] = 9
    array[3, 5, 0] = 2
    found = bigseg.detect(physical(array), score="volume / 1 um3", min_score=1)
    assert found["label"].tolist() == [9]
    assert found["score"].tolist() == found["area"].tolist() == [24 * 0.25]
    assert found.filter(like="bbox_physical").to_numpy().tolist() == [[1.0, 0.75, 0.875, 5.0, 2.25, 1.875]]
    long = bigseg.detect(physical(array), score="axis_major_length + area_bbox / area * 1 um")
    wanted = bigseg.regions(physical(array))["axis_major_length"] + 1
    assert long["label"].tolist() == [9, 2]
    assert long["score"].tolist() == wanted[::-1].tolist()
    flat = bigseg.detect(physical(array[2]))
    assert flat.filter(like="bbox_physical").to_numpy().tolist() == [[0.75, 0.875, 2.25, 1.875]]
    assert flat["score"].tolist() == [12.0]


def test_several_intensities_and_those_made_from_the_objects(tmp_path: Path, blobs: np.ndarray) -> None:
    """Columns of several volumes carry their names; one that depends on the labels gets a labelling of its own."""
    steps = [
        Step("dark", bigseg.Threshold(below=80), ("input",)),
        Step("objects", bigseg.Label()),
        Step("large", bigseg.RemoveSmall(min_size=50), ("objects",)),
        Step(
            "boxes",
            bigseg.Detect(intensity=("input", "large"), score="intensity_min-input + 1000 * (intensity_max-large > 0)"),
            ("objects",),
        ),
    ]
    run = Pipeline(steps).run(store(tmp_path / "v.zarr", blobs), tmp_path / "run", block=(20,), workers=0, report=False)
    table = run.tables["boxes"]
    assert ((table["score"] >= 1000) == (table["num_pixels"] >= 50)).all()
    assert (table["num_pixels"] >= 50).any()
    assert (table["num_pixels"] < 50).any()


def test_no_objects() -> None:
    """Files without a detection are whole, with their columns."""
    found = bigseg.detect(np.zeros((5, 6), "uint8"), np.zeros((5, 6), "float32"))
    assert not len(found)
    assert list(found)[:2] == ["label", "score"]
    assert not len(bigseg.detect(np.ones((5, 6), "uint8"), min_score=31))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"score": "volme"}, "did you mean 'volume'"),
        ({"score": "3 + 4"}, "expected a column"),
        ({"score": "intensity_mean"}, "need `intensity`"),
        ({"score": "num_pixels + volume"}, "cannot be compared or added"),
        ({"score": "num_pixels * ${levels.otsu}"}, "refers to no earlier step"),
        ({"top_k": 0}, "top_k"),
        ({"min_score": "high"}, "min_score"),
    ],
)
def test_what_cannot_be_a_score_is_refused(parameters: dict[str, object], said: str) -> None:
    """Names, units and numbers are checked before anything runs."""
    with pytest.raises(PipelineError, match=said):
        bigseg.detect(physical(np.ones((3, 4, 5), "uint8")), **parameters)


def test_scores_that_are_no_numbers_are_refused() -> None:
    """A division by zero names the label, and what to do."""
    with pytest.raises(ValuesError, match=r"label 1: expected finite numbers"):
        bigseg.detect(np.ones((3, 4), "uint8"), score="num_pixels / (extent - 1)")
    with pytest.raises(PipelineError, match="its input is a mask"):
        bigseg.detect(np.ones((3, 4), bool))
