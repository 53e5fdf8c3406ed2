"""Phantoms: the same bits in every box, truths that are true, and texts that mean what they say."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import bigseg
from bigseg.errors import ParameterError
from bigseg.grid import Box, Grid
from bigseg.storage.phantom import Phantom
from bigseg.storage.sources import phantom as module
from bigseg.storage.sources.opening import open_source, read_box
from bigseg.storage.sources.phantom_kinds import KINDS
from tests.memory import bytes_held

SHAPES = {3: (70, 84, 90), 2: (130, 110)}
FULL: dict[str, dict[str, Any]] = {
    "voids": {"size": 24, "smallest": 4, "canaliculi": 8, "width": 2.5},
    "lacunae": {"size": 16},
    "fibres": {"bundle": 50, "size": 8, "tilt": (0.2, -0.1)},
    "layers": {"size": 17, "length": 30},
    "grains": {"size": 15, "greys": (30, 90, 150)},
    "random": {},
}
"""Each kind with every part of it, small enough that a volume of 80 holds many objects."""
SCANNER = {"blur": 0.7, "noise": 5, "poisson": 2, "cupping": 0.2, "rings": 3, "bias": 0.1, "sample": 4}
ARTEFACTS = [{name: SCANNER[name]} for name in ("blur", "noise", "poisson", "cupping", "rings")] + [
    {"drift": 0.3},
    {"bias": 0.1, "sample": 2},
    SCANNER,
]


def make(kind: str, ndim: int = 3, **parameters: Any) -> Phantom:
    given = FULL[kind] | (SCANNER | parameters if kind != "random" else parameters)
    return bigseg.phantom(kind, SHAPES[ndim], seed=7, **given)


def whole(source: Any) -> np.ndarray:
    return source.read(Box.whole(source.spec.shape))


def joined(source: Any, side: int) -> np.ndarray:
    """The volume from blocks of a side, last block first."""
    shape = source.spec.shape
    out = np.empty(shape, source.spec.dtype)
    for block in reversed(list(Grid(shape, (side,) * len(shape)))):
        out[block.inner.slices] = source.read(block.inner)
    return out


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_any_size_hold_the_same_bits(kind: str, ndim: int) -> None:
    """Blocks of 32, 50 and 256, and odd ones, give the same image and truths, of a copy on a worker too."""
    phantom = make(kind, ndim)
    for shows in ("image", *phantom.kind.truths):
        source = phantom.showing(shows)
        once = whole(source)
        assert once.dtype == source.spec.dtype
        for side in (32, 50, 256, 17):
            assert joined(pickle.loads(pickle.dumps(source)), side).tobytes() == once.tobytes(), (shows, side)


@pytest.mark.parametrize("artefact", ARTEFACTS, ids=lambda item: "+".join(item))
def test_every_artefact_is_the_same_in_every_block(artefact: dict[str, float]) -> None:
    """One artefact at a time and all at once: blocks give the bits of the whole, in every dtype."""
    for dtype in ("uint8", "uint16", "float32"):
        source = bigseg.phantom("voids", (40, 46, 61), seed=3, dtype=dtype, **artefact)
        assert joined(source, 23).tobytes() == whole(source).tobytes()
        assert not np.array_equal(whole(source), whole(bigseg.phantom("voids", (40, 46, 61), seed=3, dtype=dtype)))


@pytest.mark.parametrize("along", ["y", "x"])
def test_fibres_along_other_axes_are_the_same_in_every_block(along: str) -> None:
    """Fibres along y and x are those along z with the axes changed, in any block."""
    source = bigseg.phantom("fibres", (60, 60, 60), along=along, bundle=40, noise=3).showing("instances")
    assert joined(source, 25).tobytes() == whole(source).tobytes()
    z = whole(bigseg.phantom("fibres", (60, 60, 60), bundle=40).showing("instances"))
    np.testing.assert_array_equal(np.moveaxis(whole(source), "zyx".index(along), 0), z)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"random"}))
def test_pieces_do_not_show(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box that is made in several pieces has the bits of one that is made at once."""
    phantom = make(kind)
    once = whole(phantom)
    monkeypatch.setattr(module, "PIECE", 50_000)
    assert whole(phantom).tobytes() == once.tobytes()


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"random", "layers"}))
def test_a_smaller_volume_is_a_part_of_a_larger_one(kind: str) -> None:
    """A phantom is endless: without what depends on the volume's middle, its corner is the same at any size."""
    given = FULL[kind] | {"blur": 1, "noise": 4}
    large, small = (bigseg.phantom(kind, n, seed=2, **given) for n in (60, 33))
    np.testing.assert_array_equal(whole(large)[:33, :33, :33], whole(small))


