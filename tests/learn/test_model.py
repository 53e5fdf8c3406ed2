"""Model files: what was saved is what is loaded, and everything else is refused."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from bigseg.errors import InputError, ParameterError
from bigseg.learn.model import Model, Source, check_fits, make_model
from bigseg.learn.model_file import load_model, save_model
from bigseg.local.models.forest import Forest
from bigseg.storage.spec import Spec

RNG = np.random.default_rng(0)
X = RNG.random((300, 3), np.float32)
Y = (1 + (X[:, 0] + X[:, 1] > 1) + 2 * (X[:, 2] > 0.7)).astype(np.uint8)
SPEC = Spec((8, 64, 64), np.dtype("uint8"), ("z", "y", "x"), (2.0, 0.5, 0.5), "micrometer")
FEATURES = {"kind": "stack", "filters": [{"name": "gaussian", "sigma": 1.5}], "mode": "reflect"}


def model_of(estimator: Any, y: np.ndarray = Y, **changes: Any) -> Model:
    known = {
        "features": FEATURES,
        "names": ("a", "b", "c"),
        "spec": SPEC,
        "scales": (1.5, "2 um"),
        "training": [Source("left.ome.zarr", "0123456789abcdef", 300)],
    }
    return make_model(estimator.fit(X, y), **(known | changes))


@pytest.fixture(scope="module")
def forest() -> Model:
    names = {1: "pore", 2: "matrix", 3: "crack"}
    return model_of(RandomForestClassifier(5, random_state=0), classes=names, colours={1: "#000000"})


@pytest.fixture
def saved(forest: Model, tmp_path: Path) -> Path:
    save_model(forest, tmp_path / "model.npz")
    return tmp_path / "model.npz"


def test_a_forest_comes_back_as_it_was(forest: Model, saved: Path) -> None:
    """Everything that a model says of itself is loaded, and the forest predicts the same bits."""
    found = load_model(saved)
    assert isinstance(found.predictor, Forest)
    for name in vars(forest):
        if name != "predictor":
            assert getattr(found, name) == getattr(forest, name), name
    np.testing.assert_array_equal(found.probabilities(X.T), forest.probabilities(X.T))
    np.testing.assert_array_equal(found.labels(X.T), forest.labels(X.T))
    assert [(item.value, item.name) for item in found.classes[:2]] == [(1, "pore"), (2, "matrix")]
    assert found.classes[0].colour == "#000000"
    assert set(found.versions) == {"bigseg", "scikit-learn", "numpy", "skops"}


@pytest.mark.parametrize("estimator", [DecisionTreeClassifier(max_depth=3), LogisticRegression()])
def test_what_we_predict_ourselves_loads_no_library(estimator: Any, tmp_path: Path) -> None:
    """Trees and linear models work without scikit-learn, skops and pandas: four seconds and 160 MiB of a worker."""
    model = model_of(estimator)
    save_model(model, tmp_path / "model.npz")
    np.save(tmp_path / "x.npy", np.ascontiguousarray(X.T))
    program = (
        "import sys, numpy as np; from bigseg.learn.loading import load_kept; "
        "print(load_kept('model.npz', '').labels(np.load('x.npy')).tolist()); "
        "print([name for name in ('sklearn', 'skops', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    labels, loaded = done.stdout.splitlines()
    assert json.loads(labels) == model.labels(np.ascontiguousarray(X.T)).tolist()
    assert loaded == "[]"


def test_the_file_is_plain(saved: Path) -> None:
    """numpy opens it without pickle, JSON reads its head."""
    with np.load(saved, allow_pickle=False) as file:
        assert file["feature"].dtype == np.int32
    with zipfile.ZipFile(saved) as file:
        assert json.loads(file.read("model.json"))["features"] == FEATURES


def test_the_same_model_gives_the_same_bytes(forest: Model, saved: Path, tmp_path: Path) -> None:
    """No time or chance enters a file, also by way of a loaded model."""
    save_model(load_model(saved), tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize(
    "estimator",
    [
        KNeighborsClassifier(3),
        GaussianNB(),
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3),
        make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=1000)),
        make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=0)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_other_classifiers_come_back(estimator: Any, tmp_path: Path) -> None:
    """Listed estimators go through skops and predict the same; their labels are the class numbers."""
    model = model_of(estimator)
    save_model(model, tmp_path / "model.npz")
    found = load_model(tmp_path / "model.npz")
    np.testing.assert_array_equal(found.labels(X.T), estimator.predict(X))
    np.testing.assert_array_equal(found.probabilities(X.T), estimator.predict_proba(X).T.astype(np.float32))


@pytest.mark.parametrize("estimator", [RandomForestRegressor(3), HistGradientBoostingRegressor(max_iter=3)])
def test_regressions_come_back(estimator: Any, tmp_path: Path) -> None:
    """A regression gives values and no labels."""
    model = model_of(estimator, X[:, 0] * 3)
    save_model(model, tmp_path / "model.npz")
    found = load_model(tmp_path / "model.npz")
    assert found.task == "regression"
    assert found.classes == ()
    np.testing.assert_array_equal(found.values(X.T), estimator.predict(X).astype(np.float32))
    with pytest.raises(ParameterError, match="regression"):
        found.labels(X.T)


@pytest.mark.parametrize("classes", [0, 2, 4])
def test_linear_models_come_back(classes: int, tmp_path: Path) -> None:
    """Weights are plain arrays; labels are scikit-learn's, probabilities and values within 1e-6."""
    y = np.minimum(Y, classes) if classes else X[:, 0] * 3
    estimator = LogisticRegression() if classes else LinearRegression()
    save_model(model_of(estimator, y), tmp_path / "model.npz")
    with zipfile.ZipFile(tmp_path / "model.npz") as file:
        assert set(file.namelist()) == {"model.json", "weights.npy", "offsets.npy"}
    found = load_model(tmp_path / "model.npz")
    if classes:
        np.testing.assert_array_equal(found.labels(X.T), estimator.predict(X))
        np.testing.assert_allclose(found.probabilities(X.T), estimator.predict_proba(X).T, atol=1e-6)
    else:
        np.testing.assert_allclose(found.values(X.T), estimator.predict(X), atol=1e-5)
    with pytest.raises(InputError, match="expected float64"):
        load_model(changed(tmp_path / "model.npz", weights__npy=npy(np.ones((1, 3), np.float32))))
    with pytest.raises(InputError, match=r"outputs|no linear model"):
        load_model(changed(tmp_path / "model.npz", weights__npy=npy(np.ones((1, 2))), offsets__npy=npy(np.ones(1))))


