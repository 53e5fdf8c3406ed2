"""A volume of any size without a file: smooth blobs and noise around 128 that repeat, without a seam.

Workers import this module to read it: it needs nothing that they have not loaded anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from bigseg.engine.field import Array
from bigseg.grid import Box, Shape
from bigseg.storage.spec import Spec

TILE = (48, 80, 80)
SIGMA = 1.5


@dataclass(frozen=True, eq=False)
class Tiles:
    """A source of a shape and dtype."""

    spec: Spec
    path = "tiles"
    name = "tiles"
    cost = 3.0

    @classmethod
    def of(cls, shape: Shape, dtype: str) -> Tiles:
        """In three dimensions, with voxels of size 1."""
        return cls(Spec(shape, np.dtype(dtype), ("z", "y", "x"), (1.0, 1.0, 1.0)))

    def read(self, box: Box) -> Array:
        """The voxels of a box."""
        places = (np.arange(a, b) % n for a, b, n in zip(*box, TILE, strict=True))
        return np.ascontiguousarray(tile(str(self.spec.dtype))[np.ix_(*places)])

    def describe(self) -> dict[str, str]:
        """For people."""
        return {"path": self.path}

    def token(self) -> str:
        """The same for all of a shape and dtype."""
        return f"tiles {self.spec.shape} {self.spec.dtype}"


@cache
def tile(dtype: str) -> Array:
    """What repeats."""
    noise = np.random.default_rng(11).standard_normal((2, *TILE))
    wave = sum(
        np.fft.fftfreq(n).reshape([-1 if k == axis else 1 for k in range(3)]) ** 2 for axis, n in enumerate(TILE)
    )
    smooth = np.fft.ifftn(np.fft.fftn(noise[0]) * np.exp(-2 * (np.pi * SIGMA) ** 2 * wave)).real
    values = (128 + 25 * smooth / smooth.std() + 3 * noise[1]).clip(1, 254)
    found: Array = values if np.dtype(dtype).kind == "f" else np.rint(values)
    return found.astype(dtype)
