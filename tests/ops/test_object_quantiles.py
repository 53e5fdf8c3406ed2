"""Quantiles within objects: numpy's, to the bit, for any labels, values and blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bigseg
from bigseg.errors import PipelineError
from bigseg.ops import keyed, object_quantiles
from bigseg.ops.keyed import Share
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step
from tests.ops.cases.relations import quantiles
from tests.ops.test_components import shapes
from tests.volumes import store

EVERY = (0.0, 2.5, 25.0, 50.0, 66.6, 100.0)


@settings(max_examples=25)
@given(shapes, st.sampled_from(["uint8", "int8", "uint16", "int16"]), st.integers(1, 30), st.integers(0, 2**31))
def test_any_objects_in_any_blocks(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], dtype: str, most: int, seed: int
) -> None:
    """Random labels and values of the whole range: objects of one voxel, across all blocks, negative values."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, most + 1, shape).astype("uint16")
    info = np.iinfo(dtype)
    image = rng.integers(info.min, info.max + 1, shape).astype(dtype)
    tmp = tmp_path_factory.mktemp("quantiles")
    block = tuple(int(rng.integers(max(1, n // 3), n + 2)) for n in shape)
    steps = [Step("q", bigseg.ObjectQuantiles(intensity="image", percentages=EVERY), ("labels",))]
    inputs = {"labels": store(tmp / "l.zarr", labels), "image": store(tmp / "i.zarr", image)}
    run = Pipeline(steps).run(inputs, tmp / "run", block=block, workers=0, report=False)
    wanted = quantiles(labels, image, EVERY)
    assert (run.tables["q"].to_numpy() == wanted.to_numpy()).all()
    assert run.values["q"] == {"objects": len(wanted)}


def test_no_object_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ranges of a few rows, objects with many values stay whole: one row each."""
    monkeypatch.setattr(object_quantiles, "SHARES", {1: Share(1), 2: Share(1)})
    monkeypatch.setattr(keyed, "ONE_ROUND", 1)
    rng = np.random.default_rng(0)
    labels, image = rng.integers(0, 4, (12, 13, 14)).astype("uint8"), rng.integers(0, 256, (12, 13, 14)).astype("uint8")
    found = Pipeline([Step("result", bigseg.ObjectQuantiles(intensity="image"))])
    inputs = {"input": store(tmp_path / "l.zarr", labels), "image": store(tmp_path / "i.zarr", image)}
    table = found.run(inputs, tmp_path / "run", block=(4,), workers=0, report=False).tables["result"]
    assert (table.to_numpy() == quantiles(labels, image, (5, 25, 50, 75, 95)).to_numpy()).all()
    assert table.equals(bigseg.object_quantiles(labels, image))


def test_refusals_and_nothing() -> None:
    """Wide values, masks and no percentage are refused; no object is an empty table."""
    labels = np.ones((3, 4), "uint8")
    with pytest.raises(PipelineError, match="expected 8 or 16-bit integers"):
        bigseg.object_quantiles(labels, labels.astype("float32"))
    with pytest.raises(PipelineError, match="its input is a mask"):
        bigseg.object_quantiles(labels > 0, labels)
    for percentages in ((), (5, 5), (101,)):
        with pytest.raises(PipelineError, match="percentages"):
            bigseg.object_quantiles(labels, labels, percentages=percentages)
    found = bigseg.object_quantiles(labels * 0, labels > 0, percentages=(12.5,))
    assert list(found) == ["label", "num_pixels", "intensity_p12.5"]
    assert not len(found)