def test_the_bits_are_those_of_version_1() -> None:
    """The voxels of version 1 are known: whoever changes them raises VERSION, so that no run is mixed of two."""
    from bigseg.local.digest import digest

    found = {kind: digest(whole(make(kind)))[:8] for kind in KINDS}
    assert (module.VERSION, found) == (1, KNOWN)


KNOWN = {
    "voids": "5bf8061b",
    "lacunae": "04e77057",
    "fibres": "3d5b2638",
    "layers": "e6f1125d",
    "grains": "a5bad776",
    "random": "a629c39a",
}


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"random"}))
def test_the_clean_image_is_the_truth_in_grey(kind: str, ndim: int) -> None:
    """Without a scanner, a voxel's grey value is that of its class; the mask is all classes but 0."""
    source = bigseg.phantom(kind, SHAPES[ndim], seed=1, **FULL[kind])
    classes = source.classes.values
    assert set(np.unique(classes)) == set(range(len(source.kind.class_names())))
    np.testing.assert_array_equal(source.image.values, np.array(source.kind.class_greys())[classes])
    np.testing.assert_array_equal(source.mask.values, classes > 0)


def test_random_voxels_above_their_level_are_the_mask() -> None:
    """The mask of random voxels is what exceeds the level, in every dtype, and there are no instances."""
    for dtype, most in (("uint8", 255), ("uint16", 65535), ("float32", 1)):
        source = bigseg.phantom("random", 40, seed=5, dtype=dtype)
        np.testing.assert_array_equal(source.mask.values, source.image.values > np.dtype(dtype).type(0.8 * most))
        assert source.mask.values.mean() == pytest.approx(0.2, abs=0.01)
    with pytest.raises(ParameterError, match="no truth 'instances'"):
        source.showing("instances")


def test_voids_are_components_of_their_own() -> None:
    """Voids never touch: each instance is one component of 26 neighbours, and the other way round."""
    source = bigseg.phantom("voids", 150, seed=3, density=1.0, size=30, smallest=5)
    mask, ids = source.mask.values, source.instances.values
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    pairs = np.unique(np.stack([labels[mask], ids[mask].astype(np.int64)]), axis=1)
    assert count == pairs.shape[1] == len(np.unique(ids)) - 1 > 100
    assert np.array_equal(ids > 0, mask)


def test_voids_have_all_sizes() -> None:
    """Diameters reach from about the smallest to the greatest, most of them small."""
    source = bigseg.phantom("voids", 200, seed=5, size=40, smallest=6, elongation=1)
    volume = np.bincount(source.instances.values.ravel())[1:]
    diameter = np.cbrt(volume[volume > 0] * 6 / np.pi)
    assert diameter.max() > 33
    assert diameter.max() < 41
    assert np.quantile(diameter, 0.1) < 9
    assert np.median(diameter) < 15
    assert 0.05 < source.mask.values.mean() < 0.2


def test_canaliculi_join_lacunae() -> None:
    """Nearly all lacunae hang together by canaliculi, and none without."""
    source = bigseg.phantom("lacunae", 128, seed=1)
    classes = source.classes.values
    labels, _ = ndimage.label(classes > 0, np.ones((3, 3, 3)))
    network = np.bincount(labels.ravel())[1:].max()
    assert network > 0.9 * (classes > 0).sum()
    alone, count = ndimage.label(classes == 1, np.ones((3, 3, 3)))
    assert count > 50
    assert np.bincount(alone.ravel())[1:].max() < 0.1 * (classes == 1).sum()
    assert (classes == 2).any()
    np.testing.assert_array_equal(source.instances.values > 0, classes == 1)


