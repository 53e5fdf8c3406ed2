"""Arrays as inputs of pipelines: what is in memory, and volumes that were opened lazily."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bigseg
from bigseg.engine.source import Held
from bigseg.errors import ChangedError, InputError, ParameterError, PipelineError, UsageError, ValuesError
from bigseg.pipeline.arrays import Lazily, array_origin, describe, function_input
from tests.local.crops import textured

PIPE = bigseg.Pipeline([bigseg.Gaussian(sigma="2 um"), bigseg.Threshold(below=110), bigseg.Label()])


@pytest.fixture
def stored(blobs: np.ndarray, tmp_path: Path) -> Path:
    """The blobs as an image with a spacing."""
    bigseg.ingest(blobs, tmp_path / "blobs.ome.zarr", spacing="2 1 1 um")
    return tmp_path / "blobs.ome.zarr"


def test_an_array_is_ingested_with_its_spacing(blobs: np.ndarray, stored: Path) -> None:
    """The image holds the array's voxels and the spacing that was given, also that of a phantom."""
    volume = bigseg.open_volume(stored)
    assert np.array_equal(volume.values, blobs)
    assert (volume.attrs["spacing"], volume.attrs["unit"]) == ((2.0, 1.0, 1.0), "micrometer")
    assert volume.z.attrs["units"] == "micrometer"
    voids = bigseg.ingest(bigseg.phantom("voids", 16), stored.parent / "voids.ome.zarr", spacing="3 um", workers=0)
    assert (voids.spec.spacing, voids.spec.unit) == ((3.0,) * 3, "micrometer")


def test_an_opened_volume_is_its_file(stored: Path, tmp_path: Path) -> None:
    """A DataArray of open_volume plans and runs as its path does, and the run on one continues that on the other."""
    volume = bigseg.open_volume(stored)
    assert PIPE.plan(volume, workers=0) == PIPE.plan(stored, workers=0)
    first = PIPE.run(volume, tmp_path / "run", workers=0, report=False)
    again = PIPE.run(stored, tmp_path / "run", workers=0, report=False)
    assert first.record["inputs"] == again.record["inputs"]
    assert first.record["stages"] == again.record["stages"]


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v[3:],
        lambda v: v + 0,
        lambda v: (v + 1).persist(),
        lambda v: v.data,
        lambda v: xr.DataArray(da.zeros((4, 5, 6)), dims=("z", "y", "x")),
    ],
    ids=["cut", "computed", "persisted", "dask", "foreign"],
)
def test_other_lazy_arrays_are_refused(change: Any, stored: Path) -> None:
    """What was cut or computed is no input, though its attributes name the file."""
    with pytest.raises(ParameterError, match="cut or computed"):
        PIPE.plan(change(bigseg.open_volume(stored)))


def test_changed_attributes_are_refused(stored: Path) -> None:
    """Another spacing in the attributes would be forgotten."""
    volume = bigseg.open_volume(stored).assign_attrs(spacing=(1.0, 1.0, 1.0))
    with pytest.raises(ParameterError, match="ingest it with spacing"):
        PIPE.plan(volume)


def test_an_array_in_memory_is_known_by_its_voxels(stored: Path, tmp_path: Path) -> None:
    """Without a word about workers it is computed here, as the file is; a copy continues, other voxels are refused."""
    volume = bigseg.open_volume(stored).compute()
    run = PIPE.run(volume, tmp_path / "run", report=False)
    assert run.record["where"] == PIPE.run(stored, tmp_path / "file", workers=0, report=False).record["where"]
    labels = [bigseg.open_volume(tmp_path / name / "label.ome.zarr").values for name in ("run", "file")]
    assert np.array_equal(*labels)
    assert labels[0].any()
    again = PIPE.run(volume.copy(deep=True), tmp_path / "run", report=False)
    assert again.record == run.record
    volume.values[0, 0, 0] += 1
    with pytest.raises(ChangedError):
        PIPE.run(volume, tmp_path / "run", report=False)


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    """The message names the type."""
    with pytest.raises(ParameterError, match="of type int"):
        array_origin(3)


