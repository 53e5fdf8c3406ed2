"""What the exactness table cannot say of thresholds by the window and of filters that keep edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import filters

import bigseg
from bigseg.errors import ParameterError, UsageError
from bigseg.functions import describe
from bigseg.ops.base import LocalOp
from bigseg.ops.registry import OPS
from bigseg.pipeline.pipeline import Pipeline
from tests.memory import bytes_held
from tests.volumes import store

STEPS = """
version: 1
steps:
  - {id: levels, op: auto_threshold, method: multi_otsu}
  - {id: stats, op: histogram}
  - {id: phases, op: multi_threshold, from: input,
     values: ["${levels.multi_otsu_2}", "${levels.multi_otsu_1}", 250]}
  - {id: ink, op: local_threshold, from: input, method: sauvola, window: 5, r: "${stats.std}"}
  - {id: calm, op: bilateral, from: input, sigma_color: "${stats.std}", window: 3}
save: [phases, ink, calm]
"""


def page() -> np.ndarray:
    """Three phases and noise, in 8 bits."""
    rng = np.random.default_rng(5)
    phases = np.repeat([40, 110, 200], 14)[None, :] * np.ones((20, 1))
    return (phases + rng.normal(0, 8, phases.shape)).round().clip(0, 255).astype(np.uint8)


def test_values_may_come_from_earlier_steps(tmp_path: Path) -> None:
    """Each of several references is replaced by its own value, in any order; so are r and sigma_color."""
    x = page()
    (tmp_path / "steps.yaml").write_text(STEPS)
    run = Pipeline.load(tmp_path / "steps.yaml").run(
        store(tmp_path / "x.zarr", x), tmp_path / "out", workers=0, block=(8, 16), report=False
    )
    low, high = filters.threshold_multiotsu(x)
    assert np.array_equal(np.asarray(run.outputs["phases"]), np.digitize(x, [low, high, 250]))
    assert run.outputs["phases"].attrs["kind"] == "classes"
    std = float(x.astype(float).std())
    assert np.array_equal(np.asarray(run.outputs["ink"]) > 0, x > filters.threshold_sauvola(x, 5, r=std))
    expected = bigseg.bilateral(x, sigma_color=std, window=3)
    np.testing.assert_allclose(np.asarray(run.outputs["calm"]), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int64", "float32", "float64", "bool"])
def test_values_beyond_the_dtype_and_between_its_values(dtype: str) -> None:
    """Classes are those of numpy.digitize for values that no voxel can have."""
    x = (np.arange(12).reshape(3, 4) % 2 if dtype == "bool" else np.arange(12).reshape(3, 4) * 9).astype(dtype)
    values = [-1e6, -0.5, 0.5, 9, 17.25, 81, 254.5, 1e6]
    assert np.array_equal(bigseg.multi_threshold(x, values=values), np.digitize(x, values))


def test_sauvola_asks_for_r_where_the_range_is_not_known() -> None:
    """Real numbers without known bounds are refused when the plan is made; with bounds, half of them is taken."""
    x = page().astype(np.float32)
    op = OPS["local_threshold"](method="sauvola", window=5)
    assert isinstance(op, LocalOp)
    with pytest.raises(ParameterError, match="give r"):
        op.output(describe(x))
    bounded = describe(x).but(bounds=(0.0, 255.0))
    found = op.compute(x, (slice(0, 20), slice(0, 42)), bounded)
    assert np.array_equal(found, bigseg.local_threshold(x, method="sauvola", window=5, r=127.5))


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("local_threshold", {"method": "niblack", "window": 4}, "odd"),
        ("local_threshold", {"method": "sauvola", "r": 0}, "above 0"),
        ("local_threshold", {"method": "otsu"}, "niblack"),
        ("multi_threshold", {"values": [3, 3]}, "rising"),
        ("multi_threshold", {"values": []}, "at least 1"),
        ("bilateral", {"sigma_color": 0}, "above 0"),
        ("bilateral", {"sigma_color": 1, "window": (3, 3, 3)}, "found 3"),
        ("non_local_means", {"h": 1, "sigma": -1}, "0 or more"),
        ("non_local_means", {"h": 1, "patch_size": 2}, "odd"),
        ("non_local_means", {"h": 1, "patch_distance": -1}, "0 or more"),
        ("total_variation", {"weight": -3}, "above 0"),
        ("total_variation", {"weight": 3, "iterations": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(name: str, parameters: dict[str, Any], said: str) -> None:
    """Bad parameters are refused by name before anything is computed."""
    with pytest.raises((UsageError, ValueError), match=said):
        getattr(bigseg, name)(page(), **parameters)


OPERATIONS = [
    ("bilateral", {"sigma_color": 9}),
    ("non_local_means", {"h": 9, "patch_size": 3, "patch_distance": 1}),
    ("total_variation", {"weight": 9, "iterations": 4}),
    ("multi_threshold", {"values": [50, 150]}),
    *(("local_threshold", {"method": m, "window": 5, "r": 9}) for m in ("niblack", "gaussian", "median", "mean")),
    ("local_threshold", {"method": "gaussian", "window": 5, "gives": "threshold"}),
]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(("name", "parameters"), OPERATIONS)
def test_memory_is_a_bound_and_not_a_loose_one(name: str, parameters: dict[str, Any], dtype: str) -> None:
    """What a block holds at its peak beside input and result is at most what the plan says."""
    op = OPS[name](**parameters)
    assert isinstance(op, LocalOp)
    x = np.random.default_rng(0).integers(0, 255, (40, 70, 80)).astype(dtype)
    spec = describe(x)
    keep = tuple(slice(d, n - d) for d, n in zip(op.depth(spec), x.shape, strict=True))
    result, most = bytes_held(op.compute, x, keep, spec)
    peak = most - result.nbytes
    declared = op.memory(spec, x.shape, result.shape)
    assert 0.7 * declared <= peak <= declared + 8192
