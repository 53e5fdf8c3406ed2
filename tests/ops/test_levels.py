"""Thresholds found and used: computed values, failures, tables, options of hysteresis, guarded classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet
from scipy import ndimage
from skimage import filters

import bigseg
from bigseg.engine.field import Field
from bigseg.errors import ParameterError, PipelineError, ValuesError
from bigseg.ops.base import Site
from bigseg.ops.guarded import GuardedThreshold
from bigseg.ops.levels import ALL
from bigseg.pipeline.pipeline import Pipeline
from bigseg.storage.spec import Spec
from tests.memory import bytes_held
from tests.ops.test_exactness import image
from tests.volumes import store


def run(tmp_path: Path, array: np.ndarray, steps: list[dict[str, Any]], block: tuple[int, ...] = (9,)) -> Any:
    """A pipeline on an array, serially; its last volume is saved."""
    volume = tmp_path / "volume.zarr"
    if not volume.exists():
        store(volume, array)
    last = steps[-1].get("id", steps[-1]["op"])
    pipe = Pipeline.from_dict({"version": 1, "steps": steps, "save": [last]})
    return pipe.run(volume, tmp_path / f"run-{len(list(tmp_path.iterdir()))}", block=block, workers=0, report=False)


def test_a_failed_method_is_named_where_it_is_used(tmp_path: Path) -> None:
    """A step that uses a threshold which try_all did not find ends the run with that method's own words."""
    array = np.repeat(np.arange(7, dtype=np.uint8), [10, 40, 90, 120, 80, 30, 30]).reshape(20, 20)
    steps = [{"id": "tries", "op": "try_all"}, {"id": "mask", "op": "threshold", "above": "${tries.otsu}"}]
    found = run(tmp_path, array, steps)
    assert {"minimum", "intermodes"} <= set(found.values["tries"]["failed"])
    assert set(found.values["tries"]["fractions"]) | set(found.values["tries"]["failed"]) >= set(ALL[:-1])
    np.testing.assert_array_equal(
        run(tmp_path, array, steps).values["tries"]["fractions"]["otsu"], np.mean(array > filters.threshold_otsu(array))
    )
    steps[1]["above"] = "${tries.minimum}"
    with pytest.raises(ValuesError, match=r"tries.minimum.*not known.*take another method"):
        run(tmp_path, array, steps)


def test_auto_threshold_ends_where_try_all_goes_on(tmp_path: Path) -> None:
    """A single method that finds nothing is an error that names the step."""
    array = np.repeat(np.arange(7, dtype=np.uint8), [10, 40, 90, 120, 80, 30, 30]).reshape(20, 20)
    with pytest.raises(ValuesError, match="step 'levels': minimum found one maximum"):
        run(tmp_path, array, [{"id": "levels", "op": "auto_threshold", "method": "minimum"}])


def test_float_images_of_a_narrow_range_have_histograms_and_thresholds(tmp_path: Path) -> None:
    """Where float32 has no 256 values between the extremes, bins are float64: nothing ends for want of a table."""
    low, high = np.float32(1e9), np.float32(1e9 + 64)
    array = np.repeat(np.array([low, high], np.float32), [6, 3])
    steps = [{"op": "histogram"}, {"op": "try_all"}, {"op": "auto_threshold", "method": ["li", "mean", "otsu"]}]
    found = run(tmp_path, array[np.newaxis], steps, (1, 9))
    table = found.tables["histogram"]
    assert table["count"].tolist() == [6, *[0] * 254, 3]
    assert table["value"].tolist() == pytest.approx(np.linspace(1e9 + 0.125, 1e9 + 63.875, 256), abs=1e-6)
    assert found.values["histogram"]["mean"] == array.mean(dtype=float)
    levels = found.values["auto_threshold"]
    assert levels["mean"] == pytest.approx(array.mean(dtype=float))
    assert all(float(low) < levels[name] < float(high) for name in ("li", "otsu"))
    assert found.values["try_all"]["fractions"]["li"] == pytest.approx(1 / 3)
    matched = bigseg.match_illumination(array[np.newaxis], target=(0, 1), method="modes")
    assert np.ptp(matched) == pytest.approx(1, abs=0.01)


