"""From a path to one stored array: what lies there, and which image it is a level of.

A path may name an OME-Zarr image, one of its levels, a label image inside it, a bare array, or a group
that holds exactly one of these.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bigseg.errors import InputError, ParameterError, StorageError
from bigseg.storage.durable import found_at
from bigseg.storage.layout import Node, read_node
from bigseg.storage.ome import Multiscale, parse_image

_MOST = 20  # candidates that are looked for before giving up
_ANCESTORS = 4  # folders above an array in which its image is looked for


class Place(NamedTuple):
    """Where an array lies."""

    root: Path
    """Folder of the image, or of the bare array."""
    array: str
    """Path of the array below it; ``""`` for a bare array."""
    node: Node
    """The array."""
    group: Node | None
    """The image's group."""
    image: Multiscale | None
    level: int


def locate(path: str | os.PathLike[str], level: int = 0) -> Place:
    """Find the array that a path and a level mean.

    Raises
    ------
    InputError
        When nothing is there, it is no Zarr, or it holds several volumes (they are listed).
    ParameterError
        When the image has no such level.
    """
    text = os.fspath(path)
    if "://" in text and not text.startswith("file://"):
        raise InputError(f"{text}: volumes are read from the file system; copy or mount it, then give its path")
    folder = Path(os.path.abspath(text.removeprefix("file://")))
    state = found_at(folder)
    if state is None:
        raise InputError(f"{folder} does not exist: expected a Zarr array or an OME-Zarr image")
    if not stat.S_ISDIR(state.st_mode):
        raise InputError(f"{folder} is a file: expected the folder of a Zarr array or an OME-Zarr image")
    node = read_node(folder)
    if node is not None and node.is_array:
        return _array(folder, node, level)
    image = node and parse_image(node.attributes, str(folder))
    if node is not None and image:
        return _level(folder, node, image, level)
    return _only_one(folder, node is not None, level)


def _array(folder: Path, node: Node, level: int) -> Place:
    for root in folder.parents[:_ANCESTORS]:
        group = read_node(root)
        image = group and parse_image(group.attributes, str(root))
        if group is not None and image:
            below = folder.relative_to(root).as_posix()
            paths = [item.path for item in image.levels]
            if below in paths:
                own = paths.index(below)
                if level not in (0, own):
                    raise ParameterError(f"level={level}: {folder} is level {own} already; give the image's path")
                return Place(root, below, node, group, image, own)
    if level:
        raise ParameterError(f"level={level}: {folder} is a single array without levels")
    return Place(folder, "", node, None, None, 0)


def _level(root: Path, group: Node, image: Multiscale, level: int) -> Place:
    count = len(image.levels)
    if not 0 <= level < count:
        raise ParameterError(f"level={level}: {root} has levels 0 to {count - 1}")
    array = image.levels[level].path
    folder = Path(os.path.normpath(root / array))
    if not folder.is_relative_to(root):
        raise InputError(f"{root}: level {level} points outside of it ({array!r}); open that array by its own path")
    node = read_node(folder)
    if node is None or not node.is_array:
        raise InputError(
            f"{root} names the array {array!r} as level {level}, but there is none: restore it from a copy"
        )
    return Place(root, array, node, group, image, level)


def _only_one(folder: Path, is_group: bool, level: int) -> Place:
    found = []
    for candidate in _candidates(folder, depth=3):
        found.append(candidate)
        if len(found) > _MOST:
            break
    if is_group and len(found) == 1:
        return locate(found[0], level)
    if not found:
        what = "a Zarr group without volumes" if is_group else "no Zarr (no zarr.json, .zarray or .zgroup in it)"
        raise InputError(f"{folder} is {what}: expected a Zarr array or an OME-Zarr image")
    names = [item.relative_to(folder).as_posix() for item in found]
    more = " and more" if len(found) > _MOST else ""
    raise InputError(
        f"{folder} {'holds' if is_group else 'is no Zarr itself but holds'} {len(names)}{more} volumes: "
        f"{', '.join(names[:_MOST])}. Give the path of one, like {found[0]}"
    )


def _candidates(folder: Path, depth: int) -> Iterator[Path]:
    try:
        children = sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))
    except OSError as error:
        raise StorageError(f"cannot list {folder}: {error.strerror}") from error
    for child in children:
        node = read_node(child)
        if node is None:
            continue
        if node.is_array or parse_image(node.attributes, str(child)):
            yield child
        elif depth > 1:
            yield from _candidates(child, depth - 1)
