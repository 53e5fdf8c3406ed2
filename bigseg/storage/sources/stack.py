"""A folder or a pattern of image files, one slice a file, in their natural order.

A missing slice would shift everything behind it, so the numbers in the names must follow each other without
a gap, and every file must have the same shape and dtype.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from bigseg.errors import CorruptChunkError, InputError, ParameterError
from bigseg.grid import Box, Shape
from bigseg.storage.axes import Channel
from bigseg.storage.sources.plane import DECODING, PLANE_ENDINGS, TIFF_ENDINGS, decode_plane, plane_bytes
from bigseg.storage.sources.source import check_box, files_token, refuse_unreadable, spec_of, stem
from bigseg.storage.sources.tags import calibration
from bigseg.storage.spec import Spec

_ENDINGS = (*TIFF_ENDINGS, *PLANE_ENDINGS)
_SHOWN = 5


@dataclass(frozen=True)
class ImageStack:
    """Slices in files, as z, y, x.

    Parameters
    ----------
    folder, names : the files in order.
    spec : of the volume.
    """

    folder: str
    names: tuple[str, ...]
    spec: Spec
    name: str
    note: str = ""

    @classmethod
    def open(cls, path: str, channel: Channel = None) -> ImageStack:
        """List the files of a folder or a pattern (``scan/slice_*.tif``) and look at each one's header.

        Raises
        ------
        InputError
            When there are none, numbers are missing between them, or one has another shape or dtype.
        """
        if channel is not None:
            raise ParameterError(f"channel={channel!r}: {path} is a stack of grey slices without channels")
        files = slice_files(path)
        names = natural_order([os.path.basename(file) for file in files])
        folder = os.path.dirname(files[0])
        shapes = [_header(os.path.join(folder, name)) for name in names]
        usual, _ = Counter(shapes).most_common(1)[0]
        odd = [
            f"{name}: {shape} {dtype}"
            for name, (shape, dtype) in zip(names, shapes, strict=True)
            if (shape, dtype) != usual
        ]
        if odd:
            raise InputError(
                f"{len(odd)} of {len(names)} slices in {folder} differ from the others ({usual[0]} "
                f"{usual[1]}): {', '.join(odd[:_SHOWN])}; take them out, or bring them to one shape and "
                "dtype"
            )
        dtype = np.dtype(usual[1])
        spacing, unit, note = (1.0, 1.0, 1.0), "", ""
        if names[0].lower().endswith(TIFF_ENDINGS):
            with tifffile.TiffFile(os.path.join(folder, names[0])) as file:
                spacing, unit, note = calibration(file)
        spec = spec_of(folder, (len(names), *usual[0]), dtype, ("z", "y", "x"), spacing, unit)
        return cls(folder, tuple(names), spec, os.path.basename(folder) or stem(names[0]), note)

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box: the slices of the box are decoded whole and cropped.

        Raises
        ------
        CorruptChunkError
            When a slice cannot be decoded, or is no longer what it was.
        """
        check_box(box, self.spec, self.folder)
        result = np.empty(box.shape, self.spec.dtype)
        for z in range(box.start[0], box.stop[0]):
            path = os.path.join(self.folder, self.names[z])
            plane = decode_plane(path)
            if plane.shape != self.spec.shape[1:] or plane.dtype.newbyteorder("=") != self.spec.dtype:
                raise CorruptChunkError(
                    f"{path} is {plane.shape} {plane.dtype}: expected {self.spec.shape[1:]} "
                    f"{self.spec.dtype} as when the stack was opened"
                )
            result[z - box.start[0]] = plane[box.slices[1:]]
        return result

    def memory(self, inner: Shape) -> int:
        """Bytes of temporaries while one slice is decoded."""
        return DECODING * plane_bytes(self.spec)

    def token(self) -> str:
        """Names, sizes and times of all files."""
        return files_token(os.path.join(self.folder, name) for name in self.names)

    def describe(self) -> dict[str, str]:
        """What it is."""
        first, last = self.names[0], self.names[-1]
        note = {"note": self.note} if self.note else {}
        return {"path": self.folder, "format": f"{len(self.names)} slices, {first} to {last}", **note}


