"""The recipes that come with bigseg do what their comments say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from scipy import ndimage
from skimage import filters, morphology

import bigseg
from bigseg.demo import Spheres, find_sample
from bigseg.grid import Box
from bigseg.pipeline.recipes import recipes
from bigseg.storage.volume import Volume

SMALLEST = 50


@pytest.mark.parametrize("block", [(64, 64), (250, 350), (37, 101)])
def test_canaliculi_equals_the_course(data: Path, tmp_path: Path, block: tuple[int, int]) -> None:
    """canaliculi.yaml equals hysteresis, removal of small objects and labelling of the whole slice, bit for bit."""
    path = data / "lecture" / "bonegfiltslice.png"
    pixels = bigseg.open_volume(path).values
    assert pixels.dtype == np.uint8
    # scikit-image knows bright objects only: strictly below 70 and 110 is strictly above -70 and -110
    mask = filters.apply_hysteresis_threshold(-pixels.astype(float), -110, -70)
    clean = morphology.remove_small_objects(mask, max_size=SMALLEST - 1)
    labels, count = ndimage.label(clean)

    run = bigseg.Pipeline.load("canaliculi").run(path, tmp_path / "run", workers=0, block=block, report=False)

    assert 10 < count < 1000  # the slice is neither empty nor noise
    assert mask.sum() > clean.sum()  # small objects were there to be removed
    np.testing.assert_array_equal(run.outputs["canaliculi"].values, mask)
    np.testing.assert_array_equal(run.outputs["clean"].values, clean)
    np.testing.assert_array_equal(run.outputs["objects"].values, labels)
    table = run.tables["regions"]
    np.testing.assert_array_equal(table["num_pixels"], np.bincount(labels.ravel())[1:])
    np.testing.assert_array_equal(table["intensity_min"], ndimage.minimum(pixels, labels, range(1, count + 1)))


@pytest.mark.parametrize("block", [(64, 100), (191, 384)])
def test_page_text_equals_the_course(tmp_path: Path, block: tuple[int, int]) -> None:
    """page_text.yaml equals the median of disk(1) minus the gaussian of sigma 20, thresholded."""
    page = skimage.data.page()
    np.save(tmp_path / "page.npy", page)
    clean = ndimage.median_filter(page, footprint=morphology.disk(1).astype(bool)).astype(np.float32)
    ink = clean - ndimage.gaussian_filter(clean, 20.0) < -15
    letters = morphology.remove_small_objects(ink, max_size=3, connectivity=2)
    one_threshold = page < filters.threshold_otsu(page)
    assert one_threshold.mean() > 2 * letters.mean()  # the shade counts as ink under one threshold

    run = bigseg.Pipeline.load("page_text").run(
        tmp_path / "page.npy", tmp_path / "run", workers=0, block=block, report=False
    )

    np.testing.assert_array_equal(run.outputs["letters"].values, letters)


def test_three_phases_have_no_skin(tmp_path: Path) -> None:
    """three_phases.yaml gives each voxel of a blurred scene its phase; plain thresholds make a skin."""
    y, x = np.mgrid[:256, :256]
    bright = (y % 64 - 32) ** 2 + (x % 64 - 32) ** 2 < 18**2
    phases = np.where(bright, 2, np.where(y > 170, 1, 0))
    scene = ndimage.gaussian_filter(np.array([40, 120, 200], np.float32)[phases], 2.0)
    np.save(tmp_path / "rock.npy", np.rint(scene).astype(np.uint8))

    run = bigseg.Pipeline.load("three_phases").run(
        tmp_path / "rock.npy", tmp_path / "run", workers=0, block=(64, 100), report=False
    )

    plain = np.digitize(scene, [run.values["levels"]["multi_otsu_1"], run.values["levels"]["multi_otsu_2"]])
    found = run.outputs["phases"].values
    assert np.mean(plain != phases) > 0.04
    assert np.mean(found != phases) < 0.015


def test_voids_finds_every_sphere(tmp_path: Path) -> None:
    """voids.yaml finds exactly the spheres that were put into noise, by thresholds from the data."""
    spheres = Spheres((64, 64, 96))
    run = bigseg.Pipeline.load("voids").run(spheres, tmp_path / "run", workers=0, block=(32, 64, 40), report=False)
    table = run.tables["regions"]
    assert len(table) == spheres.count == 12
    labels = run.outputs["objects"].values
    voxels = spheres.read(Box.whole(spheres.shape))
    assert voxels[labels > 0].max() < spheres.bright - spheres.noise


def test_voids_of_cement_are_those_of_scikit_image(tmp_path: Path) -> None:
    """On the demo's sample voids.yaml equals the same steps of scikit-image and scipy on the whole array: 641 voids."""
    path = find_sample()
    if path is None:
        pytest.skip("no sample: pip install --no-deps --target DIR qim3d==1.5.3, then set BIGSEG_SAMPLES=DIR")
    smooth = bigseg.gaussian(bigseg.open_volume(path).values, sigma=1.0)
    core, edge = (np.float32(filters.threshold_multiotsu(smooth, classes)[0]) for classes in (4, 3))
    mask = filters.apply_hysteresis_threshold(-smooth, -edge, -core)
    labels, count = ndimage.label(morphology.remove_small_objects(mask, max_size=26))
    run = bigseg.Pipeline.load("voids").run(path, tmp_path / "run", workers=0, block=(64,), report=False)
    np.testing.assert_array_equal(run.outputs["objects"].values, labels)
    assert len(run.tables["regions"]) == count == 641


