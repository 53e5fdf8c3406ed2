"""Every operation by its name in a pipeline file."""

from __future__ import annotations

from bigseg.ops.base import LocalOp, Op
from bigseg.ops.filters import Gaussian, Median
from bigseg.ops.hysteresis import Hysteresis
from bigseg.ops.levels import AutoThreshold, Histogram
from bigseg.ops.objects import Label, Regions, RemoveSmall
from bigseg.ops.threshold import Threshold

OPS: dict[str, type[Op]] = {
    kind.op: kind
    for kind in (
        Gaussian,
        Median,
        Threshold,
        Histogram,
        AutoThreshold,
        Hysteresis,
        Label,
        RemoveSmall,
        Regions,
    )
}

LOCAL = {name: kind for name, kind in OPS.items() if issubclass(kind, LocalOp)}
