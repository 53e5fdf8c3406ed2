"""A tile of features, filled filter by filter from what the filters of a window share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bigseg.local.features.filters import (
    Filter,
    axes_of,
    key_of,
    scales_of,
    shifts_of,
    sigma_of,
    tensors_of,
    width_of,
)
from bigseg.local.features.streams import Products, Shifted, Smoothing, Window, held_bytes
from bigseg.local.filters.linear import Float32
from bigseg.local.filters.reflect import Array


class Filling:
    """The streams of a window, and what each filter takes from them."""

    def __init__(self, filters: Sequence[Filter], ndim: int, volumes: Sequence[Array], window: Window) -> None:
        self.filters, self.ndim, self.volumes, self.window = filters, ndim, volumes, window
        self.scales = {
            key: Smoothing(volumes[key[0]], window, scale) for key, scale in scales_of(filters, ndim).items()
        }
        self.tensors = {
            (image, axes): Products(volumes[image], window, axes, sigmas)
            for (image, axes), sigmas in tensors_of(filters, ndim).items()
        }
        self.shifted = {image: Shifted(volumes[image], window, far) for image, far in shifts_of(filters, ndim).items()}

    def fill(self, planar: Float32, begin: int, stop: int, keep: Sequence[slice], start: Sequence[int]) -> None:
        """Planes from ``begin`` to ``stop`` of the window, every feature a row of the matrix.

        keep: what is wanted of the images; start: index in the volume of its first voxel.
        """
        window = self.window
        streams: list[Smoothing | Products] = [*self.scales.values(), *self.tensors.values()]
        for stream in streams:
            stream.advance(stop)
        tile = stop - begin, window.height, window.width
        neighbours: dict[int, list[tuple[tuple[int, int, int], Float32]]] = {}
        column = 0
        for item in self.filters:
            width = width_of(item, self.ndim)
            out = planar[column : column + width].reshape(width, *tile)
            column += width
            if item.kind == "neighbour":
                z, y, x = (0,) * (3 - self.ndim) + item.shift
                neighbours.setdefault(item.image, []).append(((z, y, x), out[0]))
            elif item.kind == "position":
                self._position(item, out[0], begin, keep, start)
            elif item.kind == "intensity":
                out[0] = self.volumes[item.image][begin:stop, window.y, window.x]
            elif item.kind == "structure_tensor_eigenvalue":
                self.tensors[item.image, axes_of(item, self.ndim)].eigenvalues(sigma_of(item, self.ndim), begin, out)
            else:
                self._scaled(item, begin, out)
        for image, wanted in neighbours.items():
            for k in range(stop - begin):
                self.shifted[image].fill(begin + k, [shift for shift, _ in wanted], [out[k] for _, out in wanted])

    def _scaled(self, item: Filter, begin: int, out: Float32) -> None:
        stream = self.scales[key_of(item, self.ndim)]
        if item.kind == "hessian_eigenvalue":
            stream.hessian(begin, out)
        elif item.kind in ("sobel", "edges"):
            stream.sobel(begin, out[0], item.kind == "edges")
        elif item.kind == "difference_of_gaussians":
            narrow = self.scales[key_of(item, self.ndim, True)]
            for k, plane in enumerate(out[0], begin):
                np.subtract(narrow.inside(narrow.smooth, k), stream.inside(stream.smooth, k), out=plane)
        else:
            rings = {"gaussian_gradient_magnitude": stream.gradient, "laplacian_of_gaussian": stream.laplacian}
            stream.take(rings.get(item.kind, stream.smooth), begin, out[0])

    def _position(self, item: Filter, out: Float32, begin: int, keep: Sequence[slice], start: Sequence[int]) -> None:
        axis = item.shift.index(1) + 3 - self.ndim
        more = 3 - self.ndim
        firsts = (begin, self.window.y.start, self.window.x.start)
        origin = 0 if axis < more else start[axis - more] - keep[axis - more].start
        index = np.arange(out.shape[axis]) + (firsts[axis] + origin)
        values = (index / item.divisor).astype(np.float32)
        out[:] = values.reshape([-1 if a == axis else 1 for a in range(3)])


def filling_bytes(filters: Sequence[Filter], ndim: int, window: Window) -> int:
    """Most bytes that a `Filling` holds."""
    shapes = [Smoothing.shapes(window, scale) for scale in scales_of(filters, ndim).values()]
    shapes += [Products.shapes(window, axes, sigmas) for (_, axes), sigmas in tensors_of(filters, ndim).items()]
    shapes += [Shifted.shapes(window, reaches) for reaches in shifts_of(filters, ndim).values()]
    # Reaches, kernels and Python's objects beside the arrays.
    return sum(map(held_bytes, shapes)) + 12288 * len(shapes) + 64 * sum(window.shape) + (128 << 10)
