"""The test volume: blobs plus noise, uint16, made block by block from coordinates and a seed.

The volume is endless; a volume of size n is its corner ``[0, n)^3``, so a smaller one is a crop of a
larger. One blob sits in each cell of 24 voxels, at a hashed place; a voxel is as bright as it is nearer to
its own blob's centre than to the next blob's (squares of distances), plus a hash of its coordinates as
noise. At 40 % of the voxels the blobs are still apart: thousands of objects at 512^3, and specks of noise
between them. (A smooth random field would join nearly all of its 40 % into one object.) All in integers, so
every voxel is the same wherever a block begins. (Compiled anew in each process: Numba's cache would
remember this module under the name that pytest or ``python -m`` gave it, and fail under the other.)

``prepare`` writes three things to a cache folder, and does nothing when they are there:

1. ``volume-<n>.zarr``: Zarr v3, chunks 128^3, zstd level 1 with checksum;
2. ``mask-<n>.zarr``: the weak mask (uint8, 0/1), stored likewise: what the label jobs read;
3. ``volume-<n>.json``: the thresholds that leave 40 % and 20 % of the voxels above them, exactly.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numba as nb
import numpy as np
import tensorstore as ts

CHUNK = 128
CELL = 24  # voxels between blobs
MARGIN = 4  # a centre keeps this far from the sides of its cell
SEED = 20240229
WEAK, STRONG = 0.40, 0.20  # share of voxels above the two thresholds
VERSION = 3  # raise it when the definition below changes: cached volumes are then made anew

BACKGROUND = 6000  # grey value on the border between two blobs
GAIN = 30  # grey values for one voxel^2 nearer to the own blob
NOISE = 500  # standard deviation of the noise, grey values


@dataclass(frozen=True)
class TestVolume:
    """Where one prepared volume lies, and its two thresholds (voxels are strictly above them)."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    path: str
    mask: str
    size: int
    low: int
    high: int
    weak_fraction: float
    strong_fraction: float
    version: int = VERSION


@nb.njit(nogil=True)
def _hash(seed: int, z: int, y: int, x: int) -> np.uint64:
    """64 mixed bits of one coordinate triple (the finaliser of splitmix64), each coordinate below 2^21."""
    h = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
    h += (np.uint64(z) << np.uint64(42)) | (np.uint64(y) << np.uint64(21)) | np.uint64(x)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@nb.njit(nogil=True)
def _centre(cell: int, bits: np.uint64) -> np.int64:
    """Where on one axis the blob of a cell lies: its 16 hash bits spread over the cell less its margins."""
    room = CELL - 2 * MARGIN
    return cell * CELL + MARGIN + ((np.int64(bits & np.uint64(0xFFFF)) * room) >> 16)


@nb.njit(nogil=True)
def _fill(out: np.ndarray, z0: int, y0: int, x0: int) -> None:
    """Fill ``out`` (uint16) with the voxels from (z0, y0, x0) on, row by row and cell by cell along x."""
    depth, height, width = out.shape
    nearest = np.empty(CELL, np.int32)  # squared distance to the nearest centre, one cell's part of a row
    second = np.empty(CELL, np.int32)
    low16 = np.uint64(0xFFFF)
    gain = np.int32(GAIN)
    # four uniform 16-bit numbers added have standard deviation 37837; NOISE / 37837 in units of 2^-16
    grain = np.int32(NOISE * 65536 // 37837)
    for k in range(depth):
        z = z0 + k
        for j in range(height):
            y = y0 + j
            i = 0
            while i < width:
                cell = (x0 + i) // CELL
                length = min((cell + 1) * CELL - (x0 + i), width - i)
                nearest[:] = 1 << 30
                second[:] = 1 << 30
                for dz in range(-1, 2):
                    for dy in range(-1, 2):
                        for dx in range(-1, 2):
                            cz, cy, cx = z // CELL + dz, y // CELL + dy, cell + dx
                            bits = _hash(SEED, cz + 1, cy + 1, cx + 1)
                            pz = _centre(cz, bits) - z
                            py = _centre(cy, bits >> np.uint64(16)) - y
                            px = np.int32(_centre(cx, bits >> np.uint64(32)) - (x0 + i))
                            aside = np.int32(pz * pz + py * py)
                            for n in range(CELL):
                                along = px - np.int32(n)
                                square = aside + along * along
                                second[n] = min(second[n], max(nearest[n], square))
                                nearest[n] = min(nearest[n], square)
                for n in range(length):
                    bits = _hash(SEED + 1, z, y, x0 + i + n)
                    total = np.int32(bits & low16) + np.int32((bits >> np.uint64(16)) & low16)
                    total += np.int32((bits >> np.uint64(32)) & low16) + np.int32(bits >> np.uint64(48))
                    noise = ((total - np.int32(131070)) * grain) >> np.int32(16)
                    grey = np.int32(BACKGROUND) + gain * (second[n] - nearest[n]) + noise
                    out[k, j, i + n] = np.uint16(min(max(grey, np.int32(0)), np.int32(65535)))
                i += length


def voxels(start: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """The uint16 voxels of the box of ``shape`` that begins at ``start`` (z, y, x), all coordinates >= 0."""
    out = np.empty(shape, np.uint16)
    _fill(out, *start)
    return out


def create_array(path: Path | str, shape: tuple[int, ...], dtype: str, chunk: int = CHUNK) -> ts.TensorStore:
    """Create a bare, unsharded Zarr v3 array with cubic chunks, zstd level 1 with checksum."""
    metadata = {
        "shape": shape,
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk] * len(shape)}},
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": 1, "checksum": True}},
        ],
        "fill_value": 0,
    }
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path)},
        "metadata": metadata,
        "store_data_equal_to_fill_value": True,  # an absent chunk is damage, never zeros
    }
    return ts.open(spec, create=True, delete_existing=True).result()


