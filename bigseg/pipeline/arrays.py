"""Arrays as inputs of pipelines: what is in memory, and volumes that `bigseg.open_volume` opened lazily.

xarray and dask.array are loaded when an array comes: they take half a second, and commands have only paths.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bigseg.engine.source import Held, stored
from bigseg.errors import ParameterError
from bigseg.grid import Box, Shape
from bigseg.local.digest import digest
from bigseg.storage.axes import choose_axes, kinds_of
from bigseg.storage.sources.opening import Origin
from bigseg.storage.spec import Kind, Spec

if TYPE_CHECKING:
    from bigseg.pipeline.prepared import Settings

AXES = ("z", "y", "x")
SAME = ("shape", "dtype", "axes", "spacing", "unit", "kind")
"""What attributes must say of an opened volume for it to be read in place of its array."""
MOST_COMPUTED = 1 << 30
"""Bytes of a lazy array that are computed at once; of a larger one, boxes, each with the chunks below it again."""


def in_order(volume: Any) -> Any:
    """An array with its axes in the order z, y, x: a DataArray in another one is transposed.

    Names decide as they do in a Zarr: those of no meaning stand for z, y, x as they come, channels and times are no
    part of a volume. What is computed of it goes back by ``transpose(*volume.dims)``.

    Raises
    ------
    ParameterError
        What is no array, neither 2-D nor 3-D, or has an axis of channels or times.

    >>> import xarray as xr
    >>> in_order(xr.DataArray(np.zeros((2, 3, 4)), dims=("x", "y", "z"))).dims
    ('z', 'y', 'x')
    """
    import xarray as xr

    if not isinstance(getattr(volume, "dtype", None), np.dtype) or not hasattr(volume, "ndim"):
        raise ParameterError(
            f"a volume of type {type(volume).__name__}: expected a NumPy or dask array or a DataArray; open files with "
            "bigseg.open_volume, make lists an array with numpy.asarray"
        )
    names = tuple(map(str, volume.dims)) if isinstance(volume, xr.DataArray) else ()
    beside = [name for name, kind in zip(names, kinds_of(names) or (), strict=False) if kind != "space"]
    if beside:
        raise ParameterError(
            f"a DataArray of the axes {', '.join(names)}: expected z, y, x or y, x; take one of its "
            f"{' and '.join(beside)}, as array.isel({beside[0]}=0)"
        )
    if volume.ndim not in (2, 3):
        raise ParameterError(f"expected a 2-D or 3-D array, found shape {tuple(volume.shape)}")
    order = choose_axes(volume.shape, names, None, None, (), "the array").order
    return volume.transpose(*(volume.dims[axis] for axis in order)) if names else volume


def refuse_unnamed(volumes: Iterable[Any]) -> None:
    """Refuse arrays without names beside a DataArray in another order than z, y, x: whose order is theirs?"""
    import dask.array as da
    import xarray as xr

    items = list(volumes)
    turned = [item for item in items if isinstance(item, xr.DataArray) and in_order(item).dims != item.dims]
    if turned and any(isinstance(item, (np.ndarray, da.Array)) for item in items):
        raise ParameterError(
            f"a DataArray of the axes {', '.join(map(str, turned[0].dims))} beside an array without names: expected "
            "names for both (xarray.DataArray(array, dims=...)), or both in the order z, y, x"
        )


def describe(volume: Any) -> Spec:
    """The spec of an array `in_order`; a DataArray's coordinates and attributes tell spacing, unit and kind.

    Raises
    ------
    ParameterError
        As `in_order`.
    """
    import xarray as xr

    volume = in_order(volume)
    axes = AXES[-volume.ndim :]
    kind: Kind = "mask" if volume.dtype == bool else "image"
    spacing, unit = (1.0,) * volume.ndim, ""
    if isinstance(volume, xr.DataArray):
        spacing = tuple(_spacing(volume, dim, axis) for dim, axis in zip(volume.dims, axes, strict=True))
        unit = str(volume.attrs.get("unit", unit))
        kind = volume.attrs.get("kind", kind)
    shape: Shape = tuple(int(n) for n in volume.shape)
    return Spec(shape, volume.dtype, axes, spacing, unit, kind)


def _spacing(volume: Any, dim: Any, axis: str) -> float:
    """Of a DataArray along an axis: by its attributes, which planes and parts of a volume keep.

    Coordinates rule where they have a unit (those of every second voxel differ), and where no attribute tells.
    """
    told = [float(step) for step in volume.attrs.get("spacing", ())]
    known = dict(zip(AXES[-len(told) :], told, strict=True)) if 0 < len(told) <= len(AXES) else {}
    name = str(dim).lower()
    axis = name if name in AXES else axis  # a plane z, x has the spacing of z
    found = known.get(axis, 1.0)
    places = volume.coords.get(dim)
    rule = places is not None and places.dtype.kind in "iuf" and (axis not in known or "units" in places.attrs)
    if rule and volume.sizes[dim] > 1:
        first, second = (float(value) for value in volume[dim].values[:2])
        step = abs(second - first)
        if step and abs(step - found) > 1e-6 * step:
            return step
    return found


def array_origin(item: Any) -> Origin:
    """An array as an input: the volume that it was opened from, or its voxels where they are in memory.

    Parameters
    ----------
    item : a NumPy array, a DataArray; anything that is an opened volume already is given back.

    Returns
    -------
    The opened volume. Arrays in memory are known by their content, so that the same run on the same voxels continues.

    Raises
    ------
    ParameterError
        Lazy arrays that are no whole volume as it was opened, and what is no array.

    Examples
    --------
    >>> array_origin(np.zeros((4, 5), "uint8")).spec.axes
    ('y', 'x')
    """
    if hasattr(item, "spec") and not hasattr(item, "dims"):
        return item  # type: ignore[no-any-return]
    import dask.array as da
    import xarray as xr

    if isinstance(item, (np.ndarray, xr.DataArray, da.Array)):
        item = in_order(item)
    if isinstance(item, (xr.DataArray, da.Array)):
        lazy = item.data if isinstance(item, xr.DataArray) else item
        if isinstance(lazy, da.Array):
            return _opened(item)
    if isinstance(item, (np.ndarray, xr.DataArray)):
        values = np.ascontiguousarray(np.asarray(item))
        return Held(values, describe(item), digest(values))
    raise ParameterError(
        f"an input of type {type(item).__name__}: expected a path, a NumPy array, a DataArray or a phantom"
    )


@dataclass(frozen=True, eq=False)
class Lazily:
    """A lazy array that no memory need hold, as a source of this process: dask computes each box where it is read."""

    array: Any
    spec: Spec
    path = "memory"
    name = "array"

    def describe(self) -> dict[str, str]:
        """What it is, for people."""
        return {"path": "a lazy array"}

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box."""
        return np.ascontiguousarray(np.asarray(self.array[box.slices]))

    def token(self) -> str:
        """A new one for each array: a run on it is never continued."""
        return f"lazy {id(self.array)}"


