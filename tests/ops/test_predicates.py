"""Predicates on objects through the whole engine: random volumes and blocks, units, late binding, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import bigseg
from bigseg.errors import BigsegError, ParameterError, PipelineError
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step
from tests.ops.cases.predicates import filled, largest
from tests.ops.test_components import Blocks, cases, run
from tests.volumes import store


@settings(max_examples=25)
@given(cases(), st.sampled_from([None, 1, 4, 50]))
def test_fill_holes_of_random_volumes(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[np.ndarray, int, Blocks], size: int | None
) -> None:
    """Any volume, density, connectivity, size and block: scipy's filled mask, or that of its small holes."""
    array, connectivity, block = case
    given_size = {} if size is None else {"max_size": size}
    parameters = {"connectivity": connectivity, **given_size}
    found = run(tmp_path_factory.mktemp("holes"), array, "fill_holes", block, **parameters)
    np.testing.assert_array_equal(found.astype(bool), filled(array > 0, connectivity, size))


@settings(max_examples=25)
@given(cases(), st.integers(1, 12))
def test_keep_largest_of_random_volumes(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[np.ndarray, int, Blocks], k: int
) -> None:
    """Any volume and block, ties included: the k largest, the earlier first voxel winning; as labels and as a mask."""
    array, connectivity, block = case
    labels, _ = ndimage.label(array, ndimage.generate_binary_structure(array.ndim, connectivity))
    wanted = largest(labels, k)
    tmp = tmp_path_factory.mktemp("largest")
    steps = [
        Step("mask", bigseg.Threshold(above=0)),
        Step("a", bigseg.KeepLargest(k=k, connectivity=connectivity), ("mask",)),
        Step("objects", bigseg.Label(connectivity=connectivity), ("mask",)),
        Step("b", bigseg.KeepLargest(k=k), ("objects",)),
    ]
    found = Pipeline(steps, ["a", "b"]).run(
        store(tmp / "v.zarr", array), tmp / "run", block=block, workers=0, report=False
    )
    np.testing.assert_array_equal(np.asarray(found.outputs["a"]) != 0, wanted > 0)
    np.testing.assert_array_equal(np.asarray(found.outputs["b"]), wanted)


def test_a_tie_goes_to_the_earlier_first_voxel_even_where_ids_do_not_rise() -> None:
    """Labels from elsewhere may be in any order: of equal sizes the first in raster order stays."""
    labels = np.array([[7, 7, 0, 3, 3], [0, 0, 0, 0, 0], [5, 0, 9, 9, 9]], "uint16")
    assert np.unique(bigseg.keep_largest(labels, k=2)).tolist() == [0, 7, 9]
    assert np.unique(bigseg.keep_largest(labels, k=99)).tolist() == [0, 3, 5, 7, 9]


def test_predicates_after_hysteresis_cost_no_pass(tmp_path: Path, blobs: np.ndarray) -> None:
    """Sizes, largest, border and expressions are read from the table: two passes for the whole chain."""
    steps = [
        Step("voids", bigseg.Hysteresis(low=75, high=80, polarity="below")),
        Step("small", bigseg.RemoveSmall(min_size=5)),
        Step("large", bigseg.RemoveLarge(max_size=200)),
        Step("inner", bigseg.ClearBorder()),
        Step("dark", bigseg.Select(expression="intensity_mean < 78 and extent > 0.2", intensity="input")),
        Step("most", bigseg.KeepLargest(k=3)),
        Step("objects", bigseg.Label()),
        Step("regions", bigseg.Regions(intensity="input")),
    ]
    volume = store(tmp_path / "v.zarr", blobs)
    pipeline = Pipeline(steps, ["voids", "most", "objects"])
    plan = pipeline.plan(volume, workers=0)
    assert sum(stage.kind == "pass" for stage in plan.stages) == 2
    found = pipeline.run(volume, tmp_path / "run", block=(16,), workers=0, report=False)
    table = found.tables["regions"]
    assert len(table) == 3
    assert found.values["most"] == {"objects": len(table)}
    assert (table["intensity_mean"] < 78).all()
    assert table["num_pixels"].between(5, 200).all()
    np.testing.assert_array_equal(np.asarray(found.outputs["objects"]) > 0, np.asarray(found.outputs["most"]) > 0)


def physical(array: np.ndarray) -> xr.DataArray:
    """The array with voxels of 2 x 0.5 x 0.5 micrometer."""
    dims = ("z", "y", "x")[-array.ndim :]
    return xr.DataArray(array, dims=dims, attrs={"spacing": (2.0, 0.5, 0.5)[-array.ndim :], "unit": "micrometer"})


