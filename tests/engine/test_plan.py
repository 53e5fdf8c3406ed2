"""The plan stores between passes what is dear or needs a halo, once, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import bigseg
from bigseg.ops.base import Op
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
