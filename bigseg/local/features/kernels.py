"""Kernels of the feature stack: several filters of one scale from shared passes, a few planes at a time.

For a Gaussian g, its first and second derivatives d and h, in 3-D::

    x ──z──► g ──y──► gg       ──x──► ggg                          gaussian
             d        dg, gd          dgg, gdg, ggd                gradient magnitude
             h        gh + hg         ggh + ghg, hgg: (…)g + ggh   laplacian

Loops run over whole rows and add the taps of a voxel in an order that depends on the kernel alone: pairs from the
middle outwards, three pairs a turn. So a voxel has the same bits in whatever block, tile or lane it is computed.
Planes are kept in rings: plane p of the volume in slot ``p % slots``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from bigseg.local.filters.derivatives import add_square
from bigseg.local.filters.eigen import all_eigenvalues_of_rows
from bigseg.local.filters.reflect import mirror_row
from bigseg.local.filters.tensors import around, second_differences


@njit(nogil=True, cache=True)
def planes_along_z(rows, positions, y, x, weights, wanted, planes):  # type: ignore[no-untyped-def]
    """Sums along z, the first pass of `smooth_rows`: the one that depends on the dtype of the voxels.

    rows: where the voxels lie; positions: planes read for the first result, one on for each further; y, x: what is
    read along the other axes; weights: (g, d, h), from the middle outwards; wanted: for each of these whether it is;
    planes: (3 or fewer, planes, voxels).
    """
    gauss, slope_, curve = weights
    reads, taps = x.stop - x.start, 2 * gauss.size - 1
    for j in range(y.start, y.stop):
        base, to = j * rows.row + x.start, (j - y.start) * reads
        # Planes within the loop over rows: what several results read stays in cache.
        for k in range(positions.size - taps + 1):
            at = positions[k : k + taps]
            _even(planes[0, k, to:][:reads], rows.flat, base, at, rows.plane, gauss)
            if wanted[1]:
                _odd(planes[1, k, to:][:reads], rows.flat, base, at, rows.plane, slope_)
            if wanted[2]:
                _even(planes[2, k, to:][:reads], rows.flat, base, at, rows.plane, curve)


@njit(nogil=True, cache=True)
def smooth_rows(planes, y, x, weights, wanted, slots, lines, smooth, gradient, laplacian):  # type: ignore[no-untyped-def]
    """Planes from `planes_along_z` smoothed into slots of a ring; gradient and Laplacian where these are not empty.

    weights: (g, d, h) along y and along x; wanted: of the passes along z; lines: 5 rows of work.
    """
    (gy, dy, hy), (gx, dx, hx) = weights
    height, width = smooth.shape[1], smooth.shape[2]
    reads = x.stop - x.start
    base, shifts = -y.start * reads, np.arange(2 * gx.size - 1)
    start, step = np.int64(0), np.int64(1)  # of 0 and 1 as they are written Numba would compile `_even` once more
    for k in range(slots.size):
        slot, found = slots[k], lines[4][:width]
        for j in range(height):
            at = y.voxels[j : j + 2 * gy.size - 1]
            # Which pass of z, kernel along y, kernel along x; as data, so that the loops are compiled once.
            for n in range(7):
                if n == 0:
                    line, source, wy, wx, dst = lines[0], planes[0, k], gy, gx, smooth[slot, j]
                elif n < 4:
                    if gradient.size == 0 or (n == 3 and not wanted[1]):
                        continue
                    line, source, wy, wx, dst = lines[0], planes[0, k], gy, dx, found
                    if n == 2:
                        line, wy, wx = lines[1], dy, gx
                    elif n == 3:
                        line, source, wx = lines[2], planes[1, k], gx
                else:
                    if laplacian.size == 0 or (n == 6 and not wanted[2]):
                        continue
                    line, source, wy, wx, dst = lines[0], planes[0, k], gy, hx, laplacian[slot, j]
                    if n == 5:
                        line, wy, wx, dst = lines[3], hy, gx, found
                    elif n == 6:
                        line, source, wx, dst = lines[3], planes[2, k], gx, found
                if n != 1 and n != 4:  # those take the line of 0
                    to = line[x.before :][:reads]
                    if n == 2:
                        _odd(to, source, base, at, reads, wy)
                    else:
                        _even(to, source, base, at, reads, wy)
                    mirror_row(line, x)
                if n == 1:
                    _odd(dst, line, start, shifts, step, wx)
                else:
                    _even(dst, line, start, shifts, step, wx)
                if 0 < n < 4:
                    add_square(gradient[slot, j], found, n == 1)
                elif n > 4:
                    _add(laplacian[slot, j], found)
            if gradient.size:
                _root(gradient[slot, j])


@njit(nogil=True, cache=True)
def hessian_planes(smooth, first, shape, begins, axes, work, chunk, out):  # type: ignore[no-untyped-def]
    """Eigenvalues of differences of differences of smoothed planes, one-sided at the edge of the volume.

    smooth: a ring; first: the first plane wanted; shape: of the volume; begins: row and column of the volume at which
    the ring begins, and those at which the result does; work: 9 rows; out: (axes, planes, rows, columns).
    """
    _, planes, height, width = out.shape
    # Always whole rows, then parts of them: of others Numba does not know that they are contiguous.
    rows = work[:3] if axes == 2 else work[:6]
    for k in range(planes):
        z, wz = around(first + k, shape[0], 0, smooth.shape[0])
        for j in range(height):
            y, wy = around(begins[2] + j, shape[1], begins[0], smooth.shape[1])
            second_differences(smooth, z, wz, y, wy, begins[3] - begins[1], width, work, rows)
            all_eigenvalues_of_rows(rows, chunk, out[:, k, j])


@njit(nogil=True, cache=True)
def transpose(planar, out):  # type: ignore[no-untyped-def]
    """Fill out, voxels side by side features (flat), from planar (features, voxels).

    Four features of 64 voxels at a time: 9 ns a voxel for 13 features, 30 for 30, 70 for 61; NumPy takes 11, 86, 175.
    """
    features, voxels = planar.shape
    for first in range(0, voxels, 64):
        last = min(first + 64, voxels)
        for f in range(0, features - 3, 4):
            a, b, c, d = planar[f], planar[f + 1], planar[f + 2], planar[f + 3]
            at = first * features + f
            for i in range(first, last):
                out[at], out[at + 1], out[at + 2], out[at + 3] = a[i], b[i], c[i], d[i]
                at += features
        for f in range(features // 4 * 4, features):
            a, at = planar[f], first * features + f
            for i in range(first, last):
                out[at] = a[i]
                at += features


@njit(nogil=True, cache=True)
def _add(dst, src):  # type: ignore[no-untyped-def]
    for i in range(dst.size):
        dst[i] += src[i]


@njit(nogil=True, cache=True)
def _root(dst):  # type: ignore[no-untyped-def]
    for i in range(dst.size):
        dst[i] = np.sqrt(dst[i])


@njit(nogil=True, cache=True)
def _even(dst, src, base, at, step, w):  # type: ignore[no-untyped-def]
    """Write the sum of the rows of src that start at ``base + at[k] * step`` under symmetric weights.

    Three pairs a turn, 20 % faster than two; before them the middle row with what pairs are left over.
    """
    n, m = dst.size, at.size // 2
    here = src[base + at[m] * step :][:n]
    w0 = w[0]
    if m % 3 == 0:
        for i in range(n):
            dst[i] = w0 * np.float32(here[i])
    else:
        # With one pair left over the second is the first again, under a weight of 0.
        far = 2 - m % 3
        a, b = src[base + at[m - 1] * step :][:n], src[base + at[m + 1] * step :][:n]
        c, d = src[base + at[m - 2 + far] * step :][:n], src[base + at[m + 2 - far] * step :][:n]
        w1, w2 = w[1], np.float32(0) if far else w[2]
        for i in range(n):
            near = w0 * np.float32(here[i]) + w1 * (np.float32(a[i]) + np.float32(b[i]))
            dst[i] = near + w2 * (np.float32(c[i]) + np.float32(d[i]))
    for k in range(1 + m % 3, m, 3):
        a, b = src[base + at[m - k] * step :][:n], src[base + at[m + k] * step :][:n]
        c, d = src[base + at[m - k - 1] * step :][:n], src[base + at[m + k + 1] * step :][:n]
        e, f = src[base + at[m - k - 2] * step :][:n], src[base + at[m + k + 2] * step :][:n]
        w1, w2, w3 = w[k], w[k + 1], w[k + 2]
        for i in range(n):
            near = w1 * (np.float32(a[i]) + np.float32(b[i])) + w2 * (np.float32(c[i]) + np.float32(d[i]))
            dst[i] += near + w3 * (np.float32(e[i]) + np.float32(f[i]))


@njit(nogil=True, cache=True)
def _odd(dst, src, base, at, step, w):  # type: ignore[no-untyped-def]
    """Write their sum under antisymmetric weights; of a flat image exactly 0."""
    n, m = dst.size, at.size // 2
    if m % 3 == 0:
        for i in range(n):
            dst[i] = 0
    else:
        far = 2 - m % 3
        a, b = src[base + at[m - 1] * step :][:n], src[base + at[m + 1] * step :][:n]
        c, d = src[base + at[m - 2 + far] * step :][:n], src[base + at[m + 2 - far] * step :][:n]
        w1, w2 = w[1], np.float32(0) if far else w[2]
        for i in range(n):
            dst[i] = w1 * (np.float32(b[i]) - np.float32(a[i])) + w2 * (np.float32(d[i]) - np.float32(c[i]))
    for k in range(1 + m % 3, m, 3):
        a, b = src[base + at[m - k] * step :][:n], src[base + at[m + k] * step :][:n]
        c, d = src[base + at[m - k - 1] * step :][:n], src[base + at[m + k + 1] * step :][:n]
        e, f = src[base + at[m - k - 2] * step :][:n], src[base + at[m + k + 2] * step :][:n]
        w1, w2, w3 = w[k], w[k + 1], w[k + 2]
        for i in range(n):
            near = w1 * (np.float32(b[i]) - np.float32(a[i])) + w2 * (np.float32(d[i]) - np.float32(c[i]))
            dst[i] += near + w3 * (np.float32(f[i]) - np.float32(e[i]))
