"""Objects of label images: rows of one value put together, range by range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bigseg
from bigseg.ops.components.values import TOGETHER, JoinValues
from bigseg.pipeline.pipeline import Pipeline
from tests.volumes import store


@pytest.mark.parametrize("mixed", [False, True])
def test_a_range_reads_the_blocks_that_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: bool) -> None:
    """Labels in raster order: every block is read once, not once a range. Mixed ones give their whole table, too."""
    blocks = 4 * TOGETHER
    labels = np.arange(1, blocks + 1, dtype=np.uint16).repeat(36).reshape(blocks, 6, 6)
    if mixed:
        labels = np.random.default_rng(0).permutation(labels.reshape(-1)).reshape(labels.shape)
    read: list[int] = []
    part = JoinValues._part

    def counted(self: JoinValues, space: Any, number: int, *more: Any) -> Any:
        read.append(number)
        return part(self, space, number, *more)

    monkeypatch.setattr(JoinValues, "_part", counted)
    volume = store(tmp_path / "labels.zarr", labels)
    run = Pipeline([bigseg.Regions()]).run(volume, tmp_path / "run", block=(1, 6, 6), workers=0, report=False)
    assert run.tables["regions"]["label"].tolist() == list(range(1, blocks + 1))
    assert run.tables["regions"]["num_pixels"].tolist() == [36] * blocks
    if mixed:
        assert len(read) > 3 * blocks
    else:
        assert sorted(read) == list(range(blocks))


LAST = 2**64 - 1


@pytest.mark.parametrize(
    ("dtype", "labels"), [("int32", [-1, -7, 2]), ("int64", [-1, 3]), ("uint64", [LAST, 2**63, 3])]
)
def test_every_value_but_zero_is_a_label(dtype: str, labels: list[int]) -> None:
    """Negative labels, and those of uint64 from 2**63 to the last, are kept, tabulated and found as any other."""
    image = np.array([[0, *labels]], dtype).repeat(2, axis=0).repeat(2, axis=1)
    image[0, 2] = 0  # of the first label there are 3 voxels, of all others 4
    assert np.array_equal(bigseg.remove_small(image, min_size=1), image)
    assert np.array_equal(bigseg.remove_small(image, min_size=4), np.where(image == labels[0], 0, image))
    table = bigseg.regions(image)
    rising = sorted(labels, key=lambda label: label % 2**64)
    assert table["label"].tolist() == rising
    assert table["num_pixels"].tolist() == [int(np.count_nonzero(image == label)) for label in rising]
    assert sorted(bigseg.object_quantiles(image, np.ones(image.shape, "uint8"))["label"]) == sorted(labels)
    near = bigseg.nearest(image)
    assert near["label"].tolist() == rising
    assert near["nearest_label"].isin(labels).all()


def test_the_last_label_lies_in_the_last_of_several_ranges(tmp_path: Path) -> None:
    """The greatest uint64 of many blocks' labels is found when these are painted, and when the table is written."""
    blocks = 2 * TOGETHER
    labels = (LAST - np.arange(blocks, dtype=np.uint64)).repeat(4).reshape(blocks, 2, 2)
    pipeline = Pipeline([bigseg.RemoveSmall(min_size=1), bigseg.Regions()], save=["remove_small"])
    run = pipeline.run(store(tmp_path / "l.zarr", labels), tmp_path / "run", block=(1, 2, 2), workers=0, report=False)
    assert np.array_equal(np.asarray(run.outputs["remove_small"]), labels)
    assert run.tables["regions"]["label"].tolist() == labels[::-1, 0, 0].tolist()
