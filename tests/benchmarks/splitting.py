"""Splitting packed grains: the chain of split against scikit-image's, distances against scipy and edt.

``OMP_NUM_THREADS=1 ... python -m tests.benchmarks.splitting [--side 160] [--repeats 3] [--pack 432] [--out DIR]``
prints, and writes SPLITTING.json. One thread each, arrays in memory, turn by turn in one run, medians. Ours is what
workers run on blocks: distance, Gaussian, heights, flow and drainage, then the second pass's drainage and painting;
reading, halos and writing are not in it, for either side. scikit-image's gets the same markers, so its h-maxima are
not charged, but named. ``--pack`` splits a pack of that side through the engine and compares it with the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from scipy import ndimage
from skimage.metrics import adapted_rand_error
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

import bigseg
from bigseg.engine.source import Held
from bigseg.functions import describe
from bigseg.local import flow
from bigseg.local.distance import distance_transform
from bigseg.local.drainage import drain
from bigseg.local.linear import gaussian
from bigseg.local.saddles import Saddles, settle
from bigseg.ops.split import Split
from bigseg.pipeline.pipeline import Pipeline

from .measure import ONE_THREAD
from .run import machine

CAP, SIGMA, H, CONNECTIVITY = 16.0, 1.0, 0.5, 2
Array = np.ndarray


def pack(side: int) -> tuple[Array, Array]:
    """Mask and truth of the whole grains of a pack that are one component."""
    phantom = bigseg.phantom("grains", side, seed=2, packing=0.48, jitter=0.1, elongation=1.2)
    truth = np.asarray(phantom.instances).astype(np.uint32)
    edge = np.unique([truth.take(end, axis) for axis in range(3) for end in (0, -1)])
    whole = np.ones(int(truth.max()) + 1, bool)
    whole[edge] = False
    truth = np.where(whole[truth], truth, 0)
    component = cc3d.connected_components(truth > 0, connectivity=6)
    sizes = np.bincount(component.ravel())
    sizes[0] = 0
    truth[component != sizes.argmax()] = 0
    return truth > 0, truth


def ours(mask: Array) -> Array:
    """Both passes on one block."""
    everything = tuple(slice(0, n) for n in mask.shape)
    distance = distance_transform(mask, CAP, (1.0,) * 3, everything)
    high = flow.heights(mask, gaussian(distance, (SIGMA,) * 3, everything), CAP)
    code = flow.flow(high, everything, CONNECTIVITY)
    lead = flow.pointers(code)
    found = drain(lead, code, high)
    sealed = np.ones(len(found.end), bool)
    saddles = Saddles(found.pairs, found.saddles, found.places)
    group, _ = settle(found.height, found.end, sealed, saddles, H * flow.TOP / CAP)
    ids = np.concatenate([[0], np.unique(group, return_inverse=True)[1] + 1]).astype(np.uint32)
    return ids[drain(lead).labels]


def smooth(mask: Array) -> Array:
    """Distances as scipy gives them, smoothed."""
    return ndimage.gaussian_filter(ndimage.distance_transform_edt(mask).astype(np.float32), SIGMA)


def timed(sides: dict[str, Callable[[], Any]], voxels: int, repeats: int) -> dict[str, float]:
    """Nanoseconds a voxel of each side, the median of turns; the first turn is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, call in sides.items():
            begin = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return {name: 1e9 * statistics.median(found) / voxels for name, found in seconds.items()}


def speed(side: int, repeats: int) -> dict[str, float]:
    """Distances, and splitting, of one pack."""
    mask, _ = pack(side)
    everything = tuple(slice(0, n) for n in mask.shape)
    markers = ndimage.label(h_maxima(smooth(mask), H), np.ones((3, 3, 3)))[0]
    sides: dict[str, Callable[[], Any]] = {
        "distance_transform, bigseg": lambda: distance_transform(mask, CAP, (1.0,) * 3, everything),
        "distance_transform, scipy": lambda: ndimage.distance_transform_edt(mask),
        "split, bigseg": lambda: ours(mask),
        "split, scikit-image without its markers": lambda: watershed(-smooth(mask), markers, mask=mask),
    }
    try:
        import edt
    except ImportError:
        pass
    else:
        sides["distance_transform, edt"] = lambda: edt.edt(mask, parallel=1)
    return timed(sides, mask.size, repeats)


def quality(side: int) -> dict[str, float]:
    """A pack through the engine against its truth."""
    mask, truth = pack(side)
    grains = len(np.unique(truth)) - 1
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        run = Pipeline([Split(max_distance=CAP)]).run(
            {"input": Held(mask, describe(mask))}, Path(folder) / "run", workers=0, report=False
        )
        seconds = time.perf_counter() - begin
        found = np.asarray(run.outputs["split"])
    error = float(adapted_rand_error(truth, found)[0])
    share = int(found.max()) / grains
    return {"side": side, "grains": grains, "found, of 1": share, "adapted Rand error": error, "seconds": seconds}


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.splitting", description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pack", type=int, default=0, help="side of a pack for the quality; 432 holds 5,000 grains")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args(arguments)
    if missing := [name for name in ONE_THREAD if os.environ.get(name) != "1"]:
        parser.error(f"one thread each: set {'=1 '.join(missing)}=1 before the command")
    rates = speed(given.side, given.repeats)
    for name, found in rates.items():
        print(f"{name:42} {found:7.1f} ns a voxel")
    ratio = rates["split, scikit-image without its markers"] / rates["split, bigseg"]
    print(f"split: {ratio:.1f} x scikit-image's EDT + watershed, goal >= 3: {'yes' if ratio >= 3 else 'NO'}")
    record: dict[str, Any] = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "side": given.side,
        "nanoseconds": rates,
        "ratio": ratio,
    }
    if given.pack:
        record["pack"] = quality(given.pack)
        print(", ".join(f"{name} {value:.4g}" for name, value in record["pack"].items()))
    (given.out / "SPLITTING.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