def open_array(path: Path | str) -> ts.TensorStore:
    """Open a Zarr v3 array for reading; a missing chunk is an error."""
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path)},
        "fill_missing_data_reads": False,
    }
    return ts.open(spec, read=True).result()


def _corners(size: int) -> list[tuple[int, int, int]]:
    steps = range(0, size, CHUNK)
    return list(itertools.product(steps, steps, steps))


def threshold_above(histogram: np.ndarray, fraction: float) -> int:
    """The value t whose share of voxels strictly above it comes nearest to ``fraction``."""
    above = 1.0 - np.cumsum(histogram) / histogram.sum()
    return int(np.argmin(np.abs(above - fraction)))


def prepare(folder: Path, size: int, threads: int = 2) -> TestVolume:
    """Make the volume and mask of ``size``^3 in ``folder``, or find them there.

    Cost: 512^3 in about 6 s on two cores, 32 MiB or so of memory a thread.
    """
    record = folder / f"volume-{size}.json"
    path, mask_path = folder / f"volume-{size}.zarr", folder / f"mask-{size}.zarr"
    if record.exists():
        known = json.loads(record.read_text())
        if known.get("version") == VERSION:
            return TestVolume(**{**known, "path": str(path), "mask": str(mask_path)})
    folder.mkdir(parents=True, exist_ok=True)
    for old in (record, path, mask_path):
        shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)

    def box(corner: tuple[int, int, int]) -> tuple[slice, ...]:
        return tuple(slice(c, min(c + CHUNK, size)) for c in corner)

    array = create_array(path, (size,) * 3, "uint16")

    def make(corner: tuple[int, int, int]) -> np.ndarray:
        block = voxels(corner, tuple(s.stop - s.start for s in box(corner)))
        array[box(corner)].write(block).result()
        return np.bincount(block.ravel(), minlength=65536)

    with ThreadPoolExecutor(threads) as pool:
        histogram = sum(pool.map(make, _corners(size)), np.zeros(65536, np.int64))
    low, high = threshold_above(histogram, WEAK), threshold_above(histogram, STRONG)

    mask = create_array(mask_path, (size,) * 3, "uint8")

    def cut(corner: tuple[int, int, int]) -> None:
        block = array[box(corner)].read().result()
        mask[box(corner)].write((block > low).astype(np.uint8)).result()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(cut, _corners(size)))

    total = float(histogram.sum())
    made = TestVolume(
        path=str(path),
        mask=str(mask_path),
        size=size,
        low=low,
        high=high,
        weak_fraction=float(histogram[low + 1 :].sum() / total),
        strong_fraction=float(histogram[high + 1 :].sum() / total),
    )
    record.write_text(json.dumps(asdict(made), indent=1))
    return made
