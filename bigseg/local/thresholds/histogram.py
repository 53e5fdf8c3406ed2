"""Counts of values: the part of every global threshold and statistic that runs in a block.

Counts of blocks add up to the counts of the volume in any order, and extremes merge in any order, so nothing
here depends on how the volume was cut. Three kernels:

1. `count_values`: 8 and 16-bit integers, one bin a value;
2. `extremes`: least and greatest finite value, and how many voxels are NaN or infinite;
3. `bin_counts`: equal bins between two values, the same counts as numpy.histogram, value on an edge or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray

from bigseg.errors import ParameterError, ValuesError

COUNTED = ("uint8", "int8", "uint16", "int16")
BINNED = (*COUNTED, "uint32", "int32", "float16", "float32", "float64")

_LANES = 4  # voxels in flight: neighbours of equal value must not wait for each other's store
_PIECE = 1 << 30  # voxels a table of uint32 takes before it is emptied into int64
_TILE = 1024  # voxels whose bins are guessed in one vector loop


class Extremes(NamedTuple):
    """Least and greatest finite value, and the number of voxels that are NaN or infinite.

    Without a finite voxel the extremes are (inf, -inf), which is neutral in `merge`.
    """

    minimum: int | float
    maximum: int | float
    nans: int
    infs: int

    def merge(self, other: Extremes) -> Extremes:
        """Extremes of two parts taken together.

        >>> Extremes(2, 9, 0, 0).merge(Extremes(1, 5, 0, 0))
        Extremes(minimum=1, maximum=9, nans=0, infs=0)
        """
        return Extremes(
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.nans + other.nans,
            self.infs + other.infs,
        )


def values_of(dtype: DTypeLike) -> NDArray[np.int64]:
    """The values that the bins of `count_values` stand for, as int64.

    >>> values_of("int8")[[0, -1]]
    array([-128,  127])
    """
    info = np.iinfo(_known(np.dtype(dtype), COUNTED, "one bin a value needs"))
    return np.arange(info.min, info.max + 1, dtype=np.int64)


def count_values(x: NDArray[Any]) -> NDArray[np.int64]:
    """Count every value of an 8 or 16-bit integer image.

    Parameters
    ----------
    x : array of uint8, int8, uint16 or int16, any shape

    Returns
    -------
    counts : int64 array of 256 or 65536 bins. Bin i counts the value `values_of(x.dtype)[i]`.

    Raises
    ------
    ParameterError : any other dtype; use `extremes` and `bin_counts` there.

    Notes
    -----
    Per core, 3.4e9 voxels/s of 8 bits and 0.7-2.3e9 of 16 bits. Four tables are filled side by side, since a
    run of equal voxels would otherwise make each addition wait for the store before it. They take 4 KiB
    (8 bits) or 1 MiB (16 bits).

    Examples
    --------
    >>> counts = count_values(np.array([[3, 3], [255, 0]], np.uint8))
    >>> counts[[0, 3, 255]], counts.sum()
    (array([1, 2, 1]), np.int64(4))
    """
    dtype = _known(x.dtype, COUNTED, "one bin a value needs")
    bins = 1 << (8 * dtype.itemsize)
    unsigned = np.dtype(f"u{dtype.itemsize}")
    counts = np.zeros(bins, np.int64)
    for piece in _pieces(x):
        _count(piece.view(unsigned), np.zeros((_LANES, bins), np.uint32), counts)
    # Read as unsigned, negative values come after the positive ones.
    return np.roll(counts, bins // 2) if dtype.kind == "i" else counts


def first_not_finite(x: NDArray[Any]) -> tuple[int, ...]:
    """Where the first NaN or infinity of an image of two axes or more lies; there must be one.

    Takes a byte a voxel of one plane: all places at once would take 24 bytes a voxel.

    >>> first_not_finite(np.array([[1.0, 2.0], [3.0, np.inf]]))
    (1, 1)
    """
    for place, plane in enumerate(x):
        bad = ~np.isfinite(plane)
        if bad.any():
            return (place, *map(int, np.unravel_index(np.argmax(bad), bad.shape)))
    raise ValueError("expected a NaN or an infinity")


def extremes(x: NDArray[Any]) -> Extremes:
    """Least and greatest finite value of an image, with the number of NaN and infinite voxels.

    Parameters
    ----------
    x : array of any integer or real dtype, any shape, at least one voxel

    Returns
    -------
    Extremes : Python numbers (minimum, maximum, nans, infs), exact for every dtype; a zero has no sign.

    Raises
    ------
    ParameterError : no voxel, or a dtype that is neither integer nor real.

    Notes
    -----
    One read of the image. Real values are compared as integers in the order of their bit patterns, which lets
    the loop run in vectors although NaN has no order.

    Examples
    --------
    >>> extremes(np.array([2.5, np.nan, -1.0, np.inf], np.float32))
    Extremes(minimum=-1.0, maximum=2.5, nans=1, infs=1)
    """
    dtype = _known(x.dtype, (*BINNED, "uint64", "int64", "bool"), "extremes need")
    if x.size == 0:
        raise ParameterError(f"extremes need at least one voxel; the array has shape {x.shape}")
    if dtype == np.float16:
        return extremes(x.astype(np.float32))
    found = Extremes(np.inf, -np.inf, 0, 0)
    for piece in _pieces(x):
        if dtype.kind == "f":
            low, high, nans, infs = _real_extremes(piece.view(f"i{dtype.itemsize}"), *_PATTERN[dtype.itemsize])
            part = Extremes(_from_key(low, dtype), _from_key(high, dtype), nans, infs)
            if nans + infs == piece.size:
                part = Extremes(np.inf, -np.inf, nans, infs)
        else:
            low, high = _integer_extremes(piece.view(np.uint8) if dtype.kind == "b" else piece)
            part = Extremes(int(low), int(high), 0, 0)
        found = found.merge(part)
    return found


def bin_edges(lo: float, hi: float, bins: int = 256, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Edges of equal bins between two values, exactly as numpy.histogram makes them for an image of `dtype`.

    Where numpy refuses, as a real dtype has no so many values between the two (or cannot hold their difference), the
    edges are float64: bins for it of an image of float32, else two of its steps wide and reaching beyond both values.

    Parameters
    ----------
    lo, hi : least and greatest value counted; equal ones are widened by 0.5 on both sides, as numpy does
    bins : number of bins, >= 1
    dtype : dtype of the image. lo and hi are first rounded to a real dtype, so the edges depend on the
        numbers alone, not on whether they came as Python floats (which numpy treats differently).

    Returns
    -------
    edges : array of bins + 1 rising values, of the image's dtype if it is real and has them, else float64

    Raises
    ------
    ParameterError : bins < 1, lo > hi, or a limit that is not finite.
    ValuesError : the range overflows float64.

    Examples
    --------
    >>> bin_edges(0, 1, bins=4)
    array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    real = _bin_dtype(np.dtype(dtype))
    with np.errstate(over="ignore"):
        first, last = real.type(lo), real.type(hi)
    if bins < 1 or not (np.isfinite(first) and np.isfinite(last) and first <= last):
        raise ParameterError(f"a histogram needs bins >= 1 and finite lo <= hi; got bins={bins}, lo={lo}, hi={hi}")
    kinds: tuple[Callable[[Any], Any], ...] = (real.type, np.float64)
    for kind in dict.fromkeys(kinds):
        edges = _equal_edges(kind(first), kind(last), bins)
        if edges is not None:
            return edges
    low, high = float(first), float(last)
    beyond = bins * float(np.spacing(max(-low, high)))
    if not np.isfinite((high + beyond) - (low - beyond)):
        raise ValuesError(
            f"the range {lo} to {hi} overflows float64; clip or rescale the image, or give a narrower range"
        )
    return np.linspace(low - beyond, high + beyond, bins + 1)


def _equal_edges(first: Any, last: Any, bins: int) -> NDArray[Any] | None:
    """numpy's edges in the dtype of two values; None where it has none, or they do not rise."""
    with np.errstate(over="ignore"):
        if not np.isfinite(last - first):
            return None
    try:
        edges = np.histogram_bin_edges(np.empty(0, first.dtype), bins, (first, last))
    except ValueError:
        return None
    return edges if np.all(edges[:-1] < edges[1:]) else None