def test_refuses_to_save_what_is_not_listed(tmp_path: Path) -> None:
    """An estimator outside of the list, or one that calls a function, is refused by name, and no file is made."""
    with pytest.raises(ParameterError, match=r"SVC.*not on the list"):
        save_model(model_of(SVC()), tmp_path / "model.npz")
    with pytest.raises(ParameterError, match="not on the list"):
        save_model(model_of(make_pipeline(FunctionTransformer(np.sqrt), LogisticRegression())), tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_refuses_features_that_are_no_json(tmp_path: Path) -> None:
    """What the features say of themselves must be plain."""
    model = model_of(DecisionTreeClassifier(), features={"sigma": np.arange(3)})
    with pytest.raises(ParameterError, match="no JSON"):
        save_model(model, tmp_path / "model.npz")


def changed(path: Path, **members: bytes | None) -> Path:
    """A copy of a model file with members replaced, added or (None) left out, its digests made to fit."""
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    head = json.loads(content.pop("model.json"))
    for name, data in members.items():
        key = name.replace("__", ".")
        if data is None:
            del content[key]
        else:
            content[key] = data
    from bigseg.learn.model_file import _digest

    head["members"] = {name: [len(data), _digest(data)] for name, data in content.items()}
    return zipped(path.with_name("changed.npz"), {"model.json": json.dumps(head).encode(), **content})


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def npy(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def test_every_flipped_byte_is_noticed(saved: Path) -> None:
    """A file with a byte changed anywhere is refused, or is the same model."""
    data = saved.read_bytes()
    wanted = vars(load_model(saved))
    for place in range(0, len(data), 97):
        saved.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            found = vars(load_model(saved))
        except InputError:
            continue
        assert {k: v for k, v in found.items() if k != "predictor"} == {
            k: v for k, v in wanted.items() if k != "predictor"
        }
        np.testing.assert_array_equal(found["predictor"].threshold, wanted["predictor"].threshold)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_refuses_a_file_that_is_cut(saved: Path, share: float) -> None:
    """Part of a file is no model."""
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match="cannot be used as a model"):
        load_model(saved)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(RandomForestClassifier()))


def numbers(path: Path) -> None:
    np.savez(path, feature=np.zeros(3))


def skopsed(path: Path) -> None:
    path.write_bytes(skops.io.dumps(LogisticRegression()))


@pytest.mark.parametrize("make", [pickled, numbers, skopsed], ids=["pickle", "npz", "skops"])
def test_refuses_foreign_files(make: Callable[[Path], None], tmp_path: Path) -> None:
    """Files of other programs are refused without loading them."""
    path = tmp_path / "foreign.npz"
    make(path)
    with pytest.raises(InputError, match="cannot be used as a model"):
        load_model(path)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    """A path without a file says so."""
    with pytest.raises(InputError, match="cannot read the model"):
        load_model(tmp_path / "none.npz")


