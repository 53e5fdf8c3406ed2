"""Masks over steps: results where the mask is, nothing elsewhere, and no work where it is empty."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy import ndimage
from skimage import filters

import bigseg
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.engine.field import Field, Visit
from bigseg.engine.source import Held, source_field
from bigseg.engine.visit import evaluate, ordered, working_memory
from bigseg.errors import ChangedError, ParameterError, PipelineError, ValuesError
from bigseg.grid import Box, Grid
from bigseg.ops.base import LocalKernel
from bigseg.ops.masked import within
from bigseg.pipeline.pipeline import Pipeline
from bigseg.storage.scratch import Scratch
from bigseg.storage.spec import Spec
from tests.volumes import store

BLOCKS = [(11,), (100,)]


def body(shape: tuple[int, ...]) -> np.ndarray:
    """A ball in a corner of the volume: some blocks hold none of it, some are full of it."""
    places = np.indices(shape)
    return np.asarray(sum((axis - 8) ** 2 for axis in places) < 9**2)


def run(
    tmp_path: Path, steps: list[dict[str, Any]], save: list[str], arrays: dict[str, np.ndarray], **more: Any
) -> Any:
    """A pipeline on arrays."""
    paths = {name: tmp_path / f"{name}-{zlib.crc32(array)}.zarr" for name, array in arrays.items()}
    for name, path in paths.items():
        if not path.exists():
            store(path, arrays[name])
    pipe = Pipeline.from_dict({"version": 1, "steps": steps, "save": save})
    return pipe.run(paths, tmp_path / "run", **{"workers": 0, "report": False} | more)


@pytest.fixture
def blobs(blobs: np.ndarray) -> np.ndarray:
    """A corner of the volume, to be quick."""
    return np.ascontiguousarray(blobs[:26, :27, :29])


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_local_operations(blobs: np.ndarray, tmp_path: Path, ndim: int, block: tuple[int, ...]) -> None:
    """In the mask a result is that without a mask, bit for bit; elsewhere it is 0."""
    image = blobs if ndim == 3 else blobs[9]
    mask = body(image.shape)
    steps = [
        {"id": "smooth", "op": "gaussian", "sigma": 1.5, "mask": "body"},
        {"id": "clean", "op": "median", "size": 3, "mask": "body"},
        {"id": "dark", "op": "threshold", "from": "ct", "below": 120, "mask": "body"},
    ]
    found = run(tmp_path, steps, ["smooth", "clean", "dark"], {"ct": image, "body": mask}, block=block).outputs
    smooth = np.where(mask, bigseg.gaussian(image, sigma=1.5), np.float32(0))
    np.testing.assert_array_equal(found["smooth"].values, smooth)
    np.testing.assert_array_equal(found["clean"].values, np.where(mask, ndimage.median_filter(smooth, 3), 0))
    np.testing.assert_array_equal(found["dark"].values, (image < 120) & mask)


@pytest.mark.parametrize("values", [np.uint8(255), np.int32(-3)])
def test_any_integers_are_a_mask(blobs: np.ndarray, tmp_path: Path, values: Any) -> None:
    """Masks of other programs (0 and 255) and labels are masks: what is not 0 is inside."""
    mask = body(blobs.shape)
    steps = [{"id": "m", "op": "threshold", "from": "ct", "above": 120, "mask": "body"}]
    found = run(tmp_path, steps, ["m"], {"ct": blobs, "body": mask * values}, block=(16,))
    np.testing.assert_array_equal(found.outputs["m"].values, (blobs > 120) & mask)


def test_no_work_where_the_mask_is_empty(blobs: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks without a voxel of the mask run no filter and read no voxel of the image."""
    mask = body(blobs.shape)
    grid = Grid(blobs.shape, (10, 10, 10))
    full = [block.inner for block in grid if mask[block.inner.slices].any()]
    assert 0 < len(full) < len(grid)
    computed: list[tuple[int, ...]] = []
    compute = bigseg.Gaussian.compute

    def counted(self: Any, array: np.ndarray, keep: Any, spec: Spec) -> np.ndarray:
        computed.append(array.shape)
        return compute(self, array, keep, spec)

    monkeypatch.setattr(bigseg.Gaussian, "compute", counted)
    read: list[Box] = []
    take = Held.read

    def seen(self: Held, box: Box) -> np.ndarray:
        if self.array is blobs:
            read.append(box)
        return take(self, box)

    monkeypatch.setattr(Held, "read", seen)
    axes, ones = ("z", "y", "x"), (1.0, 1.0, 1.0)
    arrays = {"ct": blobs, "b": mask}
    inputs = {name: Held(array, Spec(array.shape, array.dtype, axes, ones)) for name, array in arrays.items()}
    steps = [bigseg.Step("g", bigseg.Gaussian(sigma=1.0)), bigseg.Step("m", bigseg.Threshold(above=99), (), "b")]
    done = Pipeline(steps).run(inputs, tmp_path / "run", block=(10,), workers=0, report=False)
    np.testing.assert_array_equal(done.outputs["m"].values, (bigseg.gaussian(blobs, sigma=1.0) > 99) & mask)
    assert len(read) == len(full)
    assert len(computed) == len(full) + 1  # and the one on the whole, just above


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("block", BLOCKS)
def test_histograms_and_thresholds(blobs: np.ndarray, tmp_path: Path, dtype: str, block: tuple[int, ...]) -> None:
    """Only voxels in the mask count: values are those of the list of them."""
    image, mask = blobs.astype(dtype), body(blobs.shape)
    inside = image[mask]
    steps = [
        {"id": "stats", "op": "histogram", "from": "ct", "mask": "body"},
        {"id": "levels", "op": "auto_threshold", "from": "ct", "method": "otsu", "mask": "body"},
        {"id": "bright", "op": "threshold", "from": "ct", "above": "${levels.otsu}", "mask": "body"},
    ]
    found = run(tmp_path, steps, ["bright"], {"ct": image, "body": mask}, block=block)
    assert found.values["stats"]["min"] == inside.min()
    assert found.values["stats"]["max"] == inside.max()
    for key, wanted in {"mean": inside.mean(dtype=float), "p95": np.percentile(inside.astype(float), 95)}.items():
        if key in found.values["stats"]:
            assert found.values["stats"][key] == pytest.approx(wanted, rel=1e-12)
    assert found.tables["stats"]["count"].sum() == inside.size
    assert found.values["levels"]["otsu"] == pytest.approx(filters.threshold_otsu(inside))
    np.testing.assert_array_equal(found.outputs["bright"].values, (image > found.values["levels"]["otsu"]) & mask)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int16"])