def test_a_constant_float_image_is_treated_as_one_of_integers(tmp_path: Path) -> None:
    """Its histogram is one bin and its statistics are exact; methods that need two values fail by name."""
    array = np.full((3, 3), 1e9, np.float32)
    found = run(tmp_path, array, [{"op": "histogram"}, {"op": "try_all"}], (3, 3))
    values = found.values["histogram"]
    assert {values[key] for key in ("min", "max", "mean", "p1", "p99")} == {1e9}
    assert values["std"] == 0
    assert found.tables["histogram"]["count"].tolist() == [9]
    assert found.values["try_all"]["failed"].keys() == set(ALL)
    for method in ("li", "mean"):
        with pytest.raises(ValuesError, match=f"step 'auto_threshold': {method} needs at least 2 different values"):
            run(tmp_path, array, [{"op": "auto_threshold", "method": method}], (3, 3))


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_integers_of_64_bits_have_a_range_and_no_histogram(tmp_path: Path, dtype: str) -> None:
    """Their histogram is min and max, digit by digit; what needs bins is refused when it is built, naming the step."""
    array = np.array([[5, 2**60 + 1, 7]], dtype)
    found = run(tmp_path, array, [{"op": "histogram"}], (1, 2))
    assert found.values["histogram"] == {"min": 5, "max": 2**60 + 1}
    assert not found.tables
    spec = Spec((1, 3), np.dtype(dtype), ("y", "x"), (1.0, 1.0), "")
    for op in (bigseg.AutoThreshold(), bigseg.TryAll(), bigseg.MatchIllumination(target=(0, 1), method="modes")):
        with pytest.raises(PipelineError, match=f"step 'levels': 'image' is {dtype}, which has no histogram"):
            op.build([Field("image", spec, None)], Site("levels"))


def test_half_precision_is_compared_as_single() -> None:
    """hysteresis and threshold_by_objects take float16, and find what they find in float32."""
    single = ndimage.gaussian_filter(np.random.default_rng(0).random((20, 31)), 1).astype(np.float16).astype(np.float32)
    half = single.astype(np.float16)
    more: list[dict[str, Any]] = [{}, {"min_size": 5}, {"seed_min_size": 3}, {"iterations": 2}, {"polarity": "below"}]
    for parameters in more:
        found = bigseg.hysteresis(half, low=0.48, high=0.53, **parameters)
        np.testing.assert_array_equal(found, bigseg.hysteresis(single, low=0.48, high=0.53, **parameters))
        assert found.any()
    for parameters in ({}, {"low": 0.4, "high": 0.6}):
        assert bigseg.threshold_by_objects(half, **parameters) == bigseg.threshold_by_objects(single, **parameters)


def test_all_methods_at_once(tmp_path: Path) -> None:
    """`method: all` gives every key that a step may refer to."""
    array = image(2, "uint8")
    array[array > 128] += 50
    values = run(tmp_path, array, [{"id": "levels", "op": "auto_threshold", "method": "all"}]).values["levels"]
    assert set(values) == {*ALL[:-1], "multi_otsu_1", "multi_otsu_2"}


def test_the_sweep_writes_its_curve_and_its_warning(tmp_path: Path) -> None:
    """The table holds every threshold tried, the file and the values carry the warning."""
    array = image(3, "uint16")
    step = {"id": "sweep", "op": "threshold_by_objects", "steps": 6, "low": 100, "high": 150, "connectivity": 2}
    done = run(tmp_path, array, [step, {"id": "mask", "op": "threshold", "above": "${sweep.threshold}"}], (8, 7, 29))
    table = done.tables["sweep"]
    thresholds = np.linspace(100, 150, 6)
    structure = ndimage.generate_binary_structure(3, 2)
    expected = pd.DataFrame(
        {
            "threshold": thresholds,
            "objects": [ndimage.label(array > t, structure)[1] for t in thresholds],
            "fraction": [np.mean(array > t) for t in thresholds],
        }
    )
    pd.testing.assert_frame_equal(table, expected, check_exact=True, check_dtype=False)
    assert "what you ask for" in done.values["sweep"]["warning"]
    assert b"what you ask for" in parquet.read_metadata(done.path / "tables" / "sweep.parquet").metadata[b"warning"]


