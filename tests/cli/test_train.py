"""`bigseg train` and a pipeline with its model: from painted labels to a classified volume, on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bigseg.learn.model_file import load_model
from tests.cli.conftest import Bigseg
from tests.learn.test_annotations import SHAPE, painted
from tests.local.crops import textured
from tests.volumes import store

IMAGE = textured(SHAPE, "uint8")
LABELS = painted()
SMALL = ("--set", "parameters.n_estimators=5", "--features", "{intensity: true, gaussian: 1}")


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    return store(tmp_path / "image.zarr", IMAGE), store(tmp_path / "painted.zarr", LABELS)


def test_from_labels_to_a_classified_volume(bigseg: Bigseg, paths: tuple[Path, Path], tmp_path: Path) -> None:
    """A model is trained, says what it was trained on, and is applied by a pipeline."""
    image, labels = paths
    answer = bigseg("train", "-i", image, "--labels", labels, "-o", "m.npz", *SMALL, "--set", "classes={1: pore}")
    assert answer.code == 0, answer.err
    assert "RandomForestClassifier of 2 features" in answer.out
    assert "class 1  pore" in answer.out
    assert "says nothing of it" in answer.out
    assert load_model(tmp_path / "m.npz").training[0].voxels == (LABELS > 0).sum()
    (tmp_path / "p.yaml").write_text("version: 1\nsteps:\n  - {id: phases, op: classify, model: m.npz}\n")
    answer = bigseg("run", "p.yaml", "-i", image, "-o", "out", "--workers", 0)
    assert answer.code == 0, answer.err
    assert (tmp_path / "out" / "phases.ome.zarr").is_dir()


def test_a_run_never_removes_its_model(bigseg: Bigseg, paths: tuple[Path, Path], tmp_path: Path) -> None:
    """A model among what an earlier run made in the same folder is refused, before it would be removed."""
    image, labels = paths
    (tmp_path / "p.yaml").write_text("version: 1\nsteps:\n  - {id: phases, op: classify, model: out/models/m.npz}\n")
    (tmp_path / "first.yaml").write_text("version: 1\nsteps:\n  - {id: mask, op: threshold, above: 9}\n")
    assert bigseg("run", "first.yaml", "-i", image, "-o", "out", "--workers", 0).code == 0
    (tmp_path / "out" / "models").mkdir(exist_ok=True)
    assert bigseg("train", "-i", image, "--labels", labels, "-o", "out/models/m.npz", *SMALL).code == 0
    answer = bigseg("run", "p.yaml", "-i", image, "-o", "out", "--workers", 0, "--restart")
    assert answer.code == 5, answer.err
    assert f"m.npz is to be read, but lies in {tmp_path / 'out' / 'models'}" in answer.err
    assert (tmp_path / "out" / "models" / "m.npz").is_file()
    assert (tmp_path / "out" / "mask.ome.zarr").is_dir()


def test_figures_name_their_region(bigseg: Bigseg, paths: tuple[Path, Path], tmp_path: Path) -> None:
    """Figures stand under the region that they come from; --json gives them all, --table the rows."""
    image, _ = paths
    mask = store(tmp_path / "mask.zarr", (85 + 60 * (np.arange(30) > 15) < IMAGE).astype(np.uint8))
    command = ("train", "-i", image, "--labels", mask, "--kind", "mask", *SMALL)
    regions = ("--region", "train=:,:,5:15", "--region", "validation=:,:,0:5", "--region", "test=:,:,15:25")
    answer = bigseg(*command, *regions, "--set", "voxels=500")
    assert answer.code == 0, answer.err
    assert "on the validation region" in answer.out
    assert "on the test region: nothing was chosen there" in answer.out
    assert "best Dice on the validation region" in answer.out
    found = bigseg(*command, *regions, "--set", "voxels=500", "--table", "rows.csv", "--json").json
    assert (
        found["figures"]["test"]["threshold"] == found["threshold"] == found["figures"]["validation"]["best_threshold"]
    )
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert rows["part"].value_counts().to_dict() == {"train": 500, "validation": 500, "test": 500}
    assert rows.columns.tolist() == ["volume", "z", "y", "x", "intensity", "gaussian-1.0", "truth", "part"]


def test_a_training_file_of_several_volumes(bigseg: Bigseg, paths: tuple[Path, Path], tmp_path: Path) -> None:
    """Volumes of other shapes, points and a volume for validation, with paths beside the file."""
    folder = tmp_path / "data"
    folder.mkdir()
    store(folder / "a.zarr", IMAGE)
    store(folder / "a-painted.zarr", LABELS)
    store(folder / "b.zarr", IMAGE[:9])
    points = {"z": [1, 2, 3, 4], "y": [5, 6, 7, 8], "x": [1, 2, 25, 26], "class": ["one", "one", "three", "three"]}
    pd.DataFrame(points).to_csv(folder / "b.csv")
    (folder / "train.yaml").write_text(
        """
