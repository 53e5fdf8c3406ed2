"""The demo: on a generated volume, on a sample, and again on the same folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from bigseg import demo
from bigseg.grid import Box
from tests.cli.conftest import Bigseg


@pytest.fixture
def no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sample package anywhere, and a generated volume of 64^3."""
    monkeypatch.delenv(demo.VARIABLE, raising=False)
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    monkeypatch.setattr(demo, "SHAPE", (64, 64, 64))


def test_generated_volume(bigseg: Bigseg, no_sample: None, tmp_path: Path) -> None:
    """Without the sample the demo says so, finds every sphere that was put in, and says where all lies."""
    answer = bigseg("demo", "there", "--workers", 0)
    assert answer.code == 0, answer.err
    assert "generated volume with 8 dark spheres" in answer.out
    assert "8 voids (8 were put in)" in answer.out
    for line in ("sample ", "ingest ", "info ", "plan ", "run ", "pyramid ", "report ", "table "):
        assert f"\n{line}" in f"\n{answer.out}"
    for path in ("spheres.ome.zarr", "run/objects.ome.zarr", "run/tables/regions.parquet", "run/report.html"):
        assert (tmp_path / "there" / path).exists()
        assert f"there/{path}" in answer.out

    again = bigseg("demo", "there", "--workers", 0)
    assert again.code == 0
    assert again.out.count("finished already") == 2
    assert "8 voids" in again.out


def test_the_sample_is_found_without_importing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """BIGSEG_SAMPLES names the folder of the package; an installed one is found by its place."""
    for name in ("set", "installed"):
        folder = tmp_path / name / "qim3d" / "examples"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").write_text("raise RuntimeError('imported')")
        tifffile.imwrite(folder / "cement_4x4x4.tif", np.zeros((4, 4, 4), np.uint8))
    monkeypatch.delenv(demo.VARIABLE, raising=False)
    monkeypatch.syspath_prepend(tmp_path / "installed")
    assert demo.find_sample() == tmp_path / "installed" / "qim3d" / "examples" / "cement_4x4x4.tif"
    monkeypatch.setenv(demo.VARIABLE, str(tmp_path / "set"))
    assert demo.find_sample() == tmp_path / "set" / "qim3d" / "examples" / "cement_4x4x4.tif"


def test_spheres_are_the_same_in_any_box() -> None:
    """A generated voxel depends on its coordinates alone; the spheres are as many as are said, and none touch."""
    from scipy import ndimage

    spheres = demo.Spheres((70, 96, 64), seed=5)
    whole = spheres.read(Box.whole(spheres.shape))
    for start, stop in (((0, 0, 0), (1, 1, 1)), ((13, 31, 7), (66, 90, 33)), ((64, 0, 0), (70, 96, 64))):
        np.testing.assert_array_equal(spheres.read(Box(start, stop)), whole[Box(start, stop).slices])
    dark = whole <= spheres.dark
    assert ndimage.label(ndimage.binary_dilation(dark, iterations=2))[1] == spheres.count == 12
    assert not np.array_equal(whole, demo.Spheres((70, 96, 64), seed=6).read(Box.whole(spheres.shape)))
