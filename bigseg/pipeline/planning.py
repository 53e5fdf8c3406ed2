"""Choosing the block, and how many neighbouring blocks a task takes, from memory, halo and shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

from bigseg.engine.run import check_memory
from bigseg.engine.stage import Plan
from bigseg.engine.work import Limits
from bigseg.errors import ParameterError
from bigseg.grid import Grid, Shape
from bigseg.pipeline.machine import cores, free_memory

SIDES = {2: (4096, 3072, 2048, 1536, 1024, 768, 512, 384, 256, 192, 128), 3: (256, 192, 128, 96, 64, 48, 32)}
SMALLEST = {2: 128, 3: 32}
DECODE_GOAL = 1.5
BLOCKS_A_WORKER = 2
"""At least; a run that ends has lost no more than a share of the work."""
MANY = 16
"""With so many blocks a worker none waits long at the end: smaller blocks only have more halo."""
BLOCK_VOXELS = 1 << 18
"""What a block costs by itself (its task, files, journal, faces to be joined), as voxels that a pass visits."""
AS_GOOD = 1.1
"""Of blocks whose estimated time differs by less, the largest is taken."""
MOST_BLOCKS = 20_000_000
"""Half a KiB each, all in the driver: 10 GiB."""

Make = Callable[[Shape, Shape, Limits], Plan]
"""Makes the plan for a block, a brick and limits."""


@dataclass(frozen=True)
class Resources:
    """What the run may use: workers (threads in all) and memory a worker in bytes."""

    workers: int
    memory: int


def local_resources(workers: int | None, memory: int | None) -> Resources:
    """What this process may use of its machine: all cores unless told, an even share of 80 % of the free memory."""
    count = workers if workers is not None else cores()
    share = int(free_memory() * 0.8) // max(1, count)
    return Resources(max(1, count), memory or share)


def plan_for(make: Make, shape: Shape, resources: Resources, block: Sequence[int] | None = None) -> Plan:
    """The plan with the block asked for, or with the largest that fits and takes about the least time.

    Large blocks have less halo and are fewer, small ones keep all workers busy to the end: see `_time`.

    Raises
    ------
    MemoryPlanError
        When the given block, or even the smallest, does not fit into a worker's memory.
    """
    if block is not None:
        given = with_brick(make, shape, expand(block, shape), resources)
        check_memory(given, resources.memory, lambda memory: _advice(make, shape, resources, given))
        return given
    fitting: list[tuple[float, Plan]] = []
    for candidate in _candidates(shape, resources.workers):
        plan = with_brick(make, shape, candidate, resources)
        if plan.memory <= resources.memory:
            fitting.append((_time(plan, resources.workers), plan))
            if len(plan.grid) >= MANY * resources.workers:
                break
    if not fitting:
        check_memory(plan, resources.memory, lambda memory: "even the smallest block does not fit: give --memory more")
    least = min(time for time, _ in fitting)
    return next(plan for time, plan in fitting if time <= AS_GOOD * least)


def _candidates(shape: Shape, workers: int) -> list[Shape]:
    """Blocks that leave every worker some, the largest first; of those that cut alike the most even in whole chunks."""
    sides = SIDES.get(len(shape), SIDES[3])
    enough = [side for side in sides if side <= 64 or prod(_counts(shape, side)) >= BLOCKS_A_WORKER * workers]
    alike: dict[Shape, list[int]] = {}
    for side in enough or sides[-1:]:
        alike.setdefault(_counts(shape, side), []).append(side)
    chosen = (min(found, key=lambda side: (side % 64 != 0, side)) for found in alike.values())
    return [tuple(min(side, _up(n)) for n in shape) for side in chosen]


def _time(plan: Plan, workers: int) -> float:
    """Estimated time of the passes, in that of visiting every voxel once with all workers busy."""
    passes = [stage.outer for stage in plan.stages if stage.kind == "pass"]
    blocks = len(plan.grid)
    visited = sum(passes) / max(1, len(passes)) + blocks * BLOCK_VOXELS / prod(plan.grid.shape)
    waiting = max(ceil(blocks / workers) * workers / blocks, 1 + (workers - 1) / (2 * blocks))
    return visited * waiting


def with_brick(make: Make, shape: Shape, block: Shape, resources: Resources) -> Plan:
    """The plan for a block with the smallest brick of neighbours that keeps the decode factor within 1.5.

    Bricks that would leave workers idle, or whose chunks would not fit a quarter of a worker's memory, are
    not considered; where none reaches the goal, the one that decodes least is taken. Where no chunks are
    decoded there is no cache, and nothing that neighbours could share.
    """
    grid = Grid(shape, block)
    if prod(grid.counts) > MOST_BLOCKS:
        raise ParameterError(
            f"{_by(shape)} voxels in {prod(grid.counts):.3g} blocks of {_by(block)}: expected at most "
            f"{MOST_BLOCKS:,} blocks; give a larger --block, or a coarser --resample"
        )
    best: tuple[float, Plan] | None = None
    for brick in bricks(grid, resources.workers):
        cache = cache_bytes(block, brick)
        if brick != (1,) * len(block) and cache > resources.memory // 4:
            continue
        plan = make(block, brick, Limits(cache, 1))
        decode = max(stage.decode for stage in plan.stages)
        if best is None or decode < best[0] - 0.01:
            best = decode, plan
        if decode <= DECODE_GOAL or not plan.limits.cache:
            break
    assert best is not None
    return best[1]


def bricks(grid: Grid, workers: int) -> list[Shape]:
    """Bricks of up to 4 blocks an axis, smallest first, that still leave every worker its share."""
    ndim = len(grid.block)
    found = []
    for brick in product((1, 2, 4), repeat=ndim):
        brick = tuple(min(b, n) for b, n in zip(brick, grid.counts, strict=True))
        tasks = prod(ceil(n / b) for n, b in zip(grid.counts, brick, strict=True))
        busy = tasks / (ceil(tasks / workers) * workers)
        if brick == (1,) * ndim or (tasks >= workers and busy > 0.9):
            found.append(brick)
    return sorted(dict.fromkeys(found), key=lambda brick: (prod(brick), brick))


def cache_bytes(block: Shape, brick: Shape) -> int:
    """Cache of decoded chunks: a brick and its halo of chunks, two bytes a voxel, between 32 and 512 MiB."""
    voxels = prod(b * k + 128 for b, k in zip(block, brick, strict=True))
    return min(max(2 * voxels, 32 << 20), 512 << 20)


def expand(block: Sequence[int], shape: Shape) -> Shape:
    """One size for all axes, or one for each; a block larger than the volume means all of it.

    >>> expand((64,), (100, 50, 200))
    (64, 50, 64)
    """
    items = tuple(int(b) for b in block)
    if len(items) == 1:
        items = items * len(shape)
    if len(items) != len(shape):
        raise ParameterError(f"block {items}: expected 1 or {len(shape)} sizes for a volume of shape {shape}")
    if any(item < 1 for item in items):
        raise ParameterError(f"block {items}: expected sizes of 1 voxel or more")
    return tuple(min(b, _up(n)) for b, n in zip(items, shape, strict=True))


def _counts(shape: Shape, side: int) -> Shape:
    """Blocks per axis with blocks of a side."""
    return tuple(ceil(n / side) for n in shape)


def _up(n: int) -> int:
    """An axis rounded up so that a shard of all of it divides into chunks of 64."""
    return n if n <= 64 else -(-n // 64) * 64


def _advice(make: Make, shape: Shape, resources: Resources, plan: Plan) -> str:
    for side in SIDES.get(len(shape), SIDES[3]):
        candidate = tuple(min(side, b) for b in plan.grid.block)
        if candidate != plan.grid.block:
            smaller = with_brick(make, shape, candidate, resources)
            if smaller.memory <= resources.memory:
                text = (
                    ",".join(map(str, dict.fromkeys(candidate)))
                    if len(set(candidate)) == 1
                    else ",".join(map(str, candidate))
                )
                return f"--block {text} fits ({smaller.memory / 2**20:.0f} MiB), or give --memory {_mib(plan.memory)}"
    return f"no smaller block fits either; give --memory {_mib(plan.memory)}"


def _by(sizes: Shape) -> str:
    return "x".join(map(str, sizes))


def _mib(count: int) -> str:
    return f"{ceil(count / 2**20)}MiB"
