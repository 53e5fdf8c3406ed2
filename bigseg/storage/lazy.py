"""Volumes as lazy DataArrays: nothing is read until it is computed, and then only the blocks it needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any
from weakref import WeakValueDictionary

import dask.array as da
import numpy as np
import xarray as xr
from dask.array.core import normalize_chunks
from numpy.typing import NDArray

from bigseg.grid import Box, Shape
from bigseg.storage.axes import Channel
from bigseg.storage.sources.opening import Origin, open_source, read_box
from bigseg.storage.volume import Missing, Volume

CHUNK_BYTES = 64 << 20
"""Size of a dask chunk that is aimed at: some tens of milliseconds of reading, a thousand for 64 GB."""


@dataclass(frozen=True)
class StoredArray:
    """A volume with just what dask needs of an array: shape, dtype and slicing. Small and picklable."""

    origin: Origin

    @property
    def shape(self) -> Shape:
        """Voxels per axis."""
        return self.origin.spec.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the voxels."""
        return self.origin.spec.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.origin.spec.ndim

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read the smallest box that holds what a basic index asks for.

        Parameters
        ----------
        index : integers, slices with any step, and one ellipsis.
        """
        items = list(index) if isinstance(index, tuple) else [index]
        gap = next((k for k, item in enumerate(items) if item is Ellipsis), len(items))
        items[gap : gap + 1] = [slice(None)] * (self.ndim - len(items) + (gap < len(items)))
        start: list[int] = []
        stop: list[int] = []
        rest: list[int | slice] = []
        for item, n in zip(items, self.shape, strict=True):
            chosen = range(n)[item]
            if isinstance(chosen, int):
                start.append(chosen)
                stop.append(chosen + 1)
                rest.append(0)
            else:
                start.append(min(chosen, default=0))
                stop.append(max(chosen, default=-1) + 1)
                rest.append(slice(None, None, chosen.step))
        box = Box(tuple(start), tuple(stop))
        found = read_box(self.origin, box) if box.size else np.empty(box.shape, self.dtype)
        return np.asarray(found[tuple(rest)], order="C")


OPENED: WeakValueDictionary[str, StoredArray] = WeakValueDictionary()
"""Volumes by the names of their lazy arrays: dask gives whatever is computed from one another name."""


def open_volume(
    path: str | os.PathLike[str],
    level: int = 0,
    channel: Channel = None,
    missing: Missing = "error",
    chunks: int | Sequence[int] | None = None,
    *,
    allow_incomplete: bool = False,
) -> xr.DataArray:
    """Open a volume as a lazy DataArray with physical coordinates.

    Parameters
    ----------
    path : OME-Zarr, Zarr, TIFF, a folder of slices, NPY, or a 2-D image.
    level : resolution of an OME-Zarr image, 0 the finest.
    channel : which channel, where there are several.
    missing : what missing chunks of a Zarr mean: ``"error"`` or ``"fill"``.
    chunks : voxels of a dask chunk, one size or one for each axis; default: whole shards of about 64 MiB.
    allow_incomplete : open an image whose run has not finished.

    Returns
    -------
    volume : dims z, y, x (or y, x); coordinates are the centres of the voxels in ``attrs["unit"]``; further
        attributes are spacing, origin, kind and source.

    Raises
    ------
    InputError, ParameterError, IncompleteError
        As `open_source`; what is wrong with single chunks is found when they are computed.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/ramp.npy", np.arange(24, dtype="uint8").reshape(2, 3, 4))
    ...     ramp = open_volume(f"{folder}/ramp.npy")
    ...     ramp.dims, int(ramp[1, 2, 3])
    (('z', 'y', 'x'), 23)
    """
    origin = open_source(path, level, channel, missing, allow_incomplete=allow_incomplete)
    return as_dataarray(origin, chunks)


def as_dataarray(origin: Origin, chunks: int | Sequence[int] | None = None) -> xr.DataArray:
    """An opened volume as a lazy DataArray; see `open_volume`."""
    spec = origin.spec
    sizes = normalize_chunks(_chunks(origin) if chunks is None else chunks, spec.shape, dtype=spec.dtype)
    array = StoredArray(origin)
    data = da.from_array(array, sizes, name=False, asarray=False, fancy=False, inline_array=True)
    OPENED[data.name] = array
    coordinates = {
        axis: (axis, start + step * np.arange(n), {"units": spec.unit} if spec.unit else {})
        for axis, start, step, n in zip(spec.axes, spec.origin, spec.spacing, spec.shape, strict=True)
    }
    attributes = {
        "spacing": spec.spacing,
        "origin": spec.origin,
        "unit": spec.unit,
        "kind": spec.kind,
        "source": str(origin.folder) if isinstance(origin, Volume) else origin.describe()["path"],
    }
    return xr.DataArray(data, coordinates, spec.axes, origin.name, attributes)


def opened_origin(array: xr.DataArray) -> Origin | None:
    """The volume that a lazy DataArray is all of; None where it was cut, computed or made otherwise.

    Parameters
    ----------
    array : of `open_volume` in this process.
    """
    found = OPENED.get(getattr(array.data, "name", ""))
    return None if found is None else found.origin


def _chunks(origin: Origin) -> Shape:
    """Whole shards, doubled along the shortest side while they are small; whole pages of what is no Zarr."""
    spec = origin.spec
    most = CHUNK_BYTES // spec.dtype.itemsize
    if isinstance(origin, Volume) and origin.shard:
        size = list(map(min, origin.shard, spec.shape))
        while size != list(spec.shape) and 2 * prod(size) <= most:
            axis = min((k for k in range(spec.ndim) if size[k] < spec.shape[k]), key=size.__getitem__)
            size[axis] = min(2 * size[axis], spec.shape[axis])
        return tuple(size)
    pages = max(1, most // prod(spec.shape[-2:]))
    return (min(pages, spec.shape[0]), *spec.shape[1:]) if spec.ndim == 3 else spec.shape