def test_refuses_forged_forests(saved: Path) -> None:
    """Arrays that would lead a walk astray, pickled arrays and arrays of other dtypes are refused."""
    with np.load(saved) as file:
        left, feature = file["left"], file["feature"]
    far = left.copy()
    far[np.flatnonzero(far)[-1]] = 10**6
    with pytest.raises(InputError, match="outside of its tree"):
        load_model(changed(saved, left__npy=npy(far)))
    with pytest.raises(InputError, match="other features"):
        load_model(changed(saved, feature__npy=npy(feature + 3)))
    with pytest.raises(InputError, match="allow_pickle"):
        load_model(changed(saved, left__npy=npy(left.astype(object), allow_pickle=True)))
    with pytest.raises(InputError, match="int64, expected int32"):
        load_model(changed(saved, left__npy=npy(left.astype(np.int64))))
    with pytest.raises(InputError, match=r"values\.npy"):
        load_model(changed(saved, values__npy=None))


def test_refuses_forged_skops(saved: Path, tmp_path: Path) -> None:
    """A skops file inside of a model that holds anything beyond the list is refused before it is made."""
    for estimator in (FunctionTransformer(np.sqrt), SVC(), make_pipeline(FunctionTransformer(np.sqrt))):
        forged = changed(saved, estimator__skops=skops.io.dumps(estimator))
        with pytest.raises(InputError, match="not on the list"):
            load_model(forged)


def test_refuses_other_versions(saved: Path) -> None:
    """A file of a later format says that a newer bigseg is needed."""
    with zipfile.ZipFile(saved) as file:
        content = {name: file.read(name) for name in file.namelist()}
    content["model.json"] = content["model.json"].replace(b'"version": 1', b'"version": 2')
    with pytest.raises(InputError, match="newer bigseg"):
        load_model(zipped(saved, content))


def test_fits_the_volumes_it_was_made_for(forest: Model) -> None:
    """The same spacing in any unit and the same dtype pass."""
    check_fits(forest, SPEC)
    check_fits(forest, SPEC.but(spacing=(2000.0, 500.0, 500.0), unit="nanometer"))
    check_fits(forest, SPEC.but(spacing=(2.01, 0.5, 0.5), shape=(9, 9, 9)))
    check_fits(forest, SPEC.but(dtype=np.dtype("float32"), bounds=(0.0, 255.0)))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"spacing": (2.0, 0.6, 0.6)}, r"spacing of 2 x 0.5 x 0.5 micrometer, found 2 x 0.6 x 0.6"),
        ({"unit": "nanometer"}, "found 0.002 x 0.0005"),
        ({"unit": ""}, "without a unit"),
        ({"dtype": np.dtype("uint16")}, r"uint8 \(0 to 255\), found uint16 \(0 to 65535\)"),
        ({"dtype": np.dtype("float32")}, "found float32"),
        ({"dtype": np.dtype("float32"), "bounds": (0.0, 1.0)}, r"found float32 \(0 to 1\)"),
    ],
)
def test_refuses_volumes_that_do_not_fit(forest: Model, change: dict[str, Any], why: str) -> None:
    """Another spacing or range of values is refused in one line, unless overridden."""
    with pytest.raises(InputError, match=why):
        check_fits(forest, SPEC.but(**change))
    check_fits(forest, SPEC.but(**change), override=True)


def test_says_all_that_does_not_fit_at_once(forest: Model) -> None:
    """Spacing and range stand in one error."""
    with pytest.raises(InputError, match=r"spacing.*; expected voxels"):
        check_fits(forest, SPEC.but(unit="", dtype=np.dtype("int16")))


def test_models_without_units_compare_ratios(forest: Model) -> None:
    """Where no unit is known, the ratio between the axes counts; slices have no z."""
    bare = replace(forest, unit="", spacing=(4.0, 1.0, 1.0))
    check_fits(bare, SPEC)
    check_fits(bare, SPEC.but(shape=(9, 9), axes=("y", "x"), spacing=(3.0, 3.0), origin=(), unit=""))
    with pytest.raises(InputError, match="ratio"):
        check_fits(bare, SPEC.but(spacing=(1.0, 1.0, 1.0)))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"names": ("a", "b")}, "fitted on 3 features, and 2 are named"),
        ({"classes": {9: "bone"}}, "no voxel was labelled 9"),
    ],
)
def test_refuses_to_make_what_contradicts_itself(change: dict[str, Any], why: str) -> None:
    """Names for other features or unknown classes are refused."""
    with pytest.raises(ParameterError, match=why):
        model_of(DecisionTreeClassifier(), **change)


def test_refuses_classes_that_are_no_bytes() -> None:
    """Classes by text, or beyond 255, cannot be voxels of a class volume."""
    with pytest.raises(ParameterError, match="whole numbers"):
        model_of(DecisionTreeClassifier(), np.where(Y > 1, "a", "b"))
    with pytest.raises(ParameterError, match="whole numbers"):
        model_of(DecisionTreeClassifier(), Y.astype(int) + 300)
    with pytest.raises(ParameterError, match="not fitted"):
        make_model(DecisionTreeClassifier(), features={}, names=(), spec=SPEC)
