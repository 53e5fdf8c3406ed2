"""Grey values made comparable: by statistics of the whole volume, of a region, or of another volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import Field as Parameter
from pydantic import model_validator

from bigseg.engine.field import Array, Field, Reduction, Values, Visit, Workspace
from bigseg.errors import ParameterError, ValuesError
from bigseg.grid import Box, Grid, Shape
from bigseg.local.filters.intensity import LinearMap, linear_map
from bigseg.local.thresholds.counted import rebin
from bigseg.local.thresholds.peaks import modes
from bigseg.ops.base import Masking, Op, Site, Told
from bigseg.ops.counting.quantiles import summary
from bigseg.ops.counting.statistics import BINS, Counts, counts_of
from bigseg.ops.intensity import copied, refuse_names
from bigseg.ops.masked import look_inside, within
from bigseg.storage.roi import in_piece, parse_roi
from bigseg.storage.spec import Spec


class Rule(Protocol):
    """How statistics become a straight line; ``name`` is that of the step, for messages."""

    def line(self, values: Values, name: str) -> tuple[LinearMap, dict[str, float]]:
        """The line, and what run.json shows of the statistics behind it."""


@dataclass(frozen=True)
class Found(Told):
    """The statistics behind a line."""

    name: str
    rule: Rule
    sources: tuple[str, ...]

    def values(self, values: Values) -> dict[str, float]:
        """The statistics that were found; none for a step that nothing needed."""
        return self.rule.line(values, self.name)[1] if all(name in values for name in self.sources) else {}


@dataclass(frozen=True)
class MapKernel:
    """A straight line whose numbers reductions find."""

    name: str
    rule: Rule
    spec: Spec
    line: LinearMap | None = None
    haloed = True
    cost = 1.0

    def depth(self) -> Shape:
        """None."""
        return (0,) * self.spec.ndim

    def memory(self, outer: Shape, inner: Shape) -> int:
        """A copy of half precision."""
        return copied(self.spec, outer)

    def bind(self, values: Values) -> MapKernel:
        """With the line."""
        return replace(self, line=self.rule.line(values, self.name)[0])

    def compute(self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, visit: Visit) -> Array:
        """Map one block."""
        assert self.line is not None
        return linear_map(arrays[0][keep], self.line)


def mapped(field: Field, site: Site, rule: Rule, after: Sequence[Reduction]) -> Field:
    """A field under a line that is known after some reductions."""
    spec = field.spec.but(dtype=np.dtype(np.float32), kind="image")
    kernel = MapKernel(site.name, rule, field.spec)
    tag = Found(site.name, rule, tuple(item.name for item in after))
    return Field(site.name, spec, kernel, (field,), tuple(after), tag)


class Normalise(Op):
    """Bring grey values to a common scale, by statistics of the whole volume or of a reference region.

    ``percentiles``: ``(x - low) / (high - low)``, where low and high are two percentiles of all voxels; values
    beyond become less than 0 or more than 1, or are limited with ``clip``. ``standard``: ``(x - mean) / std``.
    ``reference``: the mean of a region becomes ``target``, by ``x / mean * target`` (``model: gain``) or
    ``x - mean + target`` (``model: offset``). Statistics are exact (64-bit and half-precision voxels as float32);
    the line is computed in float32, float64 for integers of more than 16 bits and float64; the result is float32.
    Under a ``mask`` the statistics are of its voxels (with a region, still of the region), and the result is 0
    elsewhere. Depth 0. Cost: the passes that find the statistics (one of about 1 ns a voxel a core for 8 and 16 bits;
    for others one of 2 ns, two for percentiles), then 0.5 ns.

    >>> import numpy as np, bigseg
    >>> bigseg.normalise(np.array([[10, 20, 30]], "uint8"), percentiles=(0, 100))
    array([[0. , 0.5, 1. ]], dtype=float32)
    """

    op: ClassVar[str] = "normalise"
    oracle: ClassVar[str] = "numpy: (x - low) / (high - low) in float32, of numpy.percentile, mean or std; exactly"
    example: ClassVar[str] = "{id: even, op: normalise, percentiles: [1, 99], clip: true}"
    masked: ClassVar[Masking] = "own"

    method: Literal["percentiles", "standard", "reference"] = Parameter(
        "percentiles", description="which statistics become what"
    )
    percentiles: tuple[float, float] = Parameter(
        (1.0, 99.0), description="percentages 0 to 100 of the voxels below what becomes 0 and 1"
    )
    clip: bool = Parameter(False, description="for percentiles: limit the result to 0 to 1")
    region: str | None = Parameter(
        None, description='for reference: the box whose mean is taken, "0:50,100:200,:" in voxels or with units'
    )
    target: float = Parameter(1.0, description="for reference: what the mean of the region becomes")
    model: Literal["gain", "offset"] = Parameter("gain", description="for reference: multiply, or add")

    @model_validator(mode="after")
    def _sensible(self) -> Normalise:
        _percentages(self.percentiles, 2)
        if (self.method == "reference") != (self.region is not None):
            raise ValueError("expected `region` with method reference, and only there")
        return self

    def in_piece(self, piece: Box, spec: Spec) -> Normalise:
        """With its region in the piece."""
        if self.region is None:
            return self
        region = in_piece(self.region, piece, spec)
        if region is None:
            raise ParameterError(f"no voxel of the region {self.region} is looked at")
        return self.model_copy(update={"region": region})

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """Statistics, then the line."""
        (field,) = inputs
        return mapped(field, site, *self._rule(field, site))

    def build_inside(self, inputs: Sequence[Field], mask: Field, site: Site) -> Field:
        """Statistics in the mask, then the line there."""
        (field,) = inputs
        looked_at = field if self.region is not None else within(field, mask, f"{site.name}.inside")
        rule, after = self._rule(looked_at, site)
        if looked_at is not field:
            look_inside(*after, looked_at, mask)
        result = mapped(field, site, rule, after)
        found = within(replace(result, name=f"{site.name}.everywhere"), mask, site.name)
        return replace(found, tag=result.tag)

    def _rule(self, field: Field, site: Site) -> tuple[NormaliseRule, tuple[Reduction]]:
        """The line, and the statistics of a field that it follows from."""
        refuse_names(self.op, field.spec)
        region = parse_roi(self.region, field.spec) if self.region is not None else None
        wanted = self.percentiles if self.method == "percentiles" else ()
        found, _ = summary(field, site.name, wanted, region)
        return NormaliseRule(self, found.name), (found,)


@dataclass(frozen=True)
class NormaliseRule:
    """The line of a `Normalise`."""

    op: Normalise
    source: str

    def line(self, values: Values, name: str) -> tuple[LinearMap, dict[str, float]]:
        """From the statistics that were found."""
        found, op = values[self.source], self.op
        if op.method == "percentiles":
            low, high = found["percentiles"]
            if low == high:
                raise ValuesError(
                    f"step {name!r}: the percentiles {op.percentiles[0]:g} and {op.percentiles[1]:g} are both {low:g}: "
                    "expected two values; take percentages that lie further apart"
                )
            ends = (low, high) if op.clip else (-np.inf, np.inf)
            return LinearMap(low, high - low, low=ends[0], high=ends[1]), {"low": low, "high": high}
        mean, std = found["mean"], found["std"]
        if op.method == "standard":
            if std == 0:
                raise ValuesError(f"step {name!r}: all voxels are {mean:g}: expected different values")
            return LinearMap(mean, std), {"mean": mean, "std": std}
        if op.model == "offset":
            return LinearMap(shift=mean, offset=op.target), {"mean": mean}
        if mean == 0:
            raise ValuesError(
                f"step {name!r}: the mean of the region {op.region} is 0 and cannot become {op.target:g} by a factor: "
                "give another region, or model: offset"
            )
        return LinearMap(span=mean, gain=op.target), {"mean": mean}


class MatchIllumination(Op):
    """Give a volume the brightness of another one: remove the bias between samples of a set.

    Two statistics of the volume, s1 < s2, are moved onto those of the reference, t1 < t2: ``percentiles`` of all
    voxels, or the two ``modes`` of the histogram (256 bins between the extremes, or every value where there are
    fewer, smoothed by means of three bins until two peaks are left). ``model: linear``: ``(x - s1) / (s2 - s1) *
    (t2 - t1) + t1``; ``gain``: ``x / (s1 + s2) * (t1 + t2)``; ``offset``: ``x - (s1 + s2) / 2 + (t1 + t2) / 2``.
    The reference is another input or step of the same shape, or its two statistics as numbers (``target``), which
    run.json of a run with the reference shows: so a set of any shapes is matched one by one. The result is float32.
    Depth 0. Cost: one or two passes over both volumes as normalise, then 0.5 ns a voxel a core.

    >>> import numpy as np, bigseg
    >>> dim, bright = np.array([[10, 20, 30]], "uint8"), np.array([[30, 50, 70]], "uint8")
    >>> bigseg.match_illumination(dim, reference=bright)
    array([[30., 50., 70.]], dtype=float32)
    """

    op: ClassVar[str] = "match_illumination"
    oracle: ClassVar[str] = "numpy: the line of its description in float32, of numpy.percentile or histogram peaks"
    example: ClassVar[str] = "{id: alike, op: match_illumination, reference: standard}"
    refers: ClassVar[tuple[str, ...]] = ("reference",)

    reference: str | None = Parameter(None, description="the input or step whose brightness is taken over")
    target: tuple[float, float] | None = Parameter(
        None, description="or the two statistics of the reference as numbers, by the same method"
    )
    method: Literal["percentiles", "modes"] = Parameter("percentiles", description="which statistics are matched")
    percentiles: tuple[float, float] = Parameter((5.0, 95.0), description="percentages 0 to 100 for percentiles")
    model: Literal["linear", "gain", "offset"] = Parameter(
        "linear", description="what the bias is: both, a factor, or a constant that was added"
    )

    @model_validator(mode="after")
    def _sensible(self) -> MatchIllumination:
        _percentages(self.percentiles, 2)
        if (self.reference is None) == (self.target is None):
            raise ValueError("expected `reference` (an input or step) or `target` (two numbers), one of them")
        if self.target is not None and self.target[0] > self.target[1]:
            raise ValueError(f"target: expected the lower value first, found {self.target}")
        return self

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """Statistics of both volumes, then the line."""
        (field,) = inputs
        refuse_names(self.op, field.spec)
        after = [self._statistics(field, site.name)]
        if self.reference is not None:
            other = site.volume(self.reference, "reference")
            refuse_names(self.op, other.spec)
            after.append(self._statistics(other, f"{site.name}.reference"))
        return mapped(field, site, MatchRule(self, tuple(item.name for item in after)), after)

    def _statistics(self, field: Field, name: str) -> Reduction:
        if self.method == "percentiles":
            return summary(field, name, self.percentiles)[0]
        fold, counts = counts_of(field, name)
        return Reduction(f"{name}.modes", (fold,), FindModes(counts, name), keys=("percentiles",))


@dataclass(frozen=True)
class FindModes:
    """The two modes of a histogram, given where percentiles would be."""

    counts: Counts
    name: str

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """Tables of 65536 counts at most."""
        return 16 << 20

    def bind(self, values: Values) -> FindModes:
        """Take over the range."""
        return replace(self, counts=self.counts.bound(values))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Smooth, and look for peaks."""
        counts, centers = self.counts.read(space)
        filled = np.flatnonzero(counts)
        if filled[-1] - filled[0] >= BINS:
            counts, centers = rebin(counts, centers, BINS)
        try:
            return {"percentiles": list(modes(counts, centers))}
        except ValuesError as error:
            raise ValuesError(f"step {self.name!r}: {error}") from error


