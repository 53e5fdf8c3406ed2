"""Masks that are hard to label: all densities, rows of one voxel, spirals, combs, checkerboards."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

Array = np.ndarray[Any, Any]
Cuts = tuple[tuple[int, ...], ...]


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    """2-D and 3-D shapes, often with sides of 1, and rows that end inside, at and after a 64-bit word."""
    ndim = draw(st.sampled_from((2, 3)))
    rest = tuple(draw(st.integers(1, 6)) for _ in range(ndim - 1))
    return (*rest, draw(st.sampled_from((1, 2, 5, 63, 64, 65, 127, 130))))


@st.composite
def masks(draw: st.DrawFn) -> Array:
    """Random masks of any density, some smooth along x."""
    shape = draw(shapes())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = rng.random(shape) < draw(st.floats(0.05, 0.95))
    if draw(st.booleans()):
        mask = np.repeat(mask, draw(st.integers(2, 40)), axis=-1)[..., : shape[-1]]
    return np.ascontiguousarray(mask)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...]) -> Cuts:
    """Where to cut each axis into blocks: starts and the end."""
    return tuple((0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=3)) if n > 1 else ()), n) for n in shape)


def in_raster_order(labels: Array) -> Array:
    """Labels renumbered by their first voxels, which skimage does not always do."""
    numbers, first = np.unique(labels, return_index=True)
    numbers, first = numbers[numbers > 0], first[numbers > 0]
    table = np.zeros(labels.max(initial=0) + 1, int)
    table[numbers[np.argsort(first)]] = np.arange(1, len(numbers) + 1)
    return table[labels]


def spiral(n: int) -> Array:
    """A line of one voxel's width that winds from the rim to the middle."""
    mask = np.zeros((n, n), bool)
    y = x = 0
    dy, dx = 0, 1
    mask[0, 0] = True
    for length in [n - 1] + [k for k in range(n - 1, 0, -2) for _ in range(2)]:
        for _ in range(length):
            y, x = y + dy, x + dx
            if 0 <= y < n and 0 <= x < n:
                mask[y, x] = True
        dy, dx = dx, -dy
    return mask


def special() -> dict[str, Array]:
    """Masks by name."""
    comb = np.zeros((9, 8, 150), bool)
    comb[:, :, ::2] = True
    comb[-1] = True
    teeth = np.zeros((8, 9, 131), bool)
    teeth[:, ::2] = True
    teeth[:, :, -1] = True
    board = np.indices((7, 8, 129)).sum(0) % 2 == 0
    dots = np.zeros((5, 6, 140), bool)
    dots[::2, ::2, ::2] = True
    steps = np.zeros((70, 70), bool)
    steps[np.arange(70), np.arange(70)] = True
    return {
        "empty": np.zeros((3, 4, 70), bool),
        "full": np.ones((3, 4, 70), bool),
        "one voxel": np.ones((1, 1, 1), bool),
        "comb": comb,
        "comb upside down": comb[::-1],
        "teeth": teeth,
        "checkerboard": board,
        "dots": dots,
        "spiral": spiral(71),
        "spiral through planes": np.stack([spiral(66)] * 3).transpose(1, 0, 2),
        "diagonal": steps,
        "other diagonal": steps[:, ::-1],
    }
