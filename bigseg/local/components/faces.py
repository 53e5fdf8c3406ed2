"""Where components of neighbouring blocks touch: pairs of their numbers, from the faces of the blocks alone.

Voxels of two blocks can touch only if the blocks share a face, an edge or a corner. Stepping from block to
block in raster order, half of the 26 neighbours are enough, since touching is mutual. Which of the 13
depends on how many coordinates may differ between touching voxels::

    connectivity 1     3   faces: one coordinate differs, so the blocks differ along one axis
    connectivity 2     9   faces and 6 edges: blocks may differ along two axes
    connectivity 3    13   faces, edges and 4 corners

Of the coordinates that may differ, crossing a face uses up one, an edge two, a corner three; what is left
may be used inside the face or along the edge: connectivity 3 looks at 9 voxels across a face, 3 across an
edge, 1 across a corner.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.components.words import kernel

Array = NDArray[Any]
Direction = tuple[int, int, int]


class Shell(NamedTuple):
    """The first and last plane of a block along each axis: component numbers (0 is background) or values.

    z: two planes of shape (y, x); y: two of (z, x); x: two of (z, y).
    """

    z: tuple[Array, Array]
    y: tuple[Array, Array]
    x: tuple[Array, Array]


def directions(connectivity: int) -> list[Direction]:
    """Steps (z, y, x) to the neighbouring blocks that a block must be joined with, each pair of blocks once.

    >>> directions(1)
    [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    >>> len(directions(2)), len(directions(3))
    (9, 13)
    """
    if connectivity not in (1, 2, 3):
        raise ParameterError(f"connectivity {connectivity!r}: expected 1, 2 or 3 (6, 18 or 26 neighbours in 3-D)")
    steps = [(z, y, x) for z, y, x in product((-1, 0, 1), repeat=3) if (z, y, x) > (0, 0, 0)]
    return [step for step in steps if sum(map(abs, step)) <= connectivity]


def shell_of(volume: Array) -> Shell:
    """The six faces of a block of values, as views; what `join_shells` compares for multi-valued labels.

    >>> shell_of(np.arange(8).reshape(2, 2, 2)).x[1].tolist()
    [[1, 3], [5, 7]]
    """
    volume = volume if volume.ndim == 3 else volume[np.newaxis]
    return Shell((volume[0], volume[-1]), (volume[:, 0], volume[:, -1]), (volume[:, :, 0], volume[:, :, -1]))


def join_shells(
    a: Shell, b: Shell, direction: Direction, connectivity: int, values: tuple[Shell, Shell] | None = None
) -> NDArray[np.uint32]:
    """Pairs of components of two neighbouring blocks that touch.

    Parameters
    ----------
    a, b : component numbers on the faces of the blocks, from `bigseg.local.components.paint.shell`.
    direction : step from block a to block b, (z, y, x) in -1, 0, 1; any of the 26.
    connectivity : 1, 2 or 3.
    values : the values on the same faces, for multi-valued labels: only equal values join.

    Returns
    -------
    uint32 of shape (pairs, 2): a component of a, one of b; each pair once, sorted. None where the step
    changes more coordinates than the connectivity allows.

    Raises
    ------
    ParameterError : the blocks do not fit together along the direction.

    Notes
    -----
    Costs 5 to 50 ns for each voxel of the face, smooth or noise, and the sorting of the pairs found.

    Examples
    --------
    >>> one = shell_of(np.array([[[1, 0], [0, 2]]], "uint32"))
    >>> two = shell_of(np.array([[[0, 3], [1, 0]]], "uint32"))
    >>> join_shells(one, two, (0, 0, 1), 1).tolist(), join_shells(one, two, (0, 1, 1), 3).tolist()
    ([[2, 1]], [])
    """
    left = connectivity - sum(map(abs, direction))
    if left < 0:
        return np.empty((0, 2), np.uint32)
    planes = _meeting(a, direction), _meeting(b, (-direction[0], -direction[1], -direction[2]))
    if values is None:
        return join_planes(*planes, left)
    there = _meeting(values[0], direction), _meeting(values[1], (-direction[0], -direction[1], -direction[2]))
    return join_planes(*planes, left, there)


def join_planes(a: Array, b: Array, offsets: int, values: tuple[Array, Array] | None = None) -> NDArray[np.uint32]:
    """Pairs of components on two planes that face each other.

    Parameters
    ----------
    a, b : uint32 planes of one shape, the last plane of a block and the first of the next; 0 is background.
    offsets : how many of the two coordinates in the plane may differ by one: 0 joins facing voxels only, 1
        also the 4 around, 2 all 8.
    values : two planes of the values there; only equal values join.

    Returns
    -------
    uint32 of shape (pairs, 2), each pair once, sorted.

    >>> join_planes(np.array([[1, 1, 0]], "uint32"), np.array([[0, 4, 4]], "uint32"), 1).tolist()
    [[1, 4]]
    >>> join_planes(np.array([[1, 0]], "uint32"), np.array([[0, 5]], "uint32"), 1).tolist()
    [[1, 5]]
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ParameterError(f"faces of shapes {a.shape} and {b.shape} do not fit: expected two equal planes")
    a, b = np.ascontiguousarray(a, np.uint32), np.ascontiguousarray(b, np.uint32)
    if values is None:
        arrays = a, b, a, b, False
    else:
        if values[0].shape != a.shape or values[1].shape != a.shape or values[0].dtype != values[1].dtype:
            raise ParameterError(
                f"values of shapes {values[0].shape} and {values[1].shape} (dtypes {values[0].dtype} and "
                f"{values[1].dtype}) on faces of shape {a.shape}: expected equal shapes and one dtype"
            )
        arrays = a, b, np.ascontiguousarray(values[0]), np.ascontiguousarray(values[1]), True
    pairs = np.empty(0, np.uint64)
    pairs = np.empty(_find_pairs(*arrays, offsets, pairs), np.uint64)
    _find_pairs(*arrays, offsets, pairs)
    pairs = np.unique(pairs)
    return np.stack((pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF)), axis=1).astype(np.uint32)


