"""What the features of one scale are computed from, a few planes of a window at a time.

A window is a strip of the part that is wanted: all its planes, some of its rows. Each stream goes through it from
the first plane to the last and keeps in a ring what the next planes need again::

    Smoothing   x ──taps──► smoothed planes, ring of p + 2 margins ──► Hessian, Sobel, differences
    Products    x ──Sobel──► 6 products, ring of p + 2 radii ──gaussian of each scale──► eigenvalues
    Shifted     x ──► planes with mirrored margins, shared by all shifts

``p``, the planes of a tile, changes no result. Images of two axes, and volumes taken slice by slice, have no
margin along z.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigseg.local.features.kernels import hessian_planes, planes_along_z, smooth_rows
from bigseg.local.filters.derivatives import derivative_kernel
from bigseg.local.filters.edges import MAGNITUDE, PRODUCTS, SOBEL, gradient_of_rows
from bigseg.local.filters.eigen import CHUNK_FLOATS, all_eigenvalues_of_rows
from bigseg.local.filters.linear import Float32, gaussian_radius
from bigseg.local.filters.margins import padded
from bigseg.local.filters.reflect import Array, Reach, Rows, reach, rows_of

Sigma = tuple[float, float, float]
ALONE = (True, False, False)
"""Of the passes along z, the Gaussian's alone."""
Shapes = Mapping[str, tuple[int, ...]]


class Window(NamedTuple):
    """A strip of what is wanted, as parts of an array of three axes; ``planes`` of it are a tile."""

    shape: tuple[int, int, int]
    z: slice
    y: slice
    x: slice
    planes: int

    def grown(self, axis: int, by: int) -> slice:
        """What is wanted along an axis and ``by`` voxels to either side, as far as there are."""
        part = self[1 + axis]
        assert isinstance(part, slice)
        return slice(max(0, part.start - by), min(self.shape[axis], part.stop + by))

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.y.stop - self.y.start)

    @property
    def width(self) -> int:
        """Voxels a row."""
        return int(self.x.stop - self.x.start)


class Scale(NamedTuple):
    """What is wanted of a Gaussian scale.

    sigma: standard deviations in voxels, 0 along z for slices; axes: 2 or 3; margin: voxels to either side that
    differences of the smoothed image need; gradient, laplacian: whether these are wanted.
    """

    sigma: Sigma
    axes: int
    margin: int = 0
    gradient: bool = False
    laplacian: bool = False


