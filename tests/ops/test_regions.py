"""The table of regions through the whole engine: random objects and blocks, spacing, several volumes, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from scipy import ndimage
from skimage import measure

import bigseg
from bigseg.engine.field import Visit
from bigseg.errors import BigsegError, ParameterError, PipelineError
from bigseg.ops.components.labelling import CollectComponents
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step
from tests.memory import bytes_held
from tests.ops.objects import table_of
from tests.ops.test_components import Blocks, cases
from tests.volumes import store


def same(found: pd.DataFrame, wanted: pd.DataFrame, tolerance: float = 1e-10) -> None:
    assert list(found.columns) == list(wanted.columns)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=tolerance, atol=tolerance, err_msg=name)


def blobs_of(shape: tuple[int, ...], seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Labels of smooth objects, and values."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.3)
    image = np.rint(1000 + 300 * smooth / smooth.std()).astype(np.uint16)
    return ndimage.label(image > 1250)[0].astype(np.uint16), image


@settings(max_examples=25)
@given(cases())
def test_regions_of_random_volumes(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[np.ndarray, int, Blocks]
) -> None:
    """Any volume, density, connectivity and block: the table by definition, surfaces and Euler numbers included."""
    array, connectivity, block = case
    tmp = tmp_path_factory.mktemp("regions")
    steps = [
        Step("mask", bigseg.Threshold(above=0)),
        Step("objects", bigseg.Label(connectivity=connectivity), ("mask",)),
        Step("table", bigseg.Regions(surface=True), ("objects",)),
    ]
    run = Pipeline(steps, ["objects"]).run(
        store(tmp / "v.zarr", array), tmp / "run", block=block, workers=0, report=False
    )
    labels, count = ndimage.label(array, ndimage.generate_binary_structure(array.ndim, connectivity))
    found = run.tables["table"]
    assert len(found) == count
    if count:
        apart = array if connectivity < array.ndim else labels
        wanted = table_of(labels, apart=apart, connectivity=connectivity)
        axes = [name for name in wanted if name.startswith("principal_axes")]  # any two of equal length may turn
        same(found.drop(columns=axes), wanted.drop(columns=axes))


@pytest.mark.parametrize("shape", [(40, 55), (18, 20, 22)])
def test_spacing_and_origin(shape: tuple[int, ...]) -> None:
    """Every column is physical as skimage's spacing= makes it; places start at the volume's origin."""
    labels, image = blobs_of(shape)
    spacing = (3.0, 0.5, 0.8)[-len(shape) :]
    array = xr.DataArray(labels, dims=("z", "y", "x")[-len(shape) :], attrs={"spacing": spacing, "unit": "micrometer"})
    found = bigseg.regions(array, intensity=image)
    same(found, table_of(labels, image, spacing=spacing))
    unit = bigseg.regions(labels, surface=True)
    turned = bigseg.regions(array, surface=True)
    name = "surface_area" if len(shape) == 3 else "perimeter_crofton"
    assert (unit["euler_number"] == turned["euler_number"]).all()
    assert not np.allclose(unit[name], turned[name])
    doubled = xr.DataArray(labels, dims=array.dims, attrs={"spacing": (2.0,) * len(shape), "unit": "micrometer"})
    assert np.allclose(bigseg.regions(doubled, surface=True)[name], unit[name] * 2 ** (len(shape) - 1), rtol=1e-12)


def test_two_axes_are_scikit_images() -> None:
    """Perimeter, orientation, eccentricity and Euler number of 2-D labels are those of scikit-image."""
    labels, _ = blobs_of((60, 70))
    names = ("perimeter_crofton", "orientation", "eccentricity", "euler_number", "axis_minor_length", "inertia_tensor")
    wanted = measure.regionprops_table(labels, properties=names)
    found = bigseg.regions(labels, surface=True)
    for name, column in wanted.items():
        np.testing.assert_allclose(found[name], column, rtol=1e-9, atol=1e-7, err_msg=name)


def test_labels_that_touch_have_their_own_surface() -> None:
    """Of labels from a file, the surface between two objects belongs to both; of a mask, it is not there."""
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 2:4], labels[2:6, 2:6, 4:6] = 7, 9
    alone = np.where(labels == 7, labels, 0)
    found = bigseg.regions(labels, surface=True).set_index("label")["surface_area"]
    assert found[7] == found[9] == bigseg.regions(alone, surface=True)["surface_area"][0]
    whole = bigseg.regions((labels > 0).astype(np.uint8), surface=True)["surface_area"][0]
    assert whole < found[7] + found[9]


def test_a_halo_of_painted_objects(tmp_path: Path) -> None:
    """Where the objects are made of what a merge decides, the surface still comes out right for every block."""
    labels, image = blobs_of((14, 15, 16))
    steps = [
        Step("mask", bigseg.Threshold(above=1250)),
        Step("large", bigseg.RemoveSmall(min_size=5), ("mask",)),
        Step("objects", bigseg.Label(connectivity=3), ("large",)),
        Step("table", bigseg.Regions(surface=True, axes=False), ("objects",)),
        Step("again", bigseg.Regions(surface=True, axes=False, intensity="large"), ("objects",)),
    ]
    volume = store(tmp_path / "v.zarr", image)
    kept = np.isin(labels, np.flatnonzero(np.bincount(labels.ravel()) >= 5)) & (labels > 0)
    found = ndimage.label(kept, np.ones((3, 3, 3)))[0]
    wanted = table_of(found, axes=False, apart=found)
    for number, block in enumerate([(14, 15, 16), (5, 4, 7)]):
        run = Pipeline(steps, ["objects"]).run(volume, tmp_path / f"{number}", block=block, workers=0, report=False)
        same(run.tables["table"], wanted, 1e-11)
        assert (run.tables["again"]["intensity_mean"] == 1).all()
        assert (run.tables["again"]["intensity_sum"] == wanted["num_pixels"]).all()


def test_axes_cost_no_pass_and_can_be_left_out(tmp_path: Path) -> None:
    """The table's columns come out of the pass that labels: the plan is the same with and without them."""
    _, image = blobs_of((14, 15, 16))
    volume = store(tmp_path / "v.zarr", image)

    def plan_of(**parameters: object) -> list[str]:
        steps = [
            Step("mask", bigseg.Threshold(above=1250)),
            Step("objects", bigseg.Label(), ("mask",)),
            Step("table", bigseg.Regions(**parameters), ("objects",)),
        ]
        return [stage.name for stage in Pipeline(steps, ["objects"]).plan(volume, workers=0).stages]

    plain = plan_of(axes=False)
    assert plan_of(intensity="input") == plan_of(surface=True) == plain
    labels, _ = blobs_of((14, 15, 16))
    assert not [name for name in bigseg.regions(labels, axes=False) if "inertia" in name or "axis" in name]


