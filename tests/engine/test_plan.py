"""The plan stores between passes what is dear or needs a halo, looks at each field once, and counts what is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

import bigseg
from bigseg.engine.source import Held, Read
from bigseg.engine.stage import Plan
from bigseg.errors import ValuesError
from bigseg.grid import Box
from bigseg.ops.base import Op
from bigseg.storage.spec import Spec
from tests.memory import bytes_held
from tests.volumes import store

VOIDS = bigseg.Hysteresis(low=90, high=120, polarity="below")


def stored(path: Path, *ops: Op) -> list[str]:
    """The steps that a plan stores, the last one saved."""
    return [name for name, _ in bigseg.Pipeline(ops).plan(path, workers=1).stored]


def test_a_dear_chain_is_stored_at_its_end(blobs: np.ndarray, tmp_path: Path) -> None:
    """Of dear steps in a row only the last is stored, as later passes read that; a cheap one is computed again."""
    path = store(tmp_path / "a.zarr", blobs)
    median, smooth = bigseg.Median(size=7), bigseg.Gaussian(sigma=1.0)
    assert stored(path, smooth, VOIDS) == ["hysteresis"]
    assert stored(path, median, VOIDS) == ["hysteresis", "median"]
    assert stored(path, median, smooth, VOIDS) == ["hysteresis", "gaussian"]


def test_what_objects_need_a_halo_of(blobs: np.ndarray, tmp_path: Path) -> None:
    """Objects that a filter looks at are stored, also through a step without a halo; without a filter they are not."""
    path = store(tmp_path / "a.zarr", blobs)
    same, smooth = bigseg.Threshold(above=0), bigseg.Gaussian(sigma=1.0)
    assert stored(path, VOIDS, same) == ["threshold"]
    assert stored(path, VOIDS, smooth) == ["gaussian", "hysteresis"]
    assert stored(path, VOIDS, same, smooth) == ["gaussian", "hysteresis"]


def collected(plan: Plan) -> list[str]:
    """The partial results that the passes of a plan take, of any step."""
    return [word.split(".")[-1] for stage in plan.stages for word in stage.what.split(", ") if "collect" in word]


@pytest.mark.parametrize(
    ("dtype", "first", "wanted"),
    [
        ("uint8", bigseg.AutoThreshold(), ["counts"]),
        ("float32", bigseg.AutoThreshold(method="mean"), ["extremes", "counts", "fine"]),
        ("float32", bigseg.Histogram(), ["outline", "ranks", "counts", "fine"]),
    ],
)
def test_steps_that_count_one_field_share_the_counts(
    blobs: np.ndarray, tmp_path: Path, dtype: str, first: Op, wanted: list[str]
) -> None:
    """Two steps on one field count it once, in one pass, and find what each finds alone."""
    path = store(tmp_path / "a.zarr", blobs[:9, :20, :20].astype(dtype))
    second = bigseg.AutoThreshold(method=("li", "otsu"))
    both = bigseg.Pipeline([first, second])
    assert sorted(collected(both.plan(path, workers=1))) == sorted(wanted)
    run = both.run(path, tmp_path / "both", block=(8,), workers=0, report=False)
    for number, step in enumerate((first, second)):
        alone = bigseg.Pipeline([step]).run(path, tmp_path / f"{number}", block=(8,), workers=0, report=False)
        (name,) = alone.values
        assert run.values[both.steps[number].id] == alone.values[name]


def test_what_has_no_chunks_needs_no_cache(blobs: np.ndarray, tmp_path: Path) -> None:
    """Phantoms and TIFF files are planned without a cache of chunks, unless a pass reads what another one stored."""
    tifffile.imwrite(tmp_path / "a.tif", blobs, photometric="minisblack")
    phantom = bigseg.phantom("voids", (300,) * 3)
    smooth = bigseg.Gaussian(sigma=2.0)
    for source in (phantom, tmp_path / "a.tif"):
        plan = bigseg.Pipeline([smooth]).plan(source, workers=1, block=(64,))
        assert plan.limits.cache == 0
        assert set(plan.brick) == {1}
    grown = bigseg.Pipeline([smooth]).plan(phantom, workers=1, block=(100,))
    assert grown.stages[0].decode == pytest.approx((300 + 2 * 2 * 8) ** 3 / 300**3)  # two cuts, each read twice 8 deep
    chunked = bigseg.Pipeline([smooth]).plan(store(tmp_path / "a.zarr", blobs), workers=1)
    assert chunked.limits.cache > 0
    again = bigseg.Pipeline([VOIDS, smooth]).plan(phantom, workers=1, block=(64,))
    assert again.stored
    assert again.limits.cache > 0
    assert again.memory >= again.limits.cache


def test_the_refusal_of_a_block_of_nan_takes_no_memory() -> None:
    """Where the first lies is found plane by plane: all places would take 24 bytes a voxel, more than the block."""
    array = np.full((32, 64, 64), np.nan, np.float32)
    array[:3] = 0
    whole = Box.whole(array.shape)
    read = Read(Held(array, Spec(array.shape, array.dtype, ("z", "y", "x"), (1.0,) * 3)))

    def refused() -> str:
        with pytest.raises(ValuesError) as caught:
            read.compute([], whole.slices, whole, None)  # type: ignore[arg-type]
        return str(caught.value)

    said, held = bytes_held(refused)
    assert "holds 118784 NaN and 0 infinite voxels near (3, 0, 0)" in said
    assert held < array.nbytes // 4
