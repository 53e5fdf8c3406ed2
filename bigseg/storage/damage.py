"""Which files of an image are gone, cut or damaged, judged from the image alone.

For what no journal knows: foreign volumes, ingested ones, an output that was copied out of its run's folder.
Chunks of Zarr may carry checksums (those that bigseg writes all do); without them only what cannot be decoded
is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from bigseg.errors import CorruptChunkError, InputError, MissingChunkError
from bigseg.grid import Box
from bigseg.storage import blocks
from bigseg.storage.chunks import NOWHERE, layout_of, walk
from bigseg.storage.layout import Layout
from bigseg.storage.volume import Volume


class DamagedFile(NamedTuple):
    """One file of a volume that is not as it should be."""

    key: str
    """Of the file, relative to the image."""
    cause: str


def damaged_files(
    volume: Volume,
    level: Literal["stat", "full"] = "full",
    watch: Callable[[int, int], None] = lambda done, files: None,
) -> Iterator[DamagedFile]:
    """Every file of one array that is gone, empty, a link to no file, or cannot be decoded.

    Parameters
    ----------
    volume : as opened; with ``missing="fill"`` files may be absent.
    level : ``"stat"`` looks at names and lengths alone.
    watch : is told the files looked at, and all.

    Notes
    -----
    ``full`` decodes 250-400 million voxels a second; holds one shard.
    """
    layout = layout_of(volume)
    there = {file.position: file.size for file in walk(volume, layout)}
    lead = tuple(p // s for p, s in zip(volume.prefix, layout.shard, strict=False))
    cells = layout.counts[len(lead) :]
    fresh = replace(volume, complete=False)  # chunks decoded earlier do not count
    total = int(np.prod(cells))
    for number, at in enumerate(np.ndindex(*cells), start=1):
        key = layout.key((*lead, *at))
        name = f"{volume.array}/{key}" if volume.array else key
        size = there.get((*lead, *at))
        if size is None:
            if volume.missing == "error":
                yield DamagedFile(name, "is gone")
        elif not size:
            yield DamagedFile(name, "is empty")
        elif size == NOWHERE:
            yield DamagedFile(name, "is a link that leads nowhere")
        elif level == "full" and (cause := _undecodable(fresh, layout, at)):
            yield DamagedFile(name, cause)
        watch(number, total)


def _undecodable(volume: Volume, layout: Layout, at: tuple[int, ...]) -> str:
    """Why a file cannot be decoded; nothing: an empty text."""
    lead = len(volume.prefix)
    shard, shape = layout.shard[lead:], layout.shape[lead:]
    start = [a * s for a, s in zip(at, shard, strict=True)]
    stop = [min(a + s, n) for a, s, n in zip(start, shard, shape, strict=True)]
    order = volume.order or tuple(range(len(start)))
    box = Box(tuple(start[axis] for axis in order), tuple(stop[axis] for axis in order))
    try:
        blocks.read(volume, box)
    except (CorruptChunkError, MissingChunkError, InputError) as error:
        return str(error).split(": copy it again")[0].split(". If the program")[0]
    return ""