def test_several_volumes_have_their_own_columns() -> None:
    """With several intensities each has its name at the end; a sum of 0 has no weighted centroid."""
    labels, image = blobs_of((20, 21, 22))
    both = bigseg.Regions(intensity=("ct", "zero"))
    steps = [Step("table", both, ("input",))]
    inputs = {"input": labels, "ct": image.astype(np.float32) / 7, "zero": np.zeros(labels.shape, np.int16)}
    table = _run(steps, inputs)
    wanted = measure.regionprops_table(
        labels, inputs["ct"].astype(float), properties=("intensity_mean", "intensity_std")
    )
    np.testing.assert_allclose(table["intensity_mean-ct"], wanted["intensity_mean"], rtol=1e-7)
    np.testing.assert_allclose(table["intensity_std-ct"], wanted["intensity_std"], rtol=1e-6)
    assert table["centroid_weighted-0-zero"].isna().all()
    assert (table["intensity_sum-zero"] == 0).all()
    assert "intensity_mean" not in table


def _run(steps: list[Step], inputs: dict[str, np.ndarray]) -> pd.DataFrame:
    from bigseg.engine.source import Held
    from bigseg.functions import describe

    held = {name: Held(array, describe(array)) for name, array in inputs.items()}
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = Pipeline(steps).run(held, Path(folder) / "run", workers=0, report=False)
        return run.tables["table"]


def test_objects_are_selected_by_their_axes() -> None:
    """select knows lengths of axes, the box's size and the sum of values."""
    labels, image = blobs_of((30, 31, 32))
    table = table_of(labels, image)
    keep = (table["axis_major_length"] > 8) & (table["axis_minor_length"] < 3) | (table["intensity_sum"] > 2e5)
    keep &= table["area_bbox"] < 1500
    asked = "(axis_major_length > 8 and axis_minor_length < 3 or intensity_sum > 2e5) and area_bbox < 1500"
    found = bigseg.select(labels, expression=asked, intensity=image)
    assert 0 < keep.sum() < len(keep)
    assert np.array_equal(found, np.where(np.isin(labels, table["label"][keep]), labels, 0))
    flat, _ = blobs_of((50, 51))
    table = table_of(flat)
    keep = (table["eccentricity"] > 0.8) & (table["orientation"] > 0)
    found = bigseg.select(flat, expression="eccentricity > 0.8 and orientation > 0")
    assert np.array_equal(np.unique(found[found > 0]), table["label"][keep])


