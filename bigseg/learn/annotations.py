"""Annotated volumes as a table of feature vectors: only where something is known is an image read.

1. look: labels, block by block: how many voxels of each region and class are known (`bigseg.learn.sampled`);
2. look: the blocks that hold any: which voxels are taken, and their features, from the smallest box around them grown
   by the features' depth.

Labels are volumes (Zarr, TIFF, napari's output), where chunks that were never painted may be missing, or tables of
points. Rows are sorted by volume and index, so neither blocks nor threads show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bigseg.errors import InputError, ParameterError, ValuesError
from bigseg.grid import Box, Grid, Shape
from bigseg.learn.model import Source
from bigseg.learn.points import Points
from bigseg.learn.sampled import CLASSES, PARTS, Kind, Known, Picked, Regions, Sampling, kind_of, known_pieces
from bigseg.local.digest import digest
from bigseg.local.features.picking import features_at
from bigseg.local.features.stack import Stack
from bigseg.local.filters.linear import Float32
from bigseg.storage.sources.opening import Origin, read_box
from bigseg.storage.spec import Spec

SIDES = {2: 2048, 3: 192}
"""Sides of the blocks in which annotations are looked for, by the number of axes."""


class Truth(Protocol):
    """What is known of a volume."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the truth."""

    def known(self, box: Box, regions: Regions) -> Iterator[Known]:
        """What is known of a box, in pieces."""

    def blocks(self, grid: Grid) -> Iterable[int]:
        """Blocks that may hold something."""


