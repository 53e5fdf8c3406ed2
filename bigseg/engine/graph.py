"""The graph of what is asked for: levels, and what must be stored between passes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from bigseg.engine.field import Collect, Field, Reduction, Write
from bigseg.engine.source import DECODE_NS, Read
from bigseg.engine.visit import ordered
from bigseg.grid import Grid
from bigseg.storage.volume import Volume

READ_NS, WRITE_NS = 1.2, 3.0
"""Nanoseconds a byte to decode a block from the store, and to encode and write it durably, on one core."""
WRITE_COPIES = 1.3
"""Bytes that encoding and writing hold for each byte of the block, beyond the block itself."""


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


def reduction_names(node: Reduction, grid: Grid) -> list[str]:
    """Names of a reduction's stages: one, or one a round; none where there is nothing to do."""
    units = node.kernel.units(grid)
    if isinstance(units, tuple) and len(units) != 1:
        return [f"{node.name}-{number + 1}" for number in range(len(units))]
    return [node.name]
