"""What an operation is: a frozen model of its parameters that knows how a block of it is computed.

From the one definition come the Python class, the step in a pipeline file, the lazy function on arrays,
validation, the fingerprint and the help. A local operation declares depth, output and memory and computes
a block; a global one adds collects, reductions and fields to the graph in ``build``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from numbers import Integral
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    SerializeAsAny,
    StringConstraints,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic import Field as Parameter

from bigseg.engine.field import Array, Field, Reduction, Values, Visit
from bigseg.errors import ParameterError, PipelineError, ValuesError
from bigseg.grid import Box, Shape
from bigseg.storage.spec import Spec
from bigseg.storage.units import parse_power, voxel_count, voxels

REFERENCE = re.compile(r"^\$\{([A-Za-z][\w-]*)\.([\w-]+)\}$")
Reference = Annotated[str, StringConstraints(pattern=REFERENCE.pattern)]


def _every_digit(value: Any, checked: ValidatorFunctionWrapHandler) -> Any:
    """An integer of up to 64 bits whose last digits float64 cannot hold, as it is; all else checked as usual."""
    if isinstance(value, Integral) and abs(int(value)) < 2**64 and int(float(value)) != int(value):
        return int(value)
    return checked(value)


Number = Annotated[float | Reference, WrapValidator(_every_digit), SerializeAsAny()]
"""A number, or ``${step.key}``: a value that an earlier step computes. An int only where float64 would round it."""
Length = float | str
"""A length in voxels, or with a unit: ``"2.5 um"``."""
Lengths = Length | tuple[Length, ...]
"""One length for all axes, or one for each."""


def _checked_size(text: str) -> str:
    """A text that can be a size in some volume."""
    try:
        number, unit, power = parse_power(text, "size")
    except ParameterError as error:
        raise ValueError(str(error)) from error
    if not number > 0 or (unit and power == 1):
        raise ValueError(f"expected voxels, a volume like '100 um3', or in 2-D an area like '100 um2', found {text!r}")
    return text


Size = Annotated[int, Parameter(ge=1)] | Annotated[str, AfterValidator(_checked_size)]
"""A number of voxels, or a volume with a unit: ``"100 um3"`` (in 2-D an area, ``"100 um2"``)."""
LeastSize = Annotated[int, Parameter(ge=0)] | Annotated[str, AfterValidator(_checked_size)]
"""A `Size` from which on something counts; 0: all does."""
Masking = Literal["", "result", "voxels", "input", "own"]

Result = Field | Reduction


class Told:
    """Tag of a field: what run.json tells of it under the step's name."""

    def values(self, values: Values) -> Mapping[str, Any]:
        """What was found, from the values of all reductions; none for a step that nothing needed."""
        raise NotImplementedError


@dataclass
class Site:
    """Where in a pipeline an operation is built: its step's id, and the steps before it."""

    name: str
    steps: Mapping[str, Result] = field(default_factory=dict)
    parameter: str = ""

    def after(self, op: Op) -> tuple[Reduction, ...]:
        """The reductions whose values the operation's parameters refer to.

        Raises
        ------
        PipelineError
            When a reference names no earlier step, or a key that the step does not compute.
        """
        found: list[Reduction] = []
        for where, step, key in op.references():
            node = self.steps.get(step)
            if not isinstance(node, Reduction):
                known = [name for name, item in self.steps.items() if isinstance(item, Reduction)]
                raise PipelineError(
                    f"step {self.name!r}, {where}: ${{{step}.{key}}} refers to no earlier step that computes values; "
                    f"those before it are {', '.join(known) or 'none'}"
                )
            if key not in node.keys:
                raise PipelineError(
                    f"step {self.name!r}, {where}: step {step!r} computes no {key!r}; it gives {', '.join(node.keys)}"
                )
            if node not in found:
                found.append(node)
        return tuple(found)

    def volume(self, name: str, what: str) -> Field:
        """The step or input that a parameter names; ``what`` says which, for the message.

        Raises
        ------
        PipelineError
            When it is none before this step.
        """
        found = self.steps.get(name)
        if not isinstance(found, Field):
            known = ", ".join(key for key, item in self.steps.items() if isinstance(item, Field))
            raise PipelineError(f"step {self.name!r}: {what} {name!r} is no volume before it; those are {known}")
        return found


def _kinds(annotation: Any) -> set[Any]:
    """All types that a parameter's annotation names."""
    inner = get_args(annotation)
    return set().union(*map(_kinds, inner)) if inner else {annotation} if isinstance(annotation, type) else set()


def _holds_truth(value: Any) -> bool:
    return any(map(_holds_truth, value)) if isinstance(value, (list, tuple)) else isinstance(value, bool)


