"""Thresholds judged by their results: a sweep of many, with the objects that each would give.

1. pass: every block is labelled at every threshold; sizes of the components and the label planes of the faces that
   meet other blocks are kept, all thresholds in one file; what cannot grow any more is counted;
2. ``join``: for each threshold, the tree of super-blocks by which components are merged (``merging``), and by which
   the counts are added up;
3. the curve is written, the threshold chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field as Parameter
from pydantic import model_validator

from bigseg.engine.field import Array, Collect, Field, Reduction, Values, Visit, Workspace
from bigseg.errors import ValuesError
from bigseg.grid import Grid, Shape
from bigseg.local.components.table import measure
from bigseg.ops.base import Masking, Number, Op, Site, Size, in_count, value_of
from bigseg.ops.combine import as_single
from bigseg.ops.components.labelling import Foreground, Labelling, surface
from bigseg.ops.components.merging import Join, place_of
from bigseg.ops.components.superblocks import Node, Tree
from bigseg.ops.counting.statistics import value_range
from bigseg.ops.hysteresis import check_connectivity
from bigseg.storage.tables import write_table

WARNING = "you find what you ask for: check the masks on either side of the threshold, and say how it was chosen"


@dataclass(frozen=True)
class Sweep:
    """Equally spaced thresholds, the ends maybe computed: by an earlier step, or from the volume's range."""

    low: float | str | None
    high: float | str | None
    steps: int
    above: bool
    range_of: str = ""

    def bind(self, values: Values) -> Sweep:
        """With computed ends.

        Raises
        ------
        ValuesError
            When they are not in order.
        """
        found = values[self.range_of] if self.range_of else {}
        low = float(found["least"] if self.low is None else value_of(self.low, values))
        high = float(found["greatest"] if self.high is None else value_of(self.high, values))
        if not low < high:
            raise ValuesError(f"threshold_by_objects from {low} to {high}: expected a lower and a higher value")
        return replace(self, low=low, high=high)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The values, rising."""
        assert isinstance(self.low, (int, float))
        assert isinstance(self.high, (int, float))
        step = (self.high - self.low) / (self.steps - 1)
        return (*(self.low + k * step for k in range(self.steps - 1)), self.high)

    def labelling(self, threshold: float, connectivity: int) -> Labelling:
        """How a block is labelled at a threshold."""
        foreground = Foreground(above=threshold) if self.above else Foreground(below=threshold)
        return Labelling(foreground, connectivity, "touching")


@dataclass(frozen=True)
class Wanted:
    """Which objects count, by their voxels."""

    least: int
    most: int | None

    def counted(self, sizes: Array) -> Array:
        """The objects that count, and the voxels of all."""
        wanted = sizes >= self.least
        if self.most is not None:
            wanted &= sizes <= self.most
        return np.array([np.count_nonzero(wanted), sizes.sum()], np.int64)


@dataclass(frozen=True)
class CollectSweep:
    """Counts, open components and face planes of a block at every threshold."""

    sweep: Sweep
    wanted: Wanted
    connectivity: int
    shape: Shape

    def memory(self, inner: Shape) -> int:
        """One labelling, the planes of all, and their sizes."""
        planes = 2 * sum(prod(inner) // side for side in inner)
        one = self.sweep.labelling(0.0, self.connectivity).memory(prod(inner))
        return one + self.sweep.steps * (4 * planes + (1 << 16)) + (8 << 20)

    def bind(self, values: Values) -> CollectSweep:
        """With computed ends."""
        return replace(self, sweep=self.sweep.bind(values))

    def collect(self, arrays: Sequence[Array], visit: Visit) -> Mapping[str, Array]:
        """The arrays of each threshold under its number."""
        kept: dict[str, Array] = {}
        for k, threshold in enumerate(self.sweep.thresholds):
            labelling = self.sweep.labelling(threshold, self.connectivity)
            found = labelling.label(arrays[0])
            rows = {"size": measure(found)["voxels"].astype(np.int64)}
            whole = surface(found, rows, labelling, visit, arrays[0])
            whole["counts"] = self.wanted.counted(whole.pop("done-size"))
            kept |= {f"{k}-{name}": part for name, part in whole.items()}
        return kept


@dataclass(frozen=True)
class JoinSweep:
    """`Join` at every threshold; instead of the objects that are done their counts are kept."""

    name: str
    source: str
    wanted: Wanted
    connectivity: int
    steps: int

    def one(self, k: int) -> Join:
        """At one threshold."""
        return Join(f"{self.name}.{k}", self.source, self.connectivity, prefix=f"{k}-")

    def units(self, grid: Grid) -> tuple[int, ...]:
        """One task a super-block and threshold."""
        return tuple(self.steps * count for count in Tree(grid).rounds)

    def memory(self, grid: Grid) -> int:
        """As of one."""
        return self.one(0).memory(grid)

    def bind(self, values: Values) -> JoinSweep:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """One super-block at one threshold."""
        before = 0
        for count in Tree(space.grid).rounds:
            if unit < self.steps * count:
                break
            unit -= self.steps * count
            before += count
        k, number = divmod(unit, count)
        join, tree = self.one(k), Tree(space.grid)
        kept = join.joined(before + number, space)
        below = [self.counts(k, space, child) for child in tree.children(tree.at(before + number))]
        kept["counts"] = sum(below, self.wanted.counted(kept.pop("done-size")))
        space.scratch.write(join.name, before + number, kept)
        return {}

    def counts(self, k: int, space: Workspace, node: Node) -> Array:
        """Objects that count and voxels of all, of those that are done in a node and below it."""
        join = self.one(k)
        name = f"{join.prefix if node.level == 0 else ''}counts"
        return space.scratch.read(*place_of(join.name, join.source, Tree(space.grid), node), [name])[name]


@dataclass(frozen=True)
class ChooseThreshold:
    """The curve as a table, and the threshold that was asked for."""

    name: str
    join: JoinSweep
    sweep: Sweep
    voxels: int
    objects: int | None
    fraction: float | None

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """A few numbers."""
        return 1 << 20

    def bind(self, values: Values) -> ChooseThreshold:
        """With computed ends."""
        return replace(self, sweep=self.sweep.bind(values))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Write the table, choose; the lowest threshold of equally good ones."""
        thresholds = np.array(self.sweep.thresholds)
        top = Node(Tree(space.grid).levels, 0)
        objects, voxels = np.stack([self.join.counts(k, space, top) for k in range(self.sweep.steps)], axis=1)
        fraction = voxels / self.voxels
        if self.objects is not None:
            best = int(np.argmin(np.abs(objects - self.objects)))
        elif self.fraction is not None:
            best = int(np.argmin(np.abs(fraction - self.fraction)))
        else:
            best = int(np.argmax(objects))
            if not objects[best]:
                raise ValuesError(
                    f"step {self.name!r}: no threshold from {thresholds[0]:g} to {thresholds[-1]:g} gives an object of "
                    "the wanted size: change min_size and max_size, or low and high"
                )
        columns = {"threshold": thresholds, "objects": objects, "fraction": fraction}
        write_table(space.folder / "tables" / f"{self.name}.parquet", columns, {"warning": WARNING})
        chosen = {"threshold": thresholds[best], "objects": objects[best], "fraction": fraction[best]}
        return {**{key: value.item() for key, value in chosen.items()}, "warning": WARNING}


