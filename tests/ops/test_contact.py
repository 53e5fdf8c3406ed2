"""Contacts: the definition on random labels and blocks, physical areas, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import bigseg
from bigseg.errors import PipelineError
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step
from tests.ops.cases.relations import contacts
from tests.ops.test_components import shapes
from tests.volumes import store


@settings(max_examples=25)
@given(shapes, st.integers(2, 200), st.sampled_from(["uint8", "uint16", "uint32"]), st.integers(0, 2**31))
def test_any_labels_in_any_blocks(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], most: int, dtype: str, seed: int
) -> None:
    """Random labels from a file, blocks of one voxel's width too: every pair with its faces along each axis."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, most, shape).astype(dtype)
    tmp = tmp_path_factory.mktemp("contact")
    block = tuple(int(rng.integers(max(1, n // 3), n + 2)) for n in shape)
    run = Pipeline([bigseg.Contact()]).run(
        store(tmp / "v.zarr", labels), tmp / "run", block=block, workers=0, report=False
    )
    found = run.tables["contact"]
    pd.testing.assert_frame_equal(found, contacts(labels), check_dtype=False)
    assert found["label_a"].dtype == labels.dtype
    assert run.values["contact"] == {"pairs": len(found)}


def test_areas_are_physical() -> None:
    """A face counts the product of the other axes' spacings; in 2-D it is a line."""
    labels = np.random.default_rng(0).integers(0, 5, (6, 7, 8)).astype("uint8")
    spacing = (2.0, 0.5, 0.25)
    for array in (labels, labels[2]):
        dims = ("z", "y", "x")[-array.ndim :]
        frame = xr.DataArray(array, dims=dims, attrs={"spacing": spacing[-array.ndim :], "unit": "micrometer"})
        pd.testing.assert_frame_equal(bigseg.contact(frame), contacts(array, spacing), check_dtype=False)


def test_labels_made_in_the_run_are_not_labelled_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    """After label and remove_small: what is painted is what touches; the pass is the one that paints."""
    tmp = tmp_path_factory.mktemp("made")
    values = np.random.default_rng(4).integers(0, 3, (20, 21, 22)).astype("uint8")
    steps = [
        Step("objects", bigseg.Label(multivalued=True)),
        Step("large", bigseg.RemoveSmall(min_size=5)),
        Step("touch", bigseg.Contact()),
    ]
    volume, pipe = store(tmp / "v.zarr", values), Pipeline(steps, ["large"])
    assert sum(stage.kind == "pass" for stage in pipe.plan(volume, block=(8,), workers=0).stages) == 2
    run = pipe.run(volume, tmp / "run", block=(8,), workers=0, report=False)
    wanted = contacts(np.asarray(run.outputs["large"]))
    assert len(wanted) > 100
    pd.testing.assert_frame_equal(run.tables["touch"], wanted, check_dtype=False)


def test_nothing_touches() -> None:
    """One object, none, or corners only: an empty table with its columns."""
    for labels in (np.zeros((3, 4), "uint8"), np.ones((3, 4), "uint8"), np.array([[1, 0], [0, 2]], "uint16")):
        found = bigseg.contact(labels)
        assert list(found) == ["label_a", "label_b", "faces-0", "faces-1", "contact_area"]
        assert not len(found)


def test_masks_and_real_numbers_are_refused() -> None:
    """A mask is one label: nothing could touch."""
    with pytest.raises(PipelineError, match="its input is a mask"):
        bigseg.contact(np.ones((3, 4), bool))
    with pytest.raises(PipelineError, match="float"):
        bigseg.contact(np.ones((3, 4)))
