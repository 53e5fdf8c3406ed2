"""Joining blocks: components of the pieces, joined by their faces, are the components of the whole."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label as skimage_label

from bigseg.errors import ParameterError
from bigseg.local.components.bitmask import different
from bigseg.local.components.block import label, label_equal
from bigseg.local.components.faces import directions, join_planes, join_shells, shell_of
from bigseg.local.components.paint import paint, shell
from bigseg.local.components.table import first_voxels
from bigseg.local.components.unionfind import number_groups, union_pairs
from tests.local.masks import cuts, in_raster_order, masks


def joined(x: np.ndarray, places: tuple, connectivity: int, multi: bool) -> np.ndarray:
    """Label every block alone, join them by their shells, and number the result by first voxels."""
    volume = x.reshape((1, *x.shape)[-3:])
    places = ((0, 1), *places)[-3:]
    blocks, total = {}, 0
    index = np.arange(volume.size).reshape(volume.shape)
    first = []
    for position in product(*(range(len(place) - 1) for place in places)):
        box = tuple(slice(place[p], place[p + 1]) for place, p in zip(places, position, strict=True))
        part = volume[box]
        found = label_equal(part, connectivity) if multi else label(different(part), connectivity)
        blocks[position] = found, total, box, shell(found), shell_of(part)
        first.append(index[box].reshape(-1)[first_voxels(found)])
        total += found.n
    pairs = [np.empty((0, 2), np.int64)]
    for position, (_, offset, _, mine, values) in blocks.items():
        for step in directions(connectivity):
            there = blocks.get(tuple(p + s for p, s in zip(position, step, strict=True)))
            if there is not None:
                both = (values, there[4]) if multi else None
                found_pairs = join_shells(mine, there[3], step, connectivity, both)
                back = join_shells(there[3], mine, tuple(-s for s in step), connectivity, both and (both[1], both[0]))
                assert union_of(found_pairs, total) == union_of(back[:, ::-1], total)
                pairs.append(found_pairs - 1 + np.array([offset, there[1]]))
    order = np.argsort(np.concatenate(first), kind="stable")
    rank = np.empty(total, np.int64)
    rank[order] = np.arange(total)
    group, _ = number_groups(union_pairs(total, rank[np.concatenate(pairs)]))
    out = np.zeros(volume.shape, np.uint32)
    for found, offset, box, _, _ in blocks.values():
        final = group[rank[offset : offset + found.n]] + 1
        paint(found, np.concatenate(([0], final)).astype(np.uint32), out[box])
    return out.reshape(x.shape)


def union_of(pairs: np.ndarray, n: int) -> list:
    """The sets that pairs of two blocks make, in a form that compares."""
    apart = pairs + np.array([0, n + 1])
    return union_pairs(2 * n + 2, apart).tolist()


@given(st.data(), masks(), st.sampled_from((1, 2, 3)))
def test_joined_blocks_are_the_whole(data, mask, connectivity):
    """Any cut of a mask into blocks, joined, equals scipy's labels of the whole, numbers included."""
    structure = ndimage.generate_binary_structure(mask.ndim, min(connectivity, mask.ndim))
    places = data.draw(cuts(mask.shape))
    assert np.array_equal(joined(mask, places, connectivity, False), ndimage.label(mask, structure)[0])


@given(st.data(), masks(), st.sampled_from((1, 2, 3)))
def test_joined_blocks_of_equal_values(data, mask, connectivity):
    """The same for multi-valued labels, against skimage."""
    values = (np.random.default_rng(mask.sum()).integers(0, 3, mask.shape) * mask).astype(np.uint8)
    theirs = skimage_label(values, background=0, connectivity=min(connectivity, mask.ndim))
    places = data.draw(cuts(mask.shape))
    assert np.array_equal(joined(values, places, connectivity, True), in_raster_order(theirs))


@pytest.mark.parametrize(("offsets", "expected"), [(0, 1), (1, 5), (2, 9)])
def test_reach_in_the_plane(offsets, expected):
    """A voxel meets 1, 5 or 9 voxels across a face."""
    a = np.zeros((5, 5), np.uint32)
    a[1:4, 1:4] = np.arange(1, 10).reshape(3, 3)
    b = np.zeros((5, 5), np.uint32)
    b[2, 2] = 7
    values = np.ones((5, 5), np.uint8)  # with values every voxel may be a component of its own
    pairs = join_planes(a, b, offsets, (values, values))
    assert len(pairs) == expected
    assert (pairs[:, 1] == 7).all()


def test_pairs_are_unique_and_sorted():
    """Each touching pair comes once, in the order of the first block's numbers."""
    rng = np.random.default_rng(8)
    a, b = (np.repeat(rng.integers(0, 9, (20, 10)), 4, axis=1).astype(np.uint32) for _ in range(2))
    pairs = join_planes(a, b, 0)
    expected = np.unique(np.stack((a, b), -1)[(a > 0) & (b > 0)], axis=0)
    assert np.array_equal(pairs, expected)


def test_directions_cover_every_neighbour_once():
    """With their opposites the directions are all steps that the connectivity allows."""
    for connectivity in (1, 2, 3):
        steps = directions(connectivity)
        both = set(steps) | {(-z, -y, -x) for z, y, x in steps}
        allowed = {s for s in product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, s)) <= connectivity}
        assert both == allowed
        assert len(both) == 2 * len(steps)


def test_refusals():
    """Faces that do not fit, and steps to nowhere, are refused."""
    one = shell_of(np.ones((2, 3, 4), np.uint32))
    with pytest.raises(ParameterError, match="do not fit"):
        join_planes(np.zeros((2, 3), np.uint32), np.zeros((3, 2), np.uint32), 0)
    with pytest.raises(ParameterError, match="one dtype"):
        join_planes(one.z[0], one.z[1], 0, (np.zeros((3, 4), "u1"), np.zeros((3, 4), "u2")))
    with pytest.raises(ParameterError, match=r"\(0, 0, 0\)"):
        join_shells(one, one, (0, 0, 0), 1)
    with pytest.raises(ParameterError, match="expected 1, 2 or 3"):
        directions(4)
    assert join_shells(one, one, (1, 1, 0), 1).shape == (0, 2)
