"""Ellipsoids and rods as runs of voxels along x: what to fill is solved for, never tried voxel by voxel.

All in float64 from the object's parameters and the global coordinates of the row, so that a row of an object
has the same ends in whatever block it is painted. Arrays are boxes of the volume; ``start`` is their corner.
"""

from __future__ import annotations

from math import ceil, floor, sqrt

from numba import njit


@njit(nogil=True, cache=True)
def span(centre, reach, start, n):  # type: ignore[no-untyped-def]
    """First and last + 1 index of an array of n voxels from start on within reach of a centre."""
    return max(0, ceil(centre - reach) - start), min(n, floor(centre + reach) + 1 - start)


@njit(nogil=True, cache=True)
def row_terms(body, dz, dy):  # type: ignore[no-untyped-def]
    """Terms of ``q = a dx^2 + 2 b dx + c`` along a row of a spheroid; its surface is at q = 1.

    body: centre (z, y, x), greatest semi-axis, axis of revolution (z, y, x), ``1 / across^2`` and
    ``1 / along^2 - 1 / across^2``.
    """
    uz, uy, ux, across, extra = body[4:]
    along = dz * uz + dy * uy
    return across + extra * ux * ux, extra * along * ux, across * (dz * dz + dy * dy) + extra * along * along


@njit(nogil=True, cache=True)
def row_ends(a, b, c, centre, start, n):  # type: ignore[no-untyped-def]
    """First and last + 1 index of the voxels of a row with q <= 1; equal where there are none."""
    under = b * b - a * (c - 1.0)
    if under < 0.0:
        return 0, 0
    root = sqrt(under)
    first = max(0, ceil(centre + (-b - root) / a) - start)
    last = min(n, floor(centre + (-b + root) / a) + 1 - start)
    return first, max(first, last)


@njit(nogil=True, cache=True)
def paint_spheroid(out, start, body, value):  # type: ignore[no-untyped-def]
    """Fill a spheroid."""
    cz, cy, cx, reach = body[:4]
    k0, k1 = span(cz, reach, start[0], out.shape[0])
    j0, j1 = span(cy, reach, start[1], out.shape[1])
    for k in range(k0, k1):
        for j in range(j0, j1):
            a, b, c = row_terms(body, k + start[0] - cz, j + start[1] - cy)
            first, last = row_ends(a, b, c, cx, start[2], out.shape[2])
            for i in range(first, last):
                out[k, j, i] = value


@njit(nogil=True, cache=True)
def paint_rod(out, start, p, q, radius, value):  # type: ignore[no-untyped-def]
    """Fill what is nearer than radius to the segment from p to q, where out is 0 still."""
    ez, ey, ex = q[0] - p[0], q[1] - p[1], q[2] - p[2]
    length = ez * ez + ey * ey + ex * ex
    inverse = 1.0 / length if length > 0.0 else 0.0
    most = radius * radius
    k0, k1 = span(0.5 * (p[0] + q[0]), 0.5 * abs(ez) + radius, start[0], out.shape[0])
    j0, j1 = span(0.5 * (p[1] + q[1]), 0.5 * abs(ey) + radius, start[1], out.shape[1])
    i0, i1 = span(0.5 * (p[2] + q[2]), 0.5 * abs(ex) + radius, start[2], out.shape[2])
    for k in range(k0, k1):
        dz = k + start[0] - p[0]
        for j in range(j0, j1):
            dy = j + start[1] - p[1]
            for i in range(i0, i1):
                dx = i + start[2] - p[2]
                t = min(max((dz * ez + dy * ey + dx * ex) * inverse, 0.0), 1.0)
                az, ay, ax = dz - t * ez, dy - t * ey, dx - t * ex
                if az * az + ay * ay + ax * ax <= most and out[k, j, i] == 0:
                    out[k, j, i] = value
