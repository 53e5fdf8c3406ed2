"""Regions of interest: what people write, and the box it means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigseg.errors import ParameterError
from bigseg.grid import Box
from bigseg.storage.roi import parse_roi, roi_text
from bigseg.storage.spec import Spec

SPEC = Spec((50, 60, 70), np.dtype("uint8"), ("z", "y", "x"), (2.0, 1.0, 0.5), "micrometer")

FORMS = {
    "10:20, 5:, :30": ((10, 5, 0), (20, 60, 30)),
    "[-10:,:-10,:]": ((40, 0, 0), (50, 50, 70)),
    "20um:0.05mm,:,1um:2um": ((10, 0, 2), (25, 60, 4)),
    "-20um:,:,:-1 um": ((40, 0, 0), (50, 60, 68)),
    "3.1um:,:,:": ((2, 0, 0), (50, 60, 70)),  # 1.55 voxels: the nearest edge
}


@pytest.mark.parametrize("text", FORMS)
def test_texts(text: str) -> None:
    """Empty ends mean the volume's, negative ones count from behind, lengths are rounded to an edge."""
    assert parse_roi(text, SPEC) == Box(*FORMS[text])


@given(st.data())
def test_as_python_slices(data: st.DataObject) -> None:
    """Wherever a slice lies within the volume, the region is what numpy cuts, in each way of writing it."""
    ends = [st.none() | st.integers(-n, n) for n in SPEC.shape]
    pairs = [(data.draw(end), data.draw(end)) for end in ends]
    whole = [slice(a, b).indices(n)[:2] for (a, b), n in zip(pairs, SPEC.shape, strict=True)]
    forms = [
        pairs,
        [slice(*pair) for pair in pairs],
        ",".join(":".join("" if end is None else str(end) for end in pair) for pair in pairs),
    ]
    for form in forms:
        if all(a < b for a, b in whole):
            assert parse_roi(form, SPEC) == Box(*zip(*whole, strict=True))
        else:
            with pytest.raises(ParameterError, match="holds no voxel"):
                parse_roi(form, SPEC)


def test_a_box_is_itself() -> None:
    """A box, its text and what is parsed from that are the same."""
    box = Box((1, 2, 3), (4, 5, 6))
    assert parse_roi(box, SPEC) == parse_roi(roi_text(box), SPEC) == box


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        ("0:10,:", r"expected 3 ranges, z0:z1,y0:y1,x0:x1, found 2"),
        ("0:51,:,:", "z: 0:51 .* within 0:50"),
        (":,60:,:", "y: 60:60 holds no voxel"),
        ("5:5,:,:", "holds no voxel"),
        ("9:3,:,:", "holds no voxel"),
        ("-51:,:,:", "-1:50"),
        ("7,:,:", "start:stop"),
        ("0:10:2,:,:", "start:stop"),
        ("1.5:3,:,:", "whole number"),
        ("a:b,:,:", "expected a number"),
        ("1um3:2,:,:", "expected a length"),
        ((slice(0, 9, 2), slice(None), slice(None)), "every voxel"),
        ((slice(0.5, 2), slice(None), slice(None)), "whole number"),
        ((3, slice(None), slice(None)), "expected a slice"),
    ],
)
def test_what_is_no_region(roi: object, message: str) -> None:
    """A region that is empty, reaches beyond the volume or cannot be understood is refused, naming the axis."""
    with pytest.raises(ParameterError, match=message):
        parse_roi(roi, SPEC)  # type: ignore[arg-type]


def test_lengths_need_a_unit() -> None:
    """A length in a volume without a unit is refused with what to do."""
    with pytest.raises(ParameterError, match="give the value in voxels"):
        parse_roi("1um:,:,:", SPEC.but(unit=""))
