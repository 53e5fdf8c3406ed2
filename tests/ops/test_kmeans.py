"""k-means through the engine: scikit-learn's on the same sample, for any blocks, workers and masks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import ndimage
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

import bigseg
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.errors import BigsegError, PipelineError, ValuesError
from bigseg.functions import describe
from bigseg.local.features.scaling import KINDS, Scaling, fit_table
from bigseg.local.models.centres import nearest_centre
from bigseg.ops.learning.features import Features
from bigseg.pipeline.result import Run
from bigseg.pipeline.steps import Step
from tests.ops.clusters import fitted, moved, predicted, sample_of, squares, table_of
from tests.ops.rows import op
from tests.volumes import store

SHAPE = (17, 26, 31)
FEATURES: dict[str, Any] = {"intensity": True, "gaussian": [1.0], "hessian_eigenvalues": 0.7, "position": {"x": 10}}
FEW: dict[str, Any] = {"k": 4, "sample": 1500, "batch": 200, "seed": 11}
BLOCKS = ((6, 8, 13), (17, 5, 31), (100, 100, 100))


def grains(seed: int = 0) -> np.ndarray:
    """Four kinds of voxels with noise, in blobs."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2)
    values = np.digitize(smooth / smooth.std(), (-1, 0, 1)) * 50 + 40 + rng.normal(0, 6, SHAPE)
    return values.clip(0, 255).astype(np.uint8)


def run(path: Path, step: Step, block: tuple[int, ...] = BLOCKS[0], save: bool = True, **volumes: np.ndarray) -> Run:
    inputs = {name: store(path / f"{name}.zarr", item) for name, item in volumes.items()}
    pipe = bigseg.Pipeline([step], [step.id] if save else [])
    return pipe.run(inputs, path / "run", block=block, workers=0, report=False)


def whole(x: np.ndarray, features: dict[str, Any] = FEATURES) -> np.ndarray:
    return table_of(Features(**features).stack(describe(x)), [x])


def test_equals_scikit_learn_on_the_same_sample(tmp_path: Path) -> None:
    """Centres are bit for bit those of partial_fit on the same batches; classes are predict's of every voxel."""
    x = grains()
    found = run(tmp_path, Step("c", op("kmeans", features=FEATURES, **FEW)), ct=x)
    table = whole(x)
    centres = fitted(sample_of(table, 1500, 11), 4, 11, 200)
    told = found.values["c"]
    np.testing.assert_array_equal(np.array(told["model"]["centres"], np.float32), centres)
    np.testing.assert_array_equal(found.outputs["c"].values.ravel(), predicted(table, centres))
    assert told["model"]["names"] == list(Features(**FEATURES).stack(describe(x)).names)
    assert found.outputs["c"].attrs["kind"] == "classes"
    rows = sample_of(table, 1500, 11)
    assert told["inertia"] == pytest.approx(squares(rows, centres).min(axis=1).sum(), rel=1e-5)
    assert told["silhouette"] == pytest.approx(silhouette_score(rows, predicted(rows, centres)), abs=1e-5)
    assert told["sample"] == 1500


def test_blocks_executors_and_workers_do_not_show(tmp_path: Path, cluster: DaskExecutor) -> None:
    """Classes, values and tables have the same bits for any blocks, serially and on a cluster of two workers.

    Two passes of Lloyd's algorithm and other numbers of classes are part of it.
    """
    step = Step("c", op("kmeans", features=FEATURES, lloyd=2, try_k=(2, 3), scaling="robust", **FEW))
    volume = store(tmp_path / "v.zarr", grains())
    found = []
    places: list[dict[str, Any]] = [{"block": block, "workers": 0} for block in BLOCKS]
    places += [{"block": BLOCKS[0], "scheduler": cluster.client.scheduler.address}]
    for number, where in enumerate(places):
        out = bigseg.Pipeline([step], ["c"]).run(volume, tmp_path / f"{number}", report=False, **where)
        found.append((out.outputs["c"].values.tobytes(), out.values, out.tables))
    for classes, values, tables in found[1:]:
        assert classes == found[0][0]
        assert values == found[0][1]
        assert tables.keys() == found[0][2].keys() == {"c", "c.tried"}
        for name, table in tables.items():
            pd.testing.assert_frame_equal(table, found[0][2][name], check_exact=True)


