"""What a filter reads along an axis, against numpy.pad."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigseg.errors import ParameterError
from bigseg.local.filters.reflect import reach, three_axes


@given(st.integers(1, 9), st.integers(0, 30), st.data())
def test_positions_are_those_of_a_symmetric_pad(n: int, radius: int, data: st.DataObject) -> None:
    """The voxels read are those of numpy's symmetric pad, however often the axis is mirrored."""
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    padded = np.pad(np.arange(n), radius, mode="symmetric")
    found = reach(slice(start, stop), radius, n)
    assert found.voxels.tolist() == padded[start : stop + 2 * radius].tolist()


@given(st.integers(1, 9), st.integers(0, 30), st.data())
def test_voxels_read_are_one_stretch(n: int, radius: int, data: st.DataObject) -> None:
    """All of the stretch is read, nothing else, and in order after the positions mirrored before it."""
    start = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(start + 1, n))
    found = reach(slice(start, stop), radius, n)
    stretch = list(range(found.start, found.stop))
    assert set(found.voxels.tolist()) == set(stretch)
    assert found.voxels[found.before : found.before + len(stretch)].tolist() == stretch


@pytest.mark.parametrize(
    ("shape", "keep"),
    [
        ((2, 3, 4, 5), (slice(0, 1),) * 4),
        ((), ()),
        ((4, 5), (slice(0, 1),)),
        ((4, 5), (slice(0, 5), slice(0, 5))),
        ((4, 5), (slice(-1, 2), slice(0, 5))),
        ((4, 5), (slice(3, 2), slice(0, 5))),
    ],
)
def test_boxes_that_do_not_fit_are_refused(shape: tuple[int, ...], keep: tuple[slice, ...]) -> None:
    """Too many axes, too few slices or slices beyond the array are refused, naming the shape."""
    with pytest.raises(ParameterError, match=r"shape \("):
        three_axes(np.zeros(shape), keep)
