"""The feature stack: what is computed of each voxel, tile by tile, so that all features never exist for a block.

A stack is a list of filters with sigmas in voxels. Features lie in columns in the order of its filters, products
after them. It goes through the part of a block that is wanted in tiles of whole planes (or strips of rows, where
planes are large) and fills one matrix again and again::

    for tile in stack.tiles([block], keep):
        tile.planes            (features, voxels) float32: a feature's voxels lie side by side, as forests take them
        tile.rows()            (voxels, features) float32: a voxel's features lie side by side
        tile.part              where in ``keep`` these voxels lie

Filters make rows of voxels, and a forest ranks one feature after the other, so planar is the form of the matrix.
Turned to rows, as scikit-learn takes them, 61 features cost 70 ns a voxel more, 8 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from bigseg.errors import ParameterError
from bigseg.local.features.filling import Filling, filling_bytes
from bigseg.local.features.filters import (
    EIGENVALUES,
    Filter,
    axes_of,
    check,
    names_of,
    product_name,
    reach_of,
    scales_of,
    tensors_of,
    width_of,
)
from bigseg.local.features.kernels import transpose
from bigseg.local.features.products import fill_products, product_terms
from bigseg.local.features.streams import Window, volume_of
from bigseg.local.filters.linear import Float32, as_real, gaussian_radius
from bigseg.local.filters.reflect import Array

MATRIX_BYTES = 64 << 20
"""A tile's matrix, at most, unless that would leave fewer than `LEAST_ROWS` rows of one plane."""
MOST_PLANES, LEAST_ROWS = 8, 32


class Tile(NamedTuple):
    """Some voxels of the part that is wanted, and their features; overwritten by the next tile.

    part: where they lie in that part, as an index; planes: (features, voxels), voxels in raster order.
    """

    part: tuple[slice, ...]
    planes: Float32

    def rows(self, out: Float32 | None = None) -> Float32:
        """The features of each voxel side by side, (voxels, features), C-contiguous."""
        features, voxels = self.planes.shape
        if out is None:
            out = np.empty((voxels, features), np.float32)
        transpose(self.planes, out.reshape(-1))
        return out