def test_parts_of_a_volume_keep_their_spacing(stored: Path) -> None:
    """Planes, every second voxel and other orders of axes have the spacing of what is left, by attributes or places."""
    volume = bigseg.open_volume(stored)
    assert describe(volume[4]).spacing == (1.0, 1.0)
    assert describe(volume[:, 3]).spacing == (2.0, 1.0)
    assert describe(volume[::2, :, ::3]).spacing == (4.0, 1.0, 3.0)
    assert describe(volume[::-1]).spacing == (2.0, 1.0, 1.0)
    plain = xr.DataArray(volume.values, {"z": np.arange(len(volume))}, volume.dims, attrs={"spacing": (3.0, 1.0, 1.0)})
    assert describe(plain).spacing == (3.0, 1.0, 1.0)
    assert describe(xr.DataArray(np.zeros((2, 3)), {"x": [0.0, 0.5, 1.0]}, ("y", "x"))).spacing == (1.0, 0.5)
    plane = bigseg.gaussian(volume[4], sigma="2 um")
    assert np.array_equal(plane, bigseg.gaussian(volume.values[4], sigma=2.0))


def test_a_part_has_no_spacing_of_its_own(stored: Path) -> None:
    """A spacing for what was cut already is refused instead of forgotten."""
    from bigseg.pipeline.geometry import part
    from bigseg.storage.sources.opening import open_source, with_spacing

    cut = part(open_source(stored), "3:,:,:")
    with pytest.raises((ParameterError, InputError), match="as it was opened"):
        with_spacing(cut, "5 um")