def test_the_sweep_takes_computed_ends(tmp_path: Path) -> None:
    """low and high may come from an earlier step; ends in the wrong order are refused when they are known."""
    array = image(2, "uint8")
    steps: list[dict[str, Any]] = [
        {"id": "stats", "op": "histogram"},
        {"id": "sweep", "op": "threshold_by_objects", "steps": 5, "low": "${stats.p5}", "high": "${stats.p95}"},
    ]
    done = run(tmp_path, array, steps)
    ends = np.percentile(array, [5, 95])
    np.testing.assert_array_equal(done.tables["sweep"]["threshold"], np.linspace(*ends, 5))
    steps[1] |= {"low": "${stats.p95}", "high": "${stats.p5}"}
    with pytest.raises(ValuesError, match="expected a lower and a higher value"):
        run(tmp_path, array, steps)


def test_no_object_of_the_wanted_size_is_an_error(tmp_path: Path) -> None:
    """A sweep that finds nothing says so; an empty mask at every threshold is no failure of the machinery."""
    step = {"op": "threshold_by_objects", "steps": 3, "low": 1, "high": 2, "min_size": 5000}
    with pytest.raises(ValuesError, match="no threshold from 1 to 2 gives an object"):
        run(tmp_path, image(2, "uint8"), [step])
    with pytest.raises(ValuesError, match="no threshold from 254 to 255"):
        run(tmp_path, image(2, "uint8"), [step | {"low": 254, "high": 255}])


def test_hysteresis_options_take_computed_thresholds(tmp_path: Path) -> None:
    """Seeds, opening and steps use the thresholds that an earlier step found."""
    array = image(3, "uint8")
    otsu = float(filters.threshold_otsu(array))
    steps = [{"id": "levels", "op": "auto_threshold", "method": ["otsu", "mean"]}]
    options = {"seed_min_size": 3, "opening": {"footprint": "cross", "radius": 1}, "iterations": 2, "radius": 1}
    for chosen in ({}, dict(list(options.items())[:2]), options):
        computed = {"op": "hysteresis", "low": 126, "high": "${levels.otsu}", **chosen}
        given = run(tmp_path, array, [computed | {"high": otsu}]).outputs["hysteresis"]
        found = run(tmp_path, array, [*steps, computed]).outputs["hysteresis"]
        np.testing.assert_array_equal(found, given)
        assert 0 < int(found.sum()) <= int((array > 126).sum())


def test_bounded_hysteresis_reaches_so_far_and_no_farther() -> None:
    """n steps of a footprint bridge n times its reach, within the weak mask only."""
    row = np.array([[9, 5, 5, 5, 5, 5, 5, 0, 5]], np.uint8)
    for n in (1, 2, 3):
        found = bigseg.hysteresis(row, low=1, high=8, iterations=n, radius=2, footprint="box")
        assert found.astype(int).tolist() == [[1] * min(2 * n + 1, 7) + [0] * (9 - min(2 * n + 1, 7))]


def test_label_after_hysteresis_with_seeds_labels_nothing_again(tmp_path: Path) -> None:
    """The components of the weak mask are shared with the label step, whatever the seeds."""
    steps = [{"op": "hysteresis", "low": 125, "high": 140, "seed_min_size": 3}, {"op": "label"}]
    array = image(2, "uint8")
    done = run(tmp_path, array, steps)
    mask = bigseg.hysteresis(array, low=125, high=140, seed_min_size=3)
    np.testing.assert_array_equal(done.outputs["label"], ndimage.label(mask)[0])
    names = [stage["name"] for stage in done.record["stages"]]
    assert len([name for name in names if name.endswith(".merge")]) == 2


@pytest.mark.parametrize(
    ("op", "parameters", "message"),
    [
        ("hysteresis", {"low": 1, "high": 2, "radius": 2}, "with `iterations`"),
        ("hysteresis", {"low": 1, "high": 2, "iterations": 0}, "greater than or equal to 1"),
        ("hysteresis", {"low": 1, "high": 2, "opening": {"footprint": "bal"}}, "did you mean 'ball'"),
        ("threshold_by_objects", {"low": 5, "high": 5}, "low < high"),
        ("threshold_by_objects", {"objects": 3, "fraction": 0.1}, "found both"),
        ("threshold_by_objects", {"min_size": "3 um"}, "100 um3"),
        ("guarded_threshold", {"values": [5, 5], "guard": 1}, "rising values"),
        ("guarded_threshold", {"values": [], "guard": 1}, "at least 1"),
        ("expand_labels", {"distance": "wide"}, "expected a number"),
        ("expand_labels", {"distance": "2 um"}, "give voxels"),
        ("grow", {"iterations": 1, "mask": "nothing"}, "no volume before it"),
        ("try_all", {"method": "ostu"}, "unknown method"),
    ],
)
def test_parameters_that_cannot_be(tmp_path: Path, op: str, parameters: dict[str, Any], message: str) -> None:
    """Wrong parameters are refused before a voxel is read, with what was expected."""
    with pytest.raises((PipelineError, ParameterError), match=message):
        run(tmp_path, image(2, "uint8"), [{"op": op, **parameters}])


