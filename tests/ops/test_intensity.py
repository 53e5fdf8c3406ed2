"""Maps of grey values through the engine: references, statistics, refusals, what run.json tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from scipy import ndimage

import bigseg
from bigseg.errors import BigsegError, InputError, ParameterError, PipelineError, ValuesError
from bigseg.pipeline.result import Run
from bigseg.pipeline.steps import Step
from bigseg.storage.spec import Spec
from tests.memory import bytes_held
from tests.ops.rows import op
from tests.volumes import store


def volume(dtype: str = "float32", shape: tuple[int, ...] = (9, 20, 23)) -> np.ndarray:
    """Two classes with noise and signs."""
    rng = np.random.default_rng(2)
    classes = ndimage.gaussian_filter(rng.standard_normal(shape), 2) > 0
    values = np.where(classes, 80, -30) + rng.normal(0, 8, shape)
    return (values if np.dtype(dtype).kind != "u" else values + 100).astype(dtype)


def run(path: Path, image: np.ndarray, steps: list[Any], block: tuple[int, ...] = (4, 7, 23), **more: Any) -> Run:
    source = store(path / "v.zarr", image)
    inputs = {"input": source} | {name: store(path / f"{name}.zarr", item) for name, item in more.items()}
    pipe = bigseg.Pipeline([item if isinstance(item, Step) else Step(f"s{i}", item) for i, item in enumerate(steps)])
    return pipe.run(inputs, path / "run", block=block, workers=0, report=False)


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint32", "float16"])
def test_histogram_of_wide_values_gives_exact_statistics(dtype: str, tmp_path: Path) -> None:
    """min, max, mean, std and percentiles of 32 bits are numpy's in float64, and bins are numpy's."""
    image = volume(dtype)
    found = run(tmp_path, image, [op("histogram")])
    exact = image.astype(np.float64)
    values = found.values["s0"]
    for q in (1, 5, 25, 50, 75, 95, 99):
        assert values[f"p{q}"] == np.percentile(exact, q)
    assert values["mean"] == pytest.approx(exact.mean(), rel=1e-13)
    assert values["std"] == pytest.approx(exact.std(), rel=1e-13)
    assert (values["min"], values["max"]) == (exact.min(), exact.max())
    assert found.tables["s0"]["count"].sum() == image.size


def test_histogram_of_64_bits_gives_the_range(tmp_path: Path) -> None:
    """float64 keeps its exact extremes; percentiles, which would need four passes, are refused by name."""
    image = volume("float64")
    assert run(tmp_path, image, [op("histogram")]).values["s0"] == {"min": image.min(), "max": image.max()}
    with pytest.raises(PipelineError, match="p99"):
        bigseg.Pipeline([Step("h", op("histogram")), Step("t", op("threshold", above="${h.p99}"))]).plan(
            store(tmp_path / "w.zarr", image)
        )


def test_histogram_of_a_mask_counts_only_its_voxels(tmp_path: Path) -> None:
    """Under a mask the statistics of floats are those of the voxels inside, also where blocks hold none."""
    image = volume()
    steps = [Step("m", op("threshold", above=0)), Step("h", op("histogram"), ("input",), "m")]
    inside = image[image > 0].astype(np.float64)
    found = run(tmp_path, image, steps, block=(1, 3, 5)).values["h"]
    assert (found["p50"], found["min"]) == (np.percentile(inside, 50), inside.min())
    assert found["mean"] == pytest.approx(inside.mean(), rel=1e-13)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_parameters_that_an_earlier_step_computes(dtype: str, tmp_path: Path) -> None:
    """clip, rescale and invert take ${stats.…}: the result is that of numpy with numpy's percentiles."""
    image = volume(dtype)
    low, high = (float(q) for q in np.percentile(image.astype(float), (5, 95)))
    steps = [
        Step("stats", op("histogram")),
        Step("inside", op("clip", low="${stats.p5}", high="${stats.p95}")),
        Step("back", op("invert", low="${stats.min}", high="${stats.max}")),
        Step("even", op("rescale", low="${stats.p5}", high="${stats.p95}", dtype="uint8"), ("input",)),
    ]
    out = bigseg.Pipeline(steps, ["inside", "back", "even"]).run(
        store(tmp_path / "v.zarr", image), tmp_path / "run", block=(5, 8, 9), workers=0, report=False
    )
    found = {name: np.asarray(item) for name, item in out.outputs.items()}
    real = np.dtype(dtype).kind == "f"
    clipped = np.clip(image, *((low, high) if real else (np.ceil(low), np.floor(high)))).astype(dtype)
    np.testing.assert_array_equal(found["inside"], clipped)
    top, bottom = (image.max(), image.min()) if real else (int(image.max()), int(image.min()))
    np.testing.assert_array_equal(found["back"], (top - (clipped - clipped.dtype.type(bottom))).astype(dtype))
    x, one = image.astype(np.float32), np.float32
    scaled = (np.clip(x, low, high) - one(low)) / one(high - low) * one(255)
    np.testing.assert_array_equal(found["even"], np.floor(scaled.astype(float) + 0.5))