def function_input(item: Any) -> Origin:
    """An array as the input of a function, which is computed in this process.

    Parameters
    ----------
    item : NumPy or dask array, DataArray.

    Returns
    -------
    The volume that a DataArray was opened from, where it is all of that and its attributes say nothing else: so nothing
    is read beforehand. Other lazy arrays are computed where they are small, box by box where they are not.
    """
    import dask.array as da
    import xarray as xr

    from bigseg.storage.lazy import opened_origin

    item = in_order(item)
    spec = describe(item)
    lazy = isinstance(item.data if isinstance(item, xr.DataArray) else item, da.Array)
    if lazy and isinstance(item, xr.DataArray):
        found = opened_origin(item)
        if found is not None and all(getattr(found.spec, k) == getattr(spec, k) for k in SAME):
            return found
    if lazy and item.nbytes > MOST_COMPUTED:
        return Lazily(item, spec)
    return Held(np.ascontiguousarray(np.asarray(item)), spec)


def _opened(item: Any) -> Origin:
    import xarray as xr

    from bigseg.storage.lazy import opened_origin

    origin = opened_origin(item) if isinstance(item, xr.DataArray) else None
    if origin is None:
        raise ParameterError(
            "a lazy array that was cut or computed cannot be an input: expected a volume as open_volume gives it, or "
            "what is in memory; give the volume and roi=, make what was computed a step, or call .compute() if it is "
            "small"
        )
    told = tuple(item.attrs.get("spacing", ())), item.attrs.get("unit", "")
    if told != (origin.spec.spacing, origin.spec.unit):
        raise ParameterError(
            f"the volume's spacing is {origin.spec.spacing} {origin.spec.unit}, the array's attributes say {told[0]} "
            f"{told[1]}: to change it, ingest it with spacing="
        )
    return origin


def here(origins: Iterable[Origin], settings: Settings) -> Settings:
    """Settings that compute in this process where an input is in its memory and nothing else is said."""
    held = any(isinstance(stored(origin)[0], Held) for origin in origins)
    if held and settings.workers is None and not (settings.scheduler or settings.scheduler_file):
        return replace(settings, workers=0)
    return settings
