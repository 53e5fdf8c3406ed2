"""Images that the storage tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigseg.grid import Grid, Shape
from bigseg.storage import blocks
from bigseg.storage.create import create_image
from bigseg.storage.spec import Spec
from bigseg.storage.volume import Volume

Make = Callable[..., Volume]


def spec_of(array: np.ndarray, **changes: Any) -> Spec:
    """A description with half a micrometer along y and x, and one along z."""
    axes = ("z", "y", "x")[-array.ndim :]
    spacing = (1.0, 0.5, 0.5)[-array.ndim :]
    return Spec(array.shape, array.dtype, axes, spacing, "micrometer", **changes)


def numbers(shape: Shape, dtype: Any = "uint16", seed: int = 0) -> np.ndarray:
    """Random voxels of any dtype."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.random(shape) < 0.5
    if kind == "f":
        return rng.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def write_all(volume: Volume, array: np.ndarray, block: Shape) -> list[blocks.Shard]:
    """Write a whole level block by block."""
    return [
        shard
        for part in Grid(array.shape, block)
        for shard in blocks.write(volume, part.inner, array[part.inner.slices])
    ]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes an image in a fresh folder and writes its level 0."""

    def make_image(array: np.ndarray, block: Shape, name: str = "image.ome.zarr", **options: Any) -> Volume:
        changes = {key: options.pop(key) for key in ("kind", "origin", "bounds") if key in options}
        volume = create_image(tmp_path / name, spec_of(array, **changes), block, **options)
        write_all(volume, array, block)
        return volume

    return make_image
