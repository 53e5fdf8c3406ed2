"""The metadata of OME-Zarr: what a group says of its levels (0.4 and 0.5 read, 0.5 written).

Written as every reader tried opens it: one scale and one translation a level, units spelled out, axes z, y, x
of type space; ``image-label`` makes readers open integers as labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigseg.errors import InputError
from bigseg.storage.spec import UNSEEN, Class, Spec
from bigseg.storage.units import unit_name

VERSION = "0.5"
_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
# Wong's palette (Nature Methods 8, 441, 2011): told apart by every kind of colour vision.


@dataclass(frozen=True)
class Axis:
    """One stored axis: its name, what it is (``space``, ``time``, ``channel``) and its unit."""

    name: str
    type: str
    unit: str


@dataclass(frozen=True)
class Level:
    """One resolution: path of its array, voxel size and position of the first voxel, for all stored axes."""

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class Multiscale:
    """An image as its group describes it."""

    name: str
    axes: tuple[Axis, ...]
    levels: tuple[Level, ...]
    is_label: bool
    channels: tuple[str, ...]
    """Names of the channels, where given."""
    classes: tuple[Class, ...] = ()
    """Names and colours of the values of a label image, where given."""


def parse_image(attributes: Mapping[str, Any], where: str) -> Multiscale | None:
    """The image that a group's attributes describe, or None where they describe none.

    Parameters
    ----------
    attributes : of the group, as stored.
    where : path of the group, for errors.

    Raises
    ------
    InputError
        When they describe more than one image, or describe it in a way that cannot be.
    """
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping) or not ome.get("multiscales"):
        return None
    found = ome["multiscales"]
    try:
        if len(found) != 1:
            names = ", ".join(str(item.get("name")) for item in found)
            raise InputError(f"{where} holds {len(found)} images ({names}): give the path of one of their arrays")
        image = found[0]
        axes = _axes(image.get("axes"), len(_transform(image["datasets"][0], None)[0] or range(5)))
        common = _transform(image, len(axes))
        channels = (ome.get("omero") or {}).get("channels") or []
        return Multiscale(
            str(image.get("name") or ""),
            axes,
            tuple(_level(item, common, len(axes)) for item in image["datasets"]),
            "image-label" in ome,
            tuple(str(channel.get("label", "")) for channel in channels),
            _classes(ome.get("image-label")),
        )
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(
            f"{where}: its OME-Zarr metadata cannot be understood ({type(error).__name__}: {error}); "
            "expected version 0.4 or 0.5. Give the path of one of its arrays to read that without spacing"
        ) from error


def _axes(found: Sequence[Any] | None, ndim: int) -> tuple[Axis, ...]:
    if found is None:  # versions 0.1 and 0.2 had five axes and no names for them
        found = ("t", "c", "z", "y", "x")[-ndim:]
    axes = []
    for item in found:
        item = {"name": item} if isinstance(item, str) else item
        name = str(item["name"])
        kind = str(item.get("type") or {"t": "time", "c": "channel"}.get(name, "space"))
        unit = str(item.get("unit") or "")
        axes.append(Axis(name, kind, unit_name(unit) or unit))
    return tuple(axes)


def _transform(item: Mapping[str, Any], ndim: int | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and translation of transformations applied in order; ones and zeros where there are none."""
    scale = translation = None
    for step in item.get("coordinateTransformations") or ():
        kind = step["type"]
        if kind == "identity":
            continue
        if kind not in ("scale", "translation") or kind not in step:
            raise InputError(f"a coordinate transformation of type {kind!r} by path: expected scale or translation")
        values = tuple(float(v) for v in step[kind])
        if ndim is not None and len(values) != ndim:
            raise InputError(f"a {kind} of {len(values)} numbers for {ndim} axes")
        if kind == "scale":
            scale = values if scale is None else tuple(a * b for a, b in zip(scale, values, strict=True))
            translation = translation and tuple(a * b for a, b in zip(translation, values, strict=True))
        else:
            translation = (
                values if translation is None else tuple(a + b for a, b in zip(translation, values, strict=True))
            )
    size = ndim if ndim is not None else len(scale or translation or ())
    return scale or (1.0,) * size, translation or (0.0,) * size


