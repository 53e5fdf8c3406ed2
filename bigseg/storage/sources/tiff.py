"""One TIFF file of many pages: only the strips or tiles that a box touches are decoded.

Files stay open in a process, a few at a time. What tifffile cannot decode is tried with Pillow, which is
slower and decodes whole pages (some old programs declare deflate strips shorter than they are).
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from bigseg.errors import BigsegError, CorruptChunkError, InputError
from bigseg.grid import Box, Shape
from bigseg.storage.axes import Channel, choose_axes
from bigseg.storage.handles import count
from bigseg.storage.sources.plane import DECODING, check_chain
from bigseg.storage.sources.source import check_box, files_token, refuse_unreadable, spec_of, stem
from bigseg.storage.sources.tags import calibration
from bigseg.storage.spec import Spec

Part = tuple[slice, slice]

_KINDS = {"z": "space", "y": "space", "x": "space", "t": "time"}
_MOST_OPEN = 8


class _Axis(NamedTuple):
    """An axis of pages: its name, its length, and how many pages further its next index lies."""

    name: str
    length: int
    stride: int


@dataclass
class _Open:
    """A file that is open in this process."""

    file: Any
    lock: Any = field(default_factory=threading.Lock)
    pillow: Any = None


_files: OrderedDict[tuple[str, int, int], _Open] = OrderedDict()
_files_lock = threading.Lock()


@dataclass(frozen=True)
class TiffFile:
    """The pages of one TIFF file as z, y, x.

    Parameters
    ----------
    path : of the file.
    spec : of the volume.
    first, step : page z of the volume is page ``first + step * z`` of the file.
    prefix : index at which each leading axis (time, channel) is held.
    segment : bytes of a strip or tile, which is decoded whole; 0 where nothing is compressed.
    raw : offset, dtype and shape (pages, y, x) where all pages lie uncompressed in one run; else None.
    """

    path: str
    spec: Spec
    first: int
    step: int
    raw: tuple[int, str, Shape] | None
    name: str
    format: str
    note: str = ""
    prefix: Shape = ()
    segment: int = 0

    @classmethod
    def open(cls, path: str, channel: Channel = None) -> TiffFile:
        """Look at the file's first series of pages; nothing is decoded but one page.

        Raises
        ------
        InputError
            When it is no TIFF, holds colours, or pages of different shapes.
        ParameterError
            When a channel must be chosen.
        CorruptChunkError
            When its first page cannot be decoded.
        """
        try:
            file = _opened(path).file
            axes, shape, pages = _stack(file, path)
            found = calibration(file)
            key = file.series[0].keyframe
            offset = file.series[0].dataoffset if len(file.series) == 1 else None
        except BigsegError:
            raise
        except Exception as error:  # tifffile fails in many ways on what is no TIFF
            refuse_unreadable(path, error)
            raise InputError(f"{path} cannot be read as a TIFF file: {error}") from error
        leading = _leading(axes[:-2], shape[:-2])
        names = (*(axis.name for axis in leading), "y", "x")
        kinds = [_KINDS.get(name, "channel") for name in names]
        chosen = choose_axes((*(axis.length for axis in leading), *shape[-2:]), names, kinds, channel, (), path)
        first = sum(index * axis.stride for index, axis in zip(chosen.prefix, leading, strict=False))
        ndim = len(chosen.axes)
        depth, step = (leading[-1].length, leading[-1].stride) if ndim == 3 else (1, 1)
        dtype = key.dtype.newbyteorder("=")
        raw = None
        if offset is not None and key.compression == 1 and key.bitspersample == 8 * dtype.itemsize:
            raw = (int(offset), file.byteorder + dtype.char, (prod(shape[:-2]), *shape[-2:]))
        elif pages != prod(shape[:-2]):
            raise InputError(f"{path} holds {axes} of {shape} in {pages} pages: expected a page for each plane")
        spec = spec_of(
            path, (depth, *shape[-2:])[3 - ndim :], dtype, chosen.axes, found.spacing[3 - ndim :], found.unit
        )
        kind = "OME-TIFF" if file.is_ome else "ImageJ TIFF" if file.is_imagej else "TIFF"
        packed = str(getattr(key.compression, "name", key.compression)).lower()
        form = f"{kind}, {prod(shape[:-2])} pages, {packed}"
        height, width = _segment(key)
        segment = 0 if raw else min(height, key.imagelength) * width * dtype.itemsize
        opened = cls(path, spec, first, step, raw, stem(path), form, found.note, chosen.prefix, segment)
        opened.read(Box((0,) * ndim, (1,) * ndim))
        return opened

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box.

        Raises
        ------
        CorruptChunkError
            When a page cannot be decoded, naming it.
        """
        check_box(box, self.spec, self.path)
        (z0, z1), (rows, columns) = _range(box), box.slices[-2:]
        if self.raw is not None:
            result = self._read_raw(z0, z1, rows, columns)
        else:
            result = np.empty((z1 - z0, *box.shape[-2:]), self.spec.dtype)
            held = _opened(self.path)
            for z in range(z0, z1):
                _read_page(held, self.path, self.first + self.step * z, rows, columns, result[z - z0])
        return result.reshape(box.shape)

    def _read_raw(self, z0: int, z1: int, rows: slice, columns: slice) -> NDArray[Any]:
        assert self.raw is not None
        offset, dtype, shape = self.raw
        try:
            pages = np.memmap(self.path, dtype, "r", offset, shape)
        except (OSError, ValueError) as error:
            refuse_unreadable(self.path, error)
            raise CorruptChunkError(
                f"{self.path} cannot be read ({error}): expected {prod(shape)} voxels of {dtype} behind "
                f"byte {offset}; copy it again from the original"
            ) from error
        last = self.first + self.step * (z1 - 1)
        part = pages[self.first + self.step * z0 : last + 1 : self.step, rows, columns]
        count(read=part.nbytes)
        return np.array(part, self.spec.dtype, order="C")

    def memory(self, inner: Shape) -> int:
        """Bytes of temporaries while a strip or tile is decoded."""
        return DECODING * self.segment

    def token(self) -> str:
        """Name, size and time of the file, and which pages were chosen."""
        return files_token([self.path], (self.first, self.step))

    def describe(self) -> dict[str, str]:
        """What it is."""
        return {"path": self.path, "format": self.format, **({"note": self.note} if self.note else {})}