def test_fibres_run_through_and_do_not_touch() -> None:
    """Every fibre is a component of its own in a plane, round, and found again in the next planes."""
    source = bigseg.phantom("fibres", (60, 200, 200), seed=1)
    ids = source.instances.values
    inner = set(np.unique(ids[:, 20:180, 20:180])) - {0}
    assert len(inner) > 40
    for number in list(inner)[:12]:
        areas = (ids == number).sum((1, 2))
        assert (areas[areas > 0] <= np.pi * 5.6**2).all()
    _, count = ndimage.label(ids[30] > 0, np.ones((3, 3)))
    assert count == len(np.unique(ids[30])) - 1
    middles = [np.array(ndimage.center_of_mass(ids[z] == max(inner, key=lambda n: (ids == n).sum()))) for z in (0, 59)]
    assert 0 < np.abs(middles[1] - middles[0]).max() < 12


def test_layers_lie_on_each_other() -> None:
    """Along z, layer numbers rise by one at a time; classes repeat in order; thicknesses are as told."""
    source = bigseg.phantom("layers", (150, 60, 70), seed=4, size=20)
    ids, classes = source.instances.values.astype(int), source.classes.values
    steps = np.diff(ids, axis=0)
    assert set(np.unique(steps)) == {0, 1}
    assert ids.min() >= 1
    assert len(np.unique((ids - classes) % 4)) == 1
    assert steps.sum(0).mean() == pytest.approx(149 / 20, rel=0.1)


def test_grains_are_packed_and_touch() -> None:
    """Grains form one component, have many touching neighbours each, and about one is in every cell."""
    source = bigseg.phantom("grains", 120, seed=2, size=20)
    ids = source.instances.values
    labels, _ = ndimage.label(ids > 0)
    assert np.bincount(labels.ravel())[1:].max() > 0.99 * (ids > 0).sum()
    assert 0.6 < (ids > 0).mean() < 0.95
    names = np.unique(ids)[1:]
    assert len(names) == pytest.approx(120**3 / (0.8 * 20**3) * 1.45, rel=0.25)  # with those that the faces cut
    pairs = set()
    for axis in range(3):
        a, b = np.moveaxis(ids, axis, 0)[:-1], np.moveaxis(ids, axis, 0)[1:]
        there = (a != b) & (a > 0) & (b > 0)
        pairs |= set(zip(np.minimum(a, b)[there].tolist(), np.maximum(a, b)[there].tolist(), strict=True))
    assert 2 * len(pairs) / len(names) > 5
    pieces = sum(ndimage.label(ids == name)[1] for name in names[:40])
    assert pieces <= 42


def test_noise_is_that_of_the_parameter() -> None:
    """The image minus the clean image has mean 0 and the deviation that was asked for."""
    clean = bigseg.phantom("grains", 64, seed=1).image.values.astype(float)
    noisy = bigseg.phantom("grains", 64, seed=1, noise=6).image.values - clean
    assert noisy.mean() == pytest.approx(0, abs=0.05)
    assert noisy.std() == pytest.approx(6, rel=0.01)


def test_blur_is_a_gaussian_of_the_truth() -> None:
    """The blurred image is scipy's gaussian of the clean one, away from the faces where a crop is mirrored."""
    given = {"seed": 1, "dtype": "float32"}
    clean = bigseg.phantom("voids", 60, **given).image.values
    found = bigseg.phantom("voids", 60, blur=1.5, **given).image.values
    wanted = ndimage.gaussian_filter(clean, 1.5)
    inner = (slice(8, -8),) * 3
    np.testing.assert_allclose(found[inner], wanted[inner], atol=1e-3)


def test_samples_differ_in_light_and_noise_only() -> None:
    """Samples of one seed have the same truth, other noise, and with bias another gain and offset."""
    means = []
    for sample in range(6):
        source = bigseg.phantom("voids", 40, seed=1, bias=0.3, noise=2, sample=sample)
        means.append(source.image.values.mean())
        np.testing.assert_array_equal(source.mask.values, bigseg.phantom("voids", 40, seed=1).mask.values)
    assert np.std(means) > 5
    plain = [bigseg.phantom("voids", 40, seed=1, noise=2, sample=k).image.values for k in (0, 1)]
    assert plain[0].mean() == pytest.approx(plain[1].mean(), abs=0.1)
    assert (plain[0] != plain[1]).mean() > 0.7


def test_seeds_give_other_objects() -> None:
    """Another seed, another phantom: masks overlap no more than by chance."""
    a, b = (bigseg.phantom("voids", 100, seed=seed).mask.values for seed in (1, 2))
    assert (a & b).mean() < 3 * a.mean() * b.mean()