@pytest.mark.parametrize("name", sorted(recipes()))
def test_recipes_are_valid(name: str) -> None:
    """Every recipe loads by its name, and is what it is saved as."""
    pipeline = bigseg.Pipeline.load(name)
    assert bigseg.Pipeline.from_dict(pipeline.as_dict()).as_dict() == pipeline.as_dict()
    assert Path(recipes()[name]).read_text().startswith("#")


def test_unknown_recipe_names_the_nearest() -> None:
    """A recipe that does not exist is refused with the nearest name."""
    with pytest.raises(bigseg.BigsegError, match="did you mean 'voids'"):
        bigseg.Pipeline.load("viods")


def test_recipes_are_found_from_a_checkout_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pipelines/voids.yaml means the recipe where no such file lies, as in an installed package."""
    monkeypatch.chdir(tmp_path)
    assert bigseg.Pipeline.load("pipelines/voids.yaml").as_dict() == bigseg.Pipeline.load("voids").as_dict()


def test_saved_steps_are_masks_and_labels(data: Path, tmp_path: Path) -> None:
    """What the recipe saves are masks and labels that other programs open as such."""
    path = data / "lecture" / "bonegfiltslice.png"
    bigseg.Pipeline.load("canaliculi").run(path, tmp_path / "run", workers=0, report=False)
    kinds = {name: Volume.open(tmp_path / "run" / f"{name}.ome.zarr").spec.kind for name in ("clean", "objects")}
    assert kinds == {"clean": "mask", "objects": "labels"}


@pytest.fixture(scope="module")
def bone(data: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A real volume, the components of its dark voxels as cc3d labels them, and their sizes."""
    import cc3d

    path = data / "volumes" / "bone_7H6A_B2.tif"
    dark = bigseg.open_volume(path).values < 64
    labels, count = cc3d.connected_components(dark.astype(np.uint8), connectivity=26, return_N=True)
    sizes = np.bincount(labels.ravel())[1:]
    assert len(sizes) == count
    return path, labels, sizes


@pytest.mark.parametrize("block", [(128, 128, 128), (77, 500, 101)])
def test_lacunae_of_real_bone_equal_cc3d(
    bone: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path, block: tuple[int, int, int]
) -> None:
    """lacunae.yaml finds the components of the dark voxels: number, labels and volumes are those of cc3d."""
    path, labels, sizes = bone

    run = bigseg.Pipeline.load("lacunae").run(path, tmp_path / "run", workers=0, block=block, report=False)

    everything = bigseg.tune(run.path, {"lacunae.min_size": 1}).steps
    assert everything["objects"].objects == everything["lacunae"].objects == len(sizes)
    found = everything["objects"]
    np.testing.assert_array_equal(np.repeat(found.sizes, found.counts), np.sort(sizes))
    table = run.tables["regions"]
    kept = run.outputs["lacunae"].values
    assert sorted(table["num_pixels"]) == sorted(sizes[sizes >= 500])
    large = np.concatenate([[0], sizes])[labels] >= 500
    np.testing.assert_array_equal(kept > 0, large)
    first = np.unique(kept[large], return_index=True)[1]  # sorting the background too would take longer than the run
    np.testing.assert_array_equal(sizes[labels[large][first] - 1], table["num_pixels"])
