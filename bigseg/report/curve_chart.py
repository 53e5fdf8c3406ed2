"""The curves of scores beside each other: ROC, and precision over recall."""

from __future__ import annotations

import io

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


def curve_chart(
    curve: pd.DataFrame, area: float | None, precision: float | None, name: str, used: float | None = None
) -> Chart:
    """Both curves of scores, with the point of the best Dice, or of the threshold that was chosen elsewhere.

    Parameters
    ----------
    curve : the table of `evaluate`: fall_out, recall, precision, dice, above.
    area : under the ROC curve; precision : the average. None where it is not defined.
    name : of the scores.
    used : the threshold that was chosen elsewhere: then the best one is not looked for.
    """
    point = curve.iloc[int(curve["dice"].to_numpy().argmax())] if used is None else used_point(curve, used)
    if point is None:
        marked = "no score above the threshold"
    else:
        marked = f"{'best ' if used is None else ''}Dice {number(float(point['dice']))}"
        marked += f" above {number(float(point['above'] if used is None else used))}"

    def picture(theme: Theme) -> bytes:
        with plain_style():
            figure = Figure(figsize=(WIDTH, HEIGHT), dpi=170)
            FigureCanvasAgg(figure)
            left, right = (figure.add_axes(place) for place in PLACES)
            draw_curves(left, right, theme, curve, area, precision, point)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", transparent=True)
        return buffer.getvalue()

    words = (
        f"ROC and precision-recall curves of {name}; area {_number(area)}, mean precision {_number(precision)}; "
        f"{marked}"
    )
    return Chart(picture(LIGHT), picture(DARK), words)


def used_point(curve: pd.DataFrame, threshold: float) -> pd.Series | None:
    """The row of a curve that a threshold makes; None where no score is above it."""
    above = curve[curve["threshold"] > threshold]
    return above.iloc[-1] if len(above) else None


def draw_curves(
    left: Axes,
    right: Axes,
    theme: Theme,
    curve: pd.DataFrame,
    area: float | None,
    precision: float | None,
    point: pd.Series | None,
) -> None:
    """ROC on the left, precision over recall on the right.

    Parameters
    ----------
    curve, area, precision : as of `curve_chart`.
    point : the row that is marked.
    """
    drawn = _thinned(curve)
    left.plot((0, 1), (0, 1), color=theme.grid, linewidth=1.0)
    left.plot(np.append(0, drawn["fall_out"]), np.append(0, drawn["recall"]), color=theme.edge, linewidth=1.4)
    left.set(xlabel="false positive rate", ylabel="true positive rate")
    right.plot(drawn["recall"], drawn["precision"], color=theme.edge, linewidth=1.4)
    right.set(xlabel="recall", ylabel="precision")
    if point is not None:
        left.plot(point["fall_out"], point["recall"], "o", color=theme.mark, markersize=4)
        right.plot(point["recall"], point["precision"], "o", color=theme.mark, markersize=4)
    for axes, what, value in ((left, "area", area), (right, "mean precision", precision)):
        axes.text(0.97, 0.06, f"{what} {_number(value)}", ha="right", fontsize=8.5, color=theme.ink)
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


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """At most a thousand rows, evenly spread along both curves, both ends among them."""
    if len(curve) <= POINTS:
        return curve
    columns = [curve[name].to_numpy() for name in ("fall_out", "recall", "precision")]
    steps = sum(np.abs(np.diff(column, prepend=column[0])) for column in columns)
    length = np.cumsum(steps)
    places = np.searchsorted(length, np.linspace(0, length[-1], POINTS - 2))
    return curve.iloc[np.unique(np.concatenate([[0, len(curve) - 1], places.clip(0, len(curve) - 1)]))]


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
