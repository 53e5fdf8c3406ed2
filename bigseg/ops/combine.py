"""Arithmetic and masks between steps and inputs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Parameter

from bigseg.engine.field import Array, Field, Values, Visit
from bigseg.errors import ParameterError, PipelineError, ValuesError
from bigseg.grid import Box, Shape
from bigseg.local.expression import MOST_CHARACTERS, Expression, parse, references
from bigseg.local.formula import TILE, evaluate, evaluate_volume
from bigseg.ops.base import LocalOp, Site
from bigseg.ops.components.conditions import bound_numbers
from bigseg.storage.spec import Kind, Spec


@dataclass(frozen=True)
class Formula:
    """An expression on several inputs of one shape as the kernel of a field.

    Parameters
    ----------
    expression : what is computed.
    names : which input each of its names is.
    dtype, ndim : of the result.
    where : what errors call the place.
    numbers : values of earlier steps, by their reference.
    """

    expression: Expression
    names: tuple[tuple[str, int], ...]
    dtype: str
    ndim: int
    where: str
    numbers: tuple[tuple[str, float], ...] = ()
    haloed = True

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel: each operation passes a tile in the cache once or twice."""
        return 1.0 + 0.4 * self.expression.root.depth

    def depth(self) -> Shape:
        """Voxel by voxel."""
        return (0,) * self.ndim

    def memory(self, outer: Shape, inner: Shape) -> int:
        """Tiles of float64 at most: two for each nested operation, and what casting takes."""
        return 8 * TILE * (2 * self.expression.root.depth + 4)

    def bind(self, values: Values) -> Formula:
        """With computed values in place of references."""
        return replace(self, numbers=bound_numbers(self.expression, values))

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """One block."""
        return self.of([array[keep] for array in arrays], box.start)

    def of(self, arrays: Sequence[Array], start: Sequence[int] = ()) -> Array:
        """The expression on arrays, in the order of the inputs.

        Raises
        ------
        ValuesError
            When a voxel is NaN or infinite.
        """
        named = {name: arrays[place] for name, place in self.names}
        try:
            return evaluate_volume(self.expression, named, dict(self.numbers), np.dtype(self.dtype), start)
        except ValuesError as error:
            raise ValuesError(f"{self.where}: {error}") from error


class Combine(LocalOp):
    """Voxels computed from one or several steps and inputs by an expression.

    Names are the ids under ``from`` (``x0``, ``x1`` … also stand for them, in order); values of earlier steps are
    ``${step.key}``. ``+ - * / // %`` and ``** n`` convert to float32 first (integers up to 2**24 are exact, masks
    are 0 and 1) and give float32; comparisons, ``and or not`` (also ``& | ~``) give a mask; names alone, ``where``,
    ``min``, ``max`` and ``clip`` keep integers and labels as they are (uint64 with signed ones: refused); also
    ``abs`` and ``sqrt``. ``dtype`` casts the result: rounded, halves to even, and clipped. Infinite results are
    refused. Depth 0. Cost: about 1 ns a voxel a core, and 0.4 for each operation.

    >>> import numpy as np, bigseg
    >>> bigseg.combine("where(mask, a - b, 0)", a=np.array([[5, 9]]), b=np.array([[7, 2]]), mask=np.array([[1, 1]]) > 0)
    array([[-2.,  7.]], dtype=float32)
    """

    op: ClassVar[str] = "combine"
    oracle: ClassVar[str] = "numpy on the whole arrays, in float32, exactly"
    example: ClassVar[str] = '{id: flat, op: combine, from: [input, lighting], expression: "input - lighting"}'

    expression: str = Parameter(
        min_length=1, max_length=MOST_CHARACTERS, description='what is computed, as "(a - b) / max(b, 1)"'
    )
    dtype: Literal["float32", "uint8", "int8", "uint16", "int16", "uint32", "int32"] | None = Parameter(
        None, description="of the result; by default float32, a mask, or the integers chosen from"
    )

    def references(self) -> Iterator[tuple[str, str, str]]:
        """Those within the expression."""
        for step, key in references(self.expression):
            yield "expression", step, key

    def output(self, spec: Spec) -> Spec:
        """Of a single input, called x0."""
        return self.formula({"x0": 0}, (), [spec], "combine")[1]

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """On a single input, called x0."""
        return self.formula({"x0": 0}, (), [spec], "combine")[0].of([array[keep]])

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """One field on top of several."""
        after = site.after(self)
        names = {name: place for name, node in site.steps.items() for place, f in enumerate(inputs) if node is f}
        for place, field in enumerate(inputs):
            names.setdefault(field.name, place)
            names.setdefault(f"x{place}", place)
        others = [name for name, node in site.steps.items() if isinstance(node, Field)]
        formula, spec = self.formula(names, others, [field.spec for field in inputs], f"step {site.name!r}")
        return Field(site.name, spec, formula, tuple(inputs), after)

    def formula(
        self, names: Mapping[str, int], others: Collection[str], specs: Sequence[Spec], where: str
    ) -> tuple[Formula, Spec]:
        """The kernel and what it gives.

        Parameters
        ----------
        names : which input each name is.
        others : names that exist but are no input: refused by name.
        specs : of the inputs.
        where : what errors call the place.

        Raises
        ------
        PipelineError
            Unknown names, inputs that are not used, shapes that disagree, an expression that cannot be.
        """
        first = specs[0]
        titles: dict[int, str] = {}
        for name, place in names.items():
            titles.setdefault(place, name)
        for place, spec in enumerate(specs):
            if spec.shape != first.shape:
                raise PipelineError(
                    f"{where}: {titles[0]!r} has shape {first.shape}, {titles[place]!r} has shape {spec.shape}: "
                    "expected the same shape"
                )
        try:
            parsed = parse(self.expression, {*names, *others})
            beside = [name for name in parsed.names if name not in names]
            if beside:
                raise ParameterError(
                    f"expression {self.expression!r:.100} uses {beside[0]!r}, which is not among the inputs "
                    f"{', '.join(map(repr, titles.values()))}: name it in `from`, or put blanks around a minus"
                )
            sample: dict[str, object] = {name: np.zeros(0, specs[place].dtype) for name, place in names.items()}
            sample |= {f"${{{step}.{key}}}": 1.0 for step, key in parsed.references}
            found = evaluate(parsed, sample, np.float32)
        except ParameterError as error:
            raise PipelineError(f"{where}: {error}") from error
        used = {names[name] for name in parsed.names}
        for place, name in titles.items():
            if place not in used:
                raise PipelineError(f"{where}: {name!r} does not occur in {self.expression!r:.100}: leave it out")
        dtype = np.dtype(self.dtype or ("float32" if found.dtype.kind == "f" else found.dtype))
        kinds = {specs[place].kind for place in used if specs[place].dtype.kind in "iu"}
        kind: Kind = kinds.pop() if found.dtype.kind in "iu" and dtype.kind in "iu" and len(kinds) == 1 else "image"
        spec = first.but(dtype=dtype, kind="mask" if dtype.kind == "b" else kind)
        pairs = tuple((name, names[name]) for name in parsed.names)
        return Formula(parsed, pairs, str(dtype), first.ndim, where), spec


def as_single(field: Field, site: Site) -> Field:
    """A field of half precision as float32, which is what the kernels of components read; any other as it is."""
    if field.spec.dtype != np.float16:
        return field
    return Combine(expression="x0", dtype="float32").build([field], Site(f"{site.name}.single"))
