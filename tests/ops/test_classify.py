"""Classification in blocks is scikit-learn's on the features of the whole array, the same bits for any blocks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bigseg
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.errors import InputError, ParameterError, PipelineError
from bigseg.functions import describe
from bigseg.learn.annotations import Annotated, Labels, Table, annotated_table
from bigseg.learn.model import Model
from bigseg.learn.model_file import load_model, save_model
from bigseg.learn.sampled import Sampling
from bigseg.learn.training import Recipe, fit_model
from bigseg.local.features.stack import features_of
from bigseg.model_functions import parallel, rows_as_planes
from bigseg.ops.learning.features import Features
from bigseg.ops.train import Train
from bigseg.pipeline.steps import Step
from bigseg.storage.volume import Volume
from tests.learn.test_annotations import SHAPE, held, painted
from tests.local.crops import textured
from tests.volumes import store

IMAGE = textured(SHAPE, "uint8")
SPEC = describe(IMAGE)
FEATURES = Features(intensity=True, gaussian=(1.0,), position=10, hessian_eigenvalues=(1.5,))
STACK = FEATURES.stack(SPEC)
LABELS = painted()
BLOCKS = [(20, 26, 30), (7, 26, 11), (9, 5, 30)]


@cache
def whole() -> np.ndarray:
    """Features of the whole array, a row a feature; kernels are not compiled while tests are collected."""
    return features_of(STACK, [IMAGE], tuple(slice(0, n) for n in SHAPE)).reshape(len(STACK.names), -1)


@cache
def table() -> Table:
    """Features and classes of what is painted."""
    return annotated_table([Annotated("a", (held(IMAGE),), Labels(held(LABELS)))], STACK, Sampling(None))


def model_of(recipe: Recipe) -> Model:
    described = {
        "features": FEATURES.model_dump(mode="json", exclude_defaults=True),
        "images": [""],
        "axes": ["z", "y", "x"],
        "names": list(STACK.names),
    }
    return fit_model(table(), recipe, names=STACK.names, spec=SPEC, described=described).model


@pytest.fixture(scope="module")
def forest() -> Any:
    return RandomForestClassifier(12, random_state=0).fit(table().planes.T, table().truth)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "forest.npz"
    save_model(model_of(Recipe("random_forest", parameters={"n_estimators": 12})), path)
    return path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return store(tmp_path / "image.zarr", IMAGE)


def ran(volume: Any, out: Path, steps: list[Any], **settings: Any) -> dict[str, np.ndarray]:
    save = [step.id for step in steps if not isinstance(step.op, Train)]
    run = bigseg.Pipeline(steps, save).run(volume, out, report=False, **({"workers": 0} | settings))
    return {name: item.values for name, item in run.outputs.items()}


def outputs(model: Any, **more: Any) -> list[Step]:
    kinds: list[dict[str, Any]] = [
        {},
        {"output": "probability", "target": 2},
        {"output": "probability", "target": "class 3", "dtype": "uint8"},
        {"output": "uncertainty"},
    ]
    return [
        Step(f"s{n}", bigseg.Classify(model=str(model), **kind, **more), ("input",)) for n, kind in enumerate(kinds)
    ]


def test_equals_scikit_learn_in_any_blocks(
    forest: Any, path: Path, volume: Path, tmp_path: Path, cluster: DaskExecutor
) -> None:
    """Labels are predict of the whole array's features exactly, probabilities within 1e-6; any blocks and executor."""
    labels, shares = forest.predict(whole().T), forest.predict_proba(whole().T)
    assert len(np.unique(labels)) == 3
    first: dict[str, np.ndarray] = {}
    places: list[dict[str, Any]] = [{"block": block} for block in BLOCKS]
    places.append({"block": BLOCKS[1], "workers": None, "scheduler": cluster.client.scheduler.address})
    for number, place in enumerate(places):
        found = ran(volume, tmp_path / f"{number}", outputs(path), **place)
        first = first or found
        for name, array in found.items():
            assert array.tobytes() == first[name].tobytes(), (name, place)
    np.testing.assert_array_equal(first["s0"].ravel(), labels)
    np.testing.assert_allclose(first["s1"].ravel(), shares[:, 1], atol=1e-6)
    assert first["s2"].dtype == np.uint8
    np.testing.assert_allclose(first["s2"].ravel() / 255, shares[:, 2], atol=0.5 / 255 + 1e-6)
    ordered = np.sort(shares, axis=1)
    np.testing.assert_allclose(first["s3"].ravel(), 1 - (ordered[:, -1] - ordered[:, -2]), atol=1e-6)


