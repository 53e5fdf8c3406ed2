"""What `bigseg.evaluate` gives: figures by name, which a notebook shows as curves and a confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bigseg.errors import ParameterError
from bigseg.report.wording import number

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("accuracy", "dice", "jaccard")
"""Figures above the picture, beside the areas that its curves name."""


class Evaluation(dict[str, Any]):
    """Figures of a result against the truth, and the table behind them.

    Parameters
    ----------
    figures : by name, as `bigseg.Evaluate` lists them.
    table : the curve of scores (a row a threshold), a row a class, or a row an overlap of objects; None of values.

    Examples
    --------
    >>> found = Evaluation({"confusion": [[5, 1], [2, 4]], "classes": [0, 1], "dice": 0.727}, None)
    >>> found["dice"], found.picture()[1:4]
    (0.727, b'PNG')
    """

    def __init__(self, figures: Mapping[str, Any], table: pd.DataFrame | None) -> None:
        super().__init__(figures)
        self.table = table

    def picture(self) -> bytes:
        """ROC and precision-recall curve of scores, and the confusion matrix, as PNG.

        Raises
        ------
        ParameterError
            When there is nothing to draw, as for values.
        """
        from bigseg.report.evaluation import evaluation_picture  # matplotlib takes a second to load

        shown = [f"{name.capitalize()} {number(self[name])}" for name in SHOWN if self.get(name) is not None]
        return evaluation_picture(self, self.table, ", ".join(shown))

    def _repr_png_(self) -> bytes | None:
        try:
            return self.picture()
        except ParameterError:
            return None