def test_statistics_behind_a_map_stand_in_the_record(tmp_path: Path) -> None:
    """run.json tells the percentiles that normalise found, and both pairs that match_illumination moved."""
    image = volume("uint8")
    steps = [op("normalise", percentiles=(10, 90)), Step("m", op("match_illumination", target=(1, 2)), ("input",))]
    assert "s0" not in run(tmp_path / "unused", image, steps).values
    steps[1] = Step("m", op("match_illumination", target=(1, 2)))
    values = run(tmp_path, image, steps).values
    low, high = np.percentile(image.astype(float), (10, 90))
    assert values["s0"] == {"low": low, "high": high}
    assert values["m"]["target_high"] == 2
    assert values["m"]["low"] == pytest.approx(np.percentile((image - low) / (high - low), 5), rel=1e-6)


def test_a_set_of_samples_becomes_alike(tmp_path: Path) -> None:
    """Samples with a random gain and offset are brought onto the first: the same classes by one threshold."""
    rng = np.random.default_rng(8)
    standard = volume()
    for number in range(3):
        gain, offset = rng.uniform(0.5, 2), rng.uniform(-40, 40)
        sample = (volume() * gain + offset).astype(np.float32)
        for method in ("percentiles", "modes"):
            steps = [Step("alike", op("match_illumination", reference="standard", method=method))]
            out = run(tmp_path / f"{number}-{method}", sample, steps, standard=standard)
            np.testing.assert_allclose(out.outputs["alike"], standard, atol=1e-3)


def test_a_reference_of_another_shape_is_given_by_numbers() -> None:
    """Two statistics of the reference as numbers do what the reference itself does."""
    x, other = volume("uint8"), volume("uint8") // 2
    numbers = tuple(np.percentile(other.astype(float), (5, 95)))
    by_name = bigseg.match_illumination(x, reference=other)
    np.testing.assert_array_equal(bigseg.match_illumination(x, target=numbers), by_name)


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64"])
def test_64_bits_are_taken_as_float32(dtype: str) -> None:
    """normalise of 64-bit voxels equals that of the float32 image, within its precision."""
    x = volume("uint8").astype(dtype)
    np.testing.assert_allclose(bigseg.normalise(x), bigseg.normalise(x.astype(np.float32)), atol=1e-6)


def test_maps_stay_lazy_on_dask_arrays() -> None:
    """Local maps of a dask array are computed when asked, with the bits of NumPy."""
    image = volume("uint16")
    lazy = da.from_array(image, (4, 9, 10))
    found = bigseg.rescale(lazy, low=20, high=150)
    assert isinstance(found, da.Array)
    assert found.compute().tobytes() == bigseg.rescale(image, low=20, high=150).tobytes()


REFUSED = [
    ("clip", {}, "float32", "low"),
    ("clip", {"low": 5, "high": 4}, "float32", "low <= high"),
    ("clip", {"low": 300}, "uint8", "no value between"),
    ("clip", {"low": 0}, "bool", "mask"),
    ("rescale", {"low": 5, "high": 5}, "float32", "low < high"),
    ("rescale", {"low": 0, "high": 5, "out_high": 300, "dtype": "uint8"}, "float32", "0 to 255"),
    ("invert", {}, "float32", r"\$\{stats.min\}"),
    ("invert", {"low": 3}, "uint8", "both"),
    ("invert", {"low": 0, "high": 1}, "bool", "leave low and high away"),
    ("normalise", {"percentiles": (5, 5)}, "float32", "rising"),
    ("normalise", {"percentiles": (-5, 50)}, "float32", "0 to 100"),
    ("normalise", {"method": "reference"}, "float32", "region"),
    ("normalise", {"method": "reference", "region": "0:99,:,:"}, "float32", "outside"),
    ("match_illumination", {}, "float32", "reference"),
    ("match_illumination", {"reference": "nobody"}, "float32", "reference 'nobody' is no volume before it; those are"),
    ("match_illumination", {"target": (3, 1)}, "float32", "lower value first"),
    ("subtract_background", {}, "uint8", "sigma"),
    ("subtract_background", {"sigma": 2, "radius": 2}, "uint8", "sigma"),
    ("subtract_background", {"method": "opening"}, "uint8", "radius"),
    ("subtract_background", {"sigma": 2}, "bool", "mask"),
]