OTHERS = [
    ExtraTreesClassifier(5, random_state=0),
    HistGradientBoostingClassifier(max_iter=5, early_stopping=False),
    KNeighborsClassifier(3, algorithm="kd_tree"),
    KNeighborsClassifier(3, algorithm="brute"),
    make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=20, solver="lbfgs", random_state=0)),
]


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("estimator", OTHERS, ids=lambda item: type(item).__name__)
def test_any_estimator_by_its_own_predict(estimator: Any, volume: Path, tmp_path: Path) -> None:
    """Estimators of scikit-learn's own: its labels, and the same bits of the probabilities in any blocks."""
    model = model_of(Recipe(estimator))
    save_model(model, tmp_path / "m.npz")
    steps = outputs(tmp_path / "m.npz")[:2]
    first, *others = [ran(volume, tmp_path / f"{n}", steps, block=block) for n, block in enumerate(BLOCKS)]
    for found in others:
        assert found["s0"].tobytes() == first["s0"].tobytes()
        assert found["s1"].tobytes() == first["s1"].tobytes()
    wanted = estimator.fit(table().planes.T, table().truth) if hasattr(estimator, "steps") else None
    if wanted is not None:
        assert np.mean(first["s0"].ravel() == wanted.predict(whole().T)) > 0.999
    else:
        np.testing.assert_array_equal(first["s0"].ravel(), model.labels(whole()))


def test_scaling_and_clusters_come_with_the_model(volume: Path, tmp_path: Path) -> None:
    """Scaled features and k-means in front are applied in the block as they were in training."""
    recipe = Recipe(
        "random_forest", parameters={"n_estimators": 5}, scaling="robust", clusters=4, cluster_features="distances"
    )
    save_model(model_of(recipe), tmp_path / "m.npz")
    found = [ran(volume, tmp_path / f"{n}", outputs(tmp_path / "m.npz"), block=b) for n, b in enumerate(BLOCKS)]
    for name in found[0]:
        assert len({item[name].tobytes() for item in found}) == 1
    model = load_model(tmp_path / "m.npz")
    wanted = model.labels(rows_as_planes(model, whole().T))
    np.testing.assert_array_equal(found[0]["s0"].ravel(), wanted)
    assert len(model.names) == len(STACK.names) + 4


def test_lazy_arrays(path: Path) -> None:
    """dask arrays and DataArrays stay lazy and give the bits of NumPy arrays; so does ParallelPostFit on rows."""
    at_once = bigseg.classify(IMAGE, model=path, output="uncertainty")
    lazy = bigseg.classify(da.from_array(IMAGE, (7, 11, 13)), model=path, output="uncertainty")
    assert isinstance(lazy, da.Array)
    assert lazy.chunks == ((7, 7, 6), (11, 11, 4), (13, 13, 4))
    assert lazy.compute(scheduler="sync").tobytes() == at_once.tobytes()
    frame = bigseg.classify(xr.DataArray(da.from_array(IMAGE, 10), dims=("z", "y", "x")), model=path)
    labels = bigseg.classify(IMAGE, model=load_model(path))
    assert frame.attrs["kind"] == "classes"
    np.testing.assert_array_equal(frame.values, labels)
    rows = da.from_array(np.ascontiguousarray(whole().T), (5000, -1))
    np.testing.assert_array_equal(parallel(load_model(path)).predict(rows).compute(scheduler="sync"), labels.ravel())


