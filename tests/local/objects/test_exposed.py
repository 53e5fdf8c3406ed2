"""Exposed voxels, surfaces and Euler numbers against definitions and scikit-image."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage import measure

from bigseg.errors import ParameterError
from bigseg.local.components.bitmask import different
from bigseg.local.components.block import label, label_equal
from bigseg.local.objects.crofton import surface, weights
from bigseg.local.objects.exposed import LATER, exposed_labels, exposed_mask
from bigseg.local.objects.exposed_sums import KINDS, sum_exposed
from tests.local.masks import masks, special

Array = np.ndarray
SPECIAL = special()
EARLIER = tuple((-z, -y, -x) for z, y, x in LATER)


def whole(array: Array) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in array.shape)


def by_definition(values: Array, steps: tuple[tuple[int, int, int], ...], alike: bool) -> Array:
    """Codes from shifted copies: a bit where the neighbour has another value, or is background."""
    padded = np.pad(values.reshape((1, *values.shape)[-3:]), 1)
    codes = np.zeros(padded.shape, np.uint32)
    for bit, step in enumerate(steps):
        other = np.roll(padded, [-s for s in step], (0, 1, 2))
        codes |= (other != padded if alike else other == 0).astype(np.uint32) << np.uint32(bit)
    codes[padded == 0] = 0
    return codes[1:-1, 1:-1, 1:-1].reshape(values.shape)


def crossings_of(codes: Array) -> list[int]:
    """Set bits by the kind of their direction."""
    counts = dict.fromkeys(KINDS, 0)
    for bit, step in enumerate(LATER * 2):
        counts["".join(name for name, along in zip("zyx", step, strict=True) if along)] += int((codes >> bit & 1).sum())
    return list(counts.values())


def codes_of(values: Array, keep: tuple[slice, ...], both: bool, labelled: bool) -> Array:
    return exposed_labels(values, keep, both) if labelled else exposed_mask(different(values), keep, both)


@given(masks())
def test_codes_of_masks(mask):
    """Every voxel's later neighbours, and all of them but for their order, are those of shifted copies."""
    later = by_definition(mask.astype(np.uint8), LATER, False)
    assert np.array_equal(exposed_mask(different(mask), whole(mask)), later)
    both = exposed_mask(different(mask), whole(mask), both=True)
    assert np.array_equal(both & 8191, later)
    earlier = by_definition(mask.astype(np.uint8), EARLIER, False)
    assert crossings_of(both >> 13) == crossings_of(earlier)


@given(masks(), st.sampled_from(("uint8", "uint32")), st.integers(1, 4))
def test_codes_of_labels(mask, dtype, classes):
    """Labels of every width: later neighbours of another value are those of shifted copies."""
    values = np.random.default_rng(mask.sum()).integers(1, classes + 1, mask.shape) * mask
    values = np.repeat(values, 3, axis=-1)[..., : mask.shape[-1]].astype(dtype)
    later = by_definition(values, LATER, True)
    assert np.array_equal(exposed_labels(values, whole(values)), later)
    both = exposed_labels(values, whole(values), both=True)
    assert np.array_equal(both & 8191, later)
    assert crossings_of(both >> 13) == crossings_of(by_definition(values, EARLIER, True))
    swapped = np.where(values < 2, 1 - values, values).astype(dtype)
    assert np.array_equal(exposed_labels(swapped, whole(values), background=1), later)


