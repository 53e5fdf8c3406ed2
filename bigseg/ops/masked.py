"""A mask over a step: computed only where the mask is.

Operations know nothing of masks; what a mask means follows from what they are (``Op.masked``):

- ``result``, every local operation: its result in the mask, 0 elsewhere. It sees the neighbours of a voxel whether
  they lie in the mask or not, so its values in the mask are those without a mask;
- ``voxels``, histograms and thresholds found from them: only voxels in the mask count;
- ``input``, hysteresis, label, choices by size and tables of regions: voxels outside never belong to the foreground,
  so no object reaches through them, and what is known of objects is known of their voxels inside;
- ``own``, clustering and normalise: the operation's own, which says what it is.

In a block without a voxel of the mask nothing else is read or computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from bigseg.engine.field import Array, Collect, Collector, Field, Reduction, Values, Visit
from bigseg.errors import PipelineError
from bigseg.grid import Box, Shape
from bigseg.ops.base import Op, Result, Site


@dataclass(frozen=True)
class Masked:
    """The second input where the first, a mask, is not zero; ``outside`` elsewhere. A gate: see the engine."""

    dtype: str
    ndim: int
    outside: float = 0
    haloed = True
    cost = 0.5

    def depth(self) -> Shape:
        """Voxel by voxel."""
        return (0,) * self.ndim

    def memory(self, outer: Shape, inner: Shape) -> int:
        """The mask as bool, where it is not."""
        return prod(inner)

    def bind(self, values: Values) -> Masked:
        """Nothing to bind."""
        return self

    def idle(self, first: Array) -> bool:
        """Without a voxel of the mask."""
        return not first.any()

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """One block; with the mask alone it is empty."""
        if len(arrays) == 1:
            return np.full(box.shape, self.outside, self.dtype)
        inside = arrays[0] if arrays[0].dtype == np.bool_ else arrays[0] != 0
        if inside.all():
            return np.ascontiguousarray(arrays[1])
        out = np.full(box.shape, self.outside, self.dtype)
        np.copyto(out, arrays[1], where=inside)
        return out


@dataclass(frozen=True)
class Inside:
    """A collector that is shown only the voxels of its fields where the last field, a mask, is not zero."""

    kernel: Collector
    itemsize: int

    def memory(self, inner: Shape) -> int:
        """The voxels inside, as a list."""
        return self.kernel.memory(inner) + prod(inner) * (self.itemsize + 1)

    def bind(self, values: Values) -> Inside:
        """With computed values."""
        return replace(self, kernel=self.kernel.bind(values))

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """The partial result of the voxels inside; of none, where there are none."""
        *values, mask = arrays
        inside = mask if mask.dtype == np.bool_ else mask != 0
        return self.kernel.collect([array[inside] for array in values], visit)


def within(field: Field, mask: Field, name: str, outside: Any = 0) -> Field:
    """A field where the mask is, ``outside`` elsewhere."""
    spec = field.spec
    if spec.bounds is not None and spec.dtype.kind == "f":
        low, high = spec.bounds
        spec = spec.but(bounds=(min(low, float(outside)), max(high, float(outside))))
    kernel = Masked(str(spec.dtype), spec.ndim, outside)
    return Field(name, spec, kernel, (mask, field))


def build_masked(op: Op, inputs: Sequence[Field], mask: Field, site: Site) -> Result:
    """Add an operation under a mask to the graph.

    Raises
    ------
    PipelineError
        When the mask is no mask, or the operation has no meaning under one.
    """
    if mask.spec.dtype.kind == "f":
        raise PipelineError(
            f"step {site.name!r}: mask {mask.name!r} is {mask.spec.dtype}: expected a mask or labels; put a threshold "
            "step before it"
        )
    if not op.masked:
        raise PipelineError(
            f"step {site.name!r}: {op.op} takes no mask: put `mask` on the step that makes its input (a threshold, "
            "hysteresis or label step)"
        )
    if op.masked == "own":
        return op.build_inside(inputs, mask, site)
    if op.masked == "result":
        result = op.build(inputs, site)
        assert isinstance(result, Field)
        return within(replace(result, name=f"{site.name}.everywhere"), mask, site.name)
    first = within(inputs[0], mask, f"{site.name}.inside", op.outside(inputs[0].spec))
    result = op.build([first, *inputs[1:]], site)
    if isinstance(result, Reduction) and op.masked == "voxels":
        look_inside(result, first, mask)
    return result


def look_inside(result: Reduction, field: Field, mask: Field) -> None:
    """Have what a reduction needs of a field collected from the voxels of a mask alone."""
    for collect in collects(result):
        if field in collect.fields:
            itemsize = sum(item.spec.dtype.itemsize for item in collect.fields)
            collect.fields.append(mask)
            collect.kernel = Inside(collect.kernel, itemsize)


def collects(root: Reduction) -> list[Collect]:
    """Every collect that a reduction needs, through the reductions before it."""
    found: dict[int, Collect] = {}
    seen: set[int] = set()
    todo: list[Collect | Reduction] = [root]
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Collect):
            found[id(node)] = node
        else:
            todo += node.inputs
        todo += node.after
    return list(found.values())
