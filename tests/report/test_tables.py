"""What the page takes from tables and pipeline: sizes, histograms, thresholds, YAML."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bigseg.report import objects
from bigseg.report.charts import _frame, histogram_chart, size_chart
from bigseg.report.measures import measure_table
from bigseg.report.objects import objects_of
from bigseg.report.recipe import recipe_lines
from bigseg.report.thresholds import Line, distributions, sources_of
from bigseg.storage.tables import write_table
from tests.report.folders import make_run


@pytest.mark.parametrize("rows", [1, 7, 64, 10**6])
def test_sizes_are_exact_in_any_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Number, total, median and largest are numpy's, and the largest rows the same, however it is read."""
    monkeypatch.setattr(objects, "ROWS", rows)
    sizes = np.random.default_rng(rows).geometric(0.02, 301)
    table = {"label": np.arange(301) + 1, "num_pixels": sizes, "mean": sizes * 0.5}
    write_table(tmp_path / "tables" / "r.parquet", table)
    record = {
        "volume": {"shape": [100, 100], "spacing": [0.5, 0.5], "unit": "nanometer"},
        "pipeline": {"steps": [{"id": "r", "op": "regions"}]},
    }
    (found,) = objects_of(tmp_path, record)
    assert (found.number, found.total, found.largest) == (301, sizes.sum(), sizes.max())
    assert found.median == np.median(sizes)
    assert found.voxel == 0.25
    largest = np.argsort(-sizes, kind="stable")[:10]
    assert [row[0] for row in found.rows] == (largest + 1).tolist()
    assert [row[2] for row in found.rows] == (sizes[largest] * 0.5).tolist()


def test_measures_are_joined(tmp_path: Path) -> None:
    """Boxes and centroids are one column each, units stand in the heading, decimals are the same in a column."""
    (found,) = objects_of(*make_run(tmp_path))
    table = measure_table(found)
    assert table.headings == [
        ("label", ""),
        ("voxels", ""),
        ("volume", "µm³"),
        ("box", "z × y × x voxels"),
        ("centroid", "z, y, x µm"),
        ("mean", "intensity"),
    ]
    first = pq.read_table(tmp_path / "run" / "tables" / "regions.parquet").slice(found.rows[0][0] - 1, 1).to_pylist()[0]
    cells = table.rows[0][1]
    assert cells[0] == str(first["label"])
    assert cells[3] == " × ".join(str(first[f"bbox-{k + 3}"] - first[f"bbox-{k}"]) for k in range(3))
    assert [float(item) for item in cells[4].split(", ")] == pytest.approx(
        [first[f"centroid-{k}"] for k in range(3)], abs=0.06
    )


def test_thresholds_meet_their_histogram(tmp_path: Path) -> None:
    """A step's thresholds are drawn on the histogram of what it compares, and on no other."""
    folder, record = make_run(tmp_path)
    record["pipeline"]["steps"].append({"id": "bright", "op": "threshold", "from": "smooth", "above": 200})
    record["pipeline"]["steps"].append({"id": "rest", "op": "threshold", "from": "input", "above": 150})
    (found,) = distributions(folder, record)
    assert found.source == "input"
    assert [(line.name, line.value, line.used) for line in found.lines] == [
        ("voids.low", 60.0, True),
        ("levels.otsu = voids.high", 90.0, True),
        ("rest.above", 150.0, True),
    ]


def test_steps_read_the_last_volume() -> None:
    """Steps that give values or tables are no source; `input` is the first input, whatever its name."""
    steps = [
        {"id": "smooth", "op": "gaussian"},
        {"id": "levels", "op": "auto_threshold"},
        {"id": "mask", "op": "threshold"},
        {"id": "again", "op": "histogram", "from": "input"},
        {"id": "both", "op": "kmeans", "from": ["mask", "xray"]},
    ]
    found = sources_of(steps, ["xray", "neutron"])
    assert found == {"smooth": "xray", "levels": "smooth", "mask": "smooth", "again": "xray", "both": "mask"}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 40)), min_size=1, max_size=7, unique_by=lambda x: x[0]))
def test_names_cross_no_line(marks: list[tuple[float, int]]) -> None:
    """The name of a threshold stands above the end of every line that it would cross, and inside the chart."""
    lines = [Line(value, ("n" * length,), True) for value, length in sorted(marks)]
    frame = _frame(lines, 0.0, 100.0)
    width = 8.6 - 0.66 - frame.right
    for k, line in enumerate(lines):
        end = line.value / 100 + 0.066 * len(f"{line.name}  {line.value:.4g}") / width
        assert frame.right == 3.0 or end <= 1 + frame.right / width + 1e-3
        for j in range(k + 1, len(lines)):
            if lines[j].value / 100 < end:
                assert frame.rows[k] > frame.rows[j]


@pytest.mark.parametrize("case", ["one value", "two values", "uint16", "floats", "one peak"])
def test_histograms_of_every_shape(case: str) -> None:
    """Any histogram can be drawn: one value, 65536 values, a needle among little; light and dark alike."""
    values, counts = {
        "one value": (np.array([7]), np.array([100])),
        "two values": (np.array([0, 1]), np.array([5, 9])),
        "uint16": (np.arange(65536), np.arange(65536) % 999),
        "floats": (np.linspace(-3, 4, 256), np.arange(256) ** 2),
        "one peak": (np.arange(256), np.where(np.arange(256) == 9, 10**12, 1)),
    }[case]
    chart = histogram_chart(values, counts, [Line(3.0, ("a.low",), True)], "grey value of $x")
    sizes = {Image.open(io.BytesIO(png)).size for png in (chart.light, chart.dark)}
    assert len(sizes) == 1
    assert chart.light != chart.dark
    assert "a.low at 3" in chart.words


@pytest.mark.parametrize("sizes", [[1], [27], [1, 2, 3], [5, 10**12], list(range(1, 400))])
def test_sizes_of_every_range(sizes: list[int]) -> None:
    """Any set of sizes can be drawn, and every object is counted once."""
    chart = size_chart(np.array(sizes), np.ones(len(sizes), int), 0.125, "size in µm³")
    assert f"{len(sizes)} objects" in chart.words


def test_recipe_is_a_pipeline_file() -> None:
    """The YAML on the page is the pipeline: read again, it is the same, whatever its values are."""
    pipeline = {
        "version": 1,
        "steps": [
            {"id": "a", "op": "gaussian", "sigma": (1.0, 0.5, 2)},
            {"id": "b", "op": "threshold", "above": "${l.otsu}", "from": ["a", "input"]},
            {"id": "c", "op": "x", "text": "# no: comment, {really}\nand more", "on": True, "none": None},
        ],
        "save": ["b"],
    }
    lines = recipe_lines(pipeline, {"l": {"otsu": 93.1}})
    text = "\n".join("".join(token.text for token in line) for line in lines)
    expected = {**pipeline, "steps": [{**pipeline["steps"][0], "sigma": [1.0, 0.5, 2]}, *pipeline["steps"][1:]]}
    assert yaml.safe_load(text) == expected
    assert "${l.otsu} = 93.1" in text
