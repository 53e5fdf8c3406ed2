"""A row of the exactness table: what it runs, and what it must equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from bigseg.ops.base import Op
from bigseg.ops.registry import OPS
from bigseg.pipeline.steps import Step

INTEGERS = ("uint8", "uint16", "int16")
ALL = (*INTEGERS, "float32")


@dataclass(frozen=True)
class Case:
    """A row: the steps before and of the operation, and what it must equal."""

    op: str
    steps: Callable[[int], list[Op | Step]]
    oracle: Callable[[np.ndarray], Any]
    dtypes: tuple[str, ...] = ALL
    tolerance: float = 0.0
    """Of the value range; 0 means exactly."""
    name: str = ""


def op(name: str, **parameters: Any) -> Op:
    return OPS[name](**parameters)


def structure(image: np.ndarray, connectivity: int) -> np.ndarray:
    return ndimage.generate_binary_structure(image.ndim, connectivity)
