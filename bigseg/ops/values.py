"""Objects of a label image: rows of one value put together, wherever in the volume they lie.

Each block keeps one row a value. The values of all blocks are cut into ranges that hold about as many rows each, and a
task adds up the rows of one range: its memory depends on `TOGETHER`, not on the number of objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from bigseg.engine.field import Array, Values, Workspace
from bigseg.grid import Grid
from bigseg.ops.rows import Rows, merged, pages, stacked

TOGETHER = 16
"""Blocks whose rows, or as many others, one task puts together."""
SAMPLE = 64
"""Values that a block tells of its distribution."""


def by_value(rows: Rows, values: Array) -> Rows:
    """What is kept of a block: one row a value, the values rising."""
    found, group = np.unique(values.astype(np.uint64), return_inverse=True)
    kept = {f"row-{name}": merged(name, column, group, len(found)) for name, column in rows.items()}
    places = np.linspace(0, len(found) - 1, min(SAMPLE, len(found))).astype(np.int64)
    return kept | {"value": found, "sample": found[places], "n": np.array([0, len(found)], np.int64)}


@dataclass(frozen=True)
class JoinValues:
    """The rows of all blocks, put together by value: a round that cuts the values into ranges, then a task a range."""

    name: str
    source: str

    def units(self, grid: Grid) -> tuple[int, int]:
        """One task; then one a range."""
        return 1, ranges(grid)

    def memory(self, grid: Grid) -> int:
        """Rows of `TOGETHER` blocks: 300 bytes for each of a thousand, or one in 5,000 voxels."""
        return (16 << 20) + TOGETHER * 300 * max(1000, prod(grid.block) // 5000)

    def bind(self, values: Values) -> JoinValues:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """The bounds of the ranges, or the rows of one."""
        if unit == 0:
            space.scratch.write(self.name, 0, {"bounds": self._bounds(space)})
            return {}
        low, high = self.bounds(space)[unit - 1 : unit + 1]
        rows = stacked(self._part(space, number, low, high) for number in range(len(space.grid)))
        values = rows.pop("value", np.zeros(0, np.uint64))
        found, group = np.unique(values, return_inverse=True)
        count = len(found)
        whole = {name: merged(name, column, group, count) for name, column in rows.items()} | {"value": found}
        kept = pages(whole, [(unit - 1, np.arange(count))] if count else [])
        space.scratch.write(self.name, unit, kept | {"n": np.array([0, count], np.int64)})
        return {}

    def bounds(self, space: Workspace) -> Array:
        """Where the ranges begin, and the end of the last."""
        return space.scratch.read(self.name, 0, ["bounds"])["bounds"]

    def _bounds(self, space: Workspace) -> Array:
        """Quantiles of the samples of all blocks, each with the weight of its block's rows."""
        parts = [space.scratch.read(self.source, number, ["sample", "n"]) for number in range(len(space.grid))]
        samples = np.concatenate([part["sample"] for part in parts])
        weights = np.concatenate([np.full(len(part["sample"]), part["n"][1] / SAMPLE) for part in parts])
        order = np.argsort(samples, kind="stable")
        shares = np.cumsum(weights[order])
        count = ranges(space.grid)
        wanted = np.arange(1, count) / count * (shares[-1] if len(shares) else 0.0)
        inner = samples[order][np.searchsorted(shares, wanted)] if len(samples) else np.zeros(count - 1, np.uint64)
        last = np.array([np.iinfo(np.uint64).max], np.uint64)  # the end is not in the range: the bound of no label
        return np.concatenate([np.zeros(1, np.uint64), inner, last])

    def _part(self, space: Workspace, number: int, low: Any, high: Any) -> Rows:
        """The rows of a block whose values lie in a range."""
        values = space.scratch.read(self.source, number, ["value"])["value"]
        start, stop = np.searchsorted(values, [low, high])
        if start == stop:
            return {}
        rows = space.scratch.read(self.source, number)
        part = {name[4:]: column[start:stop] for name, column in rows.items() if name.startswith("row-")}
        return part | {"value": values[start:stop]}


def ranges(grid: Grid) -> int:
    """Into how many ranges the values are cut."""
    return -(-len(grid) // TOGETHER)
