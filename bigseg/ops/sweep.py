"""Thresholds judged by their results: a sweep of many, with the objects that each would give.

1. pass: every block is labelled at every threshold; sizes of the local components and the label planes of the
   faces that meet other blocks are kept, all thresholds in one file;
2. ``join``: for each threshold, the tree of super-blocks by which components are merged (``merging``);
3. ``count``: for each threshold, the sizes of all objects;
4. the curve is written, the threshold chosen.
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
from bigseg.local.component_table import measure
from bigseg.ops.base import Masking, Number, Op, Site, Size, in_count, value_of
from bigseg.ops.choosing import Shelves
from bigseg.ops.hysteresis import check_connectivity
from bigseg.ops.labelling import Foreground, Labelling, surface
from bigseg.ops.merging import Join
from bigseg.ops.statistics import value_range
from bigseg.ops.superblocks import Node, Tree
from bigseg.storage.spec import Spec
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
class CollectSweep:
    """Sizes and face planes of a block's components at every threshold."""

    sweep: Sweep
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
            kept |= {f"{k}-{name}": part for name, part in surface(found, rows, labelling, visit, arrays[0]).items()}
        return kept


@dataclass(frozen=True)
class JoinSweep:
    """`Join` at every threshold."""

    name: str
    source: str
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
        k, node = divmod(unit, count)
        return self.one(k).reduce(before + node, space)


@dataclass(frozen=True)
class CountSweep:
    """Objects within the sizes, and voxels, at every threshold: a task each, which holds the rows of one node."""

    join: JoinSweep
    least: int
    most: int | None

    def units(self, grid: Grid) -> int:
        """One a threshold."""
        return self.join.steps

    def memory(self, grid: Grid) -> int:
        """Sizes of the objects of one node: 8 bytes each; one in 50 voxels of a block is expected."""
        return (16 << 20) + 8 * prod(grid.block) // 50

    def bind(self, values: Values) -> CountSweep:
        """Nothing to bind."""
        return self

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Two numbers."""
        join = self.join.one(unit)
        shelves, tree = Shelves(join.source, join.name, (), "touching"), Tree(space.grid)
        objects = voxels = 0
        for level in range(tree.levels + 1):
            for number in range(prod(tree.counts(level))):
                _, stage, place = shelves.node(tree, Node(level, number))
                prefix = join.prefix if level == 0 else ""
                rows = space.scratch.read(stage, place, [f"{prefix}done-size"])
                sizes = rows[f"{prefix}done-size"]
                wanted = sizes >= self.least
                if self.most is not None:
                    wanted &= sizes <= self.most
                objects += int(np.count_nonzero(wanted))
                voxels += int(sizes.sum())
        return {f"objects-{unit}": objects, f"voxels-{unit}": voxels}


@dataclass(frozen=True)
class ChooseThreshold:
    """The curve as a table, and the threshold that was asked for."""

    name: str
    counts: str
    sweep: Sweep
    voxels: int
    objects: int | None
    fraction: float | None
    found: Mapping[str, int] | None = None

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """A few numbers."""
        return 1 << 20

    def bind(self, values: Values) -> ChooseThreshold:
        """With ends and counts."""
        return replace(self, sweep=self.sweep.bind(values), found=dict(values[self.counts]))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Write the table, choose; the lowest threshold of equally good ones."""
        assert self.found is not None
        thresholds = np.array(self.sweep.thresholds)
        objects = np.array([self.found[f"objects-{k}"] for k in range(self.sweep.steps)], np.int64)
        voxels = np.array([self.found[f"voxels-{k}"] for k in range(self.sweep.steps)], np.int64)
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
        if isinstance(self.low, float) and isinstance(self.high, float) and not self.low < self.high:
            raise ValueError(f"expected low < high, found low {self.low} and high {self.high}")
        return self

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """One pass at all thresholds, joins and counts, the choice."""
        (field,) = inputs
        check_connectivity(self.connectivity, field, site)
        after = list(site.after(self))
        range_of = ""
        if self.low is None or self.high is None:
            found = value_range(field, site.name)
            after.append(found)
            range_of = found.name
        sweep = Sweep(self.low, self.high, self.steps, self.polarity == "above", range_of)
        spec = field.spec
        collect = Collect(f"{site.name}.sweep", [field], CollectSweep(sweep, self.connectivity, spec.shape), after)
        join = JoinSweep(f"{site.name}.join", collect.name, self.connectivity, self.steps)
        joined = Reduction(join.name, (collect,), join)
        counts = Reduction(f"{site.name}.count", (collect, joined), CountSweep(join, *self._sizes(spec)))
        choose = ChooseThreshold(site.name, counts.name, sweep, prod(spec.shape), self.objects, self.fraction)
        return Reduction(site.name, (counts,), choose, after, ("threshold", "objects", "fraction"))

    def _sizes(self, spec: Spec) -> tuple[int, int | None]:
        most = None if self.max_size is None else in_count(self.max_size, spec, up=False)
        return in_count(self.min_size, spec, up=True), most
