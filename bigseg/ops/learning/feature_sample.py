"""A sample of feature vectors: those of the voxels with the smallest hashes, the same for any blocks.

1. pass, under a mask only: its voxels are counted;
2. pass: each block gives the voxels whose hash is below a limit, which leaves little more than are wanted;
3. reductions: all of them in the order of (hash, index), the first so many of which are the sample.

Features are many, so they are no fields: what looks at them leaves its partial result with the visit of the block, and
its own field is empty (`Looking`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt
from typing import Any, Protocol

import numpy as np

from bigseg.engine.field import Array, Collect, Field, Reduction, Values, Visit, Workspace
from bigseg.errors import ValuesError
from bigseg.grid import Box, Grid, Shape
from bigseg.local.components.raster import in_volume
from bigseg.local.features.picking import features_at, picking_bytes
from bigseg.local.features.stack import Stack
from bigseg.local.models.sampling import chosen_in, limit_of, surely
from bigseg.ops.counting.statistics import Fold, fan, folded


class Look(Protocol):
    """What looks at the features of a block."""

    @property
    def stack(self) -> Stack:
        """The features."""

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel on one core."""

    def memory(self, outer: Shape, inner: Shape) -> int:
        """Bytes of temporaries, the partial result included."""

    def bind(self, values: Values) -> Look:
        """With computed values in place of references."""

    def partial(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, volume: Shape, inside: Any) -> Any:
        """The partial result of a box of a volume of some shape; inside: bool of the box, or None for all voxels."""

    def nothing(self) -> Any:
        """The partial result of no voxel."""


@dataclass(frozen=True)
class Looking:
    """The kernel of a field that is empty: what its ``look`` finds stays with the visit, under ``key``."""

    key: str
    look: Look
    haloed = True

    @property
    def cost(self) -> float:
        """Nanoseconds a voxel."""
        return self.look.cost

    def depth(self) -> Shape:
        """Halo of the features."""
        return self.look.stack.depth()

    def memory(self, outer: Shape, inner: Shape) -> int:
        """What looking takes."""
        return self.look.memory(outer, inner)

    def bind(self, values: Values) -> Looking:
        """With computed values in place of references."""
        return replace(self, look=self.look.bind(values))

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """Look at one block."""
        visit.shared[self.key] = self.look.partial(arrays, keep, box, visit.grid.shape, None)
        return np.broadcast_to(np.zeros((), np.uint8), box.shape)


@dataclass(frozen=True)
class LookingInside(Looking):
    """The same at the voxels of a mask, the first input, alone. A gate: see the engine."""

    def memory(self, outer: Shape, inner: Shape) -> int:
        """What looking takes, and the mask as bool."""
        return self.look.memory(outer, inner) + prod(inner)

    def idle(self, first: Array) -> bool:
        """Without a voxel of the mask."""
        return not first.any()

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """Look at one block; with the mask alone there is nothing to see."""
        if len(arrays) == 1:
            visit.shared[self.key] = self.look.nothing()
        else:
            inside = arrays[0][keep] != 0
            visit.shared[self.key] = self.look.partial(arrays[1:], keep, box, visit.grid.shape, inside)
        return np.broadcast_to(np.zeros((), np.uint8), box.shape)


@dataclass(frozen=True)
class CollectSeen:
    """What was found in a block, under a key of its visit."""

    key: str
    size: int

    def memory(self, inner: Shape) -> int:
        """Bytes at most."""
        return self.size

    def bind(self, values: Values) -> CollectSeen:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """The partial result."""
        found: Mapping[str, Array] = visit.shared.pop(self.key)
        return found


def looking(
    name: str, look: Look, inputs: Sequence[Field], mask: Field | None, after: Sequence[Reduction], size: int
) -> Collect:
    """A pass over the features of images, or of their voxels in a mask; ``size`` : bytes of a partial result."""
    spec = inputs[0].spec.but(dtype=np.dtype("uint8"), kind="image")
    kernel = Looking(name, look) if mask is None else LookingInside(name, look)
    fields = tuple(inputs) if mask is None else (mask, *inputs)
    field = Field(name, spec, kernel, fields, tuple(after))
    return Collect(f"{name}-seen", [field], CollectSeen(name, size), list(after))


