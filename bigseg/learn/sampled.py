"""Which annotated voxels a model is trained on: known ones, by region, and of too many those with the least hashes.

Every choice is a function of the voxels alone. A first look counts what is known by region and class; from the counts
follows below which hash a voxel is taken, so that a second look, block by block, takes little more than is wanted;
at the end the wanted number with the least hashes stays. So any blocks, and any order of them, give the same voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import InputError, ParameterError
from bigseg.grid import Box, Shape
from bigseg.local.components.raster import in_volume
from bigseg.local.models.sampling import hashes, limit_of

Array = NDArray[Any]
Kind = Literal["auto", "sparse", "mask", "dense", "values"]
PARTS = ("train", "validation", "test")
CLASSES = 256
PIECE = 1 << 20
"""Voxels that are looked at together, so that temporaries stay small."""
PIECE_BYTES = 48 * PIECE
_ALL = 1 << 64


class Known(NamedTuple):
    """Voxels of a box that are known: place in the box in raster order, truth, number of the part (`PARTS`)."""

    place: NDArray[np.int64]
    truth: Array
    part: NDArray[np.uint8]


@dataclass(frozen=True)
class Regions:
    """Boxes of a volume for training, validation and test; without any, all of it is for training.

    Parameters
    ----------
    boxes : the number of the part (`PARTS`) and a box, one after the other; those of different parts do not overlap.

    Raises
    ------
    ParameterError
        When boxes of two parts share a voxel: what a model was trained on cannot test it.

    Examples
    --------
    >>> halves = Regions(((0, Box((0, 0), (4, 2))), (2, Box((0, 2), (4, 4)))))
    >>> halves.parts(Box((3, 0), (4, 4))).tolist()
    [[0, 0, 2, 2]]
    """

    boxes: tuple[tuple[int, Box], ...] = ()

    def __post_init__(self) -> None:
        for place, (part, box) in enumerate(self.boxes):
            for other, with_box in self.boxes[:place]:
                if part != other and box.shared(with_box) is not None:
                    raise ParameterError(
                        f"the regions for {PARTS[other]} {with_box} and for {PARTS[part]} {box} share voxels: expected "
                        "regions apart from each other"
                    )

    def parts(self, box: Box) -> NDArray[np.uint8]:
        """The number of the part of every voxel of a box, 255 where it is in none."""
        if not self.boxes:
            return np.zeros(box.shape, np.uint8)
        out = np.full(box.shape, 255, np.uint8)
        for part, region in self.boxes:
            shared = box.shared(region)
            if shared is not None:
                out[shared.within(box)] = part
        return out

    def touches(self, box: Box) -> bool:
        """Whether any voxel of a box is in a part."""
        return not self.boxes or any(box.shared(region) is not None for _, region in self.boxes)


class Picked(NamedTuple):
    """Known voxels of a box that are taken: place in the box, voxel in the volume, truth, part."""

    place: NDArray[np.int64]
    voxel: NDArray[np.uint64]
    truth: Array
    part: NDArray[np.uint8]


def known_voxels(labels: Array, kind: Kind, parts: NDArray[np.uint8]) -> Known:
    """The voxels of a box that are known.

    Parameters
    ----------
    labels : of the box: integers or bool, for ``values`` also floats.
    kind : sparse: 0 is not known, other values are classes; mask: 0 is class 0, anything else class 1; dense: every
        value is a class, 0 among them; values: every value is that of a regression.
    parts : number of the part of every voxel, 255 for none.

    Returns
    -------
    Known, the truth uint8, of values float32.

    Raises
    ------
    InputError
        Floats as classes, or classes that are not within 0 to 255.

    Notes
    -----
    1 to 5 ns a voxel on one core.

    Examples
    --------
    >>> known_voxels(np.array([0, 2, 0, 1]), "sparse", np.zeros(4, np.uint8)).truth.tolist()
    [2, 1]
    """
    flat, part = labels.reshape(-1), parts.reshape(-1)
    if kind != "values" and labels.dtype.kind == "f":
        raise InputError(
            f"labels of dtype {labels.dtype}: expected whole numbers, a class each; say kind: values to train a "
            "regression on them"
        )
    inside = part != 255
    if kind == "sparse":
        inside &= flat != 0
    place = np.flatnonzero(inside)
    truth = flat[place]
    if kind == "mask":
        truth = truth != 0
    elif kind != "values" and truth.size and truth.dtype.kind in "iu" and not 0 <= truth.min() <= truth.max() < CLASSES:
        raise InputError(
            f"labels from {truth.min()} to {truth.max()}: expected classes of 1 to 255; for a mask say kind: mask"
        )
    return Known(place, truth.astype(np.float32 if kind == "values" else np.uint8), part[place])


def known_pieces(labels: Array, kind: Kind, parts: NDArray[np.uint8]) -> Iterator[Known]:
    """What `known_voxels` gives, piece by piece of the box in raster order.

    >>> [item.place.tolist() for item in known_pieces(np.array([[0, 2], [0, 1]]), "sparse", np.zeros((2, 2), np.uint8))]
    [[1, 3]]
    """
    flat, part = labels.reshape(-1), parts.reshape(-1)
    for start in range(0, flat.size, PIECE):
        known = known_voxels(flat[start : start + PIECE], kind, part[start : start + PIECE])
        if known.place.size:
            yield known._replace(place=known.place + start)


@dataclass(frozen=True)
class Sampling:
    """How many annotated voxels are taken.

    Parameters
    ----------
    voxels : most of each part; None: all.
    balanced : the same number of every class, as far as there are so many.
    seed : of the hashes.
    """

    voxels: int | None = 100_000
    balanced: bool = False
    seed: int = 0

    def count(self, pieces: Iterable[Known]) -> NDArray[np.int64]:
        """How many voxels of each part and class are known, int64 (parts, 256); those of blocks add up."""
        out = np.zeros(len(PARTS) * CLASSES, np.int64)
        for known in pieces:
            out += np.bincount(known.part * np.int64(CLASSES) + self._classes(known.truth), minlength=out.size)
        return out.reshape(len(PARTS), CLASSES)

    def wanted(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of each part and class are taken, from the counts of all volumes.

        >>> Sampling(10, balanced=True).wanted(np.array([[0, 50, 3], [9, 0, 0], [0, 0, 0]])).tolist()
        [[5, 5, 5], [10, 10, 10], [10, 10, 10]]
        """
        if self.voxels is None:
            return np.full(counts.shape, np.iinfo(np.int64).max)
        share = np.maximum(1, np.count_nonzero(counts, axis=1)) if self.balanced else np.ones(len(counts), np.int64)
        return np.repeat(np.maximum(1, self.voxels // share)[:, np.newaxis], counts.shape[1], axis=1)

    def bounds(self, counts: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The hash up to which a voxel of each part and class is taken by `pick`, uint64 (parts, 256): `limit_of`."""
        pairs = zip(np.minimum(self.wanted(counts), counts).flat, counts.flat, strict=True)
        return np.array([limit_of(int(wanted), int(count)) for wanted, count in pairs], np.uint64).reshape(counts.shape)

    def pick(
        self, pieces: Iterable[Known], box: Box, shape: Shape, bounds: NDArray[np.uint64], volume: int = 0
    ) -> Picked:
        """Those of a box's known voxels whose hash is not above the bound.

        Parameters
        ----------
        pieces : what is known of the box.
        shape : of the volume.
        bounds : from `bounds`.
        volume : number of the volume among several; each has its own hashes.
        """
        found: list[tuple[Array, ...]] = []
        for known in pieces:
            index = in_volume(known.place, box, shape).astype(np.uint64)
            kept = self.hashes(index, volume) <= bounds[known.part, self._classes(known.truth)]
            found.append((known.place[kept], index[kept], known.truth[kept], known.part[kept]))
        if not found:
            found = [tuple(np.empty(0, kind) for kind in (np.int64, np.uint64, np.uint8, np.uint8))]
        place, voxel, truth, part = (np.concatenate(column) for column in zip(*found, strict=True))
        return Picked(place, voxel, truth, part)

    def hashes(self, index: NDArray[np.uint64], volume: int = 0) -> NDArray[np.uint64]:
        """The hash of voxels of a volume."""
        return hashes((self.seed + (volume << 32)) % _ALL, index)

    def chosen(
        self, part: NDArray[np.uint8], truth: Array, volume: Array, index: NDArray[np.uint64], wanted: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Which of all picked voxels stay: the wanted number of each part and class, in the order of the table.

        Returns
        -------
        Places, sorted by volume, then by index.
        """
        found = np.zeros(index.size, np.uint64)
        for number in np.unique(volume):
            own = volume == number
            found[own] = self.hashes(index[own], int(number))
        key = part.astype(np.int64) * CLASSES + self._classes(truth)
        order = np.lexsort((index, volume, found, key))
        sizes = np.bincount(key, minlength=wanted.size)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        rank = np.arange(index.size) - np.repeat(starts, sizes)
        kept = order[rank < wanted.reshape(-1)[key[order]]]
        return np.asarray(kept[np.lexsort((index[kept], volume[kept]))], np.int64)

    def _classes(self, truth: Array) -> NDArray[np.int64]:
        return truth.astype(np.int64) if self.balanced else np.zeros(truth.size, np.int64)


def block_folds(index: NDArray[np.uint64], shape: Shape, side: Sequence[int], folds: int, seed: int) -> Array:
    """The fold of every voxel, so that whole blocks of the volume fall into one.

    Neighbouring voxels are nearly equal, so folds of single voxels would test a model on what it has seen.

    Parameters
    ----------
    index : in the volume of this shape, in raster order.
    side : of a block in voxels per axis.
    folds : how many; a block's is the hash of its number modulo that.

    Examples
    --------
    >>> block_folds(np.arange(12, dtype="uint64"), (2, 6), (2, 2), 2, seed=0).tolist()
    [0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0]
    """
    if folds < 2 or min(side) < 1:
        raise ParameterError(f"{folds} folds of blocks of {tuple(side)}: expected two or more, of 1 voxel or more")
    places = np.unravel_index(index.astype(np.int64), shape)
    counts = tuple(-(-n // s) for n, s in zip(shape, side, strict=True))
    block = np.ravel_multi_index([place // s for place, s in zip(places, side, strict=True)], counts)
    return np.asarray((hashes(seed, block.astype(np.uint64)) >> np.uint64(33)) % np.uint64(folds), np.int64)


def kind_of(kind: Kind, dtype: np.dtype[Any], is_mask: bool) -> Kind:
    """What labels mean where it is not said: masks are masks, floats values, whole numbers sparse classes.

    >>> kind_of("auto", np.dtype("uint16"), False), kind_of("auto", np.dtype("bool"), False)
    ('sparse', 'mask')
    """
    if kind != "auto":
        return kind
    if is_mask or dtype.kind == "b":
        return "mask"
    return "values" if dtype.kind == "f" else "sparse"


def told(counts: NDArray[np.int64]) -> Mapping[str, int]:
    """Voxels of each part, by its name."""
    return {name: int(row.sum()) for name, row in zip(PARTS, counts, strict=True)}