class Smoothing:
    """One image at one scale: smoothed, and what shares passes with it."""

    def __init__(self, volume: Array, window: Window, scale: Scale) -> None:
        self.window, self.scale = window, scale
        shapes = self.shapes(window, scale)
        self.smooth, self.gradient, self.laplacian = (np.empty(shapes[k], np.float32) for k in ("s", "g", "l"))
        self.work, self.lines = np.empty(shapes["planes"], np.float32), np.empty(shapes["lines"], np.float32)
        self.chunk, self.row_work = np.empty(CHUNK_FLOATS, np.float32), np.empty(shapes["rows"], np.float32)
        self.rows, self.weights = rows_of(volume), weights_of(scale.sigma, scale.gradient or scale.laplacian)
        self.wanted = True, scale.gradient and scale.axes == 3, scale.laplacian and scale.axes == 3
        radii = [gaussian_radius(s) for s in scale.sigma]
        self.taps = 2 * radii[0] + 1
        self.y, self.x = (reach(window.grown(a, scale.margin), radii[a], window.shape[a]) for a in (1, 2))
        self.planes = window.grown(0, self.beyond)
        self.positions = reach(self.planes, radii[0], window.shape[0]).voxels
        self.done = self.planes.start

    @property
    def beyond(self) -> int:
        """Margin along z."""
        return self.scale.margin if self.scale.axes == 3 else 0

    @staticmethod
    def shapes(window: Window, scale: Scale) -> Shapes:
        """Shapes of the float32 arrays that are held."""
        beyond = scale.margin if scale.axes == 3 else 0
        y, x = (window.grown(axis, scale.margin) for axis in (1, 2))
        ring = (window.planes + 2 * beyond, y.stop - y.start, x.stop - x.start)
        ry, rx = (gaussian_radius(s) for s in scale.sigma[1:])
        kinds = 1 if scale.axes == 2 else 3 if scale.laplacian else 2 if scale.gradient else 1
        tall, wide = (min(n + 2 * r, m) for n, r, m in zip(ring[1:], (ry, rx), window.shape[1:], strict=True))
        return {
            "s": ring,
            "g": ring if scale.gradient else (0, 0, 0),
            "l": ring if scale.laplacian else (0, 0, 0),
            "planes": (kinds, window.planes, tall * wide),
            "lines": (5, ring[2] + 2 * rx),
            "rows": (9, ring[2]),
        }

    def advance(self, stop: int) -> None:
        """Compute planes until those before ``stop`` have all that they need."""
        last = min(stop + self.beyond, self.planes.stop)
        while self.done < last:
            planes = np.arange(self.done, min(self.done + self.window.planes, last))
            first = self.done - self.planes.start
            at = self.positions[first : first + planes.size + self.taps - 1]
            planes_along_z(self.rows, at, self.y, self.x, self.weights[0], self.wanted, self.work)
            rings = self.smooth, self.gradient, self.laplacian
            slots = planes % len(self.smooth)
            smooth_rows(self.work, self.y, self.x, self.weights[1:], self.wanted, slots, self.lines, *rings)
            self.done = int(planes[-1]) + 1

    def take(self, ring: Float32, start: int, out: Float32) -> None:
        """Copy planes of a ring, their margins cut off, into out (planes, rows, columns)."""
        for k, plane in enumerate(out, start):
            plane[:] = self.inside(ring, k)

    def inside(self, ring: Float32, plane: int) -> Float32:
        """A plane of a ring, its margins cut off."""
        window = self.window
        rows, columns = (
            slice(part.start - grown.start, part.stop - grown.start)
            for part, grown in (
                (window.y, window.grown(1, self.scale.margin)),
                (window.x, window.grown(2, self.scale.margin)),
            )
        )
        found: Float32 = ring[plane % len(ring), rows, columns]
        return found

    def hessian(self, start: int, out: Float32) -> None:
        """Eigenvalues into out (axes, planes, rows, columns), the greatest first."""
        window, margin = self.window, self.scale.margin
        begins = window.grown(1, margin).start, window.grown(2, margin).start, window.y.start, window.x.start
        args = self.smooth, start, window.shape, begins, self.scale.axes, self.row_work, self.chunk
        hessian_planes(*args, out)

    def sobel(self, start: int, out: Float32, normalised: bool) -> None:
        """Magnitude of Sobel's derivatives into out (planes, rows, columns); normalised as scikit-image."""
        window, margin, nz = self.window, self.scale.margin, self.window.shape[0]
        y, x = (moved(reach(window[1 + a], 1, window.shape[a]), window.grown(a, margin).start) for a in (1, 2))  # type: ignore[arg-type]
        rows = rows_of(self.smooth)
        for k, plane in enumerate(out, start):
            near = [max(k - 1, 0), k, min(k + 1, nz - 1)] if self.scale.axes == 3 else [k] * 3
            z = Reach(np.array(near) % len(self.smooth), 0, 0, 0)
            gradient_of_rows(rows, (z, y, x), self.scale.axes, SOBEL, MAGNITUDE, plane[np.newaxis, np.newaxis])
        if normalised:
            out *= np.float32(1 / (4 ** (self.scale.axes - 1) * sqrt(self.scale.axes)))


