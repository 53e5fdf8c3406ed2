"""A filter on parts of a volume against the same filter on the whole: the bits must be the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.grid import Box

Keep = tuple[slice, ...]
Filter = Callable[[NDArray[Any], Keep], NDArray[Any]]


def textured(shape: Sequence[int], dtype: str = "float32", seed: int = 0) -> NDArray[Any]:
    """A bright half, a gradient and noise, around 100."""
    rng = np.random.default_rng(seed)
    index = np.indices(tuple(shape), np.float64)
    values = 80 + 60 * (index[-1] > shape[-1] / 2) + 10 * index[0] / shape[0] + rng.normal(0, 6, tuple(shape))
    return values.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(values).astype(dtype)


def whole(shape: Sequence[int]) -> Keep:
    """All of an array."""
    return tuple(slice(0, n) for n in shape)


def assert_same_bits(run: Filter, x: NDArray[Any], inner: Box, depth: Sequence[int], expected: NDArray[Any]) -> None:
    """The part in a box, computed from what lies within the depth of it, is that of the whole."""
    outer = inner.grow(depth, x.shape)
    found = run(x[outer.slices], inner.within(outer))
    assert found.tobytes() == expected[inner.slices].tobytes(), f"{inner} of {x.shape}"


def assert_shifts_do_not_show(run: Filter, x: NDArray[Any], depth: Sequence[int]) -> None:
    """Crops that start 1 to 17 voxels on, along each axis, and end short of the end."""
    expected = run(x, whole(x.shape))
    for axis in range(x.ndim):
        for shift in range(1, min(18, x.shape[axis] - 3)):
            start = tuple(shift if a == axis else 0 for a in range(x.ndim))
            stop = tuple(n - (2 if a == axis else 0) for a, n in enumerate(x.shape))
            assert_same_bits(run, x, Box(start, stop), depth, expected)


def assert_blocks_do_not_show(run: Filter, x: NDArray[Any], depth: Sequence[int], block: Sequence[int]) -> None:
    """Every block of a grid."""
    expected = run(x, whole(x.shape))
    for place in np.ndindex(*(-(-n // b) for n, b in zip(x.shape, block, strict=True))):
        start = tuple(int(p) * b for p, b in zip(place, block, strict=True))
        stop = tuple(min(n, a + b) for a, b, n in zip(start, block, x.shape, strict=True))
        assert_same_bits(run, x, Box(start, stop), depth, expected)
