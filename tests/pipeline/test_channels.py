"""Channels of files that are no Zarr: one is chosen, none is ever taken silently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

import bigseg
from bigseg.errors import ParameterError

VOXELS = np.random.default_rng(5).integers(0, 255, (3, 9, 12, 14), np.uint8)
PIPE = bigseg.Pipeline([bigseg.Step("m", bigseg.Threshold(above=99))])


def _tiff(folder: Path) -> Path:
    path = folder / "three.tif"
    tifffile.imwrite(path, np.moveaxis(VOXELS, 0, 1), imagej=True, metadata={"axes": "ZCYX"})
    return path


def _npy(folder: Path) -> Path:
    np.save(folder / "three.npy", VOXELS)
    return folder / "three.npy"


@pytest.mark.parametrize("make", [_tiff, _npy])
def test_other_files(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """A channel of a TIFF and of an NPY: the same voxels, kept in run.json, drawn in the report."""
    path = make(tmp_path)
    with pytest.raises(ParameterError, match="axis of 3"):
        PIPE.run(path, tmp_path / "run", workers=0)
    run = PIPE.run(bigseg.open_source(path, channel=2), tmp_path / "run", workers=0)
    np.testing.assert_array_equal(run.outputs["m"].values, VOXELS[2] > 99)
    assert run.record["parts"] == {"input": {"channel": "2"}}
    page = run.report.read_text()
    assert "could not be opened" not in page
    assert "channel 2" in page
