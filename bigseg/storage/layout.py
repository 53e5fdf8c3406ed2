"""What the metadata files of Zarr say: the nodes of a store and how an array is cut into files.

Only JSON is read here, no voxel. Zarr v3 has one ``zarr.json`` a node; v2 has ``.zarray`` or ``.zgroup``, and
``.zattrs`` beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bigseg.errors import InputError, StorageError
from bigseg.grid import Shape

Format = Literal["zarr2", "zarr3"]
MOST_VOXELS = 1 << 62
"""Of a volume: an index of each fits into 64 bits, with room to count."""
METADATA = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}
_DTYPES = {
    "bool",
    *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
}
_CODECS = {
    "zarr2": {"blosc", "bz2", "zlib", "gzip", "zstd"},
    "zarr3": {"blosc", "bytes", "crc32c", "gzip", "sharding_indexed", "transpose", "zstd"},
}


@dataclass(frozen=True)
class Layout:
    """How a stored array is cut into chunks and files; shapes have all stored axes, leading ones too."""

    format: Format
    shape: Shape
    dtype: np.dtype[Any]
    chunk: Shape
    """Smallest part that is read alone."""
    shard: Shape
    """One file; equal to the chunk where there are no shards."""
    keys: str
    """What stands before the numbers of a chunk's key, then the separator: ``c/``, ``c.``, ``/`` or ``.``."""
    dimensions: tuple[str, ...]
    """Names of the axes, where the file gives them to all; else empty."""
    index: Literal["start", "end"] | None
    """Where a shard keeps the index of its chunks, if in the usual form (offsets, lengths, CRC-32C)."""

    @property
    def counts(self) -> Shape:
        """Files along each axis."""
        return tuple(-(-n // s) for n, s in zip(self.shape, self.shard, strict=True))

    def key(self, position: Shape) -> str:
        """Path of a file below the array's folder.

        >>> Layout("zarr3", (9, 9), np.dtype("u1"), (4, 4), (4, 4), "c/", (), None).key((1, 2))
        'c/1/2'
        """
        head, separator = self.keys[:-1], self.keys[-1]
        return separator.join([*filter(None, [head]), *map(str, position)])


@dataclass(frozen=True)
class Node:
    """A group or an array of a store."""

    folder: Path
    format: Format
    attributes: dict[str, Any]
    document: dict[str, Any]
    """The array's own metadata without attributes; empty for a group."""

    @property
    def is_array(self) -> bool:
        """Whether it holds voxels."""
        return bool(self.document)

    @property
    def status(self) -> str | None:
        """``incomplete`` or ``complete`` where bigseg made the node."""
        ours = self.attributes.get("bigseg")
        return str(ours.get("status")) if isinstance(ours, dict) and "status" in ours else None

    def layout(self) -> Layout:
        """How the array is stored.

        Raises
        ------
        InputError
            When its dtype, its grid or one of its codecs cannot be read.
        """
        try:
            return _layout3(self.document) if self.format == "zarr3" else _layout2(self.document)
        except InputError as error:
            raise InputError(f"{self.folder}: {error}") from None
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"{self.folder}: its metadata is not that of a Zarr array ({type(error).__name__}: "
                f"{error}); write the array again with a current Zarr library"
            ) from error


def read_node(folder: Path) -> Node | None:
    """The group or array in a folder, or None where the folder is neither.

    Raises
    ------
    InputError
        When a metadata file is there but is not what it should be.
    StorageError
        When it cannot be read.
    """
    document = _read_json(folder / "zarr.json")
    if document is not None:
        attributes = document.pop("attributes", None) or {}
        if document.get("node_type") not in ("array", "group") or not isinstance(attributes, dict):
            raise InputError(f"{folder / 'zarr.json'}: expected node_type array or group, and attributes as an object")
        return Node(folder, "zarr3", attributes, document if document["node_type"] == "array" else {})
    array = _read_json(folder / ".zarray")
    if array is None and _read_json(folder / ".zgroup") is None:
        return None
    return Node(folder, "zarr2", _read_json(folder / ".zattrs") or {}, array or {})


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise InputError(f"{path} is damaged: expected JSON ({error}); restore it from a copy") from error
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


def _layout3(document: dict[str, Any]) -> Layout:
    if document["chunk_grid"]["name"] != "regular":
        raise InputError(f"its chunk grid is {document['chunk_grid']['name']!r}: expected a regular one")
    shard = _shape(document["chunk_grid"]["configuration"]["chunk_shape"])
    codecs = document["codecs"]
    chunk, index = shard, None
    _readable(codecs, "zarr3")
    if len(codecs) == 1 and codecs[0]["name"] == "sharding_indexed":
        options = codecs[0]["configuration"]
        chunk = _shape(options["chunk_shape"])
        _readable(options["codecs"], "zarr3")
        if [codec["name"] for codec in options.get("index_codecs", [])] == ["bytes", "crc32c"]:
            index = options.get("index_location", "end")
    encoding = document.get("chunk_key_encoding", {"name": "default"})
    default = encoding["name"] == "default"
    separator = encoding.get("configuration", {}).get("separator", "/" if default else ".")
    name = document["data_type"]
    if not isinstance(name, str) or name not in _DTYPES:
        raise _unusable(name if isinstance(name, str) else name.get("name", name))
    names = document.get("dimension_names") or ()
    return Layout(
        "zarr3",
        _shape(document["shape"], 0),
        np.dtype(name),
        chunk,
        shard,
        ("c" if default else "") + separator,
        tuple(names) if all(isinstance(n, str) and n for n in names) else (),
        index,
    )


def _layout2(document: dict[str, Any]) -> Layout:
    compressor = document.get("compressor")
    _readable([{"name": compressor["id"]}] if compressor else [], "zarr2")
    if document.get("filters"):
        raise InputError(f"its filters {[f['id'] for f in document['filters']]} cannot be read: write it without")
    if not isinstance(document["dtype"], str):
        raise _unusable("a record")
    dtype = np.dtype(document["dtype"])
    if dtype.newbyteorder("=").name not in _DTYPES:
        raise _unusable(dtype)
    chunk = _shape(document["chunks"])
    separator = document.get("dimension_separator", ".")
    return Layout("zarr2", _shape(document["shape"], 0), dtype.newbyteorder("="), chunk, chunk, separator, (), None)


def _readable(codecs: list[dict[str, Any]], form: Format) -> None:
    unknown = [codec["name"] for codec in codecs if codec["name"] not in _CODECS[form]]
    if unknown:
        raise InputError(
            f"it is compressed with {', '.join(map(repr, unknown))}, which cannot be read here: write it "
            f"again with one of {', '.join(sorted(_CODECS[form]))}"
        )


def _shape(items: list[int], least: int = 1) -> Shape:
    found = tuple(int(n) for n in items)
    if any(n < least for n in found) or prod(found) > MOST_VOXELS:
        raise InputError(f"its shape or chunks are {found}: expected sizes of 1 or more, and 2^62 voxels at most")
    return found


def _unusable(dtype: object) -> InputError:
    return InputError(
        f"voxels of dtype {dtype} cannot be segmented: expected bool, integers or floats of 16 to 64 bits"
    )
