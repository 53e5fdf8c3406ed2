"""Preview: the plane as the run would show it, where that can be known from a thin slab."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

import bigseg
from bigseg.engine.source import Cropped, Held
from bigseg.errors import BigsegError, ParameterError
from bigseg.grid import Box
from bigseg.pipeline import preview as module
from bigseg.storage.spec import Spec
from bigseg.storage.volume import Volume
from tests.volumes import store

LOCAL = bigseg.Pipeline([bigseg.Gaussian(sigma=1.5), bigseg.Median(size=3), bigseg.Threshold(below=100)])


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list:
    """What the picture was drawn from."""
    seen: list = []
    draw = module.draw_panels

    def remember(items: list, *more: object, **named: object) -> bytes:
        seen[:] = items
        return draw(items, *more, **named)

    monkeypatch.setattr(module, "draw_panels", remember)
    return seen


@pytest.mark.parametrize("z", [0, 3, 20, 39])
def test_local_steps_are_those_of_the_whole_volume(blobs: np.ndarray, tmp_path: Path, panels: list, z: int) -> None:
    """Filters look as far as they need: every panel is the plane of the whole volume, bit for bit."""
    found = LOCAL.preview(store(tmp_path / "a.zarr", blobs), z=z, planes=1, side=24)
    window = np.s_[z, 11:35, 13:37]
    smooth = bigseg.gaussian(blobs, sigma=1.5)
    clean = bigseg.median(smooth, size=3)
    for panel, whole in zip(panels, (blobs, smooth, clean, clean < np.float32(100)), strict=True):
        np.testing.assert_array_equal(panel.plane, whole[window])
    assert f"plane {z} of 40" in found.note
    assert "this is the result" in found.note


def test_global_steps_say_what_they_saw(blobs: np.ndarray, tmp_path: Path) -> None:
    """The note names the steps that saw only the slab, and which voxels these were."""
    pipe = bigseg.Pipeline.load("voids")
    found = pipe.preview(store(tmp_path / "a.zarr", blobs), z=20, planes=5)
    assert "voxels 14:27 x 0:47 x 0:51 alone" in found.note  # 5 planes and a halo of 4 on both sides
    assert "core, edge, voids, objects, regions saw only these" in found.note
    assert found.values["edge"]["multi_otsu_1"] > 0


def test_the_whole_volume_is_the_result(blobs: np.ndarray, tmp_path: Path, panels: list) -> None:
    """A slab that is the whole volume gives what the run gives, and the note says so."""
    path = store(tmp_path / "a.zarr", blobs)
    pipe = bigseg.Pipeline.load("voids")
    found = pipe.preview(path, z=7, planes=100)
    run = pipe.run(path, tmp_path / "run", workers=0, report=False)
    np.testing.assert_array_equal(panels[-1].plane, run.outputs["objects"].values[7])
    assert found.values == run.values
    assert found.note.endswith("this is the result")


def halves(where: dict[str, str]) -> bigseg.Pipeline:
    """A tree that learns dark from bright on one part of a volume, and is judged on others."""
    features = {"intensity": True}
    train = {"labels": "input", "features": features, "estimator": "decision_tree", "kind": "values", "regions": where}
    steps = [
        {"id": "tree", "op": "train", "from": "input", **train},
        {"id": "value", "op": "classify", "from": "input", "model": "${tree.model}", "output": "value"},
        {"id": "even", "op": "normalise", "from": "input", "method": "reference", "region": "18:22,20:40,:25"},
    ]
    return bigseg.Pipeline.from_dict({"version": 1, "steps": steps, "save": ["value"]})


def test_regions_are_those_of_the_volume(blobs: np.ndarray, tmp_path: Path) -> None:
    """What a step names by its place in the volume is that place in the piece, as far as the piece holds it."""
    where = {"train": "10:21,:,:20", "validation": "10:21,:,-31:", "test": ":5,:,:"}
    found = halves(where).preview(store(tmp_path / "a.zarr", blobs), z=20, planes=3, side=24)
    assert "voxels 19:22 x 11:35 x 13:37 alone" in found.note
    figures = found.values["tree"]["figures"]
    assert found.values["tree"]["voxels"] == 2 * 24 * 7
    assert figures["validation"]["voxels"] == 2 * 24 * 17
    assert "test" not in figures
    assert found.values["even"]["mean"] == blobs[19:22, 20:35, 13:25].mean()


def test_a_region_that_is_not_looked_at_is_refused(blobs: np.ndarray, tmp_path: Path) -> None:
    """A model for other voxels than those that were asked for is not shown: the step, the part and the way out."""
    pipe = halves({"train": ":5,:,:", "validation": "10:21,:,:"})
    why = r"step 'tree': no voxel of the regions for train is looked at; a preview looks at voxels 19:22 .* alone: try"
    with pytest.raises(ParameterError, match=why):
        pipe.preview(store(tmp_path / "a.zarr", blobs), z=20, planes=3, side=24)


def test_positions_are_those_of_the_piece(blobs: np.ndarray, tmp_path: Path) -> None:
    """Where the place of a voxel is a feature the picture is not the result, and the note says so."""
    path = store(tmp_path / "a.zarr", blobs)
    for features, said in (({"position": 10.0}, True), ({"intensity": True}, False)):
        found = bigseg.Pipeline([bigseg.Kmeans(k=2, features=features)]).preview(path, z=20, planes=3, side=24)
        assert ("positions, which are features here" in found.note) is said


def test_notebooks_show_the_picture(blobs: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object shows itself as PNG, and the folder it was computed in is gone."""
    path = store(tmp_path / "a.zarr", blobs)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    found = LOCAL.preview(path)
    assert found._repr_png_().startswith(b"\x89PNG")
    assert "plane 20 of 40" in found.note
    assert not list((tmp_path / "temporary").iterdir())


def test_two_dimensions(blobs: np.ndarray, tmp_path: Path, panels: list) -> None:
    """An image has no planes: it is shown whole."""
    found = LOCAL.preview(store(tmp_path / "a.zarr", blobs[5]))
    np.testing.assert_array_equal(panels[0].plane, blobs[5])
    assert found.note.startswith("the image")


@pytest.mark.parametrize("arguments", [{"z": 40}, {"z": -1}, {"planes": 0}, {"side": 0}])
def test_what_cannot_be_shown_is_refused(blobs: np.ndarray, tmp_path: Path, arguments: dict) -> None:
    """A plane outside of the volume, or none at all, is refused with what is possible."""
    with pytest.raises(BigsegError, match=r"expected|0 to 39"):
        LOCAL.preview(store(tmp_path / "a.zarr", blobs), **arguments)


def test_a_cropped_source_is_that_part(blobs: np.ndarray, tmp_path: Path) -> None:
    """A crop of a store and of an array reads the same voxels, knows its place, and is not mistaken for the whole."""
    volume = Volume.open(store(tmp_path / "a.zarr", blobs))
    held = Held(blobs, Spec(blobs.shape, blobs.dtype, ("z", "y", "x"), (1.0, 2.0, 2.0)))
    box = Box((3, 5, 7), (20, 30, 40))
    for origin in (volume, held):
        part = Cropped(origin, box)
        assert part.spec.shape == (17, 25, 33)
        np.testing.assert_array_equal(part.read(Box((1, 2, 3), (4, 5, 6))), blobs[4:7, 7:10, 10:13])
        assert part.token() != origin.token()
    assert Cropped(held, box).spec.origin == (3.0, 10.0, 14.0)
