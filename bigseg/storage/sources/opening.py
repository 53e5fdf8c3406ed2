"""From a path to something that can be read: a Zarr volume, a foreign file or a phantom, told apart by looking."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import tifffile
from numpy.typing import NDArray

from bigseg.errors import InputError, ParameterError
from bigseg.grid import Box
from bigseg.storage import blocks
from bigseg.storage.axes import Channel
from bigseg.storage.sources.npy import NpyFile
from bigseg.storage.sources.phantom import PREFIX, PhantomSource
from bigseg.storage.sources.plane import PLANE_ENDINGS, TIFF_ENDINGS, PlaneFile
from bigseg.storage.sources.source import Source, refuse_unreadable
from bigseg.storage.sources.stack import ImageStack, slice_files
from bigseg.storage.sources.tiff import TiffFile
from bigseg.storage.units import parse_spacing
from bigseg.storage.volume import Missing, Volume

Origin = Volume | Source
"""What a run can read: a stored volume, or anything that reads boxes."""

SUPPORTED = (
    "OME-Zarr and Zarr folders, TIFF files (.tif, .tiff), folders or patterns of numbered slices, 2-D "
    "images (.png, .jpg), NumPy files (.npy), phantom:KIND,shape=512x512x512"
)
_Known = Volume | NpyFile | PhantomSource | PlaneFile | ImageStack | TiffFile
_NODES = ("zarr.json", ".zarray", ".zgroup")


def open_source(
    path: str | os.PathLike[str],
    level: int = 0,
    channel: Channel = None,
    missing: Missing = "error",
    spacing: float | str | Sequence[float | str] | None = None,
    *,
    allow_incomplete: bool = False,
) -> Origin:
    """Open whatever lies at a path; only metadata is read.

    Parameters
    ----------
    path : file, folder or pattern, or a phantom: ``"phantom:voids,shape=512x512x512,seed=1,noise=8"``.
    level : resolution of an OME-Zarr image.
    channel : which channel, where there are several: an index, or a name.
    missing : what missing chunks of a Zarr mean: ``"error"`` or ``"fill"``.
    spacing : voxel size instead of the file's own: ``"0.5 um"``, ``"2 1 1 um"``.
    allow_incomplete : open an image whose run has not finished.

    Raises
    ------
    InputError
        When nothing is there, or nothing that can be read.
    ParameterError
        When an option does not fit what is there.
    """
    return with_spacing(_open(os.fspath(path), level, channel, missing, allow_incomplete), spacing)


def with_spacing(origin: Origin, spacing: float | str | Sequence[float | str] | None) -> Origin:
    """An opened volume with another voxel size than its own; without one as it is.

    Raises
    ------
    ParameterError
        When it is no voxel size, or the volume is a part or a resampling of another one.
    """
    if spacing is None:
        return origin
    if not (is_dataclass(origin) and "spec" in {item.name for item in fields(origin)}):
        raise ParameterError(f"spacing {spacing}: expected a volume as it was opened; give it where that is opened")
    sizes, unit = parse_spacing(spacing, origin.spec.ndim, origin.spec.unit)
    return replace(origin, spec=origin.spec.but(spacing=sizes, unit=unit))  # type: ignore[type-var]


def read_box(origin: Origin, box: Box) -> NDArray[Any]:
    """The voxels of a box of anything that was opened."""
    return blocks.read(origin, box) if isinstance(origin, Volume) else origin.read(box)


def _open(text: str, level: int, channel: Channel, missing: Missing, allow_incomplete: bool) -> _Known:
    if text.startswith(PREFIX):
        _without(text, level, missing)
        if channel is not None:
            raise ParameterError(f"channel={channel!r}: {text} has no channels; leave it out")
        return PhantomSource.parse(text)
    path = os.path.abspath(text) if "://" not in text else text
    ending = os.path.splitext(path)[1].lower()
    pattern = not os.path.lexists(path) and glob.has_magic(path)
    if pattern or (os.path.isdir(path) and not _is_zarr(path) and _has_slices(path)):
        _without(path, level, missing)
        return ImageStack.open(path, channel)
    if not os.path.isfile(path):
        return Volume.open(path, level, channel, missing, allow_incomplete=allow_incomplete)
    _without(path, level, missing)
    if os.path.getsize(path) == 0:
        raise InputError(f"{path} has 0 bytes: copy it again from the original")
    if ending == ".npy":
        return NpyFile.open(path, channel)
    if ending in PLANE_ENDINGS:
        return PlaneFile.open(path, channel)
    if ending in TIFF_ENDINGS:
        return _tiff(path, channel)
    if os.path.basename(path) in _NODES:
        return Volume.open(os.path.dirname(path), level, channel, missing, allow_incomplete=allow_incomplete)
    raise InputError(f"{path} is of a kind that cannot be read here: supported are {SUPPORTED}")


def _tiff(path: str, channel: Channel) -> _Known:
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            stack = len(file.pages) > 1 or (len(series.shape) > 2 and "S" not in series.axes)
    except Exception as error:  # tifffile fails in many ways on what is no TIFF
        refuse_unreadable(path, error)
        raise InputError(f"{path} cannot be read as a TIFF file: {error}; copy it again from the original") from error
    return TiffFile.open(path, channel) if stack else PlaneFile.open(path, channel)


def _is_zarr(path: str) -> bool:
    return any(os.path.exists(os.path.join(path, name)) for name in _NODES)


def _has_slices(path: str) -> bool:
    try:
        slice_files(path)
    except InputError as error:
        return "several kinds" in str(error)
    except OSError:
        return False
    return True


def _without(path: str, level: int, missing: Missing) -> None:
    if level or missing != "error":
        raise ParameterError(f"level and missing are for Zarr volumes; {path} is none: leave them out")
