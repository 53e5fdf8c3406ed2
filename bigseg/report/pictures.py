"""Planes of volumes as PNG pictures: greys, masks in one colour, labels in many, overlays of both.

Every picture has a palette of at most 256 colours, so that a noisy plane costs one byte a pixel. An overlay
keeps 64 greys where nothing lies on the image, and fewer greys under each colour::

    0 .. 63           greys of the image alone
    64 + k (s + 1)    colour k: s shades, the image seen through it; then the colour itself, for outlines
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from bigseg.grid import Shape
from bigseg.report.colours import MASK, PALETTE, label_colours, rgb
from bigseg.report.style import plain_style
from bigseg.report.wording import number, unit
from bigseg.storage.spec import UNSEEN, Class, Kind

Plane = NDArray[Any]
Window = tuple[float, float]
Layer = tuple[Plane, Kind] | tuple[Plane, Kind, Sequence[Class]]
"""A plane of a mask, labels or classes, and what the values of classes mean, where it is known."""

GREYS = 64
OPACITY = 0.5
"""Of a colour over the image: the structure below stays visible."""
MOST_CLASSES = 24
"""With colours of their own: as many as labels have."""
SIDE = 640
"""Longest side of a picture in pixels, unless told."""


@dataclass(frozen=True)
class Panel:
    """A plane under its name.

    Parameters
    ----------
    name : what stands above it.
    plane : (rows, columns) of any dtype.
    kind : image, mask, labels or classes.
    spacing : size of a pixel along rows and columns, in ``unit``.
    unit : spelled out; ``""`` where unknown.
    classes : what the values of classes mean.
    """

    name: str
    plane: Plane
    kind: Kind = "image"
    spacing: tuple[float, float] = (1.0, 1.0)
    unit: str = ""
    classes: Sequence[Class] = ()


def window_of(planes: Sequence[Plane]) -> Window:
    """Grey values shown as black and white: the 0.5 and 99.5 percentiles of what is finite in all planes.

    >>> window_of([np.arange(201.0)])
    (1.0, 199.0)
    """
    values = np.concatenate([plane[np.isfinite(plane)].astype(np.float64).ravel() for plane in planes])
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    if low == high:
        low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + 1.0


def picture_size(shape: Shape, spacing: Sequence[float] = (1.0, 1.0), longest: int = SIDE) -> Shape:
    """Rows and columns of a picture in which distances are physical: enlarged by whole numbers, or reduced.

    >>> picture_size((128, 128)), picture_size((50, 100), (3.0, 1.0)), picture_size((2000, 1000))
    ((640, 640), (600, 400), (640, 320))
    """
    least = min(spacing)
    natural = [n * step / least for n, step in zip(shape, spacing, strict=True)]
    scale = longest / max(natural)
    scale = floor(scale) if scale >= 1 else scale
    rows, columns = (max(1, round(n * scale)) for n in natural)
    return rows, columns


def slice_picture(
    plane: Plane,
    overlays: Sequence[Layer] = (),
    *,
    spacing: Sequence[float] = (1.0, 1.0),
    window: Window | None = None,
    longest: int = SIDE,
) -> bytes:
    """An image in greys, with masks and labels on it: translucent, their outlines solid.

    Parameters
    ----------
    plane : (rows, columns) of the image.
    overlays : planes, their kinds and classes, each covering the same area as the image; the last lies on top.
    spacing : size of a pixel along rows and columns.
    window : values shown black and white; default: `window_of` the plane.
    longest : longest side of the picture in pixels.

    Returns
    -------
    PNG with a palette.

    Examples
    --------
    >>> picture = slice_picture(np.arange(12).reshape(3, 4), [(np.eye(3, 4) > 0, "mask")])
    >>> Image.open(io.BytesIO(picture)).size
    (640, 480)
    """
    size = picture_size(plane.shape, spacing, longest)
    pixels, palette = _overlaid(_greys(plane, window or window_of([plane]), size), overlays)
    return _png(pixels, palette)


def layer_picture(
    plane: Plane,
    kind: Kind,
    *,
    spacing: Sequence[float] = (1.0, 1.0),
    longest: int = SIDE,
    classes: Sequence[Class] = (),
) -> bytes:
    """A step alone: an image in greys, a mask in its colour, labels or classes in theirs on transparent ground."""
    if kind == "image":
        return slice_picture(plane, spacing=spacing, longest=longest)
    indices, colours = _coloured(plane, kind, picture_size(plane.shape, spacing, longest), classes)
    return _png(indices, np.array([(0, 0, 0), *map(rgb, colours)], np.uint8), transparent=True)


def draw_panels(panels: Sequence[Panel], title: str = "", longest: int = SIDE, overlay: bool = True) -> bytes:
    """A row of planes under their names, and at its end the last mask or labels on the first image.

    Parameters
    ----------
    panels : all of the same area, the input first.
    title : above the row.
    longest : longest side of each plane in pixels.
    overlay : draw the last one on the first, too.

    Returns
    -------
    PNG. More than five planes go on in further rows.

    >>> plane = np.arange(12).reshape(3, 4)
    >>> picture = draw_panels([Panel("input", plane), Panel("bright", plane > 6, "mask")], "a ramp")
    >>> picture[1:4]
    b'PNG'
    """
    first = panels[0]
    drawn = [(panel.name, panel, _pixels(panel, [], longest)) for panel in panels]
    upper = [panel for panel in panels[1:] if panel.kind != "image"]
    if overlay and first.kind == "image" and upper:
        over = _pixels(first, [(upper[-1].plane, upper[-1].kind, upper[-1].classes)], longest)
        drawn.append((f"{upper[-1].name} on {first.name}", first, over))
    rows = ceil(len(drawn) / 5)
    columns = ceil(len(drawn) / rows)
    height, width = drawn[0][2].shape[:2]
    side = 3.4
    tall = min(2.0, max(0.35, height / width)) * side + 0.34
    space = (columns * side, rows * tall + (0.45 if title else 0.05))
    with plain_style():
        figure = Figure(figsize=space, dpi=150, layout="compressed")
        FigureCanvasAgg(figure)
        figure.set_layout_engine("compressed", w_pad=0.03, h_pad=0.03)
        for place, (name, panel, pixels) in enumerate(drawn, start=1):
            _draw_panel(figure.add_subplot(rows, columns, place), name, panel, pixels)
        if title:
            figure.suptitle(title, x=0.003, ha="left", fontweight="bold", **_text(12))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def scale_bar(extent: float, name: str, count: str = "voxels") -> tuple[float, str]:
    """A length of 1, 2 or 5 times a power of ten, between an eighth and a third of the width, and its text.

    Parameters
    ----------
    extent : width of the picture in units.
    name : of the unit, spelled out; ``""`` where unknown.
    count : what the picture is made of, where the unit is unknown.

    >>> scale_bar(300.0, "micrometer"), scale_bar(128, "")
    ((50.0, '50 µm'), (20.0, '20 voxels'))
    """
    goal = extent / 4
    power = 10.0 ** floor(log10(goal))
    length = next(step * power for step in (5.0, 2.0, 1.0) if step * power <= goal * (1 + 1e-9))
    return length, f"{number(length)} {unit(name) or (count[:-1] if length == 1 else count)}"


def _draw_panel(axes: Axes, name: str, panel: Panel, pixels: NDArray[np.uint8]) -> None:
    axes.imshow(pixels, interpolation="antialiased", aspect="equal")
    axes.set_title(name, loc="left", **_text(10))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#d4dae1")
    extent = panel.plane.shape[1] * (panel.spacing[1] if panel.unit else 1.0)
    length, text = scale_bar(extent, panel.unit)
    part = length / extent
    on_top: dict[str, Any] = {"transform": axes.transAxes, "zorder": 3}
    bar = Rectangle((0.04, 0.035), part, 0.012, facecolor="white", edgecolor="black", linewidth=0.4, **on_top)
    axes.add_patch(bar)
    ground = {"facecolor": "black", "alpha": 0.45, "edgecolor": "none", "pad": 1.0}
    place = 0.04 + part / 2, 0.06
    axes.text(*place, text, color="white", fontsize=7.5, ha="center", va="bottom", bbox=ground, **on_top)


def _text(points: float) -> dict[str, Any]:
    """Of names: shown as they are, never read as formulas."""
    return {"fontsize": points, "color": "#1d2733", "parse_math": False}


def _pixels(panel: Panel, overlays: Sequence[Layer], longest: int) -> NDArray[np.uint8]:
    """A panel as red, green, blue."""
    size = picture_size(panel.plane.shape, panel.spacing, longest)
    if panel.kind == "image":
        pixels, palette = _overlaid(_greys(panel.plane, window_of([panel.plane]), size), overlays)
    else:
        pixels, colours = _coloured(panel.plane, panel.kind, size, panel.classes)
        palette = np.array([(20, 24, 29), *map(rgb, colours)], np.uint8)
    return palette[pixels]


def _greys(plane: Plane, window: Window, size: Shape) -> NDArray[np.uint8]:
    """Values of a window as 0..255, averaged over the pixels of a smaller picture."""
    low, high = window
    with np.errstate(invalid="ignore"):
        scaled = np.nan_to_num((plane.astype(np.float64) - low) * (255.0 / (high - low)), nan=0.0)
    levels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(levels).resize(size[::-1], Image.Resampling.BOX))


def coloured_classes(classes: Sequence[Class]) -> list[tuple[Class, str]]:
    """The classes that are shown, and their colours; none where a colour is not known, or there are too many.

    >>> coloured_classes([Class(0, "rest", UNSEEN), Class(3, "pore", "#4477aa")])
    [(Class(value=3, name='pore', colour='#4477aa'), '#4477aa')]
    """
    if not all(item.colour or not item.value for item in classes):
        return []
    shown = [(item, item.colour) for item in classes if item.colour and item.colour != UNSEEN]
    return shown if len(shown) <= MOST_CLASSES else []


def _coloured(
    plane: Plane, kind: Kind, size: Shape, classes: Sequence[Class] = ()
) -> tuple[NDArray[np.uint8], Sequence[str]]:
    """Which colour each pixel has, 0 for none, and the colours 1, 2, …; nothing is interpolated."""
    rows, columns = ((np.arange(m) + 0.5) * n // m for m, n in zip(size, plane.shape, strict=True))
    chosen = plane[rows.astype(np.intp)[:, None], columns.astype(np.intp)]
    if kind == "mask":
        return (chosen != 0).astype(np.uint8), (MASK,)
    shown = coloured_classes(classes) if kind == "classes" else []
    if not shown:
        return label_colours(chosen), PALETTE
    indices = np.zeros(chosen.shape, np.uint8)
    for place, (item, _) in enumerate(shown, start=1):
        indices[chosen == item.value] = place
    colours = [colour for _, colour in shown]
    nameless = ~np.isin(chosen, [0, *(item.value for item in classes)])
    if not nameless.any():
        return indices, colours
    indices[nameless] = len(shown) + label_colours(chosen[nameless])  # what nobody named must not look like nothing
    return indices, [*colours, *PALETTE]


def _overlaid(greys: NDArray[np.uint8], overlays: Sequence[Layer]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels of a palette, and the palette: see the module's drawing."""
    size = greys.shape
    if not overlays:
        return greys, np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    layers = [(*_coloured(plane, kind, size, *known), _outlines(plane, size)) for plane, kind, *known in overlays]
    colours = [colour for _, names, _ in layers for colour in names]
    shades = min(63, (256 - GREYS) // len(colours) - 1)
    pixels = (greys >> 2).astype(np.uint8)
    shade = (greys.astype(np.uint16) * shades >> 8).astype(np.uint8)
    offset = GREYS
    for indices, names, outline in layers:
        own = offset + (indices - np.uint8(1)).astype(np.uint16) * (shades + 1)
        covered = np.where(outline, own + shades, own + shade)
        pixels = np.where(indices > 0, covered, pixels).astype(np.uint8)
        offset += len(names) * (shades + 1)
    steps = [np.linspace(0, 255, GREYS)[:, None].repeat(3, axis=1)]
    for colour in map(rgb, colours):
        below = (np.arange(shades) + 0.5)[:, None] * (255 / shades)
        steps += [below * (1 - OPACITY) + np.array(colour) * OPACITY, np.array([colour], float)]
    return pixels, np.rint(np.concatenate(steps)).astype(np.uint8)


def _outlines(plane: Plane, size: Shape) -> NDArray[np.bool_]:
    """Pixels of objects that are near another value: lines of a width that fits the picture."""
    rows, columns = ((np.arange(m) + 0.5) * n // m for m, n in zip(size, plane.shape, strict=True))
    chosen = plane[rows.astype(np.intp)[:, None], columns.astype(np.intp)]
    found = np.zeros(size, bool)
    for step in range(1, max(1, round(max(size) / 220)) + 1):
        below, right = chosen[step:] != chosen[:-step], chosen[:, step:] != chosen[:, :-step]
        found[step:] |= below
        found[:-step] |= below
        found[:, step:] |= right
        found[:, :-step] |= right
    return found


def _png(pixels: NDArray[np.uint8], palette: NDArray[np.uint8], transparent: bool = False) -> bytes:
    image = Image.fromarray(pixels)
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, **({"transparency": 0} if transparent else {}))
    return buffer.getvalue()