class Op(BaseModel):
    """Base of every operation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    op: ClassVar[str]
    """Its name in a pipeline file."""
    oracle: ClassVar[str]
    """The whole-array computation that it equals."""
    example: ClassVar[str] = ""
    """A step of a pipeline file."""
    local: ClassVar[bool] = False
    """Whether its result at a voxel depends on voxels within a fixed distance."""
    refers: ClassVar[tuple[str, ...]] = ()
    """Parameters that name another step (an intensity volume), beside ``from``."""
    masked: ClassVar[Masking] = ""
    """What a step's ``mask`` does to it (`bigseg.ops.masked`); "": it takes none."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic takes true for the number 1; who writes `sigma: true` means something else."""
        if _holds_truth(value):
            kinds = _kinds(cls.model_fields[info.field_name or ""].annotation)
            if kinds & {int, float} and not kinds & {bool, Any}:
                raise ValueError(f"expected a number, found {str(value).lower()}")
        return value

    def references(self) -> Iterator[tuple[str, str, str]]:
        """Every ``${step.key}`` among the parameters: parameter, step, key."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            for item in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(item, str) and (match := REFERENCE.match(item)):
                    yield name, match[1], match[2]

    def files(self) -> Sequence[str]:
        """Files that it reads beside its inputs."""
        return ()

    def bound(self, values: Values) -> Op:
        """The operation with its references replaced by computed values."""
        replaced: dict[str, Any] = {}
        for name, _, _ in self.references():
            value = getattr(self, name)
            many = isinstance(value, (tuple, list))
            replaced[name] = tuple(value_of(v, values) for v in value) if many else value_of(value, values)
        return self.model_copy(update=replaced) if replaced else self

    def in_piece(self, piece: Box, spec: Spec) -> Op:
        """The same on a piece of a volume, which is then one of its own: the regions that it names, moved.

        Raises
        ------
        ParameterError
            When the piece holds nothing of a region that is needed.
        """
        return self

    def outside(self, spec: Spec) -> float:
        """With ``masked = "input"``: the value that voxels outside of a mask get, which is never foreground."""
        return 0

    def build(self, inputs: Sequence[Field], site: Site) -> Result:
        """Add the operation to the graph.

        Parameters
        ----------
        inputs : the fields it is applied to.
        site : the step's id and the steps before it.
        """
        raise NotImplementedError

    def build_inside(self, inputs: Sequence[Field], mask: Field, site: Site) -> Result:
        """With ``masked = "own"``: the same under a mask."""
        raise NotImplementedError


class LocalOp(Op):
    """An operation whose result at a voxel depends on voxels within a fixed distance."""

    local: ClassVar[bool] = True
    masked: ClassVar[Masking] = "result"

    def depth(self, spec: Spec) -> Shape:
        """Halo per axis in voxels."""
        return (0,) * spec.ndim

    def cost(self, spec: Spec) -> float:
        """Nanoseconds a voxel on one core, measured; for the plan's choices, never for results."""
        return 1.0

    def output(self, spec: Spec) -> Spec:
        """What the result is, given what the input is."""
        return spec

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """Bytes of temporaries beyond an input of shape ``outer`` and the result of shape ``inner``."""
        return 0

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """The result at ``keep``, from an array grown by the depth around it (clipped at the volume's edge)."""
        raise NotImplementedError

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """One field on top of another."""
        (below,) = inputs
        after = site.after(self)
        return Field(site.name, self.output(below.spec), LocalKernel(self, below.spec), (below,), after)


@dataclass(frozen=True)
class LocalKernel:
    """A local operation as the kernel of a field, its input's spec at hand."""

    op: LocalOp
    spec: Spec
    haloed = True

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel."""
        return self.op.cost(self.spec)

    def depth(self) -> Shape:
        """Halo of the operation."""
        return self.op.depth(self.spec)

    def memory(self, outer: Shape, inner: Shape) -> int:
        """Temporaries of the operation."""
        return self.op.memory(self.spec, outer, inner)

    def bind(self, values: Values) -> LocalKernel:
        """With computed values in place of references."""
        bound = self.op.bound(values)
        assert isinstance(bound, LocalOp)
        return LocalKernel(bound, self.spec)

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """Compute one block."""
        return self.op.compute(arrays[0], keep, self.spec)


def value_of(value: Any, values: Values) -> Any:
    """A parameter with its reference replaced by the computed value.

    Raises
    ------
    ValuesError
        When the step found no such value, as a method of ``try_all`` that failed, or a figure that nothing gives.
    """
    if isinstance(value, str) and (match := REFERENCE.match(value)):
        found = values[match[1]]
        if found.get(match[2]) is None:
            why = found.get("failed", {}).get(match[2], "it has no such value")
            raise ValuesError(f"{value} is not known, as step {match[1]!r} did not find it: {why}")
        return found[match[2]]
    return value


def in_voxels(lengths: Lengths, spec: Spec, name: str) -> tuple[float, ...]:
    """Lengths per axis in voxels.

    Raises
    ------
    ParameterError
        When their number does not fit the axes, one is negative, or a unit meets a volume without spacing.
    """
    items = lengths if isinstance(lengths, tuple) else (lengths,) * spec.ndim
    if len(items) != spec.ndim:
        raise ParameterError(
            f"{name} {lengths}: expected one value or {spec.ndim} ({', '.join(spec.axes)}), found {len(items)}"
        )
    result = tuple(voxels(item, step, spec.unit) for item, step in zip(items, spec.spacing, strict=True))
    if any(not value >= 0 for value in result):
        raise ParameterError(f"{name} {lengths}: expected values of 0 or more")
    return result


def in_count(size: Size, spec: Spec, *, up: bool) -> int:
    """A size as a whole number of voxels: the least that reaches it (``up``), or the most that it holds.

    Raises
    ------
    ParameterError
        When a unit meets a volume without one, or is an area in 3-D.
    """
    count = voxel_count(size, spec.spacing, spec.unit)
    slack = 1e-9 * count  # what converting units rounds is no voxel
    return max(1, ceil(count - slack)) if up else floor(count + slack)