def _meeting(shell: Shell, direction: Direction) -> Array:
    """What a neighbour in ``direction`` touches: a face, or an edge or a corner as a plane one voxel wide."""
    axes = [axis for axis in range(3) if direction[axis]]
    if not axes:
        raise ParameterError("direction (0, 0, 0): expected the step to a neighbouring block")
    side = [slice(None) if not step else slice(0, 1) if step < 0 else slice(-1, None) for step in direction]
    first = axes[0]
    plane = shell[first][int(direction[first] > 0)]
    del side[first]
    return plane[tuple(side)]


@kernel
def _find_pairs(a: Any, b: Any, values_a: Any, values_b: Any, compare: bool, offsets: int, pairs: Any) -> int:
    """Write the pairs and return their number; with no room for any, only count them.

    A pair is left out where it is met one voxel to the left, above or, if not facing, straight across. In a
    mask the voxel straight across, if set, is of the same component as those around it.
    """
    ny, nx = a.shape
    write = pairs.size > 0
    count = 0
    for y in range(ny):
        for x in range(nx):
            mine, straight = b[y, x], a[y, x]
            if mine == 0:
                continue
            reach = 1 if offsets > 0 and (compare or straight == 0) else 0
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    if abs(dy) + abs(dx) > offsets or not (0 <= y + dy < ny and 0 <= x + dx < nx):
                        continue
                    other = a[y + dy, x + dx]
                    if other == 0:
                        continue
                    if dy != 0 or dx != 0:
                        known = other == straight or b[y + dy, x + dx] == mine
                    else:
                        known = x > 0 and a[y, x - 1] == other and b[y, x - 1] == mine
                        known = known or (y > 0 and a[y - 1, x] == other and b[y - 1, x] == mine)
                    if known or (compare and values_a[y + dy, x + dx] != values_b[y, x]):
                        continue
                    if write:
                        pairs[count] = np.uint64(other) << np.uint64(32) | np.uint64(mine)
                    count += 1
    return count
