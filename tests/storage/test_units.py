"""Lengths, spacings and sizes with units."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigseg.errors import ParameterError
from bigseg.storage.units import (
    POWERS,
    convert,
    parse_length,
    parse_spacing,
    unit_name,
    voxel_count,
    voxels,
)


@pytest.mark.parametrize(
    "text",
    ["um", "µm", "μm", "micron", "microns", "Micrometer", "micrometers", "micrometre", "\\u00B5m", " UM "],
)
def test_micrometers_in_every_spelling(text: str) -> None:
    """Every usual spelling of the micrometer is read as OME-Zarr writes it."""
    assert unit_name(text) == "micrometer"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.5 um", ((0.5, 0.5, 0.5), "micrometer")),
        ("0.5um", ((0.5, 0.5, 0.5), "micrometer")),
        (0.5, ((0.5, 0.5, 0.5), "")),
        ([2, 1, 1], ((2.0, 1.0, 1.0), "")),
        ("2 1 1 um", ((2.0, 1.0, 1.0), "micrometer")),
        ("[2, 1, 1] nm", ((2.0, 1.0, 1.0), "nanometer")),
        ("2x1x1 µm", ((2.0, 1.0, 1.0), "micrometer")),
        ("2 um x 1 um x 1 um", ((2.0, 1.0, 1.0), "micrometer")),
        (["1 um", "500 nm", "500 nm"], ((1.0, 0.5, 0.5), "micrometer")),
        ("1e-3 mm", ((1e-3, 1e-3, 1e-3), "millimeter")),
    ],
)
def test_spacing_in_every_form(value: object, expected: object) -> None:
    """A spacing may be one size or three, as text or numbers, with one unit or several."""
    assert parse_spacing(value, 3) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    ["", "um", "a lot", "0,5 um", "2 1 um", "-1 um", "0", "1 2 3 4", "nan", "inf", "1 parsec", "1 um2"],
)
def test_spacing_that_cannot_be_is_refused(value: str) -> None:
    """A spacing that is no size above zero for each axis is refused, never guessed."""
    with pytest.raises(ParameterError, match="spacing"):
        parse_spacing(value, 3)


@pytest.mark.parametrize("value", ["5 px", "5pixels", "2 1 1 Voxels", "1 pixel x 1 um x 1 um", ["1 um", "1 voxel", 1]])
def test_a_voxel_is_not_measured_in_voxels(value: object) -> None:
    """A voxel's size in voxels is refused: it would be taken for one in the unit of the volume."""
    with pytest.raises(ParameterError, match="cannot be told in voxels; give it with a unit of length"):
        parse_spacing(value, 3, "micrometer")  # type: ignore[arg-type]


def test_numbers_take_the_unit_of_the_volume() -> None:
    """Sizes without a unit keep the unit that the file has."""
    assert parse_spacing([2, 1], 2, "micrometer") == ((2.0, 1.0), "micrometer")


@given(st.floats(1e-6, 1e6), st.sampled_from(sorted(POWERS)), st.sampled_from(sorted(POWERS)))
def test_converting_there_and_back(value: float, unit: str, wanted: str) -> None:
    """Converting to another unit and back gives the value within two roundings."""
    assert math.isclose(convert(convert(value, unit, wanted), wanted, unit), value, rel_tol=4e-16)


def test_lengths_in_voxels() -> None:
    """A length with a unit is divided by the spacing, a plain number is voxels already."""
    assert voxels("2.5 um", 500.0, "nanometer") == 5.0
    assert voxels("0.002 mm", 0.5, "um") == 4.0
    assert voxels(3, 0.5, "") == 3.0
    assert voxels("3 px", 0.5, "") == 3.0
    with pytest.raises(ParameterError, match="spacing"):
        voxels("3 um", 1.0, "")
    with pytest.raises(ParameterError, match="volume"):
        voxels("3 um3", 1.0, "um")
    with pytest.raises(ParameterError, match="furlong"):
        parse_length("1 furlong")


def test_sizes_in_voxels() -> None:
    """A size with a cubic unit is divided by the volume of a voxel; a plain length is no size."""
    assert voxel_count("100 um3", (2.0, 1.0, 1.0), "micrometer") == 50.0
    assert voxel_count("1e-6 mm³", (10.0, 10.0, 10.0), "micrometer") == 1.0
    assert voxel_count(27, (2.0, 1.0, 1.0), "") == 27
    with pytest.raises(ParameterError, match="100 um3"):
        voxel_count("100 um", (2.0, 1.0, 1.0), "micrometer")
