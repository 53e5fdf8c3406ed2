"""Partial results between two passes: named arrays in one durable, checked file a block.

File layout, all little-endian::

    magic "BSGP" | u32 header length | u32 crc of the header | header (JSON) | compressed arrays …

Arrays are compressed by zstd where that makes them shorter. The header lists name, dtype, shape, offset, length and crc
of each array, so that one array is read without the others (joining reads only the face planes, merging only the
columns).
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import zstd

from bigseg.errors import CorruptChunkError, StorageError
from bigseg.storage.durable import is_fleeting, write_file

MAGIC = b"BSGP"
HEAD = struct.Struct("<4sII")
LIST = ".files"
"""Ending of a file that lists what one unit wrote, where that is too much for a line of the journal."""
SMALL = 512
"""Bytes below which an array is stored as it is: compressing costs 15 us, whatever the length."""
LARGE = 1 << 20
"""The same for files that need not last: time counts, until they fill a disk that may be memory."""
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Scratch:
    """The partial results of one run, below one folder; small enough to travel with every task."""

    root: str

    def path(self, stage: str, number: int) -> Path:
        """Where the partial result of a unit lies: at most 4,096 files a folder."""
        return Path(self.root).parent / self.name(stage, number)

    def name(self, stage: str, number: int) -> str:
        """The same, relative to the run's folder."""
        return f"{Path(self.root).name}/{stage}/{number >> 12:05d}/{number & 4095:04d}.part"

    def write(self, stage: str, number: int, arrays: Mapping[str, np.ndarray]) -> tuple[int, int]:
        """Store arrays durably; gives back the file's length and crc32 for the journal."""
        header, body, offset = [], [], 0
        for name, array in arrays.items():
            packed = _pack(array)
            header.append([name, array.dtype.str, list(array.shape), offset, len(packed), zlib.crc32(packed)])
            body.append(packed)
            offset += len(packed)
        head = json.dumps(header).encode()
        data = b"".join([HEAD.pack(MAGIC, len(head), zlib.crc32(head)), head, *body])
        write_file(self.path(stage, number), data)
        return len(data), zlib.crc32(data)

    def list_name(self, stage: str, number: int) -> str:
        """Name of a unit's list of files, relative to the run's folder."""
        return f"{Path(self.root).name}/{stage}/{number >> 12:05d}/{number & 4095:04d}{LIST}"

    def write_list(self, stage: str, number: int, files: Sequence[tuple[str, int, int]]) -> tuple[int, int]:
        """Store the names, lengths and crcs of many files that one unit wrote."""
        data = json.dumps(files, separators=(",", ":")).encode()
        write_file(Path(self.root).parent / self.list_name(stage, number), data)
        return len(data), zlib.crc32(data)

    def open(self, stage: str, number: int) -> Part:
        """A unit's partial result, its header read; raises as `read`."""
        path = self.path(stage, number)
        with _explained(path, stage, number), path.open("rb") as file:
            magic, length, crc = HEAD.unpack(file.read(HEAD.size))
            head = file.read(length)
            if magic != MAGIC or zlib.crc32(head) != crc:
                raise ValueError("its header is damaged")
            start = HEAD.size + length
            index = {
                name: (dtype, tuple(shape), start + offset, size, check)
                for name, dtype, shape, offset, size, check in json.loads(head)
            }
        return Part(path, stage, number, index)

    def read(self, stage: str, number: int, names: Collection[str] | None = None) -> Arrays:
        """The arrays of a unit's partial result, or those of the named that there are.

        Raises
        ------
        CorruptChunkError
            When the file is absent, cut or fails its checksum.
        """
        return self.open(stage, number).read(names)


@dataclass(frozen=True)
class Part:
    """A partial result whose header was read: its arrays can be read one by one without reading that again."""

    path: Path
    stage: str
    number: int
    index: Mapping[str, tuple[str, tuple[int, ...], int, int, int]]

    def read(self, names: Collection[str] | None = None) -> Arrays:
        """All arrays, or those of the named that there are; raises as `Scratch.read`."""
        wanted = self.index if names is None else [name for name in names if name in self.index]
        arrays = {}
        with _explained(self.path, self.stage, self.number), self.path.open("rb") as file:
            for name in wanted:
                dtype, shape, start, size, check = self.index[name]
                file.seek(start)
                packed = file.read(size)
                if zlib.crc32(packed) != check:
                    raise ValueError(f"array {name!r} fails its checksum")
                arrays[name] = _unpack(packed, dtype, shape)
        return arrays


@contextmanager
def _explained(path: Path, stage: str, number: int) -> Iterator[None]:
    """What goes wrong with a file, in the user's words."""
    try:
        yield
    except FileNotFoundError:
        raise CorruptChunkError(
            f"partial result {path} is missing: expected what stage {stage} wrote for unit {number}; "
            "run the same command again, or bigseg verify --repair where the run is finished: it computes what is gone"
        ) from None
    except (ValueError, struct.error) as error:
        raise CorruptChunkError(
            f"partial result {path} is damaged ({error}); delete it and run the same command again, or "
            "bigseg verify --repair where the run is finished"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error


def _pack(array: np.ndarray[Any, Any]) -> bytes:
    """Compressed; as it is where that is no shorter: what has the array's own length is not compressed."""
    array = np.ascontiguousarray(array)
    if array.nbytes < (LARGE if is_fleeting() else SMALL):
        return array.tobytes()
    packed: bytes = zstd.compress(array, 1)
    return packed if len(packed) < array.nbytes else array.tobytes()


def _unpack(packed: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    if len(packed) != prod(shape) * np.dtype(dtype).itemsize:
        packed = zstd.decompress(packed)
    return np.frombuffer(packed, dtype).reshape(shape)
