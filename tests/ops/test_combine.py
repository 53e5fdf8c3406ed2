"""Arithmetic between steps and inputs: names, kinds, lazy arrays, refusals."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import bigseg
from bigseg.errors import ParameterError, PipelineError, ValuesError
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step
from tests.volumes import store

RNG = np.random.default_rng(2)
A = RNG.integers(0, 200, (13, 17, 19)).astype("uint8")
B = RNG.normal(50, 20, A.shape).astype("float32")


def test_numpy_dask_and_dataarray_give_the_same_bits() -> None:
    """By keyword and by place, in any mixture; dask stays lazy and keeps the first array's chunks."""
    wanted = A.astype("float32") / (B + np.float32(1000)) - np.float32(1)
    np.testing.assert_array_equal(bigseg.combine("a / (b + 1000) - 1", a=A, b=B), wanted)
    np.testing.assert_array_equal(bigseg.combine("x0 / (x1 + 1000) - 1", A, B), wanted)
    np.testing.assert_array_equal(bigseg.combine("x0 / (b + 1000) - 1", A, b=B), wanted)
    lazy = bigseg.combine("a / (b + 1000) - 1", a=da.from_array(A, (5, 17, 4)), b=da.from_array(B, 6))
    assert isinstance(lazy, da.Array)
    assert lazy.dtype == np.float32
    assert lazy.chunks[2] == (4, 4, 4, 4, 3)
    np.testing.assert_array_equal(lazy.compute(), wanted)
    np.testing.assert_array_equal(bigseg.combine("a / (b + 1000) - 1", a=A, b=da.from_array(B, 6)).compute(), wanted)
    frame = xr.DataArray(da.from_array(A, 6), dims=("z", "y", "x"), attrs={"spacing": (2.0, 1.0, 1.0), "unit": "um"})
    result = bigseg.combine("a > b", a=frame, b=B)
    assert result.attrs["kind"] == "mask"
    assert result.attrs["spacing"] == (2.0, 1.0, 1.0)
    np.testing.assert_array_equal(result, A > B)


def test_whole_numbers_of_24_bits_and_labels_of_32() -> None:
    """Arithmetic is exact up to 2**24; choosing keeps every label as it is."""
    labels = np.array([[2**24 + 1, 2**32 - 1]], "uint32")
    assert bigseg.combine("x0 - 1", labels)[0, 0] == 2**24 - 1
    np.testing.assert_array_equal(bigseg.combine("where(x0 > 5, x0, 0)", labels), labels)
    np.testing.assert_array_equal(bigseg.combine("x0 == 16777217", labels), [[True, False]])


@pytest.mark.parametrize(
    ("expression", "arrays", "said"),
    [
        ("a - c", {"a": A, "b": B}, "unknown name 'c'"),
        ("a - 1", {"a": A, "b": B}, "'b' does not occur"),
        ("a - b", {"a": A, "b": B[:5]}, r"'a' has shape \(13, 17, 19\), 'b' has shape \(5, 17, 19\)"),
        ("a and b", {"a": A, "b": B}, "expected a mask or a comparison"),
        ("1 + 1", {"a": A}, "'a' does not occur"),
    ],
)
def test_refusals_by_name(expression: str, arrays: dict[str, np.ndarray], said: str) -> None:
    """Unknown names, unused inputs, and shapes that disagree are refused, saying both."""
    with pytest.raises(PipelineError, match=said):
        bigseg.combine(expression, **arrays)


def test_integers_of_64_bits_stay_as_they_are() -> None:
    """A dtype that holds all integers is taken where there is one, else the step is refused: never a float."""
    mask, name = np.array([[True, False]]), 2**40 + 1
    labels, signed = np.full((1, 2), name, "uint64"), np.full((1, 2), -name, "int64")
    found = bigseg.combine("where(m, a, 0)", m=mask, a=labels)
    assert (found.dtype, found.tolist()) == (np.dtype("uint64"), [[name, 0]])
    found = bigseg.combine(f"max(a, {name})", a=signed)
    assert (found.dtype, found.tolist()) == (np.dtype("int64"), [[name, name]])
    assert bigseg.combine(f"a == {2**53 + 1}", a=np.array([[2**53, 2**53 + 1]])).tolist() == [[False, True]]
    for expression, arrays in {
        "where(m, a, -1)": {"m": mask, "a": labels},
        "max(a, b)": {"a": labels, "b": signed},
        "clip(a, -1, b)": {"a": signed, "b": labels},
        f"min(a, {2**63})": {"a": signed},
    }.items():
        with pytest.raises(PipelineError, match="no integer dtype holds all of "):
            bigseg.combine(expression, **arrays)
    assert bigseg.combine("where(m, a, -1.0)", m=mask, a=labels).dtype == np.float32


