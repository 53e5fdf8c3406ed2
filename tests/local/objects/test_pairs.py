"""Pairs of integers: counts by the definition, for every dtype, shape and memory layout."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigseg.errors import ParameterError
from bigseg.local.objects import pairs
from bigseg.local.objects.keyed_rows import Rows, summed
from bigseg.local.objects.pairs import across, count_contacts, count_pairs, keys_of, values_of

DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
SHAPES = ((1, 1), (1, 63), (1, 64), (3, 43), (5, 130), (1, 2, 3), (4, 9, 70))


def volume(shape: tuple[int, ...], dtype: str, most: int = 5) -> np.ndarray:
    """Short runs of a few values, negative ones too where there are any."""
    info = np.iinfo(dtype) if dtype != "bool" else None
    rng = np.random.default_rng(3)
    values = rng.integers(-2 if info and info.min else 0, 2 if info is None else most, shape)
    return np.repeat(values, 3, axis=-1)[..., : shape[-1]].astype(dtype)


def as_table(rows: Rows, a: np.ndarray, b: np.ndarray) -> list[tuple[int, ...]]:
    first, second = values_of(rows[0], a.dtype).tolist(), values_of(rows[1], b.dtype).tolist()
    return list(zip(first, second, *rows[2:].tolist(), strict=True))


def touching(labels: np.ndarray) -> list[tuple[int, ...]]:
    """Faces by the definition: every voxel and the next one along each axis."""
    found: Counter[tuple[int, int, int]] = Counter()
    for axis in range(labels.ndim):
        for one, two in pairwise(np.moveaxis(labels, axis, 0)):
            for p, q in zip(one.ravel().tolist(), two.ravel().tolist(), strict=True):
                if p and q and p != q:
                    found[min(p, q), max(p, q), axis] += 1
    ends = sorted({(p, q) for p, q, _ in found})
    return [(p, q, *(found[p, q, axis] for axis in range(labels.ndim))) for p, q in ends]


@pytest.mark.parametrize("dtype", DTYPES)
def test_pairs_are_counted_as_by_a_dictionary(dtype: str) -> None:
    """Every dtype with every shape around the 64 voxels of a word, in both orders, zeros kept or not."""
    for shape in SHAPES:
        a, b = volume(shape, dtype), volume(shape, "uint16", 4)[..., ::-1]
        whole = Counter(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
        wanted = [(int(p), q, whole[p, q]) for p, q in sorted(whole)]
        assert as_table(count_pairs(a, b), a, b) == wanted
        assert as_table(count_pairs(a, b, True), a, b) == [row for row in wanted if row[0] and row[1]]
        assert sorted((q, p, n) for p, q, n in as_table(count_pairs(b, a), b, a)) == wanted


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_contacts_are_counted_as_by_the_definition(dtype: str) -> None:
    """Every dtype, shape and memory layout: faces along each axis, the smaller label first."""
    for shape in SHAPES:
        labels = volume(shape, dtype)
        inner = np.pad(labels, 1, constant_values=1)[(slice(1, -1),) * labels.ndim]
        for laid in (labels, np.asfortranarray(labels), inner):
            assert as_table(count_contacts(laid), labels, labels) == touching(labels)


def test_labels_beyond_32_bits() -> None:
    """Large 64-bit labels keep their values and their order."""
    small = volume((4, 5, 6), "uint64", 6)
    large = np.where(small > 0, small + np.uint64(2**63), np.uint64(0))
    wanted = [(p + 2**63, q + 2**63, *rest) for p, q, *rest in touching(small)]
    assert as_table(count_contacts(large), large, large) == wanted
    assert values_of(count_pairs(large, large)[0], large.dtype).tolist() == np.unique(large).tolist()
    negative = small.astype(np.int64) - 3
    assert values_of(count_pairs(negative, negative)[0], negative.dtype).tolist() == np.unique(negative).tolist()


def test_the_largest_32_bit_pair_is_a_pair_like_others() -> None:
    """No key is taken for an empty slot: neither (0, 0) nor the greatest."""
    a = np.array([[0, 2**32 - 1]], np.uint32)
    assert as_table(count_pairs(a, a), a, a) == [(0, 0, 1), (2**32 - 1, 2**32 - 1, 1)]


def test_tables_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """More pairs than slots, met at any voxel of a word: the table grows and nothing is lost or counted twice."""
    monkeypatch.setattr(pairs, "SLOTS", 256)
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3000, (2, 30, 31, 32)).astype(np.uint32)
    keys, counts = np.unique(a.astype(np.int64) << 32 | b, return_counts=True)
    rows = count_pairs(a, b)
    np.testing.assert_array_equal(rows[0].astype(np.int64) << 32 | rows[1].astype(np.int64), keys)
    np.testing.assert_array_equal(rows[2].astype(np.int64), counts)
    assert as_table(count_contacts(a[:6]), a, a) == touching(a[:6])


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 70), st.integers(0, 2), st.integers(0, 2**31))
def test_blocks_and_the_faces_between_them_are_the_volume(nz: int, ny: int, nx: int, axis: int, seed: int) -> None:
    """Cut anywhere along any axis: the contacts of both halves and across the cut add up to those of the whole."""
    labels = np.random.default_rng(seed).integers(0, 5, (nz, ny, nx)).astype(np.uint8)
    cut = labels.shape[axis] // 2
    if not cut:
        return
    one, two = np.split(labels, [cut], axis)
    parts = [count_contacts(one), count_contacts(two), across(one.take(-1, axis), two.take(0, axis), axis, 3)]
    np.testing.assert_array_equal(summed(parts), count_contacts(labels))


def test_keys_keep_the_order_of_values() -> None:
    """Keys of every dtype rise with the values, and come back as they were."""
    for dtype in DTYPES[1:]:
        info = np.iinfo(dtype)
        values = np.array([info.min, info.min + 1, 0, 1, info.max], dtype)
        assert (np.diff(keys_of(np.sort(values)).astype(object)) >= 0).all()
        np.testing.assert_array_equal(values_of(keys_of(values), values.dtype), values)


def test_what_cannot_be_paired_is_refused() -> None:
    """Shapes that differ, and real numbers."""
    with pytest.raises(ParameterError, match="of one shape"):
        count_pairs(np.zeros((2, 3), int), np.zeros((3, 2), int))
    with pytest.raises(ParameterError, match="integers"):
        count_pairs(np.zeros((2, 3)), np.zeros((2, 3), int))