def test_growing_of_floats_is_refused(tmp_path: Path) -> None:
    """Labels are integers: expand_labels and grow refuse floats and say what to do."""
    for step in ({"op": "expand_labels", "distance": 2}, {"op": "grow"}):
        with pytest.raises(ParameterError, match="put a threshold before it"):
            run(tmp_path, image(2, "float32"), [step])


def test_distances_with_a_unit_are_physical() -> None:
    """With a unit, voxels of unequal sides count as they are; numbers count voxels."""
    import xarray as xr

    labels = np.zeros((9, 9), np.uint8)
    labels[4, 4] = 3
    frame = xr.DataArray(labels, dims=("y", "x"), attrs={"spacing": (2.0, 1.0), "unit": "micrometer"})
    wide = np.asarray(bigseg.expand_labels(frame, distance="4 um"))
    assert (np.count_nonzero(wide[:, 4]), np.count_nonzero(wide[4])) == (5, 9)
    assert np.count_nonzero(np.asarray(bigseg.expand_labels(frame, distance=4))[:, 4]) == 9


@pytest.mark.parametrize(
    "parameters", [{"values": (110, 140), "guard": 12, "reach": 4}, {"values": (120,), "guard": 3.0, "sigma": 1.0}]
)
def test_lazy_arrays_give_the_same_bits(parameters: dict[str, Any]) -> None:
    """On a dask array of any chunks the classes are those of the whole array."""
    array = image(3, "uint8")
    expected = bigseg.guarded_threshold(array, **parameters)
    lazy = bigseg.guarded_threshold(da.from_array(array, chunks=(7, 11, 13)), **parameters)
    assert lazy.dtype == np.uint8
    np.testing.assert_array_equal(lazy.compute(), expected)


def test_guarded_threshold_removes_the_virtual_skin() -> None:
    """Blurred bright balls on dark ground have a skin of the middle class, and none with the guard and its margin."""
    z, y, x = np.ogrid[:40, :40, :40]
    bright = (z - 20) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 11**2
    middle = (z - 20) ** 2 + (y - 8) ** 2 + (x - 20) ** 2 < 5**2
    truth = np.where(bright, 2, np.where(middle, 1, 0))
    blurred = ndimage.gaussian_filter(np.array([20.0, 110.0, 200.0], np.float32)[truth], 1.2)
    plain = bigseg.multi_threshold(blurred, values=(65, 155))
    mended = bigseg.guarded_threshold(blurred, values=(65, 155), guard=6, reach=6)
    away = (y > 16) | (abs(z - 20) > 9) | (abs(x - 20) > 9)
    assert np.count_nonzero((plain == 1) & away) > 1000
    assert not np.count_nonzero((mended == 1) & away)
    bare = bigseg.guarded_threshold(blurred, values=(65, 155), guard=6, reach=6, margin=0)
    assert np.count_nonzero((bare == 1) & away) > 1000  # the Laplacian is 0 in the middle of an edge
    assert np.mean(mended == truth) > np.mean(plain == truth)


def test_memory_of_guarded_threshold_is_a_bound() -> None:
    """What is said to be needed is at least what NumPy holds, and not more than 1.4 times that."""
    array = np.random.default_rng(1).integers(0, 255, (80, 84, 88)).astype(np.uint16)
    for sigma in (0.0, 1.0):
        op = GuardedThreshold(values=(100, 180), guard=20, sigma=sigma, reach=4)
        spec = Spec(array.shape, array.dtype, ("z", "y", "x"), (1.0, 1.0, 1.0))
        keep = tuple(slice(d, n - d) for d, n in zip(op.depth(spec), array.shape, strict=True))
        inner = tuple(k.stop - k.start for k in keep)
        _, most = bytes_held(op.compute, array, keep, spec)
        peak = most - int(np.prod(inner))
        said = op.memory(spec, array.shape, inner)
        assert peak <= said <= 1.4 * peak, (sigma, peak, said)