def bin_centers(lo: float, hi: float, bins: int = 256, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Centres of the bins of `bin_counts`, exactly those of skimage.exposure.histogram on a real image.

    Parameters, dtype of the result and errors are those of `bin_edges`.

    >>> bin_centers(0, 1, bins=4)
    array([0.125, 0.375, 0.625, 0.875], dtype=float32)
    """
    edges = bin_edges(lo, hi, bins, dtype)
    with np.errstate(over="ignore"):
        centers: NDArray[Any] = (edges[:-1] + edges[1:]) / 2.0
    return centers if np.isfinite(centers).all() else edges[:-1] / 2.0 + edges[1:] / 2.0


def bin_counts(x: NDArray[Any], lo: float, hi: float, bins: int = 256) -> NDArray[np.int64]:
    """Count the values of an image in equal bins between two values, exactly as numpy.histogram.

    Each bin takes its left edge, the last one also its right edge. Values outside, and NaN, are not counted.

    Parameters
    ----------
    x : array of a real dtype or of integers of up to 32 bits, any shape; float16 is binned as float32
    lo, hi, bins : as for `bin_edges`

    Returns
    -------
    counts : int64 array of `bins` counts, equal to `numpy.histogram(x, bins, (lo, hi))` where numpy has one; for a
        real image with lo and hi as scalars of its dtype, as its own least and greatest value are

    Raises
    ------
    ParameterError, ValuesError : as `bin_edges`; 64-bit integers are refused: float64 cannot tell them apart.

    Notes
    -----
    numpy guesses the bin by a division in the precision of the image, then moves the value by one bin where
    the edges say so. The same two steps are done here: the guess in a vector loop, the move and the count
    voxel by voxel in four tables.

    Examples
    --------
    >>> bin_counts(np.array([0.0, 0.5, 1.0, 7.0, np.nan], np.float32), 0, 1, bins=2)
    array([1, 2])
    """
    dtype = _known(x.dtype, BINNED, "equal bins need")
    edges = bin_edges(lo, hi, bins, dtype)
    real = edges.dtype
    # A last pair of edges that moves nothing serves the values that are not counted.
    lower = np.append(edges[:-1], real.type(-np.inf))
    upper = np.append(edges[1:], real.type(np.inf))
    upper[-2] = np.inf
    counts = np.zeros(bins, np.int64)
    for piece in _pieces(x.astype(np.float32) if dtype == np.float16 else x):
        table = np.zeros((_LANES, bins + 2), np.uint32)
        _bin(piece, lower, upper, edges[0], edges[-1], edges[-1] - edges[0], real.type(bins), table)
        counts += table[:, :bins].sum(axis=0, dtype=np.int64)
    return counts


def _known(dtype: np.dtype[Any], names: tuple[str, ...], what: str) -> np.dtype[Any]:
    if dtype.name not in names:
        raise ParameterError(f"{what} an image of {', '.join(names)}; got {dtype.name}: convert it first")
    return dtype.newbyteorder("=")


def _bin_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32 if dtype.name in ("float16", "float32") else np.float64)


def _pieces(x: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The voxels as contiguous 1-D arrays in any order; a crop is copied plane by plane, never as a whole."""
    if x.flags.c_contiguous or x.flags.f_contiguous or x.ndim < 2:
        flat = np.ascontiguousarray(x.ravel(order="K"), x.dtype.newbyteorder("="))
        for start in range(0, flat.size, _PIECE):
            yield flat[start : start + _PIECE]
    else:
        for plane in x:
            yield from _pieces(plane if plane.ndim > 2 else np.ascontiguousarray(plane))


# For each size of a real number in bytes: all bits but the sign, and the pattern of infinity.
_PATTERN = {
    4: (np.int32(0x7FFFFFFF), np.int32(0x7F800000)),
    8: (np.int64(2**63 - 1), np.int64(0x7FF0000000000000)),
}


def _from_key(key: int, dtype: np.dtype[Any]) -> float:
    integer = np.dtype(f"i{dtype.itemsize}")
    bits = integer.type(key) ^ (_PATTERN[dtype.itemsize][0] if key < 0 else integer.type(0))
    return float(bits.view(dtype)) + 0.0  # -0.0 and 0.0 have two keys but are one value


@njit(nogil=True, cache=True)
def _count(x, table, counts):  # type: ignore[no-untyped-def]
    a, b, c, d = table[0], table[1], table[2], table[3]
    one = np.uint32(1)
    whole = x.size // 4 * 4
    for i in range(0, whole, 4):
        a[x[i]] += one
        b[x[i + 1]] += one
        c[x[i + 2]] += one
        d[x[i + 3]] += one
    for i in range(whole, x.size):
        a[x[i]] += one
    for k in range(counts.size):
        counts[k] += np.int64(a[k]) + np.int64(b[k]) + np.int64(c[k]) + np.int64(d[k])


@njit(nogil=True, cache=True)
def _integer_extremes(x):  # type: ignore[no-untyped-def]
    low = high = x[0]
    for i in range(x.size):
        low = min(low, x[i])
        high = max(high, x[i])
    return low, high


@njit(nogil=True, cache=True)
def _real_extremes(x, magnitude, infinity):  # type: ignore[no-untyped-def]
    # As keys, -inf is ~infinity and +inf is infinity; what is finite lies between them, NaN beyond.
    low, high = infinity, ~infinity
    nans = infs = 0
    for start in range(0, x.size, _TILE):
        tile = x[start : start + _TILE]
        least, most = infinity, ~infinity
        for i in range(tile.size):
            key = x.dtype.type(tile[i] ^ (magnitude if tile[i] < 0 else x.dtype.type(0)))
            least = min(least, key)
            most = max(most, key)
        if ~infinity < least and most < infinity:
            low = min(low, least)
            high = max(high, most)
            continue
        for i in range(tile.size):
            key = x.dtype.type(tile[i] ^ (magnitude if tile[i] < 0 else x.dtype.type(0)))
            if ~infinity < key and key < infinity:
                low = min(low, key)
                high = max(high, key)
            elif key == infinity or key == ~infinity:
                infs += 1
            else:
                nans += 1
    return low, high, nans, infs


@njit(nogil=True, cache=True, error_model="numpy")
def _bin(x, lower, upper, first, last, width, bins, table):  # type: ignore[no-untyped-def]
    guess = np.empty(_TILE, np.uint32)
    unused = np.uint32(lower.size - 1)
    top = np.int32(lower.size - 2)
    one = np.uint32(1)
    for start in range(0, x.size, _TILE):
        tile = x[start : start + _TILE]
        for j in range(tile.size):
            v = lower.dtype.type(tile[j])
            inside = (v >= first) & (v <= last)
            w = v if inside else first
            k = min(np.int32((w - first) / width * bins), top)
            guess[j] = np.uint32(k) if inside else unused
        for j in range(tile.size):
            v = lower.dtype.type(tile[j])
            k = guess[j]
            left = np.uint32(v < lower[k])
            right = np.uint32(v >= upper[k])
            table[j & 3, np.uint32(k - left + right)] += one
