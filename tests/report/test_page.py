"""The page: whole, self-contained, true, and made whatever is missing."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bigseg.report import wording
from bigseg.report.page import render, write_report
from bigseg.storage.tables import write_table
from tests.report.folders import HIGH, SHAPE2, SHAPE3, grains, make_run

LOADING = {"src", "srcset", "href", "data", "poster", "action", "xlink:href", "background"}


class Page(HTMLParser):
    """What a page holds: its tags, what it would load, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: set[str] = set()
        self.loads: list[str] = []
        self.styles = ""
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(text)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "input", "br", "source"):
            self._inside.append(tag)
        for key, value in attrs:
            assert not key.startswith("on"), f"{tag} has a handler {key}"
            if key in LOADING:
                self.loads.append(value or "")
            if key == "style":
                self.styles += value or ""
            if key == "id":
                self.ids.add(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] == "style":
            self.styles += data
        else:
            self.words.append(data)

    @property
    def pictures(self) -> list[Image.Image]:
        return [
            Image.open(io.BytesIO(base64.b64decode(item.partition(",")[2])))
            for item in self.loads
            if item.startswith("data:")
        ]


@pytest.fixture(scope="module")
def run3(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run on a volume."""
    return make_run(tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def run2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run on an image without a unit."""
    return make_run(tmp_path_factory.mktemp("two"), SHAPE2, unit="")


@pytest.mark.parametrize("which", ["run3", "run2"])
def test_page_is_self_contained(which: str, request: pytest.FixtureRequest) -> None:
    """The page loads nothing: pictures are inside, links stay on it, there are no scripts."""
    text = render(*request.getfixturevalue(which))
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for item in page.loads:
        assert item.startswith("data:image/png;base64,") or item[1:] in page.ids, item[:80]
    assert "url(" not in page.styles
    assert "@import" not in page.styles
    assert "default-src 'none'" in text
    assert len(page.pictures) >= 4
    for picture in page.pictures:
        picture.load()


def test_all_sections(run3: tuple[Path, dict[str, Any]]) -> None:
    """A run with tables has every section, in one file below 3 MB."""
    path = write_report(*run3)
    assert path == run3[0] / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert {"slices", "objects", "thresholds", "pipeline", "performance", "origin"} <= page.ids
    assert "could not be" not in page.text
    assert path.stat().st_size < 3_000_000
    assert not list(run3[0].glob(".*"))


def test_pictures_of_three_directions(run3: tuple[Path, dict[str, Any]]) -> None:
    """A volume is shown in three directions: input, each saved step, overlay; distances are physical."""
    page = Page(render(*run3))
    for words in ("xy z = 24 of 48", "xz y = 28 of 56", "yz x = 36 of 72", "objects on input", "10 µm"):
        assert words in page.text
    slices = [p for p in page.pictures if p.mode == "P"]
    assert len(slices) == 3 * 4
    ratios = {round(p.size[0] / p.size[1], 2) for p in slices}
    assert ratios == {round(72 / 56, 2), round(72 * 0.5 / (48 * 2), 2), round(56 * 0.5 / (48 * 2), 2)}


def test_picture_of_two_dimensions(run2: tuple[Path, dict[str, Any]]) -> None:
    """An image is shown once, and nothing speaks of voxels or planes; without a unit the bar counts pixels."""
    page = Page(render(*run2))
    assert len([p for p in page.pictures if p.mode == "P"]) == 4
    assert "whole image" in page.text
    assert "20 pixels" in page.text
    assert "z =" not in page.text
    assert f"{SHAPE2[0]} × {SHAPE2[1]}" in page.text
    assert "7,680 pixels, uint8" in page.text


def test_values_are_right(run3: tuple[Path, dict[str, Any]]) -> None:
    """Numbers on the page are those of the record, of the tables and of the voxels."""
    folder, record = run3
    page = Page(render(folder, record))
    image = grains(SHAPE3)
    sizes = np.sort(_column(folder, "regions", "num_pixels"))
    share = f"{wording.number(100 * sizes.sum() / image.size, 3)} % of the volume"
    facts = (
        "48 × 56 × 72",
        "96 × 28 × 36 µm",
        "voxel 2 × 0.5 × 0.5 µm",
        f"{len(sizes)} {share}",
        f"largest {wording.number(sizes[-1] * 0.5)} µm³ {sizes[-1]:,} voxels",
        f"median {wording.number(float(np.median(sizes)) * 0.5)} µm³",
        f"levels.otsu = voids.high 90 {100 * (image < HIGH).mean():.2f} %",
        f"voids.low 60 {100 * (image < 60).mean():.2f} %",
        "1 min 15 s",
        "pass-1 pass collect levels.counts 8 12.5 s".replace("12.5", "12"),
        "300 MiB of 400 MiB",
        "driver's memory 222 MiB",
        "2 of 32 × 32 × 32" if record["blocks"] == 2 else "8 of 32 × 32 × 32 voxels",
        "voids asked for under save",
        "objects 3 passes need it",
        "fingerprint 0123456789abcdef",
        "numpy 2.4.0",
        "1, never interrupted",
        "22 Nov 2026, 17:42:10 UTC",
        "# ${levels.otsu} = 90",
        str(folder),
    )
    for fact in facts:
        assert fact in page.text, fact


def test_memory_over_plan_is_marked(run3: tuple[Path, dict[str, Any]]) -> None:
    """A stage that took more memory than planned is marked, and only that stage."""
    assert render(*run3).count("<i class=over") == 1


def test_no_tables(run3: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Without tables the page has no sections for them, and nothing that speaks of failure."""
    folder, record = run3
    bare = tmp_path / "run"
    bare.mkdir()
    for name in record["saved"]:
        (bare / f"{name}.ome.zarr").symlink_to(folder / f"{name}.ome.zarr")
    page = Page(render(bare, record))
    assert {"objects", "thresholds"}.isdisjoint(page.ids)
    assert "could not be" not in page.text


def test_no_objects(run3: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """A table without rows is told as what it is."""
    empty = np.zeros(0, np.int64)
    write_table(tmp_path / "tables" / "regions.parquet", {"label": empty, "num_pixels": empty})
    assert "No objects" in Page(render(tmp_path, run3[1])).text


def test_missing_input(run3: tuple[Path, dict[str, Any]]) -> None:
    """Where the input is gone, the results are shown alone and the page says so."""
    folder, record = run3
    page = Page(render(folder, {**record, "inputs": {"input": "/gone/scan.ome.zarr"}}))
    assert "input could not be opened: /gone/scan.ome.zarr does not exist" in page.text
    assert len([p for p in page.pictures if p.mode == "P"]) == 3 * 2


def test_replaced_input(run3: tuple[Path, dict[str, Any]], run2: tuple[Path, dict[str, Any]]) -> None:
    """An input that has another shape now is not shown as if it were the one of the run."""
    folder, record = run3
    page = Page(render(folder, {**record, "inputs": run2[1]["inputs"]}))
    assert "it was replaced" in page.text
    assert "objects on input" not in page.text


@pytest.mark.parametrize("damage", ["volume", "table", "stages", "record"])
def test_damage_costs_one_part(damage: str, tmp_path: Path) -> None:
    """What is damaged is named; the other parts of the page are there."""
    folder, record = make_run(tmp_path, SHAPE2)
    if damage == "volume":
        (folder / "voids.ome.zarr" / "zarr.json").write_text("{")
    elif damage == "table":
        (folder / "tables" / "regions.parquet").write_bytes(b"PAR1")
    elif damage == "stages":
        record["stages"] = [{"name": "pass-1"}]
    else:
        record = {"status": "failed"}
    page = Page(write_report(folder, record).read_text(encoding="utf-8"))
    assert "could not be" in page.text
    assert {"slices", "pipeline", "performance", "origin"} <= page.ids
    if damage != "record":
        assert "objects on input" in page.text


def test_hostile_names(tmp_path: Path) -> None:
    """Ids, paths, errors and values are text wherever they come from, never markup."""
    folder, record = make_run(tmp_path, SHAPE2)
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}'
    clean = Page(render(folder, record, "failed"))
    text = json.dumps(record).replace("hysteresis", "HOSTILE").replace("asked for under save", "HOSTILE")
    record = json.loads(text.replace("HOSTILE", json.dumps(evil)[1:-1]))
    record |= {"where": evil, "fingerprint": evil, "error": evil, "began": evil}
    record["inputs"] = {evil: evil}
    record["pipeline"]["steps"][0]["id"] = evil
    record["values"] = {evil: {evil: 12.0}}
    record["stages"][0] |= {"name": evil, "what": evil}
    record["versions"][evil] = evil
    (folder / "tables" / "levels.parquet").rename(folder / "tables" / "other.parquet")
    page = Page(render(folder, record, "failed"))
    assert set(page.tags) <= set(clean.tags)
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text


def test_unfinished_never_looks_complete(run3: tuple[Path, dict[str, Any]]) -> None:
    """A record without an end is shown as what it says, whatever the caller asks for."""
    folder, record = run3
    assert 'class="status complete"' in render(folder, record)
    open_record = {key: value for key, value in record.items() if key not in ("ended", "seconds")}
    text = render(folder, open_record)
    assert 'class="status complete"' not in text
    assert "This run is incomplete" in text
    assert 'class="status failed"' in render(folder, {**record, "status": "failed"})
    failed = render(folder, {**record, "error": "the disk is full"}, "failed")
    assert "the disk is full" in failed
    assert 'class="status failed"' in failed


def test_resumed_run_says_so(run3: tuple[Path, dict[str, Any]]) -> None:
    """How often a run was resumed stands on the page, and how many blocks the last start computed."""
    folder, record = run3
    record = json.loads(json.dumps(record | {"starts": 3}))
    record["stages"][0]["computed"] = 5
    page = Page(render(folder, record))
    assert "3, resumed 2 times" in page.text
    assert "5 of 8" in page.text


def _column(folder: Path, table: str, column: str) -> np.ndarray:
    import pyarrow.parquet as pq

    return np.asarray(pq.read_table(folder / "tables" / f"{table}.parquet")[column])