def test_texts_mean_what_calls_mean() -> None:
    """A phantom's path opens the same phantom: voxels, token and voxel size."""
    for kind in KINDS:
        made = make(kind, dtype="uint8", spacing="0.65 um").showing("mask")
        again = open_source(made.path)
        assert again.token() == made.token()
        assert again.spec == made.spec
        box = Box((1, 2, 3), (20, 21, 22))
        np.testing.assert_array_equal(read_box(again, box), made.read(box))
    source = open_source("phantom:grains,shape=8x9x10,greys=1/2/3,noise=2")
    assert source.spec.shape == (8, 9, 10)
    assert source.kind.greys == (1, 2, 3)
    assert open_source(source.path, spacing="2 um").spec.unit == "micrometer"


def test_tokens_tell_phantoms_apart() -> None:
    """Any parameter, the shape, the dtype and what is shown change the token; the voxel size does not."""
    base = "phantom:voids,shape=64,seed=1"
    others = ("phantom:voids,shape=65,seed=1", "phantom:lacunae,shape=64,seed=1")
    changes = (",noise=1", ",dtype=uint8", ",truth=mask", ",blur=1", ",sample=1", ",size=41")
    texts = (base, *others, *(base + item for item in changes))
    assert len({open_source(text).token() for text in texts}) == len(texts)
    assert open_source(base + ",spacing=2 um").token() == open_source(base).token()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("phantom:viods,shape=64", "did you mean 'voids'"),
        ("phantom:voids,shape=64,nois=3", "did you mean 'noise'"),
        ("phantom:voids,seed=3", "which shape"),
        ("phantom:voids,shape=64,noise", "found 'noise'"),
        ("phantom:voids,shape=64,seed=1,seed=2", "each name once"),
        ("phantom:voids,shape=64x0", "expected 1 to 3 sides"),
        ("phantom:voids,shape=1x2x3x4", "expected 1 to 3 sides"),
        ("phantom:voids,shape=64,noise=much", "noise: Input should be a valid number"),
        ("phantom:voids,shape=64,blur=-1", "blur: Input should be greater than or equal to 0"),
        ("phantom:voids,shape=64,greys=1", "greys: expected 2 to 3 values"),
        ("phantom:voids,shape=64,size=5,smallest=9", "smallest: expected at most size"),
        ("phantom:voids,shape=64,dtype=int16", "expected uint8, uint16, float32"),
        ("phantom:voids,shape=64,truth=image2", "no truth"),
        ("phantom:voids,shape=64x64,drift=0.1", "drift is along z"),
        ("phantom:random,shape=64,noise=3", "unknown parameter of phantom random"),
    ],
)
def test_what_cannot_be_is_refused(text: str, said: str) -> None:
    """Unknown kinds, names and values are refused in one line with the nearest name."""
    with pytest.raises(ParameterError, match=said) as found:
        open_source(text)
    assert "\n" not in str(found.value)


def test_no_parameter_has_the_name_of_a_common_one() -> None:
    """What kinds call their parameters never hides the shape, voxel size, dtype or truth."""
    common = {"shape", "dtype", "spacing", "unit", "truth", "kind"}
    for kind in KINDS.values():
        assert not common & kind.model_fields.keys()


def test_zarr_options_are_refused() -> None:
    """A phantom has no levels, channels or missing chunks."""
    for options in ({"level": 1}, {"missing": "fill"}, {"channel": 0}):
        with pytest.raises(ParameterError):
            open_source("phantom:voids,shape=64", **options)


def test_arrays_are_lazy() -> None:
    """A phantom of a petabyte is made at once, and a voxel of it read from a small box."""
    huge = bigseg.phantom("grains", 100_000, noise=3, spacing="0.5 um")
    assert huge.image.nbytes == 2e15
    corner = huge.image[99_990:99_999, 5, 70_000:70_020]
    assert corner.shape == (9, 20)
    assert huge.instances.dtype == np.uint64
    assert huge.image.attrs["unit"] == "micrometer"
    box = Box((99_990, 40_000, 1), (100_000, 40_030, 40))
    assert (huge.showing("instances").read(box) > 2**33).any()


def test_memory_is_bounded() -> None:
    """What a box holds beside the result is what is stated, for one and for many pieces."""
    for side in (60, 160):
        source = bigseg.phantom("voids", side, blur=1, noise=4)
        made, most = bytes_held(whole, source)
        peak = most
        stated = source.memory(made.shape)
        assert 0.75 * stated < peak <= stated + made.nbytes
