"""Which voxels a run computes on: the inputs opened, cut to a region, brought to another voxel size.

The region comes first and is given in the file's own voxels; what is left of it is a volume of its own, whose
edges are true edges. Outputs know where it lies: their origin is that of the region's first voxel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bigseg.engine.resampled import Resampling, resampled
from bigseg.engine.source import Cropped
from bigseg.errors import InputError, ParameterError
from bigseg.grid import Box
from bigseg.storage.roi import Roi, parse_roi
from bigseg.storage.sources.opening import Origin, open_source

Input = str | Path | Origin | Any
"""A path, an opened volume, or an array: see `bigseg.pipeline.arrays.array_origin`."""


def open_inputs(
    inputs: Input | Mapping[str, Input], roi: Roi | None = None, resample: Resampling | None = None
) -> dict[str, Origin]:
    """Open the inputs of a run (metadata only), and take the part of them that was asked for.

    Parameters
    ----------
    inputs : one volume, or several with names: paths, DataArrays of `open_volume`, arrays in memory, phantoms.
    roi : the part of each that is computed on, see `bigseg.storage.roi.parse_roi`.
    resample : the voxel size that is computed at, see `bigseg.engine.resampled.resampled`.

    Returns
    -------
    Opened inputs by name; a single one is called ``input``.

    Raises
    ------
    InputError
        When there is no such volume, or volumes of different shapes have no common region.
    ParameterError
        When region or voxel size are impossible, or an array cannot be an input.
    """
    named = dict(inputs) if isinstance(inputs, Mapping) else {"input": inputs}
    if not named:
        raise ParameterError("there is no input: give a volume")
    opened = {name: _opened(item) for name, item in named.items()}
    if len(named) > 1 and not all(isinstance(item, (str, Path)) for item in named.values()):
        from bigseg.pipeline.arrays import refuse_unnamed

        refuse_unnamed(named.values())
    if roi is not None:
        shapes = {name: origin.spec.shape for name, origin in opened.items()}
        if len(set(shapes.values())) > 1:
            found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise InputError(f"a region is cut from inputs of the same shape, found {found}: cut them with ingest")
        opened = {name: part(origin, roi) for name, origin in opened.items()}
    if resample is not None:
        opened = {name: resampled(origin, resample) for name, origin in opened.items()}
    return opened


def opened_again(path: str, chosen: Mapping[str, Any], described: Mapping[str, Any] | None = None) -> Origin:
    """An input as an earlier run read it.

    Parameters
    ----------
    path : where it lies.
    chosen : of the input, from run.json's ``parts``.
    described : of the input, from the run's fingerprint: the voxel size that was given.

    Raises
    ------
    InputError
        When it is there no more.
    """
    channel = tuple(map(int, chosen["channel"].split(","))) if "channel" in chosen else None
    origin = open_source(path, chosen.get("level", 0), channel, chosen.get("missing", "error"))
    if described is not None and "resample" not in chosen:
        size, unit = tuple(described["spacing"]), str(described["unit"])
        if (size, unit) != (origin.spec.spacing, origin.spec.unit):
            origin = replace(origin, spec=origin.spec.but(spacing=size, unit=unit))  # type: ignore[type-var]
    if "roi" in chosen:
        origin = part(origin, chosen["roi"])
    return resampled(origin, chosen["resample"]) if "resample" in chosen else origin


def part(origin: Origin, roi: Roi) -> Origin:
    """A region of a volume as a volume of its own; the volume itself where the region is all of it."""
    box = parse_roi(roi, origin.spec)
    return origin if box == Box.whole(origin.spec.shape) else Cropped(origin, box)


def _opened(item: Input) -> Origin:
    if isinstance(item, (str, Path)):
        return open_source(item)
    from bigseg.pipeline.arrays import array_origin  # xarray and dask.array take half a second to load

    return array_origin(item)
