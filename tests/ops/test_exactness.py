"""The exactness table: every operation, in 2-D and 3-D, for many blocks, on both executors, for all dtypes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage import filters, measure, morphology

from bigseg.engine.cluster import DaskExecutor
from bigseg.ops.base import Op
from bigseg.ops.registry import OPS
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.running import Run
from bigseg.pipeline.steps import Step
from tests.volumes import store

SHAPES = {2: (37, 52), 3: (17, 23, 29)}
BLOCKS = {
    2: ((16, 16), (7, 52), (100, 100), (1, 24)),
    3: ((8, 8, 8), (5, 23, 9), (64, 64, 64), (1, 12, 29)),
}
INTEGERS = ("uint8", "uint16", "int16")
ALL = (*INTEGERS, "float32")


@dataclass(frozen=True)
class Case:
    """A row: the steps before and of the operation, and what it must equal."""

    op: str
    steps: Callable[[int], list[Op | Step]]
    oracle: Callable[[np.ndarray], Any]
    dtypes: tuple[str, ...] = ALL
    tolerance: float = 0.0
    """Of the value range; 0 means exactly."""
    name: str = ""


def op(name: str, **parameters: Any) -> Op:
    return OPS[name](**parameters)


def structure(image: np.ndarray, connectivity: int) -> np.ndarray:
    return ndimage.generate_binary_structure(image.ndim, connectivity)


def dark_hysteresis(image: np.ndarray, low: float, high: float, connectivity: int) -> np.ndarray:
    weak, _ = ndimage.label(image < high, structure(image, connectivity))
    seeds = np.unique(weak[image < low])
    return np.isin(weak, seeds[seeds > 0])


def large_only(mask: np.ndarray, size: int, connectivity: int) -> np.ndarray:
    labels, count = ndimage.label(mask, structure(mask, connectivity))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    return (labels > 0) & (sizes[labels] >= size)


def region_table(image: np.ndarray) -> pd.DataFrame:
    labels, _ = ndimage.label(image > 140)
    names = (
        "label",
        "num_pixels",
        "area",
        "bbox",
        "centroid",
        "intensity_min",
        "intensity_max",
        "intensity_mean",
        "intensity_std",
    )
    return pd.DataFrame(measure.regionprops_table(labels, image.astype(np.float64), properties=names))


def every_value(image: np.ndarray) -> dict[str, float]:
    found = {"min": image.min(), "max": image.max()}
    if image.dtype.kind != "f":
        found |= {
            "mean": image.mean(dtype=np.float64),
            "std": image.astype(np.float64).std(),
            "p5": np.percentile(image.astype(int), 5),
        }
    return {key: float(value) for key, value in found.items()}


CASES = [
    Case(
        "gaussian",
        lambda n: [op("gaussian", sigma=1.3)],
        lambda x: ndimage.gaussian_filter(x.astype(np.float32), 1.3),
        tolerance=1e-5,
    ),
    Case(
        "gaussian",
        lambda n: [op("gaussian", sigma=(0.0, 2.6, 1.0)[-n:])],
        lambda x: ndimage.gaussian_filter(x.astype(np.float32), (0.0, 2.6, 1.0)[-x.ndim :]),
        tolerance=1e-5,
        name="anisotropic",
    ),
    Case("median", lambda n: [op("median", size=3)], lambda x: ndimage.median_filter(x, 3)),
    Case(
        "median",
        lambda n: [op("median", size=(1, 5, 3)[-n:])],
        lambda x: ndimage.median_filter(x, (1, 5, 3)[-x.ndim :]),
        name="5x3",
    ),
    Case("threshold", lambda n: [op("threshold", above=120.5)], lambda x: x > 120.5),
    Case("threshold", lambda n: [op("threshold", above=100, below=140)], lambda x: (x > 100) & (x < 140), name="band"),
    Case(
        "threshold",
        lambda n: [op("median", size=3), op("gaussian", sigma=0.8), op("threshold", above=127.0)],
        lambda x: ndimage.gaussian_filter(ndimage.median_filter(x, 3).astype(np.float32), 0.8) > np.float32(127.0),
        dtypes=("uint8",),
        name="fused chain",
    ),
    Case("histogram", lambda n: [op("histogram")], every_value),
    Case(
        "auto_threshold", lambda n: [op("auto_threshold", method="otsu")], lambda x: {"otsu": filters.threshold_otsu(x)}
    ),
    Case(
        "auto_threshold",
        lambda n: [op("auto_threshold", method="isodata")],
        lambda x: {"isodata": filters.threshold_isodata(x)},
        name="isodata",
    ),
    Case(
        "auto_threshold",
        lambda n: [op("auto_threshold", method="triangle")],
        lambda x: {"triangle": filters.threshold_triangle(x)},
        name="triangle",
    ),
    Case(
        "auto_threshold",
        lambda n: [op("auto_threshold", method="multi_otsu")],
        lambda x: dict(zip(("multi_otsu_1", "multi_otsu_2"), filters.threshold_multiotsu(x), strict=True)),
        name="multi_otsu",
    ),
    *(
        Case(
            "hysteresis",
            lambda n, c=c: [op("hysteresis", low=125, high=150, connectivity=min(c, n))],
            lambda x, c=c: (
                filters.apply_hysteresis_threshold(x, 125, 150)
                if c == 1
                else dark_hysteresis(-x.astype(np.float64), -150, -125, min(c, x.ndim))
            ),
            name=f"above-{c}",
        )
        for c in (1, 2, 3)
    ),
    Case(
        "hysteresis",
        lambda n: [op("hysteresis", low=100, high=118, polarity="below", connectivity=n, min_size=6)],
        lambda x: large_only(dark_hysteresis(x, 100, 118, x.ndim), 6, x.ndim),
        name="below, min_size",
    ),
    *(
        Case(
            "label",
            lambda n, c=c: [op("threshold", above=130), op("label", connectivity=min(c, n))],
            lambda x, c=c: ndimage.label(x > 130, structure(x, min(c, x.ndim)))[0],
            name=f"connectivity {c}",
        )
        for c in (1, 2, 3)
    ),
    Case(
        "label",
        lambda n: [op("hysteresis", low=100, high=118, polarity="below", connectivity=n), op("label", connectivity=1)],
        lambda x: ndimage.label(dark_hysteresis(x, 100, 118, x.ndim))[0],
        dtypes=("uint8", "float32"),
        name="other connectivity than the hysteresis",
    ),
    Case(
        "remove_small",
        lambda n: [op("threshold", above=130), op("remove_small", min_size=9)],
        lambda x: morphology.remove_small_objects(x > 130, max_size=8),
    ),
    Case(
        "remove_small",
        lambda n: [op("threshold", above=130), op("label"), op("remove_small", min_size=9)],
        lambda x: morphology.remove_small_objects(ndimage.label(x > 130)[0], max_size=8),
        name="labels keep their ids",
    ),
    Case(
        "remove_small",
        lambda n: [op("threshold", above=130), op("remove_small", min_size=9), op("gaussian", sigma=1.0)],
        lambda x: ndimage.gaussian_filter(morphology.remove_small_objects(x > 130, max_size=8).astype(np.float32), 1.0),
        tolerance=1e-5,
        name="a halo of it is stored",
    ),
    Case(
        "regions",
        lambda n: [op("threshold", above=140), op("label"), op("regions", intensity="input")],
        region_table,
        tolerance=1e-8,  # the oracle adds float64; ours are exact integers, floats rounded to 30 bits of the range
    ),
]


def image(ndim: int, dtype: str) -> np.ndarray:
    """Smooth blobs and noise around 128, the same in all dtypes."""
    rng = np.random.default_rng(11)
    smooth = ndimage.gaussian_filter(rng.standard_normal(SHAPES[ndim]), 1.5)
    values = 128 + 25 * smooth / smooth.std() + 3 * rng.standard_normal(SHAPES[ndim])
    values = values.clip(1, 254)
    return values.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(values).astype(dtype)


def table(dtype: str) -> dict[str, Case]:
    """The rows for a dtype, by the id of their last step."""
    return {f"case{number}": case for number, case in enumerate(CASES) if dtype in case.dtypes}


def pipeline(cases: dict[str, Case], ndim: int) -> Pipeline:
    """One pipeline with every row as a branch of its own, so that all share the passes of one run."""
    steps, save = [], []
    for name, case in cases.items():
        chain = case.steps(ndim)
        before = "input"
        for number, item in enumerate(chain, start=1):
            step = name if number == len(chain) else f"{name}-{number}"
            steps.append(Step(step, item, (before,)))
            before = step
        if case.op not in ("histogram", "auto_threshold", "regions"):
            save.append(name)
    return Pipeline(steps, save)


def result(case: Case, name: str, run: Run) -> Any:
    """What the last step of a row gives."""
    if case.op in ("histogram", "auto_threshold"):
        return run.values[name]
    return run.tables[name] if case.op == "regions" else np.asarray(run.outputs[name])


def assert_equal(found: Any, wanted: Any, tolerance: float, said: str) -> None:
    """Exactly, or within the tolerance of the value range."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            assert found[key] == pytest.approx(value, rel=1e-12), f"{said}: {key}"
    elif isinstance(wanted, pd.DataFrame):
        assert list(found.columns) == list(wanted.columns), said
        assert len(found) == len(wanted), said
        for column in wanted:
            if wanted[column].dtype.kind in "iu":
                np.testing.assert_array_equal(found[column], wanted[column], err_msg=f"{said}: {column}")
            else:
                np.testing.assert_allclose(
                    found[column], wanted[column], rtol=tolerance, atol=tolerance, err_msg=column
                )
    elif tolerance:
        span = float(np.ptp(wanted)) or 1.0
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * span, err_msg=said)
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=said)


