"""The table of objects against scikit-image and dask-image: the same columns, of the same labels.

    python -m tests.benchmarks.regions --work /dev/shm/bench

Smooth blobs in noise, uint16: 384^3, and 256^3 with 10,000 objects.

1. `bigseg.regions` and skimage.measure.regionprops_table with the same properties, both on arrays in memory in this
   process, on one thread, turn by turn: ours through the whole engine, to the DataFrame.
2. The same from stores: two workers read labels and intensity and write the table; the peer still in memory.
3. 256^3: sum, mean, minimum and maximum, ours from stores, dask_image.ndmeasure on arrays in memory.
   dask-image scans the volume for every object: it is stopped after ``--patience`` seconds, and the ratio is then a
   lower bound, with the share of the objects it had done.

Writes TABLES.md and TABLES.json; the other part of them is `tune`'s.
"""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from tests.benchmarks.measure import with_one_thread
from tests.benchmarks.page import Record, begun, command_line
from tests.benchmarks.tables_page import keep

GOAL, DASK_GOAL = 20, 100
COLUMNS = (
    "label",
    "num_pixels",
    "area",
    "bbox",
    "centroid",
    "equivalent_diameter_area",
    "extent",
    "inertia_tensor",
    "inertia_tensor_eigvals",
    "axis_major_length",
    "axis_minor_length",
    "intensity_min",
    "intensity_max",
    "intensity_mean",
    "intensity_std",
    "centroid_weighted",
)


def phantom(side: int, sigma: float, share: float, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Labels of smooth blobs, and grey values with noise."""
    rng = np.random.default_rng(3)
    smooth = ndimage.gaussian_filter(rng.standard_normal((side,) * 3, dtype=np.float32), sigma)
    smooth /= smooth.std()
    labels, count = ndimage.label(smooth > np.quantile(smooth[::4, ::4, ::4], 1 - share))
    if most is not None and count > most:
        labels[labels > most] = 0
    grey = np.clip(10_000 + 3_000 * smooth + 500 * rng.standard_normal(smooth.shape, dtype=np.float32), 0, 65535)
    return labels.astype(np.uint32), grey.astype(np.uint16)


def from_stores(labels: Path, grey: Path, out: Path, workers: int) -> tuple[float, int]:
    """Seconds of a run from stores to a table on a warm cluster, median of five after two; rows."""
    from bigseg import Regions
    from bigseg.engine.cluster.starting import local_cluster
    from bigseg.pipeline.pipeline import Pipeline
    from bigseg.pipeline.steps import Step

    pipeline = Pipeline([Step("regions", Regions(intensity="grey"), ("labels",))])
    times = []
    cluster = local_cluster(workers, 4 << 30)
    where = {"scheduler": cluster.client.scheduler.address}
    try:
        for _ in range(7):
            shutil.rmtree(out, ignore_errors=True)
            began = time.perf_counter()
            run = pipeline.run({"labels": labels, "grey": grey}, out, block=(128,), report=False, **where)
            times.append(time.perf_counter() - began)
    finally:
        cluster.close()
    rows = len(run.tables["regions"])
    shutil.rmtree(out)
    return statistics.median(times[2:]), rows


def in_memory(labels: np.ndarray, grey: np.ndarray, repeats: int) -> dict[str, float]:
    """Seconds and processor seconds of `bigseg.regions` and of scikit-image on arrays, turn by turn; medians."""
    from skimage.measure import regionprops_table

    from bigseg import regions

    sides = {
        "": lambda: regions(labels, intensity=grey),
        "peer_": lambda: regionprops_table(labels, grey, properties=COLUMNS),
    }
    found: dict[str, list[float]] = {f"{side}{what}": [] for side in sides for what in ("seconds", "processor")}
    regions(labels, intensity=grey)
    for _ in range(repeats):
        for side, function in sides.items():
            began, busy = time.perf_counter(), time.process_time()
            function()
            found[f"{side}seconds"].append(time.perf_counter() - began)
            found[f"{side}processor"].append(time.process_time() - busy)
    return {name: statistics.median(times) for name, times in found.items()}


def by_dask_image(labels: np.ndarray, grey: np.ndarray, count: int, patience: float) -> tuple[float, int]:
    """Seconds of dask-image for sum, mean and extrema, on threads; objects done before patience ended."""
    import dask
    import dask.array as da
    from dask_image import ndmeasure

    dask.config.set(scheduler="threads", num_workers=2)
    image, names = da.from_array(grey, chunks=128), da.from_array(labels, chunks=128)
    began, done, step = time.perf_counter(), 0, 100
    while done < count and time.perf_counter() - began < patience:
        index = np.arange(done + 1, min(done + step, count) + 1)
        for function in (ndmeasure.sum_labels, ndmeasure.mean, ndmeasure.minimum, ndmeasure.maximum):
            dask.compute(function(image, names, index))
        done += len(index)
    return time.perf_counter() - began, done


def main() -> None:
    from tests.volumes import store

    with_one_thread("regions")
    parser = command_line("regions", __doc__)
    parser.add_argument("--work", type=Path, default=Path("/tmp/bench"))
    parser.add_argument("--patience", type=float, default=120.0, help="seconds that dask-image may take")
    parser.add_argument("--repeats", type=int, default=3, help="turns in memory")
    arguments = parser.parse_args()
    work: Path = arguments.work / "regions"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    record: Record = {**begun("regions", None), "repeats": arguments.repeats, "rows": [], "notes": []}
    for side, sigma, share, most in ((256, 1.5, 0.1, 10_000), (384, 2.5, 0.15, None)):
        labels, grey = phantom(side, sigma, share, most)
        paths = store(work / f"l{side}.zarr", labels, (64,) * 3), store(work / f"g{side}.zarr", grey, (64,) * 3)
        alone = in_memory(labels, grey, arguments.repeats)
        seconds, rows = from_stores(*paths, work / "run", 2)
        row = {"side": side, "objects": rows, "peer": "scikit-image", "goal": GOAL}
        stored = {**row, "where": "from stores", "seconds": seconds, "peer_seconds": alone["peer_seconds"]}
        record["rows"] += [{**row, "where": "in memory", **alone}, stored]
        if most is not None:
            spent, done = by_dask_image(labels, grey, rows, arguments.patience)
            whole = {"peer_seconds": spent * rows / done, "extended": True, "goal": DASK_GOAL}
            record["rows"].append({**stored, "peer": "dask-image: sum, mean, minimum, maximum", **whole})
            record["notes"].append(f"dask-image: {spent:.1f} s for the first {done} of {rows} objects.")
        keep(arguments.out, "regions", record)
        print((arguments.out / "TABLES.md").read_text(), flush=True)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