@pytest.mark.parametrize(("name", "parameters", "dtype", "said"), REFUSED)
def test_what_cannot_be_is_refused_before_the_first_voxel(
    name: str, parameters: dict[str, Any], dtype: str, said: str, tmp_path: Path
) -> None:
    """Every wrong parameter is an error that names what was expected."""
    image = (volume() > 0) if dtype == "bool" else volume(dtype)
    path = store(tmp_path / "v.zarr", image)

    def plan() -> None:
        bigseg.Pipeline([op(name, **parameters)]).plan(path, workers=0)

    with pytest.raises((BigsegError, ValueError), match=said):
        plan()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"method": "percentiles"}, "both 7"),
        ({"method": "standard"}, "all voxels are 7"),
    ],
)
def test_constant_images_are_refused(parameters: dict[str, Any], said: str) -> None:
    """A constant image has no spread to divide by: the error names the step and what to do."""
    with pytest.raises(ValuesError, match=said):
        bigseg.normalise(np.full((4, 5), 7, np.uint8), **parameters)


def test_volumes_of_other_shapes_are_refused(tmp_path: Path) -> None:
    """A reference of another shape in the same run is refused by its shape."""
    steps = [op("match_illumination", reference="other")]
    with pytest.raises(InputError, match="same shape"):
        run(tmp_path, volume(), steps, other=volume(shape=(9, 20, 24)))


def test_labels_are_not_grey_values() -> None:
    """The numbers of labels are names: maps refuse them."""
    labels = bigseg.Pipeline([bigseg.Threshold(above=0), bigseg.Label(), bigseg.Invert()])
    with pytest.raises(ParameterError, match="names"):
        labels.build("phantom:voids,shape=16,seed=1", Path("unused"))


def test_division_by_a_background_of_zero_gives_zero() -> None:
    """Empty surroundings of a sample stay 0, whatever the method."""
    image = np.zeros((20, 20), np.uint8)
    image[8:12, 8:12] = 50
    for parameters in ({"sigma": 1}, {"method": "opening", "radius": 2}, {"method": "closing", "size": 3}):
        found = bigseg.subtract_background(image, mode="divide", **parameters)
        assert np.isfinite(found).all()
        assert found[0, 0] == 0


MEASURED = [
    ("clip", {"low": 50, "high": 150}),
    ("rescale", {"low": 50, "high": 150}),
    ("invert", {"low": 50, "high": 150}),
    ("subtract_background", {"sigma": 2}),
    ("subtract_background", {"sigma": 2, "mode": "divide"}),
    ("subtract_background", {"method": "opening", "radius": 3}),
    ("subtract_background", {"method": "opening", "radius": 3, "mode": "divide"}),
]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32", "float64"])
@pytest.mark.parametrize(("name", "parameters"), MEASURED)
def test_memory_is_what_is_stated(name: str, parameters: dict[str, Any], dtype: str) -> None:
    """What a block takes beside its input and result is at most what the plan counts, and not far below."""
    inner = (48, 48, 48)
    spec = Spec((200,) * 3, np.dtype(dtype), ("z", "y", "x"), (1.0,) * 3)
    local: Any = op(name, **parameters)
    depth = local.depth(spec)
    outer = tuple(n + 2 * d for n, d in zip(inner, depth, strict=True))
    array = np.random.default_rng(0).normal(100, 20, outer).astype(dtype)
    keep = tuple(slice(d, d + n) for n, d in zip(inner, depth, strict=True))
    found, most = bytes_held(local.compute, array, keep, spec)
    taken = most - found.nbytes
    stated = local.memory(spec, outer, inner)
    assert taken <= stated + (32 << 10)
    assert stated <= 1.3 * taken + (512 << 10)


def test_integers_beyond_2_to_the_53_keep_their_digits() -> None:
    """Thresholds and limits that float64 would round are compared digit by digit, and stand so in files."""
    step = 2**53
    image = np.array([[step, step + 1, step + 2]], "int64")
    assert bigseg.threshold(image, above=step + 1).tolist() == [[False, False, True]]
    assert bigseg.threshold(image, below=np.int64(step + 1)).tolist() == [[True, False, False]]
    assert bigseg.clip(image, high=step + 1).tolist() == [[step, step + 1, step + 1]]
    assert bigseg.multi_threshold(image, values=(step, step + 1)).tolist() == [[1, 2, 2]]
    assert bigseg.hysteresis(image, low=step + 1, high=step + 1).tolist() == [[False, False, True]]
    assert bigseg.hysteresis(image[:, :2], low=step - 1, high=step).all()  # a whole float is compared so, too
    assert not bigseg.hysteresis(image[:, :1], low=step - 1, high=step).any()
    threshold = op("threshold", above=step + 1)
    assert type(threshold).model_validate_json(threshold.model_dump_json()).above == step + 1
    with pytest.raises(ValueError, match="expected low <= high"):
        op("hysteresis", low=step + 1, high=step)


def test_other_integers_are_the_numbers_they_were() -> None:
    """An integer that float64 holds is still a float, so that pipelines and fingerprints stay as they are."""
    assert op("threshold", above=100).model_dump_json() == '{"above":100.0,"below":null}'
    assert isinstance(op("threshold", above=2**60).above, float)
