"""Charts of clusterings: means of the classes, and inertia and silhouette by the number of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from bigseg.report.charts import CHARACTER, LEFT, RIGHT, WIDTH, Chart, Frame, Theme, drawn, short
from bigseg.report.colours import label_colour
from bigseg.report.wording import number


def means_chart(classes: Sequence[int], standard: NDArray[Any], names: Sequence[str]) -> Chart:
    """The mean of every class along the features, a line a class in the class's colour.

    Parameters
    ----------
    classes : their numbers.
    standard : (classes, features), in standard deviations from the mean of all.
    names : of the features; numbers stand in their place where names have no room.
    """
    room = (WIDTH - LEFT - RIGHT) / len(names)
    named = CHARACTER * max(map(len, names)) < room

    def draw(axes: Axes, theme: Theme) -> None:
        places = np.arange(1, len(names) + 1)
        axes.axhline(0, color=theme.muted, linewidth=0.8)
        for value, line in zip(classes, standard, strict=True):
            axes.plot(places, line, color=label_colour(value), marker="o", markersize=4, linewidth=1.6)
        axes.set_xlim(0.5, len(names) + 0.5)
        axes.set_ylabel("standard deviations")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if named:
            axes.set_xticks(places, list(names), parse_math=False)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
            axes.set_xlabel("feature")

    words = f"means of {len(classes)} classes along {len(names)} features, as standard deviations from the mean of all"
    return drawn(draw, words, Frame(1.8))


def elbow_chart(numbers: NDArray[Any], inertia: NDArray[Any], silhouette: NDArray[Any], used: int) -> Chart:
    """Inertia and silhouette by the number of classes; the number that was used is marked.

    Parameters
    ----------
    numbers : of classes.
    inertia : sum of squared distances; silhouette : -1 to 1, NaN where there is none.
    used : the number of classes of the result.
    """

    def draw(axes: Axes, theme: Theme) -> None:
        axes.axvline(used, color=theme.muted, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.plot(numbers, inertia, color=theme.edge, marker="o", markersize=4, linewidth=1.6)
        axes.set_ylim(0, float(inertia.max()) * 1.08 or 1.0)
        axes.set_xlabel("classes")
        axes.set_ylabel("inertia", color=theme.edge)
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        other = axes.twinx()
        other.plot(numbers, silhouette, color=theme.mark, marker="s", markersize=4, linewidth=1.2, linestyle="--")
        other.set_ylabel("silhouette", color=theme.mark, fontsize=8.5)
        other.yaxis.set_major_locator(MaxNLocator(4))
        other.tick_params(axis="y", colors=theme.muted, labelsize=8, length=0)
        for spine in other.spines.values():
            spine.set_visible(False)

    words = "; ".join(
        f"{k} classes: inertia {number(float(a))}" + ("" if np.isnan(b) else f", silhouette {b:.3f}")
        for k, a, b in zip(numbers, inertia, silhouette, strict=True)
    )
    return drawn(draw, words, Frame(1.8, 0.62))
