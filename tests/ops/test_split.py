"""Splitting: any heights, blocks and h give the flood of the whole array; grains are found; passes check each other."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import adapted_rand_error
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

import bigseg
from bigseg.errors import ExactnessError, ParameterError
from bigseg.grid import Box, Grid
from bigseg.local.basins.drainage import drain
from bigseg.local.basins.flow import flow, pointers
from bigseg.ops.components.basins import Part, gather, join, part_of
from bigseg.ops.distance import DistanceTransform
from bigseg.ops.split import Split
from bigseg.pipeline.pipeline import Pipeline
from bigseg.storage.spec import Spec
from tests.ops.cases.split import drained, split
from tests.volumes import store

Sides = tuple[int, ...]


def by_blocks(high: NDArray[np.uint16], block: Sides, least: float, connectivity: int) -> tuple[NDArray, Part]:
    """The labels of heights by way of blocks, and the part that they end in."""
    grid = Grid(high.shape, block)
    parts: dict[int, Part] = {}
    labels: dict[int, NDArray] = {}
    for each in grid:
        outer = each.inner.grow((1,) * high.ndim, high.shape)
        code = flow(high[outer.slices], each.inner.within(outer), connectivity)
        found = drain(pointers(code), code, high[each.inner.slices])
        parts[each.number] = part_of(found, each.inner, high.shape)
        labels[each.number] = found.labels.reshape(each.inner.shape)

    def leaf(position: tuple[int, ...]) -> tuple[int, Part]:
        number = grid.at(position).number
        return number, parts[number]

    part, maps = gather(Box.whole(grid.counts), leaf, high.shape, least)
    ids = np.empty(part.trees, np.uint32)
    ids[np.argsort(part.first)] = np.arange(1, part.trees + 1)
    out = np.zeros(high.shape, np.uint32)
    for each in grid:
        table = np.concatenate([np.zeros(1, np.uint32), ids[maps[each.number]]])
        out[each.inner.slices] = table[labels[each.number]]
    return out, part


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_heights_and_blocks_give_the_flood_of_the_whole(data: st.DataObject) -> None:
    """Plateaus, noise and smooth hills, cut into any blocks, joined part by part: as voxel by voxel on the whole."""
    ndim = data.draw(st.integers(2, 3))
    shape = tuple(data.draw(st.integers(1, 14 if ndim == 2 else 8)) for _ in range(ndim))
    block = tuple(data.draw(st.integers(1, n)) for n in shape)
    levels = data.draw(st.sampled_from([1, 2, 5, 60000]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    values = ndimage.gaussian_filter(rng.random(shape), data.draw(st.sampled_from([0, 0.6, 1.2])))
    values = (values - values.min()) / (np.ptp(values) or 1)
    high = np.minimum(values * (levels + data.draw(st.integers(0, 1))), levels).astype(np.uint16)
    connectivity = data.draw(st.integers(1, ndim))
    least = data.draw(st.sampled_from([0.0, 0.5, 1.5, levels / 8, levels / 3, 2.0 * levels]))
    found, part = by_blocks(high, block, least, connectivity)
    np.testing.assert_array_equal(found, drained(high, least, connectivity))
    assert part.height.all()
    assert not len(part.saddles.pairs)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 2.0])
def test_many_basins_settle_alike_in_parts(sigma: float) -> None:
    """Thousands of basins, most of them settled before all blocks are joined: as in one block."""
    for seed in range(4):
        values = ndimage.gaussian_filter(np.random.default_rng(seed).random((40, 41, 42)), sigma)
        high = np.rint(1 + 60000 * (values - values.min()) / np.ptp(values)).astype(np.uint16)
        high[ndimage.gaussian_filter(values, 2) < np.quantile(values, 0.3)] = 0
        for least in (2000.0, 10000.0, 30000.0):
            wanted, _ = by_blocks(high, high.shape, least, 3)
            for block in ((10, 41, 42), (11, 9, 14), (40, 7, 20)):
                np.testing.assert_array_equal(by_blocks(high, block, least, 3)[0], wanted, err_msg=f"{seed} {block}")


def test_parts_keep_only_what_is_open() -> None:
    """Of noise with thousands of peaks a part keeps those that stay, and the trees on its surface."""
    high = (1 + 60000 * np.random.default_rng(3).random((48, 48, 48))).astype(np.uint16)
    code = flow(high, tuple(slice(0, n) for n in high.shape), 3)
    half = drain(pointers(code[:24]), code[:24], high[:24])
    part = part_of(half, Box((0, 0, 0), (24, 48, 48)), high.shape)
    kept, _ = gather(Box((0, 0, 0), (1, 1, 1)), lambda position: (0, part), high.shape, 70000.0)
    assert part.trees > 1500
    on_face = len(np.unique(part.faces[0, 1])) - 1
    assert kept.trees <= on_face + np.count_nonzero(part.height == 0) + 1


def test_no_task_holds_all_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no join can change stays where it lies: the last one is given the objects in the middle of the volume."""
    mask = np.zeros((32, 32, 32), np.uint8)
    mask[::2, ::2, ::2] = 1
    given: list[int] = []
    read = Part.read.__func__  # type: ignore[attr-defined]

    def counted(*arguments: Any) -> Part:
        part: Part = read(*arguments)
        given.append(part.trees)
        return part

    monkeypatch.setattr(Part, "read", classmethod(counted))
    volume = store(tmp_path / "volume.zarr", mask)
    run = Pipeline([Split(max_distance=3)]).run(volume, tmp_path / "run", block=(8,) * 3, workers=0, report=False)
    assert int(np.asarray(run.outputs["split"]).max()) == 16**3
    assert len(given) == 64 + 8
    assert 0 < sum(given[-8:]) <= 3 * 16**2


