"""The pictures of a run: its input, every saved step and an overlay, in up to three directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

from bigseg.errors import BigsegError
from bigseg.grid import Box
from bigseg.report.pictures import (
    Window,
    coloured_classes,
    layer_picture,
    picture_size,
    scale_bar,
    slice_picture,
    window_of,
)
from bigseg.report.planes import LONGEST, Levels, Slice, middle_boxes, middle_part, place_of
from bigseg.report.wording import cell

PIXELS = 2_000_000
"""Of all pictures with greys together: noise costs a byte a pixel, masks a fifth; the page stays below 3 MB."""
SMALLEST = 240
PLANES = {"z": "xy", "y": "xz", "x": "yz", "": ""}


@dataclass(frozen=True)
class Picture:
    """One picture of a page.

    Parameters
    ----------
    name : what it shows.
    png : the file.
    size : rows and columns.
    level : of the pyramid that was read, 0 the finest.
    bar, length : the scale bar's part of the width, and its text.
    legend : names and colours of classes.
    """

    name: str
    png: bytes = field(repr=False)
    size: tuple[int, int]
    level: int
    bar: float
    length: str
    legend: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class View:
    """One direction: which plane it shows (``""`` in 2-D), its pictures, and what could not be shown."""

    plane: str
    place: str
    pictures: list[Picture]
    notes: list[str]

    @property
    def columns(self) -> int:
        """Pictures side by side: a 2-D image gets more room, and no row holds a single last one."""
        count = len(self.pictures)
        if not self.plane:
            return {1: 1, 2: 2, 4: 2}.get(count, 3)
        return max(3, count) if count <= 5 else 3 if count % 3 == 0 else 4


def three_views(folder: Path, record: Mapping[str, Any]) -> tuple[list[View], list[str]]:
    """Pictures of the planes through the middle of a run's volumes; of the one image in 2-D.

    Parameters
    ----------
    folder, record : of the run.

    Returns
    -------
    views : one a direction.
    notes : which volumes could not be opened, and why.
    """
    shape = tuple(record["volume"]["shape"])
    notes: list[str] = []
    given = {name: str(path) for name, path in record.get("inputs", {}).items()}
    inputs = _open(given, shape, notes, record.get("parts", {}))
    saved = _open({name: str(folder / f"{name}.ome.zarr") for name in record.get("saved", [])}, shape, notes, {})
    levels = {**inputs, **saved}
    if not levels:
        return [], [*notes, "There is no volume to show."]
    boxes = middle_boxes(next(iter(levels.values())).spec)
    first = next(iter(inputs), None)
    read = {}
    for normal, box in boxes.items():
        part = box if first is None or inputs[first].level_for(box) is not None else middle_part(box)
        read[normal] = part, *_read(levels, part, normal)
    shown = [item.kind for _, slices, _ in read.values() for item in slices.values()]
    weight = len(read) + sum(1.0 if kind == "image" else 0.2 for kind in shown)
    longest = int(min(LONGEST, max(SMALLEST, sqrt(PIXELS / weight))))
    windows = {
        name: window_of(planes)
        for name in levels
        if (planes := [s[name].plane for _, s, _ in read.values() if name in s and s[name].kind == "image"])
    }
    views = []
    for normal, (part, slices, missed) in read.items():
        spec = next(iter(levels.values())).spec
        pictures = _pictures(slices, first, windows, longest, cell(spec.ndim))
        views.append(View(PLANES[normal], place_of(normal, part, spec), pictures, missed))
    filled = [name for name, item in levels.items() if item.fill]
    if filled:
        notes.append(f"Chunks of {', '.join(filled)} that do not exist are shown as the fill value.")
    return views, notes


def _open(
    paths: Mapping[str, str], shape: tuple[int, ...], notes: list[str], parts: Mapping[str, Any]
) -> dict[str, Levels]:
    found = {}
    for name, path in paths.items():
        try:
            found[name] = Levels(path, shape, parts.get(name))
        except (BigsegError, OSError, ValueError) as error:
            notes.append(f"{name} could not be opened: {error}")
    return found


def _read(levels: Mapping[str, Levels], box: Box, normal: str) -> tuple[dict[str, Slice], list[str]]:
    slices, missed = {}, []
    for name, item in levels.items():
        try:
            slices[name] = item.read(box, normal)
        except (BigsegError, OSError, ValueError) as error:
            missed.append(f"{name}: {error}")
    return slices, missed


def _pictures(
    slices: Mapping[str, Slice], first: str | None, windows: Mapping[str, Window], longest: int, cells: str
) -> list[Picture]:
    """Each volume alone, then the last mask or labels on the input."""
    found = []
    for name, item in slices.items():
        if item.kind == "image":
            png = slice_picture(item.plane, spacing=item.spacing, window=windows[name], longest=longest)
        else:
            png = layer_picture(item.plane, item.kind, spacing=item.spacing, longest=longest, classes=item.classes)
        found.append(_picture(name, png, item, longest, cells, item))
    upper = [name for name, item in slices.items() if item.kind != "image"]
    below = slices.get(first) if first is not None else None
    if below is not None and below.kind == "image" and upper:
        top = slices[upper[-1]]
        png = slice_picture(
            below.plane,
            [(top.plane, top.kind, top.classes)],
            spacing=below.spacing,
            window=windows[str(first)],
            longest=longest,
        )
        found.append(_picture(f"{upper[-1]} on {first}", png, below, longest, cells, top))
    return found


def _picture(name: str, png: bytes, item: Slice, longest: int, cells: str, top: Slice) -> Picture:
    length, text = scale_bar(item.width, item.unit, cells)
    rows, columns = picture_size(item.plane.shape, item.spacing, longest)
    legend = [(known.name, colour) for known, colour in coloured_classes(top.classes)]
    return Picture(name, png, (rows, columns), item.level, length / item.width, text, legend)
