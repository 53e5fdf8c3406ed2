"""Charts of a report, each drawn for light and for dark pages on transparent ground."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from bigseg.report.style import plain_style
from bigseg.report.thresholds import Line
from bigseg.report.wording import number

BINS = 400
STEEP = 60.0
"""Where the highest bin is so many times the middle one, counts are drawn on a logarithmic axis."""
WIDTH, LEFT, RIGHT, BELOW, ABOVE = 8.6, 0.66, 0.12, 0.5, 0.12
"""Inches: of the figure, and around the plot."""
CHARACTER, ROW = 0.066, 0.165
"""Inches: width of a character of a label, and height of a row of labels."""


@dataclass(frozen=True)
class Theme:
    """Colours of a chart."""

    ink: str
    muted: str
    grid: str
    fill: str
    edge: str
    mark: str


LIGHT = Theme("#1d2733", "#5d6b7a", "#e4e8ed", "#a9c6e3", "#2f6ea8", "#c2410c")
DARK = Theme("#e3e8ee", "#93a0ae", "#2c3540", "#2f5578", "#79b3e8", "#ff9d5c")


@dataclass(frozen=True)
class Chart:
    """One chart: PNG files for light and for dark pages, and what it shows in words."""

    light: bytes = field(repr=False)
    dark: bytes = field(repr=False)
    words: str


@dataclass(frozen=True)
class Frame:
    """Height of the plot and the margin beside it in inches; the row of each line's name."""

    height: float
    right: float = RIGHT
    rows: tuple[int, ...] = ()


def histogram_chart(values: NDArray[Any], counts: NDArray[Any], lines: Sequence[Line], label: str) -> Chart:
    """Voxels of each value, with thresholds as vertical lines.

    Parameters
    ----------
    values : equally spaced.
    counts : voxels of each.
    lines : thresholds; those that a step used are solid.
    label : of the values.
    """
    centres, heights, step = _grouped(values.astype(np.float64), counts.astype(np.float64))
    low, high = _shown(centres, heights, step, [line.value for line in lines])
    filled = heights[(heights > 0) & (centres >= low) & (centres <= high)]
    steep = bool(filled.size > 8 and filled.max() > STEEP * np.median(filled))

    frame = _frame(lines, low, high)

    def draw(axes: Axes, theme: Theme) -> None:
        edges = np.append(centres - step / 2, centres[-1] + step / 2)
        axes.stairs(heights, edges, fill=True, color=theme.fill, baseline=0.5 if steep else 0.0)
        axes.stairs(heights, edges, color=theme.edge, linewidth=1.0, baseline=0.5 if steep else 0.0)
        axes.set_xlim(low, high)
        if steep:
            axes.set_yscale("log")
            axes.set_ylim(0.5, filled.max() * 1.6)
        else:
            axes.set_ylim(0, filled.max() * 1.06 if filled.size else 1)
        _marks(axes, lines, frame, theme)
        axes.set_xlabel(label, parse_math=False)
        axes.set_ylabel("voxels" + (", logarithmic" if steep else ""))
        if not steep:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
            axes.yaxis.set_major_locator(MaxNLocator(4))

    words = f"histogram of {label}" + "".join(f"; {line.name} at {number(line.value)}" for line in lines)
    return drawn(draw, words, frame)


def size_chart(sizes: NDArray[Any], counts: NDArray[Any], scale: float, label: str) -> Chart:
    """How many objects have which size, on a logarithmic axis; no bin is narrower than a voxel.

    Parameters
    ----------
    sizes, counts : every size in voxels that occurs, and how many objects have it.
    scale : what a voxel is in units of the label.
    label : of the sizes.
    """
    least, most = int(sizes[0]), int(sizes[-1])
    edges = np.unique(np.floor(np.geomspace(least, most + 1, 33))).astype(np.int64)
    edges[0], edges[-1] = least, most + 1
    edges = np.unique(edges)
    heights = np.add.reduceat(counts, np.searchsorted(sizes, edges[:-1])) if len(edges) > 1 else counts
    full = np.searchsorted(sizes, edges[1:]) > np.searchsorted(sizes, edges[:-1])
    heights = np.where(full, heights, 0)

    def draw(axes: Axes, theme: Theme) -> None:
        shown = (edges - 0.5) * scale
        axes.stairs(heights, shown, fill=True, color=theme.fill)
        axes.stairs(heights, shown, color=theme.edge, linewidth=1.0)
        axes.set_xscale("log")
        axes.set_xlim(shown[0] / 1.05, shown[-1] * 1.05)
        axes.set_ylim(0, heights.max() * 1.08)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        if shown[-1] / shown[0] > 12:
            subs = (1.0, 2.0, 5.0) if shown[-1] / shown[0] < 2000 else (1.0,)
            axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=24))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axes.set_xlabel(label, parse_math=False)
        axes.set_ylabel("objects")

    return drawn(draw, f"histogram of {int(counts.sum())} objects by {label}", Frame(1.8))


