"""Overlaps of two volumes: the library's table, every dtype, the function on arrays, refusals."""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import contingency_table

import bigseg
from bigseg.errors import ParameterError, PipelineError
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step
from tests.ops.cases.relations import overlaps
from tests.ops.test_components import shapes
from tests.volumes import store


@settings(max_examples=20)
@given(shapes, st.integers(1, 300), st.booleans(), st.integers(0, 2**31))
def test_any_volumes_in_any_blocks(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], most: int, ignore: bool, seed: int
) -> None:
    """Random labels of two dtypes, from files, in random blocks: numpy's table, and scikit-image's counts."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, most, shape).astype("uint32"), rng.integers(0, 4, shape).astype("uint8")
    tmp = tmp_path_factory.mktemp("overlap")
    block = tuple(int(rng.integers(max(1, n // 3), n + 2)) for n in shape)
    inputs = {"a": store(tmp / "a.zarr", a), "b": store(tmp / "b.zarr", b)}
    steps = [Step("table", bigseg.Contingency(other="b", ignore_zero=ignore), ("a",))]
    run = Pipeline(steps).run(inputs, tmp / "run", block=block, workers=0, report=False)
    found = run.tables["table"]
    pd.testing.assert_frame_equal(found, overlaps(a, b, ignore), check_dtype=False)
    assert run.values["table"] == {"pairs": len(found)}
    if not ignore:
        dense = contingency_table(a, b).tocoo()
        wanted = {(p, q): int(n) for p, q, n in zip(dense.row, dense.col, dense.data, strict=True)}
        assert {(p, q): n for p, q, n in found.itertuples(index=False)} == wanted


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"])
def test_columns_have_the_dtypes_of_the_volumes(dtype: str) -> None:
    """Every integer dtype, by place and by name; masks count as 0 and 1; negative values come first."""
    a = np.array([[0, 1, 1], [3, -2 if np.dtype(dtype).kind == "i" else 2, 3]]).astype(dtype)
    b = np.array([[5, 5, 6], [0, 0, 0]], np.uint16)
    found = bigseg.contingency(a, b)
    shown = np.dtype(np.uint8) if dtype == "bool" else a.dtype
    assert [str(kind) for kind in found.dtypes] == [str(shown), "uint16", "int64"]
    pd.testing.assert_frame_equal(found, overlaps(a.astype(shown).astype("int64"), b), check_dtype=False)
    assert bigseg.contingency(a, other=b).equals(found)
    assert bigseg.Contingency(other="b").op == "contingency"


def test_volumes_by_place_or_by_name() -> None:
    """What a parameter refers to may follow the first volume by place: intensities too."""
    labels, image = np.array([[1, 1, 0, 2]], "uint8"), np.array([[5, 7, 9, 1]], "uint16")
    assert bigseg.regions(labels, image).equals(bigseg.regions(labels, intensity=image))
    assert bigseg.regions(labels, image)["intensity_max"].tolist() == [7, 1]
    assert list(signature(bigseg.contingency).parameters) == ["volume", "other", "ignore_zero"]


def test_dataarrays_and_masks_made_in_the_run(tmp_path: Path, blobs: np.ndarray) -> None:
    """DataArrays in, a DataFrame out; a mask and labels of one run are compared where they are made."""
    frame = xr.DataArray(blobs, dims=("z", "y", "x"))
    assert bigseg.contingency(frame, frame // 2)["num_pixels"].sum() == blobs.size
    steps = [
        Step("dark", bigseg.Threshold(below=80)),
        Step("objects", bigseg.Label()),
        Step("large", bigseg.RemoveSmall(min_size=200)),
        Step("table", bigseg.Contingency(other="dark"), ("large",)),
    ]
    run = Pipeline(steps).run(store(tmp_path / "v.zarr", blobs), tmp_path / "run", block=(17,), workers=0)
    found = run.tables["table"]
    assert set(zip(found["label_a"] > 0, found["label_b"], strict=True)) == {(False, 0), (False, 1), (True, 1)}
    assert found["num_pixels"].sum() == blobs.size
    assert (found.loc[found["label_a"] > 0, "num_pixels"] >= 200).all()


def test_refusals(tmp_path: Path) -> None:
    """Real numbers, other shapes, unknown names, and volumes given twice, each named."""
    labels = np.ones((4, 5), "uint8")
    with pytest.raises(PipelineError, match="counts pairs of integers"):
        bigseg.contingency(labels, labels * 0.5)
    with pytest.raises(PipelineError, match="is no volume before it; those are"):
        bigseg.contingency(labels, other="truth")
    with pytest.raises(PipelineError, match="other"):
        bigseg.contingency(labels)
    with pytest.raises(ParameterError, match="each once"):
        bigseg.contingency(labels, labels, other=labels)
    with pytest.raises(ParameterError, match="each once"):
        bigseg.contingency(labels, labels, labels)
    with pytest.raises(bigseg.BigsegError, match="same shape"):
        bigseg.contingency(labels, labels[:3])
