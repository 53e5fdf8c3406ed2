"""The recipes of clustering do what their comments say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import bigseg


@pytest.mark.parametrize("block", [(518, 135), (101, 37)])
def test_cortex_equals_the_course(data: Path, tmp_path: Path, block: tuple[int, int]) -> None:
    """cortex_kmeans.yaml finds the clusters that KMeans finds on the course's table of x, y and grey value."""
    grey = bigseg.open_volume(data / "lecture" / "cortex.png").values[:, ::3]
    np.save(tmp_path / "cortex.npy", grey)
    y, x = np.indices(grey.shape)

    run = bigseg.Pipeline.load("cortex_kmeans").run(
        tmp_path / "cortex.npy", tmp_path / "run", workers=0, block=block, report=False
    )

    for step, k, divisor in (("tenths", 4, 10), ("fifths", 5, 5)):
        table = np.column_stack([grey.ravel() / 1000, y.ravel() / divisor, x.ravel() / divisor])
        course = KMeans(k, n_init=4, random_state=2018).fit(table)
        classes = run.outputs[step].values.ravel()
        assert set(np.unique(classes)) == set(range(1, k + 1))
        inertia = sum(table[classes == c].var(axis=0).sum() * (classes == c).sum() for c in range(1, k + 1))
        assert inertia <= course.inertia_ * 1.005
        assert adjusted_rand_score(course.labels_, classes) > 0.9
        means = [table[classes == c, 0].mean() for c in range(1, k + 1)]
        assert means == sorted(means)
    assert run.tables["tenths.tried"]["k"].tolist() == [2, 3, 4, 5, 6, 7, 8]


def materials(shape: tuple[int, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Four materials in blobs; X-rays take two of them for one, neutrons two others."""
    rng = np.random.default_rng(4)
    fields = [ndimage.gaussian_filter(rng.standard_normal(shape), 4) for _ in range(4)]
    truth = np.argmax([f / f.std() for f in fields], axis=0)
    seen = {"xray": np.array([60, 60, 140, 200])[truth], "neutron": np.array([50, 150, 150, 220])[truth]}
    return truth, {
        name: (values + rng.normal(0, 12, shape)).clip(0, 255).astype(np.uint8) for name, values in seen.items()
    }


def test_two_volumes_tell_four_materials(tmp_path: Path) -> None:
    """bimodal_kmeans.yaml finds four materials, of which each volume alone shows three."""
    truth, volumes = materials((40, 48, 56))
    for name, array in volumes.items():
        np.save(tmp_path / f"{name}.npy", array)
    inputs = {name: tmp_path / f"{name}.npy" for name in volumes}

    run = bigseg.Pipeline.load("bimodal_kmeans").run(inputs, tmp_path / "run", workers=0, block=(17, 48, 30))

    classes = run.outputs["materials"].values
    right = np.mean([np.bincount(truth[classes == c]).max() for c in range(1, 5)]) * 4 / truth.size
    assert right > 0.97
    assert adjusted_rand_score(truth.ravel(), classes.ravel()) > 0.93
    for array in volumes.values():
        alone = bigseg.kmeans(array, k=4, features={"intensity": True, "gaussian": 1.5}, scaling="standard")
        assert adjusted_rand_score(truth.ravel(), alone.ravel()) < 0.8
    tried = run.tables["materials.tried"].set_index("k")
    assert tried["silhouette"].idxmax() == 4
    assert "materials" in run.report.read_text()
