"""Eigenvalues of symmetric 2 x 2 and 3 x 3 matrices in closed form, many at a time, without a cosine.

A symmetric 3 x 3 matrix is q + p B: q the mean of its diagonal, p a length, B of trace 0 with eigenvalues
2 cos(t), 2 cos(t + 2 pi / 3) and 2 cos(t - 2 pi / 3), where cos(3 t) = det(B) / 2 = d (O. K. Smith, Eigenvalues of
a symmetric 3 x 3 matrix, Communications of the ACM 4, 1961). A library's cosine may differ in the last bit
between the body of a vectorised loop and its last few turns. With u = sqrt((1 + d) / 2)::

    greatest = q + 2 p f(u),   f(u) = cos(2/3 arccos u)        least = -(greatest of the negated matrix)

and f has no singularity on [0, 1], so a fixed polynomial gives it to 2e-12. What is left are products, sums,
a quotient and square roots, which IEEE 754 defines to the bit. All is done in float64: where two eigenvalues
meet, d is near +-1 and loses half of its digits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from bigseg.errors import ParameterError
from bigseg.local.filters.linear import Float32

# f in powers of 2 u - 1: Chebyshev interpolation of degree 12 on [0, 1].
_F = (
    0.7660444431189786,
    0.24740906630596776,
    -0.015509188431482948,
    0.002466353286346925,
    -0.0005041248314008194,
    0.00011642171316346242,
    -2.8918821460674494e-05,
    7.5537095562245736e-06,
    -2.0396379672176685e-06,
    5.436748232669719e-07,
    -1.5343118451775768e-07,
    6.13087146167877e-08,
    -1.796505610965626e-08,
)
_CHUNK = 256  # matrices in work at once; their elements lie at distances that the compiler knows
_C1, _C2, _C3, _C4, _C5 = (_CHUNK * k for k in range(1, 6))
CHUNK_FLOATS = 6 * _CHUNK
"""Length of the work array of `eigenvalues_of_rows`."""


def symmetric_eigenvalues(elements: Sequence[Float32], which: int) -> Float32:
    """One eigenvalue of each of many symmetric matrices.

    Parameters
    ----------
    elements : float32 arrays of one shape, the upper triangle row by row: aa, ab, bb of 2 x 2 matrices, or aa, ab,
        ac, bb, bc, cc of 3 x 3.
    which : 1 for the greatest eigenvalue, 2 for the next, up to 2 or 3 for the least.

    Returns
    -------
    float32 array of that shape: as numpy.linalg.eigvalsh, within 4e-8 of the greatest absolute eigenvalue of
    each matrix before it is rounded.

    Raises
    ------
    ParameterError : neither 3 nor 6 elements, or a ``which`` that such matrices do not have.

    Notes
    -----
    One core of the test machine: one of 3 x 3 in 7 to 10 ns, numpy takes 700.

    Examples
    --------
    >>> a, b = np.float32([[2, 5]]), np.float32([[1, 0]])
    >>> symmetric_eigenvalues([a, b, a], 1)
    array([[3., 5.]], dtype=float32)
    """
    check_which(which, {3: 2, 6: 3}.get(len(elements), 0))
    rows = np.array([np.ravel(item) for item in elements], np.float32)
    out = np.empty(rows.shape[1], np.float32)
    eigenvalues_of_rows(rows, which, np.empty(CHUNK_FLOATS, np.float32), out)
    return out.reshape(np.shape(elements[0]))


def check_which(which: int, size: int) -> None:
    """Refuse an eigenvalue that a matrix of a size does not have.

    Raises
    ------
    ParameterError : size is neither 2 nor 3, or which is not from 1 to size.
    """
    if size not in (2, 3):
        raise ParameterError("eigenvalues: expected matrices of 2 x 2 or 3 x 3, of images of 2 or 3 axes")
    if not 1 <= which <= size:
        raise ParameterError(f"eigenvalue {which}: expected 1 to {size}, the greatest first")


@njit(nogil=True, cache=True)
def eigenvalues_of_rows(rows, which, work, out):  # type: ignore[no-untyped-def]
    """Fill out from rows of elements; for kernels, with a work array of `CHUNK_FLOATS`."""
    for first in range(0, out.size, _CHUNK):
        n = min(_CHUNK, out.size - first)
        for element in range(rows.shape[0]):
            _copy(work[element * _CHUNK :][:n], rows[element, first:])
        dst = out[first:][:n]
        if rows.shape[0] == 3:
            _of_two(dst, work, np.float64(1 if which == 1 else -1))
        elif which == 2:
            _middle_of_three(dst, work)
        else:
            _end_of_three(dst, work, np.float64(1 if which == 1 else -1))


@njit(nogil=True, cache=True)
def all_eigenvalues_of_rows(rows, work, out):  # type: ignore[no-untyped-def]
    """Fill the rows of out, 2 or 3, the greatest first, with the bits of `eigenvalues_of_rows`; at half its cost."""
    size = out.shape[1]
    for first in range(0, size, _CHUNK):
        n = min(_CHUNK, size - first)
        for element in range(rows.shape[0]):
            _copy(work[element * _CHUNK :][:n], rows[element, first:])
        if rows.shape[0] == 3:
            _both_of_two(work, n)
        else:
            _all_of_three(work, n)
        for which in range(out.shape[0]):
            _copy(out[which, first:][:n], work[which * _CHUNK :])


@njit(nogil=True, cache=True)
def _copy(dst, src):  # type: ignore[no-untyped-def]
    """As many as dst has; for slices that are assigned Numba compiles a message about their shapes, for 3 s."""
    for i in range(dst.size):
        dst[i] = src[i]


@njit(nogil=True, cache=True)
def _both_of_two(m, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        a, b, c = np.float64(m[i]), np.float64(m[i + _C1]), np.float64(m[i + _C2])
        half = (a - c) * 0.5
        middle, root = (a + c) * 0.5, np.sqrt(b * b + half * half)
        m[i] = np.float32(middle + root)
        m[i + _C1] = np.float32(middle - root)


@njit(nogil=True, cache=True)
def _all_of_three(m, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        mean, length, d = _invariants(m[i], m[i + _C1], m[i + _C2], m[i + _C3], m[i + _C4], m[i + _C5])
        most, least = _f(0.5 + 0.5 * d), _f(0.5 - 0.5 * d)
        m[i] = np.float32(mean + length * most)
        m[i + _C1] = np.float32(mean + length * (least - most))
        m[i + _C2] = np.float32(mean - length * least)


@njit(nogil=True, cache=True)
def _of_two(dst, m, sign):  # type: ignore[no-untyped-def]
    for i in range(dst.size):
        a, b, c = np.float64(m[i]), np.float64(m[i + _C1]), np.float64(m[i + _C2])
        half = (a - c) * 0.5
        dst[i] = np.float32((a + c) * 0.5 + sign * np.sqrt(b * b + half * half))


@njit(nogil=True, cache=True)
def _end_of_three(dst, m, sign):  # type: ignore[no-untyped-def]
    for i in range(dst.size):
        mean, length, d = _invariants(m[i], m[i + _C1], m[i + _C2], m[i + _C3], m[i + _C4], m[i + _C5])
        dst[i] = np.float32(mean + sign * length * _f(0.5 + 0.5 * sign * d))


@njit(nogil=True, cache=True)
def _middle_of_three(dst, m):  # type: ignore[no-untyped-def]
    for i in range(dst.size):
        mean, length, d = _invariants(m[i], m[i + _C1], m[i + _C2], m[i + _C3], m[i + _C4], m[i + _C5])
        dst[i] = np.float32(mean + length * (_f(0.5 - 0.5 * d) - _f(0.5 + 0.5 * d)))


@njit(nogil=True, cache=True)
def _invariants(aa, ab, ac, bb, bc, cc):  # type: ignore[no-untyped-def]
    """q, 2 p and d of the module's first lines."""
    a, b, c = np.float64(aa), np.float64(bb), np.float64(cc)
    x, y, z = np.float64(ab), np.float64(ac), np.float64(bc)
    mean = (a + b + c) * (1.0 / 3.0)
    a, b, c = a - mean, b - mean, c - mean
    p = np.sqrt((a * a + b * b + c * c + 2.0 * (x * x + y * y + z * z)) * (1.0 / 6.0))
    # Multiples of the identity have p = 0 and any d will do; float32 squares are 0 or far above 1e-200.
    scale = 1.0 / max(p, 1e-200)
    a, b, c, x, y, z = a * scale, b * scale, c * scale, x * scale, y * scale, z * scale
    d = 0.5 * (a * (b * c - z * z) - x * (x * c - z * y) + y * (x * z - b * y))
    return mean, 2.0 * p, min(max(d, -1.0), 1.0)


@njit(nogil=True, cache=True)
def _f(half):  # type: ignore[no-untyped-def]
    """cos(2/3 arccos u) from ``u * u``, 0 to 1."""
    t = 2.0 * np.sqrt(half) - 1.0
    s = t * t
    even = _F[0] + s * (_F[2] + s * (_F[4] + s * (_F[6] + s * (_F[8] + s * (_F[10] + s * _F[12])))))
    return even + t * (_F[1] + s * (_F[3] + s * (_F[5] + s * (_F[7] + s * (_F[9] + s * _F[11])))))
