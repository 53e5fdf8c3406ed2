"""From the graph to a costed list of stages.

1. Level every node: a field has the highest level of what it is computed from; what a reduction finds is
   known one level after the blocks it looked at.
2. Store what must be stored: a field that cannot be computed with a halo and is needed with one, and a dear
   field that several passes need, where writing and reading it costs less than computing it again.
3. Everything of one level becomes one pass, so that each block is read and visited once a level; the
   reductions follow in between; pyramids of what was written come last.

Nothing here reads a voxel or knows an operation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Literal

from bigseg.engine.decoding import decoding_memory, outer_voxels, reading
from bigseg.engine.field import Collect, Field, Reduction, Values, Workspace, Write, bound
from bigseg.engine.graph import WRITE_COPIES, Graph, reduction_names
from bigseg.engine.order import Bricks, Order, Singles
from bigseg.engine.source import Read, place
from bigseg.engine.stage import Plan, Stage
from bigseg.engine.visit import working_memory
from bigseg.engine.work import Limits, PassWork, PyramidWork, ReduceWork, Take, Work
from bigseg.errors import InputError, PipelineError
from bigseg.grid import Grid, Shape
from bigseg.storage.create import create_image
from bigseg.storage.pyramid import halved_axes, level_shard, levels_of
from bigseg.storage.scratch import Scratch
from bigseg.storage.volume import Volume

FIRST_RUN = 240 << 20
"""What a worker takes more in the first run after an installation: up to 72 MiB left behind by compiling kernels, and
168 of the libraries' code, which Dask and batch systems count: 68 MiB where the files are read page by page, up to 236
when all of it lies in the page cache and Linux maps what lies around each page that is used."""
BASELINE = (292 << 20) + FIRST_RUN
"""Resident bytes of a worker beside its arrays and its cache, where it takes most: 68 MiB of code, 61 of other memory
of libraries, 100 of compiled kernels, 43 of tables (pyarrow), 20 of chunks that a stage has freed, and what the first
run takes."""
RETAINED = 64 << 20
"""What the allocator of a worker keeps of a pass while a reduction runs, at most (measured: 20 to 50 MiB); never more
than the pass took."""


def make_plan(
    writes: Sequence[Write],
    reductions: Sequence[Reduction],
    *,
    grid: Grid,
    folder: Path,
    limits: Limits,
    brick: Shape | None = None,
    held: Collection[str] = (),
) -> Plan:
    """Cut a graph into stages.

    Parameters
    ----------
    writes, reductions : what the run must produce.
    grid : blocks of every pass.
    folder : the run's folder; scratch lies below it.
    limits : cache and threads of a worker; there is no cache where no pass decodes chunks.
    brick : blocks per axis that one task computes together (default: one block).
    held : collects and reductions whose results another run has left in scratch.

    Raises
    ------
    InputError
        When fields of different shapes meet in one run.
    PipelineError
        When a step has the name of another stage.
    """
    scratch = Scratch(str(folder / "scratch"))
    graph = Graph(writes, reductions, grid, str(folder / "scratch"), held)
    for node in graph.fields():
        if node.spec.shape != grid.shape:
            raise InputError(
                f"{node.name} has shape {node.spec.shape}, the run's volume has {grid.shape}: "
                "all inputs of a run must have the same shape"
            )
    if not graph.reads_chunks():
        limits = replace(limits, cache=0)
    brick = brick or (1,) * len(grid.block)
    order = Bricks(grid, brick)
    space = Workspace(grid, scratch, folder)
    stages: list[Stage] = []
    last = max(
        [graph.level(w.field) for w in graph.writes]
        + [graph.level(c) for c in graph.collects]
        + [graph.level(r) for r in graph.order],
        default=0,
    )
    for level in range(last + 1):
        for reduction in graph.order:
            stages += _reduction(reduction, graph, space, limits, stages) if graph.level(reduction) == level else ()
        taken = [node for node in graph.collects if graph.level(node) == level]
        written = [write for write in graph.writes if graph.level(write.field) == level]
        if taken or written:
            stages.append(_pass(f"pass-{level + 1}", graph, level, taken, written, space, limits, brick, order))
    pyramids = [
        stage
        for write in graph.writes
        if write.pyramid
        for stage in _pyramid(write, grid, limits, f"pass-{graph.level(write.field) + 1}")
    ]
    _refuse_same_names([*(stage.name for stage in (*stages, *pyramids)), *held])
    reads = [node.kernel for node in graph.fields() if isinstance(node.kernel, Read)]
    kept = sum({place(read.origin): read.kept for read in reads}.values())
    every = (replace(stage, memory=stage.memory + kept) for stage in (*with_all_needs(stages), *pyramids))
    return Plan(tuple(every), grid, limits, tuple((w.field.name, w.why) for w in graph.writes), brick)


def _refuse_same_names(names: Iterable[str]) -> None:
    """Journal, scratch and values know a stage by its name; passes and pyramids are named here, reductions by steps."""
    for name, count in Counter(names).items():
        if count > 1:
            raise PipelineError(f"step {name!r} would have the name of another stage of the plan: give it another id")


def _pass(
    name: str,
    graph: Graph,
    level: int,
    taken: Sequence[Collect],
    written: Sequence[Write],
    space: Workspace,
    limits: Limits,
    brick: Shape,
    order: Order,
) -> Stage:
    grid = space.grid
    memo: dict[int, Field] = {}
    index: dict[int, int] = {}
    targets: list[Field] = []

    def place(node: Field) -> int:
        if id(node) not in index:
            index[id(node)] = len(targets)
            targets.append(graph.at(node, level, memo))
        return index[id(node)]

    takes = [Take(c.name, c.kernel, tuple(place(node) for node in c.fields)) for c in taken]
    outputs = [(place(write.field), write) for write in written]
    inner = tuple(map(min, grid.block, grid.shape))
    collecting = max((take.kernel.memory(inner) for take in takes), default=0)
    writing = max((int(prod(inner) * w.field.spec.dtype.itemsize * WRITE_COPIES) for w in written), default=0)
    needs = working_memory(targets, inner, max(collecting, writing))
    needs += decoding_memory(targets, grid, limits.cache)
    reads, decode = reading(targets, grid, brick)

    def start(values: Values) -> Work:
        seen: dict[int, Field] = {}
        return PassWork(
            name,
            grid,
            tuple(bound(node, values, seen) for node in targets),
            tuple(Take(take.name, take.kernel.bind(values), take.fields) for take in takes),
            tuple((i, _output(write, grid)) for i, write in outputs),
            space.scratch,
            limits,
        )

    words = [f"collect {take.name}" for take in takes] + [f"write {w.field.name}" for w in written]
    return Stage(
        name,
        "pass",
        ", ".join(words),
        len(grid),
        BASELINE + limits.cache + needs,
        reads,
        decode,
        sum(prod(grid.shape) * w.field.spec.dtype.itemsize for w in written),
        prod(grid.shape),
        start,
        order,
        graph.needs([*taken, *(write.field for write in written)], level),
        outer=outer_voxels(targets, grid) / prod(grid.shape),
    )


def _output(write: Write, grid: Grid) -> Volume:
    """The image that a pass writes: made on the first start, found again on resume."""
    return create_image(
        write.path,
        write.field.spec,
        grid.block,
        pyramid=write.pyramid,
        attributes=write.attributes,
        exist_ok=True,
    )


def with_all_needs(stages: Iterable[Stage]) -> list[Stage]:
    """What is needed for what is needed, too: a reduction may read what lies several stages below it."""
    found: dict[str, Stage] = {}
    for stage in stages:
        deep = (name for below in stage.needs if below in found for name in found[below].needs)
        found[stage.name] = replace(stage, needs=tuple(dict.fromkeys([*stage.needs, *deep])))
    return list(found.values())


def _reduction(
    node: Reduction, graph: Graph, space: Workspace, limits: Limits, before: Sequence[Stage]
) -> Iterable[Stage]:
    """One stage, or one a round."""
    taken = (stage.memory - BASELINE - limits.cache for stage in before if stage.kind == "pass")
    retained = min(RETAINED, max(taken, default=RETAINED))
    units = node.kernel.units(space.grid)
    rounds = units if isinstance(units, tuple) else (units,)
    names = reduction_names(node, space.grid)
    needs = graph.needs([node], graph.level(node))
    for number, (name, count) in enumerate(zip(names, rounds, strict=True)):
        work = ReduceWork(name, node.kernel, space, limits, sum(rounds[:number]))
        yield Stage(
            name,
            "reduction",
            f"reduce {', '.join(item.name for item in node.inputs)}",
            count,
            BASELINE + retained + limits.cache + node.kernel.memory(space.grid),
            0,
            1.0,
            0,
            0,
            work.bind,
            Singles(count),
            (*needs, *names[:number]),
            light=work if getattr(node.kernel, "light", False) else None,
        )


def _pyramid(write: Write, grid: Grid, limits: Limits, written: str) -> Iterable[Stage]:
    """A stage a level; ``written`` is the one that writes the finest."""
    spec, below_it = write.field.spec, [written]
    method: Literal["mean", "mode"] = "mean" if spec.kind == "image" else "mode"
    levels = list(levels_of(spec))
    limits = replace(limits, cache=0)  # every chunk below is read once
    for level, (source, target) in enumerate(pairwise(levels), start=1):
        factors, shard = halved_axes(source.shape), level_shard(grid.block)
        cells = Grid(target.shape, shard)
        below = tuple(min(s * f, n) for s, f, n in zip(shard, factors, source.shape, strict=True))
        size = spec.dtype.itemsize
        memory = int(prod(below) * size * 1.5 + prod(shard) * size * (1 + WRITE_COPIES))
        name = f"pyramid-{write.field.name}-{level}"

        def start(
            values: Values,
            level: int = level,
            cells: Grid = cells,
            factors: Shape = factors,
            name: str = name,
        ) -> Work:
            low, high = (Volume.planned(write.path, spec, level=k) for k in (level - 1, level))
            return PyramidWork(name, cells, low, high, method, factors, limits)

        yield Stage(
            name,
            "pyramid",
            f"level {level} of {write.field.name} by {method}",
            len(cells),
            BASELINE + limits.cache + memory,
            prod(source.shape) * size,
            1.0,
            prod(target.shape) * size,
            prod(source.shape),
            start,
            Singles(len(cells)),
            after=tuple(below_it),
        )
        below_it.append(name)