def test_a_tree_that_leads_into_background_is_an_error() -> None:
    """Blocks that disagree on the foreground are found out when they are joined."""
    high = np.array([[1, 2, 3, 4, 5, 6]], np.uint16)
    code = flow(high, (slice(0, 1), slice(0, 6)), 1)
    low = part_of(drain(pointers(code[:, :3]), code[:, :3], high[:, :3]), Box((0, 0), (1, 3)), (1, 6))
    gone = np.zeros_like(code[:, 3:])
    other = part_of(drain(pointers(gone), gone, high[:, 3:]), Box((0, 3), (1, 6)), (1, 6))
    with pytest.raises(ExactnessError, match="disagree"):
        join(low, other, 1, (1, 6))


def pack(side: int, **parameters: Any) -> tuple[NDArray, NDArray]:
    """Whole grains of a pack, those of one component: mask and truth."""
    truth = np.asarray(bigseg.phantom("grains", side, seed=2, **parameters).instances).astype(np.uint32)
    edge = np.unique([truth.take(end, axis) for axis in range(3) for end in (0, -1)])
    truth[np.isin(truth, edge)] = 0
    component = cc3d.connected_components(truth > 0, connectivity=6)
    truth[component != np.argmax(np.bincount(component[component > 0]))] = 0
    return truth > 0, truth


def test_packed_grains_are_found() -> None:
    """One component of touching grains: 98 to 102 % of them are found, with an adapted Rand error of 0.02 at most."""
    mask, truth = pack(112, size=16, packing=0.48, jitter=0.1, elongation=1.2)
    grains = len(np.unique(truth)) - 1
    assert grains > 200
    found = bigseg.split(mask, max_distance=12)
    assert 0.98 * grains <= found.max() <= 1.02 * grains
    assert adapted_rand_error(truth, found)[0] <= 0.02


@pytest.mark.parametrize("connectivity", [1, 3])
def test_is_the_watershed_from_h_maxima(connectivity: int) -> None:
    """scikit-image's h-maxima and watershed part a pack of grains as split does, but for few voxels."""
    mask, _ = pack(72, size=16, packing=0.5)
    distance = np.minimum(ndimage.distance_transform_edt(mask), 12).astype(np.float32)
    smooth = ndimage.gaussian_filter(distance, 1)
    markers = ndimage.label(h_maxima(smooth, 0.5), np.ones((3, 3, 3)))[0]
    wanted = watershed(-smooth, markers, mask=mask, connectivity=connectivity)
    found = bigseg.split(mask, max_distance=12, connectivity=connectivity)
    assert abs(int(found.max()) - int(wanted.max())) <= 0.02 * wanted.max()
    assert adapted_rand_error(wanted, found)[0] <= 0.02


def test_units_are_those_of_the_volume() -> None:
    """With a unit, distances, h and sigma are physical; in voxels of equal sides both say the same."""
    mask, _ = pack(48, size=16, packing=0.5)
    with_spacing = xr.DataArray(mask, dims=("z", "y", "x"), attrs={"spacing": (0.5,) * 3, "unit": "micrometer"})
    wanted = bigseg.split(mask, max_distance=12, h=0.5)
    for parameters in (
        {"max_distance": "6 um", "h": "0.25 um", "sigma": "500 nm"},
        {"max_distance": "6 um", "h": 0.5},
        {"max_distance": 12, "h": "0.25 um"},
    ):
        np.testing.assert_array_equal(bigseg.split(with_spacing, **parameters), wanted)


