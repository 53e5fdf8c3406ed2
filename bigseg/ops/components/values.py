"""Objects of a label image: rows of one value put together, wherever in the volume they lie.

Each block keeps one row a value. The values of all blocks are cut into ranges that hold about as many rows each, and a
task adds up the rows of one range: its memory depends on `TOGETHER`, not on the number of objects.

Any value but 0 is a label. Values are kept as uint64, negative ones by their 64 bits, so that these come last. A range
does not hold the bound at which it begins, but that at which it ends: from 0, which is no label, to 2**64 - 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from bigseg.engine.field import Array, Values, Workspace
from bigseg.grid import Grid
from bigseg.ops.components.rows import Rows, merged, page, pages, stacked, unpaged

TOGETHER = 16
"""Blocks whose rows, or as many others, one task puts together."""
SAMPLE = 64
"""Values that a block tells of its distribution."""


def by_value(rows: Rows, values: Array) -> Rows:
    """What is kept of a block: one row a value, the values rising."""
    found, group = np.unique(values.astype(np.uint64), return_inverse=True)
    whole = {name: merged(name, column, group, len(found)) for name, column in rows.items()}
    places = np.linspace(0, len(found) - 1, min(SAMPLE, len(found))).astype(np.int64)
    return page(whole) | {"value": found, "sample": found[places], "n": np.array([0, len(found)], np.int64)}


@dataclass(frozen=True)
class JoinValues:
    """The rows of all blocks, put together by value: a round that cuts the values into ranges, then a task a range."""

    name: str
    source: str
    light = True

    def units(self, grid: Grid) -> tuple[int, int]:
        """One task; then one a range."""
        return 1, ranges(grid)

    def memory(self, grid: Grid) -> int:
        """Rows of `TOGETHER` blocks, 300 bytes for each of a thousand or one in 5,000 voxels; or all samples."""
        rows = TOGETHER * 300 * max(1000, prod(grid.block) // 5000)
        return (16 << 20) + max(rows, 5 * 8 * SAMPLE * len(grid))

    def bind(self, values: Values) -> JoinValues:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """The bounds of the ranges, or the rows of one."""
        if unit == 0:
            space.scratch.write(self.name, 0, self._cut(space))
            return {}
        cut = space.scratch.read(self.name, 0)
        low, high = cut["bounds"][unit - 1 : unit + 1]
        least, greatest = cut["spans"]
        there = np.flatnonzero((least <= high) & (greatest > low))  # labels in raster order: a few layers of blocks
        rows = stacked(self._part(space, number, low, high) for number in there.tolist())
        values = rows.pop("value", np.zeros(0, np.uint64))
        found, group = np.unique(values, return_inverse=True)
        count = len(found)
        whole = {name: merged(name, column, group, count) for name, column in rows.items()} | {"value": found}
        kept = pages(whole, [(unit - 1, np.arange(count))] if count else [])
        space.scratch.write(self.name, unit, kept | {"n": np.array([0, count], np.int64)})
        return {}

    def _cut(self, space: Workspace) -> Rows:
        """The bounds of the ranges, of which each ends one; the least and the greatest value of each block.

        Ranges end at quantiles of the samples of all blocks, each with the weight of its block's rows.
        """
        parts = [space.scratch.read(self.source, number, ["sample", "n"]) for number in range(len(space.grid))]
        samples = np.concatenate([part["sample"] for part in parts])
        sizes = [len(part["sample"]) for part in parts]
        weights = np.concatenate([np.full(n, part["n"][1] / max(n, 1)) for n, part in zip(sizes, parts, strict=True)])
        order = np.argsort(samples, kind="stable")
        shares = np.cumsum(weights[order])
        count = ranges(space.grid)
        wanted = np.arange(1, count) / count * (shares[-1] if len(shares) else 0.0)
        inner = samples[order][np.searchsorted(shares, wanted)] if len(samples) else np.zeros(count - 1, np.uint64)
        last = np.array([np.iinfo(np.uint64).max], np.uint64)
        none = np.array([np.iinfo(np.uint64).max, 0], np.uint64)
        spans = [part["sample"][[0, -1]] if len(part["sample"]) else none for part in parts]
        return {"bounds": np.concatenate([np.zeros(1, np.uint64), inner, last]), "spans": np.stack(spans, axis=1)}

    def _part(self, space: Workspace, number: int, low: Any, high: Any) -> Rows:
        """The rows of a block whose values lie in a range."""
        part = space.scratch.open(self.source, number)
        values = part.read(["value"])["value"]
        start, stop = np.searchsorted(values, [low, high], "right")
        return unpaged(part, slice(start, stop)) | {"value": values[start:stop]} if start < stop else {}


def ranges(grid: Grid) -> int:
    """Into how many ranges the values are cut."""
    return -(-len(grid) // TOGETHER)
