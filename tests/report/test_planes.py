"""Which plane is read, from which level, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from bigseg.errors import InputError
from bigseg.grid import Box
from bigseg.report import planes, views
from bigseg.report.planes import Levels, middle_boxes
from bigseg.report.views import three_views
from tests.report.folders import grains, make_run, store_image
from tests.volumes import store


def test_level_is_the_finest_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plane comes from the first level that is small enough, at the same place of the volume."""
    array = np.broadcast_to(np.arange(300, dtype=np.uint16)[:, None, None], (300, 40, 260)).copy()
    levels = Levels(str(store_image(tmp_path / "a.ome.zarr", array, "image", (1.0, 1.0, 1.0), "")))
    box = middle_boxes(levels.spec)["z"]
    for longest, level, value in ((300, 0, 150), (200, 1, 150), (70, 2, 150)):
        monkeypatch.setattr(planes, "LONGEST", longest)
        found = levels.read(box, "z")
        assert found.level == level
        assert found.spacing == (2.0**level, 2.0**level)
        assert max(found.plane.shape) <= longest
        assert abs(float(found.plane.mean()) - value) <= 2**level


@pytest.mark.parametrize("normal", ["z", "y", "x"])
def test_planes_are_those_of_the_array(tmp_path: Path, normal: str) -> None:
    """The plane through the middle is exactly the array's, with rows and columns in the array's order."""
    array = grains((13, 18, 21))
    levels = Levels(str(store(tmp_path / "a.zarr", array)))
    found = levels.read(middle_boxes(levels.spec)[normal], normal)
    axis = "zyx".index(normal)
    assert (found.plane == np.take(array, array.shape[axis] // 2, axis)).all()


def test_one_slice_is_no_volume(tmp_path: Path) -> None:
    """Directions in which a volume is a line are left out; a single slice is still shown."""
    spec = Levels(str(store(tmp_path / "a.zarr", grains((1, 60, 70))))).spec
    assert list(middle_boxes(spec)) == ["z"]


def test_without_pyramid_the_middle_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large input without levels is shown in the middle at full resolution, and results at the same place."""
    folder, record = make_run(tmp_path, (70, 80))
    bare = store(tmp_path / "bare.zarr", grains((70, 80)))
    monkeypatch.setattr(planes, "LONGEST", 40)
    found, notes = three_views(folder, record | {"inputs": {"input": str(bare)}})
    assert not notes
    assert found[0].place == "the middle 40 × 40 of 70 × 80 pixels"
    assert [picture.level for picture in found[0].pictures] == [0, 0, 0, 0]
    assert len({picture.size for picture in found[0].pictures}) == 1


def test_costly_directions_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack of pages is not decoded whole for two rows of pixels: only its pages are shown, and why."""
    folder, record = make_run(tmp_path)
    tifffile.imwrite(tmp_path / "scan.tif", grains((48, 56, 72)))
    record["inputs"] = {"input": str(tmp_path / "scan.tif")}
    monkeypatch.setattr(planes, "MOST_BYTES", 56 * 72)
    found, _ = three_views(folder, record)
    assert [picture.name for picture in found[0].pictures][:1] == ["input"]
    assert "input: not shown in this direction" in found[1].notes[0]
    with pytest.raises(InputError, match="decoded"):
        Levels(str(tmp_path / "scan.tif")).read(Box((0, 3, 0), (48, 4, 72)), "y")


def test_bytes_stay_below_the_budget(tmp_path: Path) -> None:
    """Noise, which no format can compress, leaves a page of at most 3 MB however many steps were saved."""
    rng = np.random.default_rng(1)
    shape = (400, 420, 410)
    folder, record = tmp_path / "run", {"volume": {"shape": list(shape)}, "saved": [], "inputs": {}}
    noise = rng.integers(0, 256, shape, dtype=np.uint8)
    store(tmp_path / "scan.zarr", noise, (100, 100, 100))
    record["inputs"] = {"input": str(tmp_path / "scan.zarr")}
    store_image(folder / "a.ome.zarr", noise > 128, "mask", (1.0, 1.0, 1.0), "")
    record["saved"] = ["a"]
    found, notes = three_views(folder, record)
    assert not notes
    total = sum(len(picture.png) for view in found for picture in view.pictures)
    assert total * 4 / 3 < 2_900_000
    assert views.PIXELS * 1.4 < 2_900_000
