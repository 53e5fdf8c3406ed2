"""The nouns of the engine: fields, and what is taken from them.

A pipeline becomes a graph of four kinds of node before anything runs::

    Field       a volume that exists block by block: any box of it can be computed on demand
    Collect     a partial result taken from every block (counts, components), kept in scratch
    Reduction   what the partial results of all blocks amount to: a few values, tables, maps
    Write       a field stored as an OME-Zarr image

The graph says what depends on what; ``plan`` cuts it into passes and reductions; an executor runs these.
The engine never knows what a threshold is: nodes hold kernels, and a kernel is anything with the methods
of the protocols below. Kernels, fields and volumes are small and picklable: they travel with the tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from bigseg.grid import Block, Box, Grid, Shape
from bigseg.storage.scratch import Scratch
from bigseg.storage.spec import Spec

Array = np.ndarray[Any, Any]
Values = Mapping[str, Mapping[str, Any]]
"""What finished reductions found: ``values[reduction][key]``."""


@dataclass
class Visit:
    """One block being computed: where it lies in which grid, the run's scratch, and what its kernels share."""

    grid: Grid
    block: Block
    scratch: Scratch
    shared: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Workspace:
    """What a reduction works in: the grid of the passes, the run's scratch and its folder."""

    grid: Grid
    scratch: Scratch
    folder: Path


class Kernel(Protocol):
    """How any box of a field is computed from its inputs."""

    @property
    def haloed(self) -> bool:
        """Whether a box larger than the block can be computed; if not, who needs a halo reads a stored copy."""

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel on one core, for the plan's choice between storing and recomputing."""

    def depth(self) -> Shape:
        """Halo that the inputs need, in voxels per axis."""

    def memory(self, outer: Shape, inner: Shape) -> int:
        """Bytes of temporaries beyond inputs of shape ``outer`` and a result of shape ``inner``."""

    def bind(self, values: Values) -> Kernel:
        """The same kernel with references to computed values replaced by these."""

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """The field's voxels in ``box``; ``keep`` says where the box lies in the input arrays."""


@runtime_checkable
class Gate(Protocol):
    """A kernel whose first input alone may decide a block: then nothing else is computed for it."""

    def idle(self, first: Array) -> bool:
        """Whether the block is decided; ``compute`` then gets the first input only."""


class Collector(Protocol):
    """How a block's partial result is taken from fields on its inner box."""

    def memory(self, inner: Shape) -> int:
        """Bytes of temporaries beyond the inputs."""

    def bind(self, values: Values) -> Collector:
        """The same collector with references replaced."""

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """The partial result."""


class Reducer(Protocol):
    """How partial results become values, tables and maps."""

    def units(self, grid: Grid) -> int | tuple[int, ...]:
        """Into how many independent tasks the reduction falls; several numbers: rounds, one after the other."""

    def memory(self, grid: Grid) -> int:
        """Bytes one task needs, as far as they are known before the run."""

    def bind(self, values: Values) -> Reducer:
        """The same reducer with references replaced."""

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Run one task (rounds are numbered on); what it gives back joins its stage's values (a few numbers)."""


@dataclass(eq=False)
class Field:
    """A volume that exists block by block.

    ``after`` names the reductions whose values or maps its kernel needs; ``tag`` is for the operations
    above: what they know of the field beyond its voxels. ``shared`` holds what several steps that look at the
    field need only once, by its kind.
    """

    name: str
    spec: Spec
    kernel: Kernel
    inputs: tuple[Field, ...] = ()
    after: tuple[Reduction, ...] = ()
    tag: Any = None
    shared: dict[str, Any] = field(default_factory=dict, init=False, repr=False)


@dataclass(eq=False)
class Collect:
    """A partial result taken from fields on every block's inner box."""

    name: str
    fields: list[Field]
    kernel: Collector
    after: list[Reduction] = field(default_factory=list)
    tag: Any = None
    """For the operations above, as of a field."""


@dataclass(eq=False)
class Reduction:
    """What partial results amount to; its values are known when it has run."""

    name: str
    inputs: tuple[Collect | Reduction, ...]
    kernel: Reducer
    after: list[Reduction] = field(default_factory=list)
    keys: tuple[str, ...] = ()
    """Names of the values that steps may refer to."""


@dataclass(eq=False)
class Write:
    """A field stored as an OME-Zarr image at ``path``; ``why`` stands in the plan, ``attributes`` in the image."""

    field: Field
    path: str
    why: str
    pyramid: bool = True
    attributes: Mapping[str, Any] | None = None


def bound(node: Field, values: Values, seen: dict[int, Field]) -> Field:
    """The graph below a field with every kernel bound to values; shared nodes stay shared."""
    if id(node) not in seen:
        seen[id(node)] = Field(
            node.name,
            node.spec,
            node.kernel.bind(values),
            tuple(bound(child, values, seen) for child in node.inputs),
        )
    return seen[id(node)]
