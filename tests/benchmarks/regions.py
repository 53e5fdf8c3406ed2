"""The table of objects against scikit-image and dask-image: the same columns, of the same labels.

    python -m tests.benchmarks.regions --work /dev/shm/bench

Smooth blobs in noise, uint16: 384^3, and 256^3 with 10,000 objects.

1. `bigseg.regions` and skimage.measure.regionprops_table with the same properties, both on arrays in memory in this
   process, on one thread: ours through the whole engine, to the DataFrame.
2. The same from stores: two workers read labels and intensity and write the table; the peer still in memory.
3. 256^3: sum, mean, minimum and maximum, ours from stores, dask_image.ndmeasure on arrays in memory.
   dask-image scans the volume for every object: it is stopped after ``--patience`` seconds, and the ratio is then a
   lower bound, with the share of the objects it had done.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from tests.benchmarks.page import machine

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


def ours(labels: Path, grey: Path, out: Path, executor_workers: int) -> tuple[float, int]:
    """Seconds of a run from stores to a table on a warm cluster, median of three; rows."""
    from bigseg import Regions
    from bigseg.engine.cluster import local_cluster
    from bigseg.pipeline.pipeline import Pipeline
    from bigseg.pipeline.steps import Step

    pipeline = Pipeline([Step("regions", Regions(intensity="grey"), ("labels",))])
    times = []
    cluster = local_cluster(executor_workers, 4 << 30)
    where = {"scheduler": cluster.client.scheduler.address}
    try:
        for _ in range(4):
            shutil.rmtree(out, ignore_errors=True)
            began = time.perf_counter()
            run = pipeline.run({"labels": labels, "grey": grey}, out, block=(128,), report=False, **where)
            times.append(time.perf_counter() - began)
    finally:
        cluster.close()
    rows = len(run.tables["regions"])
    shutil.rmtree(out)
    return statistics.median(times[1:]), rows


def in_memory(labels: np.ndarray, grey: np.ndarray) -> float:
    """Seconds of `bigseg.regions` on arrays, median of five after one that compiles."""
    from bigseg import regions

    times = []
    for _ in range(6):
        began = time.perf_counter()
        regions(labels, intensity=grey)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def by_skimage(labels: np.ndarray, grey: np.ndarray) -> float:
    """Seconds of scikit-image for the same columns."""
    from skimage.measure import regionprops_table

    began = time.perf_counter()
    regionprops_table(labels, grey, properties=COLUMNS)
    return time.perf_counter() - began


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

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/tmp/bench"))
    parser.add_argument("--patience", type=float, default=120.0)
    arguments = parser.parse_args()
    work: Path = arguments.work / "regions"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    print(machine())
    for side, sigma, share, most in ((384, 2.5, 0.15, None), (256, 1.5, 0.1, 10_000)):
        labels, grey = phantom(side, sigma, share, most)
        paths = store(work / f"l{side}.zarr", labels, (64,) * 3), store(work / f"g{side}.zarr", grey, (64,) * 3)
        alone = in_memory(labels, grey)
        peer = by_skimage(labels, grey)
        seconds, rows = ours(*paths, work / "run", 2)
        print(f"{side}^3, {rows} objects: scikit-image {peer:.2f} s")
        print(f"  bigseg in memory, one thread {alone:.3f} s: {peer / alone:.1f} x")
        print(f"  bigseg from stores, two workers {seconds:.2f} s: {peer / seconds:.1f} x", flush=True)
        if most is not None:
            peer, done = by_dask_image(labels, grey, rows, arguments.patience)
            whole = peer * rows / done
            print(f"  dask-image {peer:.1f} s for {done} of {rows} objects: {whole / seconds:.0f} x")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
