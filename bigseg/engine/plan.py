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

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bigseg.engine.decoding import reading
from bigseg.engine.field import Collect, Field, Reduction, Values, Workspace, Write, bound
from bigseg.engine.order import Bricks, Order, Singles
from bigseg.engine.source import DECODE_NS, Read
from bigseg.engine.visit import ordered, working_memory
from bigseg.engine.work import Limits, PassWork, PyramidWork, ReduceWork, Take, Work
from bigseg.errors import InputError
from bigseg.grid import Grid, Shape
from bigseg.storage.create import create_image
from bigseg.storage.pyramid import halved_axes, level_shard, levels_of
from bigseg.storage.scratch import Scratch
from bigseg.storage.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

BASELINE = 312 << 20
"""Resident bytes of a worker beside its arrays and its cache. Measured with blocks of 40^3, which take next to nothing:
141 MiB when it has started, 220 to 230 when it has loaded compiled kernels, 45 more when it has compiled them itself,
and 45 more from the first table on (pyarrow). ``python -m tests.faults.run --only R11``."""
RETAINED = 64 << 20
"""What the allocator of a worker keeps of a pass while a reduction runs, at most (measured: 20 to 50 MiB); never more
than the pass took."""
READ_NS, WRITE_NS = 1.2, 3.0
"""Nanoseconds a byte to decode a block from the store, and to encode and write it durably, on one core."""
WRITE_COPIES = 1.3
"""Bytes that encoding and writing hold for each byte of the block, beyond the block itself."""


@dataclass(frozen=True)
class Stage:
    """One line of the plan: a pass, a reduction or a pyramid level."""

    name: str
    kind: str
    what: str
    """In words: what it computes and stores."""
    units: int
    memory: int
    """Bytes a worker needs, all told."""
    reads: int
    """Bytes of voxels decoded, the halo's share included."""
    decode: float
    """How often a chunk of the input is decoded, on average."""
    writes: int
    """Bytes of voxels written, before compression."""
    voxels: int
    """Voxels of the output it covers, for the rate."""
    start: Callable[[Values], Work] = field(repr=False, compare=False)
    """Creates the outputs where they do not exist and gives the work for the workers."""
    order: Order = field(default=(), repr=False, compare=False)
    needs: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Earlier stages whose partial results it may read: all below it; a pyramid reads none."""
    after: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Earlier stages whose images it reads: of a pyramid's level, those that write the levels below."""
    light: ReduceWork | None = field(default=None, repr=False, compare=False)
    """Of a reduction that takes little: its work before `start`, so that one task can do several stages."""


@dataclass(frozen=True)
class Plan:
    """The costed list of stages, and what is stored between them and why."""

    stages: tuple[Stage, ...]
    grid: Grid
    limits: Limits
    stored: tuple[tuple[str, str], ...]
    brick: Shape

    @property
    def memory(self) -> int:
        """Bytes a worker needs at the worst stage."""
        return max(stage.memory for stage in self.stages)

    @property
    def worst(self) -> Stage:
        """The stage that needs most memory."""
        return max(self.stages, key=lambda stage: stage.memory)

    def table(self) -> pd.DataFrame:
        """One row a stage; sizes in MiB.

        ``decoded`` says how often a chunk of the input is decoded; ``memory`` is what a worker needs, all told.
        """
        import pandas as pd  # which takes half a second to load

        rows = [
            {
                "stage": stage.name,
                "blocks": stage.units,
                "tasks": len(stage.order),
                "read": stage.reads / 2**20,
                "decoded": stage.decode,
                "written": stage.writes / 2**20,
                "memory": stage.memory / 2**20,
                "what it does": stage.what,
            }
            for stage in self.stages
        ]
        return pd.DataFrame(rows).set_index("stage")

    def _repr_html_(self) -> str:
        shape, block = (" x ".join(map(str, item)) for item in (self.grid.shape, self.grid.block))
        needs = f"{self.memory / 2**20:.0f} MiB a worker at most ({self.worst.name})"
        table = self.table().to_html(float_format=lambda value: f"{value:.1f}")
        return f"<p>{shape} in {len(self.grid)} blocks of {block}; {needs}; sizes in MiB</p>{table}"


