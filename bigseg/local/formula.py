"""What an expression is worth: on columns of a table, on blocks of voxels, and as a length, area or volume.

Every voxel is computed from its own numbers by operations that IEEE 754 rounds correctly (+ - * / and the square
root) or that are exact (comparisons, min, max, abs, floor, remainder), so results are the same bits for any
block; powers are repeated products. Volumes are computed in tiles that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import ValuesError
from bigseg.local.expression import Expression, Node, fail

Array = NDArray[Any]
TILE = 1 << 15
"""Voxels computed at a time: a few arrays of float32 fit the second-level cache."""

ARITHMETIC: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,
    "%": np.remainder,
}
COMPARE: dict[str, Callable[..., Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
_KINDS: dict[float, str] = {0: "a plain number", 1: "a length", 2: "an area", 3: "a volume"}


def evaluate(expression: Expression, values: Mapping[str, Any], real: type[np.floating[Any]]) -> Array:
    """The worth of an expression, element by element.

    Parameters
    ----------
    expression : from `bigseg.local.expression.parse`.
    values : an array for each name, all of one shape; a number for each reference ``${step.key}``.
    real : float32 or float64, in which arithmetic is done; masks count as 0 and 1 there.

    Returns
    -------
    bool for comparisons and logic; ``real`` for arithmetic; names, ``where``, ``min``, ``max`` and ``clip`` keep
    integers as they are, in the smallest dtype that holds all they choose from. Division by zero gives Inf or
    NaN, as IEEE has it; ``-0`` may come out as ``0``.

    Raises
    ------
    ParameterError
        When numbers stand where a mask or a comparison is needed.

    >>> from bigseg.local.expression import parse
    >>> evaluate(parse("a / 2 > b", ["a", "b"]), {"a": np.array([1, 9]), "b": np.array([1, 1])}, np.float32)
    array([False,  True])
    """
    with np.errstate(all="ignore"):
        return np.asarray(_Worth(expression.text, values, real).of(expression.root))


def evaluate_volume(
    expression: Expression,
    arrays: Mapping[str, Array],
    numbers: Mapping[str, float],
    dtype: np.dtype[Any],
    start: Sequence[int] = (),
) -> Array:
    """The worth of an expression on a block, in float32, as a dtype.

    Parameters
    ----------
    expression : from `bigseg.local.expression.parse`.
    arrays : a block for each name, all of one shape.
    numbers : a number for each reference.
    dtype : of the result; integers are rounded (halves to even) and clipped to what the dtype holds.
    start : where the block begins in the volume, for errors.

    Raises
    ------
    ValuesError
        When a voxel is NaN or infinite.

    >>> from bigseg.local.expression import parse
    >>> parsed = parse("a - 3", ["a"])
    >>> evaluate_volume(parsed, {"a": np.array([[1, 9]])}, {}, np.dtype("uint8"))
    array([[0, 6]], dtype=uint8)
    """
    shape = next(iter(arrays.values())).shape
    out = np.empty(shape, dtype)
    for tile in tiles(shape):
        part = {name: array[tile] for name, array in arrays.items()}
        found = evaluate(expression, {**part, **numbers}, np.float32)
        with np.errstate(over="ignore"):  # what float32 cannot hold is found as infinite below
            found = found.astype(dtype, copy=False) if dtype.kind == found.dtype.kind == "f" else found
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            place = np.argwhere(~np.isfinite(found))[0]
            voxel = tuple(int(a + c.start + s) for a, c, s in zip(place, tile, start or (0,) * len(tile), strict=True))
            raise ValuesError(
                f"{expression.text!r:.100} is NaN or infinite at voxel {voxel}: expected finite values; guard "
                "divisions and roots, as in where(b != 0, a / b, 0)"
            )
        out[tile] = fit(found, dtype)
    return out


def fit(values: Array, dtype: np.dtype[Any]) -> Array:
    """Values in another dtype: rounded (halves to even) and clipped where it holds integers.

    >>> fit(np.array([-1.0, 2.5, 300.0]), np.dtype("uint8"))
    array([  0,   2, 255], dtype=uint8)
    """
    if values.dtype == dtype or dtype.kind not in "iu" or values.dtype.kind == "b":
        return values.astype(dtype, copy=False)
    info = np.iinfo(dtype)
    if values.dtype.kind == "f":
        return np.clip(np.rint(values.astype(np.float64)), info.min, info.max).astype(dtype)
    own = np.iinfo(values.dtype)
    return np.clip(values, max(info.min, own.min), min(info.max, own.max)).astype(dtype)


def tiles(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Parts of about `TILE` voxels that together are the whole: rows, or planes of rows.

    >>> [part[0] for part in tiles((3, 20000))]
    [slice(0, 1, None), slice(1, 2, None), slice(2, 3, None)]
    """
    axis = next((axis for axis in range(len(shape)) if prod(shape[axis + 1 :]) <= TILE), len(shape) - 1)
    step = max(1, TILE // max(1, prod(shape[axis + 1 :])))
    for place in np.ndindex(shape[:axis]):
        first = tuple(slice(at, at + 1) for at in place)
        for start in range(0, shape[axis], step):
            stop = min(start + step, shape[axis])
            yield (*first, slice(start, stop), *(slice(0, n) for n in shape[axis + 1 :]))


class _Worth:
    """The worth of nodes, with the values of names at hand."""

    def __init__(self, text: str, values: Mapping[str, Any], real: type[np.floating[Any]]) -> None:
        self.text, self.values, self.real = text, values, real

    def of(self, node: Node) -> Any:
        """An array, or a Python number that takes the other side's dtype."""
        if node.what == "number":
            return node.value
        if node.what == "name":
            return self.values[str(node.value)]
        if node.what == "compare":
            return self._compare(node)
        if node.what in ("and", "or", "not"):
            first, *rest = (self._truth(part) for part in node.parts)
            if node.what == "not":
                return np.logical_not(first)
            return (np.logical_and if node.what == "and" else np.logical_or)(first, rest[0])
        if node.what == "where":
            condition = self._truth(node.parts[0])
            return np.where(condition, *self._alike(node, node.parts[1:]))
        if node.what in ("min", "max", "clip"):
            return self._extreme(node)
        numbers = [self._real(self.of(part)) for part in node.parts]
        if node.what in ARITHMETIC:
            return ARITHMETIC[node.what](*numbers)
        if node.what == "**":
            return self._power(numbers[0], int(node.value))
        return {"minus": np.negative, "abs": np.abs, "sqrt": np.sqrt}[node.what](numbers[0])

    def _real(self, value: Any) -> Any:
        """As the float that arithmetic is done in."""
        return value.astype(self.real, copy=False) if isinstance(value, np.ndarray) else self.real(value)

    def _truth(self, node: Node) -> Any:
        value = self.of(node)
        if getattr(value, "dtype", None) != np.bool_:
            hint = f"{node.value} != 0" if node.what == "name" else "... != 0"
            fail(self.text, node.at, f"expected a mask or a comparison, found numbers: write {hint}")
        return value

    def _compare(self, node: Node) -> Any:
        values = [self.of(part) for part in node.parts]
        result: Any = None
        for sign, left, right in zip(str(node.value).split(), values, values[1:], strict=False):
            holds = np.asarray(COMPARE[sign](left, right))
            result = holds if result is None else np.logical_and(result, holds)
        return result

    def _alike(self, node: Node, parts: tuple[Node, ...]) -> list[Array]:
        """Values to choose from, in one dtype: bool, integers that hold them all, or the float of arithmetic."""
        values = [self.of(part) for part in parts]
        if any(isinstance(value, float) or getattr(value, "dtype", np.dtype(int)).kind == "f" for value in values):
            return [np.asarray(self._real(value)) for value in values]
        dtype = _common(values)
        if dtype is None:
            found = ", ".join(str(value if isinstance(value, int) else value.dtype) for value in values)
            fail(
                self.text,
                node.at,
                f"no integer dtype holds all of {found}, and floats would round them: expected uint64 without negative "
                "numbers or signed integers; write `* 1.0` where rounding does not matter",
            )
        return [np.asarray(value, dtype) for value in values]

    def _extreme(self, node: Node) -> Array:
        """Least or greatest; adding zero gives both zeros one sign, where vector units and others differ."""
        values = self._alike(node, node.parts)
        if node.what == "clip":
            found = np.minimum(np.maximum(values[0], values[1]), values[2])
        else:
            found = values[0]
            for value in values[1:]:
                found = (np.minimum if node.what == "min" else np.maximum)(found, value)
        return np.asarray(found + self.real(0) if found.dtype.kind == "f" else found)

    def _power(self, value: Any, exponent: int) -> Any:
        if not exponent:
            return np.ones_like(value)
        result = value
        for _ in range(exponent - 1):
            result = np.multiply(result, value)
        return result


def _common(values: Sequence[Any]) -> np.dtype[Any] | None:
    """The smallest dtype, bool or integers, that holds arrays and Python's integers; None where there is none.

    >>> _common([np.zeros(1, "uint64"), 2**63]), _common([np.zeros(1, "int64"), 2**63 - 1])
    (dtype('uint64'), dtype('int64'))
    """
    numbers = [value for value in values if isinstance(value, int)]
    arrays = [value.dtype for value in values if not isinstance(value, int)]
    dtype = np.result_type(*arrays, *map(np.min_scalar_type, numbers))
    if dtype.kind in "biu":
        return dtype
    wide = np.dtype(np.int64)  # 2**32 and more are uint64 by themselves, though int64 may hold them
    info = np.iinfo(wide)
    fits = all(np.can_cast(kind, wide) for kind in arrays) and all(info.min <= n <= info.max for n in numbers)
    return wide if fits else None


def power_of(expression: Expression, powers: Mapping[str, int | None]) -> float | None:
    """Whether what is added and compared is of one kind: lengths with lengths, volumes with volumes.

    Parameters
    ----------
    expression : from `bigseg.local.expression.parse`.
    powers : of each name, the power of length that it is in; None fits everything, as numbers without unit do.

    Returns
    -------
    The power of the whole.

    Raises
    ------
    ParameterError
        When a count is compared with a volume, a length added to an area.

    >>> from bigseg.local.expression import parse
    >>> power_of(parse("size * 2 > 10", ["size"]), {"size": 3}) is None
    True
    """

    def alike(node: Node, parts: tuple[Node, ...]) -> float | None:
        found: float | None = None
        for part in parts:
            power = of(part)
            if power is not None and found is not None and power != found:
                words = " and ".join(_KINDS.get(p, f"a length to the power of {p}") for p in (found, power))
                fail(expression.text, node.at, f"{words} cannot be compared or added")
            found = power if found is None else found
        return found

    def of(node: Node) -> float | None:
        if node.what == "number":
            return node.power
        if node.what == "name":
            return powers.get(str(node.value))
        if node.what in ("*", "/", "//"):
            left, right = map(of, node.parts)
            if left is None and right is None:
                return None
            return (left or 0) + (right or 0) * (1 if node.what == "*" else -1)
        if node.what == "where":
            of(node.parts[0])
            return alike(node, node.parts[1:])
        found = alike(node, node.parts)
        if node.what in ("compare", "and", "or", "not"):
            return None
        if node.what in ("**", "sqrt") and found is not None:
            return found * float(node.value) if node.what == "**" else found / 2
        return found

    return of(expression.root)
