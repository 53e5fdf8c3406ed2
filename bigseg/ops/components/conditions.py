"""Conditions on objects beyond one column: the largest, those away from the edge, those an expression holds for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from bigseg.engine.field import Array, Values
from bigseg.errors import ParameterError, PipelineError
from bigseg.grid import Shape
from bigseg.local.expression import Expression, Unit, parse
from bigseg.local.formula import evaluate, power_of
from bigseg.ops.base import Site, value_of
from bigseg.ops.components.columns import also_named, geometry, intensities, touching
from bigseg.ops.components.measures import GROUPS, Measure
from bigseg.ops.components.rows import Rows
from bigseg.storage.spec import Spec
from bigseg.storage.units import convert, known_unit, parse_power, unit_name


@dataclass(frozen=True)
class Largest:
    """The largest objects of those that are left; of equal ones those whose first voxel comes earlier.

    ``limit``: size and first voxel of the last of them, once it is found (`bigseg.ops.components.choosing.FindLimits`).
    """

    count: int
    limit: tuple[int, int] | None = None

    def bind(self, values: Values) -> Largest:
        """Nothing to bind."""
        return self

    def wants(self, column: str) -> bool:
        """Sizes and first voxels."""
        return column in ("size", "first")

    def holds(self, rows: Rows, among: Array) -> Array:
        """Those of its limit and before."""
        assert self.limit is not None
        size, first = self.limit
        return np.asarray((rows["size"] > size) | ((rows["size"] == size) & (rows["first"] <= first)))


@dataclass(frozen=True)
class Inside:
    """Objects without a voxel within ``margin`` of the volume's edge."""

    shape: Shape
    margin: Shape

    def bind(self, values: Values) -> Inside:
        """Nothing to bind."""
        return self

    def wants(self, column: str) -> bool:
        """Bounding boxes."""
        return column.startswith(("low-", "high-"))

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

    def wants(self, column: str) -> bool:
        """Geometry, and the measures that it was given."""
        prefixes = tuple(item.prefix for _, item in self.measures)
        return column.startswith(prefixes) if column.startswith("m") else True

    def holds(self, rows: Rows, among: Array) -> Array:
        """Computed in float64, for the objects that are left."""
        left = np.flatnonzero(among)
        columns = measured(rows, left, self.spec, self.expression.names)
        for tail, item in self.measures:
            columns |= {f"{name}{tail}": column for name, column in intensities(rows, left, item).items()}
        found = np.zeros(len(among), bool)
        found[left] = evaluate(self.expression, {**columns, **dict(self.numbers)}, np.float64)
        return found


def known_columns(spec: Spec, tails: tuple[str, ...], shapes: bool = False) -> dict[str, int | None]:
    """The columns that an expression may name, and the power of length each is in; None fits all numbers.

    In a volume without a unit every number is one of voxels, and all columns fit each other. ``shapes``: also the
    size of the box and those of `second_columns`.
    """
    found: dict[str, int | None] = {"num_pixels": 0, "area": spec.ndim}
    if spec.ndim == 3:
        found["volume"] = 3
    found |= {"equivalent_diameter": 1, "equivalent_diameter_area": 1, "extent": 0, "touches_edge": None}
    found |= {f"bbox-{axis}": 0 for axis in range(2 * spec.ndim)}
    found |= {f"centroid-{axis}": 1 for axis in range(spec.ndim)}
    if shapes:
        found |= {"area_bbox": spec.ndim, **second_columns(spec.ndim)}
    for tail in tails:
        found |= {f"intensity_{what}{tail}": None for what in ("min", "max", "mean", "std", "sum")}
    return found if unit_name(spec.unit) else dict.fromkeys(found)


def second_columns(ndim: int) -> dict[str, int | None]:
    """Those of `known_columns` that need second moments (a measure "second")."""
    lengths: dict[str, int | None] = {"axis_major_length": 1, "axis_minor_length": 1}
    return lengths if ndim == 3 else lengths | {"eccentricity": 0, "orientation": 0}


def measured(rows: Rows, shown: Array, spec: Spec, names: Collection[str]) -> Rows:
    """The columns of `known_columns` that need no intensities, as far as an expression names them."""
    groups = GROUPS | ({"second"} if second_columns(spec.ndim).keys() & set(names) else set())
    return also_named(geometry(rows, shown, spec, groups))


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
    names = [f"${{{step}.{key}}}" for step, key in expression.references]
    return tuple((name, float(value_of(name, values))) for name in names)


def read_expression(text: str, spec: Spec, tails: tuple[str, ...], site: Site) -> tuple[Expression, Array]:
    """An expression on a table's columns, and what it gives for no object: its dtype.

    Parameters
    ----------
    text : as it stands in the step.
    spec, tails : as in `known_columns`.

    Raises
    ------
    PipelineError
        When it cannot be read, or names columns that there are not.
    """
    powers = known_columns(spec, tails, shapes=True)
    try:
        asked = parse(text, powers, unit_of(spec))
        power_of(asked, powers)
        sample: dict[str, object] = {name: np.zeros(0, bool if name == "touches_edge" else float) for name in powers}
        sample |= {f"${{{step}.{key}}}": 1.0 for step, key in asked.references}
        return asked, evaluate(asked, sample, np.float64)
    except ParameterError as error:
        hint = "" if tails or "intensity" not in text else "; intensity columns need `intensity`"
        raise PipelineError(f"step {site.name!r}: {error}{hint}") from error
