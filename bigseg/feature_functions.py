"""Features as functions on arrays: ``bigseg.features(volume, preset="basic")``, and as a table of voxels.

For what fits in memory. Pipelines compute the same features tile by tile, below classifiers and clustering.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import ValidationError

from bigseg.engine.source import finite
from bigseg.errors import ParameterError, unknown
from bigseg.functions import by_name, describe
from bigseg.grid import Box
from bigseg.local.features.stack import Stack, features_of
from bigseg.local.models.sampling import smallest
from bigseg.ops.learning.features import Features
from bigseg.pipeline.arrays import in_order, refuse_unnamed
from bigseg.pipeline.steps import explain
from bigseg.storage.spec import Spec

Volumes = Any
"""An image, a mapping of images by name, or a list of them."""


def features(volume: Volumes, **parameters: Any) -> Any:
    """The features of every voxel, channels first: for what fits in memory.

    Parameters
    ----------
    volume : array or DataArray of 2 or 3 axes; or several of one shape, as a mapping by name or as a list.
    parameters : those of `bigseg.Features`.

    Returns
    -------
    float32 array (features, *shape); of DataArrays a DataArray whose axis ``c`` names the features.

    Raises
    ------
    ParameterError
        When parameters are wrong, or do not fit the axes.

    Notes
    -----
    Memory: 4 bytes a feature and voxel. Cost: 6 Mvox/s a core for the 30 features of `basic` in 3-D, 1.2 for the 61
    of `ilastik`. Whatever is cut off a volume, voxels farther than the depth from the cut have the same bits.

    Examples
    --------
    >>> import numpy as np, bigseg
    >>> bigseg.features(np.eye(9), intensity=True, gaussian=[1, 2]).shape
    (3, 9, 9)
    """
    images, names, spec = _images(volume)
    stack = _described(parameters).stack(spec, names)
    found = features_of(stack, _voxels(images), Box.whole(spec.shape).slices)
    given, first = next(iter(by_name(volume, "").values())), images[0]
    if not isinstance(first, xr.DataArray):
        return found
    axis = "feature" if "c" in first.dims else "c"  # an image of the axes a, b, c has one already
    coords = {name: item for name, item in first.coords.items() if item.ndim <= 1} | {axis: list(stack.names)}
    named = xr.DataArray(found, dims=(axis, *first.dims), coords=coords, attrs=first.attrs | {"kind": "image"})
    return named.transpose(axis, *given.dims)


def feature_table(
    volume: Volumes,
    labels: Any = None,
    *,
    voxels: int | None = 10_000,
    seed: int = 0,
    region: Sequence[slice] | None = None,
    **parameters: Any,
) -> pd.DataFrame:
    """Some voxels as a table: where they lie, their features, and what they are.

    Parameters
    ----------
    volume, parameters : as in `features`.
    labels : integers of the volume's shape, 0 where nothing is known: only the others are rows, and ``truth`` is
        their value. A mask of bool is known everywhere. None: all voxels, no truth.
    voxels : rows at most: the voxels whose hashes with the seed are smallest, so the same for any blocks, and a
        smaller number gives the beginning of the same table. None: all.
    region : only the voxels of this box; features at its edge still see what lies around it.

    Returns
    -------
    DataFrame of the columns z, y, x, each feature by its name, and ``truth``; in the order of the hashes, by position
    where all voxels are taken.

    Raises
    ------
    ParameterError
        When parameters are wrong, or labels or region do not fit.

    Examples
    --------
    >>> import numpy as np, bigseg
    >>> image = np.arange(12.0).reshape(3, 4)
    >>> bigseg.feature_table(image, np.eye(3, 4, dtype="uint8"), voxels=2, intensity=True)
       y  x  intensity  truth
    0  1  1        5.0      1
    1  2  2       10.0      1
    """
    images, names, spec = _images(volume)
    stack = _described(parameters).stack(spec, names)
    keep = _box(spec, region)
    refuse_unnamed([*by_name(volume, "").values(), labels])
    truth = None if labels is None else np.asarray(in_order(labels))
    if truth is not None and (truth.shape != spec.shape or truth.dtype.kind not in "bui"):
        raise ParameterError(
            f"labels of shape {truth.shape} and dtype {truth.dtype}: expected integers or a mask of shape {spec.shape}"
        )
    shape = tuple(part.stop - part.start for part in keep)
    known = np.ones(shape, bool) if truth is None or truth.dtype.kind == "b" else truth[keep] != 0
    within = np.flatnonzero(known)
    places = [part.start + place for part, place in zip(keep, np.unravel_index(within, shape), strict=True)]
    order = np.arange(within.size)
    if voxels is not None:
        order = smallest(seed, np.ravel_multi_index(places, spec.shape).astype(np.uint64), voxels)
    table = _rows(stack, _voxels(images), keep, within[order])
    columns: dict[str, Any] = {axis: place[order] for axis, place in zip(spec.axes, places, strict=True)}
    columns |= dict(zip(stack.names, table, strict=True))
    if truth is not None:
        columns["truth"] = truth[keep].reshape(-1)[within[order]]
    return pd.DataFrame(columns)


def _box(spec: Spec, region: Sequence[slice] | None) -> tuple[slice, ...]:
    """A region as first and last voxels; None: all."""
    parts = (slice(None),) * spec.ndim if region is None else region
    if not isinstance(parts, (tuple, list)) or len(parts) != spec.ndim:
        raise ParameterError(f"region {region}: expected a slice for each of {', '.join(spec.axes)}")
    if any(not isinstance(part, slice) or part.step not in (None, 1) for part in parts):
        raise ParameterError(f"region {region}: expected slices of every voxel, as slice(0, 9)")
    keep = tuple(slice(*part.indices(n)[:2]) for part, n in zip(parts, spec.shape, strict=True))
    if any(part.start >= part.stop for part in keep):
        raise ParameterError(f"region {region}: no voxel of the shape {spec.shape} lies in it")
    return keep


def _rows(stack: Stack, arrays: Sequence[np.ndarray], keep: tuple[slice, ...], wanted: np.ndarray) -> np.ndarray:
    """Features of voxels given by their places in keep, a row a feature."""
    shape = tuple(part.stop - part.start for part in keep)
    row_of = np.full(shape, -1, np.int64)
    row_of.reshape(-1)[wanted] = np.arange(wanted.size)
    out = np.empty((len(stack.names), wanted.size), np.float32)
    start = tuple(part.start for part in keep)
    for tile in stack.tiles(arrays, keep, start):
        rows = row_of[tile.part].reshape(-1)
        here = np.flatnonzero(rows >= 0)
        out[:, rows[here]] = tile.planes[:, here]
    return out


def _images(volume: Volumes) -> tuple[list[Any], list[str], Spec]:
    """Images in order, their names, and the spec of the first."""
    volumes = by_name(volume, "")
    if not volumes:
        raise ParameterError("features: expected one image at least, found none")
    refuse_unnamed(volumes.values())
    names, images = list(volumes), [in_order(image) for image in volumes.values()]
    specs = [describe(image) for image in images]
    if any(spec.shape != specs[0].shape for spec in specs):
        raise ParameterError(f"features: expected images of one shape, found {', '.join(str(s.shape) for s in specs)}")
    return images, names, specs[0]


def _voxels(images: Sequence[Any]) -> list[np.ndarray]:
    """Images in memory, finite as everywhere."""
    return [finite(np.asarray(image), (0,) * image.ndim) for image in images]


def _described(parameters: Mapping[str, Any]) -> Features:
    for name in parameters:
        if name not in Features.model_fields:
            raise ParameterError(f"features: {unknown('parameter', name, tuple(Features.model_fields))}")
    try:
        return Features(**parameters)
    except ValidationError as error:
        raise ParameterError(f"features: {explain(error)}") from error