def test_18_neighbours_have_no_euler_number() -> None:
    """Objects of 18 neighbours have a surface, but no Euler number; of 6 and 26 they have both."""
    labels, _ = blobs_of((12, 13, 14))
    for connectivity in (1, 2, 3):
        steps = [
            Step("objects", bigseg.Label(connectivity=connectivity), ("input",)),
            Step("table", bigseg.Regions(surface=True), ("objects",)),
        ]
        table = _run(steps, {"input": (labels > 0).astype(np.uint8)})
        assert ("euler_number" in table) == (connectivity != 2)
        assert (table["surface_area"] > 0).all()


@pytest.mark.parametrize("background", [0, 2])
def test_objects_of_one_value_each(background: int, tmp_path: Path) -> None:
    """multivalued: surface and Euler number of objects that touch others, of every connectivity, for any block."""
    rng = np.random.default_rng(5)
    values = ndimage.zoom(rng.integers(0, 4, (4, 5, 6)), 3, order=0).astype(np.uint8)
    volume = store(tmp_path / "v.zarr", values)
    for connectivity in (1, 3):
        labels = measure.label(values, background=background, connectivity=connectivity)
        wanted = table_of(labels, axes=False, apart=np.where(labels > 0, values + 1, 0), connectivity=connectivity)
        steps = [
            Step(
                "objects", bigseg.Label(multivalued=True, connectivity=connectivity, background=background), ("input",)
            ),
            Step("table", bigseg.Regions(surface=True, axes=False), ("objects",)),
        ]
        tables = []
        for number, block in enumerate([(4, 7, 5), (12, 15, 18)]):
            run = Pipeline(steps).run(
                volume, tmp_path / f"{connectivity}-{number}", block=block, workers=0, report=False
            )
            tables.append(run.tables["table"])
        assert tables[0].equals(tables[1])
        same(tables[0][list(wanted.columns)], wanted, 1e-11)


def test_the_plan_knows_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of smoothed noise, an object in 120 voxels, what all columns take at the worst moment is planned."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((128,) * 3), 0.7)
    image = (128 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)
    told: list[tuple[int, int]] = []
    collect = CollectComponents.collect

    def measured(self: CollectComponents, arrays: Any, visit: Visit) -> Any:
        found, held = bytes_held(collect, self, arrays, visit)
        told.append((held, self.memory(visit.block.inner.shape)))
        return found

    monkeypatch.setattr(CollectComponents, "collect", measured)
    steps = [bigseg.Threshold(above=188), bigseg.Label(connectivity=3), bigseg.Regions(intensity="input", surface=True)]
    run = Pipeline(steps).run(
        store(tmp_path / "v.zarr", image), tmp_path / "run", block=(128,), workers=0, report=False
    )
    assert len(run.tables["regions"]) > image.size / 130
    [(held, planned)] = told
    assert held < planned < 1.5 * held


def test_an_empty_table_has_all_columns() -> None:
    """Without objects the columns are there, with their dtypes."""
    empty = np.zeros((5, 6, 7), np.uint8)
    some = bigseg.regions(np.ones((5, 6, 7), np.uint8), surface=True, intensity=empty)
    none = bigseg.regions(empty, surface=True, intensity=empty)
    assert len(none) == 0
    assert (none.dtypes == some.dtypes).drop("label").all()


@pytest.mark.parametrize(
    ("parameters", "error", "said"),
    [
        ({"intensity": np.zeros((4, 5))}, PipelineError, "float64: expected bool"),
        ({"intensity": "nothing"}, PipelineError, "no volume before it"),
    ],
)
def test_refusals(parameters: dict[str, object], error: type[BigsegError], said: str) -> None:
    """What cannot be measured is refused before anything runs."""
    with pytest.raises(error, match=said):
        bigseg.regions(np.ones((4, 5), np.uint8), **parameters)
    flat = xr.DataArray(np.ones((4, 5), np.uint8), dims=("y", "x"), attrs={"spacing": (1e8, 1.0), "unit": "micrometer"})
    with pytest.raises(ParameterError, match="1e6"):
        bigseg.regions(flat, surface=True)
