"""Pictures of how well a result agrees with the truth: curves of scores, the confusion of classes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bigseg.errors import ParameterError
from bigseg.report.charts import LIGHT
from bigseg.report.curve_chart import draw_curves, used_point
from bigseg.report.style import plain_style
from bigseg.report.wording import number

SIDE, DPI = 3.2, 150
"""Inches of a plot, dots an inch."""
MOST_CLASSES = 20


def evaluation_picture(figures: Mapping[str, Any], rows: pd.DataFrame | None, where: str) -> bytes:
    """ROC and precision-recall curve of scores, and the confusion matrix, side by side.

    Parameters
    ----------
    figures : of an `evaluate` step; the confusion has true classes down.
    rows : its table: the curve, of scores.
    where : which voxels they are of, below the title.

    Returns
    -------
    PNG.

    Raises
    ------
    ParameterError
        When there is nothing to draw, as for values.

    Examples
    --------
    >>> evaluation_picture({"confusion": [[5, 1], [2, 4]], "classes": [0, 1]}, None, "the test region")[1:4]
    b'PNG'
    """
    curve = rows is not None and {"fall_out", "recall", "precision"} <= set(rows.columns)
    confusion = np.array(figures.get("confusion", []), np.int64)
    drawn = confusion.size and len(confusion) <= MOST_CLASSES
    count = 2 * curve + bool(drawn)
    if not count:
        raise ParameterError("there is no curve and no confusion to draw: leave the picture out")
    with plain_style():
        figure = Figure(figsize=(SIDE * count + 0.3, SIDE + 0.5), dpi=DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        plots = figure.subplots(1, count, squeeze=False)[0]
        if rows is not None and curve:
            point = used_point(rows, figures["threshold"])
            draw_curves(plots[0], plots[1], LIGHT, rows, figures["auc"], figures["average_precision"], point)
            for axes in plots[:2]:
                axes.set_aspect("equal")
            if point is not None:
                plots[0].set_title(f"marked: > {number(figures['threshold'])}", fontsize=9, color=LIGHT.ink)
        if drawn:
            _confusion(plots[-1], confusion, figures.get("classes", [0, 1]))
        figure.suptitle(where, fontsize=9, color=LIGHT.muted, parse_math=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _confusion(axes: Axes, confusion: np.ndarray[Any, Any], classes: Sequence[int]) -> None:
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{confusion[row, column]:,}\n{100 * share:.3g} %"
        if len(classes) <= 6:
            colour = "white" if share > 0.6 else LIGHT.ink
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(classes)), [str(item) for item in classes])
    axes.set_yticks(range(len(classes)), [str(item) for item in classes])
    axes.set_title("confusion, share of each true class", fontsize=9, color=LIGHT.ink)
    axes.set_xlabel("found", fontsize=8.5, color=LIGHT.muted)
    axes.set_ylabel("true", fontsize=8.5, color=LIGHT.muted)
    axes.tick_params(labelsize=8, length=0, colors=LIGHT.muted)
