"""Fine counts: exact sums of real values, the same for any cut of the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.thresholds.fine import fine_sums, means_of


@given(hnp.arrays(np.float32, (5, 7), elements=st.floats(-1e6, 1e6, width=32)), st.integers(1, 6))
def test_parts_add_up_to_the_whole(x: NDArray[np.float32], cut: int) -> None:
    """Counts and sums of two parts of an image, one a view with gaps, add up to those of the whole."""
    low, high = float(x.min()), float(x.max())
    whole = fine_sums(x, low, high)
    parts = fine_sums(x[:, :cut], low, high), fine_sums(x[:, cut:], low, high)
    for k in range(2):
        np.testing.assert_array_equal(parts[0][k] + parts[1][k], whole[k])
    assert whole.counts.sum() == x.size


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint32"])
def test_the_mean_is_exact_to_the_last_of_31_bits(dtype: str) -> None:
    """The mean of all values follows from the sums to a 2**31st of the range."""
    x = (np.random.default_rng(3).normal(500, 90, (20, 31, 17)) * 10).astype(dtype)
    low, high = float(x.min()), float(x.max())
    counts, values = means_of(fine_sums(x, low, high), low, high)
    assert abs((counts * values).sum() / counts.sum() - x.mean(dtype=np.float64)) <= (high - low) / 2**31
    assert np.all(np.diff(values) > 0)


def test_a_pile_of_one_value_keeps_it() -> None:
    """A bin that holds one value only has this value; so have the ends of the range."""
    x = np.array([-3.0, -3.0, 0.25, 5.0])
    counts, values = means_of(fine_sums(x, -3, 5), -3, 5)
    assert counts.tolist() == [2, 1, 1]
    assert values[[0, -1]].tolist() == [-3.0, 5.0]
    assert values[1] == pytest.approx(0.25, abs=8 / 2**31)


def test_a_constant_image_fills_one_bin() -> None:
    """Equal ends of the range are no division by zero."""
    counts, values = means_of(fine_sums(np.full((2, 3), 7.5), 7.5, 7.5), 7.5, 7.5)
    assert (counts.tolist(), values.tolist()) == ([6], [7.5])
    near = np.array([0, 5e-324])  # further apart than any scale reaches
    assert fine_sums(near, *near).counts[0] == 2
    with pytest.raises(ParameterError, match="lo <= hi"):
        fine_sums(np.zeros(3), 1, 0)