@dataclass(frozen=True)
class MatchRule:
    """The line of a `MatchIllumination`; ``sources`` are the statistics of the volume and of its reference."""

    op: MatchIllumination
    sources: tuple[str, ...]

    def line(self, values: Values, name: str) -> tuple[LinearMap, dict[str, float]]:
        """From the statistics of both."""
        s1, s2 = values[self.sources[0]]["percentiles"]
        t1, t2 = self.op.target or values[self.sources[1]]["percentiles"]
        shown = {"low": s1, "high": s2, "target_low": t1, "target_high": t2}
        if self.op.model == "offset":
            return LinearMap(shift=(s1 + s2) / 2, offset=(t1 + t2) / 2), shown
        span, gain = (s2 - s1, t2 - t1) if self.op.model == "linear" else (s1 + s2, t1 + t2)
        if span == 0:
            raise ValuesError(
                f"step {name!r}: the two statistics of the volume are {s1:g} and {s2:g}: no {self.op.model} map moves "
                f"them to {t1:g} and {t2:g}; take other percentiles, or model: offset"
            )
        if self.op.model == "linear":
            return LinearMap(s1, span, gain, t1), shown
        return LinearMap(span=span, gain=gain), shown


def _percentages(items: tuple[float, ...], number: int) -> None:
    if len(items) != number or not all(0 <= q <= 100 for q in items) or items[0] >= items[-1]:
        raise ValueError(f"percentiles: expected two rising percentages from 0 to 100, found {items}")
