"""Figures of objects from pairs in ranges: those of the whole table, however the pairs are shared out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import adapted_rand_error, variation_of_information

from bigseg.grid import Grid
from bigseg.local.objects.keyed_rows import summed
from bigseg.local.objects.overlaps import matches, partition
from bigseg.ops import keyed
from bigseg.ops.evaluate import Evaluate
from bigseg.ops.keyed import Ranges, Share
from bigseg.ops.learning.object_scoring import Groups, RangeSource, ends_of, group_sums, joined
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step
from tests.volumes import store

RNG = np.random.default_rng(0)
NOISE = ndimage.gaussian_filter(RNG.standard_normal((12, 40, 41)), 1)
TRUE = ndimage.label(NOISE > 0.02)[0]
FOUND = ndimage.label(ndimage.gaussian_filter(NOISE, 0.5) > 0)[0]


def figures(folder: Path, found: np.ndarray, true: np.ndarray, block: tuple[int, ...]) -> dict[str, Any]:
    paths = {"found": store(folder / "f.zarr", found), "truth": store(folder / "t.zarr", true)}
    steps = [Step("quality", Evaluate(truth="truth", kind="objects"), ("found",))]
    return dict(Pipeline(steps).run(paths, folder / "run", block=block, workers=0, report=False).values["quality"])


def wanted(found: np.ndarray, true: np.ndarray) -> tuple[dict[str, float], Any]:
    """Of the table of pairs in memory, which tests/local compares with scikit-image."""
    rows, counts = np.unique(np.stack([true.ravel(), found.ravel()]), axis=1, return_counts=True)
    agreed = partition(*rows, counts)
    return {f"vi_{k}": getattr(agreed, k) for k in ("split", "merge")} | {
        k: getattr(agreed, k) for k in ("rand_error", "rand_precision", "rand_recall")
    }, matches(*rows, counts)


@pytest.mark.parametrize("together", [1, 2, 16])
@pytest.mark.parametrize("one_round", [1, 16])
@pytest.mark.parametrize("dtypes", [("int32", "uint16"), ("uint64", "int16")])
def test_any_way_of_sharing_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int, one_round: int, dtypes: tuple[str, str]
) -> None:
    """One group of blocks or many, one round or two, objects in one range or across many, any signs of dtypes."""
    monkeypatch.setattr(keyed, "TOGETHER", together)
    monkeypatch.setattr(keyed, "ONE_ROUND", one_round)
    found, true = FOUND.astype(dtypes[0]), TRUE.astype(dtypes[1])
    values = figures(tmp_path, found, true, (5, 9, 20))
    known, at = wanted(found, true)
    assert {key: values[key] for key in known} == known
    assert [values[key] for key in ("tp", "fp", "fn")] == [at.tp[0], at.fp[0], at.fn[0]]
    assert values["panoptic_quality"] == pytest.approx(
        2 * at.tp[0] / (2 * at.tp[0] + at.fp[0] + at.fn[0]) * at.overlap[0], rel=1e-15
    )


def test_scikit_image_agrees(tmp_path: Path) -> None:
    """The same objects: adapted Rand error and variation of information of scikit-image."""
    values = figures(tmp_path, FOUND.astype(np.int32), TRUE.astype(np.int32), (5, 9, 20))
    rand = adapted_rand_error(TRUE, FOUND)
    split, merge = variation_of_information(TRUE, FOUND, ignore_labels=[0])
    found = [values[key] for key in ("rand_error", "rand_precision", "rand_recall", "vi_split", "vi_merge")]
    assert found == pytest.approx([*rand, split, merge], rel=1e-9)


def test_one_object_that_touches_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One true object over many found ones, and one found over many true ones: rows under one key span ranges."""
    monkeypatch.setattr(keyed, "TOGETHER", 1)
    one, many = np.ones((8, 8, 32), np.uint16), np.arange(8 * 8 * 32, dtype=np.uint32).reshape(8, 8, 32) // 2
    for name, (found, true) in {"split": (many, one), "merged": (one, many)}.items():
        (tmp_path / name).mkdir()
        values = figures(tmp_path / name, found, true, (4, 4, 4))
        known, at = wanted(found, true)
        assert {key: values[key] for key in known} == known
        assert [values[key] for key in ("tp", "fp", "fn")] == [at.tp[0], at.fp[0], at.fn[0]]


@pytest.mark.parametrize("blocks", [1, 16, 17, 256, 257, 5000, 100_000])
def test_ranges_are_dealt_out_once(blocks: int) -> None:
    """For any number of blocks each range goes to one group, at most two to each."""
    grid, share = Grid((blocks,), (1,)), Share(16)
    source = RangeSource("s", 16, share)
    dealt = [list(source.parts(16 * k, 16 * k + 16, grid)) for k in range(share.groups(grid))]
    every = [part for parts in dealt for part in parts]
    assert every == list(range(Ranges.of(grid, share).number)) == list(source.parts(0, blocks, grid))
    assert max(map(len, dealt)) <= 2 + (blocks <= 512)


def test_groups_across_ranges_have_their_whole_sums() -> None:
    """Wherever sorted rows are cut: each group knows its sums of the whole, and one range counts it."""
    rng = np.random.default_rng(1)
    keys = np.sort(rng.integers(0, 9, 60)).astype(np.uint64)
    rows = summed([np.stack([keys, np.arange(60, dtype=np.uint64), *rng.integers(0, 3, (2, 60)).astype(np.uint64)])])
    all_keys, _, sums = group_sums(rows)
    for cuts in ([], [30], [1, 2, 3, 30, 31, 59], sorted(rng.integers(0, 60, 20).tolist())):
        parts = np.split(rows, cuts, axis=1)
        ends = joined(
            [np.concatenate([e := ends_of(p), np.full((1, e.shape[1]), k, np.uint64)]) for k, p in enumerate(parts)]
        )
        counted = []
        for number, part in enumerate(parts):
            groups = Groups.of(part, ends, number)
            here, _, _ = group_sums(part)
            assert (groups.sums == sums[:, np.searchsorted(all_keys, here)]).all()
            counted += here[groups.own].tolist()
        assert counted == all_keys.tolist()