def test_distances_have_the_unit_of_the_spacing() -> None:
    """In voxels every side counts as 1; with a unit sides count as they are."""
    spec = Spec((3, 9), np.dtype(bool), ("y", "x"), (2.0, 0.5), "micrometer", "mask")
    mask = np.ones((3, 9), bool)
    mask[1, 0] = False
    whole = (slice(0, 3), slice(0, 9))
    physical, plain = DistanceTransform(max_distance="3 um"), DistanceTransform(max_distance=3)
    assert physical.depth(spec) == (1, 6)
    assert plain.depth(spec) == (3, 3)
    assert physical.compute(mask, whole, spec)[1].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3, 3]
    assert physical.compute(mask, whole, spec)[0, 0] == 2
    assert plain.compute(mask, whole, spec)[0, :5].tolist() == pytest.approx([1, 2**0.5, 5**0.5, 3, 3])
    assert physical.output(spec).bounds == (0.0, 3.0)


def test_bad_parameters_are_refused() -> None:
    """What does not fit says what was expected."""
    mask = np.ones((6, 6), bool)
    for parameters in ({"max_distance": 0}, {"max_distance": "5 um"}, {"h": -1}, {"h": "1 um"}, {"connectivity": 3}):
        with pytest.raises(ParameterError):
            bigseg.split(mask, **parameters)
    spec = Spec((6, 6), np.dtype(bool), ("y", "x"), (2.0, 1.0), "micrometer", "mask")
    with pytest.raises(ParameterError, match="unequal sides"):
        Split(h="1 um").rise(spec)
    assert Split(max_distance="9 um", h=2).rise(spec) == 2.0


def test_another_input_in_the_second_pass_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that finds other trees than pass 1 did stops the run."""
    mask, _ = pack(40, size=16, packing=0.5)
    volume = store(tmp_path / "volume.zarr", mask.astype(np.uint8))
    honest = drain

    def other(lead: NDArray, *more: NDArray) -> Any:
        return honest(lead if more else np.where(lead > 14, np.uint8(14), lead), *more)

    monkeypatch.setattr("bigseg.local.basins.drainage.drain", other)
    with pytest.raises(ExactnessError, match="this pass finds"):
        Pipeline([Split(max_distance=8)]).run(volume, tmp_path / "run", block=(24,) * 3, workers=0, report=False)


def test_no_foreground_and_one_voxel(tmp_path: Path) -> None:
    """An empty mask has no objects, a voxel is one, a full volume is one."""
    empty = np.zeros((5, 6, 7), np.uint8)
    one = empty.copy()
    one[2, 3, 4] = 1
    for number, (array, objects) in enumerate(((empty, 0), (one, 1), (empty + 1, 1))):
        volume = store(tmp_path / f"{number}.zarr", array)
        for block in ((2, 3, 7), (5, 6, 7)):
            out = tmp_path / f"run-{number}-{block[0]}"
            run = Pipeline([Split(max_distance=3)]).run(volume, out, block=block, workers=0, report=False)
            found = np.asarray(run.outputs["split"])
            assert found.max() == objects
            np.testing.assert_array_equal(found > 0, array > 0)


def test_regions_measures_what_split_found() -> None:
    """The labels are a volume like any other, equal to the whole array's, and every object has a row."""
    mask, _ = pack(48, size=16, packing=0.5)
    found = bigseg.split(mask, max_distance=8)
    table = bigseg.regions(found)
    assert table["num_pixels"].tolist() == np.bincount(found.ravel())[1:].tolist()
    np.testing.assert_array_equal(found, split(mask, 8))


def test_only_pointers_are_stored_between_the_passes(tmp_path: Path) -> None:
    """What leads to the pointers is computed once, and a byte a voxel is kept of it."""
    volume = store(tmp_path / "volume.zarr", np.ones((20, 20), np.uint8))
    run = Pipeline([Split()]).run(volume, tmp_path / "run", block=(10, 10), workers=0, report=False)
    assert [name for name, _ in run.record["stored"]] == ["split", "split.pointers"]


def test_every_direction_of_blocks_is_joined() -> None:
    """Ridges that run through faces, edges and corners of blocks, with each connectivity."""
    for connectivity, direction in product((1, 2, 3), product((-1, 0, 1), repeat=3)):
        if not 0 < sum(map(abs, direction)) <= connectivity:
            continue
        high = np.zeros((9, 9, 9), np.uint16)
        for step in range(-4, 5):
            high[tuple(4 + step * d for d in direction)] = 100 + step
        found, _ = by_blocks(high, (3, 3, 3), 0.0, connectivity)
        assert found.max() == 1, (connectivity, direction)
