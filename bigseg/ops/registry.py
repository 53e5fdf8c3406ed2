"""Every operation by its name in a pipeline file."""

from __future__ import annotations

from bigseg.ops.background import SubtractBackground
from bigseg.ops.base import Op
from bigseg.ops.combine import Combine
from bigseg.ops.derivatives import DifferenceOfGaussians, GaussianGradientMagnitude, LaplacianOfGaussian
from bigseg.ops.edges import Convolve, Laplace, Prewitt, Sobel
from bigseg.ops.filters import Gaussian
from bigseg.ops.growing import ExpandLabels, Grow
from bigseg.ops.guarded import GuardedThreshold
from bigseg.ops.hysteresis import Hysteresis
from bigseg.ops.intensity import Clip, Invert, Rescale
from bigseg.ops.levels import AutoThreshold, Histogram, TryAll
from bigseg.ops.local_threshold import LocalThreshold, MultiThreshold
from bigseg.ops.map_block import MapBlock
from bigseg.ops.morphology import BlackTophat, Closing, Dilation, Erosion, Opening, WhiteTophat
from bigseg.ops.normalise import MatchIllumination, Normalise
from bigseg.ops.objects import Label, Regions, RemoveSmall
from bigseg.ops.predicates import ClearBorder, FillHoles, KeepLargest, RemoveLarge, Select
from bigseg.ops.rank import Maximum, Mean, Median, Minimum, Percentile
from bigseg.ops.restoration import Bilateral, NonLocalMeans, TotalVariation
from bigseg.ops.sweep import ThresholdByObjects
from bigseg.ops.texture import HessianEigenvalues, StructureTensorEigenvalues
from bigseg.ops.threshold import Threshold

OPS: dict[str, type[Op]] = {
    kind.op: kind
    for kind in (
        Gaussian,
        Mean,
        Median,
        Bilateral,
        NonLocalMeans,
        TotalVariation,
        Percentile,
        Minimum,
        Maximum,
        Erosion,
        Dilation,
        Opening,
        Closing,
        WhiteTophat,
        BlackTophat,
        Sobel,
        Prewitt,
        Laplace,
        GaussianGradientMagnitude,
        LaplacianOfGaussian,
        DifferenceOfGaussians,
        HessianEigenvalues,
        StructureTensorEigenvalues,
        Convolve,
        SubtractBackground,
        Clip,
        Rescale,
        Invert,
        Normalise,
        MatchIllumination,
        Threshold,
        LocalThreshold,
        MultiThreshold,
        Histogram,
        AutoThreshold,
        TryAll,
        ThresholdByObjects,
        GuardedThreshold,
        Hysteresis,
        Label,
        RemoveSmall,
        RemoveLarge,
        KeepLargest,
        ClearBorder,
        Select,
        FillHoles,
        ExpandLabels,
        Grow,
        Regions,
        Combine,
        MapBlock,
    )
}

LOCAL = {name: kind for name, kind in OPS.items() if kind.local}
