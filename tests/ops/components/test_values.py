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