@dataclass(frozen=True)
class Labels:
    """A volume of labels; for ``kind`` see `bigseg.learn.sampled.known_voxels`, ``auto`` decides by what it is."""

    origin: Origin
    kind: Kind = "auto"

    @property
    def chosen(self) -> Kind:
        """What the labels mean."""
        spec = self.origin.spec
        return kind_of(self.kind, spec.dtype, spec.kind == "mask")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the truth."""
        return np.dtype("float32" if self.chosen == "values" else "uint8")

    def known(self, box: Box, regions: Regions) -> Iterator[Known]:
        """Read a box of the labels."""
        labels = read_box(self.origin, box)
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise ValuesError(f"labels hold NaN or infinite values in {box}: expected finite ones")
        yield from known_pieces(labels, self.chosen, regions.parts(box))

    def blocks(self, grid: Grid) -> Iterable[int]:
        """All."""
        return range(len(grid))


@dataclass(frozen=True)
class Annotated:
    """A volume with annotations.

    Parameters
    ----------
    name : for the model file.
    images : one, or several of one shape.
    truth : `Labels` or `Points` of the same shape.
    regions : what is for training, validation and test.
    """

    name: str
    images: tuple[Origin, ...]
    truth: Labels | Points
    regions: Regions = field(default_factory=Regions)

    def __post_init__(self) -> None:
        shape = self.images[0].spec.shape
        for image in self.images:
            if image.spec.shape != shape:
                raise InputError(f"{self.name}: images of shapes {shape} and {image.spec.shape}: expected one shape")
        found = self.truth.shape if isinstance(self.truth, Points) else self.truth.origin.spec.shape
        if found != shape:
            raise InputError(
                f"{self.name}: annotations of shape {found} for a volume of shape {shape}: expected the same; paint on "
                "this volume, or cut both with ingest --roi"
            )


@dataclass(frozen=True)
class Table:
    """Feature vectors and what they are, sorted by volume and index.

    Parameters
    ----------
    planes : float32 (features, rows).
    truth : uint8 classes or float32 values.
    part : number in `PARTS`.
    volume, index : which voxel each row is.
    shapes : of the volumes.
    sources : the volumes by name, with digests of what was taken of them.
    """

    planes: Float32
    truth: NDArray[Any]
    part: NDArray[np.uint8]
    volume: NDArray[np.int32]
    index: NDArray[np.uint64]
    shapes: tuple[Shape, ...]
    sources: tuple[Source, ...]

    def only(self, part: str) -> NDArray[np.bool_]:
        """The rows of a part."""
        return np.asarray(self.part == PARTS.index(part))

    def frame(self, names: Sequence[str], axes: Sequence[str]) -> pd.DataFrame:
        """As a DataFrame: volume, coordinates, features by name, truth, part."""
        columns: dict[str, Any] = {"volume": self.volume}
        places = np.zeros((len(axes), self.index.size), np.int64)
        for number, shape in enumerate(self.shapes):
            own = self.volume == number
            places[:, own] = np.unravel_index(self.index[own].astype(np.int64), shape)
        columns |= dict(zip(axes, places, strict=True)) | dict(zip(names, self.planes, strict=True))
        return pd.DataFrame(columns | {"truth": self.truth, "part": np.array(PARTS)[self.part]})


def annotated_table(
    volumes: Sequence[Annotated], stack: Stack, sampling: Sampling, *, block: Sequence[int] = (), threads: int = 1
) -> Table:
    """The features of the annotated voxels of some volumes.

    Parameters
    ----------
    volumes : of as many axes as the stack.
    stack : which features.
    sampling : how many voxels.
    block : in which annotations are looked for; no result depends on it.
    threads : blocks at a time; no result depends on it.

    Raises
    ------
    InputError
        When nothing is annotated in a region for training, or labels are no classes.

    Notes
    -----
    Labels are decoded twice, images only around the voxels that are taken. Memory: the table, 4 bytes a feature and
    voxel, twice; a block of labels and features' tiles for each thread.

    Examples
    --------
    >>> from bigseg.local.features.filters import Filter
    >>> from bigseg.storage.sources.phantom import PhantomSource
    >>> image = PhantomSource.parse("phantom:voids,shape=8x16x16,seed=1")
    >>> points = Points((8, 16, 16), np.array([5, 300], np.uint64), np.array([1, 2], np.uint8))
    >>> stack = Stack((Filter("intensity", name="i"),), 3)
    >>> table = annotated_table([Annotated("a", (image,), points)], stack, Sampling())
    >>> table.planes.shape, table.truth.tolist()
    ((1, 2), [1, 2])
    """
    dtypes = {item.truth.dtype for item in volumes}
    if len(dtypes) != 1:
        raise ParameterError(
            f"annotations of {len(volumes)} volumes: expected one at least, all of classes or all of values"
        )
    with ThreadPoolExecutor(threads) as pool:
        grids = [Grid(item.images[0].spec.shape, _block(item.images[0].spec, block)) for item in volumes]
        jobs = [
            (number, grid[place].inner)
            for number, (item, grid) in enumerate(zip(volumes, grids, strict=True))
            for place in item.truth.blocks(grid)
            if item.regions.touches(grid[place].inner)
        ]
        counted = list(pool.map(lambda job: _counted(volumes[job[0]], job[1], sampling), jobs))
        counts = np.sum(counted, axis=0) if counted else np.zeros((len(PARTS), CLASSES), np.int64)
        if not counts[0].sum():
            raise InputError(
                "no voxel is annotated in a region for training: paint, or give as points, classes of 1 and more "
                "(0 is what is not labelled), or say kind: mask for a mask of two classes"
            )
        bounds = sampling.bounds(counts)
        held = [job for job, count in zip(jobs, counted, strict=True) if count.any()]
        rows = list(pool.map(lambda job: _rows(volumes[job[0]], job, stack, sampling, bounds), held))
    sizes = [taken.voxel.size for taken, _ in rows]
    volume = np.repeat(np.array([number for number, _ in held], np.int32), sizes)
    index, truth, part = (
        np.concatenate([getattr(taken, name) for taken, _ in rows]) for name in ("voxel", "truth", "part")
    )
    planes = np.concatenate([item for _, item in rows], axis=1)
    del rows
    order = sampling.chosen(part, truth, volume, index, sampling.wanted(counts))
    planes = planes[:, order]
    volume, index, truth, part = volume[order], index[order], truth[order], part[order]
    shapes = tuple(grid.shape for grid in grids)
    sources = tuple(
        source_of(item.name, planes[:, own], truth[own], index[own])
        for number, item in enumerate(volumes)
        if (own := volume == number).any()
    )
    return Table(planes, truth, part, volume, index, shapes, sources)


def source_of(name: str, planes: Float32, truth: NDArray[Any], index: NDArray[np.uint64]) -> Source:
    """What a model says of a volume that it was trained on."""
    parts = "".join(digest(array) for array in (planes, truth, index))
    return Source(name, blake2b(parts.encode(), digest_size=8).hexdigest(), int(index.size))


def _counted(item: Annotated, box: Box, sampling: Sampling) -> NDArray[np.int64]:
    return sampling.count(item.truth.known(box, item.regions))


def _rows(
    item: Annotated, job: tuple[int, Box], stack: Stack, sampling: Sampling, bounds: NDArray[np.uint64]
) -> tuple[Picked, Float32]:
    """The voxels of a block that are taken, and their features."""
    number, box = job
    spec = item.images[0].spec
    taken = sampling.pick(item.truth.known(box, item.regions), box, spec.shape, bounds, number)
    if not taken.voxel.size:
        return taken, np.empty((len(stack.names), 0), np.float32)
    places = np.unravel_index(taken.place, box.shape)
    start = tuple(int(p.min()) + s for p, s in zip(places, box.start, strict=True))
    stop = tuple(int(p.max()) + s + 1 for p, s in zip(places, box.start, strict=True))
    inner = Box(start, stop)
    outer = inner.grow(stack.depth(), spec.shape)
    arrays = [_finite(read_box(image, outer), item.name) for image in item.images]
    place = np.ravel_multi_index([p + s - a for p, s, a in zip(places, box.start, start, strict=True)], inner.shape)
    return taken, features_at(stack, arrays, inner.within(outer), place, inner.start)


def _finite(array: NDArray[Any], name: str) -> NDArray[Any]:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValuesError(f"{name} holds NaN or infinite voxels where it is annotated: replace them first")
    return array


def _block(spec: Spec, block: Sequence[int]) -> Shape:
    wanted = tuple(block) or (SIDES[spec.ndim],) * spec.ndim
    return tuple(min(int(b), n) for b, n in zip(wanted, spec.shape, strict=True))