def test_functions_read_an_opened_volume_block_by_block(
    stored: Path, blobs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Global functions and training never hold a volume that was opened; with other attributes they see these."""
    volume = bigseg.open_volume(stored)
    painted = np.where(blobs < 100, 1, 2).astype("uint8")
    levels = bigseg.auto_threshold(blobs)
    small = {"features": {"gaussian": 1}, "parameters": {"n_estimators": 3}}  # what is compared are the digests
    model = bigseg.train(volume.compute(), painted, **small)
    labels = bigseg.label(blobs < 100)

    def never(*parts: Any, **named: Any) -> None:
        raise AssertionError("the whole volume was computed")

    with monkeypatch.context() as patch:
        patch.setattr("bigseg.storage.lazy.StoredArray.__getitem__", never)
        with pytest.raises(AssertionError, match="was computed"):
            np.asarray(volume)
        assert bigseg.auto_threshold(volume) == levels
        again = bigseg.train(volume, painted, **small)
    assert [item.digest for item in again.training] == [item.digest for item in model.training]
    assert isinstance(function_input(volume.assign_attrs(kind="labels")), Held)
    assert function_input(volume.assign_attrs(kind="labels")).spec.kind == "labels"
    monkeypatch.setattr("bigseg.pipeline.arrays.MOST_COMPUTED", 0)
    lazy = bigseg.threshold(volume, below=100)
    assert isinstance(function_input(lazy), Lazily)
    assert np.array_equal(bigseg.label(lazy), labels)


@pytest.mark.parametrize("wrong", [np.nan, -np.inf])
@pytest.mark.parametrize(
    "make", [np.asarray, lambda x: da.from_array(x, (4, 5)), lambda x: xr.DataArray(x, dims=("y", "x"))]
)
def test_functions_refuse_what_runs_refuse(make: Any, wrong: float, tmp_path: Path) -> None:
    """NaN and infinite voxels of an array are refused in the words of a run, by their place in the whole array."""
    good = np.random.default_rng(0).random((9, 11), np.float32)
    image = good.copy()
    image[7, 6] = wrong
    model = bigseg.train(good, (good > 0.5) + np.uint8(1), features={"gaussian": 1}, estimator="decision_tree")
    with pytest.raises(ValuesError) as told:
        bigseg.Pipeline([bigseg.Median(size=3)]).run(image, tmp_path / "run", workers=0, report=False)
    number = "1 NaN and 0" if np.isnan(wrong) else "0 NaN and 1"
    assert f"{number} infinite voxels near (7, 6)" in str(told.value)
    for function in (
        lambda x: bigseg.median(x, size=3),
        lambda x: bigseg.gaussian(x, sigma=1),
        lambda x: bigseg.map_block(x, np.zeros_like),
        lambda x: bigseg.combine("a > 0.5", a=x),
        lambda x: bigseg.features(x, gaussian=1),
        lambda x: bigseg.feature_table(x, gaussian=1),
        lambda x: bigseg.classify(x, model),
    ):
        with pytest.raises(ValuesError, match=r"near \(7, 6\): expected finite"):
            np.asarray(function(make(image)))
        np.asarray(function(make(good)))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dims", [("x", "y", "z"), ("y", "z", "x"), ("Z", "Y", "X"), ("a", "b", "c")])
def test_axes_go_by_their_names(dims: tuple[str, ...], lazy: bool, tmp_path: Path) -> None:
    """z, y, x in another order are computed as z, y, x; results have the axes that came, others than these too."""
    image = textured((9, 11, 13), "uint8")
    order = [dims.index(name) for name in "zyx"] if set(dims) == set("zyx") else [0, 1, 2]
    back = np.argsort(order)
    given = xr.DataArray(
        image.transpose(back).copy(), dims=dims, coords={dims[0]: 2.0 * np.arange(image.shape[back[0]])}
    )
    assert describe(given).axes == ("z", "y", "x")
    assert describe(given).spacing == tuple(2.0 if axis == 0 else 1.0 for axis in order)
    given = given.chunk(5) if lazy else given
    mask = bigseg.threshold(given, above=120)
    labels = bigseg.label(mask)
    flat = {"footprint": "disk", "radius": 2}
    model = bigseg.train(image, image // 128 + 1, features={"gaussian": 1}, estimator="decision_tree")
    for found, wanted in (
        (bigseg.opening(given, **flat), bigseg.opening(image, **flat)),
        (mask, image > 120),
        (labels, bigseg.label(image > 120)),
        (bigseg.combine("a + 1", a=given), bigseg.combine("a + 1", a=image)),
        (bigseg.features(given, position={"x": 1})[0], bigseg.features(image, position={"x": 1})[0]),
        (bigseg.classify(given.assign_coords({dims[0]: range(given.shape[0])}), model), bigseg.classify(image, model)),
    ):
        assert found.dims == dims
        assert np.array_equal(np.asarray(found), wanted.transpose(back))
    assert np.array_equal(labels[dims[0]], given[dims[0]])
    table = bigseg.feature_table(given, mask, voxels=20, intensity=True)
    assert table.equals(bigseg.feature_table(image, image > 120, voxels=20, intensity=True))
    if not lazy:
        run = bigseg.Pipeline([bigseg.Threshold(above=120)]).run(given, tmp_path / "run", report=False)
        assert np.array_equal(next(iter(run.outputs.values())), image > 120)


def test_channels_and_times_are_no_axes_of_a_volume(tmp_path: Path) -> None:
    """They are refused as they are of files, with how to take one; what is without names fits no other order."""
    image = np.zeros((5, 6, 3), "uint8")
    pipe = bigseg.Pipeline([bigseg.Threshold(above=1)])
    for dims, one in ((("y", "x", "c"), "c"), (("t", "y", "x"), "t"), (("channel", "y", "x"), "channel")):
        given = xr.DataArray(image, dims=dims)
        for function in (
            lambda x: bigseg.median(x),
            lambda x: bigseg.label(x),
            lambda x: bigseg.features(x, gaussian=1),
            lambda x: pipe.plan(x),
        ):
            with pytest.raises(ParameterError, match=rf"take one of its {one}, as array.isel\({one}=0\)"):
                function(given)
        assert bigseg.median(given.isel({one: 0})).dims == ("y", "x")
    turned = xr.DataArray(image, dims=("x", "y", "z"))
    for call in (
        lambda: bigseg.combine("a + b", a=turned, b=image),
        lambda: bigseg.regions(turned, intensity=image),
        lambda: bigseg.feature_table(turned, image, intensity=True),
        lambda: bigseg.train(turned, image, features={"gaussian": 1}),
        lambda: bigseg.Pipeline([bigseg.Combine(expression="a + b")]).plan({"a": turned, "b": image}),
    ):
        with pytest.raises(ParameterError, match="x, y, z beside an array without names"):
            call()
    plane = bigseg.label(xr.DataArray(image[0] + 1, dims=("z", "x"), coords={"y": 7.0}))
    assert (plane.dims, float(plane.y)) == (("z", "x"), 7.0)


def test_several_intensities_of_a_function() -> None:
    """A list of arrays counts them, a mapping names them, as the images of features; the columns say which."""
    labels = np.array([[1, 1, 0, 2]], "uint8")
    first, second = np.array([[1, 3, 9, 4]], "uint8"), np.array([[5.0, 5.0, 0.0, 7.0]], "float32")
    listed = bigseg.regions(labels, intensity=[first, second])
    assert listed["intensity_mean-x0"].tolist() == [2, 4]
    assert listed["intensity_max-x1"].tolist() == [5, 7]
    named = bigseg.regions(labels, {"a": first, "b": second})
    assert named["intensity_mean-a"].tolist() == [2, 4]
    chosen = bigseg.select(labels, expression="intensity_max-x1 > 6", intensity=(first, second))
    assert chosen.tolist() == [[0, 0, 0, 2]]
    with pytest.raises(ParameterError, match="input is the first volume"):
        bigseg.regions(labels, intensity={"input": first})
    with pytest.raises(PipelineError, match="truth: Input should be a valid string"):
        bigseg.evaluate(labels, truth=[labels, labels])


@pytest.mark.parametrize(
    "wrong",
    [[[1, 2], [3, 4]], "ct.tif", pd.DataFrame({"a": [1, 2]}), None, 3],
    ids=["list", "path", "table", "none", "3"],
)
def test_what_is_no_volume_is_refused_by_functions(wrong: Any) -> None:
    """By its type and with what to do, wherever a function takes a volume or labels."""
    image = np.eye(4, dtype=np.uint8)
    chosen = {"features": {"intensity": True}, "estimator": "decision_tree"}
    model = bigseg.train(image, image + 1, **chosen)
    calls = [
        lambda: bigseg.median(wrong, size=3),
        lambda: bigseg.label(wrong),
        lambda: bigseg.auto_threshold(wrong),
        lambda: bigseg.combine("a + 1", a=wrong),
        lambda: bigseg.map_block(wrong, np.sqrt),
        lambda: bigseg.kmeans(wrong, k=2),
        lambda: bigseg.features(wrong, intensity=True),
        lambda: bigseg.classify(wrong, model),
        lambda: bigseg.combine("a + b", a=image, b=wrong),
    ]
    if wrong is not None:
        calls.append(lambda: bigseg.feature_table(image, wrong, intensity=True))
    if not isinstance(wrong, str):  # paths are taken by training
        calls += [lambda: bigseg.train(wrong, image, **chosen), lambda: bigseg.train([(image, wrong)], **chosen)]
    for call in calls:
        with pytest.raises(ParameterError, match=r"a volume of type \w+: expected a NumPy or dask array"):
            call()
    with pytest.raises(ParameterError, match=r"array, found shape \(4,\)"):
        bigseg.median(image[0], size=3)
    with pytest.raises(InputError, match="dtype object"):
        bigseg.median(image.astype(object), size=3)


def test_settings_may_be_written_as_on_the_command_line(tmp_path: Path) -> None:
    """One size for every axis, bytes with a unit; what there is not is refused by its nearest name."""
    pipe = bigseg.Pipeline([bigseg.Threshold(above=1)])
    run = pipe.run(np.eye(20, dtype=np.uint8), tmp_path / "run", workers=0, block=7, memory="1GiB")
    assert run.record["block"] == [7, 7]
    assert run.record["memory_a_worker"] == 1 << 30
    for settings, said in (
        ({"wokers": 2}, "did you mean 'workers'"),
        ({"memory": "much"}, "memory much: expected"),
        ({"block": "7"}, "block '7': expected"),
        ({"block": 7.5}, "block 7.5: expected"),
    ):
        with pytest.raises(UsageError, match=said):
            pipe.run(np.eye(20, dtype=np.uint8), tmp_path / "other", **settings)
    assert not (tmp_path / "other").exists()