version: 1
volumes:
  - {image: a.zarr, labels: a-painted.zarr}
  - {image: b.zarr, points: b.csv, part: validation}
train: {features: {intensity: true}, parameters: {n_estimators: 4}, classes: {1: one, 2: two, 3: three}}
"""
    )
    found = bigseg("train", "data/train.yaml", "-o", "m.npz", "--set", "estimator=extra_trees", "--json").json
    assert found["estimator"].endswith("ExtraTreesClassifier")
    assert [item["volume"] for item in found["training"]] == ["a.zarr", "b.zarr"]
    assert found["figures"]["validation"]["voxels"] == 4
    assert [item["name"] for item in found["classes"]] == ["one", "two", "three"]


def test_a_linear_regression_prints_its_kernel(bigseg: Bigseg, paths: tuple[Path, Path]) -> None:
    """The weights of a neighbourhood are shown as the kernel that they are."""
    image, labels = paths
    options = ("--estimator", "linear", "--set", "task=regression", "--features", "{neighbours: [0, 1, 1]}")
    answer = bigseg("train", "-i", image, "--labels", labels, "-o", "m.npz", *options)
    assert answer.code == 0, answer.err
    assert "weights of the neighbourhood" in answer.out
    found = bigseg("train", "-i", image, "--labels", labels, "-o", "m.npz", *options, "--json").json
    assert np.array(found["kernel"]).shape == (1, 3, 3)


def test_refusals(bigseg: Bigseg, paths: tuple[Path, Path], tmp_path: Path) -> None:
    """Missing annotations, wrong parameters and unwritable files are refused before anything is read."""
    image, labels = paths
    (tmp_path / "bad.yaml").write_text("version: 1\nvolumes: [{image: a.zarr}]\ntrain: {features: {intensity: true}}\n")
    given = ("train", "-i", image, "--labels", labels)
    for arguments, code, why in (
        (("train",), 2, "expected a training file, or a volume"),
        (("train", "-i", image), 2, "--labels or --points"),
        (given, 2, "features"),
        ((*given, *SMALL, "--set", "estimator=forrest"), 2, "unknown estimator"),
        ((*given, *SMALL, "--set", "parameters.trees=5"), 2, "unknown parameter 'trees'"),
        ((*given, *SMALL, "--set", "colour=5"), 2, "unknown parameter 'colour'"),
        ((*given, *SMALL, "--region", "train"), 2, "--region train"),
        ((*given, *SMALL, "-o", tmp_path / "no" / "m.npz"), 6, "no folder"),
        (("train", "bad.yaml"), 2, "`labels` or `points`"),
        (("train", "none.yaml"), 2, "cannot read the training file"),
    ):
        answer = bigseg(*arguments)
        assert (answer.code, why in answer.err) == (code, True), answer.err
    assert not list(tmp_path.glob("*.npz"))
