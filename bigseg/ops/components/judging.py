"""What objects are judged by: predicates on the rows that describe them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Literal, Protocol

import numpy as np

from bigseg.engine.field import Array, Values
from bigseg.ops.base import value_of
from bigseg.ops.components.rows import Rows


class Predicate(Protocol):
    """What chooses objects by their rows."""

    def bind(self, values: Values) -> Predicate:
        """With computed values."""

    def wants(self, column: str) -> bool:
        """Whether it looks at a column of the rows."""

    def holds(self, rows: Rows, among: Array) -> Array:
        """Which rows it chooses; ``among`` says which are left by the predicates before it."""


@dataclass(frozen=True)
class Condition:
    """A condition on a column: at least, at most, above or below a value, which an earlier step may compute."""

    column: str
    relation: Literal["at least", "at most", "above", "below"]
    value: float | str

    def bind(self, values: Values) -> Condition:
        """With the computed value."""
        return replace(self, value=value_of(self.value, values))

    def wants(self, column: str) -> bool:
        """Its own."""
        return column == self.column

    def holds(self, rows: Rows, among: Array) -> Array:
        """For which rows it holds; above and below are strict, floats at the column's precision."""
        column = rows[self.column]
        value = column.dtype.type(self.value) if column.dtype.kind == "f" else self._whole()
        compare = {"at least": np.greater_equal, "at most": np.less_equal, "above": np.greater, "below": np.less}
        return np.asarray(compare[self.relation](column, value))

    def _whole(self) -> int:
        """The value moved to an integer, which integers are compared with digit by digit, not as floats."""
        assert not isinstance(self.value, str)
        return floor(self.value) if self.relation in ("at most", "above") else ceil(self.value)