def test_more_refusals() -> None:
    """Values of steps outside of a pipeline, nothing to combine, axes in another order, a dtype that is none."""
    with pytest.raises(ParameterError, match="no values of steps"):
        bigseg.combine("a > ${x.y}", a=A)
    with pytest.raises(ParameterError, match="expected volumes"):
        bigseg.combine("1")
    with pytest.raises(PipelineError, match="dtype"):
        bigseg.combine("a", a=A, dtype="complex64")
    frames = (xr.DataArray(A[0], dims=dims) for dims in (("y", "x"), ("x", "y")))
    with pytest.raises(ParameterError, match="same axes"):
        bigseg.combine("x0 - x1", *frames)


def combined(tmp_path: Path, steps: list[Step], save: list[str]) -> object:
    volume = store(tmp_path / "v.zarr", A)
    return Pipeline(steps, save).run(volume, tmp_path / "run", block=(7,), workers=0, report=False)


def test_in_a_pipeline_with_ids_and_computed_values(tmp_path: Path) -> None:
    """Names are the ids under `from`, hyphens included; ``${step.key}`` is bound; labels stay labels."""
    steps = [
        Step("stats", bigseg.Histogram()),
        Step("smooth-2", bigseg.Gaussian(sigma=2.0), ("input",)),
        Step("flat", bigseg.Combine(expression="input - smooth-2 + ${stats.mean}"), ("input", "smooth-2")),
        Step("bright", bigseg.Combine(expression="flat > ${stats.p75} and input > 20"), ("input", "flat")),
        Step("objects", bigseg.Label(), ("bright",)),
        Step("part", bigseg.Combine(expression="objects * 2 > 20"), ("objects",)),
        Step("kept", bigseg.Combine(expression="where(part, objects, 0)"), ("part", "objects")),
    ]
    run = combined(tmp_path, steps, ["flat", "smooth-2", "bright", "objects", "kept"])
    found = {name: np.asarray(volume) for name, volume in run.outputs.items()}
    mean, p75 = run.values["stats"]["mean"], run.values["stats"]["p75"]
    flat = A.astype("float32") - found["smooth-2"] + np.float32(mean)
    np.testing.assert_array_equal(found["flat"], flat)
    np.testing.assert_array_equal(found["bright"] != 0, (flat > np.float32(p75)) & (A > 20))
    np.testing.assert_array_equal(found["kept"], np.where(found["objects"] > 10, found["objects"], 0))
    assert run.outputs["kept"].attrs["kind"] == "labels"
    assert run.outputs["kept"].dtype == np.uint32
    assert run.outputs["bright"].attrs["kind"] == "mask"


def test_two_inputs_of_a_run(tmp_path: Path) -> None:
    """Several inputs by name; the result is that of whole arrays for any block."""
    inputs = {"xray": store(tmp_path / "x.zarr", A), "neutron": store(tmp_path / "n.zarr", B)}
    steps = [Step("d", bigseg.Combine(expression="xray - 2 * neutron", dtype="int16"), ("xray", "neutron"))]
    run = Pipeline(steps).run(inputs, tmp_path / "run", block=(5, 17, 3), workers=0, report=False)
    wanted = np.rint(A.astype("float32") - np.float32(2) * B).astype("int16")
    np.testing.assert_array_equal(np.asarray(run.outputs["d"]), wanted)


def test_refusals_in_a_pipeline(tmp_path: Path) -> None:
    """A step that is not among the inputs is named; an infinite voxel is an error that names step and voxel."""
    steps = [
        Step("a", bigseg.Gaussian(sigma=1.0)),
        Step("b", bigseg.Combine(expression="a - input"), ("a",)),
    ]
    with pytest.raises(PipelineError, match=r"step 'b': .*'input', which is not among the inputs 'a'"):
        combined(tmp_path, steps, [])
    with pytest.raises(ValuesError, match=r"step 'c': .*NaN or infinite at voxel \(\d+, \d+, \d+\)"):
        combined(tmp_path / "2", [Step("c", bigseg.Combine(expression="1 / (input - input)"))], [])
