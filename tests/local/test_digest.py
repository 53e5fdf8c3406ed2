"""Digests against published values, checksums of files against zlib."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bigseg.errors import ParameterError, StorageError
from bigseg.local.digest import crc32_file, digest, xxh64


@pytest.mark.parametrize(
    ("data", "seed", "value"),
    [
        (b"", 0, 0xEF46DB3751D8E999),
        (b"a", 0, 0xD24EC4F1A98C6E5B),
        (b"abc", 0, 0x44BC2CF5AD770999),
        (bytes(range(3)), 1, 0xA2168D89C582B451),
        (bytes(range(4)), 0, 0xFFCED8604453CC1E),
        (bytes(range(7)), 9, 0x3490BF38B48BDF96),
        (bytes(range(8)), 0, 0x884A173614B81B8D),
        (bytes(range(12)), 0xFFFFFFFFFFFFFFFF, 0x51FC0CE6A4DB3652),
        (bytes(range(15)), 3, 0xEB43527AD424A0CE),
        (bytes(range(31)), 0, 0xC346D2B59B4D8EE1),
        (bytes(range(32)), 0, 0xCBF59C5116FF32B4),
        (bytes(range(33)), 0x9E3779B1, 0x57BD8AD0A0390E6D),
        (bytes(range(63)), 0, 0xE26AA9E2A95F8E4F),
        (bytes(range(64)), 5, 0x5E4004B275A9B649),
        (bytes(range(71)), 0, 0x2EBFFC96EB139D60),
        (bytes(range(101)), 7, 0xE878E9791DBC64FA),
        (bytes(range(256)), 0, 0x1FACBE8406CD904B),
    ],
)
def test_hash_is_xxh64(data: bytes, seed: int, value: int) -> None:
    """The hash is XXH64: the values of the reference library, for every kind of tail and for seeds."""
    assert xxh64(data, seed) == value


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "uint32", "uint64", "float32", "float64"])
def test_any_changed_voxel_changes_the_digest(dtype: str) -> None:
    """One changed voxel, wherever it lies, gives another digest."""
    x = np.zeros((3, 5, 7), dtype)
    seen = {digest(x)}
    for place in np.ndindex(x.shape):
        x[place] = 1
        seen.add(digest(x))
        x[place] = 0
    assert len(seen) == x.size + 1


def test_shape_and_dtype_belong_to_the_digest() -> None:
    """The same bytes under another shape or dtype have another digest."""
    x = np.zeros((4, 6), np.uint16)
    others: list[NDArray[Any]] = [
        x,
        x.T,
        x.reshape(2, 12),
        x.ravel(),
        x[None],
        x.view(np.int16),
        x.view(np.uint8),
        x.view(np.float16),
    ]
    assert len({digest(other) for other in others}) == len(others)
    assert len({digest(np.empty(shape, np.uint8)) for shape in [(0,), (0, 1), (1, 0)]}) == 3


def test_memory_layout_does_not_matter() -> None:
    """Equal arrays have equal digests in any memory order, byte order, alignment, or read-only."""
    x = np.random.default_rng(0).integers(0, 2**16, (5, 6, 7)).astype(np.uint16)
    locked = x.copy()
    locked.flags.writeable = False
    shifted = np.frombuffer(b"?" + x.tobytes(), np.uint8)[1:].view(np.uint16).reshape(x.shape)
    within = np.zeros((9, 9, 9), np.uint16)
    within[1:6, 2:8, 1:8] = x
    for same in (np.asfortranarray(x), x.astype(">u2"), locked, shifted, within[1:6, 2:8, 1:8]):
        assert digest(same) == digest(x)
    assert re.fullmatch("[0-9a-f]{16}", digest(x))


def test_bits_are_told_apart_and_numpy_scalars_taken() -> None:
    """-0.0 is not 0.0, and an array without axes has a digest too."""
    assert digest(np.array([0.0])) != digest(np.array([-0.0]))
    assert digest(np.array(3.0)) == digest(np.array(3.0)) != digest(np.array([3.0]))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 199), st.integers(1, 255))
def test_no_flipped_byte_goes_unseen(data: bytes, place: int, flip: int) -> None:
    """A change of one byte changes the hash."""
    if place < len(data):
        other = bytearray(data)
        other[place] ^= flip
        assert xxh64(bytes(other)) != xxh64(data)


def test_objects_have_no_digest() -> None:
    """Objects, text and long doubles, whose padding is random, are refused."""
    with pytest.raises(ParameterError, match="booleans or numbers"):
        digest(np.zeros(3, np.longdouble))
    with pytest.raises(ParameterError, match="booleans or numbers"):
        digest(np.array(["a"], object))


@pytest.mark.parametrize("size", [0, 1, 2 << 20, (4 << 20) + 3])
def test_file_checksum_is_that_of_zlib(size: int, tmp_path: Path) -> None:
    """Length and CRC-32 are those of the bytes, for empty files and files of several pieces."""
    data = np.random.default_rng(size).bytes(size)
    file = tmp_path / "shard"
    file.write_bytes(data)
    assert crc32_file(file) == (size, zlib.crc32(data))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    """A file that cannot be read is a storage error that names it."""
    with pytest.raises(StorageError, match="nowhere could not be read"):
        crc32_file(tmp_path / "nowhere")
