"""Conditions on objects beyond one column: the largest, those away from the edge, those an expression holds for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from bigseg.engine.field import Array, Values
from bigseg.grid import Shape
from bigseg.local.expression import Expression, Unit
from bigseg.local.formula import evaluate
from bigseg.ops.table import Measure, Rows, geometry, intensities
from bigseg.storage.spec import Spec
from bigseg.storage.units import convert, known_unit, parse_power, unit_name


@dataclass(frozen=True)
class Largest:
    """The largest objects of those that are left; of equal ones those whose first voxel comes earlier."""

    count: int

    def bind(self, values: Values) -> Largest:
        """Nothing to bind."""
        return self

    def holds(self, rows: Rows, among: Array) -> Array:
        """At most ``count`` of them."""
        left = np.flatnonzero(among)
        order = np.lexsort((rows["first"][left], -rows["size"][left]))
        found = np.zeros(len(among), bool)
        found[left[order[: self.count]]] = True
        return found


@dataclass(frozen=True)
class Inside:
    """Objects without a voxel within ``margin`` of the volume's edge."""

    shape: Shape
    margin: Shape

    def bind(self, values: Values) -> Inside:
        """Nothing to bind."""
        return self

    def holds(self, rows: Rows, among: Array) -> Array:
        """By their bounding boxes."""
        return ~touching(rows, self.shape, self.margin)


@dataclass(frozen=True)
class Chosen:
    """Objects for which an expression on the table's columns holds.

    Parameters
    ----------
    expression : what is asked.
    spec : of the objects' volume, for physical columns.
    measures : ending of the column names (``""``, ``"-xray"``) and measure of each intensity volume.
    numbers : values of earlier steps, by their reference.
    """

    expression: Expression
    spec: Spec
    measures: tuple[tuple[str, Measure], ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()

    def bind(self, values: Values) -> Chosen:
        """With computed values and ranges."""
        numbers = bound_numbers(self.expression, values)
        return replace(self, numbers=numbers, measures=tuple((tail, item.bind(values)) for tail, item in self.measures))

    def holds(self, rows: Rows, among: Array) -> Array:
        """Computed in float64, for the objects that are left."""
        left = np.flatnonzero(among)
        columns = measured(rows, left, self.spec)
        for tail, item in self.measures:
            columns |= {f"{name}{tail}": column for name, column in intensities(rows, left, item).items()}
        found = np.zeros(len(among), bool)
        found[left] = evaluate(self.expression, {**columns, **dict(self.numbers)}, np.float64)
        return found


def touching(rows: Rows, shape: Shape, margin: Shape) -> Array:
    """Which objects have a voxel within ``margin`` voxels of the volume's edge; 0: on the edge itself.

    >>> rows = {"low-0": np.array([0, 1, 2]), "high-0": np.array([2, 3, 5])}
    >>> touching(rows, (5,), (0,))
    array([ True, False,  True])
    """
    found = np.zeros(len(rows["low-0"]), bool)
    for axis, (n, reach) in enumerate(zip(shape, margin, strict=True)):
        found |= (rows[f"low-{axis}"] <= reach) | (rows[f"high-{axis}"] >= n - reach)
    return found


def known_columns(spec: Spec, tails: tuple[str, ...]) -> dict[str, int | None]:
    """The columns that an expression may name, and the power of length each is in; None fits all numbers.

    In a volume without a unit every number is one of voxels, and all columns fit each other.
    """
    found: dict[str, int | None] = {"num_pixels": 0, "area": spec.ndim}
    if spec.ndim == 3:
        found["volume"] = 3
    found |= {"equivalent_diameter": 1, "equivalent_diameter_area": 1, "extent": 0, "touches_edge": None}
    found |= {f"bbox-{axis}": 0 for axis in range(2 * spec.ndim)}
    found |= {f"centroid-{axis}": 1 for axis in range(spec.ndim)}
    for tail in tails:
        found |= {f"intensity_{what}{tail}": None for what in ("min", "max", "mean", "std")}
    return found if unit_name(spec.unit) else dict.fromkeys(found)


def measured(rows: Rows, shown: Array, spec: Spec) -> Rows:
    """The columns of `known_columns` that need no intensities."""
    columns = geometry(rows, shown, spec)
    area = columns["area"]
    sides = [columns[f"bbox-{axis + spec.ndim}"] - columns[f"bbox-{axis}"] for axis in range(spec.ndim)]
    diameter = np.cbrt(6 * area / np.pi) if spec.ndim == 3 else np.sqrt(4 * area / np.pi)
    edge = touching(rows, spec.shape, (0,) * spec.ndim)[shown]
    return columns | {
        "volume": area,
        "equivalent_diameter": diameter,
        "equivalent_diameter_area": diameter,
        "extent": columns["num_pixels"] / prod(sides),
        "touches_edge": edge,
    }


def unit_of(spec: Spec) -> Unit:
    """What numbers with a unit are worth in the columns of a volume's table."""

    def worth(value: float, text: str) -> tuple[float, int]:
        number, given, power = parse_power(f"{value!r} {text}", "value")
        if not given:
            return number, 0
        return convert(number, given, known_unit(spec.unit, f"{value} {text}"), power), power

    return worth


def bound_numbers(expression: Expression, values: Values) -> tuple[tuple[str, float], ...]:
    """The values of earlier steps that an expression names, by their reference."""
    return tuple((f"${{{step}.{key}}}", float(values[step][key])) for step, key in expression.references)
