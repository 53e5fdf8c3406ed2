"""The I/O-only time of a job: two processes read its boxes and write its arrays, and compute nothing.

``python -m tests.benchmarks.iolimit TASK.json RESULT.json``, with the job's passes from jobs.py. For each pass the
processes share the blocks out; each block reads its outer box through TensorStore (decoded chunks are cached) and
writes its inner box as one shard. Arrays are Zarr v3: shard = block, chunks 64, the codecs of bigseg's own outputs
(zstd level 1 with checksum for integers; for floats LZ4 of shuffled bytes, and crc32c), a crc32c index, and
TensorStore's own durability (temporary file, fsync, rename, fsync of the folder). What is written is one block of the
real result, computed before the clock starts, so that it compresses as the job's own result does. Starting the
processes is not counted.
"""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing as mp
import resource
import sys
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import numpy as np
import tensorstore as ts
from zarr.codecs import BytesCodec

from bigseg.storage.create import compressors

from .jobs import GAUSSIAN_SIGMA, JOBS, Pass, Task

CHUNK = 64
CACHE_BYTES = 512 << 20  # decoded chunks, each process
DTYPES = {"smooth": "float32", "mask": "uint8", "labels": "uint32"}


@dataclass(frozen=True)
class Setting:
    """How the processes are set up; the defaults are the fastest we found that keep to one core each."""

    block: int
    workers: int = 2
    threads: int = 1  # TensorStore's copying and coding threads in each process
    cache_bytes: int = CACHE_BYTES


def _context(setting: Setting) -> ts.Context:
    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": setting.cache_bytes},
            "data_copy_concurrency": {"limit": setting.threads},
            "file_io_concurrency": {"limit": 4},
        }
    )


def _open(path: str, context: ts.Context) -> ts.TensorStore:
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": path},
        "fill_missing_data_reads": False,
        "recheck_cached_data": "open",
        "recheck_cached_metadata": "open",
    }
    return ts.open(spec, read=True, context=context).result()


def _open_target(path: str, context: ts.Context) -> ts.TensorStore:
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": path},
        "store_data_equal_to_fill_value": True,
    }
    return ts.open(spec, write=True, context=context).result()


def create_sharded(path: str, shape: tuple[int, ...], dtype: str, block: int) -> None:
    """Create a Zarr v3 array of cubic shards of ``block`` with chunks of 64, written as bigseg writes."""
    codecs = [BytesCodec(endian="little"), *compressors(np.dtype(dtype))]
    sharding = {
        "chunk_shape": [math.gcd(block, CHUNK)] * len(shape),
        "codecs": [codec.to_dict() for codec in codecs],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
    }
    metadata = {
        "shape": shape,
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [block] * len(shape)}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
    }
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}, "metadata": metadata}
    ts.open(spec, create=True, delete_existing=True).result()


def _sample(kind: str, task: Task, block: int, context: ts.Context) -> np.ndarray:
    """One block of the real result of the kind asked for, to write again and again."""
    import cc3d
    from scipy import ndimage

    volume: np.ndarray = _open(task.volume, context)[(slice(0, block),) * 3].read().result()
    if kind == "smooth":
        smooth: np.ndarray = ndimage.gaussian_filter(volume, GAUSSIAN_SIGMA, output=np.float32)
        return smooth
    mask = volume > task.low
    if kind == "mask":
        return mask.astype(np.uint8)
    labels: np.ndarray = cc3d.connected_components(mask, connectivity=26, binary_image=True)
    return labels.astype(np.uint32)


def _work(*arguments: Any) -> None:
    try:
        _run_blocks(*arguments)
    except BaseException:
        arguments[-2].abort()  # nobody waits for a process that failed
        raise


def _run_blocks(task: Task, passes: tuple[Pass, ...], setting: Setting, barrier: Barrier, counters: list[Any]) -> None:
    context = _context(setting)
    block, size = setting.block, task.size
    starts = list(itertools.product(range(0, size, block), repeat=3))
    samples = {kind: _sample(kind, task, block, context) for step in passes for kind in step.write}
    for counter, step in zip(counters, passes, strict=True):
        context = _context(setting)  # a fresh cache: a pass of a long run finds nothing left of the one before
        source = _open(getattr(task, step.read), context)
        targets = {kind: _open_target(f"{task.out}/{kind}.zarr", context) for kind in step.write}
        barrier.wait()
        while True:
            with counter.get_lock():
                number = counter.value
                counter.value += 1
            if number >= len(starts):
                break
            inner = tuple(slice(s, min(s + block, size)) for s in starts[number])
            outer = tuple(slice(max(s.start - step.depth, 0), min(s.stop + step.depth, size)) for s in inner)
            source[outer].read().result()
            part = tuple(slice(0, s.stop - s.start) for s in inner)
            for kind, target in targets.items():
                target[inner].write(samples[kind][part]).result()
        barrier.wait()


def io_seconds(task: Task, passes: tuple[Pass, ...], setting: Setting) -> list[float]:
    """Seconds of each pass, reading and writing only."""
    for step in passes:
        for kind in step.write:
            create_sharded(f"{task.out}/{kind}.zarr", (task.size,) * 3, DTYPES[kind], setting.block)
    spawn = mp.get_context("spawn")
    barrier = spawn.Barrier(setting.workers + 1)
    counters = [spawn.Value("q", 0) for _ in passes]
    workers = [
        spawn.Process(target=_work, args=(task, passes, setting, barrier, counters)) for _ in range(setting.workers)
    ]
    for worker in workers:
        worker.start()
    seconds = []
    try:
        for _ in passes:
            barrier.wait(timeout=600)
            start = time.perf_counter()
            barrier.wait(timeout=3600)
            seconds.append(time.perf_counter() - start)
    except BrokenBarrierError:
        raise SystemExit("one of the processes failed; its error stands above") from None
    finally:
        for worker in workers:
            worker.join()
    return seconds


def main(task_path: str, result_path: str) -> None:
    """Measure the passes of the task's job and write the seconds as JSON."""
    task = Task(**json.loads(Path(task_path).read_text()))
    setting = Setting(block=min(task.block or 256, task.size), workers=task.workers)
    steps = io_seconds(task, JOBS[task.job].passes, setting)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    result: dict[str, Any] = {"seconds": sum(steps), "answer": {}, "passes": steps, "peak_rss": peak}
    Path(result_path).write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