@pytest.mark.parametrize("shape", [(5, 6, 140), (9, 130)])
def test_blocks_have_the_codes_of_the_whole(shape):
    """Cut anywhere, with one voxel around them and clipped at the ends, blocks have the codes of the whole volume."""
    rng = np.random.default_rng(8)
    values = ndimage.zoom(rng.integers(0, 3, [-(-n // 3) for n in shape]), 3, order=0)
    values = np.ascontiguousarray(values[tuple(slice(0, n) for n in shape)]).astype(np.uint16)
    cuts = [(0, n // 3, n // 3 + 1, n) for n in shape[:-1]] + [(0, 1, 63, 65, shape[-1])]
    for both, labelled in product((False, True), repeat=2):
        found = np.zeros(shape, np.uint32)
        for ends in product(*([*pairwise(cut)] for cut in cuts)):
            outer = [(max(0, a - 1), min(n, b + 1)) for (a, b), n in zip(ends, shape, strict=True)]
            keep = tuple(slice(a - low, b - low) for (a, b), (low, _) in zip(ends, outer, strict=True))
            part = values[tuple(slice(a, b) for a, b in outer)]
            inner = tuple(slice(a, b) for a, b in ends)
            found[inner] = codes_of(part, keep, both, labelled)
        assert np.array_equal(found, codes_of(values, whole(values), both, labelled))


@given(masks(), st.booleans())
def test_sums_of_masks(mask, closed):
    """Crossings are those of the codes; the Euler number is scikit-image's, through corners and through faces."""
    connectivity = mask.ndim if closed else 1
    found = label(different(mask), connectivity)
    labels = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, connectivity))[0]
    codes = exposed_mask(different(mask), whole(mask), both=not closed)
    sums = sum_exposed(found, codes, "closed" if closed else "open")
    for i in range(found.n):
        assert sums[i, 0] == measure.euler_number(labels == i + 1, connectivity)
        assert sums[i, 1:].tolist() == crossings_of(codes[labels == i + 1])


@pytest.mark.parametrize("name", SPECIAL)
def test_sums_of_labels(name):
    """Objects that touch others: Euler number and crossings are those of each alone."""
    mask = SPECIAL[name]
    values = (mask * (1 + np.indices(mask.shape).sum(0) // 5 % 3)).astype(np.uint16)
    found = label_equal(values)
    sums = sum_exposed(found, exposed_labels(values, whole(values)))
    total = np.zeros((4, 8), np.int64)
    np.add.at(total, [values.reshape(-1)[first] for first in _first(found)], sums)
    for value in range(1, 4):
        alone = values == value
        assert total[value, 0] == (measure.euler_number(alone, alone.ndim) if alone.any() else 0)
        codes = exposed_mask(different(alone), whole(alone), both=True)
        assert (2 * total[value, 1:]).tolist() == crossings_of(codes)


def _first(found) -> list[int]:
    from bigseg.local.components.table import first_voxels

    return first_voxels(found).tolist()


@pytest.mark.parametrize(("euler", "shape"), [(1, "ball"), (2, "shell"), (0, "ring")])
def test_euler_number_of_known_bodies(euler, shape):
    """A ball has 1, a ball with a cavity 2, a ring 0."""
    z, y, x = np.indices((25, 25, 25)) - 12
    near = z**2 + y**2 + x**2
    ring = z**2 + (np.sqrt(y**2 + x**2) - 7) ** 2 < 9
    mask = {"ball": near < 90, "shell": (near < 90) & (near > 20), "ring": ring}[shape]
    for connectivity, topology in ((3, "closed"), (1, "open")):
        found = label(different(mask), connectivity)
        assert sum_exposed(found, exposed_mask(different(mask), whole(mask)), topology)[:, 0].tolist() == [euler]


def ellipsoid(spacing: tuple[float, ...], radius: float) -> Array:
    """A ball in voxels of a spacing, off the lattice."""
    sides = [int(2 * radius / step) + 5 for step in spacing]
    places = np.indices(sides)
    return sum(((p - n / 2 - 0.3) * s) ** 2 for p, n, s in zip(places, sides, spacing, strict=True)) < radius**2


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1, 1), (0.5, 1.2, 0.8), (1, 1), (2.5, 1)])
def test_surfaces_of_balls(spacing):
    """The estimate is within 1 % of a ball's (2-D: disk's) surface for any spacing."""
    radius = 14.0 if len(spacing) == 3 else 40.0
    mask = ellipsoid(spacing, radius)
    sums = sum_exposed(label(different(mask), 3), exposed_mask(different(mask), whole(mask)))
    found = surface(2 * sums[:, 1:], spacing)
    assert found[0] == pytest.approx(4 * np.pi * radius**2 if len(spacing) == 3 else 2 * np.pi * radius, rel=0.01)


def test_weights_are_the_published_ones():
    """Of cubes: 0.0916, 0.0740 and 0.0704 of the sphere for faces, edges and corners; all shares make up 1."""
    published = {1: 0.0915557824, 2: 0.0739612558, 3: 0.0703912796}
    for kind, weight in zip(KINDS, weights((1.0, 1.0, 1.0)), strict=True):
        assert weight == pytest.approx(2 * published[len(kind)] / len(kind) ** 0.5, rel=1e-7)
    spacing = (3.0, 1.0, 0.7)
    lengths = [
        np.linalg.norm([s if axis in kind else 0 for axis, s in zip("zyx", spacing, strict=True)]) for kind in KINDS
    ]
    number = [1 if len(kind) == 1 else 2 * len(kind) - 2 for kind in KINDS]
    shares = np.array(weights(spacing)) * lengths / 2.1 / 2 * number
    assert shares.sum() == pytest.approx(1)


def test_refusals():
    """What cannot be is refused, saying what was expected."""
    mask = different(np.ones((3, 4), bool))
    with pytest.raises(ParameterError, match="within it"):
        exposed_mask(mask, (slice(0, 3), slice(0, 5)))
    with pytest.raises(ParameterError, match="codes of shape"):
        sum_exposed(label(mask), np.zeros((4, 3), np.uint16))
    with pytest.raises(ParameterError, match="two or three"):
        weights((1.0,))
    with pytest.raises(ParameterError, match="1e6"):
        weights((1.0, 1e7))
