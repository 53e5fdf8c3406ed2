"""What the learning benchmark promises: both sides do the same work, no first turn counts, pages tell what failed."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import joblib
import numpy as np
import pytest
from dask_ml.wrappers import ParallelPostFit
from sklearn.ensemble import RandomForestClassifier

import bigseg

from . import learning
from .endtoend import DEPTH, TURNS, block_features, classified, prepare
from .measure import turns
from .page import begun, compared, comparison


@pytest.mark.parametrize("output", TURNS)
def test_the_peer_in_chunks_is_the_peer_on_the_whole_array(output: str) -> None:
    """Overlap and trim change no voxel: the peer is charged for no halo that it does not need."""
    x = np.random.default_rng(0).random((40, 20, 24), np.float32)
    rows = block_features(x).reshape(-1, 15)
    forest = RandomForestClassifier(3, random_state=0).fit(rows, (1 + (x.reshape(-1) > 0.5)).astype(np.uint8))
    lazy = classified(da.from_array(x, chunks=(20, 20, 24)), ParallelPostFit(forest), output)
    wanted = forest.predict(rows) if output == "labels" else forest.predict_proba(rows)[:, 1].astype(np.float32)
    found = lazy.compute(scheduler="synchronous")
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted.reshape(x.shape))
    few = block_features(x[: 20 + DEPTH - 3])
    assert not np.array_equal(few[:20], block_features(x)[:20])


def test_both_sides_have_one_forest_and_one_set_of_features(tmp_path: Path) -> None:
    """bigseg's model file and the peer's pickle give the same probabilities away from the edge."""
    shape = (56, 44, 44)
    made = prepare(tmp_path, shape, 400)
    x = da.from_zarr(made["volume"]).compute()
    forest = joblib.load(tmp_path / "forest.joblib")
    peer = forest.predict_proba(block_features(x).reshape(-1, 15))[:, 1].astype(np.float32).reshape(shape)
    inside = tuple(slice(DEPTH, n - DEPTH) for n in shape)
    ours = bigseg.classify(x, model=tmp_path / "forest.npz", output="probability")[inside]
    assert np.mean(ours == peer[inside]) > 0.99
    assert len(np.unique(ours)) > 10


def test_no_first_turn_counts() -> None:
    """Every side runs once more than is counted, and gives its last result."""
    calls: list[str] = []
    sides = {name: lambda name=name: calls.append(name) or len(calls) for name in ("a", "b")}
    seconds, given = turns(sides, 2)
    assert calls == ["a", "b"] * 3
    assert {name: len(found) for name, found in seconds.items()} == {"a": 2, "b": 2}
    assert given == {"a": 5, "b": 6}


def test_a_page_tells_what_was_missed_and_what_failed() -> None:
    """A ratio below its goal stands as no; a section that failed says why, and others stay."""
    rows = [comparison("one", "data", 4.9, "peer", 1.0, 5.0), comparison("two", "data", 5.0, "peer", 1.0, 5.0)]
    assert ["**no**" in line for line in compared(rows)[2:]] == [True, False]
    start = begun("learning", ["--only", "features"])
    found = {"rows": [{**rows[0], "held": 1 << 20}]}
    page = learning.render({"forest": {**start, "found": {"error": "no data"}}, "features": {**start, "found": found}})
    assert "**Failed: no data**" in page
    assert page.index("## Features") < page.index("4.9 x") < page.index("## Forests")
