"""What a scanner does to the true grey values, voxel by voxel, in this order::

    blurred grey values
      x 1 - cupping (1 - r^2 / R^2)        darker towards the axis of rotation; R: half the diagonal of a plane
      x 1 + drift z / (planes - 1)         brighter or darker from the first plane to the last
      x gain                               of the sample
      + offset                             of the sample
      + rings(r)                           one Gaussian number for each whole radius around the axis
      -> Poisson(counts x value) / counts  photons
      + noise g                            Gaussian
      -> rounded and clipped to the dtype  float32 is left as it is

All in float32; a voxel's result needs its place and grey value only.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bigseg.local.phantom.chance import POWERS, RISES, STARTS, gaussians, poissons
from bigseg.local.phantom.hashing import fill_bits, row_keys

_NOISE, _COUNTS, _RINGS = 101, 102, 103  # streams of hashes


class Scanner(NamedTuple):
    """Strengths, in grey values or as shares; 0 is none."""

    seed: int
    cupping: np.float32
    drift: np.float32
    gain: np.float32
    offset: np.float32
    rings: np.float32
    counts: np.float32
    noise: np.float32


def expose(
    values: NDArray[np.float32],
    start: tuple[int, int, int],
    shape: tuple[int, int, int],
    how: Scanner,
    out: NDArray[Any],
) -> None:
    """Image a box.

    Parameters
    ----------
    values : true grey values of the box (z, y, x), float32.
    start : the box's first voxel.
    shape : of the whole volume: its middle is the axis, its planes the length of the drift.
    how : the scanner.
    out : uint8, uint16 or float32 of the same shape, to be filled.
    """
    integer = out.dtype.kind == "u"
    most = np.float32(np.iinfo(out.dtype).max if integer else 0)
    _expose(values, np.array(start), np.array(shape), how, STARTS, RISES, POWERS, integer, most, out)


@njit(nogil=True, cache=True)
def look_up(classes, greys, out):  # type: ignore[no-untyped-def]
    """Fill out with the grey value of each voxel's class (NumPy's own look-up makes 8 bytes a voxel first)."""
    for k in range(out.shape[0]):
        for j in range(out.shape[1]):
            for i in range(out.shape[2]):
                out[k, j, i] = greys[classes[k, j, i]]


@njit(nogil=True, cache=True)
def _expose(values, start, shape, how, starts, rises, powers, integer, most, out):  # type: ignore[no-untyped-def]
    planes, rows, columns = values.shape
    line = np.empty(columns, np.float32)
    square = np.empty(columns, np.float32)
    bits = np.empty(columns, np.uint32)
    normal = np.empty(columns, np.float32)
    half = np.float32(0.5)
    one = np.float32(1.0)
    middle = np.float32(0.5 * (shape[2] - 1))
    about = how.cupping != 0 or how.rings != 0
    corner = 0.25 * (np.float64(shape[1] - 1) ** 2 + np.float64(shape[2] - 1) ** 2)
    bend = np.float32(np.float64(how.cupping) / max(corner, 1.0))
    low, ring = _rings(start, shape, rows, columns, how, starts, rises)
    for k in range(planes):
        share = np.float64(start[0] + k) / np.float64(max(1, shape[0] - 1))
        factor = np.float32((1.0 + np.float64(how.drift) * share) * np.float64(how.gain))
        for j in range(rows):
            source = values[k, j]
            for i in range(columns):  # assigned as a slice, Numba compiles two seconds longer
                line[i] = source[i]
            if about:
                dy = np.float32(start[1] + j) - np.float32(0.5 * (shape[1] - 1))
                for i in range(columns):
                    dx = np.float32(start[2] + i) - middle
                    square[i] = dx * dx + dy * dy
            if how.cupping != 0:
                for i in range(columns):
                    line[i] *= one - how.cupping + bend * square[i]
            if factor != one or how.offset != 0:
                for i in range(columns):
                    line[i] = line[i] * factor + how.offset
            if how.rings != 0:
                for i in range(columns):
                    line[i] += ring[np.int64(np.sqrt(square[i]) + half) - low]
            if how.counts > 0:
                key, other = row_keys(how.seed, _COUNTS, start[0] + k, start[1] + j)
                fill_bits(bits, start[2], key, other)
                gaussians(normal, bits, starts, rises)
                for i in range(columns):
                    line[i] *= how.counts
                poissons(line, bits, normal, powers)
                for i in range(columns):
                    line[i] /= how.counts
            if how.noise > 0:
                key, other = row_keys(how.seed, _NOISE, start[0] + k, start[1] + j)
                fill_bits(bits, start[2], key, other)
                gaussians(normal, bits, starts, rises)
                for i in range(columns):
                    line[i] += how.noise * normal[i]
            target = out[k, j]
            if integer:
                for i in range(columns):
                    target[i] = np.int32(min(max(line[i] + half, np.float32(0.0)), most))
            else:
                for i in range(columns):
                    target[i] = line[i]


@njit(nogil=True, cache=True)
def _rings(start, shape, rows, columns, how, starts, rises):  # type: ignore[no-untyped-def]
    """The amplitudes of the radii that a box meets, from its least on."""
    if how.rings == 0:
        return 0, np.empty(0, np.float32)
    least, most = 0.0, 0.0
    for axis in (1, 2):
        left = start[axis] - 0.5 * (shape[axis] - 1)
        right = left + (rows if axis == 1 else columns) - 1
        near = 0.0 if left <= 0.0 <= right else min(abs(left), abs(right))
        far = max(abs(left), abs(right))
        least += near * near
        most += far * far
    low = max(0, int(sqrt(least)) - 1)
    ring = np.empty(int(sqrt(most)) + 3 - low, np.float32)
    bits = np.empty(ring.size, np.uint32)
    key, other = row_keys(how.seed, _RINGS, 0, 0)
    fill_bits(bits, low, key, other)
    gaussians(ring, bits, starts, rises)
    for r in range(ring.size):
        ring[r] *= how.rings
    return low, ring
