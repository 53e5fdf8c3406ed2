"""Lengths with units: read in any usual spelling, written as OME-Zarr wants them ("micrometer").

Units differ by powers of ten only, so that 500 nm and 0.5 um convert without surprises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple

from bigseg.errors import ParameterError, UsageError

POWERS = {
    "picometer": -12,
    "angstrom": -10,
    "nanometer": -9,
    "micrometer": -6,
    "millimeter": -3,
    "centimeter": -2,
    "decimeter": -1,
    "meter": 0,
    "kilometer": 3,
}
"""Units by name, and how many powers of ten each is of a metre."""

_SHORT = {
    "pm": "picometer",
    "å": "angstrom",
    "ångström": "angstrom",
    "nm": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "dm": "decimeter",
    "m": "meter",
    "km": "kilometer",
}
_VOXELS = ("px", "pixel", "pixels", "voxel", "voxels")
"""Words for a number of voxels: a length as plain numbers are, but no size of a voxel."""
_LENGTH = re.compile(
    r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*([^\d\s^²³]*)\s*(?:\^?([23])|([²³]))?\s*", re.IGNORECASE
)

BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
"""Multiples of bytes."""
_SIZE = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)[ ]?([^\W\d_]*)", re.IGNORECASE)


class Length(NamedTuple):
    """A number with the unit it was given in; ``""`` is a number of voxels, or of an unknown unit."""

    value: float
    unit: str


def unit_name(text: str) -> str | None:
    """The name of a unit of length as OME-Zarr writes it, or None where it is not known.

    >>> unit_name("um"), unit_name("µm"), unit_name("Microns"), unit_name("parsec")
    ('micrometer', 'micrometer', 'micrometer', None)
    """
    # Two characters look like a small mu: U+00B5 and U+03BC.
    word = text.strip().replace("\u03bc", "\u00b5").lower()
    word = word.replace("metre", "meter").replace("\\u00b5", "\u00b5")
    for name in (word, word.removesuffix("s")):
        if name in POWERS:
            return name
        if name in _SHORT:
            return _SHORT[name]
        if name == "micron":
            return "micrometer"
    return None


def convert(value: float, unit: str, wanted: str, power: int = 1) -> float:
    """A length in another unit; an area with ``power`` 2, a volume with 3.

    >>> convert(500, "nanometer", "micrometer"), convert(0.25, "millimeter", "micrometer", 2)
    (0.5, 250000.0)
    """
    return _shift(value, power * (POWERS[unit] - POWERS[wanted]))


def parse_length(value: float | str, name: str = "length") -> Length:
    """A number, or a text like ``"2.5 um"``.

    Parameters
    ----------
    value : what the user gave.
    name : how errors call it.

    Raises
    ------
    ParameterError
        When it is neither, not finite, or its unit is not one of length.

    >>> parse_length("2.5um"), parse_length(3)
    (Length(value=2.5, unit='micrometer'), Length(value=3.0, unit=''))
    """
    number, unit, power = parse_power(value, name)
    if power > 1:
        kind = "an area; leave out the power of two" if power == 2 else "a volume; leave out the power of three"
        raise ParameterError(f"{name} {value!r}: expected a length, found {kind}")
    return Length(number, unit)


def voxels(value: float | str, spacing: float, unit: str) -> float:
    """A length in voxels: numbers are voxels already, texts with a unit are divided by the spacing.

    Parameters
    ----------
    value : ``2.5`` or ``"2.5 um"``.
    spacing, unit : of the axis.

    Raises
    ------
    ParameterError
        When a unit is given, but the volume's spacing has none.

    >>> voxels("2.5 um", 500.0, "nanometer"), voxels(3, 500.0, "nanometer")
    (5.0, 3.0)
    """
    length = parse_length(value)
    if not length.unit:
        return length.value
    return convert(length.value, length.unit, known_unit(unit, value)) / spacing


def voxel_count(value: float | str, spacing: Sequence[float], unit: str) -> float:
    """A volume in voxels: numbers are voxels already, ``"100 um3"`` is divided by the volume of a voxel.

    In two dimensions the size of an object is an area, as ``"100 um2"``.

    Raises
    ------
    ParameterError
        When the unit's power is not the number of axes, or the volume's spacing has no unit.

    >>> voxel_count("100 um^3", (2.0, 1.0, 1.0), "micrometer"), voxel_count(27, (2.0, 1.0, 1.0), "")
    (50.0, 27.0)
    """
    number, given, power = parse_power(value, "size")
    if not given:
        return number
    if power != len(spacing):
        kind = "a volume like '100 um3' of a 3-D" if len(spacing) == 3 else "an area like '100 um2' of a 2-D"
        raise ParameterError(f"size {value!r}: expected a number of voxels, or {kind} image")
    return convert(number, given, known_unit(unit, value), power) / math.prod(spacing)


def parse_spacing(
    value: float | str | Sequence[float | str], ndim: int, unit: str = ""
) -> tuple[tuple[float, ...], str]:
    """Voxel sizes per axis and their unit, from one size for all axes or one for each.

    Parameters
    ----------
    value : ``0.5``, ``"0.5 um"``, ``"2 1 1 um"``, ``"2,1,1 um"``, ``[2, 1, 1]`` or ``["1 um", "500 nm", …]``.
    ndim : number of axes, z first.
    unit : of numbers without one.

    Returns
    -------
    spacing, unit : different units are converted to the first.

    Raises
    ------
    ParameterError
        When it cannot be understood, or a size is not above zero.

    >>> parse_spacing("2,1,1 um", 3)
    ((2.0, 1.0, 1.0), 'micrometer')
    >>> parse_spacing(["1 um", "500 nm", "500 nm"], 3)
    ((1.0, 0.5, 0.5), 'micrometer')
    """
    items: list[float | str] = _items(value) if isinstance(value, str) else list(_sequence(value))
    if len(items) == 1:
        items *= ndim
    if len(items) != ndim:
        raise ParameterError(f"spacing {value!r}: expected 1 or {ndim} sizes, found {len(items)}")
    if any(_of_voxels(item) for item in items):
        raise ParameterError(
            f"spacing {value!r}: the size of a voxel cannot be told in voxels; give it with a unit of length, like "
            "'0.5 um', or as a plain number in the volume's own"
        )
    default = (unit_name(unit) or unit) if unit else ""
    lengths = [parse_length(item, "spacing") for item in items]
    given = list(dict.fromkeys(length.unit for length in lengths if length.unit))
    wanted = given[0] if given else default
    sizes = [convert(size, own, wanted) if own else size for size, own in lengths]
    if not all(size > 0 for size in sizes):
        raise ParameterError(f"spacing {value!r}: expected sizes above 0")
    return tuple(sizes), wanted


def _sequence(value: float | Sequence[float | str]) -> Sequence[float | str]:
    return (value,) if isinstance(value, Real) else value  # type: ignore[return-value]


def _of_voxels(item: float | str) -> bool:
    match = _LENGTH.fullmatch(item) if isinstance(item, str) else None
    return match is not None and match[2].lower() in _VOXELS


def _items(text: str) -> list[float | str]:
    """``"[2, 1, 1] um"`` as three texts; a unit at the end counts for all."""
    flat = re.sub(r"\s*[x×]\s*(?=[\d.])", " ", text, flags=re.IGNORECASE)
    found = _SIZE.findall(re.sub(r"[\[\]();,]+", " ", flat))
    rest = _SIZE.sub("", re.sub(r"[\[\]();,]+", " ", flat))
    unit = found[-1][1] or rest.strip() if found else ""
    if not found or rest.strip() not in ("", unit):
        raise ParameterError(f"spacing {text!r}: expected sizes like '0.5 um' or '2 1 1 um'")
    return [f"{number} {own or unit}" for number, own in found]


def parse_power(value: float | str, name: str) -> tuple[float, str, int]:
    """A number, its unit of length (``""``: voxels), and the unit's power: 3 for ``"100 um3"``.

    Raises
    ------
    ParameterError
        When it is no number with or without a unit.

    >>> parse_power("100 um^3", "size"), parse_power("5 voxels", "size")
    ((100.0, 'micrometer', 3), (5.0, '', 1))
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        number, word, power = float(value), "", 1
    else:
        match = _LENGTH.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ParameterError(f"{name} {value!r}: expected a number, or a number with a unit like '2.5 um'")
        number, word, power = float(match[1]), match[2], {"2": 2, "²": 2, "3": 3, "³": 3}.get(match[3] or match[4], 1)
    if not math.isfinite(number):
        raise ParameterError(f"{name} {value!r}: expected a finite number")
    if word.lower() in ("", *_VOXELS):
        if power > 1:
            raise ParameterError(f"{name} {value!r}: expected a unit of length before the power")
        return number, "", 1
    unit = unit_name(word)
    if unit is None:
        raise ParameterError(f"{name} {value!r}: {word!r} is not a unit of length; known are nm, um, mm, cm, m")
    return number, unit, power


