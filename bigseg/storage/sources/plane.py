"""Two-dimensional image files: PNG, JPEG and single-page TIFF, decoded whole.

Colour is never turned into grey silently: one channel must be chosen. Alpha is dropped where it is constant,
or where a channel was chosen.
"""

from __future__ import annotations

import os
import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from bigseg.errors import BigsegError, CorruptChunkError, InputError, ParameterError
from bigseg.grid import Box, Shape
from bigseg.storage.axes import Channel
from bigseg.storage.handles import count
from bigseg.storage.sources.source import check_box, files_token, refuse_unreadable, spec_of, stem
from bigseg.storage.sources.tags import Calibration, calibration
from bigseg.storage.spec import Spec

TIFF_ENDINGS = (".tif", ".tiff", ".btf", ".tf8")
PLANE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp")
DECODING = 3
"""Bytes held while an image is decoded, by those of its pixels: the file's, and two copies (measured: 1.0 to 3.0)."""
KEPT = 512 << 20
"""Bytes of decoded images that are kept beside the newest."""
_NAMES = {"red": 0, "green": 1, "blue": 2, "r": 0, "g": 1, "b": 2}


@dataclass(frozen=True)
class PlaneFile:
    """A 2-D image in a file, as y, x."""

    path: str
    spec: Spec
    channel: int | None
    name: str
    colours: int = 1

    @classmethod
    def open(cls, path: str, channel: Channel = None) -> PlaneFile:
        """Decode it once to know its channels.

        Raises
        ------
        InputError
            When the file is no image, or has colours and no channel is chosen.
        """
        pixels = decode_plane(path)
        index = _channel_index(channel, pixels, path)
        plane = _one_channel(pixels, index, path)
        found = _calibration(path)
        spec = spec_of(path, plane.shape, plane.dtype, ("y", "x"), found.spacing[1:], found.unit)
        return cls(path, spec, index, stem(path), prod(pixels.shape[2:]))

    def read(self, box: Box) -> NDArray[Any]:
        """The pixels of a box."""
        check_box(box, self.spec, self.path)
        state = os.stat(self.path)
        plane = _one_channel(_decoded(self.path, state.st_size, state.st_mtime_ns), self.channel, self.path)
        if plane.shape != self.spec.shape or plane.dtype.newbyteorder("=") != self.spec.dtype:
            raise InputError(
                f"{self.path} is now {plane.shape} {plane.dtype}, expected {self.spec.shape}: it was replaced"
            )
        return np.array(plane[box.slices], self.spec.dtype, order="C")

    @property
    def kept(self) -> int:
        """Bytes of its pixels, which stay for the next block."""
        return plane_bytes(self.spec) * self.colours

    def memory(self, inner: Shape) -> int:
        """Bytes of temporaries while it is decoded, beside the pixels that are kept."""
        return (DECODING - 1) * self.kept

    def token(self) -> str:
        """Name, size and time of the file."""
        return files_token([self.path], self.channel)

    def describe(self) -> dict[str, str]:
        """What it is."""
        chosen = {"channel": str(self.channel)} if self.channel is not None else {}
        return {"path": self.path, "format": f"{os.path.splitext(self.path)[1][1:].upper()} image", **chosen}


