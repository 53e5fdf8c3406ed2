"""The exactness table: every operation, in 2-D and 3-D, for many blocks, on both executors, for all dtypes.

The rows stand in tests/ops/cases, a module a family.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skimage.filters
import skimage.measure
import skimage.morphology
import skimage.segmentation
import zarr
from scipy import ndimage

from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.grid import Shape
from bigseg.ops.base import Op
from bigseg.ops.registry import OPS
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.result import Run
from bigseg.pipeline.steps import Step
from tests.ops.cases import FAMILIES
from tests.ops.rows import ALL, Case
from tests.volumes import store

SHAPES = {2: (13, 43), 3: (10, 17, 25)}
BLOCKS = {
    2: ((8, 16), (5, 43), (1, 43), (100, 100)),
    3: ((6, 8, 13), (4, 17, 9), (1, 17, 25), (64, 64, 64)),
}
"""As small as leaves every row something to find; uneven, of one plane, of a whole axis, larger than the volume."""


def image(ndim: int, dtype: str) -> np.ndarray:
    """Smooth blobs and noise around 128, the same in all dtypes."""
    rng = np.random.default_rng(11)
    smooth = ndimage.gaussian_filter(rng.standard_normal(SHAPES[ndim]), 1.5)
    values = 128 + 25 * smooth / smooth.std() + 3 * rng.standard_normal(SHAPES[ndim])
    values = values.clip(1, 254)
    return values.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(values).astype(dtype)


def table(family: str, dtype: str) -> dict[str, Case]:
    """The rows of a family for a dtype, by the id of their last step."""
    return {f"case{number}": case for number, case in enumerate(FAMILIES[family]) if dtype in case.dtypes}


def pipeline(cases: dict[str, Case], wanted: dict[str, Any], ndim: int) -> Pipeline:
    """One pipeline with every row as a branch of its own, so that all share the passes of one run."""
    steps, save = [], []
    for name, case in cases.items():
        steps += branch(name, case.steps(ndim))
        if isinstance(wanted[name], np.ndarray):
            save.append(name)
    return Pipeline(steps, save)


def branch(name: str, chain: list[Op | Step]) -> list[Step]:
    """The steps of a row, each on the one before; a ``Step`` names its sources among the ids of its own row."""
    found: list[Step] = []
    own: dict[str, str] = {"input": "input"}
    before = "input"
    for number, item in enumerate(chain, start=1):
        step = name if number == len(chain) else f"{name}-{number}"
        if isinstance(item, Step):
            sources = tuple(own[source] for source in item.sources) or (before,)
            refers = {key: own[getattr(item.op, key)] for key in item.op.refers if getattr(item.op, key) in own}
            own[item.id] = step
            mask = own.get(item.mask, "")
            found.append(Step(step, item.op.model_copy(update=refers), sources, mask))
        else:
            found.append(Step(step, item, (before,)))
        before = step
    return found


def result(name: str, wanted: Any, run: Run) -> Any:
    """What the last step of a row gives: values, a table or a volume, as its oracle does."""
    if isinstance(wanted, dict):
        return run.values[name]
    if isinstance(wanted, pd.DataFrame):
        return pd.read_parquet(run.path / "tables" / f"{name}.parquet")
    return zarr.open_array(run.path / f"{name}.ome.zarr" / "0", mode="r")[...]


def says_something(wanted: Any) -> bool:
    """Whether a result could be wrong: a table or values, or an image that is not the same everywhere."""
    return bool(wanted.min() < wanted.max()) if isinstance(wanted, np.ndarray) else len(wanted) > 0


def assert_equal(found: Any, wanted: Any, tolerance: float, said: str) -> None:
    """Exactly, or within the tolerance of the value range."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            assert found[key] == pytest.approx(value, rel=max(tolerance, 1e-12)), f"{said}: {key}"
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
        return json.dumps(first) == json.dumps(second)  # NaN is NaN
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


def test_oracles_are_not_ours() -> None:
    """What results are compared with is scipy's and scikit-image's own: nothing in this process has replaced it."""
    for module in (ndimage, skimage.measure, skimage.filters, skimage.morphology, skimage.segmentation):
        names = [name for name in dir(module) if callable(getattr(module, name)) and not name.startswith("_")]
        own = module.__name__.partition(".")[0]
        foreign = [name for name in names if not getattr(module, name).__module__.startswith((own, "numpy"))]
        assert len(names) > 10
        assert foreign == []


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_its_oracle_for_every_block_and_executor(
    family: str, ndim: int, dtype: str, tmp_path: Path, cluster: DaskExecutor
) -> None:
    """Every row's result is its oracle's, and the same bits for every block and from the workers of a cluster.

    The cluster takes two dtypes of a family in 2-D and two in 3-D, each with another of the blocks that cut.
    """
    array = image(ndim, dtype)
    volume = store(tmp_path / "volume.zarr", array)
    cases = table(family, dtype)
    wanted = {name: case.oracle(array) for name, case in cases.items()}
    assert all(map(says_something, wanted.values())), [
        c.name for n, c in cases.items() if not says_something(wanted[n])
    ]
    pipe = pipeline(cases, wanted, ndim)
    golden: dict[str, Any] = {}
    places: list[tuple[Shape, dict[str, Any]]] = [(block, {"workers": 0}) for block in BLOCKS[ndim]]
    turn = ALL.index(dtype)
    if turn % 2 == ndim % 2:
        places.append((BLOCKS[ndim][turn % 3], {"scheduler": cluster.client.scheduler.address}))
    for number, (block, where) in enumerate(places):
        run = pipe.run(volume, tmp_path / f"{number}", block=block, report=False, **where)
        for name, case in cases.items():
            found = result(name, wanted[name], run)
            said = f"{case.op} {case.name}, {dtype}, block {block}, {next(iter(where))}"
            if not number:
                golden[name] = found
                assert_equal(found, wanted[name], case.tolerance, said)
            assert same_bits(found, golden[name]), f"{said}: other bits than the first block"


def test_every_operation_has_a_row() -> None:
    """An operation that is added without rows in the table, for each dtype, fails here.

    One that takes masks or labels only gets them from a threshold of the image. Only counts of values of at most 16
    bits are excused from floats.
    """
    rows = [case for cases in FAMILIES.values() for case in cases]
    assert {case.op for case in rows} == set(OPS)
    missing = {name: set(ALL).difference(*(case.dtypes for case in rows if case.op == name)) for name in OPS}
    assert {name: dtypes for name, dtypes in missing.items() if dtypes} == {"object_quantiles": {"float32"}}
    assert all(kind.oracle for kind in OPS.values())
