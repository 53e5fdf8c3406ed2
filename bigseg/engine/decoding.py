"""How much a pass decodes: whole chunks, those of the halo again and again unless neighbours share them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

from bigseg.engine.field import Field
from bigseg.engine.source import Read
from bigseg.engine.visit import depths, ordered
from bigseg.grid import Box, Grid, Shape


def reading(targets: Sequence[Field], grid: Grid, brick: Shape) -> tuple[int, float]:
    """Bytes decoded by a pass, and how often each chunk is decoded when a brick's halo chunks are shared.

    What is not cut into chunks is read or computed again for every block, voxel by voxel.
    """
    order = ordered(targets)
    reach = depths(order, len(grid.shape))
    total, factor = 0, 1.0
    for node in order:
        if isinstance(node.kernel, Read):
            chunk, together = node.kernel.chunk or grid.block, brick
            if not node.kernel.chunked:
                chunk = together = (1,) * len(brick)
            decoded = decoded_voxels(grid, together, chunk, reach[id(node)], node.kernel.below)
            total += decoded * node.spec.dtype.itemsize
            once = node.kernel.below(Box.whole(grid.shape)).cells(chunk) * prod(chunk)
            factor = max(factor, decoded / once)
    return total, factor


def decoding_memory(targets: Sequence[Field], grid: Grid, cache: int) -> int:
    """Bytes that decoding takes beside the cache: all chunks of one request, and one more that is still compressed.

    Nothing with ordinary chunks, whose cache is larger. A request is one layer of chunks along the first axis. Measured
    with noise: one chunk of 286 MiB takes 531 MiB, four of 71 that a block touches take 316.
    """
    order = ordered(targets)
    reach = depths(order, len(grid.shape))
    most = 0
    for node in order:
        if isinstance(node.kernel, Read) and node.kernel.chunked and (chunk := node.kernel.chunk):
            axes = range(1, len(chunk))
            depth, below = reach[id(node)], node.kernel.below
            touched = (max(_chunks(grid, axis, grid.block[axis], chunk[axis], depth[axis], below)) for axis in axes)
            most = max(most, (prod(touched) + 1) * prod(chunk) * node.spec.dtype.itemsize)
    return max(0, most - cache)


def outer_voxels(targets: Sequence[Field], grid: Grid) -> int:
    """Voxels of all blocks of a pass, each with the deepest of its halos."""
    ones = (1,) * len(grid.shape)
    reach = depths(ordered(targets), len(ones)).values()
    return decoded_voxels(grid, ones, ones, tuple(map(max, zip(*reach, strict=True))))


def decoded_voxels(
    grid: Grid, brick: Shape, chunk: Shape, depth: Shape, below: Callable[[Box], Box] = lambda box: box
) -> int:
    """Voxels of chunks that all bricks decode, each brick its own once; exact, axis by axis.

    ``below`` says which box of the store is read for a box of the grid: moved, in a part of a volume.

    >>> decoded_voxels(Grid((512,), (256,)), (1,), (128,), (8,)) / 512
    1.5
    """
    total = 1
    for axis, (b, k, c, d) in enumerate(zip(grid.block, brick, chunk, depth, strict=True)):
        total *= sum(_chunks(grid, axis, b * k, c, d, below)) * c
    return total


def _chunks(grid: Grid, axis: int, step: int, chunk: int, depth: int, below: Callable[[Box], Box]) -> Iterator[int]:
    """How many chunks each of the parts touches that an axis is cut into, with its halo."""
    whole, n = Box.whole(grid.shape), grid.shape[axis]
    for start in range(0, n, step):
        first, last = below(_with(whole, axis, max(0, start - depth), min(start + step + depth, n)))
        yield -(-last[axis] // chunk) - first[axis] // chunk


def _with(box: Box, axis: int, start: int, stop: int) -> Box:
    """A box with other ends along an axis."""
    return Box((*box.start[:axis], start, *box.start[axis + 1 :]), (*box.stop[:axis], stop, *box.stop[axis + 1 :]))