def test_same_seed_same_classes() -> None:
    """The seed alone decides: the same twice, and another sample with another."""
    x = grains()
    one, again, other = (bigseg.kmeans(x, k=5, sample=200, batch=100, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["sample", "volume"])
def test_features_are_scaled_as_the_sample_or_the_volume(kind: Any, source: str, tmp_path: Path) -> None:
    """Classes are those of features scaled by what the sample, or every voxel, says, as `fit_table` scales it."""
    x = grains()
    step = Step("c", op("kmeans", features=FEATURES, scaling=kind, scaling_from=source, **FEW))
    found = run(tmp_path, step, ct=x)
    planes = np.ascontiguousarray(whole(x).T)
    sample = np.ascontiguousarray(sample_of(planes.T, 1500, 11).T)
    scaling = fit_table(kind, sample if source == "sample" else planes)
    assert Scaling.from_dict(found.values["c"]["model"]["scaling"]) == scaling
    scaling.apply(sample)
    scaling.apply(planes)
    centres = fitted(np.ascontiguousarray(sample.T), 4, 11, 200)
    wanted = nearest_centre(planes, centres).places + 1
    np.testing.assert_array_equal(found.outputs["c"].values.ravel(), wanted)


def test_the_scaling_of_a_volume_knows_no_mask(tmp_path: Path) -> None:
    """It is refused before anything runs."""
    step = Step("c", op("kmeans", k=2, scaling="standard", scaling_from="volume"), ("ct",), mask="inside")
    with pytest.raises(PipelineError, match=r"step 'c': scaling_from: volume is of all voxels, found a mask"):
        run(tmp_path, step, ct=grains(), inside=np.ones(SHAPE, np.uint8))


@pytest.mark.parametrize("passes", [1, 2, 7])
def test_lloyd_is_that_of_scikit_learn(passes: int, tmp_path: Path) -> None:
    """After n passes over all voxels centres are those of KMeans(max_iter=n) from the same start, within 2e-5.

    scikit-learn adds float32 values in float32, ours are exact; the tolerance is of each feature's range.
    """
    x = grains()
    found = run(tmp_path, Step("c", op("kmeans", features=FEATURES, lloyd=passes, **FEW)), ct=x)
    table = whole(x)
    start = fitted(sample_of(table, 1500, 11), 4, 11, 200)
    wanted = moved(table, start, passes)
    centres = np.array(found.values["c"]["model"]["centres"])
    assert np.abs(start - wanted).max() > 1e-2
    np.testing.assert_allclose((centres - wanted) / np.ptp(table, axis=0), 0, atol=2e-5)
    agree = found.outputs["c"].values.ravel() == predicted(table, wanted)
    assert agree.mean() > 0.9995


def test_lloyd_to_the_end_is_a_fixed_point(tmp_path: Path) -> None:
    """After many passes every centre is the mean of its voxels, and inertia is no worse than scikit-learn's best."""
    x = grains()
    found = run(
        tmp_path, Step("c", op("kmeans", features={"intensity": True}, lloyd=30, sample=3000, k=4)), BLOCKS[2], ct=x
    )
    classes = found.outputs["c"].values
    means = [x[classes == k].mean() for k in range(1, 5)]
    np.testing.assert_allclose(np.ravel(found.values["c"]["model"]["centres"]), means, rtol=1e-6)
    best = KMeans(4, n_init=5, random_state=0).fit(x.reshape(-1, 1).astype(np.float64)).inertia_
    ours = sum(((x[classes == k] - mean) ** 2).sum() for k, mean in enumerate(means, 1))
    assert ours <= best * 1.001


@pytest.mark.parametrize("block", BLOCKS)
def test_a_mask_restricts_sample_and_result(block: tuple[int, ...], tmp_path: Path) -> None:
    """Only voxels inside are sampled, moved and classified; others are 0; features see across the edge of the mask."""
    x = grains()
    mask = np.sum([(axis - 8) ** 2 for axis in np.indices(SHAPE)], axis=0) < 90
    step = Step("c", op("kmeans", features=FEATURES, lloyd=1, **{**FEW, "sample": 400}), ("ct",), "body")
    found = run(tmp_path, step, block, ct=x, body=mask)
    table, inside = whole(x), mask.ravel()
    rows = sample_of(table, 400, 11, inside)
    wanted = moved(table[inside], fitted(rows, 4, 11, 200), 1)
    classes = found.outputs["c"].values
    assert not classes[~mask].any()
    np.testing.assert_array_equal(classes[mask], predicted(table, wanted)[inside])
    assert found.values["c"]["sample"] == 400


def test_an_empty_mask_is_refused(tmp_path: Path) -> None:
    """Nothing to look at is an error that names the mask."""
    step = Step("c", op("kmeans", k=2), ("ct",), "body")
    with pytest.raises(ValuesError, match="no voxel in the mask"):
        run(tmp_path, step, ct=grains(), body=np.zeros(SHAPE, np.uint8))


def test_the_table_tells_means(tmp_path: Path) -> None:
    """One row a class: voxels and share of the sample, mean and deviation of each feature, unscaled."""
    x = grains()
    step = Step("c", op("kmeans", k=4, features={"intensity": True, "gaussian": 1}, sample=10**6, scaling="standard"))
    found = run(tmp_path, step, ct=x)
    table, classes = found.tables["c"], found.outputs["c"].values
    assert table["class"].tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(table["voxels"], np.bincount(classes.ravel())[1:])  # the sample is everything
    np.testing.assert_allclose(table["share"].sum(), 1)
    for k in range(1, 5):
        row = table.iloc[k - 1]
        assert row["intensity"] == pytest.approx(x[classes == k].mean())
        assert row["intensity-std"] == pytest.approx(x[classes == k].std())
    assert table["intensity"].is_monotonic_increasing


def test_numbers_of_classes_beside_each_other(tmp_path: Path) -> None:
    """try_k gives inertia and silhouette of each number, k among them, as the fit on that number alone has them."""
    x = grains()
    parameters = {**FEW, "features": FEATURES}
    found = run(tmp_path, Step("c", op("kmeans", try_k=(6, 2), **parameters)), ct=x)
    table = found.tables["c.tried"]
    assert table["k"].tolist() == [2, 4, 6]
    assert table["inertia"].is_monotonic_decreasing
    for number in (2, 6):
        alone = run(tmp_path / f"{number}", Step("c", op("kmeans", **{**parameters, "k": number})), ct=x)
        row = table[table["k"] == number].iloc[0]
        assert (row["inertia"], row["silhouette"]) == tuple(alone.values["c"][key] for key in ("inertia", "silhouette"))


def test_the_function_takes_several_images_and_a_mask() -> None:
    """A list or a mapping of images as channels; a DataArray keeps its coordinates; outside of a mask there is 0."""
    one, two = grains(), 255 - grains(1)
    mask = one > 60
    listed = bigseg.kmeans([one, two], k=3, sample=500)
    np.testing.assert_array_equal(listed, bigseg.kmeans({"xray": one, "neutron": two}, k=3, sample=500))
    assert (listed != bigseg.kmeans(one, k=3, sample=500)).any()
    inside = bigseg.kmeans([one, two], mask, k=3, sample=500)
    assert set(np.unique(inside[mask])) == {1, 2, 3}
    assert not inside[~mask].any()
    frame = xr.DataArray(one, dims=("z", "y", "x"), coords={"x": np.arange(31) * 0.5}, attrs={"unit": "micrometer"})
    found = bigseg.kmeans(frame, k=3, sample=500)
    np.testing.assert_array_equal(found.values, bigseg.kmeans(one, k=3, sample=500))
    assert found.coords["x"][-1] == 15


def test_equal_voxels_are_one_class() -> None:
    """A volume of one value, which no fit can part, is of class 1."""
    assert (bigseg.kmeans(np.full((9, 9), 7, np.uint8), k=3) == 1).all()


def test_sparse_samples_are_computed_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a block holds few voxels of the sample, only their surroundings are computed, with the same result."""
    from bigseg.local.features import picking

    x = grains()
    step = Step("c", op("kmeans", k=2, features={"gaussian": [0.7]}, sample=20, batch=20))
    usual = run(tmp_path / "usual", step, ct=x)
    monkeypatch.setattr(picking, "CALL", 0)
    alone = run(tmp_path / "alone", step, block=(100, 100, 100), ct=x)
    assert usual.values == alone.values


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"k": 1}, "greater than or equal to 2"),
        ({"k": 255}, "less than or equal to 254"),
        ({"k": 3, "try_k": (2, 300)}, "from 2 to 254, found 300"),
        ({"k": 3, "try_k": (2, 20), "batch": 10}, "batch 10: expected as many voxels as classes at least, 20"),
        ({"k": 30, "sample": 20}, "sample 20"),
        ({"k": 3, "features": {"gausian": 1}}, "unknown feature 'gausian', did you mean 'gaussian'"),
        ({"k": 3, "scaling": "log"}, "'none', 'standard'"),
        ({"k": 3, "seed": -1}, "greater than or equal to 0"),
    ],
)
def test_parameters_that_make_no_sense(parameters: dict[str, Any], said: str) -> None:
    """Numbers that cannot be are refused with what was expected."""
    with pytest.raises(BigsegError, match=said):
        bigseg.kmeans(grains(), **parameters)


def test_fewer_voxels_than_classes() -> None:
    """An image with fewer voxels than classes is refused."""
    with pytest.raises(ValuesError, match="6 voxels for 7 classes"):
        bigseg.kmeans(np.zeros((2, 3), np.uint8), k=7)


def test_a_pipeline_file_names_its_features(tmp_path: Path) -> None:
    """Features stand inline; what is saved with the run can be run again; a wrong name is refused."""
    step = {"id": "c", "op": "kmeans", "k": 3, "features": {"gaussian": [1, 2], "position": {"x": 10}}}
    pipe = bigseg.Pipeline.from_dict({"version": 1, "steps": [step]})
    again = bigseg.Pipeline.from_dict(pipe.as_dict())
    assert again.steps == pipe.steps
    step["features"] = {"gaussian": [1], "sobol": 2}
    with pytest.raises(PipelineError, match="sobol"):
        bigseg.Pipeline.from_dict({"version": 1, "steps": [step]})


def test_the_plan_knows_halo_and_memory(tmp_path: Path) -> None:
    """Every pass over features has their halo; the stage that fits is planned with the sample and its libraries."""
    volume = store(tmp_path / "v.zarr", grains())
    plan = bigseg.Pipeline([Step("c", op("kmeans", k=3, features={"gaussian": [2.0]}, lloyd=1))]).plan(volume)
    assert sum(stage.kind == "pass" for stage in plan.stages) == 3
    stages = {stage.name: stage for stage in plan.stages}
    assert stages["c.fit"].memory - stages["c.lloyd-1-moved"].memory > 50 << 20


ELSEWHERE = """
import json, sys
import numpy as np
from threadpoolctl import threadpool_info
import bigseg

found = []
for seed in range(4):
    kmeans = bigseg.Kmeans(k=5, seed=seed, sample=4000, batch=500, features=json.loads(sys.argv[2]))
    run = bigseg.Pipeline([kmeans]).run(np.load(sys.argv[1]), f"{sys.argv[3]}/{seed}", workers=0, report=False)
    found.append([run.values["kmeans"]["model"], run.outputs["kmeans"].values.tobytes().hex()])
kernels = sorted({item.get("architecture", "") for item in threadpool_info() if item["user_api"] == "blas"})
print(json.dumps([kernels, found]))
"""


def test_another_kind_of_processor_finds_the_same_classes(tmp_path: Path) -> None:
    """Centres and classes are the same bits with the linear algebra of a processor without AVX."""
    np.save(tmp_path / "x.npy", grains())
    answers = []
    for name, variables in (
        ("here", {}),
        ("old", {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "AVX2"}),
    ):
        command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "x.npy"), json.dumps(FEATURES), str(tmp_path / name)]
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        answers.append(json.loads(done.stdout))
    if answers[0][0] == answers[1][0]:
        pytest.skip(f"the linear algebra here ({answers[0][0]}) takes no other kernels")
    assert answers[0][1] == answers[1][1]
