"""A stored volume: which array, how it is cut, and what is known of it without reading a voxel."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from bigseg.errors import IncompleteError, InputError, OutputError, ParameterError
from bigseg.grid import Shape
from bigseg.storage.axes import Channel, choose_axes
from bigseg.storage.chunks import content_token
from bigseg.storage.durable import write_file
from bigseg.storage.layout import Format, Node, read_node
from bigseg.storage.locate import Place, locate
from bigseg.storage.ome import omero
from bigseg.storage.pyramid import level_of
from bigseg.storage.spec import Kind, Spec
from bigseg.storage.units import convert, unit_name

Missing = Literal["error", "fill"]


@dataclass(frozen=True)
class Volume:
    """One array of a store, named; small and picklable, so that it travels with every task.

    Parameters
    ----------
    path : folder of the OME-Zarr image, or of the bare array.
    array : path of the array below it; ``""`` for a bare array.
    spec : what the volume is, as z, y, x or y, x.
    format : of the array.
    chunk : smallest part that is decoded alone; None where the array is still to be made.
    shard : one file, the unit of writing; equal to the chunk where there are no shards.
    prefix : index at which each leading axis (time, channel) is held.
    order : for each axis of the volume its place among the stored axes behind the prefix; () as stored.
    name : of the image.
    level, levels : which resolution this is, of how many.
    missing : what reading a chunk that is not there means.
    complete : False while a run is writing the image.
    opened : when it was opened, in nanoseconds: decoded chunks cached before that are checked again.
    """

    path: str
    array: str
    spec: Spec
    format: Format = "zarr3"
    chunk: Shape | None = None
    shard: Shape | None = None
    prefix: Shape = ()
    order: Shape = ()
    name: str = ""
    level: int = 0
    levels: int = 1
    missing: Missing = "error"
    complete: bool = True
    opened: int = field(default=0, compare=False, repr=False)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        level: int = 0,
        channel: Channel = None,
        missing: Missing = "error",
        *,
        allow_incomplete: bool = False,
    ) -> Volume:
        """The volume at a path: OME-Zarr 0.4 or 0.5, a level or a label image of it, a bare Zarr array.

        Parameters
        ----------
        path : of a folder; a group that holds exactly one volume will do.
        level : resolution, 0 the finest.
        channel : index or name, where the array has channels; one index an axis where it also has times.
        missing : ``"error"``, or ``"fill"`` to take chunks that were never written as the fill value.
        allow_incomplete : open an image whose run has not finished.

        Raises
        ------
        InputError
            When there is no such volume, or it cannot be read.
        ParameterError
            When level, channel or missing is impossible.
        IncompleteError
            When a run of bigseg is still to finish it.
        """
        if missing not in ("error", "fill"):
            raise ParameterError(f"missing={missing!r}: expected 'error' or 'fill'")
        place = locate(path, level)
        status = (place.group or place.node).status
        if status not in (None, "complete") and not allow_incomplete:
            raise IncompleteError(
                f"{place.root} is {status}: the run that makes it has not finished; run the same command "
                "again to finish it (from Python, allow_incomplete=True opens what is there)"
            )
        layout = place.node.layout()
        if not all(layout.shape):
            raise InputError(f"{place.node.folder} has shape {layout.shape}: it holds no voxels")
        image = place.image
        if image and len(image.axes) != len(layout.shape):
            raise InputError(
                f"{place.root} names {len(image.axes)} axes, its array {place.array!r} has shape {layout.shape}"
            )
        chosen = choose_axes(
            layout.shape,
            [axis.name for axis in image.axes] if image else layout.dimensions or _xarray_names(place.node),
            [axis.type for axis in image.axes] if image else None,
            channel,
            image.channels if image else (),
            str(place.node.folder),
        )
        first = len(chosen.prefix)

        def pick(items: Shape) -> Shape:
            return tuple(items[first + axis] for axis in chosen.order)

        spacing, origin, unit = _geometry(place, first, chosen.order)
        ours = _ours(place.group or place.node)
        kind: Kind = "labels" if image and image.is_label else "image"
        if ours.get("kind") in get_args(Kind):
            kind = ours["kind"]
        if kind == "labels" and layout.dtype.kind == "f":
            raise InputError(f"{place.root} is marked as labels but holds {layout.dtype}: expected integers")
        spec = Spec(
            pick(layout.shape),
            np.dtype(bool) if ours.get("dtype") == "bool" else layout.dtype,
            chosen.axes,
            spacing,
            unit,
            "mask" if layout.dtype.kind == "b" and kind == "image" else kind,
            cast("tuple[float, float] | None", tuple(ours["bounds"]) if ours.get("bounds") else None),
            origin,
            image.classes if image and kind == "classes" else (),
        )
        return cls(
            str(place.root),
            place.array,
            spec,
            layout.format,
            pick(layout.chunk),
            pick(layout.shard),
            chosen.prefix,
            () if chosen.order == tuple(range(spec.ndim)) else chosen.order,
            (image.name if image else "") or _stem(place.root),
            place.level,
            len(image.levels) if image else 1,
            missing,
            status in (None, "complete"),
            time.time_ns(),
        )

    @classmethod
    def planned(cls, path: str | os.PathLike[str], spec: Spec, level: int = 0) -> Volume:
        """A level of an image that bigseg will have made by the time it is read or written.

        ``spec`` describes level 0; how the array is cut is read from the store when it is used.
        """
        root = Path(os.path.abspath(path))
        return cls(str(root), str(level), level_of(spec, level), name=_stem(root), level=level, complete=False)

    @property
    def folder(self) -> Path:
        """Folder of the array."""
        return Path(self.path, self.array) if self.array else Path(self.path)

    def token(self) -> str:
        """What changes when a file of the array changes: a hash over names, sizes and times."""
        return content_token(self)

    def describe(self) -> dict[str, str]:
        """What it is, a line each, for people."""
        sharded = self.shard != self.chunk
        return {
            "path": str(self.folder),
            "format": f"{'OME-Zarr, ' if self.array else ''}Zarr v{self.format[-1]}",
            "chunks": _by(self.chunk) if self.chunk else "not yet made",
            **({"shards": _by(self.shard)} if sharded and self.shard else {}),
            **({"level": f"{self.level} of 0 to {self.levels - 1}"} if self.levels > 1 else {}),
            **({"leading axes at": ", ".join(map(str, self.prefix))} if self.prefix else {}),
        }


def mark_complete(path: str | os.PathLike[str], window: tuple[float, float] | None = None) -> None:
    """Mark an image that bigseg made as complete, atomically and durably; again does no harm.

    Parameters
    ----------
    path : of the image.
    window : least and greatest value to show, now that they are known.

    Raises
    ------
    OutputError
        When there is no image of bigseg at ``path``.
    """
    root = Path(os.path.abspath(path))
    node = read_node(root) if root.is_dir() else None
    if node is None or node.status is None or node.format != "zarr3":
        raise OutputError(f"{root} is no image made by bigseg: it cannot be marked as complete")
    if node.status == "complete" and window is None:
        return
    document: dict[str, Any] = json.loads((root / "zarr.json").read_bytes())
    document["attributes"]["bigseg"]["status"] = "complete"
    if window is not None and node.attributes["bigseg"].get("kind") == "image":
        ome = document["attributes"]["ome"]
        ome["omero"] = omero(ome["multiscales"][0]["name"], window)
    write_file(root / "zarr.json", json.dumps(document, indent=2).encode())


def mark_incomplete(path: str | os.PathLike[str]) -> None:
    """Mark an image that bigseg made as incomplete, before blocks of it are computed again.

    An image that is not there, or was never marked as complete, is left as it is.
    """
    root = Path(os.path.abspath(path))
    node = read_node(root) if root.is_dir() else None
    if node is not None and node.status == "complete" and node.format == "zarr3":
        document: dict[str, Any] = json.loads((root / "zarr.json").read_bytes())
        document["attributes"]["bigseg"]["status"] = "incomplete"
        write_file(root / "zarr.json", json.dumps(document, indent=2).encode())


def _geometry(place: Place, first: int, order: Shape) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Spacing, origin and unit in the volume's own axes; different units are converted to that of z."""
    if place.image is None:
        return (1.0,) * len(order), (0.0,) * len(order), ""
    level = place.image.levels[place.level]
    units = [place.image.axes[first + axis].unit for axis in order]
    unit = units[0] if len(set(units)) == 1 else next((u for u in units if unit_name(u)), "")
    if not all(u == unit or unit_name(u) for u in units):
        raise InputError(f"{place.root}: its axes have the units {units}: expected one unit, or units of length")
    steps = [convert(1.0, u, unit) if u != unit else 1.0 for u in units]
    spacing, origin = (
        tuple(values[first + axis] * step for axis, step in zip(order, steps, strict=True))
        for values in (level.scale, level.translation)
    )
    return spacing, origin, unit


def _ours(node: Node) -> dict[str, Any]:
    found = node.attributes.get("bigseg")
    return found if isinstance(found, dict) else {}


def _xarray_names(node: Node) -> tuple[str, ...]:
    """Names of the axes as xarray stores them in Zarr v2."""
    found = node.attributes.get("_ARRAY_DIMENSIONS")
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _stem(root: Path) -> str:
    return root.name.removesuffix(".zarr").removesuffix(".ome") or "volume"


def _by(shape: Shape) -> str:
    return " x ".join(map(str, shape))