def _level(item: Mapping[str, Any], common: tuple[tuple[float, ...], ...], ndim: int) -> Level:
    (scale, translation), (outer, shift) = _transform(item, ndim), common
    if not all(0 < s * o < float("inf") for s, o in zip(scale, outer, strict=True)):
        raise InputError(f"level {item['path']!r} has the voxel sizes {scale}: expected sizes above 0")
    return Level(
        str(item["path"]).strip("/"),
        tuple(s * o for s, o in zip(scale, outer, strict=True)),
        tuple(t * o + d for t, o, d in zip(translation, outer, shift, strict=True)),
    )


def build_image(
    levels: Sequence[Spec],
    name: str,
    classes: Mapping[int, str] | None = None,
    window: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """The ``ome`` attribute of an image group.

    Parameters
    ----------
    levels : description of every level, the finest first; level k is stored in the array ``str(k)``.
    name : of the image.
    classes : names of the values of a mask or of classes; each gets a colour. Default: those of the spec.
    window : least and greatest value to show of an image.

    Examples
    --------
    >>> import numpy as np
    >>> spec = Spec((9, 9), np.dtype("uint8"), ("y", "x"), (0.5, 0.5), "micrometer")
    >>> build_image([spec], "a")["multiscales"][0]["axes"][0]
    {'name': 'y', 'type': 'space', 'unit': 'micrometer'}
    """
    spec = levels[0]
    unit = unit_name(spec.unit) if spec.unit else None
    axis = {"type": "space", "unit": unit} if unit else {"type": "space"}
    datasets = [
        {
            "path": str(k),
            "coordinateTransformations": [
                {"type": "scale", "scale": list(level.spacing)},
                {"type": "translation", "translation": list(level.origin)},
            ],
        }
        for k, level in enumerate(levels)
    ]
    method = "mean" if spec.kind == "image" else "mode"
    image = {
        "name": name,
        "axes": [{"name": item, **axis} for item in spec.axes],
        "datasets": datasets,
        "type": method,
        "metadata": {"method": f"bigseg pyramid, {method} of cells of two voxels an axis"},
    }
    ome: dict[str, Any] = {"version": VERSION, "multiscales": [image]}
    if spec.kind == "image":
        if window is not None:
            ome["omero"] = omero(name, window)
    else:
        ome["image-label"] = _image_label(spec, name, classes)
    return ome


def _image_label(spec: Spec, name: str, classes: Mapping[int, str] | None) -> dict[str, Any]:
    """Colours and names for masks and classes; objects are too many, their measurements stand in tables."""
    label: dict[str, Any] = {"version": VERSION}
    if classes is None and spec.kind == "mask":
        classes = {1: name}
    named = [Class(int(value), str(said)) for value, said in classes.items()] if classes else spec.classes
    if named:
        values = sorted(named)
        label["colors"] = [{"label-value": item.value, "rgba": _rgba(item)} for item in values]
        label["properties"] = [{"label-value": item.value, "name": item.name} for item in values]
    return label


def _rgba(item: Class) -> list[int]:
    if item.colour == UNSEEN or (not item.colour and not item.value):
        return [0, 0, 0, 0]
    if item.colour:
        return [int(item.colour[k : k + 2], 16) for k in (1, 3, 5)] + [255]
    return [*_COLOURS[(item.value - 1) % len(_COLOURS)], 255]


def _classes(label: Any) -> tuple[Class, ...]:
    """Names and colours of an ``image-label``; what cannot be understood is left out, as nothing depends on it."""
    if not isinstance(label, Mapping):
        return ()
    colours, found = {}, []
    for item in _items(label.get("colors")):
        rgba = item.get("rgba")
        if isinstance(rgba, Sequence) and len(rgba) == 4 and all(isinstance(v, int) and 0 <= v < 256 for v in rgba):
            colours[item["label-value"]] = "#{:02x}{:02x}{:02x}".format(*rgba[:3]) if rgba[3] else UNSEEN
    for item in _items(label.get("properties")):
        if isinstance(item.get("name"), str):
            found.append(Class(item["label-value"], item["name"], colours.get(item["label-value"], "")))
    return tuple(found)


def _items(found: Any) -> list[Mapping[str, Any]]:
    """The entries of a list that say which value they are of."""
    items = found if isinstance(found, list) else []
    return [item for item in items if isinstance(item, Mapping) and isinstance(item.get("label-value"), int)]


def omero(name: str, window: tuple[float, float]) -> dict[str, Any]:
    """The range of values to show of a grey image, so that viewers need not look for it."""
    low, high = map(float, window)
    shown = {"min": low, "max": high, "start": low, "end": high}
    channel = {"label": name, "color": "FFFFFF", "active": True, "window": shown}
    return {"channels": [channel], "rdefs": {"model": "greyscale"}}