def _leading(axes: str, shape: Shape) -> list[_Axis]:
    """The axes before y and x, z last: Z, else pages without a name (I, Q), else the only axis but C."""
    depth = next((letter for letter in "ZIQR" if letter in axes), "" if len(axes) > 1 or axes == "C" else axes)
    found = [
        _Axis("z" if letter == depth else letter.lower(), shape[place], prod(shape[place + 1 :]))
        for place, letter in enumerate(axes)
    ]
    return sorted(found, key=lambda axis: axis.name == "z")


def _range(box: Box) -> tuple[int, int]:
    return (box.start[0], box.stop[0]) if len(box.start) == 3 else (0, 1)


def _stack(file: Any, path: str) -> tuple[str, Shape, int]:
    """Axes and shape of the one stack in a file, and how many planes it has.

    Raises
    ------
    InputError
        When there is no stack, or more than one, or it has colours.
    CorruptChunkError
        When the file ends before its last page.
    """
    series = file.series[0]
    axes, shape = series.axes, tuple(map(int, series.shape))
    if "S" in axes:
        raise InputError(f"{path} holds colours ({axes} of {shape}): expected grey values; split its channels first")
    if series.is_multifile:
        raise InputError(f"{path} is one of several files of an OME-TIFF: expected one file; convert it first")
    check_chain(file, path)
    if len(file.series) > 1:
        shapes = {(tuple(other.shape), other.dtype) for other in file.series}
        if len(shapes) > 1 or axes != "YX" or len(file.pages) != len(file.series):
            names = ", ".join(sorted(f"{shape} {dtype}" for shape, dtype in shapes))
            raise InputError(f"{path} holds several images ({names}): expected one stack of equal pages")
        return "IYX", (len(file.pages), *shape), len(file.pages)
    if len(series.pages) not in (1, prod(shape[:-2])) or (file.is_ome and None in list(series.pages)):
        raise CorruptChunkError(f"{path} has {len(series.pages)} of {prod(shape[:-2])} pages: copy it again")
    if axes[-2:] != "YX" or len(shape) < 3:
        raise InputError(f"{path} has axes {axes} of {shape}: expected pages of y, x in a stack")
    return axes, shape, len(series.pages)


