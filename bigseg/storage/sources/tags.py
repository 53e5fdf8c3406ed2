"""Voxel sizes that TIFF files carry: OME-XML, ImageJ's description, resolution tags."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from bigseg.storage.units import POWERS, convert, unit_name

_SCREEN = (
    0,
    1,
    72,
    96,
    100,
    150,
    200,
    300,
    600,
    1200,
)  # dots an inch of screens and printers: no measurement


class Calibration(NamedTuple):
    """Voxel size along z, y, x, its unit, and what was assumed."""

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    unit: str = ""
    note: str = ""


def calibration(file: Any) -> Calibration:
    """The voxel size that a TIFF file carries; ones without unit where it carries none.

    OME-XML counts before ImageJ's description, that before the resolution tags. Where only the pixel size is
    known, z is taken to be as y. Resolutions of screens and printers (72, 300 dots an inch …) are no
    measurement and are passed over.

    Parameters
    ----------
    file : an open ``tifffile.TiffFile``.
    """
    if file.is_ome and file.ome_metadata:
        found = _ome(file.ome_metadata)
        if found:
            return found
    page = file.pages[0]
    x, y = _per_unit(page, "XResolution"), _per_unit(page, "YResolution")
    if file.is_imagej and file.imagej_metadata:
        meta = file.imagej_metadata
        unit = unit_name(str(meta.get("unit", "")))
        if unit and x and y:
            z = float(meta.get("spacing") or 0)
            note = "" if z > 0 else "z spacing is not in the file: taken to be as y"
            return Calibration((z if z > 0 else 1 / y, 1 / y, 1 / x), unit, note)
        return Calibration()
    dots = {2: 2.54, 3: 1.0}.get(int(getattr(page.tags.get("ResolutionUnit"), "value", 1)))
    if dots and x and y and (dots == 1.0 or round(x, 3) not in _SCREEN):
        sides = [convert(dots / value, "centimeter", "micrometer") for value in (y, y, x)]
        return Calibration(
            (sides[0], sides[1], sides[2]), "micrometer", "z spacing is not in the file: taken to be as y"
        )
    return Calibration()


def _per_unit(page: Any, name: str) -> float:
    """Pixels a unit."""
    tag = page.tags.get(name)
    try:
        above, below = tag.value
        return float(above) / float(below)
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        return 0.0


def _ome(text: str) -> Calibration | None:
    pixels = re.search(r"<(?:\w+:)?Pixels\b([^>]*)>", text)
    given = dict(re.findall(r'PhysicalSize(\w+)\s*=\s*"([^"]*)"', pixels[1])) if pixels else {}
    try:
        sizes = {axis: float(given[axis]) for axis in "XYZ" if axis in given}
    except ValueError:
        return None
    if not {"X", "Y"} <= set(sizes) or not all(size > 0 for size in sizes.values()):
        return None
    units = {
        axis: unit_name(given.get(f"{axis}Unit", "µm").replace("&#181;", "µ").replace("&#xB5;", "µ")) for axis in sizes
    }
    if any(unit not in POWERS for unit in units.values()):
        return None
    unit = units["X"]
    assert unit is not None
    side = {axis: convert(size, str(units[axis]), unit) for axis, size in sizes.items()}
    note = "" if "Z" in side else "z spacing is not in the file: taken to be as y"
    return Calibration((side.get("Z", side["Y"]), side["Y"], side["X"]), unit, note)
