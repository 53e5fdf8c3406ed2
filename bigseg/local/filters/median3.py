"""Medians of 3 x 3 and 3 x 3 x 3 voxels by least and greatest alone: no branch, whole rows at a time.

The 27 voxels are sorted axis by axis, and what neighbours share is sorted once:

1. `_sort_three`: the three voxels along z, once for the nine windows that hold them;
2. `_sort_column`: the three triples along y to one column of nine, once for three windows;
3. `_medians_of_columns`: three columns along x. Each rank is sorted across them; then of 27 voxels only 13
   can be the median, as the others have 14 voxels on one side. p and r are merged (K. E. Batcher's odd-even
   merge, 1968), and the 7th of that and q is picked::

       rank in its column   0 1 2 3 4 5 6 7 8
       least of three       < < < < < p p p p     < not above the median
       middle               < < q q q q q > >     > not below it
       greatest             r r r r > > > > >

That takes 98 instructions for 16 to 64 voxels. Since nothing but least and greatest is used, it is right for
all values if it is right for zeros and ones (D. E. Knuth, The Art of Computer Programming 3, 5.3.4), and the
tests try all of those.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from bigseg.local.filters.reflect import Array, Reach, Rows
from bigseg.local.keys import KeyOrder, load_keys, store_keys

_STRIP = 512  # voxels along x in work at once: their rows stay in L1, or in L2 for 64 bits
# Rows of keys lie in one array at distances the compiler knows, so it sees that they do not overlap.
_ROW = _STRIP + 2
_R1, _R2, _R3, _R4, _R5, _R6, _R7, _R8, _R9 = (_ROW * k for k in range(1, 10))

ROWS_HELD = {(1, 3, 3): 6, (3, 3, 3): 21}
"""The sizes (z, y, x) that are served here, and how many rows of keys each takes."""


def working_bytes(size: tuple[int, int, int], itemsize: int) -> int:
    """Bytes of keys held at once.

    >>> working_bytes((3, 3, 3), 2)
    21588
    """
    return ROWS_HELD[size] * _ROW * itemsize


def median3(
    rows: Rows, reaches: tuple[Reach, Reach, Reach], order: KeyOrder, size: tuple[int, int, int], out: Array
) -> None:
    """Fill out with the medians of boxes of one of the sizes in `ROWS_HELD`; rows and out hold bits."""
    keys = np.empty(ROWS_HELD[size] * _ROW, out.dtype)
    if size[0] == 1:
        _median_9(rows, *reaches, order, order.back, keys[:_R3], keys[_R3:], out)
    else:
        _median_27(rows, *reaches, order, order.back, keys[:_R3], keys[_R3 : _R3 + _R9], keys[-_R9:], out)


@njit(nogil=True, cache=True)
def _median_9(rows, z, y, x, order, back, read, ranked, out):  # type: ignore[no-untyped-def]
    planes, height, width = out.shape
    for first in range(0, width, _STRIP):
        n = min(_STRIP, width - first)
        for k in range(planes):
            for j in range(height + 2):
                at = j % 3 * _ROW
                base = z.voxels[k] * rows.plane + y.voxels[j] * rows.row
                load_keys(read[at : at + n + 2], rows, base, x, first, order)
                if j >= 2:
                    _sort_three(ranked, read, n + 2)
                    dst = out[k, j - 2, first : first + n]
                    _medians_of_triples(dst, ranked)
                    store_keys(dst, dst, back)


@njit(nogil=True, cache=True)
def _median_27(rows, z, y, x, order, back, read, triples, column, out):  # type: ignore[no-untyped-def]
    planes, height, width = out.shape
    for first in range(0, width, _STRIP):
        n = min(_STRIP, width - first)
        for k in range(planes):
            for j in range(height + 2):
                for d in range(3):
                    base = z.voxels[k + d] * rows.plane + y.voxels[j] * rows.row
                    load_keys(read[d * _ROW : d * _ROW + n + 2], rows, base, x, first, order)
                # The last three triples take turns; a median does not ask in which order they lie.
                _sort_three(triples[j % 3 * _R3 :], read, n + 2)
                if j >= 2:
                    _sort_column(column, triples, n + 2)
                    dst = out[k, j - 2, first : first + n]
                    _medians_of_columns(dst, column)
                    store_keys(dst, dst, back)


@njit(nogil=True, cache=True)
def _sort_three(dst, src, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        a, b, c = src[i], src[i + _R1], src[i + _R2]
        s, t = min(a, b), max(a, b)
        u = min(t, c)
        dst[i], dst[i + _R1], dst[i + _R2] = min(s, u), max(s, u), max(t, c)


@njit(nogil=True, cache=True)
def _medians_of_triples(dst, ranked):  # type: ignore[no-untyped-def]
    for i in range(dst.size):
        low = max(max(ranked[i], ranked[i + 1]), ranked[i + 2])
        a, b, c = ranked[i + _R1], ranked[i + _R1 + 1], ranked[i + _R1 + 2]
        middle = max(min(a, b), min(max(a, b), c))
        high = min(min(ranked[i + _R2], ranked[i + _R2 + 1]), ranked[i + _R2 + 2])
        dst[i] = max(min(low, middle), min(max(low, middle), high))


@njit(nogil=True, cache=True)
def _sort_column(dst, src, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        # m[rank along z][rank along y]: sorted both ways when equal ranks of the triples are sorted.
        a, b, c = src[i], src[i + _R3], src[i + _R6]
        s, t = min(a, b), max(a, b)
        u, m02 = min(t, c), max(t, c)
        m00, m01 = min(s, u), max(s, u)
        a, b, c = src[i + _R1], src[i + _R4], src[i + _R7]
        s, t = min(a, b), max(a, b)
        u, m12 = min(t, c), max(t, c)
        m10, m11 = min(s, u), max(s, u)
        a, b, c = src[i + _R2], src[i + _R5], src[i + _R8]
        s, t = min(a, b), max(a, b)
        u, m22 = min(t, c), max(t, c)
        m20, m21 = min(s, u), max(s, u)
        # Ends are known; the five in between are a chain p <= m11 <= q and a pair s <= t, merged.
        p, q = max(m01, m10), min(m12, m21)
        s, t = min(m02, m20), max(m02, m20)
        second, v = min(p, s), max(p, s)
        w, sixth = min(q, t), max(q, t)
        e, f = min(v, m11), max(v, m11)
        g, fifth = min(f, w), max(f, w)
        dst[i], dst[i + _R1], dst[i + _R2] = m00, min(m01, m10), second
        dst[i + _R3], dst[i + _R4], dst[i + _R5] = min(e, g), max(e, g), fifth
        dst[i + _R6], dst[i + _R7], dst[i + _R8] = sixth, max(m12, m21), m22


@njit(nogil=True, cache=True)
def _medians_of_columns(dst, column):  # type: ignore[no-untyped-def]
    for i in range(dst.size):
        r0 = max(max(column[i], column[i + 1]), column[i + 2])
        r1 = max(max(column[i + _R1], column[i + _R1 + 1]), column[i + _R1 + 2])
        a, b, c = column[i + _R2], column[i + _R2 + 1], column[i + _R2 + 2]
        s, t = min(a, b), max(a, b)
        r2, q0 = max(t, c), max(s, min(t, c))
        a, b, c = column[i + _R3], column[i + _R3 + 1], column[i + _R3 + 2]
        s, t = min(a, b), max(a, b)
        r3, q1 = max(t, c), max(s, min(t, c))
        a, b, c = column[i + _R4], column[i + _R4 + 1], column[i + _R4 + 2]
        q2 = max(min(a, b), min(max(a, b), c))
        a, b, c = column[i + _R5], column[i + _R5 + 1], column[i + _R5 + 2]
        s, t = min(a, b), max(a, b)
        p0, q3 = min(s, c), min(t, max(s, c))
        a, b, c = column[i + _R6], column[i + _R6 + 1], column[i + _R6 + 2]
        s, t = min(a, b), max(a, b)
        p1, q4 = min(s, c), min(t, max(s, c))
        p2 = min(min(column[i + _R7], column[i + _R7 + 1]), column[i + _R7 + 2])
        p3 = min(min(column[i + _R8], column[i + _R8 + 1]), column[i + _R8 + 2])
        # Ranks 1 to 6 of the eight of p and r: even and odd ones merged, then neighbours.
        s, t, e3 = max(p0, r0), min(p2, r2), max(p2, r2)
        e1, e2 = min(s, t), max(s, t)
        f0, s, t = min(p1, r1), max(p1, r1), min(p3, r3)
        f1, f2 = min(s, t), max(s, t)
        s1, s2 = min(e1, f0), max(e1, f0)
        s3, s4 = min(e2, f1), max(e2, f1)
        s5, s6 = min(e3, f2), max(e3, f2)
        # The 7th of all is the least, over how many of the seven come from q, of the greatest of those taken.
        v = min(s6, max(q0, s5))
        v = min(v, max(q1, s4))
        v = min(v, max(q2, s3))
        v = min(v, max(q3, s2))
        dst[i] = min(v, max(q4, s1))
