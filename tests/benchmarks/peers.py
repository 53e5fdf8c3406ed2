"""The peers, one function for each job and competitor, each run in a process of its own.

``python -m tests.benchmarks.peers PEER TASK.json RESULT.json`` runs one. A function gets the task and
returns the seconds of the job alone and an answer (number of objects, voxels set) that all competitors must
agree on. Imports stand inside the functions: peers are optional, and each process should hold only its own.
Peers that read and write a store do so through zarr-python and dask with their defaults, which neither
fsync nor checksum; in-memory peers get the array ready in memory, and their result stays there.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .jobs import AGREED, GAUSSIAN_SIGMA, GUARD, GUARD_REACH, JOBS, Task

Measured = tuple[float, dict[str, Any]]
PROPERTIES = (
    "label",
    "area",
    "bbox",
    "centroid",
    "intensity_min",
    "intensity_max",
    "intensity_mean",
    "intensity_std",
)


def _in_memory(path: str) -> np.ndarray:
    import zarr

    return np.asarray(zarr.open_array(path, mode="r")[...])


def _dask_threads(task: Task) -> None:
    import dask

    dask.config.set(scheduler="threads", num_workers=task.workers)


def _stored_maximum(path: Path) -> int:
    import dask.array as da

    return int(da.from_zarr(str(path)).max().compute())


def gaussian_dask_image(task: Task) -> Measured:
    """dask-image, threads, store to store, float32 out, in the chunks of the input."""
    import dask.array as da
    from dask_image.ndfilters import gaussian_filter

    _dask_threads(task)
    out = Path(task.out) / "smooth.zarr"
    start = time.perf_counter()
    volume = da.from_zarr(task.volume).astype(np.float32)
    gaussian_filter(volume, sigma=GAUSSIAN_SIGMA).to_zarr(str(out))
    seconds = time.perf_counter() - start
    return seconds, {"mean": round(float(da.from_zarr(str(out)).mean(dtype=np.float64).compute()), 2)}


def gaussian_scipy(task: Task) -> Measured:
    """scipy.ndimage.gaussian_filter in memory, one thread."""
    from scipy import ndimage

    volume = _in_memory(task.volume)
    start = time.perf_counter()
    smooth = ndimage.gaussian_filter(volume, GAUSSIAN_SIGMA, output=np.float32)
    seconds = time.perf_counter() - start
    return seconds, {"mean": round(float(smooth.mean(dtype=np.float64)), 2)}


def hysteresis_scikit_image(task: Task) -> Measured:
    """skimage.filters.apply_hysteresis_threshold in memory, one thread."""
    from skimage.filters import apply_hysteresis_threshold

    volume = _in_memory(task.volume)
    start = time.perf_counter()
    mask = apply_hysteresis_threshold(volume, task.low, task.high)
    seconds = time.perf_counter() - start
    return seconds, {"voxels": int(mask.sum())}


def _label_dask_image(task: Task, source: str, out: Path, chunk: int) -> None:
    import dask.array as da
    from dask_image.ndmeasure import label
    from scipy.ndimage import generate_binary_structure

    mask = da.from_zarr(source, chunks=(min(chunk, task.size),) * 3)
    labels, _ = label(mask, structure=generate_binary_structure(3, task.connectivity))
    labels.to_zarr(str(out))


def _label_store_to_store(task: Task, chunk: int) -> Measured:
    import dask_image.ndmeasure  # noqa: F401  (importing is not part of the job)

    _dask_threads(task)
    out = Path(task.out) / "labels.zarr"
    start = time.perf_counter()
    _label_dask_image(task, task.mask, out, chunk)
    seconds = time.perf_counter() - start
    return seconds, {"objects": _stored_maximum(out)}


def label_dask_image_128(task: Task) -> Measured:
    """dask-image, threads, store to store, in the chunks of the input."""
    return _label_store_to_store(task, 128)


def label_dask_image_256(task: Task) -> Measured:
    """dask-image, threads, store to store, in chunks of 256."""
    return _label_store_to_store(task, 256)


def label_cc3d(task: Task) -> Measured:
    """cc3d.connected_components of a binary image in memory, one thread."""
    import cc3d

    mask = _in_memory(task.mask)
    neighbours = {1: 6, 2: 18, 3: 26}[task.connectivity]
    start = time.perf_counter()
    labels = cc3d.connected_components(mask, connectivity=neighbours, binary_image=True)
    seconds = time.perf_counter() - start
    return seconds, {"objects": int(labels.max())}


def chain_stores_between(task: Task) -> Measured:
    """The chain as a user of dask-image and scikit-image writes it, each step to a store and from it.

    dask-image smooths (threads, chunks 128), scikit-image makes the mask from the whole array, dask-image
    labels (chunks 256, ten times as fast as 128), and regionprops_table measures on whole arrays.
    """
    import dask.array as da
    from dask_image import ndmeasure  # noqa: F401
    from dask_image.ndfilters import gaussian_filter
    from skimage.filters import apply_hysteresis_threshold
    from skimage.measure import regionprops_table

    _dask_threads(task)
    folder = Path(task.out)
    clock = [time.perf_counter()]
    gaussian_filter(da.from_zarr(task.volume).astype(np.float32), sigma=GAUSSIAN_SIGMA).to_zarr(
        str(folder / "smooth.zarr")
    )
    clock.append(time.perf_counter())
    smooth = _in_memory(str(folder / "smooth.zarr"))
    mask = apply_hysteresis_threshold(smooth, task.low, task.high)
    del smooth
    da.from_array(mask.view(np.uint8), chunks=128).to_zarr(str(folder / "mask.zarr"))
    voxels = int(mask.sum())
    del mask
    clock.append(time.perf_counter())
    _label_dask_image(task, str(folder / "mask.zarr"), folder / "labels.zarr", 256)
    clock.append(time.perf_counter())
    labels = _in_memory(str(folder / "labels.zarr"))
    table = regionprops_table(labels, _in_memory(task.volume), properties=PROPERTIES)
    clock.append(time.perf_counter())
    return clock[-1] - clock[0], {"objects": len(table["label"]), "voxels": voxels, "steps": _steps(clock)}


def chain_in_memory(task: Task) -> Measured:
    """The chain on whole arrays in memory, one thread, nothing read or written."""
    from scipy import ndimage
    from skimage.filters import apply_hysteresis_threshold
    from skimage.measure import regionprops_table

    volume = _in_memory(task.volume)
    clock = [time.perf_counter()]
    smooth = ndimage.gaussian_filter(volume, GAUSSIAN_SIGMA, output=np.float32)
    clock.append(time.perf_counter())
    mask = apply_hysteresis_threshold(smooth, task.low, task.high)
    clock.append(time.perf_counter())
    del smooth
    labels, _ = ndimage.label(mask, ndimage.generate_binary_structure(3, task.connectivity))
    clock.append(time.perf_counter())
    table = regionprops_table(labels, volume, properties=PROPERTIES)
    clock.append(time.perf_counter())
    seconds = clock[-1] - clock[0]
    return seconds, {"objects": len(table["label"]), "voxels": int(mask.sum()), "steps": _steps(clock)}


def _steps(clock: list[float]) -> dict[str, float]:
    names = ("gaussian", "hysteresis", "label", "table")
    return {n: round(b - a, 2) for n, a, b in zip(names, clock, clock[1:], strict=False)}


def fill_holes_scipy(task: Task) -> Measured:
    """scipy.ndimage.binary_fill_holes in memory, one thread."""
    from scipy import ndimage

    mask = _in_memory(task.mask) != 0
    start = time.perf_counter()
    filled = ndimage.binary_fill_holes(mask)
    seconds = time.perf_counter() - start
    return seconds, {"voxels": int(np.count_nonzero(filled))}


def guarded_scipy(task: Task) -> Measured:
    """Guarded thresholds as one writes them with scipy: laplace, dilation, digitize, indices of the nearest by EDT.

    Of several nearest the EDT names any, bigseg the one of the least class: what both must agree on is counted apart,
    not timed, class by class in the first `AGREED` voxels of each axis.
    """
    from scipy import ndimage

    def parts(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steep = np.abs(ndimage.laplace(image.astype(np.float32))) > GUARD
        classes = np.digitize(image, [task.low, task.high]).astype(np.uint8)
        return ndimage.binary_dilation(steep, ndimage.generate_binary_structure(3, 1)), classes

    volume = _in_memory(task.volume)
    start = time.perf_counter()
    steep, classes = parts(volume)
    away, nearest = ndimage.distance_transform_edt(steep, return_indices=True)
    _ = np.where(away <= GUARD_REACH, classes[tuple(nearest)], classes)
    seconds = time.perf_counter() - start
    steep, classes = parts(volume[(slice(AGREED + 2 * (GUARD_REACH + 2)),) * 3])
    known = np.where(steep, 3, classes)
    away = np.stack([np.rint(ndimage.distance_transform_edt(known != k) ** 2) for k in range(3)])
    found = np.where(away.min(0) <= GUARD_REACH**2, away.argmin(0), classes)
    return seconds, {"bright_first": int((found[(slice(AGREED),) * 3] == 2).sum())}


PEERS: dict[tuple[str, str], Callable[[Task], Measured]] = {
    ("gaussian", "dask-image"): gaussian_dask_image,
    ("gaussian", "scipy"): gaussian_scipy,
    ("hysteresis", "scikit-image"): hysteresis_scikit_image,
    ("chain", "dask-image + scikit-image"): chain_stores_between,
    ("chain", "scipy + scikit-image"): chain_in_memory,
    ("fill_holes", "scipy"): fill_holes_scipy,
    ("guarded", "scipy + numpy"): guarded_scipy,
}
for _job in ("label26", "label6"):
    PEERS[_job, "dask-image, chunks 128"] = label_dask_image_128
    PEERS[_job, "dask-image, chunks 256"] = label_dask_image_256
    PEERS[_job, "cc3d"] = label_cc3d


def main(peer: str, task_path: str, result_path: str) -> None:
    """Run one peer on one task and write its seconds, answer and own peak memory as JSON."""
    task = Task(**json.loads(Path(task_path).read_text()))
    assert task.job in JOBS
    seconds, answer = PEERS[task.job, peer](task)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    Path(result_path).write_text(json.dumps({"seconds": seconds, "answer": answer, "peak_rss": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
