"""Pipelines on phantoms: on workers, without a file, and against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bigseg
from bigseg.ops.registry import OPS
from bigseg.pipeline.ingest import ingest


def test_a_worker_sees_the_same_bits(cluster: Any, tmp_path: Path) -> None:
    """An ingest on two Dask workers stores what the phantom is in this process, for blocks of two sizes."""
    phantom = bigseg.phantom("grains", (50, 60, 70), seed=3, blur=0.8, noise=5, poisson=3, rings=2, cupping=0.1)
    for block in (32, 50):
        out = tmp_path / f"{block}.ome.zarr"
        ingest(phantom, out, block=(block,), scheduler=cluster.client.scheduler.address)
        np.testing.assert_array_equal(bigseg.open_volume(out).values, phantom.image.values)


def test_labelling_finds_the_truth(tmp_path: Path) -> None:
    """Every void of a clean phantom is found as one object of its true size, with no file read."""
    phantom = bigseg.phantom("voids", 90, seed=1, size=24, spacing="1 um")
    pipe = bigseg.Pipeline([bigseg.Threshold(below=80), bigseg.Label(connectivity=3), OPS["regions"]()])
    run = pipe.run(phantom, tmp_path / "run", workers=0, block=(40,))
    truth = np.bincount(phantom.instances.values.ravel())[1:]
    table: pd.DataFrame = run.tables["regions"]
    assert sorted(table["num_pixels"]) == sorted(truth[truth > 0])
    assert run.record["inputs"]["input"] == phantom.path
    assert run.report.read_text().count("phantom:voids") >= 1
