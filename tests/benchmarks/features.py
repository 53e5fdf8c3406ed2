"""Feature stacks against scikit-image's multiscale_basic_features: the same filters and scales, one thread each.

A section of `learning`. Ours go through the block tile by tile, as below a classifier, or into one array of all
features as scikit-image gives them; both are judged. Values are compared away from the edge, where the modes of the two
agree.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
from skimage.feature import multiscale_basic_features

from bigseg.local.features.stack import Stack, features_of
from bigseg.local.filters.linear import gaussian_radius
from bigseg.ops.learning.features import Features
from bigseg.storage.spec import Spec

from .kernels import volume
from .measure import serve, turns
from .page import compared, comparison

GOAL = 5.0
SHAPES = ((160, 160, 160), (1024, 1024))
TOLERANCE = 1e-5
"""Of a feature's range; or a tenth of it of the image's range, which second differences of float32 keep."""


def image(shape: tuple[int, ...]) -> np.ndarray:
    """Smooth blobs plus noise as float32 between 0 and 1, which scikit-image takes as they are."""
    side = max(shape) if len(shape) == 3 else 160
    found = volume(side, "uint16").astype(np.float32) / np.float32(65535)
    return found if len(shape) == 3 else np.tile(found[80], (7, 7))[: shape[0], : shape[1]].copy()


def basic(shape: tuple[int, ...]) -> Stack:
    """The preset ``basic`` of float32 arrays of a shape: multiscale_basic_features with its defaults."""
    axes = ("z", "y", "x")[-len(shape) :]
    return Features(preset="basic").stack(Spec(shape, np.dtype(np.float32), axes, (1.0,) * len(shape)))


def difference(ours: np.ndarray, peer: np.ndarray, names: tuple[str, ...], span: float) -> float:
    """The worst feature's greatest difference, in units of what is tolerated; wide scales of small images left out."""
    worst = 0.0
    for place, name in enumerate(names):
        margin = gaussian_radius(float(name.rsplit("-", 1)[1])) + 2
        inside = tuple(slice(margin, n - margin) for n in ours.shape[1:])
        wanted = peer[..., place][inside]
        if wanted.size:
            allowed = max(TOLERANCE * np.ptp(wanted), TOLERANCE / 10 * span)
            worst = max(worst, float(np.abs(ours[place][inside] - wanted).max()) / allowed)
    return worst


def rows(shape: tuple[int, ...], repeats: int) -> list[dict[str, Any]]:
    """Both rows of an array."""
    x, stack = image(shape), basic(shape)
    keep = tuple(slice(0, n) for n in shape)

    def tiles() -> int:
        return sum(tile.planes.shape[1] for tile in stack.tiles([x], keep))

    sides = {
        "tiles": tiles,
        "array": lambda: features_of(stack, [x], keep),
        "peer": lambda: multiscale_basic_features(x, workers=1),
    }
    seconds, found = turns(sides, repeats)
    agree = difference(found["array"], found["peer"], stack.names, float(np.ptp(x))) <= 1
    rates = {who: x.size / statistics.median(runs) / 1e6 for who, runs in seconds.items()}
    data = f"{' x '.join(map(str, shape))} float32, {len(stack.names)} features"
    names = {"tiles": "features, tile by tile", "array": "features, all in one array"}
    same = "inside, within 1e-5 of a range" if agree else "**no**"
    held = {"tiles": stack.memory(shape, shape), "array": found["array"].nbytes}
    return [
        {
            **comparison(title, data, rates[who], "multiscale_basic_features, workers=1", rates["peer"], GOAL, same),
            "held": held[who],
            "seconds": seconds,
        }
        for who, title in names.items()
    ]


def section(found: Mapping[str, Any]) -> list[str]:
    """Lines of the page."""
    held = "; ".join(f"{row['data']}: {row['held'] / 2**20:.0f} MiB {row['row'][10:]}" for row in found["rows"])
    return [
        "Rates a core, of processor time; one array in memory, turn by turn, the first turn of neither counted. The "
        "same filters and sigmas (0.5 to 16) in the same order; scikit-image puts a voxel's features side by side, "
        "bigseg a feature's voxels.",
        "",
        *compared(found["rows"]),
        "",
        f"bigseg holds: {held}.",
    ]


def measure(task: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of the table."""
    return {"rows": [row for shape in SHAPES for row in rows(shape, task["repeats"])]}


if __name__ == "__main__":
    serve(measure)
