"""The curves of scores beside each other: ROC, and precision over recall."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bigseg.report.charts import DARK, LIGHT, WIDTH, Chart, Theme
from bigseg.report.style import plain_style
from bigseg.report.wording import number

HEIGHT = 3.0
"""Inches."""
POINTS = 1000
"""Of a curve: more than it has pixels."""
PLACES = ((0.075, 0.16, 0.385, 0.8), (0.585, 0.16, 0.385, 0.8))


def curve_chart(curve: pd.DataFrame, area: float | None, precision: float | None, name: str) -> Chart:
    """Both curves of scores, with the point of the best Dice.

    Parameters
    ----------
    curve : the table of `evaluate`: fall_out, recall, precision, dice, above.
    area : under the ROC curve; precision : the average. None where it is not defined.
    name : of the scores.
    """
    best = int(curve["dice"].to_numpy().argmax())
    curve, point = _thinned(curve), curve.iloc[best]

    def roc(axes: Axes, theme: Theme) -> None:
        axes.plot((0, 1), (0, 1), color=theme.grid, linewidth=1.0)
        axes.plot(np.append(0, curve["fall_out"]), np.append(0, curve["recall"]), color=theme.edge, linewidth=1.4)
        axes.plot(point["fall_out"], point["recall"], "o", color=theme.mark, markersize=4)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
        _say(axes, theme, "area", area)

    def recalled(axes: Axes, theme: Theme) -> None:
        axes.plot(curve["recall"], curve["precision"], color=theme.edge, linewidth=1.4)
        axes.plot(point["recall"], point["precision"], "o", color=theme.mark, markersize=4)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        _say(axes, theme, "mean precision", precision)

    words = (
        f"ROC and precision-recall curves of {name}; area {_number(area)}, mean precision {_number(precision)}; best "
        f"Dice {number(float(point['dice']))} above {number(float(point['above']))}"
    )
    return Chart(_png((roc, recalled), LIGHT), _png((roc, recalled), DARK), words)


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """At most a thousand rows, evenly spread along both curves, both ends among them."""
    if len(curve) <= POINTS:
        return curve
    columns = [curve[name].to_numpy() for name in ("fall_out", "recall", "precision")]
    steps = sum(np.abs(np.diff(column, prepend=column[0])) for column in columns)
    length = np.cumsum(steps)
    places = np.searchsorted(length, np.linspace(0, length[-1], POINTS - 2))
    return curve.iloc[np.unique(np.concatenate([[0, len(curve) - 1], places.clip(0, len(curve) - 1)]))]


def _say(axes: Axes, theme: Theme, what: str, value: float | None) -> None:
    axes.text(0.97, 0.06, f"{what} {_number(value)}", ha="right", fontsize=8.5, color=theme.ink)


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"


def _png(draws: tuple[Callable[[Axes, Theme], None], ...], theme: Theme) -> bytes:
    with plain_style():
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=170)
        FigureCanvasAgg(figure)
        for draw, place in zip(draws, PLACES, strict=True):
            axes = figure.add_axes(place)
            draw(axes, theme)
            axes.set_xlim(-0.01, 1.01)
            axes.set_ylim(-0.01, 1.02)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
            for side in ("bottom", "left"):
                axes.spines[side].set_color(theme.muted)
            axes.tick_params(colors=theme.muted, labelsize=8, length=3)
            axes.xaxis.label.set(color=theme.muted, fontsize=8.5)
            axes.yaxis.label.set(color=theme.muted, fontsize=8.5)
            axes.grid(color=theme.grid, linewidth=0.8)
            axes.set_axisbelow(True)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", transparent=True)
    return buffer.getvalue()