def _opened(path: str) -> _Open:
    try:
        state = os.stat(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    key = (path, state.st_size, state.st_mtime_ns)
    with _files_lock:
        if key not in _files:
            _files[key] = _Open(tifffile.TiffFile(path))
            while len(_files) > _MOST_OPEN:
                _files.popitem(last=False)
        _files.move_to_end(key)
        return _files[key]


def _read_page(held: _Open, path: str, number: int, rows: slice, columns: slice, out: NDArray[Any]) -> None:
    with held.lock:
        page = held.file.pages[number] if len(held.file.series) > 1 else held.file.series[0].pages[number]
    key = page.keyframe
    if key.imagelength < rows.stop or key.imagewidth < columns.stop:
        raise CorruptChunkError(
            f"page {number} of {path} has {key.imagelength} x {key.imagewidth} pixels: fewer than the first page"
        )
    parts = list(_segments(key, rows, columns))
    try:
        for index, inside, target in parts:
            data = _bytes(held, int(page.dataoffsets[index]), int(page.databytecounts[index]))
            out[target] = key.decode(data, index, jpegtables=key.jpegtables)[0][0, :, :, 0][inside]
    except Exception as error:  # every codec has errors of its own
        refuse_unreadable(path, error)
        try:
            out[...] = _with_pillow(held, path, page.index)[rows, columns]
            count(read=sum(page.databytecounts))
        except Exception as second:
            raise CorruptChunkError(
                f"page {page.index} of {path} cannot be decoded ({error}; Pillow: {second}): copy it again "
                "from the original"
            ) from error


def _segments(key: Any, rows: slice, columns: slice) -> Iterator[tuple[int, Part, Part]]:
    """The strips or tiles that touch a part of a page: number, what to take of each, and where it goes."""
    height, width = _segment(key)
    across = -(-key.imagewidth // width)
    for down in range(rows.start // height, -(-rows.stop // height)):
        for side in range(columns.start // width, -(-columns.stop // width)):
            y0, y1 = max(rows.start, down * height), min(rows.stop, (down + 1) * height)
            x0, x1 = max(columns.start, side * width), min(columns.stop, (side + 1) * width)
            inside = (
                slice(y0 - down * height, y1 - down * height),
                slice(x0 - side * width, x1 - side * width),
            )
            target = slice(y0 - rows.start, y1 - rows.start), slice(x0 - columns.start, x1 - columns.start)
            yield down * across + side, inside, target


def _segment(key: Any) -> Shape:
    """Rows and columns of a strip or tile."""
    return (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, key.imagewidth)


def _bytes(held: _Open, offset: int, length: int) -> bytes:
    if not length:
        raise ValueError("an empty strip")
    with held.lock:
        handle = held.file.filehandle
        handle.seek(offset)
        data: bytes = handle.read(length)
    if len(data) != length:
        raise ValueError(f"the file ends {length - len(data)} bytes early")
    count(read=length)
    return data


def _with_pillow(held: _Open, path: str, number: int) -> NDArray[Any]:
    with held.lock:
        if held.pillow is None:
            held.pillow = Image.open(path)
        held.pillow.seek(number)
        return np.asarray(held.pillow)
