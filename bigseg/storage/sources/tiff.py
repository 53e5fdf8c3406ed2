"""One TIFF file of many pages: only the strips or tiles that a box touches are decoded.

Files stay open in a process, a few at a time. What tifffile cannot decode is tried with Pillow, which is
slower and decodes whole pages (some old programs declare deflate strips shorter than they are).
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from bigseg.errors import CorruptChunkError, InputError
from bigseg.grid import Box, Shape
from bigseg.storage.axes import Channel, choose_axes
from bigseg.storage.handles import count
from bigseg.storage.sources.source import check_box, files_token, stem
from bigseg.storage.sources.tags import calibration
from bigseg.storage.spec import Spec

_KINDS = {"Z": "space", "Y": "space", "X": "space", "C": "channel", "T": "time"}
_MOST_OPEN = 8


@dataclass
class _Open:
    """A file that is open in this process."""

    file: Any
    lock: Any = field(default_factory=threading.Lock)
    pillow: Any = None

    def close(self) -> None:
        self.file.close()
        if self.pillow is not None:
            self.pillow.close()


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
            series = file.series[0]
            found = calibration(file)
        except InputError:
            raise
        except Exception as error:  # tifffile fails in many ways on what is no TIFF
            raise InputError(f"{path} cannot be read as a TIFF file: {error}") from error
        axes, shape = series.axes, tuple(map(int, series.shape))
        if "S" in axes:
            raise InputError(
                f"{path} holds colours ({axes} of {shape}): expected grey values; split its channels first"
            )
        if axes[-2:] != "YX" or len(series.pages) not in (1, prod(shape[:-2])) or len(shape) < 3:
            raise InputError(f"{path} has axes {axes} of {shape}: expected pages of y, x in a stack")
        if len(file.series) > 1 and sum(prod(other.shape) for other in file.series[1:]) >= prod(shape):
            shapes = ", ".join(str(tuple(other.shape)) for other in file.series[:5])
            raise InputError(f"{path} holds pages of different shapes ({shapes}): expected one stack")
        step, first, leading, kinds = _pages(axes[:-2], shape[:-2])
        chosen = choose_axes((*leading, shape[-2], shape[-1]), kinds, _named(kinds), channel, (), path)
        held = dict(zip([kind for kind in kinds if kind != "z"], chosen.prefix, strict=False))
        start = first + sum(held[kind] * step[kind] for kind in held)
        ndim = len(chosen.axes)
        dtype = series.dtype.newbyteorder("=")
        raw = None
        if series.dataoffset is not None and (series.keyframe.compression == 1 and series.keyframe.fillorder == 1):
            raw = (int(series.dataoffset), file.byteorder + series.dtype.char, (prod(shape[:-2]), *shape[-2:]))
        elif len(series.pages) == 1 and prod(shape[:-2]) > 1:
            raise InputError(f"{path} holds {axes} of {shape} in one page: expected a page for each plane")
        spec = Spec(
            ((shape[axes.index(_depth(axes))],) if ndim == 3 else ()) + shape[-2:],
            dtype,
            chosen.axes,
            found.spacing[3 - ndim :],
            found.unit,
            "mask" if dtype == bool else "image",
        )
        kind = "OME-TIFF" if file.is_ome else "ImageJ TIFF" if file.is_imagej else "TIFF"
        packed = str(getattr(series.keyframe.compression, "name", series.keyframe.compression)).lower()
        opened = cls(
            path, spec, start, step.get("z", 1), raw, stem(path), f"{kind}, {prod(shape[:-2])} pages, {packed}", found.note
        )
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
            raise CorruptChunkError(
                f"{self.path} cannot be read ({error}): expected {prod(shape)} voxels of {dtype} behind byte {offset}; "
                "copy it again from the original"
            ) from error
        last = self.first + self.step * (z1 - 1)
        part = pages[self.first + self.step * z0 : last + 1 : self.step, rows, columns]
        count(read=part.nbytes)
        return np.array(part, self.spec.dtype, order="C")

    def token(self) -> str:
        """Name, size and time of the file, and which pages were chosen."""
        return files_token([self.path], (self.first, self.step))

    def describe(self) -> dict[str, str]:
        """What it is."""
        return {"path": self.path, "format": self.format, **({"note": self.note} if self.note else {})}


def _depth(axes: str) -> str:
    """The axis that is z: Z, else the one of pages without a name (I, Q), else time where nothing else is long."""
    for letter in "ZIQRTC":
        if letter in axes[:-2]:
            return letter
    return axes[0]


def _pages(axes: str, shape: Shape) -> tuple[dict[str, int], int, Shape, tuple[str, ...]]:
    """Pages from one index to the next along each leading axis, and the axes reordered so that z is last."""
    letters = "Z" in axes or any(letter in axes for letter in "IQR")
    depth = _depth(axes + "YX") if letters else (axes[-1] if len(axes) == 1 and axes != "C" else "")
    strides = {letter: prod(shape[place + 1 :]) for place, letter in enumerate(axes)}
    others = [letter for letter in axes if letter != depth]
    names = {"C": "c", "T": "t"}
    kinds = [names.get(letter, letter.lower()) for letter in others] + (["z"] if depth else [])
    step = {kind: strides[letter] for kind, letter in zip(kinds, [*others, *depth], strict=True)}
    leading = tuple(shape[axes.index(letter)] for letter in [*others, *depth])
    return step, 0, leading, (*kinds, "y", "x")


def _named(kinds: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("space" if kind in "zyx" else "time" if kind == "t" else "channel" for kind in kinds)


def _range(box: Box) -> tuple[int, int]:
    return (box.start[0], box.stop[0]) if len(box.start) == 3 else (0, 1)


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
        page = held.file.series[0].pages[number]
    if page is None:
        raise CorruptChunkError(f"page {number} of {path} is missing: expected a page for each plane")
    try:
        _decode_part(held, page, rows, columns, out)
    except Exception as error:  # every codec has errors of its own
        try:
            out[...] = _with_pillow(held, path, page.index)[rows, columns]
        except Exception as second:
            raise CorruptChunkError(
                f"page {page.index} of {path} cannot be decoded ({error}; Pillow: {second}): copy it again from the "
                "original"
            ) from error


def _decode_part(held: _Open, page: Any, rows: slice, columns: slice, out: NDArray[Any]) -> None:
    """Decode the strips or tiles of a page that touch a part of it."""
    height, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    across = -(-page.imagewidth // width)
    filled = 0
    for down in range(rows.start // height, -(-rows.stop // height)):
        for side in range(columns.start // width, -(-columns.stop // width)):
            index = down * across + side
            data = _bytes(held, int(page.dataoffsets[index]), int(page.databytecounts[index]))
            segment, _, _ = page.decode(data, index, jpegtables=page.jpegtables)
            top, left = down * height, side * width
            y = slice(max(rows.start, top), min(rows.stop, top + height))
            x = slice(max(columns.start, left), min(columns.stop, left + width))
            part = segment[0, y.start - top : y.stop - top, x.start - left : x.stop - left, 0]
            out[y.start - rows.start : y.stop - rows.start, x.start - columns.start : x.stop - columns.start] = part
            filled += part.size
    if filled != out.size:
        raise ValueError(f"{filled} of {out.size} voxels in its strips")


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
        count(read=0)
        return np.asarray(held.pillow)