class Graph:
    """The roots of a pipeline, levelled, with the stores that it needs added."""

    def __init__(
        self,
        writes: Sequence[Write],
        reductions: Sequence[Reduction],
        grid: Grid,
        scratch: str,
        held: Collection[str] = (),
    ) -> None:
        self.writes = list(writes)
        self.reductions = list(reductions)
        self.grid = grid
        self.scratch = scratch
        self.held = frozenset(held)
        self.stored = {id(write.field): write for write in self.writes}
        self.levels: dict[int, int] = {}
        self.collects: list[Collect] = []
        self.order: list[Reduction] = []
        self._gather()
        self._store_what_needs_a_halo()
        self._store_what_is_dear()

    def _gather(self) -> None:
        """Every reduction and collect that the roots need, in an order that can be run."""
        seen: set[int] = set()

        def field_needs(node: Field) -> None:
            if id(node) in seen:
                return
            seen.add(id(node))
            for child in node.inputs:
                field_needs(child)
            for reduction in node.after:
                reduce_needs(reduction)

        def reduce_needs(node: Reduction) -> None:
            if id(node) in seen:
                return
            seen.add(id(node))
            if node.name in self.held:
                return
            for earlier in node.after:
                reduce_needs(earlier)
            for item in node.inputs:
                if isinstance(item, Reduction):
                    reduce_needs(item)
                else:
                    collect_needs(item)
            self.order.append(node)

        def collect_needs(node: Collect) -> None:
            if id(node) in seen or node.name in self.held:
                return
            seen.add(id(node))
            for earlier in node.after:
                reduce_needs(earlier)
            for child in node.fields:
                field_needs(child)
            self.collects.append(node)

        for write in self.writes:
            field_needs(write.field)
        for reduction in self.reductions:
            reduce_needs(reduction)

    def level(self, node: Field | Collect | Reduction) -> int:
        """In which pass a field or collect is computed; before which pass a reduction runs."""
        if id(node) not in self.levels:
            self.levels[id(node)] = self._level(node)
        return self.levels[id(node)]

    def _level(self, node: Field | Collect | Reduction) -> int:
        if isinstance(node, Field):
            below = [self.level(child) for child in node.inputs]
            below += [self.level(bare) + 1 for bare in self._bare_below(node)]
            return max([*below, *(self.level(earlier) for earlier in node.after)], default=0)
        if node.name in self.held and not isinstance(node, Field):
            return 0 if isinstance(node, Reduction) else -1  # what an earlier run left
        if isinstance(node, Collect):
            return max([*map(self.level, node.fields), *map(self.level, node.after)])
        return max(
            [self.level(item) + isinstance(item, Collect) for item in node.inputs]
            + [self.level(earlier) for earlier in node.after]
        )

    def fields(self) -> list[Field]:
        """Every field of the graph."""
        return ordered([write.field for write in self.writes] + [f for c in self.collects for f in c.fields])

    def reads_chunks(self) -> bool:
        """Whether any pass decodes chunks: of an input, or of what an earlier pass stored."""
        roots: list[tuple[int, Sequence[Field]]] = [(self.level(c), c.fields) for c in self.collects]
        roots += [(self.level(write.field), [write.field]) for write in self.writes]
        return any(
            isinstance(node.kernel, Read) and node.kernel.chunked
            for level, fields in roots
            for node in ordered([self.at(field, level, {}) for field in fields])
        )

    def _store(self, node: Field, why: str) -> None:
        if id(node) not in self.stored:
            write = Write(node, f"{self.scratch}/{node.name}.ome.zarr", why, pyramid=False)
            self.writes.append(write)
            self.stored[id(node)] = write

    def _bare_below(self, node: Field) -> list[Field]:
        """What a field needs a halo of that cannot be computed with one, whatever lies between without a halo."""
        todo = list(node.inputs) if any(node.kernel.depth()) else []
        found: dict[int, Field] = {}
        seen: set[int] = set()
        while todo:
            child = todo.pop()
            if not child.kernel.haloed:
                found[id(child)] = child
            elif id(child) not in seen:
                seen.add(id(child))
                todo += child.inputs
        return list(found.values())

    def _store_what_needs_a_halo(self) -> None:
        for node in self.fields():
            for bare in self._bare_below(node):
                self._store(bare, f"{node.name} needs a halo of it")

    def _store_what_is_dear(self) -> None:
        for node in reversed(self.fields()):  # what is made of a field comes before the field
            passes = self._passes(node)
            again = (passes - 1) * (compute_cost(node) - reading_cost(node))
            computed = bool(node.inputs) or node.kernel.cost > DECODE_NS
            if computed and passes > 1 and again > WRITE_NS * node.spec.dtype.itemsize:
                self._store(node, f"{passes} passes need it; computing it again costs {again:.0f} ns a voxel")

    def _passes(self, node: Field) -> int:
        """How many passes compute a field; a pass that reads back what an earlier one made of it does not."""
        levels = set()
        for roots in [*([write.field] for write in self.writes), *(collect.fields for collect in self.collects)]:
            level = max(self.level(root) for root in roots)
            todo, seen = list(roots), set(map(id, roots))
            while todo:
                item = todo.pop()
                if item is node:
                    levels.add(level)
                elif not self._read_back(item, level):
                    todo += [child for child in item.inputs if id(child) not in seen]
                    seen |= set(map(id, item.inputs))
        return len(levels)

    def _read_back(self, node: Field, level: int) -> bool:
        """Whether the pass of a level reads a field that an earlier one stored."""
        return id(node) in self.stored and self.level(node) < level and self._reading_pays(node)

    def at(self, node: Field, level: int, memo: dict[int, Field]) -> Field:
        """The field as the pass of a level computes it: read back where an earlier pass stored it."""
        if id(node) not in memo:
            if self._read_back(node, level):
                path = self.stored[id(node)].path
                memo[id(node)] = Field(node.name, node.spec, Read(Volume.planned(path, node.spec)))
            else:
                below = tuple(self.at(child, level, memo) for child in node.inputs)
                memo[id(node)] = Field(node.name, node.spec, node.kernel, below, node.after, node.tag)
        return memo[id(node)]

    def needs(self, roots: Iterable[Field | Collect | Reduction], level: int) -> tuple[str, ...]:
        """Names of the stages whose files are read to compute roots in the pass of a level, or before it."""
        found: dict[str, None] = {}
        todo, seen = list(roots), set(map(id, roots))

        def stages(node: Collect | Reduction, below: bool) -> None:
            """Of a node; of what a reduction is made from as well, where that is asked for or it has none itself."""
            if node.name in self.held:
                return
            if isinstance(node, Collect):
                found[f"pass-{self.level(node) + 1}"] = None
                return
            names = reduction_names(node, self.grid)
            found.update(dict.fromkeys(names))
            for item in node.inputs if below or not names else ():
                stages(item, True)

        while todo:
            node = todo.pop()
            for earlier in node.after:
                stages(earlier, False)
            if isinstance(node, Reduction):
                for item in node.inputs:
                    stages(item, True)
                continue
            for child in node.inputs if isinstance(node, Field) else node.fields:
                if self._read_back(child, level):
                    found[f"pass-{self.level(child) + 1}"] = None
                elif id(child) not in seen:
                    seen.add(id(child))
                    todo.append(child)
        return tuple(found)

    def _reading_pays(self, node: Field) -> bool:
        return not node.kernel.haloed or compute_cost(node) > reading_cost(node)


def reading_cost(node: Field) -> float:
    """Nanoseconds a voxel to read a stored field."""
    return READ_NS * node.spec.dtype.itemsize


def compute_cost(node: Field) -> float:
    """Nanoseconds a voxel to compute a field from its sources."""
    return sum(item.kernel.cost for item in ordered([node]))


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
    stages = with_all_needs(stages)
    for write in graph.writes:
        if write.pyramid:
            stages += _pyramid(write, grid, limits, f"pass-{graph.level(write.field) + 1}")
    return Plan(tuple(stages), grid, limits, tuple((w.field.name, w.why) for w in graph.writes), brick)


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


def reduction_names(node: Reduction, grid: Grid) -> list[str]:
    """Names of a reduction's stages: one, or one a round; none where there is nothing to do."""
    units = node.kernel.units(grid)
    if isinstance(units, tuple) and len(units) != 1:
        return [f"{node.name}-{number + 1}" for number in range(len(units))]
    return [node.name]


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
