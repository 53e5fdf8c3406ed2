"""The scaling of features over all voxels of a volume: exact, in one pass or three.

1. pass: features, tile by tile; sums and, where quantiles are wanted, counts of the upper halves of the keys;
2. reduction: the scaling; or where the wanted ranks lie (`bigseg.local.features.tally`);
3. and 5. pass, for quantiles only: features again, the next 8 bits counted; 4. and 6. reduction.

Features are many and a block's partial result few numbers, so features are no fields
(`bigseg.ops.learning.feature_sample`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bigseg.engine.field import Array, Field, Reduction, Values, Workspace
from bigseg.grid import Box, Grid, Shape
from bigseg.local.features.scaling import Fit, Kind, Scaling
from bigseg.local.features.stack import Stack
from bigseg.ops.counting.statistics import Fold, folded
from bigseg.ops.learning.feature_sample import looking


def scaling_of(
    inputs: Sequence[Field],
    stack: Stack,
    kind: Kind,
    name: str,
    quantiles: int = 100,
    after: tuple[Reduction, ...] = (),
) -> Reduction:
    """Add what finds the scaling of features.

    Parameters
    ----------
    inputs : the images of the stack.
    kind, quantiles : as in `bigseg.local.features.scaling.fit_table`.
    name : of the reduction.
    after : reductions that the inputs need.

    Returns
    -------
    The reduction whose value ``scaling`` is that of `Scaling.to_dict`: what `fit_tiles` gives of the whole volume.

    Notes
    -----
    One pass over the features for standard and minmax, three for robust and quantile. A partial result is 16 KiB a
    feature, and for quantiles 512 KiB a feature in the first pass, mostly zeros that scratch packs.
    """
    fit = Fit(kind, len(stack.names), quantiles)
    dtypes = tuple(str(field.spec.dtype) for field in inputs)
    found: Reduction | None = None
    for number in range(1, fit.reads + 1):
        title = f"{name}.scaling-{number}"
        before = () if found is None else (found,)
        source = "" if found is None else found.name
        look = TallyFeatures(stack, dtypes, fit, source)
        collect = looking(title, look, inputs, None, (*after, *before), look.table_bytes)
        fold = Reduction(f"{title}-fold", (collect,), Fold(f"{title}-fold", collect.name, fit.table_bytes(number)))
        find = FindScaling(fold.name, fit, source, fit.table_bytes(number))
        last = number == fit.reads
        keys = ("scaling",) if last else ("fit",)
        found = Reduction(name if last else f"{title}-found", (fold,), find, list(before), keys)
    assert found is not None
    return found


@dataclass(frozen=True)
class TallyFeatures:
    """Counts the features of a block; ``fit`` is that of the reduction ``source``, once it is known."""

    stack: Stack
    dtypes: tuple[str, ...]
    fit: Fit
    source: str

    @property
    def cost(self) -> float:
        """The features, and counting each."""
        return self.stack.cost() + 2.0 * len(self.stack.names)

    @property
    def table_bytes(self) -> int:
        """Bytes of the tables of a pass, at most."""
        return max(self.fit.table_bytes(number) for number in range(1, self.fit.reads + 1))

    def memory(self, outer: Shape, inner: Shape) -> int:
        """A tile, the rings below it, and the tables."""
        return self.stack.memory(outer, inner, self.dtypes) + self.table_bytes

    def bind(self, values: Values) -> TallyFeatures:
        """Take over where the ranks lie."""
        return replace(self, fit=Fit.from_dict(values[self.source]["fit"])) if self.source else self

    def partial(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, volume: Shape, inside: Any) -> Any:
        """Tables that add up; a scaling is of all voxels, so nobody asks for those inside of a mask."""
        assert inside is None
        counting = self.fit.counting
        tables = counting.empty()
        for tile in self.stack.tiles(arrays, keep, box.start):
            counting.add(tables, tile.planes)
        return tables

    def nothing(self) -> Any:
        """Tables of no voxel."""
        return self.fit.counting.empty()


@dataclass(frozen=True)
class FindScaling:
    """The scaling from the tables of all blocks, or where to look next."""

    fold: str
    fit: Fit
    source: str
    size: int

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """The tables, the ones that are added, and their sums along the keys."""
        return 3 * self.size + (4 << 20)

    def bind(self, values: Values) -> FindScaling:
        """Take over where the ranks lie."""
        return replace(self, fit=Fit.from_dict(values[self.source]["fit"])) if self.source else self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """The values."""
        found = self.fit.after(folded(space, self.fold))
        return {"scaling": found.to_dict()} if isinstance(found, Scaling) else {"fit": found.to_dict()}
