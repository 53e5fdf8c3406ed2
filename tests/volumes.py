"""Volumes that tests read: stored with zarr-python, as other programs would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr


def store(path: Path, array: np.ndarray, chunks: tuple[int, ...] | None = None) -> Path:
    """A bare Zarr v3 array with small odd chunks; every chunk is stored."""
    chunks = chunks or tuple(min(n, 11) for n in array.shape)
    stored = zarr.create_array(
        store=str(path), shape=array.shape, dtype=array.dtype, chunks=chunks, config={"write_empty_chunks": True}
    )
    stored[...] = array
    return path
