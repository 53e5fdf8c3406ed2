"""Boxes, blocks and grids: integers only, no arrays.

Every voxel of a volume lies in exactly one inner box. What a block reads (its outer box) is its inner box
grown by a depth and clipped at the volume's edge::

    volume edge ┌──────────────────────────────┐
                │   outer ┌ ─ ─ ─ ─ ─ ─ ┐      │   outer = inner.grow(depth, shape)
                │         │ ┌─────────┐ │      │
                │           │  inner  │        │   inner boxes tile the volume
                │         │ └─────────┘ │      │
                │         └ ─ ─ ─ ─ ─ ─ ┘      │
                └──────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import NamedTuple

from bigseg.errors import ParameterError

Shape = tuple[int, ...]


class Box(NamedTuple):
    """A half-open box of voxels, ``start <= voxel < stop`` on every axis.

    >>> Box((0, 4), (2, 8)).grow((1, 3), (10, 10))
    Box(start=(0, 1), stop=(3, 10))
    """

    start: Shape
    stop: Shape

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Box:
        """The box of a whole volume."""
        return cls((0,) * len(shape), tuple(int(n) for n in shape))

    @property
    def shape(self) -> Shape:
        """Voxels per axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Voxels in all."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as an index into the volume."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def grow(self, depth: Sequence[int], shape: Sequence[int]) -> Box:
        """The box grown by ``depth`` on both sides of each axis, clipped to a volume of ``shape``."""
        return Box(
            tuple(max(0, a - d) for a, d in zip(self.start, depth, strict=True)),
            tuple(min(n, b + d) for b, d, n in zip(self.stop, depth, shape, strict=True)),
        )

    def within(self, outer: Box) -> tuple[slice, ...]:
        """The box as an index into an array that holds ``outer``."""
        return tuple(slice(a - o, b - o) for a, b, o in zip(self.start, self.stop, outer.start, strict=True))

    def shared(self, other: Box) -> Box | None:
        """The voxels that are in both boxes; None where there are none.

        >>> Box((0, 4), (2, 8)).shared(Box((1, 0), (5, 6)))
        Box(start=(1, 4), stop=(2, 6))
        """
        found = Box(tuple(map(max, self.start, other.start)), tuple(map(min, self.stop, other.stop)))
        return found if all(a < b for a, b in zip(*found, strict=True)) else None

    def cells(self, cell: Sequence[int]) -> int:
        """How many cells of a regular tiling (chunks, say) the box touches."""
        return prod(-(-b // c) - a // c if b > a else 0 for a, b, c in zip(self.start, self.stop, cell, strict=True))


class Block(NamedTuple):
    """One unit of computation: its number in raster order, its place in the grid, the box it writes."""

    number: int
    position: Shape
    inner: Box


@dataclass(frozen=True)
class Grid:
    """A volume cut into blocks, numbered in raster order (last axis fastest).

    >>> grid = Grid((5, 4), (2, 4))
    >>> len(grid), grid[2].inner
    (3, Box(start=(4, 0), stop=(5, 4)))
    """

    shape: Shape
    block: Shape

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.block):
            raise ParameterError(
                f"block {self.block} has {len(self.block)} axes, the volume {self.shape} has "
                f"{len(self.shape)}: give one size for all axes or one for each"
            )
        if any(b < 1 for b in self.block):
            raise ParameterError(f"block {self.block}: every size must be at least 1 voxel")
        if any(n < 1 for n in self.shape):
            raise ParameterError(f"a volume of shape {self.shape} holds no voxels")

    @cached_property
    def counts(self) -> Shape:
        """Blocks per axis."""
        return tuple(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))

    def __len__(self) -> int:
        return prod(self.counts)

    def __iter__(self) -> Iterator[Block]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Block:
        if not 0 <= number < len(self):
            raise IndexError(number)
        position, rest = [], number
        for count in reversed(self.counts):
            rest, place = divmod(rest, count)
            position.append(place)
        return self.at(tuple(reversed(position)))

    def at(self, position: Shape) -> Block:
        """The block at a place of the grid."""
        number = 0
        for place, count in zip(position, self.counts, strict=True):
            number = number * count + place
        start = tuple(p * b for p, b in zip(position, self.block, strict=True))
        stop = tuple(min(a + b, n) for a, b, n in zip(start, self.block, self.shape, strict=True))
        return Block(number, position, Box(start, stop))

    def neighbour(self, block: Block, direction: Sequence[int]) -> Block | None:
        """The block one step along ``direction`` (-1, 0 or 1 per axis), or None beyond the edge."""
        position = tuple(p + d for p, d in zip(block.position, direction, strict=True))
        if all(0 <= p < n for p, n in zip(position, self.counts, strict=True)):
            return self.at(position)
        return None

    def bricks(self, brick: Shape) -> Iterator[list[int]]:
        """Block numbers in groups of neighbours: one list a brick of ``brick`` blocks per axis.

        Blocks of a brick share their halo chunks, so one task computes them one after the other.
        """
        for corner in product(*(range(0, n, b) for n, b in zip(self.counts, brick, strict=True))):
            ranges = (range(c, min(c + b, n)) for c, b, n in zip(corner, brick, self.counts, strict=True))
            yield [self.at(position).number for position in product(*ranges)]


def largest_divisor(n: int, limit: int) -> int:
    """The largest divisor of ``n`` that is at most ``limit``: the chunk inside a shard of ``n`` voxels.

    >>> largest_divisor(256, 64), largest_divisor(50, 64), largest_divisor(67, 64)
    (64, 50, 1)
    """
    return max(d for d in range(1, min(n, limit) + 1) if n % d == 0)