class ThresholdByObjects(Op):
    """The threshold whose mask has most objects of a size, or a wanted number of them, or a wanted volume fraction.

    Warning: you find what you ask for. A threshold chosen by its result proves nothing about that result: look at the
    masks on either side of it, and say how it was chosen. Tries ``steps`` equally spaced thresholds from ``low`` to
    ``high``, with objects as of ``label``. Without ``objects`` and ``fraction``: the most objects of ``min_size`` to
    ``max_size`` voxels; with ``objects``: the number of such objects nearest to it; with ``fraction``: the part of
    the volume nearest to it; of equally good ones the lowest threshold. Gives ``threshold``, ``objects``,
    ``fraction``, the warning, and the table ``threshold, objects, fraction``. Cost: one pass of about 1.4 ns a voxel
    and threshold a core (4 in noise), a pass of 1 ns before it where low or high is left out.
    Half precision is compared as float32.

    >>> import numpy as np, bigseg
    >>> found = bigseg.threshold_by_objects(np.array([[9, 2, 8, 0, 7, 3]], "uint8"), low=1, high=9, steps=5)
    >>> found["threshold"], found["objects"]
    (3.0, 3)
    """

    op: ClassVar[str] = "threshold_by_objects"
    oracle: ClassVar[str] = "a sweep with scipy.ndimage.label and numpy.bincount, exactly"
    example: ClassVar[str] = "{id: sweep, op: threshold_by_objects, low: 50, high: 200, min_size: 27, max_size: 5000}"
    masked: ClassVar[Masking] = ""

    low: Number | None = Parameter(None, description="lowest threshold; default: the least value of the volume")
    high: Number | None = Parameter(None, description="highest threshold; default: the greatest value of the volume")
    steps: int = Parameter(32, ge=2, le=256, description="number of thresholds")
    polarity: Literal["above", "below"] = Parameter("above", description="whether objects are bright or dark")
    min_size: Size = Parameter(1, description='smallest object counted: voxels, or with a unit ("100 um3")')
    max_size: Size | None = Parameter(None, description="largest object counted, in the same way; default: any")
    connectivity: int = Parameter(1, ge=1, le=3, description="1..ndim as scikit-image; 3-D: 6, 18, 26 neighbours")
    objects: int | None = Parameter(None, ge=0, description="wanted number of objects of these sizes")
    fraction: float | None = Parameter(None, ge=0, le=1, description="wanted part of the volume, of 1")

    @model_validator(mode="after")
    def _one_wish(self) -> ThresholdByObjects:
        if self.objects is not None and self.fraction is not None:
            raise ValueError("expected `objects` or `fraction`, found both")
        if isinstance(self.low, (int, float)) and isinstance(self.high, (int, float)) and not self.low < self.high:
            raise ValueError(f"expected low < high, found low {self.low} and high {self.high}")
        return self

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """One pass at all thresholds, joins and counts, the choice."""
        field = as_single(inputs[0], site)
        check_connectivity(self.connectivity, field, site)
        after = list(site.after(self))
        range_of = ""
        if self.low is None or self.high is None:
            found = value_range(field, site.name)
            after.append(found)
            range_of = found.name
        sweep = Sweep(self.low, self.high, self.steps, self.polarity == "above", range_of)
        spec = field.spec
        most = None if self.max_size is None else in_count(self.max_size, spec, up=False)
        wanted = Wanted(in_count(self.min_size, spec, up=True), most)
        kernel = CollectSweep(sweep, wanted, self.connectivity, spec.shape)
        collect = Collect(f"{site.name}.sweep", [field], kernel, after)
        join = JoinSweep(f"{site.name}.join", collect.name, wanted, self.connectivity, self.steps)
        joined = Reduction(join.name, (collect,), join)
        choose = ChooseThreshold(site.name, join, sweep, prod(spec.shape), self.objects, self.fraction)
        return Reduction(site.name, (joined,), choose, after, ("threshold", "objects", "fraction"))