def test_masks_and_regions(path: Path, volume: Path, tmp_path: Path) -> None:
    """Outside of a mask there is class 0; a region is a volume of its own."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:9, 3:20, 5:25] = 1
    inputs = {"input": volume, "mask": store(tmp_path / "mask.zarr", mask)}
    step = Step("s", bigseg.Classify(model=str(path)), ("input",), "mask")
    found = ran(inputs, tmp_path / "masked", [step], block=(6, 9, 30))["s"]
    np.testing.assert_array_equal(found, np.where(mask, bigseg.classify(IMAGE, model=path), 0))
    part = ran(volume, tmp_path / "part", [Step("s", bigseg.Classify(model=str(path)))], roi="2:12,:,5:20")["s"]
    np.testing.assert_array_equal(part, bigseg.classify(IMAGE[2:12, :, 5:20], model=path))


def test_models_of_planes_go_through_volumes(tmp_path: Path) -> None:
    """A model of a 2-D image is applied to every plane."""
    model = bigseg.train(
        IMAGE[3], LABELS.max(axis=0), features={"gaussian": 1, "neighbours": 1}, parameters={"n_estimators": 4}
    )
    found = bigseg.classify(IMAGE, model=model)
    np.testing.assert_array_equal(found[7], bigseg.classify(IMAGE[7], model=model))


def test_refusals(path: Path, volume: Path, tmp_path: Path) -> None:
    """Other dtypes, other spacing, other numbers of images, unknown classes and outputs; override takes the volume."""
    other = store(tmp_path / "other.zarr", IMAGE.astype(np.uint16))
    step = bigseg.Classify(model=str(path))
    for inputs, steps, kind, why in (
        (other, [step], InputError, "uint8.*found uint16"),
        ({"a": volume, "b": volume}, [Step("s", step, ("a", "b"))], InputError, "is of 1 images"),
        (volume, [bigseg.Classify(model=str(path), output="value")], ParameterError, "classification"),
        (volume, [bigseg.Classify(model=str(path), output="probability")], ParameterError, "say which with target"),
        (volume, [bigseg.Classify(model=str(path), output="probability", target=9)], ParameterError, "target 9"),
        (volume, [bigseg.Classify(model="none.npz")], InputError, "cannot read the model"),
        (
            volume,
            [bigseg.Histogram(), Step("s", bigseg.Classify(model="${histogram.max}"), ("input",))],
            PipelineError,
            "no model",
        ),
    ):
        with pytest.raises(kind, match=why):
            bigseg.Pipeline(steps).plan(inputs, workers=0)
    bigseg.Pipeline([bigseg.Classify(model=str(path), override=True)]).plan(other, workers=0)
    for wrong in ({"target": 1}, {"dtype": "uint8"}):
        with pytest.raises(ValueError, match="belongs to"):
            bigseg.Classify(model=str(path), **wrong)


def test_another_model_file_is_another_run(path: Path, volume: Path, tmp_path: Path) -> None:
    """The digest of the model is part of the pipeline: a run is not continued with another one."""
    own = tmp_path / "m.npz"
    own.write_bytes(path.read_bytes())
    written = bigseg.Pipeline([bigseg.Classify(model=str(own))])
    assert written.as_dict()["steps"][0]["digest"]
    save_model(model_of(Recipe("decision_tree")), own)
    with pytest.raises(PipelineError, match="has changed"):
        bigseg.Pipeline.from_dict(written.as_dict())
    with pytest.raises(InputError, match="has changed"):
        written.plan(volume, workers=0)


def steps_of(**parameters: Any) -> list[Step]:
    features = FEATURES.model_dump(mode="json", exclude_defaults=True)
    op = Train(labels="drawn", features=features, parameters={"n_estimators": 12}, **parameters)  # type: ignore[arg-type]
    return [Step("forest", op, ("input",)), *outputs("${forest.model}")]


def test_a_train_step_makes_the_model(path: Path, volume: Path, tmp_path: Path, cluster: DaskExecutor) -> None:
    """The file that a train step writes has the forest that training in memory has, for any blocks and executor."""
    inputs = {"input": volume, "drawn": store(tmp_path / "drawn.zarr", LABELS)}
    wanted = ran(volume, tmp_path / "wanted", outputs(path))
    found = []
    for number, block in enumerate(BLOCKS):
        where = {"workers": None, "scheduler": cluster.client.scheduler.address} if number == 1 else {}
        found.append(ran(inputs, tmp_path / f"{number}", steps_of(voxels=None), block=block, **where))
        for name, array in wanted.items():
            assert array.tobytes() == found[-1][name].tobytes(), (name, block)
    files = [(tmp_path / f"{n}" / "models" / "forest.npz").read_bytes() for n in range(3)]
    assert files[0] == files[1] == files[2]
    model = load_model(tmp_path / "0" / "models" / "forest.npz")
    assert model.training[0].voxels == (LABELS > 0).sum()


def test_classes_keep_their_names(path: Path, volume: Path, tmp_path: Path) -> None:
    """Labels carry the names and colours of the model's classes, or those that a train step was given."""
    ran(volume, tmp_path / "file", [Step("classes", bigseg.Classify(model=str(path)), ("input",))])
    found = Volume.open(tmp_path / "file" / "classes.ome.zarr").spec.classes
    assert [tuple(item) for item in found] == [
        (item.value, item.name, item.colour.lower()) for item in load_model(path).classes
    ]
    named = {2: "pore", 1: {"name": "matrix", "colour": "#102030"}}
    inputs = {"input": volume, "drawn": store(tmp_path / "drawn.zarr", LABELS)}
    ran(inputs, tmp_path / "step", steps_of(classes=named)[:2])
    first, second = Volume.open(tmp_path / "step" / "s0.ome.zarr").spec.classes
    assert tuple(first) == (1, "matrix", "#102030")
    assert second.name == "pore"


