"""The levels of a pyramid as descriptions: shapes, spacings and origins. Computing them is the engine's work.

Level k + 1 halves every axis of level k that has more than one voxel; its first voxel stands for voxels 0
and 1 of the level below, so its centre lies half a voxel further in::

    level 0   | 0 | 1 | 2 | 3 | 4 |      shape 5, spacing s,   origin o
    level 1   |   0   |   1   |  2    |  shape 3, spacing 2 s, origin o + s / 2
"""

from __future__ import annotations

from collections.abc import Iterator

from bigseg.grid import Shape
from bigseg.storage.spec import Spec

SMALL = 128
"""A pyramid ends where every axis is at most this long: a viewer shows it at once."""


def number_of_levels(shape: Shape, small: int = SMALL) -> int:
    """How many levels until every axis is small.

    >>> number_of_levels((512, 512, 100)), number_of_levels((129, 1, 1)), number_of_levels((64, 64))
    (3, 2, 1)
    """
    levels = 1
    while max(shape) > small:
        shape = tuple(-(-n // 2) for n in shape)
        levels += 1
    return levels


def halved_axes(shape: Shape) -> Shape:
    """The factor of each axis from a level to the next: 2, or 1 where there is but one voxel."""
    return tuple(2 if n > 1 else 1 for n in shape)


def next_level(spec: Spec) -> Spec:
    """The description of the level above a level.

    >>> import numpy as np
    >>> spec = Spec((5, 1), np.dtype("uint8"), ("y", "x"), (2.0, 2.0), "micrometer")
    >>> next_level(spec).shape, next_level(spec).spacing, next_level(spec).origin
    ((3, 1), (4.0, 2.0), (1.0, 0.0))
    """
    factors = halved_axes(spec.shape)
    return spec.but(
        shape=tuple(-(-n // 2) for n in spec.shape),
        spacing=tuple(s * f for s, f in zip(spec.spacing, factors, strict=True)),
        origin=tuple(o + s * (f - 1) / 2 for o, s, f in zip(spec.origin, spec.spacing, factors, strict=True)),
    )


def level_shard(shard: Shape) -> Shape:
    """Shard of the levels above level 0: half of level 0's, so that it is made from as many voxels as a block.

    >>> level_shard((256, 50, 16))
    (128, 25, 16)
    """
    return tuple(s // 2 if s % 2 == 0 and s >= 32 else s for s in shard)


def levels_of(spec: Spec, levels: int | None = None) -> Iterator[Spec]:
    """The descriptions of all levels, level 0 first; as many as a viewer needs unless told."""
    for _ in range(number_of_levels(spec.shape) if levels is None else levels):
        yield spec
        spec = next_level(spec)


def level_of(spec: Spec, level: int) -> Spec:
    """The description of one level of an image whose level 0 is ``spec``."""
    return list(levels_of(spec, level + 1))[level]
