"""Numbers as people read them: bytes, seconds, counts, lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

SHORT = {
    "picometer": "pm",
    "angstrom": "Å",
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "centimeter": "cm",
    "decimeter": "dm",
    "meter": "m",
    "kilometer": "km",
}
POWERS = {1: "", 2: "²", 3: "³"}


def number(value: float, digits: int = 4) -> str:
    """A number with so many significant digits, thousands apart, never in more than 12 characters.

    >>> number(93.1), number(1234567.0), number(0.000012), number(3)
    ('93.1', '1,234,567', '1.2e-05', '3')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e9:
        if float(value).is_integer() or abs(value) >= 10 ** (digits - 1):
            return f"{value:,.0f}"
        text = f"{value:.{digits}g}"
        return text if "e" not in text else f"{float(text):,.0f}"
    return f"{value:.{digits}g}"


def size(count: float) -> str:
    """Bytes in binary units.

    >>> size(0), size(1536), size(5 * 2**30)
    ('0 B', '1.5 KiB', '5 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1000 or unit == "TiB":
            break
        count /= 1024
    text = f"{count:.0f}" if unit == "B" or abs(count) >= 100 else f"{count:.3g}"
    return f"{text} {unit}"


def column(values: Sequence[float], digits: int = 4) -> list[str]:
    """Numbers below each other: as many decimals as the largest needs for its significant digits.

    >>> column([33.66, 36.1, 120.0]), column([1, 2500])
    (['33.7', '36.1', '120.0'], ['1', '2,500'])
    """
    if all(isinstance(value, int) for value in values):
        return [f"{value:,}" for value in values]
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest >= 1e9 or 0 < largest < 1e-3:
        return [number(value, digits) for value in values]
    decimals = max(0, digits - 1 - math.floor(math.log10(largest))) if largest else 0
    return [f"{value:,.{decimals}f}" for value in values]


def seconds(value: float) -> str:
    """A duration.

    >>> seconds(0.042), seconds(3.94), seconds(75), seconds(7500), seconds(200000)
    ('0.04 s', '3.9 s', '1 min 15 s', '2 h 05 min', '2 d 7 h')
    """
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    total = round(value)
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    if total < 86400:
        return f"{total // 3600} h {total % 3600 // 60:02d} min"
    return f"{total // 86400} d {total % 86400 // 3600} h"


def voxels(count: float, ndim: int = 3) -> str:
    """A number of voxels; of pixels in 2-D.

    >>> voxels(4096, 2), voxels(2097152), voxels(1.07e12)
    ('4,096 pixels', '2.10 million voxels', '1.07 trillion voxels')
    """
    for power, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if count >= power:
            part = count / power
            return f"{part:.2f} {word} {cell(ndim)}" if part < 10 else f"{part:.3g} {word} {cell(ndim)}"
    return f"{count:,.0f} {cell(ndim)}"


def cell(ndim: int) -> str:
    """What the smallest parts of an image are called."""
    return "voxels" if ndim == 3 else "pixels"


def rate(value: float) -> str:
    """Voxels a second.

    >>> rate(0.53), rate(123.4)
    ('0.53', '123')
    """
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"


def unit(name: str, power: int = 1) -> str:
    """A unit of length, area or volume, short.

    >>> unit("micrometer", 3), unit("furlong")
    ('µm³', 'furlong')
    """
    return f"{SHORT.get(name, name)}{POWERS[power]}" if name else ""


def by(items: Sequence[float]) -> str:
    """Sizes per axis.

    >>> by((128, 64, 2.5))
    '128 × 64 × 2.5'
    """
    return " × ".join(f"{item:g}" if item < 1e5 else f"{item:.0f}" for item in items)


def when(text: str) -> str:
    """A moment as ISO 8601 writes it, for people.

    >>> when("2026-11-22T17:42:10+00:00"), when("yesterday")
    ('22 Nov 2026, 17:42:10 UTC', 'yesterday')
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = "UTC" if moment.utcoffset() is not None and not moment.utcoffset() else moment.strftime("%z")
    return f"{moment.day} {moment:%b %Y, %H:%M:%S} {zone}".rstrip()