@pytest.mark.parametrize("polarity", ["above", "below"])
def test_objects_end_at_the_mask(blobs: np.ndarray, tmp_path: Path, dtype: str, polarity: str) -> None:
    """Voxels outside belong to no object and join none: hysteresis and labels are those of foreground and mask."""
    image = (blobs.astype(np.int16) - 128).astype(dtype) if dtype != "uint8" else blobs
    shift = 0 if dtype == "uint8" else -128
    low, high = 110 + shift, 135 + shift
    mask = body(blobs.shape)
    weak, strong = (image > low, image > high) if polarity == "above" else (image < high, image < low)
    labels, _ = ndimage.label(weak & mask)
    wanted = np.isin(labels, np.unique(labels[strong & mask])) & (labels > 0)
    both = {"from": "ct", "low": low, "high": high, "polarity": polarity}
    steps = [
        {"id": "voids", "op": "hysteresis", **both, "mask": "body"},
        {"id": "objects", "op": "label"},
        {"id": "weak", "op": "threshold", "from": "ct", polarity: low if polarity == "above" else high},
        {"id": "cut", "op": "label", "mask": "body"},
        {"id": "regions", "op": "regions", "intensity": "ct"},
    ]
    for block in BLOCKS:
        found = run(
            tmp_path, steps, ["voids", "objects", "cut"], {"ct": image, "body": mask}, block=block, restart=True
        )
        np.testing.assert_array_equal(found.outputs["voids"].values, wanted)
        np.testing.assert_array_equal(found.outputs["objects"].values, ndimage.label(wanted)[0])
        np.testing.assert_array_equal(found.outputs["cut"].values, labels)
        assert found.tables["regions"]["num_pixels"].sum() == (weak & mask).sum()
    assert wanted.any()


