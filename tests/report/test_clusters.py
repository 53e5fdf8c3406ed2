"""The report's part on clusterings: figures and charts from the tables, in the colours of the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigseg.report.clusters import clusterings, standard_means
from bigseg.report.colours import label_colour
from bigseg.report.page import render
from bigseg.storage.tables import write_table
from tests.report.folders import make_run
from tests.report.test_page import Page


def run_with_clusters(root: Path, features: int, tried: bool) -> tuple[Path, dict[str, Any]]:
    """A run with a kmeans step of three classes, one of which has no voxel of the sample."""
    folder, record = make_run(root)
    names = [f"gaussian-{k}.0" for k in range(features)]
    table = {"class": np.array([1, 2, 3]), "voxels": np.array([60, 0, 40]), "share": np.array([0.6, 0, 0.4])}
    for name in names:
        table |= {name: np.array([10.0, np.nan, 200.5]), f"{name}-std": np.array([2.0, np.nan, 3.0])}
    write_table(folder / "tables" / "phases.parquet", table)
    if tried:
        columns = {"inertia": np.array([90.0, 40.0]), "silhouette": np.array([0.5, np.nan])}
        write_table(folder / "tables" / "phases.tried.parquet", {"k": np.array([2, 3]), **columns})
    record["pipeline"]["steps"].append({"id": "phases", "op": "kmeans", "k": 3, "features": {"gaussian": [1, 2]}})
    record["values"]["phases"] = {"inertia": 40.25, "silhouette": None, "sample": 100, "model": {"names": names}}
    return folder, record


@pytest.mark.parametrize(("features", "tried"), [(1, False), (3, True), (40, True)])
def test_section_of_clusters(tmp_path: Path, features: int, tried: bool) -> None:
    """Means and share of every class stand on the page, with a chart, and a second one where numbers were tried."""
    folder, record = run_with_clusters(tmp_path, features, tried)
    (found,) = clusterings(folder, record)
    assert [colour for colour, _ in found.rows] == [label_colour(k) for k in (1, 2, 3)]
    assert found.rows[2][1][:3] == ["3", "40.00 %", "200.5"]
    assert found.more == max(0, features - 6)
    assert (found.elbow is not None) == tried
    text = render(folder, record)
    page = Page(text)
    assert "clusters" in page.ids
    assert "could not be made" not in page.text
    assert "Other numbers of classes" in page.text or not tried
    before = Page(render(*make_run(tmp_path / "plain")))
    assert len(page.pictures) - len(before.pictures) == 2 * (1 + tried)
    assert "clusters" not in before.ids


def test_means_are_in_standard_deviations() -> None:
    """Of all voxels: weighted by share they have mean 0 and, with the spread within classes, deviation 1."""
    rng = np.random.default_rng(0)
    values, classes = rng.normal(5, 3, 1000), rng.integers(0, 3, 1000)
    values[classes == 2] += 7
    groups = [values[classes == k] for k in range(3)]
    table = {"share": np.array([len(g) / 1000 for g in groups]), "a": np.array([g.mean() for g in groups])}
    table["a-std"] = np.array([g.std() for g in groups])
    wanted = (table["a"] - values.mean()) / values.std()
    np.testing.assert_allclose(standard_means(table, ["a"])[:, 0], wanted, rtol=1e-9)