def known_unit(unit: str, value: float | str) -> str:
    """The name of a volume's unit, which a value with a unit needs.

    Raises
    ------
    ParameterError
        When the volume has none.
    """
    name = unit_name(unit) if unit else None
    if name is None:
        raise ParameterError(
            f"{value!r} has a unit, but the spacing of the volume has "
            f"{'the unit ' + repr(unit) if unit else 'none'}: give the value in voxels, or the volume a "
            "spacing like '0.5 um'"
        )
    return name


def _shift(value: float, power: int) -> float:
    """Multiply by a power of ten, rounding once: 10.0 ** power is exact from 0 to 22, its inverse is not."""
    return value * 10.0**power if power >= 0 else value / 10.0**-power


def byte_count(text: str | int) -> int:
    """``"2GiB"`` in bytes; a number is one.

    Raises
    ------
    UsageError

    >>> byte_count("2GiB"), byte_count("500 MB"), byte_count(4096)
    (2147483648, 500000000, 4096)
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([kmgt]?i?)b?\s*", str(text).lower())
    count = float(match[1]) * BYTES[match[2]] if match and match[2] in BYTES else 0.0
    if not 1 <= count < 1 << 60:
        raise UsageError(f"memory {text}: expected a number of bytes with a unit, as in 2GiB or 500MB")
    return int(count)
