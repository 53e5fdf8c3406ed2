"""Figures of objects against skimage.metrics and direct counts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from skimage.metrics import adapted_rand_error, variation_of_information

from bigseg.errors import ValuesError
from bigseg.local.objects.overlaps import OVERLAPS, matches, partition


def pairs(true: np.ndarray, found: np.ndarray, seed: int = 0) -> tuple[np.ndarray, ...]:
    """The pairs of labels in any order."""
    rows, counts = np.unique(np.stack([true, found]), axis=1, return_counts=True)
    order = np.random.default_rng(seed).permutation(counts.size)
    return rows[0][order], rows[1][order], counts[order]


def grains(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A line of true grains, and found ones that are shifted, merged, split, missed and made up."""
    rng = np.random.default_rng(seed)
    true = np.repeat(rng.permutation(30), rng.integers(5, 40, 30))
    found = np.roll(true, 2)
    found[found == 7] = 8
    found[found == 3] = 0
    found[: found.size // 3][found[: found.size // 3] == found[10]] = 77
    found[true == 0] = rng.integers(0, 90, np.count_nonzero(true == 0))
    return true, found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_partition_equals_scikit_image(seed: int) -> None:
    """Adapted Rand error, and both variations of information where the truth is not background."""
    true, found = grains(seed)
    agreed = partition(*pairs(true, found))
    wanted = *adapted_rand_error(true, found), *variation_of_information(true, found, ignore_labels=[0])
    assert list(agreed) == pytest.approx(list(wanted), rel=1e-12)


def test_the_order_of_pairs_does_not_matter() -> None:
    """The same bits for pairs in any order."""
    true, found = grains(3)
    assert partition(*pairs(true, found, 1)) == partition(*pairs(true, found, 2))


def test_large_objects_do_not_overflow() -> None:
    """Objects of 1e12 voxels: shares of pairs as of Python's integers, entropies those of smaller ones."""
    true, found, voxels = pairs(*grains(1))
    large = partition(true, found, voxels * 10**11)
    small = partition(true, found, voxels)
    assert [large.split, large.merge] == pytest.approx([small.split, small.merge], rel=1e-12)
    rows: Counter[int] = Counter()
    columns: Counter[int] = Counter()
    both = 0
    for a, b, count in zip(true.tolist(), found.tolist(), (voxels * 10**11).tolist(), strict=True):
        if a:
            rows[a] += count
            columns[b] += count
            both += count * (count - 1)
    of_rows, of_columns = (sum(n * (n - 1) for n in sizes.values()) for sizes in (rows, columns))
    wanted = [1 - 2 * both / (of_rows + of_columns), both / of_rows, both / of_columns]
    assert [large.rand_error, large.rand_precision, large.rand_recall] == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_matches_equal_a_direct_count(seed: int) -> None:
    """Objects whose intersection is more than a share of their union, one by one."""
    true, found = grains(seed)
    at = matches(*pairs(true, found))
    for place, level in enumerate(OVERLAPS):
        shares = [
            np.count_nonzero((true == a) & (found == b)) / np.count_nonzero((true == a) | (found == b))
            for a in np.unique(true[true > 0])
            for b in np.unique(found[found > 0])
        ]
        hits = [share for share in shares if share > level]
        assert at.tp[place] == len(hits)
        assert at.overlap[place] == pytest.approx(np.mean(hits) if hits else 0.0)
        assert at.tp[place] + at.fp[place] == np.unique(found[found > 0]).size
        assert at.tp[place] + at.fn[place] == np.unique(true[true > 0]).size


def test_exactly_half_is_no_match() -> None:
    """An overlap must be more than the share: of two halves neither matches."""
    at = matches([1, 1], [1, 2], [3, 3])
    assert at.tp.tolist() == [0] * len(OVERLAPS)
    assert matches([1, 1], [1, 2], [4, 3]).tp[0] == 1


def test_no_object() -> None:
    """A truth without objects has no partition; the found ones are all wrong."""
    with pytest.raises(ValuesError, match="no object"):
        partition([0, 0], [0, 1], [5, 5])
    assert matches([0, 0], [0, 1], [5, 5]).fp.tolist() == [1] * len(OVERLAPS)
    assert np.isnan(partition([1], [1], [1]).rand_error)
