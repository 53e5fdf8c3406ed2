"""Computing fields on one block: how far each must reach, in which order, with how much memory.

A field that feeds an operation of depth d is needed on the box grown by d, clipped at the volume's true
edge. So every operation meets its own boundary rule only there, and each voxel of a result is computed from
the same numbers in the same order wherever the block's cuts lie: fusing a chain is exact. ::

    inner ──gaussian(4)── inner+4 ──median(1)── inner+5 ── read
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from bigseg.engine.field import Array, Field, Gate, Visit
from bigseg.grid import Box, Shape


def ordered(targets: Sequence[Field]) -> list[Field]:
    """Every field below the targets, inputs before what uses them."""
    seen: dict[int, None] = {}
    order: list[Field] = []

    def walk(node: Field) -> None:
        if id(node) in seen:
            return
        seen[id(node)] = None
        for child in node.inputs:
            walk(child)
        order.append(node)

    for target in targets:
        walk(target)
    return order


def depths(order: Sequence[Field], ndim: int) -> dict[int, Shape]:
    """How far beyond the inner box each field is needed, by ``id`` of the field."""
    reach = {id(node): (0,) * ndim for node in order}
    for node in reversed(order):
        own, step = reach[id(node)], node.kernel.depth()
        for child in node.inputs:
            wanted = tuple(a + b for a, b in zip(own, step, strict=True))
            reach[id(child)] = tuple(map(max, reach[id(child)], wanted))
    return reach


def evaluate(targets: Sequence[Field], visit: Visit) -> list[Array]:
    """The targets on the block's inner box; every field is computed once and dropped after its last use.

    What is needed only behind gates that are shut in this block (a mask without a voxel) is not computed.
    """
    order = ordered(targets)
    inner = visit.block.inner
    reach = depths(order, len(inner.start))
    uses = _uses(order, targets)
    gates = _Gates(order, targets)
    held: dict[int, tuple[Box, Array]] = {}
    for node in order:
        box = inner.grow(reach[id(node)], node.spec.shape)
        outer = box.grow(node.kernel.depth(), node.spec.shape)
        needed = gates.needs(node)
        arrays = []
        for place, child in enumerate(node.inputs):
            if needed and not (place and gates.shut(node)):
                where, array = held[id(child)]
                arrays.append(array[outer.within(where)])
            uses[id(child)] -= 1
            if not uses[id(child)]:
                held.pop(id(child), None)
        if needed:
            found = node.kernel.compute(arrays, box.within(outer), box, visit)
            held[id(node)] = box, found
            for gate in gates.opened_by(node):
                gates.look(gate, found[inner.grow(reach[id(gate)], node.spec.shape).within(box)])
        del arrays
    results = []
    for node in targets:
        box, array = held[id(node)]
        results.append(array[inner.within(box)])
    return results


class _Gates:
    """Which fields are still needed, as the first inputs of gates become known.

    Fields are computed in the order of the plan, so a gate's first input comes before its others, and leaving
    some out can only take less memory than planned.
    """

    def __init__(self, order: Sequence[Field], targets: Sequence[Field]) -> None:
        self.gates = [node for node in order if isinstance(node.kernel, Gate)]
        self.users: dict[int, list[tuple[Field, bool]]] = {}
        for node in order if self.gates else ():
            for place, child in enumerate(node.inputs):
                self.users.setdefault(id(child), []).append((node, place > 0))
        self.targets = {id(node) for node in targets}
        self.closed: set[int] = set()

    def opened_by(self, node: Field) -> list[Field]:
        """The gates that a field decides."""
        return [gate for gate in self.gates if gate.inputs[0] is node]

    def look(self, gate: Field, first: Array) -> None:
        """Learn whether a gate is shut in this block."""
        assert isinstance(gate.kernel, Gate)
        if gate.kernel.idle(first):
            self.closed.add(id(gate))

    def shut(self, node: Field) -> bool:
        """Whether a field is a gate that is shut."""
        return id(node) in self.closed

    def needs(self, node: Field) -> bool:
        """Whether a target is computed from a field, by a way that no shut gate bars."""
        if not self.closed:
            return True
        todo, seen = [node], {id(node)}
        while todo:
            item = todo.pop()
            if id(item) in self.targets:
                return True
            for user, behind in self.users.get(id(item), ()):
                if id(user) not in seen and not (behind and self.shut(user)):
                    seen.add(id(user))
                    todo.append(user)
        return False


def working_memory(targets: Sequence[Field], block: Shape, extra: int = 0) -> int:
    """Bytes that ``evaluate`` holds at its worst moment for the largest block, ``extra`` on top at the end."""
    order = ordered(targets)
    reach = depths(order, len(block))
    uses = _uses(order, targets)
    held: dict[int, int] = {}
    worst = 0
    for node in order:
        box = _grown(block, reach[id(node)], node.spec.shape)
        outer = _grown(box, node.kernel.depth(), node.spec.shape)
        own = prod(box) * node.spec.dtype.itemsize
        worst = max(worst, sum(held.values()) + own + node.kernel.memory(outer, box))
        held[id(node)] = own
        for child in node.inputs:
            uses[id(child)] -= 1
            if not uses[id(child)]:
                del held[id(child)]
    return max(worst, sum(held.values()) + extra)


def _uses(order: Sequence[Field], targets: Sequence[Field]) -> dict[int, int]:
    uses = {id(node): 0 for node in order}
    for node in order:
        for child in node.inputs:
            uses[id(child)] += 1
    for node in targets:
        uses[id(node)] += 1
    return uses


def _grown(box: Shape, depth: Shape, shape: Shape) -> Shape:
    return tuple(min(n, b + 2 * d) for b, d, n in zip(box, depth, shape, strict=True))