class Products:
    """Products of every two of Sobel's derivatives of one image, smoothed at several scales."""

    def __init__(self, volume: Array, window: Window, axes: int, sigmas: Sequence[Sigma]) -> None:
        self.volume, self.window, self.axes = volume, window, axes
        self.radii = tuple(max(gaussian_radius(s[axis]) for s in sigmas) for axis in range(3))
        shapes = self.shapes(window, axes, sigmas)
        self.ring = np.empty(shapes["ring"], np.float32)
        self.elements, self.work = (np.empty(shapes[k], np.float32) for k in ("elements", "planes"))
        self.lines, self.none = np.empty(shapes["lines"], np.float32), np.empty((0, 0, 0), np.float32)
        self.chunk = np.empty(CHUNK_FLOATS, np.float32)
        self.weights = {sigma: weights_of(sigma, False) for sigma in sigmas}
        self.done = window.grown(0, self.radii[0]).start

    @staticmethod
    def shapes(window: Window, axes: int, sigmas: Sequence[Sigma]) -> Shapes:
        """Shapes of the float32 arrays that are held."""
        rz, ry, rx = (max(gaussian_radius(s[axis]) for s in sigmas) for axis in range(3))
        y, x = window.grown(1, ry), window.grown(2, rx)
        slots = min(window.planes + 2 * rz, window.shape[0])
        products, height, width = axes * (axes + 1) // 2, y.stop - y.start, x.stop - x.start
        return {
            "ring": (slots, products, height, width),
            "elements": (products, window.planes, window.height, window.width),
            "planes": (1, window.planes, height * width),
            "lines": (5, window.width + 2 * rx),
        }

    def advance(self, stop: int) -> None:
        """Compute the products of planes until those before ``stop`` have all that they need."""
        window = self.window
        rows = rows_of(self.volume)
        y, x = (reach(window.grown(axis, self.radii[axis]), 1, window.shape[axis]) for axis in (1, 2))
        nz = window.shape[0]
        last = min(stop + self.radii[0], nz)
        for k in range(self.done, last):
            near = [max(k - 1, 0), k, min(k + 1, nz - 1)] if self.axes == 3 else [k] * 3
            z = Reach(np.array(near), 0, 0, 0)
            out = self.ring[k % len(self.ring)][:, np.newaxis]
            gradient_of_rows(rows, (z, y, x), self.axes, SOBEL, PRODUCTS, out)
        self.done = max(self.done, last)

    def eigenvalues(self, sigma: Sigma, start: int, out: Float32) -> None:
        """Eigenvalues at a scale into out (axes, planes, rows, columns), the greatest first."""
        window, count = self.window, out.shape[1]
        slots, products, height, width = self.ring.shape
        rz, ry, rx = (gaussian_radius(s) for s in sigma)
        at = reach(slice(start, start + count), rz, window.shape[0]).voxels % slots
        y = moved(reach(window.y, ry, window.shape[1]), window.grown(1, self.radii[1]).start)
        x = moved(reach(window.x, rx, window.shape[2]), window.grown(2, self.radii[2]).start)
        flat = self.ring.reshape(-1)
        flat.flags.writeable = False  # one compiled kernel for images and products
        elements = self.elements.reshape(-1)[: products * count * window.height * window.width]
        elements = elements.reshape(products, count, window.height, window.width)
        lines = self.lines.reshape(-1)[: 5 * x.voxels.size].reshape(5, x.voxels.size)
        for n, found in enumerate(elements):
            rows = Rows(flat[n * height * width :], products * height * width, width)
            along_z, *others = self.weights[sigma]
            planes_along_z(rows, at, y, x, along_z, ALONE, self.work)
            smooth_rows(self.work, y, x, tuple(others), ALONE, np.arange(count), lines, found, self.none, self.none)
        all_eigenvalues_of_rows(elements.reshape(products, -1), self.chunk, out.reshape(out.shape[0], -1))


class Shifted:
    """Planes of one image with mirrored margins, from which neighbours are copied."""

    def __init__(self, volume: Array, window: Window, reaches: tuple[int, int, int]) -> None:
        self.volume, self.window, self.reaches = volume, window, reaches

    @staticmethod
    def shapes(window: Window, reaches: tuple[int, int, int]) -> Shapes:
        """Shapes of the float32 arrays that are held."""
        rz, ry, rx = reaches
        return {"planes": (1 + 2 * rz, window.height + 2 * ry, window.width + 2 * rx)}

    def fill(self, plane: int, shifts: Sequence[tuple[int, int, int]], out: Sequence[Float32]) -> None:
        """The neighbours of a plane at several shifts, each into a plane of out."""
        window = self.window
        parts = slice(plane, plane + 1), window.y, window.x
        z, y, x = (reach(part, r, n) for part, r, n in zip(parts, self.reaches, window.shape, strict=True))
        near = padded(self.volume, (z, y, x))
        rz, ry, rx = self.reaches
        for (dz, dy, dx), found in zip(shifts, out, strict=True):
            found[:] = near[rz + dz, ry + dy :, rx + dx :][: window.height, : window.width]


def weights_of(sigma: Sigma, derived: bool) -> tuple[tuple[Float32, Float32, Float32], ...]:
    """For each axis a Gaussian and its first two derivatives, from the middle outwards."""
    found = []
    for s in sigma:
        r = gaussian_radius(s)
        orders = [derivative_kernel(s, order if derived and s else 0)[r:].copy() for order in range(3)]
        found.append((orders[0], orders[1], orders[2]))
    return tuple(found)


def moved(item: Reach, origin: int) -> Reach:
    """A reach in an array that begins at ``origin``."""
    return Reach(item.voxels - origin, item.start - origin, item.stop - origin, item.before)


def held_bytes(shapes: Shapes) -> int:
    """Bytes of float32 arrays of these shapes."""
    return 4 * sum(prod(shape) for shape in shapes.values())


def volume_of(x: Array) -> NDArray[np.generic]:
    """An image as a volume of one plane, a volume as it is."""
    return x.reshape((1,) * (3 - x.ndim) + x.shape)
