"""Splitting packed grains: the chain of split against scikit-image's, distances against scipy and edt.

``python -m tests.benchmarks.splitting [--side 160] [--repeats 3] [--pack 432] [--out DIR]`` writes SPLITTING.md and
SPLITTING.json. One thread each, arrays in memory, turn by turn in one run, medians. Ours is what workers run on blocks:
distance, Gaussian, heights, flow and drainage, then the second pass's drainage and painting; reading, halos and writing
are not in it, for either side. scikit-image's gets the markers for nothing, which ours finds itself. ``--pack`` splits
a pack of that side through the engine and compares it with the truth.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
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
from bigseg.local.basins import flow
from bigseg.local.basins.distance import distance_transform
from bigseg.local.basins.drainage import drain
from bigseg.local.basins.saddles import Saddles, settle
from bigseg.local.filters.linear import gaussian
from bigseg.ops.split import Split
from bigseg.pipeline.pipeline import Pipeline

from .measure import turns, with_one_thread
from .page import begun, circumstances, command_line, compared, comparison, said, write

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


def speed(side: int, repeats: int) -> list[dict[str, Any]]:
    """Distances, and splitting, of one pack."""
    mask, _ = pack(side)
    everything = tuple(slice(0, n) for n in mask.shape)
    markers = ndimage.label(h_maxima(smooth(mask), H), np.ones((3, 3, 3)))[0]
    sides: dict[str, Callable[[], Any]] = {
        "distances": lambda: distance_transform(mask, CAP, (1.0,) * 3, everything),
        "scipy": lambda: ndimage.distance_transform_edt(mask),
        "split": lambda: ours(mask),
        "scikit-image": lambda: watershed(-smooth(mask), markers, mask=mask),
    }
    try:
        import edt
    except ImportError:
        pass
    else:
        sides["edt"] = lambda: edt.edt(mask, parallel=1)
    seconds, given = turns(sides, repeats)
    away = float(np.abs(given["distances"] - np.minimum(given["scipy"], CAP)).max())
    same = f"within {away:.0e} voxels; bigseg stops at {CAP:g}, the deepest is {given['scipy'].max():.1f}"
    rates = {name: mask.size / statistics.median(found) / 1e6 for name, found in seconds.items()}
    data = f"{side}^3, {np.count_nonzero(mask) / mask.size:.0%} grains"
    split = "split: distance, Gaussian, watershed by flow"
    peer = "scikit-image: EDT, Gaussian, watershed; markers given"
    return [
        comparison(split, data, rates["split"], peer, rates["scikit-image"], 3.0),
        *(
            comparison(f"distance_transform up to {CAP:g}", data, rates["distances"], name, rates[name], None, same)
            for name in ("scipy", "edt")
            if name in rates
        ),
    ]


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


def render(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    lines = [
        "# Splitting packed grains, one thread",
        "",
        f"{circumstances(record)}; medians of {record['repeats']} in processor time, turn by turn on arrays in memory, "
        "the first turn of none counted.",
        "",
        *compared(record["rows"]),
    ]
    if "pack" in record:
        lines += ["", ", ".join(f"{name} {value:.4g}" for name, value in record["pack"].items()) + "."]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = command_line("splitting", __doc__)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pack", type=int, default=0, help="side of a pack for the quality; 432 holds 5,000 grains")
    given = parser.parse_args(arguments)
    with_one_thread("splitting")
    record: dict[str, Any] = {**begun("splitting", arguments), "repeats": given.repeats}
    record["rows"] = speed(given.side, given.repeats)
    print("\n".join(map(said, record["rows"])), flush=True)
    if given.pack:
        record["pack"] = quality(given.pack)
    write(given.out, "SPLITTING", record, render)


if __name__ == "__main__":
    main()
