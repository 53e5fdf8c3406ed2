"""In which order a stage's units are computed, and which of them one task takes; made as it is asked for.

The driver holds none of it: as a tuple of tuples it was 85 bytes a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Protocol

from bigseg.grid import Grid, Shape


class Order(Protocol):
    """The units of each task, task after task."""

    def __len__(self) -> int:
        """How many tasks there are."""

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        """One after the other, from the first."""


@dataclass(frozen=True)
class Bricks:
    """Blocks in bricks of neighbours, which share their halo chunks.

    >>> order = Bricks(Grid((4, 4), (2, 1)), (1, 2))
    >>> len(order), list(order)
    (4, [(0, 1), (2, 3), (4, 5), (6, 7)])
    """

    grid: Grid
    brick: Shape

    def __len__(self) -> int:
        return prod(-(-count // size) for count, size in zip(self.grid.counts, self.brick, strict=True))

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return map(tuple, self.grid.bricks(self.brick))


@dataclass(frozen=True)
class Singles:
    """Each unit by itself.

    >>> list(Singles(3))
    [(0,), (1,), (2,)]
    """

    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return ((unit,) for unit in range(self.count))