def same_bits(first: Any, second: Any) -> bool:
    if isinstance(first, pd.DataFrame):
        return first.equals(second)
    if isinstance(first, dict):
        return bool(first == second)
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("ndim", [2, 3])
def test_equals_its_oracle_for_every_block_and_executor(
    ndim: int, dtype: str, tmp_path: Path, cluster: DaskExecutor
) -> None:
    """Every row's result is its oracle's, and the same bits for every block, on both executors."""
    array = image(ndim, dtype)
    volume = store(tmp_path / "volume.zarr", array)
    cases = table(dtype)
    wanted = {name: case.oracle(array) for name, case in cases.items()}
    golden: dict[str, Any] = {}
    for block in BLOCKS[ndim]:
        for where in ({"workers": 0}, {"scheduler": cluster.client.scheduler.address}):
            out = tmp_path / f"{block}-{len(where)}-{next(iter(where))}".replace(" ", "")
            run = pipeline(cases, ndim).run(volume, out, block=block, report=False, **where)
            for name, case in cases.items():
                found = result(case, name, run)
                said = f"{case.op} {case.name}, {dtype}, block {block}, {next(iter(where))}"
                assert_equal(found, wanted[name], case.tolerance, said)
                assert same_bits(found, golden.setdefault(name, found)), f"{said}: other bits than the first block"


def test_every_operation_has_a_row() -> None:
    """An operation that is added without a row in the table fails here."""
    assert {case.op for case in CASES} == set(OPS)
    assert all(kind.oracle for kind in OPS.values())