@pytest.mark.parametrize(
    ("dtype", "column", "fits"),
    [
        ("int64", "intensity_mean", False),
        ("float64", "intensity_std", False),
        ("float16", "intensity_max", False),
        ("int64", "intensity_max", True),
        ("float64", "intensity_min", True),
        ("float32", "intensity_mean", True),
    ],
)
def test_intensities_that_cannot_be_measured_are_refused_in_the_plan(
    tmp_path: Path, dtype: str, column: str, fits: bool
) -> None:
    """Sums of 64 bits and extremes of half precision end no run: they are refused before it, as with `regions`."""
    grey = store(tmp_path / "grey.zarr", np.array([[1, 2, 3]], dtype))
    mask = store(tmp_path / "mask.zarr", np.array([[True, False, True]]))
    steps = [Step("bright", bigseg.Select(expression=f"{column} > 2", intensity="grey"), ("mask",))]

    def plan() -> None:
        Pipeline(steps).plan({"mask": mask, "grey": grey}, workers=0)

    if fits:
        plan()
    else:
        with pytest.raises(PipelineError, match=f"step 'bright': intensity 'grey' is {dtype}: expected bool, uint8"):
            plan()


def test_an_edge_of_three_voxels_is_not_two() -> None:
    """0.3 um of voxels of 0.1 um are 3 voxels, though the quotient is a little less."""
    array = np.zeros((17, 17), bool)
    array[3, 8] = array[8, 8] = True  # the first has three voxels between it and the edge
    fine = xr.DataArray(array, dims=("y", "x"), attrs={"spacing": (0.1, 0.1), "unit": "micrometer"})
    for buffer_size in ("0.2 um", 2):
        assert np.count_nonzero(bigseg.clear_border(fine, buffer_size=buffer_size)) == 2
    for buffer_size in ("0.3 um", 3):
        assert np.count_nonzero(bigseg.clear_border(fine, buffer_size=buffer_size)) == 1


def test_sizes_and_numbers_with_units() -> None:
    """Sizes are rounded to the voxels that reach them; units convert, and mean what they say."""
    array = np.zeros((5, 8, 9), bool)
    array[1, 1, 1:5] = True  # 4 voxels of 0.5 um3
    array[3, 3:5, 2:7] = True  # 10
    array[0, 7, 8] = True  # 1, on the edge
    volume = physical(array)

    def left(result: xr.DataArray) -> int:
        return int(np.count_nonzero(np.asarray(result)))

    assert left(bigseg.remove_small(volume, min_size="2 um3")) == 14
    assert left(bigseg.remove_small(volume, min_size="2.01 um3")) == 10
    assert left(bigseg.remove_large(volume, max_size="2000000000 nm3")) == 5
    assert left(bigseg.remove_large(volume, max_size=4)) == 5
    assert left(bigseg.select(volume, expression="volume > 2 um3")) == 10
    assert left(bigseg.select(volume, expression="volume >= 2e9 nm^3 and not touches_edge")) == 14
    assert left(bigseg.select(volume, expression="area <= 2 or touches_edge")) == 5
    assert left(bigseg.select(volume, expression="num_pixels > 3 voxels")) == 14
    assert left(bigseg.select(volume, expression="centroid-0 > 5 um and bbox-0 == 3")) == 10
    assert left(bigseg.select(volume, expression="1 < equivalent_diameter < 2 um")) == 4
    assert left(bigseg.clear_border(volume, buffer_size="2 um")) == 0
    assert left(bigseg.clear_border(volume, buffer_size=("0 um", "0.5 um", "0.5 um"))) == 10
    assert left(bigseg.fill_holes(physical(~array), max_size="2 um3")) == array.size - 10 - 1
    grey = volume.astype("uint8") * 9
    for weak in ({"iterations": 2}, {}):  # at least so large: what comes out, and what it grew from
        assert left(bigseg.hysteresis(grey, low=3, high=8, min_size="2 um3", **weak)) == 14
        assert left(bigseg.hysteresis(grey, low=3, high=8, min_size="2.01 um3", **weak)) == 10
        assert left(bigseg.hysteresis(grey, low=3, high=8, seed_min_size="2.01 um3", **weak)) == 10
    flat = physical(array[3])
    assert left(bigseg.remove_small(flat, min_size="2.5 um2")) == 10
    assert left(bigseg.select(flat, expression="area < 3 um2")) == 10


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"expression": "volme > 3"}, "'volme', did you mean 'volume'"),
        ({"expression": "num_pixels > 100 um3"}, "a plain number and a volume cannot be compared"),
        ({"expression": "volume > 3 parsec3"}, "column 10: .*parsec"),
        ({"expression": "volume + 3"}, "expected a condition on a column"),
        ({"expression": "1 < 2"}, "expected a condition on a column"),
        ({"expression": "intensity_mean > 3"}, "need `intensity`"),
        ({"expression": "volume > ${levels.otsu}"}, "refers to no earlier step"),
        ({"expression": ""}, "expression: "),
        ({"expression": "num_pixels > 3", "connectivity": 4}, "connectivity"),
    ],
)
def test_select_refuses_by_name(parameters: dict[str, object], said: str) -> None:
    """What cannot be asked is refused before anything runs: names, units, kinds."""
    with pytest.raises(PipelineError, match=said):
        bigseg.select(physical(np.ones((3, 4, 5), bool)), **parameters)