def test_a_mask_that_a_step_makes(blobs: np.ndarray, tmp_path: Path) -> None:
    """A mask from objects, which no block knows beyond its own edge, also works below a filter that looks farther."""
    steps = [
        {"id": "bright", "op": "hysteresis", "low": 120, "high": 150, "min_size": 200},
        {"id": "inside", "op": "threshold", "from": "ct", "above": 100, "mask": "bright"},
        {"id": "soft", "op": "gaussian", "sigma": 1.0},
    ]
    mask = bigseg.hysteresis(blobs, low=120, high=150, min_size=200)
    wanted = bigseg.gaussian((blobs > 100) & mask, sigma=1.0)
    for block in BLOCKS:
        found = run(tmp_path, steps, ["soft"], {"ct": blobs}, block=block, restart=True)
        np.testing.assert_array_equal(found.outputs["soft"].values, wanted)
    assert 0 < mask.sum() < mask.size


def test_no_halo_between_objects_and_filter(blobs: np.ndarray, tmp_path: Path) -> None:
    """Objects are stored for a filter also where a step without a halo lies between: it needs what it reads."""
    steps = [
        {"id": "bright", "op": "hysteresis", "low": 120, "high": 150},
        {"id": "same", "op": "threshold", "above": 0},
        {"id": "soft", "op": "gaussian", "sigma": 1.0},
    ]
    found = run(tmp_path, steps, ["soft"], {"ct": blobs}, block=(16,))
    mask = bigseg.hysteresis(blobs, low=120, high=150)
    np.testing.assert_array_equal(found.outputs["soft"].values, bigseg.gaussian(mask, sigma=1.0))
    assert found.record["stored"][-1] == ["bright", "soft needs a halo of it"]


def test_on_a_cluster(blobs: np.ndarray, tmp_path: Path, cluster: DaskExecutor) -> None:
    """Workers give the same bits."""
    mask = body(blobs.shape)
    steps = [
        {"id": "smooth", "op": "gaussian", "from": "ct", "sigma": 1.0, "mask": "body"},
        {"id": "levels", "op": "auto_threshold", "from": "smooth", "mask": "body"},
        {"id": "dark", "op": "hysteresis", "from": "smooth", "low": 90, "high": "${levels.otsu}", "mask": "body"},
    ]
    steps[-1]["polarity"] = "below"
    where = {"workers": None, "scheduler": cluster.client.scheduler.address}
    first = run(tmp_path, steps, ["dark"], {"ct": blobs, "body": mask}, block=(16,))
    (tmp_path / "serial").mkdir()
    second = run(tmp_path / "serial", steps, ["dark"], {"ct": blobs, "body": mask}, block=(23,), **where)
    assert first.values == second.values
    np.testing.assert_array_equal(first.outputs["dark"].values, second.outputs["dark"].values)


def test_an_empty_mask(blobs: np.ndarray, tmp_path: Path) -> None:
    """Under a mask without a voxel results are 0, and a threshold cannot be found, which is said."""
    arrays = {"ct": blobs.astype(np.float32), "body": np.zeros(blobs.shape, bool)}
    steps = [{"id": "smooth", "op": "gaussian", "from": "ct", "sigma": 1.0, "mask": "body"}]
    assert not run(tmp_path, steps, ["smooth"], arrays, block=(16,)).outputs["smooth"].values.any()
    for op in ("histogram", "auto_threshold", "normalise"):
        for image in (blobs, arrays["ct"]):
            steps = [{"id": "a", "op": op, "from": "ct", "mask": "body"}]
            with pytest.raises(ValuesError, match="voxel"):
                run(tmp_path, steps, [], arrays | {"ct": image}, block=(16,), restart=True)