def slice_files(path: str) -> list[str]:
    """The image files of a folder or a pattern, of one kind.

    Raises
    ------
    InputError
        When there are none, or several kinds.
    """
    if os.path.isdir(path):
        found = [os.path.join(path, name) for name in os.listdir(path) if not name.startswith(".")]
    else:
        found = glob.glob(path)
    files = [file for file in found if file.lower().endswith(_ENDINGS) and os.path.isfile(file)]
    if not files:
        raise InputError(f"{path} holds no image files: expected slices ending in {', '.join(_ENDINGS)}")
    endings = Counter(os.path.splitext(file)[1] for file in files)
    if len(endings) > 1:
        kinds = ", ".join(f"{n} {ending}" for ending, n in endings.most_common())
        raise InputError(
            f"{path} holds several kinds of image files ({kinds}): choose with a pattern like '{path}/*.tif'"
        )
    if len({os.path.dirname(file) for file in files}) > 1:
        raise InputError(f"{path} matches files in several folders: expected the slices of one")
    return files


def natural_order(names: list[str]) -> list[str]:
    """File names in the order of the number that counts them.

    Raises
    ------
    InputError
        When the names are not the same but for one number, or numbers are missing or double.

    >>> natural_order(["s10.tif", "s9.tif", "s8.tif"])
    ['s8.tif', 's9.tif', 's10.tif']
    """
    split = {name: re.split(r"(\d+)", name) for name in names}
    words = Counter(tuple(parts[0::2]) for parts in split.values())
    usual, _ = words.most_common(1)[0]
    odd = sorted(name for name, parts in split.items() if tuple(parts[0::2]) != usual)
    if odd:
        raise InputError(
            f"{len(odd)} of {len(names)} names differ from the others by more than a number: {_some(odd)}; "
            f"expected names like {min(set(names) - set(odd))}; choose the slices with a pattern"
        )
    numbers = {name: tuple(map(int, parts[1::2])) for name, parts in split.items()}
    columns = list(zip(*numbers.values(), strict=True))
    counting = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    if len(names) > 1 and len(counting) != 1:
        what = "no number" if not counting else f"{len(counting)} numbers"
        raise InputError(
            f"{what} in the names tell the slices apart ({_some(sorted(names))}): expected one that counts them"
        )
    place = counting[0] if counting else 0
    ordered = sorted(names, key=lambda name: numbers[name][place : place + 1])
    for before, after in pairwise(ordered):
        step = numbers[after][place] - numbers[before][place]
        if step != 1:
            fault = "have the same number" if step == 0 else f"leave {step - 1} out between them"
            raise InputError(
                f"{before} and {after} {fault}: expected numbers without gaps; bring back the missing "
                "files, or number the slices anew if the gap is meant"
            )
    return ordered


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


def _header(path: str) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of a slice without decoding it."""
    state = os.stat(path)
    return _header_of(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1 << 16)
def _header_of(path: str, size: int, mtime: int) -> tuple[tuple[int, ...], str]:
    if not size:
        raise CorruptChunkError(f"{path} has 0 bytes: it was lost while it was written or copied; copy it again")
    try:
        if path.lower().endswith(TIFF_ENDINGS):
            with tifffile.TiffFile(path) as file:
                if len(file.pages) > 1:
                    raise InputError(f"{path} holds {len(file.pages)} pages: expected one slice a file")
                page = file.pages.first
                shape, dtype = page.shape, page.dtype.newbyteorder("=").name
        else:
            with Image.open(path) as image:
                array = np.asarray(image) if image.mode not in ("L", "I;16", "1") else None
                shape = array.shape if array is not None else (image.height, image.width)
                dtype = (
                    array.dtype.name if array is not None else {"L": "uint8", "I;16": "uint16", "1": "bool"}[image.mode]
                )
    except InputError:
        raise
    except Exception as error:
        refuse_unreadable(path, error)
        raise CorruptChunkError(
            f"{path} cannot be read as an image ({error}): copy it again from the original"
        ) from error
    if len(shape) != 2:
        raise InputError(f"{path} has shape {shape}: expected slices of grey values, one channel")
    return tuple(map(int, shape)), dtype
