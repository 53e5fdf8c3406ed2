"""A digest of a decoded block, to compare two computations; the CRC-32 of a file, to find damage.

The digest is XXH64, the published 64-bit hash of Yann Collet (https://xxhash.com), of the voxels in C order
as little-endian bytes, seeded with the XXH64 of dtype and shape.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from imagecodecs import zlibng_crc32
from numba import njit
from numpy.typing import NDArray

from bigseg.errors import ParameterError, StorageError

_PIECE = 2 << 20  # bytes read at once: larger ones only leave the cache

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)


def digest(x: NDArray[Any]) -> str:
    """Digest of an array's dtype, shape and voxels, as 16 hexadecimal digits.

    Parameters
    ----------
    x : array of any boolean, integer, real or complex dtype, any shape and memory layout. A layout other than
        C order and little-endian is copied first.

    Returns
    -------
    digest : equal for equal arrays on every machine. It tells bits apart, so -0.0 differs from 0.0. Two
        arrays that differ share a digest once in 1.8e19 by chance; it is no protection against intent.

    Raises
    ------
    ParameterError : a dtype of objects, text, records or long doubles.

    Notes
    -----
    10 GB/s on one core, without the GIL: 3 x zlib's CRC-32. Faster CRCs exist but give 32 bits.

    Examples
    --------
    >>> digest(np.arange(6, dtype=np.uint16))
    '77c3ecb106b6bcba'
    """
    if x.dtype.kind not in "biufc" or x.dtype.char in "gG":  # long doubles hold bytes that mean nothing
        raise ParameterError(f"a digest needs booleans or numbers; got dtype {x.dtype}: convert the array first")
    dtype = x.dtype.newbyteorder("<")
    flat = np.ascontiguousarray(x, dtype).reshape(-1)
    header = f"{dtype.str} {x.shape}".encode()
    return f"{_hash(flat.view(np.uint8), xxh64(header)):016x}"


def xxh64(data: bytes, seed: int = 0) -> int:
    """XXH64 of some bytes.

    >>> hex(xxh64(b"abc"))
    '0x44bc2cf5ad770999'
    """
    return _hash(np.frombuffer(data, np.uint8), seed)


def crc32_file(path: str | PathLike[str]) -> tuple[int, int]:
    """Length in bytes and CRC-32 (that of zlib) of a file, read in pieces of 2 MiB.

    Parameters
    ----------
    path : the file

    Returns
    -------
    length, crc : what was read, not what the folder says of the file

    Raises
    ------
    StorageError : the file cannot be read; the OSError stands behind it as its cause.

    Examples
    --------
    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile() as file:
    ...     _ = file.write(b"123456789")
    ...     file.flush()
    ...     length, crc = crc32_file(file.name)
    >>> length, hex(crc)
    (9, '0xcbf43926')
    """
    length = crc = 0
    piece = bytearray(_PIECE)
    view = memoryview(piece)
    try:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(piece):
                crc = zlibng_crc32(view[:count], crc)  # type: ignore[arg-type]
                length += count
    except OSError as error:
        raise StorageError(
            f"{path} could not be read after {length} bytes: {error.strerror or error}. "
            "Check that the file is there, its permissions and the disk"
        ) from error
    return length, crc


def _hash(data: NDArray[np.uint8], seed: int) -> int:
    # Words must start on a multiple of 8 bytes for the vector loads of the kernel.
    if data.ctypes.data % 8:
        data = data.copy()
    words = data[: data.size // 8 * 8].view("<u8")
    return int(_xxh64(words, data[words.size * 8 :], np.uint64(seed)))


@njit(nogil=True, cache=True)
def _rotate(x, bits):  # type: ignore[no-untyped-def]
    # bits as np.uint64: of integers as they are written Numba compiles a function for each
    return (x << bits) | (x >> (np.uint64(64) - bits))


@njit(nogil=True, cache=True)
def _round(lane, word):  # type: ignore[no-untyped-def]
    return _rotate(lane + word * _P2, np.uint64(31)) * _P1


@njit(nogil=True, cache=True)
def _xxh64(words, rest, seed):  # type: ignore[no-untyped-def]
    whole = words.size // 4 * 4
    if whole:
        a, b, c, d = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
        for i in range(0, whole, 4):
            a = _round(a, words[i])
            b = _round(b, words[i + 1])
            c = _round(c, words[i + 2])
            d = _round(d, words[i + 3])
        h = _rotate(a, np.uint64(1)) + _rotate(b, np.uint64(7)) + _rotate(c, np.uint64(12)) + _rotate(d, np.uint64(18))
        for lane in (a, b, c, d):
            h = (h ^ _round(np.uint64(0), lane)) * _P1 + _P4
    else:
        h = seed + _P5
    h += np.uint64(words.size * 8 + rest.size)
    for i in range(whole, words.size):
        h = _rotate(h ^ _round(np.uint64(0), words[i]), np.uint64(27)) * _P1 + _P4
    start = 0
    if rest.size >= 4:
        word = np.uint64(0)
        for i in range(4):
            word |= np.uint64(rest[i]) << np.uint64(8 * i)
        h = _rotate(h ^ (word * _P1), np.uint64(23)) * _P2 + _P3
        start = 4
    for i in range(start, rest.size):
        h = _rotate(h ^ (np.uint64(rest[i]) * _P5), np.uint64(11)) * _P1
    h = (h ^ (h >> np.uint64(33))) * _P2
    h = (h ^ (h >> np.uint64(29))) * _P3
    return h ^ (h >> np.uint64(32))