def feature_sample(
    inputs: Sequence[Field],
    mask: Field | None,
    stack: Stack,
    name: str,
    voxels: int,
    seed: int,
    after: Sequence[Reduction] = (),
) -> Reduction:
    """Add what finds a sample of feature vectors.

    Parameters
    ----------
    inputs : the images of the stack.
    mask : only where this is not zero; None: anywhere.
    name : the reductions' names begin so.
    voxels : how many at most.
    seed : of the hashes.
    after : reductions that the images need.

    Returns
    -------
    The reduction whose value ``voxels`` says how many there are; their features, ``features`` (features, voxels), lie
    in scratch under its name, unit 0.

    Notes
    -----
    One pass over all voxels. Where voxels of the sample lie far apart, only their surroundings are computed
    (`bigseg.local.features.picking`). Scratch: 16 bytes and 4 a feature for each voxel of the sample, about three
    times.
    """
    dtypes = tuple(str(field.spec.dtype) for field in inputs)
    counted: tuple[Reduction, ...] = ()
    if mask is not None:
        collect = Collect(f"{name}.inside", [mask], CountInside())
        fold = Reduction(f"{name}.inside-fold", (collect,), Fold(f"{name}.inside-fold", collect.name, 64))
        counted = (Reduction(f"{name}.inside-counted", (fold,), FindInside(fold.name, name)),)
    total = prod(inputs[0].spec.shape)
    pick = PickSample(stack, dtypes, voxels, seed, total, counted[0].name if counted else "")
    size = pick.rows(total) * pick.row_bytes
    seen = looking(f"{name}.sampled", pick, inputs, mask, (*after, *counted), size)
    gather = GatherSample(f"{name}.sample-fold", seen.name, voxels, size, True)
    join = GatherSample(f"{name}.sample", gather.name, voxels, size)
    return Reduction(join.name, (Reduction(gather.name, (seen,), gather),), join)


@dataclass(frozen=True)
class PickSample:
    """The voxels of a block that may be in the sample, and their features.

    Parameters
    ----------
    wanted, seed : of the sample.
    voxels : in all; ``counted`` : the reduction that counts them under a mask.
    """

    stack: Stack
    dtypes: tuple[str, ...]
    wanted: int
    seed: int
    voxels: int
    counted: str = ""

    @property
    def cost(self) -> float:
        """The features, and a hash."""
        return self.stack.cost() + 2.0

    @property
    def row_bytes(self) -> int:
        """Bytes of a voxel of the sample."""
        return 16 + 4 * len(self.stack.names)

    def rows(self, voxels: int) -> int:
        """Voxels of the sample among so many, at most; under a mask all may lie together."""
        most = min(voxels, int(self.wanted + 24 * (sqrt(self.wanted) + 1)))
        if self.counted:
            return most
        return min(most, int(surely(voxels * (limit_of(self.wanted, self.voxels) / (1 << 64)))))

    def memory(self, outer: Shape, inner: Shape) -> int:
        """The features of a tile, and those of the sample."""
        return picking_bytes(self.stack, outer, inner, self.dtypes, self.rows(prod(inner)))

    def bind(self, values: Values) -> PickSample:
        """Take over how many voxels there are."""
        return replace(self, voxels=values[self.counted]["voxels"], counted="") if self.counted else self

    def partial(
        self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, volume: Shape, inside: Any
    ) -> dict[str, Array]:
        """Hash, index in the volume and features of each."""
        limit = limit_of(self.wanted, self.voxels)
        found = chosen_in(self.seed, limit, box.start, box.shape, volume, inside)
        index = in_volume(found.places, box, volume).astype(np.uint64)
        features = features_at(self.stack, arrays, keep, found.places, box.start)
        return {"hash": found.hashes, "index": index, "features": features}

    def nothing(self) -> dict[str, Array]:
        """No voxel."""
        none = np.zeros(0, np.uint64)
        return {"hash": none, "index": none, "features": np.zeros((len(self.stack.names), 0), np.float32)}


@dataclass(frozen=True)
class GatherSample:
    """The sample from the parts of blocks: first of groups of blocks, then of all."""

    name: str
    source: str
    wanted: int
    size: int
    grouped: bool = False

    def units(self, grid: Grid) -> int:
        """One task a group, or one."""
        return -(-len(grid) // fan(grid)) if self.grouped else 1

    def memory(self, grid: Grid) -> int:
        """The parts, side by side, and sorted."""
        return 4 * self.size + (1 << 20)

    def bind(self, values: Values) -> GatherSample:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Read, sort, keep the first."""
        if self.grouped:
            first = unit * fan(space.grid)
            numbers = range(first, min(first + fan(space.grid), len(space.grid)))
        else:
            numbers = range(-(-len(space.grid) // fan(space.grid)))
        parts = [space.scratch.read(self.source, number) for number in numbers]
        found = {key: np.concatenate([part[key] for part in parts], axis=-1) for key in ("hash", "index", "features")}
        del parts
        order = np.lexsort((found["index"], found["hash"]))[: self.wanted]
        space.scratch.write(self.name, unit, {key: array[..., order] for key, array in found.items()})
        return {} if self.grouped else {"voxels": int(order.size)}


@dataclass(frozen=True)
class CountInside:
    """The number of voxels in a mask."""

    def memory(self, inner: Shape) -> int:
        """The mask as bool."""
        return prod(inner)

    def bind(self, values: Values) -> CountInside:
        """Nothing to bind."""
        return self

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """One number."""
        return {"counts": np.array([np.count_nonzero(arrays[0])], np.int64)}


@dataclass(frozen=True)
class FindInside:
    """The number of voxels in a mask, of all blocks."""

    source: str
    step: str

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """A few numbers."""
        return 1 << 20

    def bind(self, values: Values) -> FindInside:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Add up."""
        voxels = int(folded(space, self.source)["counts"][0])
        if not voxels:
            raise ValuesError(f"step {self.step!r}: there is no voxel in the mask: check it, or leave `mask` out")
        return {"voxels": voxels}