@dataclass(frozen=True)
class Stack:
    """Features of one image or of several of one shape.

    Parameters
    ----------
    filters : in the order of their features.
    ndim : axes of the images, 2 or 3.
    degree : products of up to so many features are added after them, as sklearn PolynomialFeatures without bias.

    Examples
    --------
    >>> stack = Stack((Filter("intensity", name="intensity"), Filter("gaussian", (0.5, 0.5), name="gaussian-0.5")), 2)
    >>> x = np.array([[0, 0, 8, 0, 0]] * 3, "uint8")
    >>> [tile] = stack.tiles([x], (slice(1, 2), slice(1, 4)))
    >>> tile.rows().round(2)
    array([[0.  , 0.85],
           [8.  , 6.29],
           [0.  , 0.85]], dtype=float32)
    """

    filters: tuple[Filter, ...]
    ndim: int
    degree: int = 1

    def __post_init__(self) -> None:
        if self.ndim not in (2, 3):
            raise ParameterError(f"features of images of {self.ndim} axes: expected 2 or 3")
        if not self.filters:
            raise ParameterError("a feature stack without filters: expected one at least")
        for item in self.filters:
            check(item, self.ndim)
        product_terms(self.base, self.degree)  # refuses too many

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each feature."""
        found = names_of(self.filters, self.ndim)
        terms = product_terms(len(found), self.degree)
        return (*found, *(product_name([found[i] for i in term]) for term in terms))

    @property
    def base(self) -> int:
        """Features without products."""
        return sum(width_of(item, self.ndim) for item in self.filters)

    @property
    def images(self) -> int:
        """Images that it takes."""
        return 1 + max(item.image for item in self.filters)

    def depth(self) -> tuple[int, ...]:
        """Halo along each axis in voxels."""
        reaches = [reach_of(item, self.ndim) for item in self.filters]
        return tuple(max(reach[axis] for reach in reaches) for axis in range(self.ndim))

    def cost(self) -> float:
        """Nanoseconds a voxel on one core, halos not counted: 0.09 a tap, 14 for three eigenvalues."""
        taps = 0.0
        for scale in scales_of(self.filters, self.ndim).values():
            passes = 3 + (8 if scale.gradient else 0) + (5 if scale.laplacian else 0)
            taps += passes * sum(2 * gaussian_radius(s) + 1 for s in scale.sigma) / 3
        for (_, axes), sigmas in tensors_of(self.filters, self.ndim).items():
            taps += axes * (axes + 1) / 2 * sum(2 * gaussian_radius(s) + 1 for sigma in sigmas for s in sigma)
        eigen = sum(14 if axes_of(item, self.ndim) == 3 else 5 for item in self.filters if item.kind in EIGENVALUES)
        return 2.0 + 0.09 * taps + eigen + 0.5 * len(self.names)

    def memory(self, outer: Sequence[int], inner: Sequence[int], dtypes: Sequence[DTypeLike] = ()) -> int:
        """Most bytes that `tiles` holds beside images of shape ``outer``, the matrix included.

        Parameters
        ----------
        inner : shape of the part that is wanted.
        dtypes : of the images; half precision is converted as a whole.
        """
        windows = self._first_windows(outer, inner)
        if not windows:
            return 0
        copied = sum(4 * prod(outer) for dtype in dtypes if np.dtype(dtype) == np.float16)
        held = max(filling_bytes(self.filters, self.ndim, window) for window in windows)
        return copied + held + self._matrix_bytes(windows[0])

    def tile_voxels(self, outer: Sequence[int], inner: Sequence[int]) -> int:
        """Voxels of the largest tile."""
        windows = self._first_windows(outer, inner)
        return int(windows[0].planes * windows[0].height * windows[0].width) if windows else 0

    def tiles(
        self, arrays: Sequence[Array], keep: Sequence[slice], start: Sequence[int] = (), tile: Sequence[int] = ()
    ) -> Iterator[Tile]:
        """The features of part of a block, tile by tile.

        Parameters
        ----------
        arrays : images of one shape, any integer, bool or float dtype; each converted to float32 before
            anything else.
        keep : the part that is wanted. Where a voxel within the depth is not in the arrays, they must end at the
            edge of the volume: images are mirrored there (mode 'reflect').
        start : index in the volume of the first voxel of keep, for positions; 0 if left out.
        tile : planes and rows of a tile, by default what `MATRIX_BYTES` allows. No result depends on it.

        Yields
        ------
        Tile : in raster order of their first voxels within a strip of rows. The matrix is overwritten by the next.

        Raises
        ------
        ParameterError : images that differ in shape, too few of them, or a keep that does not lie in them.
        """
        shape = self._checked(arrays, keep)
        volumes = [volume_of(_readable(as_real(x))) for x in arrays]
        matrix = np.empty(0, np.float32)
        for window in self._windows(shape, tuple(keep), tuple(tile)):
            if matrix.size < (size := self._matrix_bytes(window) // 4):
                del matrix
                matrix = np.empty(size, np.float32)
            filling = Filling(self.filters, self.ndim, volumes, window)
            first = window.z.start
            for begin in range(first, window.z.stop, window.planes):
                stop = min(begin + window.planes, window.z.stop)
                voxels = (stop - begin) * window.height * window.width
                planar = matrix[: len(self.names) * voxels].reshape(len(self.names), voxels)
                filling.fill(planar, begin, stop, keep, start or (0,) * self.ndim)
                fill_products(planar, self.base, self.degree)
                rows = slice(window.y.start - keep[-2].start, window.y.stop - keep[-2].start)
                part = (slice(begin - first, stop - first), rows, slice(0, window.width))
                yield Tile(part[3 - self.ndim :], planar)
            del filling  # before the next strip's is made

    def _checked(self, arrays: Sequence[Array], keep: Sequence[slice]) -> tuple[int, ...]:
        if len(arrays) < self.images:
            raise ParameterError(f"a stack of features of {self.images} images: found {len(arrays)}")
        shapes = {x.shape for x in arrays}
        if len(shapes) > 1 or len(arrays[0].shape) != self.ndim:
            raise ParameterError(f"features: expected images of one shape and {self.ndim} axes, found {sorted(shapes)}")
        (shape,) = shapes
        inside = [0 <= k.start <= k.stop <= n for k, n in zip(keep, shape, strict=False)]
        if len(keep) != self.ndim or not all(inside):
            raise ParameterError(f"keep {tuple(keep)} does not lie in images of shape {shape}")
        return shape

    def _windows(self, shape: tuple[int, ...], keep: tuple[slice, ...], tile: tuple[int, ...] = ()) -> Iterator[Window]:
        """Strips of rows, the last of them lower."""
        z, y, x = (slice(0, 1),) * (3 - self.ndim) + keep
        planes, rows, width = (part.stop - part.start for part in (z, y, x))
        if not planes * rows * width:
            return
        if tile:
            most, tall = tile
        else:
            row = 4 * len(self.names) * width
            tall = min(rows, max(LEAST_ROWS, MATRIX_BYTES // row))
            most = min(planes, MOST_PLANES, max(1, MATRIX_BYTES // (row * tall)))
        nz, ny, nx = (1,) * (3 - self.ndim) + shape
        for top in range(y.start, y.stop, tall):
            yield Window((nz, ny, nx), z, slice(top, min(top + tall, y.stop)), x, min(most, planes))

    def _matrix_bytes(self, window: Window) -> int:
        return 4 * len(self.names) * window.planes * window.height * window.width

    def _first_windows(self, outer: Sequence[int], inner: Sequence[int]) -> list[Window]:
        """Up to three: what lies between others has margins to both sides."""
        keep = tuple(slice((m - n) // 2, (m - n) // 2 + n) for n, m in zip(inner, outer, strict=True))
        return list(islice(self._windows(tuple(outer), keep), 3))


def features_of(stack: Stack, arrays: Sequence[Array], keep: Sequence[slice], start: Sequence[int] = ()) -> Any:
    """All features of a part at once, (features, *shape of keep) float32: for what fits in memory.

    >>> stack = Stack((Filter("position", shift=(0, 1), divisor=10.0, name="position-x-10"),), 2)
    >>> features_of(stack, [np.zeros((2, 3))], (slice(0, 1), slice(0, 3)))
    array([[[0. , 0.1, 0.2]]], dtype=float32)
    """
    shape = tuple(k.stop - k.start for k in keep)
    out = np.empty((len(stack.names), *shape), np.float32)
    for tile in stack.tiles(arrays, keep, start):
        out[(slice(None), *tile.part)] = tile.planes.reshape(-1, *(p.stop - p.start for p in tile.part))
    return out


def _readable(x: Array) -> Array:
    """Copied once where every stream would have to: other byte orders, and rows that are no rows in memory."""
    if x.dtype.isnative and x.strides[-1] == x.itemsize and all(step > 0 for step in x.strides):
        return x
    return np.ascontiguousarray(x, x.dtype.newbyteorder("="))
