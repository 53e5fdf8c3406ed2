"""Integers of 128 bits and the moments from them, against Python's integers and fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigseg.errors import ParameterError
from bigseg.local.objects.wide import Wide, as_floats, covariances, means, times, total

MASK = (1 << 32) - 1
wholes = st.integers(0, 94).flatmap(lambda bits: st.integers(-(1 << bits), 1 << bits))


def wide(values: list[int], parts: int = 2) -> Wide:
    """Python integers in parts of 32 bits."""
    shifts = [32 * part for part in range(parts - 1, -1, -1)]
    first = np.array([value >> shifts[0] for value in values], np.int64)
    return first, *(np.array([value >> shift & MASK for value in values], np.int64) for shift in shifts[1:])


def whole(parts: Wide) -> list[int]:
    """And back."""
    return [sum(int(part[i]) << (32 * k) for k, part in enumerate(parts[::-1])) for i in range(len(parts[0]))]


@given(st.lists(wholes, min_size=1, max_size=20))
def test_floats_are_the_nearest(values):
    """Wide integers become the float64 beside them, whatever their sign and number of parts."""
    for found in (as_floats(wide(values)), as_floats(wide(values, 3))):
        for value, near in zip(values, found.tolist(), strict=True):
            assert abs(Fraction(near) - value) <= Fraction(abs(value), 2**52)
            assert near == value or abs(value) > 2**53


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.integers(-(2**31) + 1, 2**31 - 1))
def test_products_and_sums_are_exact(values, factor):
    """A product with a factor of 31 bits and a sum of parts that have grown are Python's."""
    product = times(np.array(values, np.int64), factor)
    assert whole(product) == [value * factor for value in values]
    assert whole(total(product, product, wide(values))) == [value * (2 * factor + 1) for value in values]
    assert product[1].min() >= 0
    assert product[1].max() <= MASK


samples = st.lists(st.integers(-(2**31), 2**32), min_size=1, max_size=12)


@given(samples, samples, st.integers(0, 2**32), st.sampled_from([0, 5, 31]), st.sampled_from([1, 10**3, 10**11]))
def test_moments_are_exact_to_the_last_digits(one, other, far, less, times_over):
    """Means, variances and covariances are right to 1e-15, however far from 0 and however many voxels."""
    n = min(len(one), len(other))
    x, y = ([far + (value >> less) for value in values[:n]] for values in (one, other))

    def exact(a: list[int], b: list[int]) -> Fraction:
        return Fraction(sum(p * q for p, q in zip(a, b, strict=True)), n) - Fraction(sum(a), n) * Fraction(sum(b), n)

    count = np.array([n * times_over])
    assert means(wide([sum(x) * times_over]), count)[0] == pytest.approx(float(Fraction(sum(x), n)), rel=3e-16)
    for a, b in ((x, x), (x, y), (y, y)):
        products = sum(p * q for p, q in zip(a, b, strict=True)) * times_over
        found = covariances(wide([sum(a) * times_over]), wide([sum(b) * times_over]), wide([products], 3), count)[0]
        scale = float(exact(a, a)) ** 0.5 * float(exact(b, b)) ** 0.5
        assert abs(found - float(exact(a, b))) <= 1e-15 * scale


def test_a_mean_between_two_numbers_loses_nothing():
    """One voxel of a million millions that differs by 1 gives its variance to 15 digits."""
    n, value = 10**12, 10**9 + 1
    for rare in (1, n - 1, n // 2):
        sums, squares = n * value + rare, (n - rare) * value**2 + rare * (value + 1) ** 2
        found = covariances(wide([sums]), wide([sums]), wide([squares], 3), np.array([n]))[0]
        assert found == pytest.approx(rare / n * (1 - rare / n), rel=1e-14)


def test_parts_that_have_grown():
    """Low parts above 32 bits, as adding up blocks leaves them, count in full."""
    high, low = np.array([-3]), np.array([2**62])
    assert as_floats((high, low))[0] == 2**62 - 3 * 2**32
    assert as_floats((np.array([1]), high, low))[0] == 2**64 + 2**62 - 3 * 2**32


def test_refusals():
    """A factor that is too large is refused."""
    with pytest.raises(ParameterError, match="less than 2"):
        times(np.array([1]), 2**31)