def test_sizes_that_cannot_be_are_refused() -> None:
    """A size needs a volume's unit in 3-D, an area's in 2-D, and a volume with spacing."""
    solid, flat = physical(np.ones((3, 4, 5), bool)), physical(np.ones((4, 5), bool))
    with pytest.raises(PipelineError, match="100 um3"):
        bigseg.remove_small(solid, min_size="3 um")
    with pytest.raises(PipelineError, match="min_size"):
        bigseg.remove_small(solid, min_size=0)
    with pytest.raises(ParameterError, match="volume like"):
        bigseg.remove_small(solid, min_size="3 um2")
    with pytest.raises(ParameterError, match="area like"):
        bigseg.remove_large(flat, max_size="3 um3")
    with pytest.raises(BigsegError, match="has a unit"):
        bigseg.remove_small(np.ones((3, 4, 5), bool), min_size="3 um3")


def test_fill_holes_refuses_labels_and_floats() -> None:
    """A hole between labels belongs to none of them: fill the mask first."""
    with pytest.raises(PipelineError, match="fill the mask before"):
        bigseg.fill_holes(xr.DataArray(np.ones((4, 5), "uint8"), dims=("y", "x"), attrs={"kind": "labels"}))
    with pytest.raises(PipelineError, match="needs a mask"):
        bigseg.fill_holes(np.ones((4, 5)))


def test_select_by_computed_values_and_by_what_the_objects_decide(tmp_path: Path, blobs: np.ndarray) -> None:
    """References are bound before the choice; intensities made from the objects get a labelling of their own."""
    steps = [
        Step("levels", bigseg.Histogram()),
        Step("dark", bigseg.Threshold(below=80), ("input",)),
        Step("objects", bigseg.Label()),
        Step("deep", bigseg.Select(expression="intensity_min < ${levels.p5} - 2", intensity="input")),
        Step("whole", bigseg.ClearBorder()),
        Step("small", bigseg.RemoveLarge(max_size=40), ("objects",)),
        Step("with_small", bigseg.Select(expression="intensity_max > 0", intensity="small"), ("objects",)),
    ]
    found = Pipeline(steps, ["objects", "whole", "small", "with_small"]).run(
        store(tmp_path / "v.zarr", blobs), tmp_path / "run", block=(17,), workers=0, report=False
    )
    labels = ndimage.label(blobs < 80)[0]
    np.testing.assert_array_equal(np.asarray(found.outputs["objects"]), labels)
    index = np.arange(1, labels.max() + 1)
    deep = index[ndimage.minimum(blobs, labels, index) < found.values["levels"]["p5"] - 2]
    edge = np.ones(labels.shape, bool)
    edge[1:-1, 1:-1, 1:-1] = False
    wanted = np.setdiff1d(deep, labels[edge])
    assert 0 < wanted.size < np.setdiff1d(index, labels[edge]).size
    np.testing.assert_array_equal(np.asarray(found.outputs["whole"]), np.where(np.isin(labels, wanted), labels, 0))
    np.testing.assert_array_equal(np.asarray(found.outputs["with_small"]), np.asarray(found.outputs["small"]))


def test_masks_of_integers_and_edge_sizes() -> None:
    """Nothing, everything, and one voxel: predicates and holes as the definitions have them."""
    nothing, everything = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    for mask in (nothing, everything):
        np.testing.assert_array_equal(bigseg.fill_holes(mask), mask)
        np.testing.assert_array_equal(bigseg.keep_largest(mask), mask)
        np.testing.assert_array_equal(bigseg.clear_border(mask), nothing)
    ring = np.array([[0, -1, 0], [3, 0, 2], [0, 9, 0]], "int16")
    np.testing.assert_array_equal(bigseg.fill_holes(ring), ndimage.binary_fill_holes(ring))
    np.testing.assert_array_equal(bigseg.fill_holes(ring, connectivity=2), ring != 0)
