"""Feature stacks against scikit-image's multiscale_basic_features: one thread each, turn by turn in one run.

``OMP_NUM_THREADS=1 ... python -m tests.benchmarks.features [--repeats 3] [--out DIR]`` writes FEATURES.md and
FEATURES.json. Ours go through the block tile by tile, as below a classifier; scikit-image gives all at once. Values
are compared away from the edge, where the modes of the two agree.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from skimage.feature import multiscale_basic_features

from bigseg.local.features.stack import features_of
from bigseg.local.linear import gaussian_radius
from bigseg.ops.features import Features
from bigseg.storage.spec import Spec

from .kernels import volume
from .measure import ONE_THREAD
from .run import machine

GOAL = 5.0
SHAPES = ((160, 160, 160), (1024, 1024))
TOLERANCE = 1e-5
"""Of a feature's range; or a tenth of it of the image's range, which second differences of float32 keep."""


def image(shape: tuple[int, ...]) -> np.ndarray:
    """Smooth blobs plus noise as float32 between 0 and 1, which scikit-image takes as they are."""
    side = max(shape) if len(shape) == 3 else 160
    found = volume(side, "uint16").astype(np.float32) / np.float32(65535)
    return found if len(shape) == 3 else np.tile(found[80], (7, 7))[: shape[0], : shape[1]].copy()


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


def measure(shape: tuple[int, ...], repeats: int) -> dict[str, Any]:
    """One row of the table."""
    x = image(shape)
    axes = ("z", "y", "x")[-len(shape) :]
    stack = Features(preset="basic").stack(Spec(shape, x.dtype, axes, (1.0,) * len(shape)))
    keep = tuple(slice(0, n) for n in shape)
    worst = difference(features_of(stack, [x], keep), multiscale_basic_features(x, workers=1), stack.names, np.ptp(x))
    seconds: dict[str, list[float]] = {"bigseg": [], "scikit-image": []}
    for _ in range(repeats):
        begin = time.process_time()
        for _ in stack.tiles([x], keep):
            pass
        middle = time.process_time()
        multiscale_basic_features(x, workers=1)
        seconds["bigseg"].append(middle - begin)
        seconds["scikit-image"].append(time.process_time() - middle)
    rates = {who: x.size / statistics.median(runs) / 1e6 for who, runs in seconds.items()}
    return {
        "shape": shape,
        "features": len(stack.names),
        "rate": rates["bigseg"],
        "peer_rate": rates["scikit-image"],
        "ratio": rates["bigseg"] / rates["scikit-image"],
        "agrees": bool(worst <= 1),
        "held": stack.memory(shape, shape),
        "peer_holds": 4 * len(stack.names) * x.size,
        "seconds": seconds,
    }


def render(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    facts = record["machine"]
    lines = [
        "# Features, one thread",
        "",
        f"`{record['command']}`, {record['began']}, {facts['cores']} x {facts['processor']}, load {facts['load']} at "
        f"the start; medians of {record['repeats']} in processor time, turn by turn on the same array in memory. Peer: "
        "skimage.feature.multiscale_basic_features, workers=1, the same filters and scales.",
        "",
        "| array | features | bigseg, Mvox/s | scikit-image | ratio | goal | reached | same | held, MiB | all, MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        reached, same = ("yes" if row["ratio"] >= GOAL else "**no**"), ("yes" if row["agrees"] else "**no**")
        lines.append(
            f"| {' x '.join(map(str, row['shape']))} float32 | {row['features']} | {row['rate']:.2f} "
            f"| {row['peer_rate']:.2f} | {row['ratio']:.1f} x | >= {GOAL:g} x | {reached} | {same} "
            f"| {row['held'] / 2**20:.0f} | {row['peer_holds'] / 2**20:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.features", description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args(arguments)
    if missing := [name for name in ONE_THREAD if os.environ.get(name) != "1"]:
        parser.error(f"one thread each: set {'=1 '.join(missing)}=1 before the command")
    options = " ".join(arguments if arguments is not None else sys.argv[1:])
    record: dict[str, Any] = {
        "command": f"python -m tests.benchmarks.features {options}".strip(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "repeats": given.repeats,
        "rows": [],
    }
    given.out.mkdir(parents=True, exist_ok=True)
    for shape in SHAPES:
        found = measure(shape, given.repeats)
        record["rows"].append(found)
        print(f"{shape!s:18} {found['rate']:8.2f} Mvox/s  {found['ratio']:6.1f} x", flush=True)
        (given.out / "FEATURES.json").write_text(json.dumps(record, indent=1) + "\n")
        (given.out / "FEATURES.md").write_text(render(record))


if __name__ == "__main__":
    main()
