"""Sums of real numbers without rounding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigseg.errors import ValuesError
from bigseg.local.exact_sums import add_errors, empty_sums, exact_sum

NUMBERS = st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=30)


@given(NUMBERS, st.integers(0, 30))
def test_equals_rational_numbers(values: list[float], cut: int) -> None:
    """Sums of parts, added, are the sums of all as fractions; squares are rounded once each."""
    x = np.array(values)
    table = empty_sums(2)
    for part in (x[:cut], x[cut:]):
        add_errors(table, part, np.zeros(part.size))
    assert exact_sum(table[0]) == sum(map(Fraction, np.abs(x).tolist()))
    assert exact_sum(table[1]) == sum(map(Fraction, (x * x).tolist()))


def test_many_voxels_and_a_scale() -> None:
    """More voxels than a piece; bytes are divided by the full score first."""
    found = np.random.default_rng(0).integers(0, 256, 70_001).astype(np.uint8)
    table = empty_sums(2)
    add_errors(table, found, found > 100, 255.0)
    wanted = np.abs(found / 255 - (found > 100))
    assert float(exact_sum(table[0])) == pytest.approx(wanted.sum(), rel=1e-12)
    assert float(exact_sum(table[1])) == pytest.approx((wanted**2).sum(), rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_refuses_what_has_no_square(bad: float) -> None:
    """NaN, infinite values and those whose square is beyond float64 are refused."""
    with pytest.raises(ValuesError, match="NaN or infinite"):
        add_errors(empty_sums(2), np.array([1.0, bad]), np.zeros(2))
