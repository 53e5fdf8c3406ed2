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
from bigseg.storage.sources import plane as plane_module
from bigseg.storage.sources.opening import open_source
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


def test_what_is_decoded_at_once_is_planned(tmp_path: Path) -> None:
    """Planes, strips and chunks count, whatever little of them a block takes; a plane that stays in all stages."""
    plane = np.random.default_rng(0).integers(0, 4000, (3000, 4000)).astype(np.uint16)
    kinds = {
        "plane.tif": (lambda path: tifffile.imwrite(path, plane, compression="zlib"), plane.nbytes),
        "raw.tif": (lambda path: tifffile.imwrite(path, np.stack([plane] * 3), photometric="minisblack"), 0),
        "strips.tif": (
            lambda path: tifffile.imwrite(
                path, np.stack([plane] * 3), photometric="minisblack", compression="zlib", rowsperstrip=1500
            ),
            0,
        ),
    }
    expected = {"plane.tif": 2 * plane.nbytes, "raw.tif": 0, "strips.tif": 3 * plane.nbytes // 2}
    for name, (write, kept) in kinds.items():
        write(tmp_path / name)
        read = Read(open_source(tmp_path / name))
        assert (read.memory((64, 64), (64, 64)), read.kept) == (expected[name], kept)
    (tmp_path / "slices").mkdir()
    for z in range(2):
        tifffile.imwrite(tmp_path / "slices" / f"s{z}.tif", plane)
    assert Read(open_source(tmp_path / "slices")).memory((2, 64, 64), (2, 64, 64)) == 3 * plane.nbytes
    plans = [
        bigseg.Pipeline([bigseg.Gaussian(sigma=1.0)]).plan(path, block=(64, 64), workers=1)
        for path in (tmp_path / "plane.tif", store(tmp_path / "same.zarr", plane, (64, 64)))
    ]
    assert all(stage.memory - plans[0].limits.cache > plane.nbytes for stage in plans[0].stages)
    first, second = (plan.stages[0].memory - plan.limits.cache for plan in plans)
    assert 2 * plane.nbytes < first - second <= 3 * plane.nbytes


def test_chunks_that_are_larger_than_the_cache_are_planned(tmp_path: Path) -> None:
    """All that a request touches, and one more while it is compressed; nothing is added for ordinary ones."""
    plans = {}
    for side in (64, 128, 256):
        path = store(tmp_path / f"{side}.zarr", np.zeros((256,) * 3, np.float32), (side,) * 3)
        plans[side] = bigseg.Pipeline([VOIDS]).plan(path, block=(64,), workers=1)
    cache = {side: plan.limits.cache for side, plan in plans.items()}
    own = {side: plan.stages[0].memory - cache[side] for side, plan in plans.items()}
    assert own[64] == own[128]
    assert own[256] - own[128] == (2 * 64 << 20) - cache[256] > 0


def test_only_so_many_bytes_of_planes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the newest: the oldest are given up before another one is decoded."""
    monkeypatch.setattr(plane_module, "KEPT", 2 * 100 * 100)
    for number in range(5):
        tifffile.imwrite(tmp_path / f"{number}.tif", np.zeros((100, 100), np.uint8))
        origin = open_source(tmp_path / f"{number}.tif")
        for _ in range(2):
            origin.read(Box((0, 0), (5, 5)))
    assert sum(plane.nbytes for plane in plane_module._planes.values()) == 3 * 100 * 100