def test_another_mask_is_another_run(blobs: np.ndarray, tmp_path: Path) -> None:
    """A mask of another name, or with other voxels, is refused with the difference."""
    arrays = {"ct": blobs, "body": body(blobs.shape), "other": blobs > 99}
    steps = [{"id": "m", "op": "threshold", "from": "ct", "above": 120, "mask": "body"}]
    run(tmp_path, steps, ["m"], arrays)
    with pytest.raises(ChangedError, match=r"pipeline.steps.m.mask: was 'body', is 'other'"):
        run(tmp_path, [steps[0] | {"mask": "other"}], ["m"], arrays)
    with pytest.raises(ChangedError, match=r"pipeline.steps.m.mask: was 'body', is absent"):
        run(tmp_path, [{key: value for key, value in steps[0].items() if key != "mask"}], ["m"], arrays)
    with pytest.raises(ChangedError, match=r"inputs.body.content"):
        run(tmp_path, steps, ["m"], arrays | {"body": ~arrays["body"]})


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        ({"op": "threshold", "above": 1, "mask": "bdy"}, PipelineError, "mask: unknown step or input 'bdy', did you"),
        ({"op": "threshold", "above": 1, "mask": "levels"}, PipelineError, "another step in `mask`"),
        ({"op": "threshold", "above": 1, "mask": "smooth"}, PipelineError, "put a threshold step before it"),
        ({"op": "threshold", "above": 1, "mask": 3}, PipelineError, "expected `mask` to name"),
        ({"op": "contact", "from": "objects", "mask": "body"}, PipelineError, "takes no mask"),
        ({"op": "hysteresis", "low": -1, "high": 9, "from": "ct", "mask": "body"}, ParameterError, "from 0 to 255"),
        (
            {"op": "hysteresis", "low": 9, "high": 300, "polarity": "below", "from": "ct", "mask": "body"},
            ParameterError,
            "every voxel of uint8 is weak",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, step: dict[str, Any], error: type[Exception], message: str) -> None:
    """A mask that is none, or an operation that has no meaning under one, is refused before anything is made."""
    before = [
        {"id": "levels", "op": "auto_threshold", "from": "ct"},
        {"id": "objects", "op": "label", "from": "body"},
        {"id": "smooth", "op": "gaussian", "from": "ct", "sigma": 1.0},
    ]
    arrays = {"ct": np.zeros((9, 9, 9), np.uint8), "body": np.ones((9, 9, 9), bool)}
    with pytest.raises(error, match=message):
        run(tmp_path, [*before, {"id": "last", **step}], [], arrays)
    assert not (tmp_path / "run").exists()


def test_a_pipeline_file_keeps_it() -> None:
    """A mask survives the way to a file and back, and is changed as other keys are."""
    data = {"version": 1, "steps": [{"id": "m", "op": "threshold", "above": 1.0, "mask": "body"}], "save": []}
    assert Pipeline.from_dict(data).as_dict() == data
    from bigseg.pipeline.steps import parse

    (step,) = parse(data, changes=["m.mask=other"]).steps
    assert step.mask == "other"


class Counting(LocalKernel):
    """A kernel that remembers that it was computed."""

    seen: ClassVar[list[str]] = []

    def compute(self, arrays: Any, keep: Any, box: Box, visit: Visit) -> np.ndarray:
        self.seen.append(str(self.op))
        return super().compute(arrays, keep, box, visit)


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("also", [False, True])
def test_gates_bar_only_what_nothing_else_needs(tmp_path: Path, filled: bool, also: bool) -> None:
    """Behind an empty mask nothing is computed, unless another target needs it; the plan holds for all ways."""
    array = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    spec = Spec(array.shape, array.dtype, ("y", "x"), (1.0, 1.0))
    mask = np.full(array.shape, filled)
    image = source_field("image", Held(array, spec))
    door = source_field("mask", Held(mask, spec.but(dtype=np.dtype(bool), kind="mask")))
    smooth = Field("smooth", spec, Counting(bigseg.Gaussian(sigma=1.0), spec), (image,))
    twice = Field("twice", spec, Counting(bigseg.Gaussian(sigma=2.0), spec), (smooth,))
    targets = [within(twice, door, "inside"), *([smooth] if also else [])]
    Counting.seen.clear()
    grid = Grid(array.shape, (32, 32))
    found = evaluate(targets, Visit(grid, grid[0], Scratch(str(tmp_path))))
    wanted = bigseg.gaussian(bigseg.gaussian(array, sigma=1.0), sigma=2.0)[:32, :32]
    np.testing.assert_array_equal(found[0], wanted if filled else np.zeros_like(wanted))
    assert len(Counting.seen) == (2 if filled else 1 if also else 0)
    assert [node.name for node in ordered(targets)][:2] == ["mask", "image"]  # the gate's first input comes first
    assert working_memory(targets, (32, 32)) >= 2 * 4 * 32 * 32
