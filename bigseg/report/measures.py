"""Rows of a table of objects, worded: several columns that belong together become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bigseg.report.colours import label_colour
from bigseg.report.objects import Objects
from bigseg.report.wording import by, cell, column, unit

AXES = ("z", "y", "x")
LEFT_OUT = ("area_bbox", "covariance", "inertia_tensor", "principal_axes", "centroid_weighted")
"""Columns that begin so stand in the table's file alone."""
NAMED = {
    "equivalent_diameter_area": ("diameter", 1),
    "touches_edge": ("at the edge", 0),
    "axis_major_length": ("longest axis", 1),
    "axis_minor_length": ("shortest axis", 1),
    "surface_area": ("surface", 2),
    "perimeter_crofton": ("perimeter", 1),
    "euler_number": ("Euler number", 0),
}
"""Headings, and the power of length that the numbers are in."""


@dataclass(frozen=True)
class MeasureTable:
    """Headings (and their units) and the cells below them; the colour of each row's label."""

    headings: list[tuple[str, str]]
    rows: list[tuple[str, list[str]]]


def measure_table(found: Objects) -> MeasureTable:
    """The largest objects of a table.

    >>> import numpy as np
    >>> one = np.array([1])
    >>> columns, row = ("label", "num_pixels", "bbox-0", "bbox-1", "bbox-2", "bbox-3"), (7, 4, 0, 3, 2, 5)
    >>> found = Objects("regions", 4 * one, one, 1.0, "", 2, 100, columns, (row,))
    >>> measure_table(found).headings
    [('label', ''), ('pixels', ''), ('box', 'y × x pixels')]
    >>> measure_table(found).rows
    [('#719503', ['7', '4', '2 × 2'])]
    >>> columns, row = ("label", "num_pixels", "surface_area", "touches_edge", "covariance-0-0"), (7, 4, 2.5, True, 0.1)
    >>> found = Objects("regions", 4 * one, one, 1.0, "micrometer", 3, 100, columns, (row,))
    >>> measure_table(found).headings[2:], measure_table(found).rows
    ([('surface', 'µm²'), ('at the edge', '')], [('#719503', ['7', '4', '2.500', 'yes'])])
    """
    names, ndim = found.columns, found.ndim
    axes = AXES[-ndim:]
    length = unit(found.unit)
    headings: list[tuple[str, str]] = []
    groups: list[tuple[int, ...]] = []
    skipped: set[str] = set()
    for index, name in enumerate(names):
        if name in skipped or name.startswith(LEFT_OUT):
            continue
        parts = [f"{name[:-2]}-{k}" for k in range(2 * ndim)]
        if name == "bbox-0" and set(parts) <= set(names):
            skipped |= set(parts)
            headings.append(("box", f"{' × '.join(axes)} {cell(ndim)}"))
            groups.append(tuple(names.index(part) for part in parts))
        elif name == "centroid-0" and set(parts[:ndim]) <= set(names):
            skipped |= set(parts[:ndim])
            headings.append(("centroid", f"{', '.join(axes)} {length}".strip()))
            groups.append(tuple(names.index(part) for part in parts[:ndim]))
        elif name != "area" or found.unit:
            headings.append(_heading(name, found))
            groups.append((index,))
    cells = [_cells([[row[index] for index in group] for row in found.rows], ndim) for group in groups]
    colours = [_colour(names, row) for row in found.rows]
    return MeasureTable(headings, list(zip(colours, map(list, zip(*cells, strict=True)), strict=True)))


def _heading(name: str, found: Objects) -> tuple[str, str]:
    if name == "num_pixels":
        return cell(found.ndim), ""
    if name == "area":
        return ("volume" if found.ndim == 3 else "area"), unit(found.unit, found.ndim)
    if name in NAMED:
        heading, power = NAMED[name]
        return heading, unit(found.unit, power) if power else ""
    return name.removeprefix("intensity_"), "intensity" if name.startswith("intensity_") else ""


def _cells(items: list[list[Any]], ndim: int) -> list[str]:
    """One column: plain numbers, a box from its corners, or coordinates."""
    width = len(items[0])
    if width == 2 * ndim:
        return [by([high - low for low, high in zip(i[:ndim], i[ndim:], strict=True)]) for i in items]
    if width > 1:
        flat = column([value for item in items for value in item])
        return [", ".join(flat[k : k + width]) for k in range(0, len(flat), width)]
    values = [item[0] for item in items]
    if all(isinstance(value, bool) for value in values):
        return ["yes" if value else "no" for value in values]
    if all(isinstance(value, (int, float)) for value in values):
        return column(values)
    return [str(value) for value in values]


def _colour(names: tuple[str, ...], row: tuple[Any, ...]) -> str:
    return label_colour(int(row[names.index("label")])) if "label" in names else "transparent"