def _grouped(
    values: NDArray[np.float64], counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Neighbouring values added up, so that a line has a pixel or two."""
    step = float(values[1] - values[0]) if len(values) > 1 else 1.0
    by = -(-len(values) // BINS)
    if by == 1:
        return values, counts, step
    start = np.arange(0, len(values), by)
    return values[0] + (start + (by - 1) / 2) * step, np.add.reduceat(counts, start), step * by


def _shown(
    centres: NDArray[np.float64], heights: NDArray[np.float64], step: float, marks: Sequence[float]
) -> tuple[float, float]:
    """The range to draw: all of it, unless half of it holds next to nothing."""
    whole = centres[0] - step, centres[-1] + step
    part = np.cumsum(heights) / heights.sum()
    ends = np.searchsorted(part, (5e-4, 1 - 5e-4)).clip(max=len(part) - 1)
    low, high = min([centres[ends[0]], *marks]), max([centres[ends[1]], *marks])
    margin = 0.06 * (high - low) + step
    if whole[1] - whole[0] < 1.6 * (high - low + 2 * margin):
        return min([whole[0], *marks]), max([whole[1], *marks])
    return low - margin, high + margin


def _frame(lines: Sequence[Line], low: float, high: float) -> Frame:
    """Room for the names of lines: each stands above the ends of all lines that it would cross."""
    right = RIGHT
    places = [(line.value - low) / (high - low) for line in lines]
    for _ in range(2):  # a wider margin makes the plot narrower, which moves the names once more
        width = WIDTH - LEFT - right
        ends = [
            place + (CHARACTER * len(_named(line)) + 0.1) / width for place, line in zip(places, lines, strict=True)
        ]
        right = min(3.0, max([RIGHT, *((end - 1) * width for end in ends)]))
    rows = [0] * len(lines)
    for k in reversed(range(len(lines))):
        crossed = [rows[j] + 1 for j in range(k + 1, len(lines)) if places[j] < ends[k]]
        rows[k] = max(crossed, default=0)
    return Frame(2.1, right, tuple(rows))


def _marks(axes: Axes, lines: Sequence[Line], frame: Frame, theme: Theme) -> None:
    """Vertical lines, and their names to the right of their upper ends."""
    for line, row in zip(lines, frame.rows, strict=True):
        top = 1 + (0.06 + ROW * row) / frame.height
        colour = theme.mark if line.used else theme.muted
        style: dict[str, Any] = {"color": colour, "transform": axes.get_xaxis_transform()}
        axes.plot(
            [line.value] * 2,
            [0, top + 0.13 / frame.height],
            linestyle="-" if line.used else (0, (4, 3)),
            linewidth=1.4 if line.used else 1.0,
            clip_on=False,
            **style,
        )
        axes.annotate(
            _named(line),
            (line.value, top),
            xycoords=style["transform"],
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8,
            color=colour,
            va="bottom",
            parse_math=False,
            annotation_clip=False,
        )


def _named(line: Line) -> str:
    return f"{line.name}  {number(line.value)}"


def short(value: float) -> str:
    """A tick's text: 12000 as 12 k."""
    for power, word in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= power:
            return f"{value / power:g} {word}"
    return f"{value:g}"


def drawn(draw: Callable[[Axes, Theme], None], words: str, frame: Frame) -> Chart:
    """A chart from what draws it on axes in the colours of a theme."""
    return Chart(_png(draw, LIGHT, frame), _png(draw, DARK, frame), words)


def _png(draw: Callable[[Axes, Theme], None], theme: Theme, frame: Frame) -> bytes:
    above = ABOVE + (0.06 + ROW * (max(frame.rows) + 1) if frame.rows else 0.0)
    height = BELOW + frame.height + above
    with plain_style():
        figure = Figure(figsize=(WIDTH, height), dpi=170)
        FigureCanvasAgg(figure)
        axes = figure.add_axes(
            (
                LEFT / WIDTH,
                BELOW / height,
                (WIDTH - LEFT - frame.right) / WIDTH,
                frame.height / height,
            )
        )
        draw(axes, theme)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(theme.muted)
        axes.tick_params(colors=theme.muted, labelsize=8, length=3, which="both")
        axes.tick_params(axis="y", length=0, which="both")
        axes.xaxis.label.set(color=theme.muted, fontsize=8.5)
        axes.yaxis.label.set(color=theme.muted, fontsize=8.5)
        axes.yaxis.set_label_coords(-0.052, 0.5)
        axes.grid(axis="y", color=theme.grid, linewidth=0.8)
        axes.set_axisbelow(True)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", transparent=True)
    return buffer.getvalue()
