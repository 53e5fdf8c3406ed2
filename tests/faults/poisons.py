"""Blocks that end, fill, stall or fail whoever computes them, until they are healed.

The poison is a function for ``map_block``. It strikes in the block that holds the voxel `MARK`, as long as a file, its
cure, is absent; so the same pipeline, and with it the same run, can be healed and continued. The kind ``slow`` delays
every block.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bigseg.pipeline.pipeline import Pipeline
from tests.volumes import store

MARK = 255
SIDE, BLOCK = 32, 8
POISONED = 21
"""The block that holds the mark."""
TALL, FLAT = 300, 32
"""Voxels of a volume of ten blocks in a row, large enough for a pyramid."""
KINDS = ("segfault", "memory", "asleep", "error")


def poison(array: np.ndarray, kind: str, cure: str, seconds: float = 1e6, mark: int = MARK) -> np.ndarray:
    """Half of each value; what the kind says where the mark is."""
    import ctypes
    import os
    import time

    if os.path.isdir(f"{cure}.calls"):
        open(f"{cure}.calls/{os.getpid()}-{time.monotonic_ns()}", "x").close()
    if kind == "slow" and not os.path.exists(cure):
        time.sleep(seconds)
    elif array.max() == mark and not os.path.exists(cure):
        if kind == "segfault":
            ctypes.string_at(0)
        elif kind == "memory":
            held = []
            while True:
                held.append(np.ones(16 << 20, np.uint8))
                time.sleep(0.01)
        elif kind == "asleep":
            time.sleep(seconds)
        elif kind == "gil":
            ctypes.PyDLL(None).sleep(int(seconds))
        elif kind == "error":
            raise ValueError("poisoned")
    return array // 2


def calls(cure: Path) -> Path:
    """A folder that, where there is one, gets a file for each call: the process, the time."""
    return cure.with_name(f"{cure.name}.calls")


def make_volume(path: Path) -> Path:
    """64 blocks of noise, one of them with the mark."""
    array = np.random.default_rng(3).integers(0, 200, (SIDE, SIDE, SIDE)).astype(np.uint8)
    place = np.unravel_index(POISONED, (SIDE // BLOCK,) * 3)
    array[tuple(BLOCK * int(n) + 3 for n in place)] = MARK
    return store(path, array, (BLOCK,) * 3)


def make_tall(path: Path) -> Path:
    """Ten blocks of noise in a row."""
    array = np.random.default_rng(3).integers(0, 200, (TALL, FLAT, FLAT)).astype(np.uint8)
    return store(path, array, (FLAT,) * 3)


def pipeline(kind: str, cure: Path, seconds: float = 1e6) -> Pipeline:
    """The poison, then labels of what is bright: stages that need every block of the first."""
    parameters = {"kind": kind, "cure": str(cure), "seconds": seconds}
    steps: list[dict[str, Any]] = [
        {"id": "half", "op": "map_block", "function": poison, "parameters": parameters},
        {"id": "bright", "op": "threshold", "above": 70},
        {"id": "objects", "op": "label"},
        {"id": "regions", "op": "regions", "intensity": "input"},
    ]
    return Pipeline.from_dict({"version": 1, "steps": steps, "save": ["half", "objects"]})


def late_pipeline(cure: Path, mark: int) -> Pipeline:
    """The poison in the second pass, where a label is; a stored image of the first, which does not need it."""
    parameters = {"kind": "error", "cure": str(cure), "mark": mark}
    steps: list[dict[str, Any]] = [
        {"id": "bright", "op": "threshold", "above": 190},
        {"id": "objects", "op": "label", "from": "bright"},
        {"id": "halves", "op": "map_block", "from": "objects", "function": poison, "parameters": parameters},
        {"id": "again", "op": "label", "from": "halves"},
        {"id": "regions", "op": "regions", "intensity": "input"},
    ]
    return Pipeline.from_dict({"version": 1, "steps": steps, "save": ["bright", "objects", "again"]})