def decode_plane(path: str) -> NDArray[Any]:
    """All pixels of an image file, as y, x or y, x, channel.

    Raises
    ------
    CorruptChunkError
        When the file cannot be decoded.
    InputError
        When it is no image, or holds several pages.
    """
    errors = []
    if path.lower().endswith(TIFF_ENDINGS):
        try:
            with tifffile.TiffFile(path) as file:
                if len(file.pages) == 1:
                    check_chain(file, path)
                    page = file.pages[0]
                    array: NDArray[Any] = page.asarray()
                    if array.ndim == 3 and page.axes.startswith("S"):
                        array = np.moveaxis(array, 0, -1)
                    count(read=os.path.getsize(path))
                    return array
                raise InputError(f"{path} holds {len(file.pages)} pages: expected one")
        except BigsegError:
            raise
        except Exception as error:  # codecs raise errors of their own; Pillow may know better
            refuse_unreadable(path, error)
            errors.append(str(error))
    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) != 1:
                raise InputError(f"{path} holds {image.n_frames} pages: expected one")
            if image.mode == "P":
                image = image.convert("RGBA" if "transparency" in image.info else "RGB")
            array = np.asarray(image)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except Exception as error:
        refuse_unreadable(path, error)
        errors.append(str(error))
        raise CorruptChunkError(
            f"{path} cannot be decoded ({'; '.join(errors)}): expected an image; copy it again from the original"
        ) from error
    count(read=os.path.getsize(path))
    return array


def check_chain(file: Any, path: str) -> None:
    """Each page tells where the next one lies, the last tells 0; one that was cut points behind its end."""
    form, handle = file.tiff, file.filehandle
    handle.seek(file.pages[-1].offset)
    (tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
    handle.seek(tags * form.tagsize, os.SEEK_CUR)
    (behind,) = struct.unpack(form.offsetformat, handle.read(form.offsetsize))
    if behind:
        raise CorruptChunkError(
            f"{path} ends after {len(file.pages)} pages, but names a further one: it was cut; copy it again "
            "from the original"
        )


def plane_bytes(spec: Spec) -> int:
    """Of the decoded pixels of one plane."""
    return prod(spec.shape[-2:]) * spec.dtype.itemsize


_planes: OrderedDict[tuple[str, int, int], NDArray[Any]] = OrderedDict()
_planes_lock = threading.Lock()


def _decoded(path: str, size: int, mtime: int) -> NDArray[Any]:
    """The blocks of one image follow each other: decode it once for all of them."""
    key = path, size, mtime
    with _planes_lock:
        if key not in _planes:
            _shrink()
            _planes[key] = decode_plane(path)
        _planes.move_to_end(key)
        return _planes[key]


def _shrink() -> None:
    """Give up the oldest images, before another one is decoded."""
    while sum(plane.nbytes for plane in _planes.values()) > KEPT:
        _planes.popitem(last=False)


def _calibration(path: str) -> Calibration:
    if path.lower().endswith(TIFF_ENDINGS):
        try:
            with tifffile.TiffFile(path) as file:
                return calibration(file)
        except Exception:  # a file that only Pillow decodes: its pixels count, its tags do not
            return Calibration()
    return Calibration()


def _channel_index(channel: Channel, pixels: NDArray[Any], path: str) -> int | None:
    if channel is None or pixels.ndim == 2:
        return None
    wanted = _NAMES.get(str(channel).lower(), channel)
    if isinstance(wanted, (list, tuple)) and len(wanted) == 1:
        wanted = wanted[0]
    try:
        index = int(wanted)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        index = -1
    if not 0 <= index < pixels.shape[2]:
        raise ParameterError(f"channel={channel!r}: {path} has channels 0 to {pixels.shape[2] - 1}")
    return index


def _one_channel(pixels: NDArray[Any], index: int | None, path: str) -> NDArray[Any]:
    if pixels.ndim == 2:
        return pixels
    if index is not None:
        return pixels[..., index]
    colours = pixels.shape[2]
    if colours in (2, 4) and (pixels[..., -1] == pixels[0, 0, -1]).all():
        pixels = pixels[..., :-1]
    if pixels.shape[2] == 1:
        return pixels[..., 0]
    grey = pixels.shape[2] == 3 and (pixels == pixels[..., :1]).all()
    advice = (
        "all three are equal, so channel=0 (--channel 0) loses nothing"
        if grey
        else "choose one with channel=0 (--channel 0)"
    )
    raise InputError(f"{path} has {colours} channels per pixel: expected grey values; {advice}")