def test_regions_and_the_threshold_of_a_train_step(volume: Path, tmp_path: Path) -> None:
    """Figures come by region, and the threshold of the validation region can be given to a threshold step."""
    mask = (IMAGE + np.random.default_rng(1).integers(-30, 30, SHAPE) > 110).astype(np.uint8)
    inputs = {"input": volume, "drawn": store(tmp_path / "drawn.zarr", mask)}
    regions = {"train": ":,0:10,:", "validation": ":,10:16,:", "test": (":13,16:,:", "13:,20:,:")}
    train = Train(
        labels="drawn",
        kind="mask",
        features=FEATURES,
        regions=regions,
        voxels=700,
        parameters={"n_estimators": 5},  # type: ignore[arg-type]
    )
    steps = [
        Step("forest", train, ("input",)),
        Step("p", bigseg.Classify(model="${forest.model}", output="probability"), ("input",)),
        Step("m", bigseg.Threshold(above="${forest.threshold}"), ("p",)),
    ]
    records = []
    for number, block in enumerate(BLOCKS):
        run = bigseg.Pipeline(steps, ["p", "m"]).run(
            inputs, tmp_path / f"{number}", block=block, workers=0, report=False
        )
        records.append(run.values["forest"])
        np.testing.assert_array_equal(
            run.outputs["m"].values, run.outputs["p"].values > np.float32(records[0]["threshold"])
        )
    assert records[0] == records[1] == records[2]
    figures = records[0]["figures"]
    assert figures["train"]["voxels"] == figures["validation"]["voxels"] == figures["test"]["voxels"] == 700
    assert records[0]["threshold"] == figures["validation"]["best_threshold"] == figures["test"]["threshold"]


def test_refusals_of_train_steps(volume: Path, tmp_path: Path) -> None:
    """Labels that are no volume, of another shape, or empty, and unknown estimators."""
    drawn = store(tmp_path / "drawn.zarr", LABELS)
    small = store(tmp_path / "small.zarr", LABELS[:5])
    for inputs, parameters, why in (
        ({"input": volume}, {}, "labels 'drawn' is no volume"),
        ({"input": volume, "drawn": small}, {}, "has shape"),
        ({"input": volume, "drawn": drawn}, {"regions": {"train": ":,:,0:99"}}, "0:99"),
        ({"input": volume, "drawn": drawn}, {"kind": "values", "task": "classification"}, "expected classes"),
    ):
        with pytest.raises((PipelineError, ParameterError), match=why):
            bigseg.Pipeline(steps_of(**parameters)).plan(inputs, workers=0)
    with pytest.raises(ValueError, match="unknown estimator"):
        steps_of(estimator="forrest")
    empty = store(tmp_path / "empty.zarr", np.zeros(SHAPE, np.uint8))
    with pytest.raises(ParameterError, match="no voxel for training is labelled"):
        ran({"input": volume, "drawn": empty}, tmp_path / "run", steps_of())


@pytest.mark.parametrize("lost", [False, True])
def test_a_run_that_was_stopped_after_training(path: Path, volume: Path, tmp_path: Path, lost: bool) -> None:
    """What is continued has the bits of what was not stopped, also when the model file was lost in between."""
    inputs = {"input": volume, "drawn": store(tmp_path / "drawn.zarr", LABELS)}
    steps = steps_of(voxels=None)[:2]
    pipe = bigseg.Pipeline(steps, ["s0"])

    def stop(summary: Any, done: int, units: int | None) -> None:
        if (tmp_path / "run" / "models" / "forest.npz").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe.run(inputs, tmp_path / "run", block=BLOCKS[1], workers=0, report=False, observe=stop)
    model = tmp_path / "run" / "models" / "forest.npz"
    assert model.exists()
    assert not (tmp_path / "run" / "s0.ome.zarr" / "0" / "c").exists()
    if lost:
        model.unlink()
    run = pipe.run(inputs, tmp_path / "run", block=BLOCKS[1], workers=0, report=False)
    np.testing.assert_array_equal(run.outputs["s0"].values, ran(volume, tmp_path / "w", outputs(path)[:1])["s0"])
    assert load_model(model).training[0].voxels == (LABELS > 0).sum()
